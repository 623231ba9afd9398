"""One command to Redis while it is under way, and who takes its answer."""

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
"""`slot` of what a connection sends for itself: AUTH, scripts, ASKING, WAIT."""


def resolve(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def ignore(_: Answer) -> None:
    """Callback of a command whose answer says nothing."""


class Request:
    """One command under way. `taken` once its callback was called."""

    __slots__ = (
        "asking",
        "callback",
        "command",
        "expires",
        "lane",
        "operation",
        "refusals",
        "sent",
        "slot",
        "taken",
        "wait_for",
    )

    def __init__(
        self,
        command: bytes,
        callback: Callable[[Answer], None],
        operation: str,
        expires: float,
        slot: int,
        lane: int,
        wait_for: int,
    ) -> None:
        self.command = command
        self.callback = callback
        self.operation = operation
        self.expires = expires
        self.slot = slot
        """The partition, or NO_SLOT."""
        self.lane = lane
        """Requests of one lane stay in order."""
        self.sent = 0.0
        self.taken = False
        self.wait_for = wait_for
        """Replicas that must have the write before the answer counts, or 0."""
        self.asking = False
        """Sent after ASKING: the node imports the slot and does not own it yet."""
        self.refusals = 0
        """Answers that sent it elsewhere or told it to come again."""

    def give(self, answer: Answer) -> None:
        if not self.taken:
            self.taken = True
            self.callback(answer)
