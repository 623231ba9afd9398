"""Which of several nodes on a ledger sends a RAR or ASR: all of them hear of the change, and a client may be connected
to each.

One sends, the one that has answered the session last if it can: its name is the one that the client knows (RFC 6733
§8.3, §8.5). The others look again a few times, and send when it could not, or has ended. A node knows that it was the
last by its own memory; one that takes a session over says so, and the one before forgets it. All of this may be lost:
then a client is asked by another node, or twice.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol

from ocs.charging.source import Source
from ocs.diameter.dispatch import Handler, Reply
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.values.bounded_cache import BoundedCache
from protocol.credit_control import EVENT_REQUEST, TERMINATION_REQUEST, UPDATE_REQUEST, CreditControlRequest

MOVED = "moved"
"""Kind of the notice that a session has come to another worker."""
UNDER_WAY_S = 12.0
"""Longer than a client may take to answer (Tx). After it another node may send, as the one that had the turn has
ended.
"""
TOLD_S = 60.0
"""Longer than the others look again."""
MAX_SESSIONS_KEPT = 100_000
"""Session-Ids a worker remembers as its own (about 0.2 kB each)."""
OTHERS_WAIT_S = 0.5
"""What a node leaves to the one that has answered the session last."""


class TurnLedger(Protocol):
    async def hold(self, lease: str, holder: str, ttl_ms: int) -> str: ...

    async def holder(self, lease: str) -> tuple[str, int]: ...

    async def let_go(self, lease: str, holder: str) -> None: ...

    async def announce(self, notice: Notice) -> None: ...


class NodeTurns:
    """One per worker of a node that shares its sessions with others; the workers of a node have their turns
    together.
    """

    def __init__(self, node: str, ledger: TurnLedger, spawn: Callable[[Awaitable[None]], None]) -> None:
        self._node = node
        self._ledger = ledger
        self._spawn = spawn
        self._myself = secrets.token_hex(8)
        self._ours: BoundedCache[str, bool] = BoundedCache(MAX_SESSIONS_KEPT)
        """Session-Ids that this worker was the last to be asked about."""

    def pause_s(self, session_id: str) -> float:
        """Before it asks for its turn."""
        return 0.0 if session_id in self._ours else OTHERS_WAIT_S

    async def take(self, session_id: str, at: float) -> bool:
        """Whether this node may tell the client of the change of that time. Without Redis it may: rather twice than
        never.
        """
        try:
            return await self._ledger.hold(_lease(session_id, at), self._node, int(UNDER_WAY_S * 1_000)) == self._node
        except LedgerUnavailable:
            return True

    def told(self, session_id: str, at: float) -> None:
        """The client has answered: nobody need tell it again."""
        self._spawn(self._told(session_id, at))

    async def _told(self, session_id: str, at: float) -> None:
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.hold(_lease(session_id, at), self._node, int(TOLD_S * 1_000))

    def give_back(self, session_id: str, at: float) -> None:
        """It could not be told: another node may."""
        self._spawn(self._give_back(session_id, at))

    async def _give_back(self, session_id: str, at: float) -> None:
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.let_go(_lease(session_id, at), self._node)

    async def is_told(self, session_id: str, at: float) -> bool:
        """Another node has told the client, or is about to."""
        try:
            return (await self._ledger.holder(_lease(session_id, at)))[0] not in ("", self._node)
        except LedgerUnavailable:
            return False

    # -- who was the last

    def watch(self, handle: Handler) -> Handler:
        """The Diameter side's handler, which sees each request first."""

        def handle_and_see(request: CreditControlRequest, source: Source, reply: Reply) -> None:
            if request.session_id not in self._ours or request.cc_request_type == TERMINATION_REQUEST:
                self._see(request)
            handle(request, source, reply)

        return handle_and_see

    def _see(self, request: CreditControlRequest) -> None:
        if request.cc_request_type == TERMINATION_REQUEST:
            self._ours.pop(request.session_id, None)
        elif request.cc_request_type != EVENT_REQUEST:
            self._ours.put(request.session_id, True)
            if request.cc_request_type == UPDATE_REQUEST:
                self._spawn(self._say_moved(request))

    async def _say_moved(self, request: CreditControlRequest) -> None:
        """What other workers remember of the session is old."""
        session = NoticedSession(request.session_id, request.origin_host, request.origin_realm, "", "")
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.announce(Notice(MOVED, self._myself, 0.0, "", (session,)))

    def hear(self, notice: Notice) -> None:
        if notice.kind == MOVED and notice.reason != self._myself:
            for session in notice.sessions:
                self._ours.pop(session.session_id, None)


def _lease(session_id: str, at: float) -> str:
    return f"told {at:.6f} {session_id}"
