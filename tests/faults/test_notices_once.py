"""A notice is an event once a crossing, in the record files, whoever is killed in the middle (HOT-NOT-2)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from ocs.process.processes import command_line
from protocol.credit_control import CreditControlRequest, PsInformation, ServiceInformation
from tests.conftest import RedisServer
from tests.faults.client import data_request
from tests.faults.harness import Books, Serving
from tests.waiting import PATIENCE_S, wait_for

MB, AUSTRIA = 1024 * 1024, "23201"
CREDIT, LIMIT = 1_100_000, "0.10"
"""20 MB in the EU cost 138,000 micro-EUR: more than the limit, and the credit falls below 1 EUR."""
VICTIMS = ("worker", "housekeeper", "redis")
NOTICES = {("arrived", None): 1, ("low_credit", None): 1, ("threshold", 80): 1, ("threshold", 100): 1}


def child(server: Serving, role: str) -> int:
    """Process id, 0 while there is none."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="ascii")
    return next((int(pid) for pid in children.split() if f"ocs.process.{role}" in " ".join(command_line(int(pid)))), 0)


def abroad(request: CreditControlRequest) -> CreditControlRequest:
    place = PsInformation(called_station_id="internet", tgpp_sgsn_mcc_mnc=AUSTRIA)
    request.service_information = ServiceInformation(ps_information=place)
    return request


def kill(server: Serving, redis: RedisServer, victim: str) -> None:
    if victim == "redis":
        redis.stop(kill=True)
        redis.start()
    elif pid := child(server, victim):
        os.kill(pid, signal.SIGKILL)


def ask_until_answered(server: Serving, request: CreditControlRequest, redis: RedisServer, victim: str | None) -> None:
    """Send it, kill the victim before the answer is read, and repeat the request until it is answered."""
    end = time.monotonic() + PATIENCE_S
    repeated = False
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            client = server.connect()
            with contextlib.closing(client):
                number = client.send(request, retransmitted=repeated)
                if victim is not None:
                    kill(server, redis, victim)
                victim, repeated = None, True
                if client.receive(number).result_code in (2001, 4012):
                    return
        time.sleep(0.2)
    raise AssertionError("nobody answered")


@pytest.mark.long
def test_a_notice_is_told_once_whoever_is_killed_in_the_middle(own_redis: RedisServer, tmp_path: Path) -> None:
    server = Serving(tmp_path / "ocs", own_redis.url)
    numbers = {f"386681000{n:02}": VICTIMS[n % len(VICTIMS)] for n in range(6)}
    try:
        with Books(own_redis.url) as books:
            accounts = {number: books.open_account(number, CREDIT) for number in numbers}
        for number, victim in numbers.items():
            assert server.command("account", "limit", number, "--amount", LIMIT).returncode == 0
            sid = f"pgw.example.net;1;{number}"
            ask_until_answered(server, data_request(number, sid, 1, 0, want=MB), own_redis, None)
            ask_until_answered(server, abroad(data_request(number, sid, 2, 1, used=20 * MB)), own_redis, victim)
            ask_until_answered(server, abroad(data_request(number, sid, 3, 2, used=0)), own_redis, None)
        wait_for(
            lambda: {r["account"] for r in server.records() if r.get("request_type") == "T"} == {*accounts.values()}
        )
    finally:
        server.end()
    told = Counter((r["account"], r["kind"], r.get("percent")) for r in server.records())
    for number, account_id in accounts.items():
        found = {(kind, percent): told[account_id, kind, percent] for kind, percent in NOTICES}
        assert found == NOTICES, (numbers[number], [r for r in server.records() if r["account"] == account_id])
    assert Books(own_redis.url).audit().ok
