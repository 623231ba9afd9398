"""Credit control: one CCR in, one CCA out, one round trip to the ledger between (RFC 8506 §7, TS 32.299 §6.3).

The steps of a request: usage context, rating, account, ledger, answer. Requests of one session keep their order
(`session_order`). A worker keeps only caches between requests (`AccountLookup`, `SessionCache`); either may be stale or
empty at any time: the ledger checks what it is sent, and its correction restarts the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from ocs.catalogue.place import HOME
from ocs.charging import answer as answers
from ocs.charging import recipient_outcomes
from ocs.charging.account_lookup import AccountLookup, SubscriberConflictError
from ocs.charging.equipment import EquipmentBar, EquipmentIds
from ocs.charging.facts_cache import FactsCache
from ocs.charging.job import Job, session_key
from ocs.charging.ledger_request import charge_request, following
from ocs.charging.local_answers import LocalAnswers
from ocs.charging.members import EVENT, INITIAL, TERMINATION
from ocs.charging.metrics import ChargingMetrics
from ocs.charging.prepare import prepare
from ocs.charging.prepared import Rater, TermsCache
from ocs.charging.recipients import MAX_RECIPIENTS
from ocs.charging.repetition import prepared_as_first
from ocs.charging.session_cache import SessionCache
from ocs.charging.session_order import Reply, SessionKey, SessionOrder, busy
from ocs.charging.source import Source
from ocs.charging.subscriber import ForeignSubscriberError, has_subscriber, identities, within
from ocs.charging.usage_metrics import UsageMetrics
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, Retry
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.operations import ChargingLedger
from ocs.settings.charging import DEFAULT_POLICY, ChargingPolicy
from ocs.values.requests import RequestType
from protocol.credit_control import EVENT_REQUEST, INITIAL_REQUEST, CreditControlRequest
from protocol.errors import ResultCode

NO_ACCOUNT = ""
"""In place of an account id, for an emergency call without an account."""
MAX_RELOCATIONS = 2
"""The cached location of a session may be stale once; more often only if others change the session at the same time."""
MAX_CORRECTIONS = 2
"""Cached facts of an account may be stale once, and change once more meanwhile."""
MAX_LOOKUPS = 2
"""A cached account may be stale once; after a second look-up the ledger's answer is final."""
SUCCESS = int(ResultCode.SUCCESS)
GRANT_ANYWAY = (ResultCode.UNKNOWN_SESSION_ID, ResultCode.RESOURCES_EXCEEDED)
"""Refusals that must not stop an emergency call; it is granted unbooked (HOT-RAT-2)."""
CANNOT_NOW = frozenset((Retry.CLOCK, Retry.VERSION, Retry.UNREADABLE))
"""The ledger applied nothing and would not at once either; another server may. The client is sent there."""
GRANTING = (RequestType.INITIAL, RequestType.UPDATE)
LATER = (RequestType.UPDATE, RequestType.TERMINATION)
"""These may leave out the subscriber: the session has an account."""
OPENING = (INITIAL_REQUEST, EVENT_REQUEST)

LEDGER_AWAY = "the ledger cannot be reached"
PRICES_UNKNOWN = "the ledger could not be asked for the prices in force"
ANSWER_TIMEOUT_S = 3.0
"""After it the Diameter server has answered for a request that charging did not answer."""

Spawn = Callable[[Awaitable[None]], None]
Ended = Callable[[str, str], None]
"""Called with Session-Id and Origin-Host when a client has ended a session."""

NOT_ABROAD = ("", HOME)
"""Countries of requests whose equipment is not asked for."""


