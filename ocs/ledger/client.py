"""What the ledger's operations share: commands and scripts sent to the node of their partition, answers checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis

from ocs.ledger import scripts, wire
from ocs.ledger.connection import Answer, Request, resolve
from ocs.ledger.connection import command as pack_command
from ocs.ledger.contract import LedgerError, LedgerUnavailable, PackageTerms
from ocs.ledger.keys import Keys
from ocs.ledger.nodes import Nodes
from ocs.ledger.settings import LedgerSettings

REFUSALS = {
    "exists": "the number or the IMSI belongs to an account already",
    "ceiling": "the credit would exceed 200 EUR (HOT-ACC-7)",
    "state": "the account's state does not allow it",
    "credit": "the credit does not cover the price",
    "unknown": "there is no such account",
    "reference": "this reference was used for another account or amount",
}


class LedgerClient:
    """One process's way to the ledger. `clock` gives Unix seconds, only to time notices."""

    def __init__(
        self,
        nodes: Nodes,
        keys: Keys,
        settings: LedgerSettings,
        packages: Sequence[PackageTerms] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nodes = nodes
        self._keys = keys
        self._settings = settings
        self._packages = list(packages)
        self._clock = clock
        self._timeout_s = settings.timeout_ms / 1000
        self._replicas = settings.replicas if settings.durability == "replicated" else 0
        self._scripts = scripts.load()
        self._loop = asyncio.get_running_loop()

    def _account_keys(self, account_id: str) -> Any:
        try:
            return self._keys.by_partition[self._keys.partition_of_account(account_id)]
        except ValueError:
            raise LedgerError("unknown", REFUSALS["unknown"]) from None

    async def _script(self, name: str, account_id: str, keys: Sequence[bytes], body: object) -> bytes:
        """Run a script that answers one word on one account; its refusals become LedgerError."""
        word: bytes = await self._run_script(name, account_id, keys, body)
        if word.decode() in REFUSALS:
            raise LedgerError(word.decode(), REFUSALS[word.decode()])
        return word

    async def _run_script(self, name: str, account_id: str, keys: Sequence[bytes], body: object) -> Any:
        partition = self._keys.partition_of_account(account_id)
        own = self._keys.by_partition[partition].account + account_id.encode()
        arguments = (account_id.encode(), wire.pack(body))
        sha = self._scripts[name].sha
        return await self._ask(
            name, partition, b"EVALSHA", sha, len(keys) + 1, own, *keys, *arguments, lane=hash(account_id), durable=True
        )

    async def _ask(
        self, operation: str, partition: int, *command: bytes | str | int, lane: int = 0, durable: bool = False
    ) -> Any:
        future: asyncio.Future[Answer] = self._loop.create_future()
        packed = pack_command(command)
        expires = self._loop.time() + self._timeout_s
        self._send(packed, partial(resolve, future), operation, partition, lane, expires, durable=durable)
        return checked(await future)

    def _send(
        self,
        command: bytes,
        callback: Any,
        operation: str,
        partition: int,
        lane: int,
        expires: float,
        durable: bool = True,
    ) -> None:
        wait_for = self._replicas if durable else 0
        self._nodes.route(Request(command, callback, operation, expires, partition, lane, wait_for))


def checked(answer: Answer) -> Any:
    if isinstance(answer, LedgerUnavailable):
        raise answer
    if isinstance(answer, hiredis.ReplyError):
        raise LedgerUnavailable(f"Redis refused: {answer}")
    return answer
