"""A real server on its own Redis, for peers of other projects."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.catalogue import CATALOGUE
from tests.conftest import RedisServer
from tests.faults import harness
from tests.faults.harness import ANY_PORTS, CHARGING_ONLY, ONE_WORKER, PARTITIONS, Serving, open_account

MSISDN = "38668100000"
REALM = "a1.example.net"
HEAD = """
[diameter]
identity = "ocs.hot.example.net"
realm = "hot.example.net"
listen = ["127.0.0.1:0"]
"""
TAIL = ANY_PORTS + ONE_WORKER
MB_PRICE_ABROAD = 2_900_000
"""Micro-EUR, tests/data/catalogue.toml."""
WINDOWS = ", ".join(
    f'{{ days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "holiday"], from = "{hour:02}:00", '
    f'to = "{hour:02}:30", '
    f"micro_eur = {MB_PRICE_ABROAD} }}"
    for hour in range(24)
)
CATALOGUE_CHANGES = {
    "service.data.quota": 'pool = 7\nenvelope_reporting = "volume"\ntime_s = 60',
    "service.voice.quota": "consumption_s = 20",
    "price.data-world-1": f"window = [{WINDOWS}]",
}
"""Settings that add AVPs to answers. The price abroad changes every half hour, to the same: a grant spans a switch at
any time of the test.
"""


@pytest.fixture
def serve(tmp_path: Path, own_redis: RedisServer) -> Iterator[Callable[..., Serving]]:
    """`serve(peers, more_of_the_diameter_table)` starts `ocs serve` with these [[peer]] entries and other tables.
    `records`: they are written.
    """
    started: list[Serving] = []

    def start(peers: str, diameter: str = "", *, records: bool = False) -> Serving:
        tail = TAIL if records else TAIL + CHARGING_ONLY
        started.append(Serving(tmp_path / "ocs", own_redis.url, HEAD + diameter + peers + tail))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.fixture
def whole_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server reads the tests' catalogue with CATALOGUE_CHANGES."""
    text = CATALOGUE.read_text(encoding="utf-8")
    for table, lines in CATALOGUE_CHANGES.items():
        head = f"[{table}]\n"
        assert head in text
        text = text.replace(head, f"{head}{lines}\n")
    changed = tmp_path / "catalogue.toml"
    changed.write_text(text, encoding="utf-8")
    monkeypatch.setattr(harness, "CATALOGUE", changed)


@pytest.fixture
async def ledger(own_redis: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = await RedisLedger.connect(own_redis.url, LedgerSettings(partitions=PARTITIONS))
    yield ledger
    await ledger.close()


@pytest.fixture
async def account(ledger: RedisLedger) -> str:
    return await open_account(ledger, MSISDN, 20_000_000)


def when() -> dict[str, int]:
    return {"now": int(time.time()), "month": 202611}
