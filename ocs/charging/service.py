"""Charging: one Credit-Control-Request in, one answer out, one round trip to the ledger between (RFC 8506 §7, TS 32.299 §6.3).

The way of a request: context → subscriber → rating → ledger → answer. What this module remembers between requests are two bounded
caches (subscriber → account, session → account); both may be wrong or empty at any time, the ledger says so and is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from ocs.charging import answer as answers
from ocs.charging.context import context_of
from ocs.charging.metrics import ChargingMetrics
from ocs.charging.prepare import Prepared, Rater, Service, prepare
from ocs.charging.profile import Source
from ocs.charging.subscriber import has_subscriber, identities
from ocs.charging.use import circumstances
from ocs.ledger.contract import (
    ChargeOutcome,
    ChargeRequest,
    ChargingLedger,
    LedgerUnavailable,
    RequestType,
    ServiceOutcome,
)
from ocs.rating.types import Context
from protocol import failed_avp
from protocol.credit_control import (
    DIRECT_DEBITING,
    EVENT_REQUEST,
    CreditControlAnswer,
    CreditControlRequest,
)
from protocol.errors import DiameterError, ResultCode

log = logging.getLogger(__name__)

MAX_SUBSCRIBERS_KEPT = 200_000
"""Subscribers whose account a worker remembers (about 0.2 kB each)."""
MAX_SESSIONS_KEPT = 100_000
"""Sessions whose account a worker remembers, for requests without Subscription-Id (about 0.3 kB each)."""
TCC_FACTOR = 2
"""Session supervision: reservations live for twice the longest Validity-Time granted (RFC 8506 §13)."""
DEFAULT_VALIDITY_S = 3600
"""For requests that get no quota, and so no Validity-Time."""
MAX_LOOKUPS = 2
"""A cached account may be stale once: after a fresh look-up the ledger's word is final."""
UNBOOKED = (ResultCode.UNKNOWN_SESSION_ID, ResultCode.RESOURCES_EXCEEDED)
"""The ledger has no session for the request, or no room for one more: an emergency call goes on without (HOT-RAT-2)."""

Reply = Callable[[CreditControlAnswer | DiameterError], None]
Spawn = Callable[[Awaitable[None]], None]


