"""Runs client.erl beside a server and reads what it prints."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_S

CLIENT = Path(__file__).parent / "client.erl"
OCS, OCS_REALM = "ocs.hot.example.net", "hot.example.net"


@dataclass(frozen=True)
class Said:
    """A message of the server as the client decoded it: AVPs are [name, value], groups have lists of them as value."""

    what: str
    message: str
    problems: list[str]
    avps: list[Any]

    def all(self, *path: str) -> list[Any]:
        """Values of the AVPs at this place."""
        found = [self.avps]
        for name in path:
            found = [value for group in found for key, value in group if key == name]
        return found

    def one(self, *path: str) -> Any:
        (value,) = self.all(*path)
        return value

    @property
    def result(self) -> Any:
        return self.one("Result-Code")

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.avps]


Reactions = Mapping[str, Callable[[], Awaitable[Any]]]


async def run_client(folder: Path, *words: str, reactions: Reactions | None = None) -> tuple[list[Said], int]:
    """What was said, and the client's exit status. `reactions`: what to do when the message of this name has come."""
    escript = shutil.which("escript")
    assert escript, "the tests need the diameter application of Erlang: apt-get install erlang-diameter (make tools)"
    client = await asyncio.create_subprocess_exec(
        *(escript, str(CLIENT), *words),
        cwd=folder,
        # Nothing of the caller's may make it a node of a cluster, which would start epmd; a crash leaves no dump.
        env={**{k: v for k, v in os.environ.items() if not k.startswith("ERL_")}, "ERL_CRASH_DUMP_BYTES": "0"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert client.stdout is not None and client.stderr is not None
    said: list[Said] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for line in client.stdout:
                said.append(Said(**json.loads(line)))
                if reactions and said[-1].what in reactions:
                    await reactions[said[-1].what]()
            complaint = (await client.stderr.read()).decode()
            status = await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    assert not complaint, complaint
    return said, status


def nothing_wrong(said: list[Said], status: int) -> dict[str, Said]:
    """The messages by name."""
    found = [(one.what, one.problems) for one in said if one.problems]
    assert not found and status == 0, found
    hello, watchdog, goodbye = said[0], said[-2], said[-1]
    assert (hello.message, hello.result, watchdog.message, goodbye.message) == ("CEA", 2001, "DWA", "DPA")
    for short in (watchdog, goodbye):
        assert short.avps == [["Result-Code", 2001], ["Origin-Host", OCS], ["Origin-Realm", OCS_REALM]]
    return {one.what: one for one in said}
