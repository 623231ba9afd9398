"""A RAR or ASR of ours on its way: what it is for, what of the server and the ledger it needs, what its answer says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ocs.diameter.outstanding import Answered, Asked, Done
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.contract.views import AccountView
from protocol.commands import MIN_ERROR_CODE, ErrorMessage
from protocol.errors import ResultCode

RAR, ASR = "RAR", "ASR"
PASSING = frozenset({ResultCode.UNABLE_TO_DELIVER, ResultCode.TOO_BUSY, ResultCode.UNABLE_TO_COMPLY})
"""Refusals that may not be repeated, besides the transient ones (4xxx, RFC 6733 §7.1.4)."""
WindowKey = tuple[str, bool]
"""Connected peer, and whether it is for ASRs."""


class Sender(Protocol):
    """The part of the `DiameterServer` that is needed."""

    def ask(self, peer_host: str, request: Asked, done: Done, timeout_s: float) -> bool: ...

    def connected_here(self, peer_host: str) -> bool: ...

    def connected_anywhere(self, peer_host: str) -> bool: ...


class Releaser(Protocol):
    async def release_session(self, account_id: str, session_id: str, *, reason: str, now: int, month: int) -> bool: ...

    async def announce(self, notice: Notice) -> None: ...

    async def read(self, account_id: str, *, now: int, month: int) -> AccountView | None: ...


class RequestMetrics(Protocol):
    def client_request(self, command: str, reason: str) -> None:
        """A RAR or ASR handed to the transport."""

    def client_answer(self, command: str, result: str) -> None:
        """`result`: a Result-Code, or "no_answer", "unreachable", "not_wanted", "dropped", "given_up", "refused",
        "ended".
        """

    def unblocked(self, seconds: float) -> None:
        """From an accepted top-up to the RAR on the wire."""


@dataclass(slots=True, eq=False)
class Job:
    """A session whose client is to be told something."""

    session: NoticedSession
    account_id: str
    abort: bool
    reason: str
    at: float
    """When the change was asked for, by the clock of whoever made it."""
    since: float
    """When we last heard of it."""
    tries: int = 0
    under_way: bool = False
    fresh: bool = True
    """No request has been sent since the last notice."""
    turn: int = 0
    """Counts the sends planned: timer, place in line and answer of an earlier plan change nothing."""
    again: bool = False
    """Something has changed since the request that is under way was sent."""
    place: WindowKey | None = None
    """Where it waits for the peer to answer others, as one of this client."""
    waits_as: str = ""
    ours: bool = False
    """This worker had the connection, so that the others have left it to us."""
    waited: bool = False
    """Since its last news: the session may have ended."""
    turn_at: float = 0.0
    """The change (`at`) that it is this node's turn to tell of."""
    objected: bool = False
    """The client has found fault with an Abort-Cause, or with the want of it."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request and the plan that it belongs to."""

    job: Job
    turn: int
    peer: str
    client: str
    abort: bool
    cause: int | None
    """Its Abort-Cause."""

    @property
    def command(self) -> str:
        return ASR if self.abort else RAR


def code_of(answer: Answered) -> int:
    return answer.code if isinstance(answer, ErrorMessage) else answer.result_code


def for_good(code: int) -> bool:
    """A refusal that would come again."""
    return code >= MIN_ERROR_CODE and not 4000 <= code < 5000 and code not in PASSING
