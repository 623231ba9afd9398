"""The ledger in plain Python: one process, in memory, without Redis.

The tests compare the scripts with it (model-based testing). It is written from docs/LEDGER.md and the contract, not
from the scripts; prices are computed by `ocs.catalogue.price`. If the two disagree, one of them is wrong.

    model_accounts.py   operations on accounts
    model_payments.py   automatic top-ups and payment orders
    model_groups.py     business groups, transfers, separate accounts
    model_state.py      the parts of an account
    model_identify.py   step 1 of a request
    model_operation.py  one operation: holds, buckets, events
    model_agenda.py     step 2, subscriptions
    model_views.py      views of accounts and pools
    model_settle.py     steps 3 to 5
    model_refund.py     refunds
    model_reserve.py    step 6
    model_charging.py   steps 3 to 7 together
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, Retry
from ocs.values.requests import Action, RequestType
from tests.ocs.ledger import model_agenda as agenda
from tests.ocs.ledger import model_identify as identifying
from tests.ocs.ledger.model_charging import Charging
from tests.ocs.ledger.model_groups import Groups
from tests.ocs.ledger.model_operation import Operation
from tests.ocs.ledger.model_payments import Payments
from tests.ocs.ledger.model_refund import refund
from tests.ocs.ledger.model_state import DebitLine, owner_of

SessionKey = tuple[str, str, str]


@dataclass(slots=True)
class OneOff:
    """A one-off request and its remembered outcome."""

    outcome: ChargeOutcome
    request: ChargeRequest


class ModelLedger(Payments, Groups):
    """The operations of the Redis ledger, synchronous. `events` is the outbox, in order."""

    def __init__(self, *, max_clock_skew_s: int = 0, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.max_clock_skew_s, self.clock = max_clock_skew_s, clock
        self.one_offs: dict[tuple[str, str, str, str], OneOff] = {}
        self.debits: dict[tuple[str, str, str, int], list[DebitLine]] = {}
        """By account (its first id), owner, Session-Id and number."""
        self._answers: dict[SessionKey, dict[tuple[str, int], ChargeOutcome]] = {}
        self._openings: dict[SessionKey, dict[int, int]] = {}

    def answers(self, request: ChargeRequest) -> dict[tuple[str, int], ChargeOutcome]:
        """Outcomes of a session by request type and number; they move with the account."""
        key = (self.accounts[request.account_id].uid, owner_of(request), request.session_id)
        return self._answers.setdefault(key, {})

    def openings(self, request: ChargeRequest) -> dict[int, int]:
        """End-to-End-Ids of a session's initial requests by number; kept as long as their answers."""
        key = (self.accounts[request.account_id].uid, owner_of(request), request.session_id)
        return self._openings.setdefault(key, {})

    def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """The agenda of accounts whose units of the pool have expired runs first."""
        outcome = self._charge(request, owners_swept=False)
        if outcome.retry is not Retry.OWNERS:
            return outcome
        for owner in outcome.place.split():
            self.met["units of a pool wait for their owner's next period"] += 1
            self.sweep(owner, now=request.now, month=request.month, day=request.day)
        return self._charge(request, owners_swept=True)

    def _charge(self, request: ChargeRequest, *, owners_swept: bool) -> ChargeOutcome:
        known = identifying.identify(self, request)
        if isinstance(known, ChargeOutcome):
            return known
        if request.type is RequestType.EVENT:
            reused = identifying.one_off_before(self, request) is not None
            outcome = self._one_off(request, owners_swept)
            if outcome.retry is Retry.OWNERS:
                return outcome
            if (request.action is Action.CHECK and outcome.code) or outcome.code == 2001:
                rest = (owner_of(request), request.session_id, identifying.one_off_name(request))
                self.one_offs[request.account_id, *rest] = OneOff(outcome, request)
            return replace(outcome, reused=reused and outcome.code == 2001 and request.action is Action.DEBIT)
        opening = request.type is RequestType.INITIAL
        reused = identifying.is_reused(self, request, known)
        op = Operation(self, request.account_id, request.now, request.month, request.day, keep=request.session_id)
        if other := self._other_facts(op, request, owners_swept, closed=known.closed and not opening):
            return other
        session = known.session
        refused = session is not None and known.closed and session.closed_by is None
        tried_again = refused and session is not None and request.number == session.opening
        tried_again = tried_again and session is not None and not identifying.replaces(request, session)
        if opening:
            if session is not None and not known.closed and not session.released:
                op.give_up(request.session_id, "restarted")
            if request.session_id in op.account.sessions:
                op.forget(request.session_id)
            op.account.closed.pop((request.session_id, owner_of(request)), None)
            op.trim()
            session = None
        outcome = Charging(op, request, session, known.closed and not opening).run()
        if opening and (outcome.code == 2001 or not tried_again):
            self.answers(request).clear()
            self.openings(request).clear()
        self._remember(request, outcome)
        return replace(outcome, reused=reused and outcome.code == 2001)

    def _remember(self, request: ChargeRequest, outcome: ChargeOutcome) -> None:
        if request.type is RequestType.INITIAL and outcome.code != 2001:
            return
        answers, account = self.answers(request), self.accounts[request.account_id]
        answers[request.type.value, request.number] = outcome
        if request.type is RequestType.INITIAL:
            self.openings(request)[request.number] = request.end_to_end
        session = account.sessions.get(request.session_id) or account.closed.get(
            (request.session_id, owner_of(request))
        )
        if session is not None and request.type is RequestType.UPDATE:
            for kind, number in list(answers):
                if kind == "U" and session.numbers.too_old(number):
                    del answers[kind, number]

    def _one_off(self, request: ChargeRequest, owners_swept: bool) -> ChargeOutcome:
        if request.action is Action.REFUND:
            return self._refund(request)
        op = Operation(self, request.account_id, request.now, request.month, request.day)
        look = request.action is Action.CHECK
        if look:
            op.begin()
        if other := self._other_facts(op, request, owners_swept):
            return other
        charging = Charging(op, request, None, False)
        outcome = charging.run()
        if look:
            op.take_back()
            services = tuple(replace(s, debited_micro_eur=0, debited_units=0) for s in outcome.services)
            credit, held = op.before_use
            return replace(
                outcome, services=services, session_cost_micro_eur=0, credit_micro_eur=credit, held_micro_eur=held
            )
        if charging.debit:
            self.debits[op.account.uid, owner_of(request), request.session_id, request.number] = charging.debit
        return outcome

    @staticmethod
    def _other_facts(
        op: Operation, request: ChargeRequest, owners_swept: bool, *, closed: bool = False
    ) -> ChargeOutcome | None:
        """Runs the agenda, begins a first use; then checks that the account's facts are those by which the request was
        rated, and that no owner's agenda is waited for. If not: an outcome with code 0, and nothing else is done.
        """
        account = op.account
        terms = [terms for each in account.subscriptions for terms in (each.terms, each.next) if terms]
        varies = account.measures or any(each.facts for each in terms)
        owners = [] if owners_swept else agenda.late_owners(op)
        if varies or request.facts or account.state == "new" or owners:
            op.begin()
        agenda.run(op)
        op.before_use = (op.account.credit, op.account.held)
        if not closed and request.services and not any(each.always for each in request.services):
            agenda.begin_life(op)
        facts = op.account.facts
        if facts == request.facts and not owners:
            return None
        op.take_back()
        if facts != request.facts:
            return identifying.refusal(request, 0, "facts", facts)
        return identifying.refusal(request, 0, "owners", " ".join(owners))

    def _refund(self, request: ChargeRequest) -> ChargeOutcome:
        account = self.accounts[request.account_id]
        if account.state == "terminated":
            return identifying.refusal(request, 4010, "state")
        of = request.refund_of or (request.session_id, request.number)
        lines = self.debits.get((account.uid, owner_of(request), *of))
        if lines is None:
            return identifying.refusal(request, 5012, "no_debit")
        op = Operation(self, request.account_id, request.now, request.month, request.day)
        op.begin()
        agenda.run(op)
        outcome = refund(op, request, lines)
        if outcome is None:
            op.take_back()
            return identifying.refusal(request, 5012, "nothing_left")
        self._after(op)
        return replace(
            outcome,
            credit_micro_eur=op.account.credit,
            held_micro_eur=op.account.held,
            period_end=agenda.period_end(op),
        )