class Recent(dict[str, str]):
    """The last `limit` entries put in; the oldest goes first."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def put(self, key: str, value: str) -> None:
        if len(self) >= self._limit and key not in self:
            del self[next(iter(self))]
        self[key] = value


@dataclass(slots=True)
class _Job:
    prepared: Prepared
    context: Context
    identities: list[str]
    reply: Reply
    lookups: int = 0


class ChargingService:
    """Charges the requests of a worker's peers. `spawn` runs a coroutine in the background (look-ups of unknown subscribers)."""

    def __init__(
        self,
        rater: Rater,
        ledger: ChargingLedger,
        metrics: ChargingMetrics,
        clock: Callable[[], float],
        spawn: Spawn,
    ) -> None:
        self._rater = rater
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._spawn = spawn
        self._subscribers = Recent(MAX_SUBSCRIBERS_KEPT)
        self._sessions = Recent(MAX_SESSIONS_KEPT)

    def handle(self, request: CreditControlRequest, source: Source, reply: Reply) -> None:
        """The gateway's handler: replies exactly once, now or later; raises nothing a peer can provoke."""
        context = context_of(request.service_context_id)
        if context is None:
            answer = request.answer(ResultCode.RATING_FAILED)
            answer.failed_avp = failed_avp.copy("service_context_id", request.service_context_id)
            self._metrics.blocked("unknown", "unrateable")
            reply(answer)
            return
        if request.cc_request_type == EVENT_REQUEST and request.requested_action != DIRECT_DEBITING:
            reply(
                DiameterError(
                    ResultCode.INVALID_AVP_VALUE,
                    "only DIRECT_DEBITING is served as a one-off request",
                    failed_avp=failed_avp.copy("requested_action", request.requested_action),
                )
            )
            return
        prepared = prepare(request, circumstances(context, request), self._rater)
        if prepared.unrateable and prepared.type in (RequestType.INITIAL, RequestType.EVENT):
            self._metrics.blocked("unknown", "unrateable")
            reply(answers.unrateable(prepared))
            return
        job = _Job(prepared, context, identities(request), reply)
        self._find(job)

    # -- whose account?

    def _find(self, job: _Job) -> None:
        for identity in job.identities:
            if account_id := self._subscribers.get(identity):
                self._charge(job, account_id, identity)
                return
        session_id = job.prepared.request.session_id
        if not job.identities and (account_id := self._sessions.get(session_id)):
            self._charge(job, account_id, "")
            return
        self._spawn(self._look_up(job))

    async def _look_up(self, job: _Job) -> None:
        """Ask the ledger whose identity or session this is."""
        job.lookups += 1
        request = job.prepared.request
        try:
            for identity in job.identities:
                if account_id := await self._ledger.find_subscriber(identity):
                    self._subscribers.put(identity, account_id)
                    self._charge(job, account_id, identity)
                    return
            if not has_subscriber(request) and job.prepared.type in (RequestType.UPDATE, RequestType.TERMINATION):
                if account_id := await self._ledger.find_session(request.session_id):
                    self._sessions.put(request.session_id, account_id)
                    self._charge(job, account_id, "")
                    return
                if not job.prepared.always:  # an emergency call of somebody unknown has no session with us, and goes on
                    job.reply(request.answer(ResultCode.UNKNOWN_SESSION_ID))
                    return
        except LedgerUnavailable:
            job.reply(self._unavailable(request))
            return
        self._unknown_subscriber(job)

    def _unknown_subscriber(self, job: _Job) -> None:
        request = job.prepared.request
        if job.prepared.always:
            job.reply(answers.granted_to_anybody(job.prepared))
            return
        self._metrics.blocked("unknown", "unknown")
        if has_subscriber(request):
            job.reply(request.answer(ResultCode.USER_UNKNOWN))
        else:
            missing = failed_avp.example("subscription_id")
            job.reply(
                DiameterError(ResultCode.MISSING_AVP, "a new session needs a Subscription-Id", failed_avp=missing)
            )

    # -- the ledger

    def _charge(self, job: _Job, account_id: str, identity: str) -> None:
        prepared, request = job.prepared, job.prepared.request
        now = int(self._clock())
        validity = max((s.rated.quota.validity_s for s in prepared.services if s.rated), default=DEFAULT_VALIDITY_S)
        charge = ChargeRequest(
            account_id,
            identity,
            request.session_id,
            request.origin_host,
            job.context.value,
            prepared.type,
            request.cc_request_number,
            now,
            self._rater.month_of(now),
            now + TCC_FACTOR * validity,
            tuple([s.charge for s in prepared.services if s.charge is not None]),
        )
        self._ledger.charge(charge, partial(self._charged, job, account_id, identity))

    def _charged(self, job: _Job, account_id: str, identity: str, outcome: ChargeOutcome | LedgerUnavailable) -> None:
        request = job.prepared.request
        if isinstance(outcome, LedgerUnavailable):
            job.reply(self._unavailable(request))
            return
        if outcome.code == 0 or (outcome.code == ResultCode.USER_UNKNOWN and job.lookups == 0):
            # The number has moved to another account, or the account is gone: what we remembered is stale.
            self._subscribers.pop(identity, None)
            self._sessions.pop(request.session_id, None)
            if job.lookups < MAX_LOOKUPS:
                self._spawn(self._look_up(job))
            else:
                self._unknown_subscriber(job)
            return
        if outcome.code in UNBOOKED and job.prepared.always:
            job.reply(answers.granted_to_anybody(job.prepared))
            return
        if job.prepared.type is RequestType.TERMINATION:
            self._sessions.pop(request.session_id, None)
        elif job.prepared.type is RequestType.INITIAL and outcome.code == ResultCode.SUCCESS:
            self._sessions.put(request.session_id, account_id)
        self._count(job, outcome)
        job.reply(answers.answer(job.prepared, outcome))

    @staticmethod
    def _unavailable(request: CreditControlRequest) -> DiameterError:
        """3004 for a request pinned to this server, else 3002: both send the client to another (RFC 6733 §7.1.3)."""
        code = ResultCode.UNABLE_TO_DELIVER if request.destination_host is None else ResultCode.TOO_BUSY
        return DiameterError(code, "the ledger cannot be reached")

    # -- metrics

    def _count(self, job: _Job, outcome: ChargeOutcome) -> None:
        metrics = self._metrics
        if outcome.duplicate:
            metrics.duplicate(job.prepared.type.value)
            return
        outcomes = {service.key: service for service in outcome.services}
        for service in job.prepared.services:
            if service.rated is None:
                metrics.blocked("unknown", "unrateable")
                metrics.mscc_result("unknown", int(ResultCode.RATING_FAILED))
            elif (result := outcomes.get(service.key)) is not None:
                self._count_service(service, result)

    def _count_service(self, service: Service, result: ServiceOutcome) -> None:
        assert service.rated is not None and service.charge is not None
        metrics, name, unit = self._metrics, service.rated.service, service.rated.unit.value
        metrics.mscc_result(name, result.code)
        if service.charge.used:
            metrics.used(name, unit, service.charge.used)
        if result.granted:
            metrics.granted(name, unit, result.granted)
        if result.debited_micro_eur or result.debited_units:
            metrics.debited(name, result.debited_micro_eur, result.debited_units, unit)
        if result.overrun_units:
            metrics.overrun(name, unit, result.overrun_units)
        if result.code != ResultCode.SUCCESS:
            metrics.blocked(name, result.reason or "credit")
