"""The npm package `diameter` (0.7.0) as client: its codec and dictionary must understand our messages."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.redis.ledger import RedisLedger
from tests.faults.harness import Serving, open_account
from tests.interop.conftest import MSISDN, REALM, when
from tests.waiting import PATIENCE_S, wait_for

FOLDER = Path(__file__).parent / "node"
PGW = "pgw.a1.example.net"
POOR = "38668100001"
MB, MB_PRICE = 1024 * 1024, 6_900
RESULTS = {
    "CEA": "DIAMETER_SUCCESS",
    "I": "DIAMETER_SUCCESS",
    "U": "DIAMETER_SUCCESS",
    "U, a service refused": "DIAMETER_SUCCESS",
    "T": "DIAMETER_SUCCESS",
    "unknown subscriber": "DIAMETER_USER_UNKNOWN",
    "unknown realm": "DIAMETER_REALM_NOT_SERVED",
    "last units": "DIAMETER_SUCCESS",
    "all used": "DIAMETER_SUCCESS",
    "T of the last units": "DIAMETER_SUCCESS",
    "no credit": "DIAMETER_CREDIT_LIMIT_REACHED",
    "DPA": "DIAMETER_SUCCESS",
}
PEERS = f'[[peer]]\norigin_host = "{PGW}"\nrealm = "{REALM}"\n'


def named(body: list[Any], name: str) -> Any:
    return next(value for key, value in body if key == name)


async def test_what_the_npm_package_reads(serve: Callable[..., Serving], ledger: RedisLedger, account: str) -> None:
    node = shutil.which("node")
    installed = FOLDER / "node_modules" / "diameter"
    assert node and installed.is_dir(), "the tests need Node.js and its packages: make tools"
    poor = await open_account(ledger, POOR, MB_PRICE)
    server = serve(PEERS)
    host, _, port = server.facts()["diameter"][0].rpartition(":")
    client = await asyncio.create_subprocess_exec(
        *(node, "client.js", host, port, MSISDN, POOR),
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said: dict[str, list[Any]] = {}
    assert client.stdout is not None and client.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for line in client.stdout:
                message = json.loads(line)
                said[message["what"]] = message["body"]
                if message["what"] == "U":  # now it waits for a RAR
                    session = NoticedSession(f"{PGW};1;{MSISDN}", PGW, REALM, "", "data")
                    await ledger.announce(Notice("reauthorize", "care", 0.0, account, (session,)))
            status = await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    assert status == 0, (await client.stderr.read()).decode()
    results = {what: named(body, "Result-Code") for what, body in said.items() if what != "Re-Auth"}
    assert results == RESULTS and list(said).index("Re-Auth") == 3
    assert named(said["Re-Auth"], "Session-Id") == f"{PGW};1;{MSISDN}"
    check_services(said)
    for account_id, spent in ((account, 2 * MB_PRICE), (poor, MB_PRICE)):
        view = await ledger.read(account_id, **when())
        assert view is not None
        assert (view.spent_micro_eur, view.held_micro_eur, view.sessions) == (spent, 0, ())
    await asyncio.to_thread(wait_for, lambda: 'ocs_connections_lost_total{reason="dpr"} 1.0' in server.metrics(), 5)


def check_services(said: dict[str, list[Any]]) -> None:
    def services(what: str) -> list[Any]:
        return [value for key, value in said[what] if key == "Multiple-Services-Credit-Control"]

    def octets(service: Any) -> Any:
        granted = named(named(service, "Granted-Service-Unit"), "CC-Total-Octets")
        assert granted["high"] == 0  # JavaScript has no 64-bit integers
        return granted["low"]

    assert octets(services("I")[0]) == octets(services("U")[0]) == octets(services("last units")[0]) == MB
    granted, refused = services("U, a service refused")
    assert octets(granted) == MB and named(granted, "Result-Code") == "DIAMETER_SUCCESS"
    assert named(refused, "Rating-Group") == 777 and named(refused, "Result-Code") == "DIAMETER_RATING_FAILED"
    failed = named(named(said["U, a service refused"], "Failed-AVP"), "Multiple-Services-Credit-Control")
    assert named(failed, "Rating-Group") == 777
    (last,) = services("last units")
    assert named(last, "Final-Unit-Indication") == [["Final-Unit-Action", "TERMINATE"]]
    (nothing,) = services("all used")
    assert named(nothing, "Result-Code") == "DIAMETER_CREDIT_LIMIT_REACHED"
    assert "Granted-Service-Unit" not in [key for key, _ in nothing]
