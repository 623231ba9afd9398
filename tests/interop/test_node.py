"""The npm package `diameter` (0.7.0) as client: its codec and dictionary must understand what we say."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocs.ledger.contract import Notice, NoticedSession
from ocs.ledger.redis_ledger import RedisLedger
from tests.faults.harness import Serving
from tests.interop.conftest import MSISDN, REALM, when

FOLDER = Path(__file__).parent / "node"
PGW = "pgw.a1.example.net"
PEERS = f'[[peer]]\norigin_host = "{PGW}"\nrealm = "{REALM}"\n'


def named(body: list[Any], name: str) -> Any:
    return next(value for key, value in body if key == name)


async def test_a_session_of_the_npm_package(serve: Callable[..., Serving], ledger: RedisLedger, account: str) -> None:
    node = shutil.which("node")
    installed = FOLDER / "node_modules" / "diameter"
    assert node and installed.is_dir(), "the tests need Node.js and its packages: make tools"
    host, _, port = serve(PEERS).facts()["diameter"][0].rpartition(":")
    client = await asyncio.create_subprocess_exec(
        *(node, "client.js", host, port, MSISDN),
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said: list[tuple[str, list[Any]]] = []
    assert client.stdout is not None and client.stderr is not None
    try:
        async with asyncio.timeout(30):
            async for line in client.stdout:
                message = json.loads(line)
                said.append((message["what"], message["body"]))
                if len(said) == 3:  # CEA, CCA-I, CCA-U: now it waits for a RAR
                    session = NoticedSession(f"{PGW};1;{MSISDN}", PGW, REALM, "", "data")
                    await ledger.announce(Notice("reauthorize", "care", 0.0, account, (session,)))
            status = await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    assert status == 0, (await client.stderr.read()).decode()
    assert [what for what, _ in said] == [
        "Capabilities-Exchange",
        "Credit-Control",
        "Credit-Control",
        "Re-Auth",
        "Credit-Control",
    ]
    for what, body in said:
        if what != "Re-Auth":
            assert named(body, "Result-Code") == "DIAMETER_SUCCESS"
    service = named(said[1][1], "Multiple-Services-Credit-Control")
    granted = named(named(service, "Granted-Service-Unit"), "CC-Total-Octets")
    assert (granted["high"], granted["low"]) == (0, 1048576)  # JavaScript has no 64-bit integers
    assert named(said[3][1], "Session-Id") == f"{PGW};1;{MSISDN}"
    view = await ledger.read(account, **when())
    assert view is not None and view.spent_micro_eur == 2 * 6_900 and view.sessions == ()