class ChargingService:
    """Charges the requests of a worker's peers. `clock`: Unix seconds. `spawn` runs a coroutine in the background.

    `is_current`: the rater knows every price that is in force; while it does not, clients are sent elsewhere.
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
        is_current: Callable[[], bool] = lambda: True,
        equipment: EquipmentBar | None = None,
        equipment_ids: EquipmentIds | None = None,
    ) -> None:
        self._rater = rater
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._prepare = prepare
        self._spawn = spawn
        self._ended = ended
        self._is_current = is_current
        self._equipment = equipment or EquipmentBar()
        self._equipment_ids = equipment_ids
        self._accounts = AccountLookup(ledger, clock)
        self._sessions = SessionCache()
        self._facts = FactsCache()
        self._usage_metrics = UsageMetrics(metrics, clock)
        self._terms = TermsCache(policy)
        self._local = LocalAnswers(metrics, self._usage_metrics, self._sessions, policy)
        self._order: SessionOrder[Job] = SessionOrder(self.handle, clock, answer_timeout_s)
        self._under_way = self._order.under_way

    def handle(self, request: CreditControlRequest, source: Source, reply: Reply) -> None:
        """Handle a CCR: `reply` is called exactly once, now or later. Nothing a peer sends makes it raise."""
        context = source.service_contexts[request.service_context_id]
        if context is None:
            reply(self._local.unknown_context(request, source))
            return
        if request.cc_request_type == EVENT_REQUEST:
            refusal = self._local.refund_refusal(request, source)
            if refusal is not None:
                reply(refusal)
                return
        session = session_key(request, source)
        if session in self._under_way and self._order.wait(session, request, source, reply):
            return
        if not self._is_current():
            reply(busy(request, PRICES_UNKNOWN))
            return
        terms = self._terms.of(source.profile, self._rater, int(self._clock()))
        where, expected_location = self._sessions.usage_context(context, request, session, terms)
        if where.unreadable_location is not None:
            self._usage_metrics.unreadable_location(source.origin_host, where)
        opens = request.cc_request_type in OPENING
        if opens and len(where.recipients) > MAX_RECIPIENTS:
            reply(self._local.too_many_recipients())
            return
        given = identities(request)
        if self._facts:
            where.facts = self._facts.of(self._cached_account(given, session))
        prepared = self._prepare(request, where, self._rater, terms)
        if opens:
            answer = self._local.opening(prepared, session)
            if answer is not None:
                reply(answer)
                return
        if source.subscribers:  # prefer an id that this peer may charge
            given.sort(key=lambda identity: not within(identity, source.subscribers))
        job = Job(prepared, context, given, where, expected_location, source, session, reply, self._order)
        if prepared.type is not EVENT:
            self._under_way[session] = job
        try:
            self._find_account(job)
        except BaseException:
            self._order.end(job)
            raise

    # -- for the trace of a subscriber (subscriber_watch.py)

    @property
    def ledger(self) -> ChargingLedger:
        return self._ledger

    def charge_by(self, ledger: ChargingLedger) -> ChargingLedger:
        """From now on charge by another client of the same ledger. Returns the one before."""
        before, self._ledger = self._ledger, ledger
        return before

    def account_of_session(self, request: CreditControlRequest, source: Source) -> str:
        """Account id of a cached session; "" = none is cached."""
        return self._sessions.account_id(session_key(request, source))

    # -- account

    def _cached_account(self, given: list[str], session: SessionKey) -> str:
        """Account id, "" = not cached: whose facts a request is rated by, so that it need not be rated twice."""
        return self._accounts.cached(given)[1] if given else self._sessions.account_id(session)

    def _find_account(self, job: Job) -> None:
        """From the caches, else from the ledger in the background."""
        if job.identities:
            identity, account_id = self._accounts.cached(job.identities)
            if account_id:
                self._charge(job, account_id, identity)
                return
        elif job.prepared.type in LATER:
            account_id = self._sessions.account_id(job.session)
            if account_id:
                self._charge(job, account_id, "")
                return
        self._start_look_up(job)

    def _start_look_up(self, job: Job) -> None:
        self._order.begin(job)
        self._spawn(self._look_up(job))

    async def _look_up(self, job: Job) -> None:
        try:
            await self._look_up_and_charge(job)
        except BaseException:
            self._order.end(job)
            raise

    async def _look_up_and_charge(self, job: Job) -> None:
        """Ask the ledger for the account by subscriber id, or by session if the request names no subscriber.

        Subscriber ids of different accounts are refused: all must be of one subscriber (RFC 8506 §8.46).
        """
        job.lookups += 1
        request = job.prepared.request
        by_session = job.prepared.type in LATER and not has_subscriber(request)
        try:
            identity, account_id = await self._accounts.find(job.identities)
            if not account_id and by_session:
                account_id = await self._ledger.find_session(request.session_id, job.owner) or NO_ACCOUNT
        except LedgerUnavailable:
            job.reply(busy(request, LEDGER_AWAY))
            return
        except SubscriberConflictError:
            job.reply(self._local.different_subscribers(job.prepared, job.source))
            return
        if account_id:
            self._charge(job, account_id, identity)
        elif by_session and not job.prepared.always:
            self._unknown_session(job)
        else:
            self._unknown_subscriber(job)

    def _unknown_session(self, job: Job) -> None:
        if not self._end_refused(job):
            self._usage_metrics.unbooked(job.prepared, job.source.origin_host)
            job.reply(job.prepared.request.answer(ResultCode.UNKNOWN_SESSION_ID))

    def _unknown_subscriber(self, job: Job) -> None:
        if job.prepared.always:
            self._grant_unbooked(job)
        elif not self._end_refused(job):
            job.reply(self._local.unknown_subscriber(job.prepared, job.session, job.source))

    # -- ledger

    def _charge(self, job: Job, account_id: str, identity: str) -> None:
        """`identity`: the subscriber id that found the account; "" = its session did, whose opening was judged."""
        if job.source.subscribers and identity and not within(identity, job.source.subscribers):
            job.reply(ForeignSubscriberError())
            return
        facts = self._facts.of(account_id)
        if facts != job.where.facts:
            job.where.facts = facts
            job.prepared = self._prepare(job.prepared.request, job.where, self._rater, job.prepared.terms)
        charge = charge_request(
            job.prepared, job.where, job.expected_location, job.source, job.owner, account_id, identity, self._rater
        )
        charge.equipment = self._equipment.barred_imei(job.prepared.request)
        if charge.country not in NOT_ABROAD and self._equipment_ids is not None:
            charge.equipment_id = self._equipment_ids.of(job.prepared.request)
        self._ledger.charge(charge, partial(self._charged, job, charge))

    def _charged(self, job: Job, charge: ChargeRequest, outcome: ChargeOutcome | LedgerUnavailable) -> None:
        try:
            self._conclude(job, charge, outcome)
        except BaseException:
            self._order.end(job)
            raise

    def _conclude(self, job: Job, charge: ChargeRequest, outcome: ChargeOutcome | LedgerUnavailable) -> None:
        if isinstance(outcome, LedgerUnavailable):
            job.reply(busy(job.prepared.request, LEDGER_AWAY))
            return
        if outcome.code != SUCCESS and self._handled_otherwise(job, charge, outcome):
            return
        self._update_caches(job, charge.account_id, outcome)
        if outcome.duplicate:
            job.prepared = prepared_as_first(job, outcome, self._sessions, self._rater)
        if job.prepared.several and outcome.code == SUCCESS and job.prepared.type in GRANTING:
            unusable, outcome = recipient_outcomes.unusable_grants(job.prepared, outcome)
            if unusable:
                self._ledger.charge(following(charge, unusable), partial(self._released, job, outcome))
                return
        self._answer(job, outcome)

    def _update_caches(self, job: Job, account_id: str, outcome: ChargeOutcome) -> None:
        kind = job.prepared.type
        if kind is TERMINATION:
            self._sessions.remove(job.session)
            self._ended(job.prepared.request.session_id, job.prepared.request.origin_host)
        elif kind is not EVENT and outcome.code == SUCCESS:
            self._sessions.store(job.session, account_id, job.where)
            if kind is INITIAL:
                self._sessions.accept(job.session)

    def _released(self, job: Job, refused: ChargeOutcome, outcome: ChargeOutcome | LedgerUnavailable) -> None:
        """Reservations that nobody can use were released. If that failed, the service's next request releases them."""
        try:
            if not isinstance(outcome, LedgerUnavailable) and outcome.code == SUCCESS:
                credit, held = outcome.credit_micro_eur, outcome.held_micro_eur
                refused = replace(refused, credit_micro_eur=credit, held_micro_eur=held)
            self._answer(job, refused)
        except BaseException:
            self._order.end(job)
            raise

    def _answer(self, job: Job, outcome: ChargeOutcome) -> None:
        self._usage_metrics.count(job.prepared, job.source.origin_host, outcome)
        job.reply(answers.answer(job.prepared, outcome))

    # -- outcomes that are not the answer

    def _handled_otherwise(self, job: Job, charge: ChargeRequest, outcome: ChargeOutcome) -> bool:
        """Whether `outcome` is not the answer; then another answer is given, or the request starts again."""
        retry = outcome.retry
        if retry in CANNOT_NOW:
            self._metrics.blocked("unknown", outcome.reason)
            job.reply(busy(job.prepared.request, f"the ledger does nothing: {outcome.reason}"))
        elif retry is Retry.PLACE:
            self._relocate(job, charge, outcome.place)
        elif retry is Retry.FACTS:
            self._rate_by_facts(job, charge, outcome.place)
        elif retry is not None or (outcome.code == ResultCode.USER_UNKNOWN and job.lookups == 0):
            # The number has moved to another account, or the account is gone: the cached one is stale.
            self._accounts.remove(charge.identity)
            self._sessions.remove(job.session)
            if job.lookups < MAX_LOOKUPS:
                self._start_look_up(job)
            else:
                self._unknown_subscriber(job)
        elif outcome.code in GRANT_ANYWAY and job.prepared.always:
            self._grant_unbooked(job)
        else:
            return outcome.code == ResultCode.UNKNOWN_SESSION_ID and self._end_refused(job)
        return True

    def _relocate(self, job: Job, charge: ChargeRequest, location: str) -> None:
        """The session's stored location is not the cached one: rate and charge the request again, there."""
        request, terms = job.prepared.request, job.prepared.terms
        job.relocations += 1
        if job.relocations > MAX_RELOCATIONS:
            job.reply(busy(request, "the session is being changed by others"))
            return
        self._sessions.correct(job.session, charge.account_id, job.context, location)
        job.where, job.expected_location = self._sessions.usage_context(job.context, request, job.session, terms)
        job.prepared = self._prepare(request, job.where, self._rater, terms)
        self._charge(job, charge.account_id, charge.identity)

    def _rate_by_facts(self, job: Job, charge: ChargeRequest, facts: str) -> None:
        """The account has other facts than the cached ones: rate and charge the request again by these."""
        job.corrections += 1
        if job.corrections > MAX_CORRECTIONS:
            job.reply(busy(job.prepared.request, "the account is being changed by others"))
            return
        self._facts.correct(charge.account_id, facts)
        self._charge(job, charge.account_id, charge.identity)

    def _end_refused(self, job: Job) -> bool:
        """Answer 2001 to the CCR-T of a session whose CCR-I was refused here; False = it is no such request.

        Some clients end refused sessions; that is no error. Openings that the ledger refused, it remembers itself.
        """
        if job.prepared.type is not TERMINATION or not self._sessions.is_refused(job.session):
            return False
        self._usage_metrics.unbooked(job.prepared, job.source.origin_host)
        job.reply(answers.answer(job.prepared, ChargeOutcome(ResultCode.SUCCESS, False, (), 0, 0, answers.REFUSED)))
        return True

    def _grant_unbooked(self, job: Job) -> None:
        """An emergency call without an account. Its session is cached: its later requests may not say what it is."""
        if job.prepared.type is TERMINATION:
            self._sessions.remove(job.session)
        elif job.prepared.type is not EVENT:
            self._sessions.store(job.session, NO_ACCOUNT, job.where)
        job.reply(answers.granted_unbooked(job.prepared))
