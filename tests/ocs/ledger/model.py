"""The ledger as plain Python: one process, no Redis, nothing kept. The tests' oracle for the scripts (model-based testing).

Written from the contract, with the price arithmetic of `ocs.rating.price`, not from the scripts: where the two disagree, one is wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ocs.ledger.contract import (
    ANSWERS_KEPT_PER_SESSION,
    AS_GRANTED,
    CREDIT_CEILING_MICRO_EUR,
    DEFAULT_LIMIT_MICRO_EUR,
    MAX_SERVICES_PER_SESSION,
    MAX_SESSIONS_PER_ACCOUNT,
    AccountView,
    Action,
    BucketView,
    ChargeOutcome,
    ChargeRequest,
    LedgerError,
    PackageTerms,
    RequestType,
    ReservationView,
    Restrict,
    ServiceCharge,
    ServiceOutcome,
    SessionView,
)
from ocs.rating import price as prices
from ocs.rating.types import PriceTerms

ACTIVE_S = 90 * 86_400
LATE_S = 3600
MAX_GIVEN_UP = 8
SLACK_S, OCTETS_SLACK_S, MESSAGES_SLACK = 60, 5, 255
KINDS = {Action.CHECK: "C", Action.REFUND: "R"}
Event = dict[str, object]


@dataclass(slots=True)
class Debit:
    """What is left of a one-off debit to give back."""

    account_id: str
    month: int
    lines: list[DebitLine]


@dataclass(slots=True)
class DebitLine:
    key: str
    price: PriceTerms
    raw: int
    before: int
    """Credit units that had been paid before it, of the same session and price."""
    credit: int
    paid_by: list[tuple[str, int, int]]
    """Bucket, units, expiry."""


@dataclass(slots=True)
class Bucket:
    id: str
    unit: str
    left: int | None
    expires: int
    held: int = 0

    def free(self) -> int | None:
        return None if self.left is None else self.left - self.held


@dataclass(slots=True)
class Service:
    label: str
    price: PriceTerms
    buckets: tuple[str, ...]
    detail: str
    granted: int = 0
    held_units: list[tuple[Bucket, int]] = field(default_factory=list)
    held_money: int = 0
    phase: str = "normal"
    """"normal", "final", "restricted" or "refused"."""
    reported: int = 0
    """Last report; of time, how far the time reported reaches."""
    switch_at: int = 0
    price_after: PriceTerms | None = None
    spans: bool = True
    deadline: int = 0


@dataclass(slots=True)
class Session:
    origin_host: str
    context: str
    started: int
    deadline: int
    highest: int
    origin_realm: str = ""
    via: str = ""
    binding: str = ""
    origin_state_id: int = 0
    cost: int = 0
    released: bool = False
    place: str = ""
    raw_used: dict[str, int] = field(default_factory=dict)
    """Raw units by price id; use is rounded once per session and rate."""
    credit_units: dict[str, int] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)

    def raw(self, terms: PriceTerms) -> int:
        """Used so far at all prices of this rate."""
        return sum(used for price, used in self.raw_used.items() if rate_of(price) == rate_of(terms.id))


@dataclass(slots=True)
class Account:
    msisdn: str
    imsi: str
    credit: int
    active_until: int
    month: int
    state: str = "active"
    held: int = 0
    paid_in: int = 0
    spent: int = 0
    expired: int = 0
    limit: int | None = DEFAULT_LIMIT_MICRO_EUR
    spent_month: int = 0
    notified: int = 0
    bars: tuple[str, ...] = ()
    package: str = ""
    pending: bool = False
    period_end: int = 0
    buckets: list[Bucket] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)

    def state_at(self, now: int) -> str:
        return "inactive" if self.state == "active" and now >= self.active_until else self.state

    def is_current(self, bucket: Bucket, now: int) -> bool:
        """Of the running period, whose end another clock may have seen."""
        return now < bucket.expires == self.period_end

    def usable(self, ids: Sequence[str], now: int) -> list[Bucket]:
        by_id = {bucket.id: bucket for bucket in self.buckets if self.is_current(bucket, now)}
        return [by_id[each] for each in ids if each in by_id]

    def live(self) -> dict[str, Session]:
        return {sid: session for sid, session in self.sessions.items() if not session.released}


class ModelLedger:
    """Same operations as the Redis ledger, at once instead of asynchronously. `events` is the outbox, in order."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.events: list[Event] = []
        self._answers: dict[tuple[str, str, str], ChargeOutcome] = {}
        """By owner, Session-Id, and what it was and its number."""
        self._refused: set[tuple[str, str]] = set()
        self._references: dict[str, tuple[str, int]] = {}
        self._applied: set[tuple[str, str, str]] = set()
        self._debits: dict[tuple[str, str, int], Debit] = {}

    # -- accounts

    def open_account(
        self,
        account_id: str,
        *,
        msisdn: str,
        imsi: str,
        credit: int,
        package: PackageTerms | None,
        now: int,
        month: int,
    ) -> None:
        if any((a.msisdn == msisdn or a.imsi == imsi) and a.state != "terminated" for a in self.accounts.values()):
            raise LedgerError("exists", "")
        if credit > CREDIT_CEILING_MICRO_EUR:
            raise LedgerError("ceiling", "")
        account = Account(msisdn, imsi, credit, now + ACTIVE_S, month, paid_in=credit)
        self.accounts[account_id] = account
        self._journal("opened", now, account_id, credit_in=credit, credit=credit, package=package.id if package else "")
        if package:
            self._start_period(account_id, account, package, now, now)

    def top_up(
        self, account_id: str, *, amount: int, reference: str, packages: Sequence[PackageTerms], now: int, month: int
    ) -> bool:
        if self._references.setdefault(reference, (account_id, amount)) != (account_id, amount):
            raise LedgerError("reference", "")
        if ("top_up", account_id, reference) in self._applied:
            return False
        account = self.accounts[account_id]
        if account.state == "terminated":
            raise LedgerError("state", "")
        if account.credit + amount > CREDIT_CEILING_MICRO_EUR:
            raise LedgerError("ceiling", "")
        self._roll(account, month)
        account.credit += amount
        account.paid_in += amount
        account.active_until = max(account.active_until, now + ACTIVE_S)
        self._journal("topup", now, account_id, credit_in=amount, ref=reference, credit=account.credit)
        terms = {p.id: p for p in packages}.get(account.package)
        if account.pending and terms and account.credit - account.held >= terms.price_micro_eur:
            self._start_period(account_id, account, terms, now, now)
        self._applied.add(("top_up", account_id, reference))
        return True

    def activate_package(self, account_id: str, *, package: PackageTerms, reference: str, now: int, month: int) -> bool:
        if ("package", account_id, reference) in self._applied:
            return False
        account = self.accounts[account_id]
        if account.state_at(now) != "active":
            raise LedgerError("state", "")
        if account.credit - account.held < package.price_micro_eur:
            raise LedgerError("credit", "")
        self._roll(account, month)
        self._start_period(account_id, account, package, now, now)
        self._applied.add(("package", account_id, reference))
        return True

    def set_limit(self, account_id: str, *, limit: int | None, now: int, month: int) -> None:
        account = self.accounts[account_id]
        self._roll(account, month)
        account.limit, account.notified = limit, 0
        self._journal("limit", now, account_id, limit=-1 if limit is None else limit)

    def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int) -> None:
        self._roll(self.accounts[account_id], month)
        self.accounts[account_id].bars = tuple(sorted(set(bars)))
        self._journal("bars", now, account_id, bars=",".join(sorted(set(bars))))

    def set_state(self, account_id: str, *, state: str, now: int, month: int) -> None:
        self._roll(self.accounts[account_id], month)
        self.accounts[account_id].state = state
        self._journal("state", now, account_id, state=state[0])

    def sweep(self, account_id: str, *, packages: Sequence[PackageTerms], now: int, month: int) -> None:
        account = self.accounts[account_id]
        self._roll(account, month)
        self._expire(account_id, account, now, keep=None)
        terms = {p.id: p for p in packages}.get(account.package)
        active = account.state_at(now) == "active"
        if not account.period_end and account.pending and terms and active:
            if account.credit - account.held >= terms.price_micro_eur:
                self._start_period(account_id, account, terms, now, now)
        elif account.period_end and now >= account.period_end:
            if terms and account.state_at(now) == "active":
                missed_one = now >= account.period_end + terms.period_s
                self._start_period(account_id, account, terms, now if missed_one else account.period_end, now)
            else:
                self._drop_buckets(account, now)
                account.pending, account.period_end = True, 0
                self._journal(
                    "package",
                    now,
                    account_id,
                    id=account.package,
                    price=0,
                    period_end=0,
                    ok=False,
                    debit=0,
                    credit=account.credit,
                )

    def _start_period(self, account_id: str, account: Account, terms: PackageTerms, starts: int, now: int) -> None:
        paid = account.credit - account.held >= terms.price_micro_eur
        self._drop_buckets(account, now)
        account.package, account.pending, account.period_end = terms.id, not paid, 0
        if paid:
            account.credit -= terms.price_micro_eur
            account.spent += terms.price_micro_eur
            account.period_end = starts + terms.period_s
            account.buckets += [Bucket(b.id, b.unit, b.quantity, account.period_end) for b in terms.buckets]
        self._journal(
            "package",
            now,
            account_id,
            id=terms.id,
            price=terms.price_micro_eur,
            period_end=account.period_end,
            ok=paid,
            debit=terms.price_micro_eur if paid else 0,
            credit=account.credit,
        )

    @staticmethod
    def _drop_buckets(account: Account, now: int) -> None:
        """What sessions hold lingers until they report, all else is gone."""
        lingering: dict[tuple[str, int], Bucket] = {}
        for bucket in account.buckets:
            if not bucket.held:
                continue
            place = (bucket.id, min(bucket.expires, now))
            same = lingering.setdefault(place, Bucket(bucket.id, bucket.unit, 0, place[1]))
            assert same.left is not None
            same.left += bucket.held
            same.held += bucket.held
        for session in account.sessions.values():
            for service in session.services.values():
                service.held_units = [
                    (lingering[bucket.id, min(bucket.expires, now)], units) for bucket, units in service.held_units
                ]
        account.buckets = list(lingering.values())

    @staticmethod
    def _roll(account: Account, month: int) -> None:
        if month > account.month:
            account.month, account.spent_month, account.notified = month, 0, 0

    def terminate(self, account_id: str, *, now: int, month: int) -> None:
        account = self.accounts[account_id]
        if account.state == "terminated":
            return
        self._roll(account, month)
        for sid in sorted(account.live()):
            self._give_up(account_id, account, sid, "terminated", now)
        lost = account.credit
        account.state, account.credit, account.expired = "terminated", 0, account.expired + lost
        account.buckets, account.period_end, account.pending, account.sessions = [], 0, False, {}
        self._journal("terminated", now, account_id, debit=lost, credit=0)

    def release_session(self, account_id: str, session_id: str, *, reason: str, now: int, month: int) -> bool:
        account = self.accounts[account_id]
        if session_id not in account.live():
            return False
        self._roll(account, month)
        self._give_up(account_id, account, session_id, reason, now)
        return True

    # -- charging

    def charge(self, request: ChargeRequest) -> ChargeOutcome:
        owner = owner_of(request)
        what = KINDS.get(request.action, request.type.value)
        key = (owner, request.session_id, f"{what}{request.number}")
        account = self.accounts.get(request.account_id)
        one_off = request.type is RequestType.EVENT
        session = account.sessions.get(request.session_id) if account and not one_off else None
        mine = session is not None and session.binding == owner
        lost = mine and session is not None and request.origin_state_id > session.origin_state_id > 0
        anew = request.type is RequestType.INITIAL and lost
        if key in self._answers and not anew:
            return replace(self._answers[key], duplicate=True)
        if account is None:
            return self._refusal(request, 5030, "unknown")
        if session and not mine:
            return self._refusal(request, 5002, "binding")
        if session and request.assumed not in ("", session.place):
            return replace(self._refusal(request, 0, "place"), place=session.place)
        if request.identity not in ("", "m" + account.msisdn, "i" + account.imsi):
            return self._refusal(request, 0, "identity")
        if request.identity and account.state == "terminated":
            return self._refusal(request, 0, "identity")
        if request.action is Action.REFUND:
            outcome = self._refund(request, account)
            if outcome.code == 2001:
                self._answers[key] = outcome
            return outcome
        if account.period_end and request.now >= account.period_end:
            return self._refusal(request, 0, "sweep")
        if request.action is Action.CHECK:
            looked = copy.deepcopy(self)._apply(request, look=True)
            services = tuple(replace(s, debited_micro_eur=0, debited_units=0) for s in looked.services)
            looked = replace(
                looked, services=services, session_cost_micro_eur=0, credit_micro_eur=account.credit, held_micro_eur=account.held
            )  # fmt: skip
            self._answers[key] = looked
            return looked
        return self._apply(request, look=False)

    @staticmethod
    def _refusal(request: ChargeRequest, code: int, reason: str) -> ChargeOutcome:
        return ChargeOutcome(code, False, (), 0, 0, reason, at=request.now)

    def _apply(self, request: ChargeRequest, look: bool) -> ChargeOutcome:
        account = self.accounts[request.account_id]
        one_off = request.type is RequestType.EVENT
        session = None if one_off else account.sessions.get(request.session_id)
        if refusal := self._out_of_place(request, session):
            return refusal
        # Validation is over; from here on everything takes effect.
        owner, sid = owner_of(request), request.session_id
        opening = request.type is RequestType.INITIAL
        live = [other for other, s in account.live().items() if s.deadline > request.now and other != sid]
        if opening and len(live) >= MAX_SESSIONS_PER_ACCOUNT:
            return self._refusal(request, 5006, "sessions")
        self._roll(account, request.month)
        if opening and session is not None:
            if not session.released:
                self._give_up(request.account_id, account, sid, "restarted", request.now)
            account.sessions.pop(sid, None)
            session = None
            self._answers = {
                key: known
                for key, known in self._answers.items()
                if key[:2] != (owner, sid) or key[2][0] in KINDS.values() or key[2][0] == "E"
            }
            self._refused.discard((owner, sid))
        self._expire(request.account_id, account, request.now, keep=sid)
        outcome = _Charging(self, account, request, session, look).run()
        if not look:
            self._answers[owner, sid, f"{request.type.value}{request.number}"] = outcome
            if request.type is RequestType.UPDATE:
                self._answers.pop((owner, sid, f"U{request.number - ANSWERS_KEPT_PER_SESSION}"), None)
            if opening and outcome.code != 2001:
                self._refused.add((owner, sid))
        return outcome

    def _out_of_place(self, request: ChargeRequest, session: Session | None) -> ChargeOutcome | None:
        if request.type is RequestType.INITIAL:
            if session is None or session.released or request.origin_state_id > session.origin_state_id > 0:
                return None
            return self._refusal(request, 5012, "open")
        if request.type is RequestType.EVENT:
            return None
        if session is None:
            ended = request.type is RequestType.TERMINATION and (owner_of(request), request.session_id) in self._refused
            return self._refusal(request, 2001, "refused") if ended else self._refusal(request, 5002, "session")
        if request.type is RequestType.UPDATE:
            forgotten = session.released and request.number <= session.highest
            if forgotten or request.number <= session.highest - ANSWERS_KEPT_PER_SESSION:
                return self._refusal(request, 5012, "late")
        return None

    def _refund(self, request: ChargeRequest, account: Account) -> ChargeOutcome:
        if account.state == "terminated":
            return self._refusal(request, 4010, "state")
        debit = self._debits.get((owner_of(request), *(request.refund_of or (request.session_id, request.number))))
        if debit is None or debit.account_id != request.account_id:
            return self._refusal(request, 5012, "no_debit")
        before = copy.deepcopy(debit.lines)
        results: list[ServiceOutcome] = []
        lines: list[dict[str, object]] = []
        returned = 0
        for asked in request.services:
            any_line = asked.key == "-" or len(debit.lines) == 1
            line = next((each for each in debit.lines if each.raw and (any_line or each.key == asked.key)), None)
            if line is None:
                continue
            back = line.raw if asked.want is None else min(asked.want, line.raw)
            owed = prices.billable_units(line.price, line.raw) - prices.billable_units(line.price, line.raw - back)
            by_credit = min(owed, line.credit)
            paid = line.before + line.credit
            money = prices.cost_micro_eur(line.price, paid) - prices.cost_micro_eur(line.price, paid - by_credit)
            line.raw, line.credit = line.raw - back, line.credit - by_credit
            given: list[list[str | int]] = []
            rest = owed - by_credit
            for place in reversed(range(len(line.paid_by))):
                bucket_id, units, expires = line.paid_by[place]
                take = min(rest, units)
                if not take:
                    continue
                rest -= take
                line.paid_by[place] = (bucket_id, units - take, expires)
                for bucket in account.buckets:
                    if (bucket.id, bucket.expires) == (bucket_id, expires) and account.is_current(bucket, request.now):
                        if bucket.left is not None:
                            bucket.left += take
                        given.append([bucket_id, take])
            returned += money
            if owed and not by_credit and not given:
                continue  # of a period that is over
            units_back = sum(int(units) for _, units in given)
            results.append(ServiceOutcome(asked.key, 2001, back, False, "", -money, -units_back, 0))
            lines.append({"key": asked.key, "price": line.price.id, "used": back, "credit_in": money, "units": given})
        if not results:
            debit.lines = before
            return self._refusal(request, 5012, "nothing_left")
        self._roll(account, request.month)
        account.credit += returned
        account.spent -= returned
        if debit.month == account.month:
            account.spent_month = max(account.spent_month - returned, 0)
        self._journal(
            "refund",
            request.now,
            request.account_id,
            sid=request.session_id,
            ctx=request.context,
            n=request.number,
            svc=lines,
            credit_in=returned,
            credit=account.credit,
        )
        return ChargeOutcome(
            *(2001, False, tuple(results), account.credit, account.held, "", -returned, account.period_end),
            at=request.now,
        )

    def _give_up(self, account_id: str, account: Account, sid: str, reason: str, now: int) -> None:
        session = account.sessions[sid]
        returned = sum(service.held_money for service in session.services.values())
        for service in session.services.values():
            release(account, service, now)
            service.phase = "normal"
        session.released, session.deadline = True, now + LATE_S
        self._journal("expired", now, account_id, sid=sid, ctx=session.context, returned=returned, reason=reason)
        given_up = sorted((s.deadline, other) for other, s in account.sessions.items() if s.released and other != sid)
        if len(given_up) >= MAX_GIVEN_UP:
            del account.sessions[given_up[0][1]]

    def _expire(self, account_id: str, account: Account, now: int, keep: str | None) -> None:
        due = sorted(sid for sid, session in account.sessions.items() if session.deadline <= now and sid != keep)
        for sid in due:
            session = account.sessions.get(sid)
            if session is not None and session.released:
                del account.sessions[sid]
            elif session is not None:
                self._give_up(account_id, account, sid, "deadline", now)

    def _journal(self, kind: str, now: int, account_id: str, **fields: object) -> None:
        self.events.append({"k": kind, "t": now, "a": account_id, **fields})

    # -- looking

    def read(self, account_id: str, *, now: int, month: int) -> AccountView:
        a = self.accounts[account_id]
        return AccountView(
            account_id=account_id,
            msisdn=a.msisdn,
            imsi=a.imsi,
            state=a.state_at(now),
            active_until=a.active_until,
            credit_micro_eur=a.credit,
            held_micro_eur=a.held,
            paid_in_micro_eur=a.paid_in,
            spent_micro_eur=a.spent,
            refunded_micro_eur=0,
            expired_micro_eur=a.expired,
            spent_month_micro_eur=a.spent_month if a.month == month else 0,
            limit_micro_eur=a.limit,
            bars=a.bars,
            package=a.package,
            package_pending=a.pending,
            period_end=a.period_end,
            buckets=tuple(BucketView(b.id, b.unit, b.left, b.held, b.expires) for b in a.buckets),
            sessions=tuple(_session_view(sid, session) for sid, session in sorted(a.sessions.items())),
        )


