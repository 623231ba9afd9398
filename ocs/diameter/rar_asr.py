"""RARs and ASRs that are being sent: their state, and what sending needs of the server, the ledger and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ocs.diameter.outstanding import Answered, Asked, Done
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.contract.views import AccountView
from protocol.commands import MIN_ERROR_CODE, AbortSessionRequest, ErrorMessage, ReAuthRequest
from protocol.errors import ResultCode

RAR, ASR = "RAR", "ASR"
TRANSIENT = frozenset({ResultCode.UNABLE_TO_DELIVER, ResultCode.TOO_BUSY, ResultCode.UNABLE_TO_COMPLY})
"""Result-Codes after which a request may succeed later, besides 4xxx (RFC 6733 §7.1.4)."""
WindowKey = tuple[str, bool]
"""Connected peer, and the command: True = ASR, False = RAR."""


class Sender(Protocol):
    """Implemented by `DiameterServer`."""

    def ask(self, peer_host: str, request: Asked, done: Done, timeout_s: float) -> bool: ...

    def connected_here(self, peer_host: str) -> bool: ...

    def connected_anywhere(self, peer_host: str) -> bool: ...


class Releaser(Protocol):
    """Implemented by `RedisLedger`."""

    async def release_session(self, account_id: str, session_id: str, *, reason: str, now: int, month: int) -> bool: ...

    async def announce(self, notice: Notice) -> None: ...

    async def read(self, account_id: str, *, now: int, month: int) -> AccountView | None: ...


class RequestMetrics(Protocol):
    def client_request(self, command: str, reason: str) -> None:
        """Count a RAR or ASR that was handed to the transport."""

    def client_answer(self, command: str, result: str) -> None:
        """Count an outcome: a Result-Code, or "no_answer", "unreachable", "not_wanted", "dropped", "given_up",
        "refused", "ended".
        """

    def unblocked(self, seconds: float) -> None:
        """Observe the time from an accepted top-up to the RAR on the wire."""


@dataclass(slots=True, eq=False)
class Job:
    """A session whose client must get a RAR or ASR. Notices that come meanwhile are merged into it."""

    session: NoticedSession
    account_id: str
    abort: bool
    reason: str
    changed_at: float
    """When the account was changed: Unix seconds, by the clock of the process that changed it."""
    noticed_at: float
    """When the last notice of it came: seconds of our clock."""
    tries: int = 0
    under_way: bool = False
    """A request is being sent, or waits for its answer."""
    unsent: bool = True
    """No request has been sent since the last notice."""
    plan: int = 0
    """Number of the current attempt. Timers and answers of earlier attempts are ignored."""
    changed_again: bool = False
    """A notice has come since the request under way was sent."""
    queue: WindowKey | None = None
    """Queue that it waits in (`RequestQueues`)."""
    queued_client: str = ""
    """Client in whose part of the queue it waits."""
    was_ours: bool = False
    """This worker had the connection, so the other workers have dropped the notice."""
    delayed: bool = False
    """It has waited since the last notice, so the session may have ended."""
    turn_taken_for: float = 0.0
    """`changed_at` of the change for which this node may send (`NodeTurns`)."""
    objected: bool = False
    """The client has objected to an ASR because of Abort-Cause."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of a job."""

    job: Job
    plan: int
    """`Job.plan` when it was sent."""
    peer: str
    """Origin-Host of the connected peer."""
    client: str
    """Origin-Host of the client, its Destination-Host."""
    abort: bool
    cause: int | None
    """Its Abort-Cause."""

    @property
    def command(self) -> str:
        return ASR if self.abort else RAR

    def request(self, origin_host: str, origin_realm: str) -> Asked:
        session = self.job.session
        names = session.session_id, origin_host, origin_realm, session.origin_realm, session.origin_host
        return AbortSessionRequest(*names, abort_cause=self.cause) if self.abort else ReAuthRequest(*names)


def code_of(answer: Answered) -> int:
    return answer.code if isinstance(answer, ErrorMessage) else answer.result_code


def is_permanent(code: int) -> bool:
    """Whether the request would be refused again."""
    return code >= MIN_ERROR_CODE and not 4000 <= code < 5000 and code not in TRANSIENT
