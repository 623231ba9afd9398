"""Charging: one Credit-Control-Request in, one answer out, one round trip to the ledger between (RFC 8506 §7, TS 32.299
§6.3).

The way of a request: context → subscriber → rating → ledger → answer. What this module remembers between requests are
two bounded caches (subscriber → account, session → account); both may be wrong or empty at any time, the ledger says so
and is asked.
Requests of one session do not overtake each other (`order`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from ocs.charging import answer as answers
from ocs.charging import event_requests, several
from ocs.charging.ledger_request import charge_request, following
from ocs.charging.members import EVENT, INITIAL, TERMINATION
from ocs.charging.metrics import ChargingMetrics
from ocs.charging.prepare import prepare
from ocs.charging.prepared import Prepared, Rater, Terms
from ocs.charging.recipients import MAX_RECIPIENTS
from ocs.charging.session_order import Reply, SessionKey, SessionOrder, Waiting, busy
from ocs.charging.source import Source
from ocs.charging.subscriber import ForeignSubscriberError, has_subscriber, identities, within
from ocs.charging.usage_context import UsageContext, circumstances
from ocs.charging.usage_metrics import UsageMetrics
from ocs.ledger.contract.charging import UNKNOWN_PLACE, ChargeOutcome, ChargeRequest, Retry
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.operations import ChargingLedger
from ocs.settings.charging import DEFAULT_POLICY, ChargingPolicy
from ocs.values.bounded_cache import BoundedCache
from ocs.values.requests import RequestType
from ocs.values.sessions import session_owner
from ocs.values.use import Context
from protocol import failed_avp
from protocol.credit_control import (
    CHECK_BALANCE,
    EVENT_REQUEST,
    INITIAL_REQUEST,
    PRICE_ENQUIRY,
    REFUND_ACCOUNT,
    CreditControlAnswer,
    CreditControlRequest,
)
from protocol.errors import DiameterError, ResultCode

MAX_SUBSCRIBERS_KEPT = 200_000
"""Subscribers whose account a worker remembers (about 0.2 kB each)."""
MAX_SESSIONS_KEPT = 100_000
"""Sessions whose account and place a worker remembers, for requests that leave them out (about 0.5 kB each)."""
NO_ACCOUNT = ""
"""In place of an account id: the ledger knows no such subscriber."""
NOBODY_S = 60.0
"""How long an identity of nobody, beside one of an account, stays so: it may be given to an account meanwhile."""
MAX_REPLACED = 2
"""What we remembered of a session's place may be stale once; more often only if others move the session at the same
time.
"""
MAX_LOOKUPS = 2
"""A cached account may be stale once: after a fresh look-up the ledger's word is final."""
SUCCESS = int(ResultCode.SUCCESS)
GRANT_ANYWAY = (ResultCode.UNKNOWN_SESSION_ID, ResultCode.RESOURCES_EXCEEDED)
"""The ledger has no session for the request, or no room for one more: an emergency call goes on without (HOT-RAT-2)."""
CANNOT_NOW = frozenset((Retry.CLOCK, Retry.VERSION, Retry.UNREADABLE))
"""Reasons for which the ledger did nothing, and would not if asked again at once: another server may do better."""
GRANTING = (RequestType.INITIAL, RequestType.UPDATE)
LATER = (RequestType.UPDATE, RequestType.TERMINATION)
"""Those that may leave out the subscriber: the session says whose it is."""

LEDGER_AWAY = "the ledger cannot be reached"
ANSWER_TIMEOUT_S = 3.0
"""After it the gateway has answered for a request that was not handled."""

Spawn = Callable[[Awaitable[None]], None]
Ended = Callable[[str, str], None]
"""Told when a client has ended a session: its Session-Id and the client's Origin-Host."""


@dataclass(slots=True)
class _Session:
    """What a worker remembers of a session; it may be wrong or missing at any time."""

    account_id: str
    """NO_ACCOUNT: an emergency call without an account."""
    where: UsageContext
    place: str
    """`where` as the ledger keeps it."""


