"""The housekeeper with a real Redis: deadlines and renewals, records, drift, and loss of Redis."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.price import compile_price
from ocs.catalogue.versions import Catalogues
from ocs.compose import Environment
from ocs.ledger.contract.charging import ChargeRequest, ServiceCharge
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.outbox.files import record_files
from ocs.process.child_main import Child
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.process.housekeeping import auditing, orphans, retrying, sweeper
from ocs.process.housekeeping.auditing import Auditing
from ocs.process.housekeeping.orphans import Orphans
from ocs.process.housekeeping.recording import Recording
from ocs.process.housekeeping.retrying import PostponedAccounts
from ocs.process.housekeeping.sweeper import Sweeper
from ocs.settings.schema import Settings
from ocs.telemetry.metrics import Metrics
from ocs.values.partition_rotation import PartitionRotation
from ocs.values.requests import RequestType
from ocs.values.use import Unit
from tests.catalogue import fixed_catalogue
from tests.rules import rule
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).parents[3]
T0 = 1_795_000_000
DAY_S = 86_400


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = float(T0)

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return fixed_catalogue()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path, durability="everysec")
    server.acquire()
    yield server
    server.release()


@pytest.fixture
async def ledger(tmp_path: Path, server: EmbeddedRedis) -> AsyncIterator[RedisLedger]:
    settings = LedgerSettings(durability="everysec", partitions=8, timeout_ms=300, max_clock_skew_s=0)
    connected = await RedisLedger.connect(f"unix://{tmp_path}/redis/redis.sock", settings)
    yield connected
    await connected.close()


@pytest.fixture
def child(tmp_path: Path, catalogue: Catalogue) -> Child:
    settings = Settings.model_validate(
        {"diameter": {"accept_unknown_peers": True}, "server": {"data_dir": str(tmp_path)}, "ledger": {"partitions": 8}}
    )
    clock = Clock()
    versions = Catalogues([catalogue], lambda: int(clock.now))
    return Child("housekeeper", settings, versions, Environment(clock=clock), Metrics(), asyncio.Event())


def clock_of(child: Child) -> Clock:
    assert isinstance(child.environment.clock, Clock)
    return child.environment.clock


async def open_accounts(child: Child, ledger: RedisLedger, count: int, credit_micro_eur: int) -> list[str]:
    now = child.environment.now()
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


def sweeper_of(child: Child, ledger: Any) -> Sweeper:
    return Sweeper(child, ledger, PostponedAccounts(child))


@rule("HOT-PKG-2")
async def test_packages_renew_when_their_period_is_over(child: Child, ledger: RedisLedger) -> None:
    """HOT-PKG-2: renewed if the credit covers the price, else ended; each once."""
    rich = await open_accounts(child, ledger, 3, 20_000_000)
    sweeping, everywhere = sweeper_of(child, ledger), range(8)
    assert await sweeping.sweep(everywhere) == 0
    clock_of(child).now += 30 * DAY_S
    assert await sweeping.sweep(everywhere) == 3
    assert await sweeping.sweep(everywhere) == 0
    now = child.environment.now()
    view = await ledger.read(rich[0], now=now, month=child.catalogue.month_of(now))
    assert view is not None
    assert (view.credit_micro_eur, view.package_pending) == (20_000_000 - 2 * 6_990_000, False)
    clock_of(child).now += 30 * DAY_S
    assert await sweeping.sweep(everywhere) == 3
    view = await ledger.read(
        rich[0], now=child.environment.now(), month=child.catalogue.month_of(child.environment.now())
    )
    assert view is not None
    assert view.package_pending


async def test_a_batch_is_bounded(child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_BATCH", 1)
    await open_accounts(child, ledger, 40, 7_000_000)
    clock_of(child).now += 31 * DAY_S
    first = await sweeper_of(child, ledger).sweep(range(8))
    assert 0 < first <= ledger.partitions
    assert child.metrics.store.counters[("ocs_swept_accounts",)] == first


class ManyPartitions:
    """A ledger that only returns due accounts."""

    partitions = 16_384

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.due_in: dict[int, int] = {}

    async def due_many(self, partitions: Sequence[int], *, now: int, count: int) -> list[list[str]]:
        self.asked += partitions
        return [[f"{each}-{n}" for n in range(min(self.due_in.get(each, 0), count))] for each in partitions]

    async def due(self, partition: int, *, now: int, count: int) -> list[str]:
        return (await self.due_many([partition], now=now, count=count))[0]

    async def sweep(self, account_id: str, **more: object) -> None:
        self.due_in[int(account_id.split("-")[0])] -= 1


async def test_the_work_per_second_is_bounded_and_busy_partitions_are_swept_more_often(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, now = ManyPartitions(), [0.0]
    world = Environment(clock=child.environment.clock, monotonic=lambda: now[0])
    child = Child("housekeeper", child.settings, child.catalogue, world, child.metrics, child.stopping)
    sweeping = sweeper_of(child, ledger)
    ledger.due_in[9_000] = 250
    seen: set[int] = set()
    swept = []
    for _ in range(14):
        now[0] += 1.0
        ledger.asked.clear()
        swept.append(await sweeping.step())
        assert len(ledger.asked) <= ledger.partitions / sweeper.SWEEP_ALL_S + 3
        seen.update(ledger.asked)
    assert len(seen) == ledger.partitions
    first = next(at for at, count in enumerate(swept) if count)
    assert swept[first : first + 4] == [100, 100, 50, 0], "it does not wait for its turn when there was something"


def test_partitions_in_turn() -> None:
    now = [0.0]
    turns = PartitionRotation(10, all_s=20.0, least_per_s=2.0, stopwatch=lambda: now[0])
    assert turns.due() == []
    now[0] = 1.6
    assert turns.due() == [0, 1, 2]
    now[0] = 1.7
    assert turns.due() == []
    now[0] = 100.0
    assert turns.due() == [3, 4, 5, 6, 7, 8, 9, 0, 1, 2], "all once, however long it was"


async def test_the_audit_measures(child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "AUDIT_PAUSE_S", 0.0)
    await open_accounts(child, ledger, 5, 10_000_000)
    report = await Auditing(child, ledger, PostponedAccounts(child)).audit_pass()
    assert report.ok and report.accounts == 5
    gauges = child.metrics.store.gauges
    assert gauges["ocs_accounts",] == 5
    assert gauges["ocs_audit_violations",] == 0 and gauges["ocs_audit_drift_eur",] == 0
    assert gauges["ocs_audit_passed_timestamp_seconds",] == T0


async def test_an_account_without_its_document_is_a_violation(
    child: Child,
    ledger: RedisLedger,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(auditing, "AUDIT_PAUSE_S", 0.0)
    account_id = (await open_accounts(child, ledger, 5, 10_000_000))[2]
    key = ledger._account_keys(account_id).account + account_id.encode()
    await ledger._ask("test", ledger._keys.partition_of_account(account_id), b"DEL", key)
    report = await Auditing(child, ledger, PostponedAccounts(child)).audit_pass()
    assert (report.ok, report.accounts) == (False, 4)
    assert child.metrics.store.gauges["ocs_audit_violations",] == 1
    assert f"account {account_id}: invariant document is violated: the index names it" in caplog.text


async def test_several_housekeepers_share_an_audit(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "AUDIT_PAUSE_S", 0.0)
    await open_accounts(child, ledger, 30, 10_000_000)
    reports = [await Auditing(child, ledger, PostponedAccounts(child), (n, 3)).audit_pass() for n in range(3)]
    assert sum(report.accounts for report in reports) == 30 and all(report.accounts for report in reports)


# -- a document that cannot be read


class Damaged:
    """A ledger with one unreadable account; other calls go to the real ledger."""

    def __init__(self, ledger: RedisLedger, account_id: str, error: Exception | None = None) -> None:
        self._ledger = ledger
        self.account_id = account_id
        self.error = error or LedgerError("unreadable", "its document is damaged")
        self.tries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def _look(self, account_id: str) -> None:
        if account_id == self.account_id:
            self.tries += 1
            raise self.error

    async def read(self, account_id: str, **more: Any) -> AccountView | None:
        self._look(account_id)
        return await self._ledger.read(account_id, **more)

    async def sweep(self, account_id: str, **more: Any) -> None:
        self._look(account_id)
        await self._ledger.sweep(account_id, **more)


@pytest.mark.parametrize("error", [LedgerError("unreadable", "damaged"), LedgerUnavailable("the script failed")])
async def test_one_damaged_document_does_not_stop_the_sweeper(
    child: Child,
    ledger: RedisLedger,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_BATCH", 1)  # the first of its partition
    accounts = await open_accounts(child, ledger, 20, 20_000_000)
    damaged = Damaged(ledger, accounts[0], error)
    clock_of(child).now += 30 * DAY_S
    sweeping = sweeper_of(child, damaged)
    for _ in range(20):
        await sweeping.sweep(range(8))
    assert child.metrics.store.counters[("ocs_swept_accounts",)] == 19
    assert damaged.tries == 1, "it is left alone for a while"
    assert child.metrics.store.gauges["ocs_unreadable_accounts",] == 1
    assert f"account {accounts[0]} cannot be swept" in caplog.text
    clock_of(child).now += retrying.FIRST_PAUSE_S
    damaged.account_id = "healed"
    assert await sweeping.sweep(range(8)) == 1
    assert child.metrics.store.gauges["ocs_unreadable_accounts",] == 0


async def test_one_damaged_document_does_not_stop_the_audit(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(auditing, "AUDIT_PAUSE_S", 0.0)
    accounts = await open_accounts(child, ledger, 6, 10_000_000)
    damaged: Any = Damaged(ledger, accounts[3])
    audit = Auditing(child, damaged, PostponedAccounts(child))
    assert [(await audit.audit_pass()).accounts for _ in range(2)] == [5, 5]
    assert damaged.tries == 1
    gauges = child.metrics.store.gauges
    assert gauges["ocs_unreadable_accounts",] == 1 and gauges["ocs_audit_violations",] == 0
    damaged.account_id = "healed"
    clock_of(child).now += retrying.FIRST_PAUSE_S
    assert (await audit.audit_pass()).accounts == 6
    assert gauges["ocs_unreadable_accounts",] == 0


@pytest.mark.parametrize("octets", [b"\xc1", b"no document", b"\x80", b"\x93\x01\x02\x03", b"\xdf\xff\xff\xff\xff"])
async def test_documents_that_cannot_be_read_in_redis(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, octets: bytes
) -> None:
    """Sweeper, audit and the search for orphans each handle all accounts."""
    monkeypatch.setattr(auditing, "AUDIT_PAUSE_S", 0.0)
    accounts = await open_accounts(child, ledger, 8, 20_000_000)
    await open_session(child, ledger, accounts[1], "old", "pgw.a1.net", origin_state_id=7)
    partition = int(accounts[0].split("-")[0])
    await ledger._ask(
        "test", partition, b"SET", ledger._keys.by_partition[partition].account + accounts[0].encode(), octets
    )
    await index_session(ledger, accounts[0], "of the damaged one", "pgw.a1.net")
    for loop in ("orphans", "audit", "sweeper"):
        postponed = PostponedAccounts(child)
        if loop == "orphans":
            assert await Orphans(child, ledger, postponed).release({("pgw.a1.net", ""): 8})
            assert child.metrics.store.counters[("ocs_orphans_released",)] == 1
        elif loop == "audit":
            assert (await Auditing(child, ledger, postponed).audit_pass()).accounts == 7
        else:
            clock_of(child).now += 30 * DAY_S
            assert await Sweeper(child, ledger, postponed).sweep(range(8)) == 7
        assert postponed.skips(accounts[0]) and len(postponed) == 1, loop
        assert child.metrics.store.gauges["ocs_unreadable_accounts",] == 1, loop


async def test_a_wrong_clock_sets_no_account_aside(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweeper, "SWEEP_EVERY_S", 0.01)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    accounts = await open_accounts(child, ledger, 1, 20_000_000)
    damaged: Any = Damaged(ledger, accounts[0], LedgerError("clock", "this machine's clock is off"))
    clock_of(child).now += 30 * DAY_S
    postponed = PostponedAccounts(child)
    loop = asyncio.create_task(Sweeper(child, damaged, postponed).run())
    await until(lambda: damaged.tries > 3)
    assert (
        len(postponed) == 0
        and "no sweeps, records and audits until this is repaired: this machine's clock is off" in caplog.text
    )
    child.stopping.set()
    await loop


def test_accounts_set_aside_are_bounded_and_logged_rarely(child: Child, caplog: pytest.LogCaptureFixture) -> None:
    postponed, error = PostponedAccounts(child), LedgerError("unreadable", "damaged")
    for n in range(retrying.MAX_POSTPONED + 50):
        postponed.failed(f"00-{n}", "cannot be swept", error)
    assert len(postponed) == retrying.MAX_POSTPONED
    assert not postponed.skips("00-0") and postponed.skips("00-10000")
    assert len([each for each in caplog.records if each.levelno == logging.ERROR]) == 1
    pauses = []
    for _ in range(12):
        postponed.failed("00-7", "cannot be swept", error)
        start = clock_of(child).now
        while postponed.skips("00-7"):
            clock_of(child).now += 5
        pauses.append(clock_of(child).now - start)
    assert pauses[:3] == [10, 20, 40] and pauses[-1] == retrying.LONGEST_PAUSE_S


# -- records


async def events_of(ledger: RedisLedger) -> int:
    """All events that were ever journalled."""
    return sum([await ledger.outbox_last(partition) for partition in range(ledger.partitions)])


async def test_records_continue_after_an_outage_of_redis(
    child: Child, ledger: RedisLedger, server: EmbeddedRedis, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    loop = asyncio.create_task(Recording(child, ledger).run())
    await open_accounts(child, ledger, 4, 7_000_000)
    count = await events_of(ledger)
    await until(lambda: len(stored(folder)) == count)
    await until(lambda: child.metrics.store.gauges.get(("ocs_outbox_lag_events",)) == 0)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await until(server.has_ended)
    await asyncio.sleep(1.0)
    assert not loop.done()
    server.restart()
    clock_of(child).now += 31 * DAY_S
    await until(lambda: ledger.ready)
    assert await sweeper_of(child, ledger).sweep(range(8)) == 4
    later = await events_of(ledger)
    assert later >= count + 4
    await until(lambda: len(stored(folder)) == later)
    child.stopping.set()
    await loop
    assert len({str(line["event_id"]) for line in stored(folder)}) == later
    assert child.metrics.store.counters["ocs_records_written", "opened"] == 4
    assert ("ocs_ledger_went_back_events",) not in child.metrics.store.counters


async def test_the_last_records_are_stored_at_the_end(child: Child, ledger: RedisLedger, tmp_path: Path) -> None:
    loop = asyncio.create_task(Recording(child, ledger).run())
    await until(lambda: ("ocs_outbox_lag_events",) in child.metrics.store.gauges)
    await open_accounts(child, ledger, 3, 7_000_000)
    child.stopping.set()
    await loop
    assert len(stored(tmp_path / "records")) == await events_of(ledger)


async def test_a_rollback_of_the_ledger_is_counted(child: Child, ledger: RedisLedger, tmp_path: Path) -> None:
    await open_accounts(child, ledger, 6, 7_000_000)
    folder = tmp_path / "records"
    keys = ledger._keys.by_partition
    count = await events_of(ledger)
    loop = asyncio.create_task(Recording(child, ledger).run())
    await until(lambda: len(stored(folder)) == count)
    newest, partition = max([(await ledger.outbox_last(each), each) for each in range(8)])
    await ledger._ask("test", partition, b"XDEL", keys[partition].outbox, f"{newest}-0")
    await ledger._ask("test", partition, b"SET", keys[partition].sequence, newest - 1)
    await until(lambda: child.metrics.store.counters.get(("ocs_ledger_went_back_events",), 0) >= 1)
    child.stopping.set()
    await loop


async def test_another_ledgers_records_stop_the_records_and_nothing_else(
    child: Child, ledger: RedisLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    line = {"event_id": "p00-900", "kind": "topup", "time": "x", "account": "y"}
    (folder / "records-000001-20260101T000000Z.jsonl").write_bytes(orjson.dumps(line) + b"\n")
    loop = asyncio.create_task(Recording(child, ledger).run())
    await until(lambda: child.metrics.store.gauges.get(("ocs_records_stopped",)) == 1)
    await open_accounts(child, ledger, 2, 7_000_000)
    count = await events_of(ledger)
    await until(lambda: child.metrics.store.gauges.get(("ocs_outbox_lag_events",)) == count)
    child.stopping.set()
    await loop
    assert len(stored(folder)) == 1
    assert sum([await ledger.outbox_lag(partition) for partition in range(8)]) == count
    assert "move the records away" in caplog.text


# -- clients that lost their sessions


async def open_session(child: Child, ledger: RedisLedger, account_id: str, sid: str, host: str, **more: Any) -> None:
    price = compile_price("data", unit=Unit.OCTETS, micro_eur=6_900, quantity=2**20)
    asked: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    request = ChargeRequest(
        *(account_id, "", sid, host, "data", RequestType.INITIAL, 0, child.environment.now(), child.when()["month"]),
        child.environment.now() + 7200,
        (ServiceCharge("1", "data", price, (), 0, 1_000_000, 1),),
        **more,
    )
    ledger.charge(request, asked.set_result)
    await asked
    await index_session(ledger, account_id, sid, host)


async def index_session(ledger: RedisLedger, account_id: str, sid: str, host: str) -> None:
    """Adds a session to its client's index, as the scripts do."""
    partition = int(account_id.split("-")[0])
    key = ledger._keys.by_partition[partition].clients + host.lower().encode()
    await ledger._ask("test", partition, b"SADD", key, f"{account_id} {sid}".encode())


