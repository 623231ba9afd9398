"""Which of several nodes on a ledger sends a RAR or ASR: all of them receive the notice, and a client may be connected
to each.

The node that last answered the session sends if it can, as the client knows its Origin-Host (RFC 6733 §8.3, §8.5). It
takes a lease in Redis; the other nodes look at the lease a few times, and send if that node could not, or has ended.
Each worker remembers the sessions that it answered last; a worker that takes a session over announces it, and the
others forget it. If a lease or an announcement is lost, another node sends the request, or two nodes do.
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
"""Kind of the notice that a session is now answered by another worker."""
UNDER_WAY_S = 12.0
"""Lease while a request is under way: longer than a client may take to answer (Tx). If the node ends meanwhile, another
may send after it.
"""
TOLD_S = 60.0
"""Lease after the client has answered: longer than the other nodes retry."""
MAX_SESSIONS_KEPT = 100_000
"""Session-Ids a worker remembers as answered last by itself (about 0.2 kB each)."""
OTHERS_WAIT_S = 0.5
"""How long the other nodes wait, so that the node that answered the session last can send."""


class TurnLedger(Protocol):
    """Leases and notices; implemented by `RedisLedger`."""

    async def hold(self, lease: str, holder: str, ttl_ms: int) -> str: ...

    async def holder(self, lease: str) -> tuple[str, int]: ...

    async def release(self, lease: str, holder: str) -> None: ...

    async def announce(self, notice: Notice) -> None: ...


class NodeTurns:
    """One per worker, if nodes share their sessions. The lease belongs to the node, that is, to all of its workers."""

    def __init__(self, node: str, ledger: TurnLedger, spawn: Callable[[Awaitable[None]], None]) -> None:
        self._node = node
        self._ledger = ledger
        self._spawn = spawn
        self._myself = secrets.token_hex(8)
        self._ours: BoundedCache[str, bool] = BoundedCache(MAX_SESSIONS_KEPT)
        """Session-Ids that this worker answered last."""

    def pause_s(self, session_id: str) -> float:
        """How long to wait before `take`."""
        return 0.0 if session_id in self._ours else OTHERS_WAIT_S

    async def take(self, session_id: str, at: float) -> bool:
        """Whether this node may send the request for the change made at `at`. True if Redis is unavailable: two
        requests are better than none.
        """
        try:
            return await self._ledger.hold(_lease(session_id, at), self._node, int(UNDER_WAY_S * 1_000)) == self._node
        except LedgerUnavailable:
            return True

    def told(self, session_id: str, at: float) -> None:
        """The client has answered: no other node needs to send."""
        self._spawn(self._told(session_id, at))

    async def _told(self, session_id: str, at: float) -> None:
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.hold(_lease(session_id, at), self._node, int(TOLD_S * 1_000))

    def give_back(self, session_id: str, at: float) -> None:
        """The request could not be delivered: another node may send."""
        self._spawn(self._give_back(session_id, at))

    async def _give_back(self, session_id: str, at: float) -> None:
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.release(_lease(session_id, at), self._node)

    async def is_told(self, session_id: str, at: float) -> bool:
        """Whether another node has sent the request, or is sending it."""
        try:
            return (await self._ledger.holder(_lease(session_id, at)))[0] not in ("", self._node)
        except LedgerUnavailable:
            return False

    # -- which worker answered a session last

    def watch(self, handle: Handler) -> Handler:
        """`handle`, preceded by noting which sessions this worker answers."""

        def note_and_handle(request: CreditControlRequest, source: Source, reply: Reply) -> None:
            if request.session_id not in self._ours or request.cc_request_type == TERMINATION_REQUEST:
                self._note(request)
            handle(request, source, reply)

        return note_and_handle

    def _note(self, request: CreditControlRequest) -> None:
        if request.cc_request_type == TERMINATION_REQUEST:
            self._ours.pop(request.session_id, None)
        elif request.cc_request_type != EVENT_REQUEST:
            self._ours.put(request.session_id, True)
            if request.cc_request_type == UPDATE_REQUEST:
                self._spawn(self._announce_moved(request))

    async def _announce_moved(self, request: CreditControlRequest) -> None:
        """Tell the other workers to forget the session."""
        session = NoticedSession(request.session_id, request.origin_host, request.origin_realm, "", "")
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.announce(Notice(MOVED, self._myself, 0.0, "", (session,)))

    def hear(self, notice: Notice) -> None:
        """Forget the sessions that another worker has taken over."""
        if notice.kind == MOVED and notice.reason != self._myself:
            for session in notice.sessions:
                self._ours.pop(session.session_id, None)


def _lease(session_id: str, at: float) -> str:
    return f"told {at:.6f} {session_id}"