@dataclass(slots=True)
class _Job:
    prepared: Prepared
    context: Context
    identities: list[str]
    where: UsageContext
    expected_location: str
    """The place that `where` was completed from; "" = it needed none."""
    source: Source
    session: SessionKey
    send: Reply
    order: SessionOrder[_Job]
    lookups: int = 0
    replaced: int = 0
    waiting: deque[Waiting] | None = None

    @property
    def owner(self) -> str:
        return self.session[0]

    @property
    def since(self) -> float:
        return self.prepared.terms.now

    def reply(self, answer: CreditControlAnswer | DiameterError) -> None:
        """Then the next request of the session has its turn."""
        try:
            self.send(answer)
        finally:
            self.order.end(self)


def _session_key(request: CreditControlRequest, source: Source) -> SessionKey:
    carried = source.realm_bound and request.origin_host.lower() != source.origin_host.lower()
    realm = request.origin_realm if carried else None
    return session_owner(request.origin_host, failover_group=source.failover_group, realm=realm), request.session_id


class ChargingService:
    """Charges the requests of a worker's peers. `spawn` runs a coroutine in the background (look-ups of unknown
    subscribers).
    """

    def __init__(
        self,
        rater: Rater,
        ledger: ChargingLedger,
        metrics: ChargingMetrics,
        clock: Callable[[], float],
        spawn: Spawn,
        policy: ChargingPolicy = DEFAULT_POLICY,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        ended: Ended = lambda session_id, origin_host: None,
    ) -> None:
        self._rater = rater
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._spawn = spawn
        self._policy = policy
        self._ended = ended
        self._subscribers: BoundedCache[str, str] = BoundedCache(MAX_SUBSCRIBERS_KEPT)
        self._sessions: BoundedCache[SessionKey, _Session] = BoundedCache(MAX_SESSIONS_KEPT)
        self._strangers: BoundedCache[str, float] = BoundedCache(MAX_SUBSCRIBERS_KEPT)
        self._usage_metrics = UsageMetrics(metrics, clock)
        self._terms: dict[int, Terms] = {}
        """By profile, of this second and catalogue."""
        self._terms_of: tuple[int, Rater] = 0, rater
        self._refused: BoundedCache[SessionKey, bool] = BoundedCache(MAX_SESSIONS_KEPT)
        self._order: SessionOrder[_Job] = SessionOrder(self.handle, clock, answer_timeout_s)
        self._under_way = self._order.under_way

    def handle(self, request: CreditControlRequest, source: Source, reply: Reply) -> None:
        """The Diameter side's handler: replies exactly once, now or later; raises nothing a peer can provoke."""
        context = source.service_contexts[request.service_context_id]
        if context is None:
            answer = request.answer(ResultCode.RATING_FAILED)
            answer.failed_avp = failed_avp.copy("service_context_id", request.service_context_id)
            self._metrics.blocked("unknown", "unrateable")
            self._usage_metrics.unknown_context(source.origin_host, request.service_context_id)
            reply(answer)
            return
        if request.cc_request_type == EVENT_REQUEST and request.requested_action == REFUND_ACCOUNT:
            if not source.refunds:
                reply(DiameterError(ResultCode.AUTHORIZATION_REJECTED, "this peer may not give money back"))
                return
            try:
                event_requests.refunded_debit(request)
            except DiameterError as error:
                reply(error)
                return
        session = _session_key(request, source)
        if session in self._under_way and self._order.wait(session, request, source, reply):
            return
        terms = self._terms_for(source)
        where, expected_location = self._where(context, request, session, terms)
        if where.unreadable_location is not None:
            self._usage_metrics.unreadable_location(source.origin_host, where)
        opens = request.cc_request_type in (INITIAL_REQUEST, EVENT_REQUEST)
        if opens and len(where.recipients) > MAX_RECIPIENTS:
            self._metrics.blocked("unknown", "recipients")
            reply(DiameterError(ResultCode.RESOURCES_EXCEEDED, f"more than {MAX_RECIPIENTS} recipients in one request"))
            return
        prepared = prepare(request, where, self._rater, terms)
        if prepared.stranger:
            reply(event_requests.stranger(prepared.stranger))
            return
        enquiry = prepared.type is EVENT and request.requested_action in (PRICE_ENQUIRY, CHECK_BALANCE)
        if (opens and prepared.unrateable) or (enquiry and any(service.rated is None for service in prepared.services)):
            self._metrics.blocked("unknown", "unrateable")
            if prepared.type is INITIAL:
                self._refused.put(session, True)
            reply(answers.unrateable(prepared))
            return
        if prepared.type is EVENT and request.requested_action == PRICE_ENQUIRY:
            reply(event_requests.priced(prepared, self._policy))
            return
        given = identities(request)
        if source.subscribers:  # an account that several of them mean is found by one that the peer may charge
            given.sort(key=lambda identity: not within(identity, source.subscribers))
        job = _Job(prepared, context, given, where, expected_location, source, session, reply, self._order)
        if prepared.type is not EVENT:
            self._under_way[session] = job
        try:
            self._find(job)
        except BaseException:
            self._order.end(job)
            raise

    def _terms_for(self, source: Source) -> Terms:
        now, profile = int(self._clock()), source.profile
        if now != self._terms_of[0] or self._rater is not self._terms_of[1]:
            self._terms_of, self._terms = (now, self._rater), {}
        terms = self._terms.get(id(profile))
        if terms is None:
            terms = self._terms[id(profile)] = Terms(now, profile, self._policy)
        return terms

    def _where(
        self, context: Context, request: CreditControlRequest, session: SessionKey, terms: Terms
    ) -> tuple[UsageContext, str]:
        """Where, how and when the use takes place. Later requests of a session may leave out what has not changed: it
        is filled in from what is remembered here, and the ledger is told from what (second of the pair), so that it can
        object.

        A one-off use takes place when the client says. A grant is used from now on, whatever the client's clock says.
        """
        where = circumstances(context, request, terms.profile.forwarding_role)
        where.at = now = terms.now
        if request.cc_request_type == EVENT_REQUEST:
            said_at = request.event_timestamp
            if said_at is not None and abs(said_at - now) <= self._policy.event_time_window_s:
                where.at = said_at
            return where, ""
        if request.cc_request_type == INITIAL_REQUEST:
            return where, ""
        complete = where.complete
        known = self._sessions.get(session)
        if known is not None:
            where.completed(known.where)
        if complete:
            return where, ""
        return where, UNKNOWN_PLACE if known is None else known.place

    def _put_in_place(self, job: _Job, account_id: str, identity: str, place: str) -> None:
        """The session is elsewhere than we thought: rate the request again, there."""
        request, terms = job.prepared.request, job.prepared.terms
        job.replaced += 1
        if job.replaced > MAX_REPLACED:
            job.reply(busy(request, "the session is being changed by others"))
            return
        there = UsageContext.decode(job.context, place)
        self._sessions.put(job.session, _Session(account_id, there, place))
        job.where, job.expected_location = self._where(job.context, request, job.session, terms)
        job.prepared = prepare(request, job.where, self._rater, terms)
        self._charge(job, account_id, identity)

    # -- whose account?

    def _find(self, job: _Job) -> None:
        if job.identities:
            identity, account_id = self._agreed(job.identities)
            if account_id:
                self._charge(job, account_id, identity)
                return
        elif job.prepared.type in LATER:
            session = self._sessions.get(job.session)
            if session is not None and session.account_id:
                self._charge(job, session.account_id, "")
                return
        self._order.begin(job)
        self._spawn(self._look_up(job))

    def _agreed(self, identities: list[str]) -> tuple[str, str | None]:
        """The account that all the identities are known to mean (one may be of nobody), and by which of them; else
        None.
        """
        found: tuple[str, str | None] = "", None
        for identity in identities:
            account_id = self._subscribers.get(identity)
            if account_id is None and self._strangers.get(identity, 0.0) > self._clock():
                continue
            if account_id is None or (found[1] and account_id != found[1]):
                return "", None
            if not found[1]:
                found = identity, account_id
        return found

    async def _look_up(self, job: _Job) -> None:
        try:
            await self._ask_whose(job)
        except BaseException:
            self._order.end(job)
            raise

    async def _ask_whose(self, job: _Job) -> None:
        """Ask the ledger whose identity or session this is. Identities of different accounts are nobody's (RFC 8506
        §8.46).
        """
        job.lookups += 1
        request = job.prepared.request
        try:
            found: dict[str, str] = {}
            for identity in job.identities:
                found[identity] = await self._ledger.find_subscriber(identity) or NO_ACCOUNT
            accounts = {account_id for account_id in found.values() if account_id}
            if len(accounts) > 1:
                self._metrics.blocked("unknown", "unknown")
                self._usage_metrics.unbooked(job.prepared, job.source.origin_host)
                message = "the Subscription-Ids belong to different subscribers"
                job.reply(DiameterError(ResultCode.USER_UNKNOWN, message))
                return
            if accounts:
                for identity, account_id in found.items():
                    if account_id:
                        self._subscribers.put(identity, account_id)
                    else:
                        self._strangers.put(identity, self._clock() + NOBODY_S)
                identity = next(each for each, account_id in found.items() if account_id)
                self._charge(job, found[identity], identity)
                return
            if not has_subscriber(request) and job.prepared.type in LATER:
                if holder := await self._ledger.find_session(request.session_id, job.owner):
                    self._charge(job, holder, "")
                    return
                if not job.prepared.always:  # an emergency call of somebody unknown has no session with us, and goes on
                    if not self._was_refused(job):
                        self._usage_metrics.unbooked(job.prepared, job.source.origin_host)
                        job.reply(request.answer(ResultCode.UNKNOWN_SESSION_ID))
                    return
        except LedgerUnavailable:
            job.reply(busy(request, LEDGER_AWAY))
            return
        self._unknown_subscriber(job)

    def _unknown_subscriber(self, job: _Job) -> None:
        request = job.prepared.request
        if job.prepared.always:
            self._grant_to_anybody(job)
            return
        if self._was_refused(job):
            return
        self._metrics.blocked("unknown", "unknown")
        self._usage_metrics.unbooked(job.prepared, job.source.origin_host)
        if job.prepared.type is INITIAL:
            self._refused.put(job.session, True)
        if has_subscriber(request):
            job.reply(request.answer(ResultCode.USER_UNKNOWN))
        else:
            missing = failed_avp.example("subscription_id")
            job.reply(
                DiameterError(ResultCode.MISSING_AVP, "a new session needs a Subscription-Id", failed_avp=missing)
            )

    # -- the ledger

    def _charge(self, job: _Job, account_id: str, identity: str) -> None:
        if job.source.subscribers and identity and not within(identity, job.source.subscribers):
            job.reply(ForeignSubscriberError())  # found by its session, an account was judged at the opening
            return
        charge = charge_request(
            job.prepared, job.where, job.expected_location, job.source, job.owner, account_id, identity, self._rater
        )
        self._ledger.charge(charge, partial(self._charged, job, charge))

    def _charged(self, job: _Job, charge: ChargeRequest, outcome: ChargeOutcome | LedgerUnavailable) -> None:
        try:
            self._conclude(job, charge, outcome)
        except BaseException:
            self._order.end(job)
            raise

    def _conclude(self, job: _Job, charge: ChargeRequest, outcome: ChargeOutcome | LedgerUnavailable) -> None:
        request, account_id = job.prepared.request, charge.account_id
        if isinstance(outcome, LedgerUnavailable):
            job.reply(busy(request, LEDGER_AWAY))
            return
        if outcome.code != SUCCESS and self._goes_another_way(job, account_id, charge.identity, outcome):
            return
        if job.prepared.type is TERMINATION:
            self._sessions.pop(job.session, None)
            self._ended(request.session_id, request.origin_host)
        elif job.prepared.type is not EVENT and outcome.code == SUCCESS:
            self._remember(account_id, job)
            if job.prepared.type is INITIAL:
                self._refused.pop(job.session, None)
        if outcome.duplicate:
            self._as_it_was(job, outcome)
        if job.prepared.several and outcome.code == SUCCESS and job.prepared.type in GRANTING:
            held, outcome = several.in_vain(job.prepared, outcome)
            if held:
                self._ledger.charge(following(charge, held), partial(self._returned, job, outcome))
                return
        self._answer(job, outcome)

    def _returned(self, job: _Job, refused: ChargeOutcome, outcome: ChargeOutcome | LedgerUnavailable) -> None:
        """Nothing is held in vain any more. If the ledger did not say so, it returns with the service's next
        request.
        """
        try:
            if not isinstance(outcome, LedgerUnavailable) and outcome.code == SUCCESS:
                credit, held = outcome.credit_micro_eur, outcome.held_micro_eur
                refused = replace(refused, credit_micro_eur=credit, held_micro_eur=held)
            self._answer(job, refused)
        except BaseException:
            self._order.end(job)
            raise

    def _answer(self, job: _Job, outcome: ChargeOutcome) -> None:
        self._usage_metrics.count(job.prepared, job.source.origin_host, outcome)
        job.reply(answers.answer(job.prepared, outcome))

    def _goes_another_way(self, job: _Job, account_id: str, identity: str, outcome: ChargeOutcome) -> bool:
        """Whether the ledger's word leads to something else than its answer, which is then under way."""
        retry = outcome.retry
        if retry in CANNOT_NOW:
            self._metrics.blocked("unknown", outcome.reason)
            job.reply(busy(job.prepared.request, f"the ledger does nothing: {outcome.reason}"))
        elif retry is Retry.PLACE:
            self._put_in_place(job, account_id, identity, outcome.place)
        elif retry is not None or (outcome.code == ResultCode.USER_UNKNOWN and job.lookups == 0):
            # The number has moved to another account, or the account is gone: what we remembered is stale.
            self._subscribers.pop(identity, None)
            self._sessions.pop(job.session, None)
            if job.lookups < MAX_LOOKUPS:
                self._order.begin(job)
                self._spawn(self._look_up(job))
            else:
                self._unknown_subscriber(job)
        elif outcome.code in GRANT_ANYWAY and job.prepared.always:
            self._grant_to_anybody(job)
        else:
            return outcome.code == ResultCode.UNKNOWN_SESSION_ID and self._was_refused(job)
        return True

    def _was_refused(self, job: _Job) -> bool:
        """Some clients end a session whose opening was refused: that is no error. What the ledger has refused it
        remembers itself; what was refused before is remembered here, and may be forgotten.
        """
        if job.prepared.type is not TERMINATION or job.session not in self._refused:
            return False
        self._usage_metrics.unbooked(job.prepared, job.source.origin_host)
        job.reply(answers.answer(job.prepared, ChargeOutcome(ResultCode.SUCCESS, False, (), 0, 0, answers.REFUSED)))
        return True

    def _as_it_was(self, job: _Job, outcome: ChargeOutcome) -> None:
        """A repetition is answered as the request was: rated at the time and place that it was taken to be."""
        request, terms = job.prepared.request, job.prepared.terms
        if outcome.at == terms.now and not outcome.place:
            return
        terms = Terms(outcome.at, terms.profile, terms.policy)
        where, _ = self._where(job.context, request, job.session, terms)
        if outcome.place:
            where = circumstances(job.context, request, terms.profile.forwarding_role)
            where.completed(UsageContext.decode(job.context, outcome.place))
            where.at = terms.now
        job.prepared = prepare(request, where, self._rater, terms)

    def _grant_to_anybody(self, job: _Job) -> None:
        """An emergency call that has no account: its later requests may not say again that it is one."""
        if job.prepared.type is TERMINATION:
            self._sessions.pop(job.session, None)
        elif job.prepared.type is not EVENT:
            self._remember(NO_ACCOUNT, job)
        job.reply(answers.granted_to_anybody(job.prepared))

    def _remember(self, account_id: str, job: _Job) -> None:
        known = self._sessions.get(job.session)
        if known is None or known.account_id != account_id:
            self._sessions.put(job.session, _Session(account_id, job.where, job.where.encode()))
        else:
            known.where, known.place = job.where, job.where.encode()
