"""One request as the model ledger applies it, after it was identified: steps 3 to 7 of docs/LEDGER.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocs.catalogue.price import billable_units
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, NoFunds, ServiceCharge, ServiceOutcome
from ocs.ledger.contract.limits import MAX_SERVICES_PER_SESSION
from ocs.ledger.contract.views import SubscriptionState
from ocs.values.products import PackageTerms
from ocs.values.requests import RequestType
from ocs.values.use import Unit
from tests.ocs.ledger import model_agenda as agenda
from tests.ocs.ledger.model_operation import Operation
from tests.ocs.ledger.model_reserve import STARVED_S, Reservation
from tests.ocs.ledger.model_settle import Opened, Settlement, thresholds
from tests.ocs.ledger.model_state import FAR_AHEAD, DebitLine, LegState, Numbers, Service, Session, legs_of, owner_of

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD_S = 3600
"""A session that goes on is in a charging record so often."""


class Charging:
    """Releases all services, settles all, then reserves. `session` is open, or a tombstone if `closed`; None = unknown,
    or a one-off request.
    """

    def __init__(self, op: Operation, request: ChargeRequest, session: Session | None, closed: bool) -> None:
        self.op, self.request, self.closed = op, request, closed
        self.account, self.kind = op.account, request.type
        self.late = closed or (session is not None and session.released)
        if session is None:
            session = _new_session(request)
        else:
            session.released = False
        self.parties = len({*self.account.live(), request.session_id})
        self.overtaken = self.kind is RequestType.UPDATE and request.number < session.highest
        if not self.overtaken and not closed:
            session.origin_host, session.origin_realm, session.relay = (
                *(request.origin_host, request.origin_realm, request.relay),
            )
            session.origin_state_id = request.origin_state_id or session.origin_state_id
            session.place = request.place
        if not self.overtaken and not closed:
            self._arrive()
        self.far = self.kind is RequestType.UPDATE and session.numbers.far(request.number)
        self.session = session
        self.settlement = Settlement(op, session)
        self.debit: list[DebitLine] = []

    def run(self) -> ChargeOutcome:
        self._add_counters()
        opened = [self._open(asked) for asked in self.request.services]
        results = [ServiceOutcome(each.asked.key, 2001, 0, False, "", 0, 0, 0) for each in opened]
        for each, result in zip(opened, results, strict=True):
            if not each.room:
                result.code, result.reason = 5006, "sessions"
            self.settlement.settle(self.kind, each, result)
        thresholds(self.op)
        if not self.closed:
            self._tell_limits_of_last_grants(opened)
        if self.kind is not RequestType.TERMINATION and not self.closed:
            self._reserve(opened, results)
        if self.kind is RequestType.EVENT:
            results = self._pay_one_off(opened, results)
        if not any(result.granted or result.debited_micro_eur or result.debited_units for result in results):
            told = agenda.take_back_life(self.op)
            self._add_counters()
            for counter in self.account.counters:
                counter.told = told.get(counter.terms.id, counter.told)
        if self.kind is RequestType.EVENT:
            thresholds(self.op)
        code, reason = self._command_level(results)
        self._conclude(code, sum(result.debited_micro_eur for result in results))
        self.op.trim()
        account = self.account
        return ChargeOutcome(
            *(code, False, tuple(results), account.credit, account.held, reason, self.session.cost),
            *(
                agenda.period_end(self.op),
                self.late,
                self.request.place if self.request.expected_location else "",
                self.op.now,
            ),
        )

    def _add_counters(self) -> None:
        for asked in self.request.services:
            for leg in legs_of(asked):
                for terms in leg.counters:
                    self.account.counter_of(terms, self.op.month, self.op.day)

    def _arrive(self) -> None:
        """Journals the arrival in another country, unless it was left less than a day ago."""
        account, country, now = self.account, self.request.country, self.op.now
        if not country or country == account.country:
            return
        account.seen[account.country], account.country = now, country
        account.seen = {each: left for each, left in account.seen.items() if now < left + 86_400}
        if account.seen.pop(country, None) is None:
            known = {"equipment": self.request.equipment_id} if self.request.equipment_id else {}
            self.op.journal("arrived", country=country, plmn=self.request.plmn, **known)
        else:
            self.op.ledger.met["back in a country left within a day"] += 1

    # -- 3. release

    def _open(self, asked: ServiceCharge) -> Opened:
        service = self.session.services.get(asked.key)
        if service is None:
            service = Service(asked.label, asked.detail, legs_of(asked), asked.always, reported=self.session.started)
            for leg in service.legs:
                leg.price_after = None
            room = len(self.session.services) < MAX_SERVICES_PER_SESSION
            if room:
                self.session.services[asked.key] = service
            self._number(service)
            return Opened(asked, service, room, False, True, 0, [])
        behind = self.kind is RequestType.UPDATE and self.request.number < service.highest
        own = asked.label != "unrated" and (
            service.label == "unrated" or (behind and not self.request.expected_location)
        )
        granted = service.granted
        self._number(service)
        return Opened(asked, service, True, behind, own, granted, self.op.release(service, remember=False))

    def _number(self, service: Service) -> None:
        if self.kind is RequestType.UPDATE and not self.far:
            service.highest = max(service.highest, self.request.number)

    # -- 6. reserve

    def _tell_limits_of_last_grants(self, opened: Sequence[Opened]) -> None:
        for each in opened:
            asks_no_more = self.kind is RequestType.TERMINATION or each.asked.want is None
            if each.service.phase == "final" and each.asked.reported and asks_no_more:
                Reservation(self.op, self.session, each.service).tell_stopping_limits()

    def _reserve(self, opened: Sequence[Opened], results: Sequence[ServiceOutcome]) -> None:
        wants = []
        for each, result in zip(opened, results, strict=True):
            want = self._wanted(each, result)
            if want is not None and (refusal := self._refusal(each.asked)):
                (result.code, result.reason), want = refusal, None
            elif want is not None and not each.behind:
                self._take_terms(each)
            wants.append(want)
        needs: dict[str, int] = {}
        for each, want in zip(opened, wants, strict=True):
            if want:
                self._start_armed(each.service, want, needs)
        for each, result, want in zip(opened, results, wants, strict=True):
            if want is not None:
                self._reserve_one(each, result, want)

    def _wanted(self, opened: Opened, result: ServiceOutcome) -> int | None:
        asked, service = opened.asked, opened.service
        if result.code != 2001:
            return None
        service.deadline = self.request.deadline
        slowed = service.phase == "slowed"
        if asked.want is None and (slowed or (asked.restrict and service.phase in ("final", "restricted"))):
            if not asked.reported and asked.retry_want:
                return asked.retry_want
            result.restricted = True
            if slowed:
                result.reason = "volume"
            else:
                service.phase = "restricted"
        return asked.want

    def _refusal(self, asked: ServiceCharge) -> tuple[int, str] | None:
        if asked.always:
            return None
        if self.account.state_at(self.op.now) != "active":
            return 4010, "state"
        if equipment := self.request.equipment:
            told = self.account.barred_equipment
            if equipment not in told:
                self.account.barred_equipment = (*told[-3:], equipment)
                self.op.journal("equipment", imei=equipment)
            return 4010, "equipment"
        return (4010, "bar") if set(asked.bars) & self.account.all_bars else None

    @staticmethod
    def _take_terms(opened: Opened) -> None:
        asked, service = opened.asked, opened.service
        service.label, service.detail, service.always = asked.label, asked.detail, asked.always
        service.legs = legs_of(asked)
        service.switch_at = asked.switch_at if any(leg.price_after for leg in service.legs) else 0
        service.spans = asked.spans

    def _start_armed(self, service: Service, want: int, needs: dict[str, int]) -> None:
        """Starts an armed subscription at its first use in its area (HOT-PKG-13): when what runs of the same product
        leaves less than the services need, `needs` by bucket id.
        """
        for leg in service.legs:
            for bucket_id in leg.buckets:
                needs[bucket_id] = needs.get(bucket_id, 0) + billable_units(leg.price, want)
            for each in list(self.account.subscriptions):
                if each.state == SubscriptionState.ARMED and self._lacks(leg, each.terms, needs):
                    terms = agenda.in_force(self.op, each.terms, self.op.now)
                    if agenda.can_pay(self.op, each, terms) and not agenda.forbidden(self.op, each, terms, self.op.now):
                        each.terms = terms
                        agenda.start(self.op, each, self.op.now)
                        agenda.claim(self.op)

    def _lacks(self, leg: LegState, product: PackageTerms, needs: dict[str, int]) -> bool:
        for bucket_id in {bucket.id for bucket in product.buckets} & set(leg.buckets):
            free = [self.op.free(pool, bucket) for pool, bucket in self.op.usable((bucket_id,))]
            if None not in free and sum(each or 0 for each in free) < needs[bucket_id]:
                return True
        return False

    def _reserve_one(self, opened: Opened, result: ServiceOutcome, want: int) -> None:
        asked, service, one_off = opened.asked, opened.service, self.kind is RequestType.EVENT
        parties = self.parties
        if self.account.starved_at and self.op.now < self.account.starved_at + STARVED_S:
            parties = max(parties, 2)
        reservation = Reservation(self.op, self.session, service)
        result.granted, result.final, result.reason = reservation.reserve(want, asked, parties, one_off)
        if not result.granted and want and result.reason != "credit":
            reservation.tell_stopping_limits()
        lacking = want if one_off else 1
        if result.granted < min(want, lacking) and reservation.others_hold_it(lacking):
            self.account.starved_at = max(self.account.starved_at, self.op.now)
            self.op.ledger.met[f"starved for {result.reason}"] += 1
        if one_off:
            if result.granted < want:
                result.code, result.reason = 4012, result.reason or "credit"
            return
        if result.granted or not want:
            last = "slowed" if result.reason == "volume" else "final"
            service.phase = last if result.final else "normal"
            if asked.unit is Unit.SECONDS and not asked.reported and not opened.granted and not self.overtaken:
                service.reported = max(service.reported, self.op.now)
            result.span_switch = service.spans and service.switch_at > self.op.now
        elif result.reason == "volume":
            self.op.ledger.met["restricted at its volume"] += 1
            result.restricted, service.phase = True, "slowed"
        elif not asked.restrict or (asked.restrict == NoFunds.RESTRICT_ONCE and service.phase == "restricted"):
            result.code, service.phase = 4012, "refused"
        else:
            result.restricted, service.phase = True, "restricted"

    # -- one-off requests

    def _pay_one_off(self, opened: Sequence[Opened], results: list[ServiceOutcome]) -> list[ServiceOutcome]:
        """Pays all services, or none."""
        for each in opened:
            self.op.release(each.service, remember=False)
        if any(result.code != 2001 for result in results):
            return [ServiceOutcome(r.key, r.code, 0, False, r.reason, 0, 0, 0) for r in results]
        paid = []
        for each, reserved in zip(opened, results, strict=True):
            result = ServiceOutcome(reserved.key, 2001, reserved.granted, reserved.final, reserved.reason, 0, 0, 0)
            for leg in each.service.legs if reserved.granted else ():
                units = dict(self.session.credit_units)
                came_to = self.settlement.pay(leg, leg.price, reserved.granted, [])
                credit_price = came_to.credit_price or leg.price
                before = units.get(credit_price.id, 0)
                self.settlement.record(each, leg, leg.price, reserved.granted, came_to)
                counted = [
                    (terms.id, terms.measure, self._window(terms.id)) for terms in leg.counters
                ]  # fmt: skip
                self.debit.append(
                    DebitLine(
                        *(reserved.key, leg.price, reserved.granted, before, came_to.credit_units, came_to.by, counted),
                        credit_price,
                        promotional=came_to.promotional,
                    )
                )
                result.debited_micro_eur += came_to.debit
                result.debited_units += came_to.units
                result.overrun_units += came_to.overrun
            paid.append(result)
        return paid

    def _window(self, counter_id: str) -> int:
        counter = self.account.counter(counter_id)
        assert counter is not None
        return counter.add(0, self.op.now)

    # -- 7. conclude

    def _command_level(self, results: Sequence[ServiceOutcome]) -> tuple[int, str]:
        kind = self.kind
        if self.closed and kind is RequestType.UPDATE:
            before_its_end = self.session.closed_by is not None and self.request.number < self.session.closed_by
            return (2001, "") if before_its_end else (5002, "session")
        if self.closed and self.session.closed_by is None:
            return 2001, "refused"
        look = self.request.action == "check"
        refused = next((r for r in results if r.code != 2001), None)
        if kind is RequestType.EVENT and refused is not None and not look:
            return refused.code, refused.reason
        if not results or kind is RequestType.TERMINATION or any(r.code == 2001 for r in results):
            return 2001, ""
        first = results[0]
        alike = all(r.code == first.code for r in results)
        by_state = all(r.code == 4010 and r.reason in ("state", "equipment") for r in results)
        if (alike and kind is not RequestType.UPDATE and not look) or by_state:
            return first.code, first.reason
        return 2001, ""

    def _conclude(self, code: int, debit: int) -> None:
        kind, sid, session, account = self.kind, self.request.session_id, self.session, self.account
        if kind is RequestType.UPDATE:
            session.numbers.add(self.request.number)
        elif kind is RequestType.TERMINATION:
            session.terminations.add(self.request.number)
        over = not self.closed and (kind is RequestType.TERMINATION or (kind is RequestType.INITIAL and code != 2001))
        if over:
            for service in session.services.values():
                self.op.release(service, remember=False)
            account.sessions.pop(sid, None)
            account.closed[sid, session.owner] = session
            session.closed_at = self.op.now
            session.closed_by = self.request.number if kind is RequestType.TERMINATION else None
        elif kind is not RequestType.EVENT and not self.closed:
            held = [s.deadline for s in session.services.values() if s.granted or s.phase in ("restricted", "slowed")]
            session.deadline = max([self.request.deadline, *held])
            account.sessions[sid] = session
        self._journal(code, debit, over)
        self.op.tell_low_credit()
        self.op.ask_top_up()
        if kind is RequestType.UPDATE and code != 2001 and not self.closed:
            self.op.give_up(sid, "refused")

    def _journal(self, code: int, debit: int, over: bool) -> None:
        kind, session, request = self.kind, self.session, self.request
        hour = kind is RequestType.UPDATE and self.op.now - session.recorded >= RECORD_S
        if over or self.closed or kind is RequestType.EVENT or hour:
            refused = kind in (RequestType.INITIAL, RequestType.EVENT) and code != 2001
            self.op.journal(
                "charge",
                promo=self.settlement.promotional,
                sid=request.session_id,
                ctx=request.context,
                typ=kind.value,
                n=request.number,
                svc=[] if refused else self.op.record(session),
                code=code,
                debit=debit,
                credit=self.account.credit,
                closed=over or self.closed or kind is RequestType.EVENT,
                late=self.late,
                started=session.started,
                **session.bearer,
            )
        elif debit:
            self.op.journal(
                "use",
                promo=self.settlement.promotional,
                sid=request.session_id,
                typ=kind.value,
                n=request.number,
                debit=debit,
                credit=self.account.credit,
            )


def _new_session(request: ChargeRequest) -> Session:
    return Session(
        *(request.origin_host, request.context, request.now, request.deadline, request.number),
        Numbers(request.number if request.number <= FAR_AHEAD else -1),
        owner_of(request),
        origin_state_id=request.origin_state_id,
        recorded=request.now,
        charging_id=request.charging_id,
    )
