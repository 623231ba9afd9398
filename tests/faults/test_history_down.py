"""Charging does not need SQL: while PostgreSQL is down, requests are answered and Redis stays bounded; afterwards every
row is there once, though the backoffice is killed in the middle.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from ocs.ledger.redis.keys import Keys
from ocs.process.processes import command_line
from tests.conftest import RedisServer
from tests.faults.client import Client, data_request
from tests.faults.harness import CONFIG, Books, Serving
from tests.postgresql import PostgreSQL
from tests.rules import rule
from tests.waiting import PATIENCE_S, wait_for

MB = 1024 * 1024
NUMBERS = [f"386681000{n:02}" for n in range(8)]
CREDIT = 190_000_000


@pytest.fixture
def database() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    server.start()
    yield server
    server.remove()


def backoffice(server: Serving) -> int:
    """Process id, 0 while there is none."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="ascii")
    found = (int(pid) for pid in children.split() if "ocs.process.backoffice" in " ".join(command_line(int(pid))))
    return next(found, 0)


def sessions(client: Client, first: int, count: int) -> None:
    """Whole data sessions, each with use that costs money."""
    for number in range(first, first + count):
        msisdn, sid = NUMBERS[number % len(NUMBERS)], f"pgw.example.net;1;{number}"
        assert client.ask(data_request(msisdn, sid, 1, 0, want=MB)).result_code == 2001
        assert client.ask(data_request(msisdn, sid, 3, 1, used=MB)).result_code == 2001


def waiting(client: redis.Redis, keys: Keys) -> int:
    """Events in Redis."""
    return sum(int(client.xlen(keys.by_partition[n].outbox)) for n in range(4))


def asked(database: PostgreSQL, query: str) -> list[tuple[Any, ...]]:
    url = database.url().replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def used_rows(database: PostgreSQL) -> int:
    """-1: there are no tables yet."""
    try:
        return int(asked(database, "SELECT count(*) FROM usage")[0][0])
    except psycopg.errors.UndefinedTable:
        return -1


def metric(server: Serving, name: str) -> float:
    lines = [line for line in server.metrics().splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].split()[1]) if lines else -1.0


@rule("HOT-REC-2")
@pytest.mark.long
def test_charging_goes_on_without_sql_and_every_row_arrives(
    own_redis: RedisServer, database: PostgreSQL, tmp_path: Path
) -> None:
    config = f'{CONFIG}[history]\nurl = "{database.url()}"\n'
    server = Serving(tmp_path / "ocs", own_redis.url, config)
    try:
        with Books(own_redis.url) as books:
            accounts = [books.open_account(number, CREDIT) for number in NUMBERS]
        with closing(server.connect()) as client, redis.Redis.from_url(own_redis.url) as store:
            sessions(client, 0, 40)
            wait_for(lambda: used_rows(database) == 40)
            database.stop(kill=True)
            for step in range(4):
                sessions(client, 40 + 60 * step, 60)
                if step == 1:
                    os.kill(wait_for(lambda: backoffice(server)), signal.SIGKILL)
            wait_for(lambda: waiting(store, Keys(4)) <= 4)
            assert server.health() == 200
            wait_for(lambda: metric(server, "ocs_history_up") == 0)
            database.start()
            end = time.monotonic() + PATIENCE_S
            number = 280
            while used_rows(database) != number and time.monotonic() < end:
                # The backoffice is killed while it catches up, too.
                if number < 300 and (pid := backoffice(server)):
                    time.sleep(0.3)
                    os.kill(pid, signal.SIGKILL)
                    sessions(client, number, 10)
                    number += 10
                time.sleep(0.1)
            assert used_rows(database) == number
            wait_for(lambda: metric(server, "ocs_history_up") == 1 and metric(server, "ocs_history_lag_octets") == 0)
    finally:
        server.end()
    movements = "sum(opening_micro_eur + credit_in_micro_eur - debit_micro_eur)::bigint, sum(credit_micro_eur)::bigint"
    found = asked(database, f"SELECT account, {movements} FROM account_months GROUP BY account")
    with Books(own_redis.url) as books:
        left = {account: books.view(account).credit_micro_eur for account in accounts}
        assert books.audit().ok
    assert {row[0]: row[1] for row in found} == {row[0]: row[2] for row in found} == left
    assert asked(database, "SELECT count(*), count(DISTINCT event_id) FROM transactions") == [(8, 8)]
    recorded = sum(record.get("services_debit_micro_eur", 0) for record in server.records())
    assert asked(database, "SELECT sum(debit_micro_eur)::bigint FROM usage") == [(recorded,)]
