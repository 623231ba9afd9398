"""One command to Redis, and the callback that takes its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

command: Callable[[tuple[bytes | str | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
"""RESP of one command. (The library's own annotation allows only one part.)"""

Answer = Any
"""bytes, int, list, None, a hiredis.ReplyError, or LedgerUnavailable."""

NO_SLOT = -1
"""`slot` of the connection's own commands: AUTH, scripts, ASKING, WAIT."""


def resolve(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def ignore(_: Answer) -> None:
    """Callback of a command whose answer does not matter."""


class Request:
    """One command in flight. `answered`: its callback has been called."""

    __slots__ = (
        "answered",
        "asking",
        "callback",
        "command",
        "expires",
        "operation",
        "order_key",
        "refusals",
        "sent",
        "slot",
        "wait_for",
    )

    def __init__(
        self,
        command: bytes,
        callback: Callable[[Answer], None],
        operation: str,
        expires: float,
        slot: int,
        order_key: int,
        wait_for: int,
    ) -> None:
        self.command = command
        self.callback = callback
        self.operation = operation
        self.expires = expires
        self.slot = slot
        """The partition, or NO_SLOT."""
        self.order_key = order_key
        """Requests with the same key stay in order: the hash of an account id."""
        self.sent = 0.0
        self.answered = False
        self.wait_for = wait_for
        """Replicas that must have the write before the answer is passed on; 0 = none."""
        self.asking = False
        """Sent after ASKING: the node imports the slot and does not own it yet."""
        self.refusals = 0
        """How often a node has redirected or postponed it."""

    def finish(self, answer: Answer) -> None:
        if not self.answered:
            self.answered = True
            self.callback(answer)