async def test_sessions_of_a_restarted_client_are_given_up(
    child: Child, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6733 §8.6: sessions opened before the restart are given up after a grace period. Kept are those of other
    clients, newer ones, and those that came by another connection.
    """
    monkeypatch.setattr(orphans, "ORIGIN_LOOK_S", 0.01)
    (account_id,) = await open_accounts(child, ledger, 1, 20_000_000)
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
    for sid, (host, state_id, relay) in sessions.items():
        await open_session(child, ledger, account_id, sid, host, relay=relay, origin_state_id=state_id)
    await ledger.note_origin_state("PGW.a1.net", 8, now=child.environment.now())
    await ledger.note_origin_state("pgw.a1.net", 8, now=child.environment.now() + 5_000)  # reported again: nothing new
    await ledger.note_origin_state("pgw.b.net", 2**32 - 1, relay="dra.a1.net", now=child.environment.now())

    lost = {"old", "old behind a relay"}

    async def given_up() -> set[str]:
        view = await ledger.read(account_id, **child.when())
        assert view is not None
        return {session.session_id for session in view.sessions if session.released}

    loop = asyncio.create_task(Orphans(child, ledger, PostponedAccounts(child)).run())
    await asyncio.sleep(0.1)
    assert await given_up() == set(), "the grace period is not over"
    clock_of(child).now += orphans.ORIGIN_GRACE_S
    async with asyncio.timeout(PATIENCE_S):
        while await given_up() != lost:  # noqa: ASYNC110 - it changes in Redis
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert await given_up() == lost
    assert child.metrics.store.counters[("ocs_orphans_released",)] == 2
    child.stopping.set()
    await loop


async def test_ended_sessions_are_removed_from_the_index(child: Child, ledger: RedisLedger) -> None:
    (account_id, other) = await open_accounts(child, ledger, 2, 20_000_000)
    await open_session(child, ledger, account_id, "old", "pgw.a1.net", origin_state_id=7)
    await open_session(child, ledger, account_id, "new", "pgw.a1.net", origin_state_id=8)
    for stale in ("ended", "smsc's"):
        await index_session(ledger, account_id, stale, "pgw.a1.net")
    await index_session(ledger, "00-00000000000000ff", "of nobody", "pgw.a1.net")
    damaged: Any = Damaged(ledger, other)
    await index_session(ledger, other, "not to be read", "pgw.a1.net")
    postponed = PostponedAccounts(child)
    assert await Orphans(child, damaged, postponed).release({("pgw.a1.net", ""): 8})
    found = [pair for partition in range(8) for pair in await ledger.sessions_of_client(partition, "pgw.a1.net")]
    assert {sid for _, sid in found} - {"old"} == {"new", "not to be read"}
    assert postponed.skips(other) and not postponed.skips(account_id)
    view = await ledger.read(account_id, **child.when())
    assert view is not None and [each.session_id for each in view.sessions if each.released] == ["old"]


class ManySets:
    """A ledger that only returns sessions of clients."""

    partitions = 16_384

    def __init__(self) -> None:
        self.asked = 0

    async def sessions_of_client(self, partition: int, origin_host: str) -> list[tuple[str, str]]:
        self.asked += 1
        return []


async def test_the_index_is_read_in_slices_of_partitions(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number per second. At a stop, the rest is left for the next start."""
    monkeypatch.setattr(orphans, "SETS_PER_S", 100_000)
    ledger: Any = ManySets()
    start = time.monotonic()
    assert await Orphans(child, ledger, PostponedAccounts(child)).release({("a", ""): 1, ("a", "dra"): 2, ("b", ""): 1})
    assert ledger.asked == 2 * 16_384 and time.monotonic() - start >= 0.3
    child.stopping.set()
    assert not await Orphans(child, ledger, PostponedAccounts(child)).release({("a", ""): 1})
    assert ledger.asked == 2 * 16_384 + orphans.SETS_TOGETHER
