"""The housekeeper against a real Redis: deadlines and renewals are seen to, records follow, drift is measured, Redis may go."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from ocs import housekeeper
from ocs.child import Child
from ocs.embedded_redis import EmbeddedRedis
from ocs.ledger.contract import ChargeRequest, RequestType, ServiceCharge
from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.metrics import Metrics
from ocs.rating.catalogue import Catalogue, load_catalogue
from ocs.rating.price import compile_price
from ocs.rating.types import Unit
from ocs.records.files import record_files
from ocs.server import World
from ocs.settings_model import Settings

ROOT = Path(__file__).parents[2]
T0 = 1_795_000_000
DAY_S = 86_400


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now = float(T0)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(ROOT / "config" / "catalogue.toml")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path, durability="everysec")
    server.acquire()
    yield server
    server.release()


@pytest.fixture
async def ledger(tmp_path: Path, server: EmbeddedRedis) -> AsyncIterator[RedisLedger]:
    settings = LedgerSettings(durability="everysec", partitions=8, timeout_ms=300)
    connected = await RedisLedger.connect(f"unix://{tmp_path}/redis/redis.sock", settings)
    yield connected
    await connected.close()


@pytest.fixture
def child(tmp_path: Path, catalogue: Catalogue) -> Child:
    settings = Settings.model_validate(
        {"diameter": {"accept_unknown_peers": True}, "server": {"data_dir": str(tmp_path)}, "ledger": {"partitions": 8}}
    )
    return Child("housekeeper", settings, catalogue, World(clock=Clock()), Metrics(), asyncio.Event())


def clock_of(child: Child) -> Clock:
    assert isinstance(child.world.clock, Clock)
    return child.world.clock


async def open_accounts(child: Child, ledger: RedisLedger, count: int, credit_micro_eur: int) -> list[str]:
    now = child.world.now()
    return [
        await ledger.open_account(
            msisdn=f"386681{n:05d}",
            imsi=f"2934000000{n:05d}",
            credit_micro_eur=credit_micro_eur,
            package=child.catalogue.packages["MINI"],
            now=now,
            month=child.catalogue.month_of(now),
            entropy=n,
        )
        for n in range(count)
    ]


def stored(folder: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for _, path in record_files(folder) for line in path.read_bytes().splitlines()]


async def until(condition: object, seconds: float = 10) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        await asyncio.sleep(0.02)


async def test_packages_renew_when_their_period_is_over(child: Child, ledger: RedisLedger) -> None:
    """HOT-PKG-2: renewed where the credit covers the price, ended where it does not; each seen to once."""
    rich = await open_accounts(child, ledger, 3, 20_000_000)
    assert await housekeeper.sweep_once(child, ledger) == 0
    clock_of(child).now += 30 * DAY_S
    assert await housekeeper.sweep_once(child, ledger) == 3
    assert await housekeeper.sweep_once(child, ledger) == 0
    now = child.world.now()
    view = await ledger.read(rich[0], now=now, month=child.catalogue.month_of(now))
    assert view is not None
    assert (view.credit_micro_eur, view.package_pending) == (20_000_000 - 2 * 6_990_000, False)
    clock_of(child).now += 30 * DAY_S
    assert await housekeeper.sweep_once(child, ledger) == 3
    view = await ledger.read(rich[0], now=child.world.now(), month=child.catalogue.month_of(child.world.now()))
    assert view is not None
    assert view.package_pending


async def test_a_batch_is_bounded(child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeper, "SWEEP_BATCH", 1)
    await open_accounts(child, ledger, 40, 7_000_000)
    clock_of(child).now += 31 * DAY_S
    first = await housekeeper.sweep_once(child, ledger)
    assert 0 < first <= ledger.partitions
    assert child.metrics.store.counters[("ocs_swept_accounts",)] == first


async def test_the_audit_measures(child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeper, "AUDIT_PAUSE_S", 0.0)
    await open_accounts(child, ledger, 5, 10_000_000)
    report = await housekeeper.audit_pass(child, ledger)
    assert report.ok and report.accounts == 5
    gauges = child.metrics.store.gauges
    assert gauges["ocs_accounts",] == 5
    assert gauges["ocs_audit_violations",] == 0 and gauges["ocs_audit_drift_eur",] == 0
    assert gauges["ocs_audit_passed_timestamp_seconds",] == T0


async def test_records_follow_and_redis_may_go_and_come_back(
    child: Child, ledger: RedisLedger, server: EmbeddedRedis, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    loop = asyncio.create_task(housekeeper.records_loop(child, ledger))
    await open_accounts(child, ledger, 4, 7_000_000)
    await until(lambda: len(stored(folder)) == 8)
    await until(lambda: child.metrics.store.gauges.get(("ocs_outbox_lag_events",)) == 0)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await until(server.has_ended)
    await asyncio.sleep(1.0)
    assert not loop.done()
    server.restart()
    clock_of(child).now += 31 * DAY_S
    await until(lambda: ledger.ready)
    assert await housekeeper.sweep_once(child, ledger) == 4
    await until(lambda: len(stored(folder)) == 12)
    child.stopping.set()
    await loop
    assert len({str(line["event_id"]) for line in stored(folder)}) == 12
    assert child.metrics.store.counters["ocs_records_written", "opened"] == 4


async def test_the_last_records_are_stored_at_the_end(child: Child, ledger: RedisLedger, tmp_path: Path) -> None:
    loop = asyncio.create_task(housekeeper.records_loop(child, ledger))
    await until(lambda: ("ocs_outbox_lag_events",) in child.metrics.store.gauges)
    await open_accounts(child, ledger, 3, 7_000_000)
    child.stopping.set()
    await loop
    assert len(stored(tmp_path / "records")) == 6


async def test_another_ledgers_records_stop_the_records_and_nothing_else(
    child: Child, ledger: RedisLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    line = {"event_id": "p00-900", "kind": "topup", "time": "x", "account": "y"}
    (folder / "records-000001-20260101T000000Z.jsonl").write_bytes(orjson.dumps(line) + b"\n")
    loop = asyncio.create_task(housekeeper.records_loop(child, ledger))
    await until(lambda: child.metrics.store.gauges.get(("ocs_records_stopped",)) == 1)
    await open_accounts(child, ledger, 2, 7_000_000)
    child.stopping.set()
    await loop
    assert len(stored(folder)) == 1
    assert sum([await ledger.outbox_lag(partition) for partition in range(8)]) == 4
    assert "move the records away" in caplog.text


# -- clients that lost their sessions


async def test_sessions_of_a_restarted_client_are_given_up(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6733 §8.6: those it had opened before, after a grace period; those of others, its new ones and those
    that came another way than the news stay."""
    monkeypatch.setattr(housekeeper, "ORIGIN_LOOK_S", 0.01)
    (account_id,) = await open_accounts(child, ledger, 1, 20_000_000)
    price = compile_price("data", unit=Unit.OCTETS, micro_eur=6_900, quantity=2**20)
    sessions = {
        "old": ("pgw.a1.net", 7, ""),
        "new": ("pgw.a1.net", 8, ""),
        "other": ("smsc.a1.net", 3, ""),
        "silent": ("pgw.a1.net", 0, ""),
        "relayed": ("pgw.a1.net", 7, "dra.a1.net"),
        "lied about": ("pgw.b.net", 7, "dra.b.net"),
        "lied about too": ("pgw.b.net", 7, ""),
        "old behind a relay": ("pgw.b.net", 7, "DRA.a1.net"),
    }
    for sid, (host, state_id, via) in sessions.items():
        asked: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        request = ChargeRequest(
            *(account_id, "", sid, host, "data", RequestType.INITIAL, 0, child.world.now(), child.when()["month"]),
            child.world.now() + 7200,
            (ServiceCharge("1", "data", price, (), 0, 1_000_000, 1),),
            via=via,
            origin_state_id=state_id,
        )
        ledger.charge(request, asked.set_result)
        await asked
    await ledger.note_origin_state("PGW.a1.net", 8, now=child.world.now())
    await ledger.note_origin_state("pgw.a1.net", 8, now=child.world.now() + 5_000)  # seen again: no news
    await ledger.note_origin_state("pgw.b.net", 2**32 - 1, via="dra.a1.net", now=child.world.now())

    lost = {"old", "old behind a relay"}

    async def given_up() -> set[str]:
        view = await ledger.read(account_id, **child.when())
        assert view is not None
        return {session.session_id for session in view.sessions if session.released}

    loop = asyncio.create_task(housekeeper.orphans_loop(child, ledger))
    await asyncio.sleep(0.1)
    assert await given_up() == set(), "the grace period is not over"
    clock_of(child).now += housekeeper.ORIGIN_GRACE_S
    async with asyncio.timeout(5):
        while await given_up() != lost:  # noqa: ASYNC110 - it happens in Redis
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert await given_up() == lost
    child.stopping.set()
    await loop