@dataclass(slots=True)
class _Opened:
    """A service of a request."""

    asked: ServiceCharge
    service: Service
    room: bool
    """The session has room for it."""
    known: bool
    own: bool
    """Its use is rated as the request itself says."""
    granted: int
    old: list[list[object]]
    """What it held of a period that is over."""


class _Charging:
    """One request that is applied: return everything, settle everything, then reserve."""

    def __init__(
        self, ledger: ModelLedger, account: Account, request: ChargeRequest, session: Session | None, look: bool
    ) -> None:
        self.ledger = ledger
        self.account = account
        self.request = request
        self.now = request.now
        self.look = look
        self.late = False
        if session is None or request.type is RequestType.EVENT:
            session = Session(
                request.origin_host,
                request.context,
                self.now,
                request.deadline,
                request.number,
                binding=owner_of(request),
                origin_state_id=request.origin_state_id,
            )
            self.competing = len(account.live()) + 1
        else:
            self.late = session.released
            session.released = False
            self.competing = len(account.live())
        self.overtaken = request.type is RequestType.UPDATE and request.number < session.highest
        if not self.overtaken:
            session.origin_host, session.origin_realm, session.via = (
                request.origin_host,
                request.origin_realm,
                request.via,
            )
            session.origin_state_id = request.origin_state_id or session.origin_state_id
            session.place = request.place
        self.session = session
        self.lines: list[dict[str, object]] = []
        self.after_lines: list[dict[str, object]] = []
        self.results: list[ServiceOutcome] = []

    def run(self) -> ChargeOutcome:
        opened = [self._open_line(asked) for asked in self.request.services]
        settled = [self._settle_one(each) for each in opened]
        reserved = [self._reserve_one(*pair) for pair in zip(opened, settled, strict=True)]
        if self.request.type is RequestType.EVENT:
            self.results = self._pay_events(opened, reserved)
        else:
            self.results = reserved
        code, reason = self._command_level()
        self._close_or_keep(code)
        self._thresholds()
        account = self.account
        for line, result in zip(self.lines, self.results, strict=True):
            line.update(granted=result.granted, code=result.code)
        debit = sum(result.debited_micro_eur for result in self.results)
        self.ledger._journal(
            "charge",
            self.now,
            self.request.account_id,
            sid=self.request.session_id,
            ctx=self.request.context,
            typ=self.request.type.value,
            n=self.request.number,
            svc=[*self.lines, *self.after_lines],
            code=code,
            debit=debit,
            credit=account.credit,
            closed=self.request.type is RequestType.TERMINATION,
            late=self.late,
        )
        return ChargeOutcome(
            code,
            False,
            tuple(self.results),
            account.credit,
            account.held,
            reason,
            self.session.cost,
            account.period_end,
            self.late,
            self.request.place if self.request.assumed else "",
            self.now,
        )

    def _line(self, asked: ServiceCharge, label: str, price: PriceTerms, detail: str) -> dict[str, object]:
        line: dict[str, object] = {
            "key": asked.key,
            "label": label,
            "price": price.id,
            "detail": detail,
            "used": 0,
            "debit": 0,
            "units": [],
            "overrun": 0,
            "granted": 0,
            "held": 0,
            "code": 2001,
            "dropped": 0,
        }
        return line

    def _open_line(self, asked: ServiceCharge) -> _Opened:
        service = self.session.services.get(asked.key)
        if service is None:
            self.lines.append(self._line(asked, asked.label, asked.price, asked.detail))
            service = Service(asked.label, asked.price, asked.buckets, asked.detail, reported=self.session.started)
            room = len(self.session.services) < MAX_SERVICES_PER_SESSION
            if room:
                self.session.services[asked.key] = service
            return _Opened(asked, service, room, False, True, 0, [])
        own = self.overtaken and not self.request.assumed and asked.label != "unrated"
        named = asked if own else service
        self.lines.append(self._line(asked, named.label, named.price, named.detail))
        granted = service.granted
        return _Opened(asked, service, True, True, own, granted, release(self.account, service, self.now))

    def _settle_one(self, opened: _Opened) -> ServiceOutcome:
        asked, service = opened.asked, opened.service
        result = ServiceOutcome(asked.key, 2001, 0, False, "", 0, 0, 0)
        if not opened.room:
            result.code, result.reason = 5006, "sessions"
        if not asked.reported or self.request.type is RequestType.EVENT:
            return result
        line = self.lines[self.request.services.index(asked)]
        used, either, after = asked.used, asked.used_either, asked.used_after
        if asked.max_rate:
            excess = result.dropped = self._impossible(opened)
            line["dropped"] = excess
            used, excess = max(used - excess, 0), max(excess - used, 0)
            either, excess = max(either - excess, 0), max(excess - either, 0)
            after = max(after - excess, 0)
        price, next_price, buckets = service.price, service.price_after or service.price, service.buckets
        if opened.own:
            price, next_price, buckets = asked.price, asked.price, asked.buckets
        if service.switch_at and not service.spans and asked.max_rate == 1 and not after + either:
            after = min(used, max(min(service.reported + used, self.now) - service.switch_at, 0))
            used -= after
        total = used + either + after
        first = used + (0 if next_price.num * price.den < price.num * next_price.den else either)
        if next_price.id == price.id:
            first = total
        line["used"] = first
        self._settle(price, buckets, first, line, result, opened.old)
        if total > first:
            second = self._line(asked, str(line["label"]), next_price, str(line["detail"]))
            second["used"] = total - first
            self._settle(next_price, buckets, total - first, second, result, opened.old)
            self.after_lines.append(second)
        service.reported = service.reported + total if asked.max_rate == 1 else self.now
        return result

    def _impossible(self, opened: _Opened) -> int:
        """How much of the report is not believed."""
        asked, granted = opened.asked, opened.granted
        if asked.max_rate == AS_GRANTED:
            return 0 if asked.reported <= granted + MESSAGES_SLACK else asked.reported - granted
        since = max(self.now - opened.service.reported, 0)
        slack = SLACK_S if asked.max_rate == 1 else OCTETS_SLACK_S
        if asked.reported <= granted + (since + slack) * asked.max_rate:
            return 0
        return asked.reported - min(granted, since * asked.max_rate)

    def _settle(
        self,
        terms: PriceTerms,
        buckets: tuple[str, ...],
        used: int,
        line: dict[str, object],
        result: ServiceOutcome,
        old: list[list[object]],
    ) -> list[tuple[str, int, int]]:
        account, session = self.account, self.session
        before = session.raw(terms)
        session.raw_used[terms.id] = session.raw_used.get(terms.id, 0) + used
        owed = prices.billable_units(terms, before + used) - prices.billable_units(terms, before)
        paid_by: list[tuple[str, int, int]] = []
        for own in old:
            take = min(owed, int(str(own[1])))
            if take:
                own[1] = int(str(own[1])) - take
                paid_by.append((str(own[0]), take, 0))
                owed -= take
        for bucket in account.usable(buckets, self.now):
            free = bucket.free()
            take = owed if free is None else min(owed, free)
            if take:
                if bucket.left is not None:
                    bucket.left -= take
                paid_by.append((bucket.id, take, bucket.expires))
                owed -= take
        owed, debit = self._pay(terms, owed, account.credit - account.held)
        # What neighbours at the same price hold, bucket by bucket and then their money.
        neighbours = [s for _, s in sorted(session.services.items()) if s.granted]
        for neighbour in [s for s in neighbours if s.price.id == terms.id and s.buckets == buckets]:
            for place, (bucket, held) in enumerate(neighbour.held_units):
                take = min(owed, held)
                if take and self.account.is_current(bucket, self.now):
                    neighbour.held_units[place] = (bucket, held - take)
                    bucket.held -= take
                    if bucket.left is not None:
                        bucket.left -= take
                    paid_by.append((bucket.id, take, bucket.expires))
                    owed -= take
            owed, more = self._pay(terms, owed, neighbour.held_money)
            neighbour.held_money -= more
            account.held -= more
            debit += more
        line.update(debit=debit, units=[[name, units] for name, units, _ in paid_by], overrun=owed)
        result.debited_micro_eur += debit
        result.debited_units += sum(units for _, units, _ in paid_by)
        result.overrun_units += owed
        return paid_by

    def _pay(self, terms: PriceTerms, owed: int, money: int) -> tuple[int, int]:
        """Units that this much money leaves unpaid, and what the others cost."""
        account = self.account
        already = self.session.credit_units.get(terms.id, 0)
        pays = min(owed, prices.affordable_units(terms, already, money))
        debit = prices.cost_micro_eur(terms, already + pays) - prices.cost_micro_eur(terms, already)
        self.session.credit_units[terms.id] = already + pays
        self.session.cost += debit
        account.credit -= debit
        account.spent += debit
        account.spent_month += debit
        return owed - pays, debit

    def _refusal(self, asked: ServiceCharge) -> tuple[int, str] | None:
        if asked.always:
            return None
        if self.account.state_at(self.now) != "active":
            return 4010, "state"
        return (4010, "bar") if set(asked.bars) & set(self.account.bars) else None

    def _reserve_one(self, opened: _Opened, result: ServiceOutcome) -> ServiceOutcome:
        asked, service = opened.asked, opened.service
        if result.code != 2001 or self.request.type is RequestType.TERMINATION:
            return result
        service.deadline = self.request.deadline
        want = asked.want
        if want is None and asked.restrict and service.phase in ("final", "restricted"):
            if not asked.reported and asked.retry_want:
                want = asked.retry_want
            else:
                result.restricted, service.phase = True, "restricted"
        if want is None:
            return result
        if refusal := self._refusal(asked):
            result.code, result.reason = refusal
            return result
        if not (self.overtaken and opened.known):
            service.label, service.price, service.buckets, service.detail = (
                asked.label,
                asked.price,
                asked.buckets,
                asked.detail,
            )
            service.switch_at = asked.switch_at if asked.price_after else 0
            service.price_after = asked.price_after if asked.switch_at else None
            service.spans = asked.spans
        result.granted, result.final, result.reason = self._reserve(service, want, asked.minimum)
        self.lines[self.request.services.index(asked)]["held"] = service.held_money
        if result.granted or not want:
            service.phase = "final" if result.final else "normal"
            result.span_switch = service.spans and service.switch_at > self.now
        elif not asked.restrict or (asked.restrict == Restrict.ONCE and service.phase == "restricted"):
            result.code, service.phase = 4012, "refused"
        else:
            result.restricted, service.phase = True, "restricted"
        return result

    def _room(self, service: Service, terms: PriceTerms, in_buckets: int, money: int) -> tuple[int, int]:
        """The most raw units more that this price allows, and the raw units that count as used."""
        raw, already = self.session.raw(terms), self.session.credit_units.get(terms.id, 0)
        neighbours = [s for s in self.session.services.values() if s is not service and s.granted]
        rates = {rate_of(p.id) for s in neighbours for p in (s.price, s.price_after if s.spans else None) if p}
        if not terms.flat and rate_of(terms.id) in rates:
            raw = prices.billable_units(terms, raw)  # the step begun is not given to two
        units = prices.MAX_UNITS if terms.num == 0 else prices.affordable_units(terms, already, money)
        # The most raw units whose bill, on top of what is billed already, stays within the units.
        return prices.raw_units(terms, prices.billable_units(terms, raw) + units + in_buckets) - raw, raw

    def _reserve(self, service: Service, want: int, minimum: int) -> tuple[int, bool, str]:
        account = self.account
        usable = account.usable(service.buckets, self.now)
        money, reason = account.credit - account.held, "credit"
        if account.limit is not None and max(account.limit - account.spent_month - account.held, 0) < money:
            money, reason = max(account.limit - account.spent_month - account.held, 0), "limit"
        if any(bucket.left is None for bucket in usable):
            reason = "credit"
        in_buckets = 0
        for bucket in usable:
            free = bucket.free()
            in_buckets += prices.MAX_UNITS if free is None else free
        sides = [service.price, *([service.price_after] if service.price_after and service.spans else [])]
        rooms = [(terms, *self._room(service, terms, in_buckets, money)) for terms in sides]
        room = min(each[1] for each in rooms)
        grant = min(want, room)
        if self.request.type is not RequestType.EVENT and self.competing > 1 and room < want * self.competing:
            grant = min(grant, max(minimum, room // self.competing))
        if grant <= 0:
            return 0, False, reason
        needs = [
            prices.billable_units(terms, raw + grant) - prices.billable_units(terms, raw) for terms, _, raw in rooms
        ]
        self._hold(service, sides, needs, usable)
        service.granted = grant
        final = grant == room and room < want
        return grant, final, reason if final else ""

    def _hold(self, service: Service, sides: list[PriceTerms], needs: list[int], usable: list[Bucket]) -> None:
        """At the dearer side."""
        for bucket in usable:
            free = bucket.free()
            take = max(*needs, 0) if free is None else min(max(*needs, 0), free)
            if take:
                bucket.held += take
                service.held_units.append((bucket, take))
                needs = [need - take for need in needs]
        costs = [0]
        for terms, need in zip(sides, needs, strict=True):
            already = self.session.credit_units.get(terms.id, 0)
            if need > 0:
                costs.append(prices.cost_micro_eur(terms, already + need) - prices.cost_micro_eur(terms, already))
        service.held_money = max(costs)
        self.account.held += service.held_money

    def _pay_events(self, opened: list[_Opened], reserved: list[ServiceOutcome]) -> list[ServiceOutcome]:
        """All of a one-off request or none of it."""
        pairs = list(zip(self.request.services, reserved, strict=True))
        results = [
            ServiceOutcome(r.key, 4012, 0, False, r.reason or "credit", 0, 0, 0)
            if r.code in (2001, 4012) and r.granted < (asked.want or 0)
            else r
            for asked, r in pairs
        ]
        for each in opened:
            release(self.account, each.service, self.now)
        for line in self.lines:
            line["held"] = 0
        if any(r.code != 2001 for r in results):
            return [ServiceOutcome(r.key, r.code, 0, False, r.reason, 0, 0, 0) for r in results]
        paid = []
        debit = Debit(self.request.account_id, self.account.month, [])
        for line, r, each in zip(self.lines, results, opened, strict=True):
            line["used"] = r.granted
            result = ServiceOutcome(r.key, r.code, r.granted, r.final, r.reason, 0, 0, 0)
            service = each.service
            before = self.session.credit_units.get(service.price.id, 0)
            paid_by = self._settle(service.price, service.buckets, r.granted, line, result, [])
            credit = self.session.credit_units[service.price.id] - before
            debit.lines.append(DebitLine(r.key, service.price, r.granted, before, credit, paid_by))
            paid.append(result)
        if not self.look:
            self.ledger._debits[owner_of(self.request), self.request.session_id, self.request.number] = debit
        return paid

    def _command_level(self) -> tuple[int, str]:
        kind, results = self.request.type, self.results
        if not results or kind is RequestType.TERMINATION or any(r.code == 2001 for r in results):
            return 2001, ""
        first = results[0]
        alike = all(r.code == first.code for r in results)
        by_state = all(r.code == 4010 and r.reason == "state" for r in results)
        if (alike and kind is not RequestType.UPDATE and not self.look) or by_state:
            return first.code, first.reason
        return 2001, ""

    def _close_or_keep(self, code: int) -> None:
        kind, sid, account = self.request.type, self.request.session_id, self.account
        if kind is RequestType.TERMINATION or (kind is RequestType.INITIAL and code != 2001):
            for service in self.session.services.values():
                release(account, service, self.now)
            account.sessions.pop(sid, None)
        elif kind is not RequestType.EVENT:
            held = [s.deadline for s in self.session.services.values() if s.granted or s.phase == "restricted"]
            self.session.deadline = max([self.request.deadline, *held])
            self.session.highest = max(self.session.highest, self.request.number)
            account.sessions[sid] = self.session
            if code != 2001:
                self.ledger._give_up(self.request.account_id, account, sid, "refused", self.now)

    def _thresholds(self) -> None:
        account = self.account
        if account.limit is None:
            return
        for percent in (80, 100):
            if account.notified < percent and account.spent_month * 100 >= account.limit * percent:
                account.notified = percent
                self.ledger._journal(
                    "threshold",
                    self.now,
                    self.request.account_id,
                    pct=percent,
                    spent=account.spent_month,
                    limit=account.limit,
                )


def release(account: Account, service: Service, now: int) -> list[list[object]]:
    """What it held returns, but for units of a period that is over: those are the result."""
    old: list[list[object]] = []
    for bucket, units in service.held_units:
        if bucket not in account.buckets:
            continue
        bucket.held -= units
        if not account.is_current(bucket, now):
            old.append([bucket.id, units])
            if bucket.left is not None:
                bucket.left -= units
            if not bucket.held and not bucket.left:
                account.buckets = [each for each in account.buckets if each is not bucket]
    account.held -= service.held_money
    service.held_units, service.held_money, service.granted = [], 0, 0
    return old


def owner_of(request: ChargeRequest) -> str:
    return request.binding or request.origin_host.lower()


def rate_of(price_id: str) -> str:
    return price_id.partition("@")[0]


def _session_view(session_id: str, session: Session) -> SessionView:
    return SessionView(
        session_id,
        session.origin_host,
        session.context,
        session.started,
        session.deadline,
        tuple(
            ReservationView(key, s.label, s.held_money, tuple((b.id, units) for b, units in s.held_units))
            for key, s in sorted(session.services.items())
        ),
        session.origin_realm,
        session.via,
        session.origin_state_id,
        session.released,
    )
