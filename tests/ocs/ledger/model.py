"""The ledger as plain Python: one process, no Redis, nothing kept. The tests' oracle for the scripts (model-based testing).

Written from the contract, with the price arithmetic of `ocs.rating.price`, not from the scripts: where the two disagree, one is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocs.ledger.contract import (
    ANSWERS_KEPT_PER_SESSION,
    CREDIT_CEILING_MICRO_EUR,
    DEFAULT_LIMIT_MICRO_EUR,
    MAX_SERVICES_PER_SESSION,
    MAX_SESSIONS_PER_ACCOUNT,
    AccountView,
    BucketView,
    ChargeOutcome,
    ChargeRequest,
    LedgerError,
    PackageTerms,
    RequestType,
    ReservationView,
    ServiceCharge,
    ServiceOutcome,
    SessionView,
)
from ocs.rating import price as prices
from ocs.rating.types import PriceTerms

ACTIVE_S = 90 * 86_400
Event = dict[str, object]


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
    held_units: list[tuple[str, int]] = field(default_factory=list)
    held_money: int = 0


@dataclass(slots=True)
class Session:
    origin_host: str
    context: str
    started: int
    deadline: int
    highest: int
    raw_used: dict[str, int] = field(default_factory=dict)
    """Use is rounded once per session and price: raw units by price id."""
    credit_units: dict[str, int] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)


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

    def usable(self, ids: Sequence[str], now: int) -> list[Bucket]:
        by_id = {bucket.id: bucket for bucket in self.buckets}
        return [by_id[each] for each in ids if each in by_id and by_id[each].expires > now]


class ModelLedger:
    """Same operations as the Redis ledger, at once instead of asynchronously. `events` is the outbox, in order."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.events: list[Event] = []
        self._answers: dict[tuple[str, str], ChargeOutcome] = {}
        self._refused: set[str] = set()
        self._references: dict[str, tuple[str, int]] = {}
        self._applied: set[tuple[str, str, str]] = set()

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
        if any(a.msisdn == msisdn or a.imsi == imsi for a in self.accounts.values()):
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
        if account.period_end and now >= account.period_end:
            terms = {p.id: p for p in packages}.get(account.package)
            if terms and account.state_at(now) == "active":
                missed_one = now >= account.period_end + terms.period_s
                self._start_period(account_id, account, terms, now if missed_one else account.period_end, now)
            else:
                self._drop_buckets(account)
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
        self._drop_buckets(account)
        account.package, account.pending, account.period_end = terms.id, not paid, 0
        if paid:
            account.credit -= terms.price_micro_eur
            account.spent += terms.price_micro_eur
            account.period_end = starts + terms.period_s
            account.buckets = [Bucket(b.id, b.unit, b.quantity, account.period_end) for b in terms.buckets]
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
    def _drop_buckets(account: Account) -> None:
        account.buckets = []
        for session in account.sessions.values():
            for service in session.services.values():
                service.held_units = []

    @staticmethod
    def _roll(account: Account, month: int) -> None:
        if month > account.month:
            account.month, account.spent_month, account.notified = month, 0, 0

    # -- charging

    def charge(self, request: ChargeRequest) -> ChargeOutcome:
        key = (request.session_id, f"{request.type.value}{request.number}")
        if key in self._answers:
            known = self._answers[key]
            return ChargeOutcome(
                known.code, True, known.services, known.credit_micro_eur, known.held_micro_eur, known.reason
            )
        account = self.accounts.get(request.account_id)
        if account is None:
            return _refusal(5030, "unknown")
        if request.identity not in ("", "m" + account.msisdn, "i" + account.imsi):
            return _refusal(0, "identity")
        if account.period_end and request.now >= account.period_end:
            return _refusal(0, "sweep")
        session = account.sessions.get(request.session_id)
        if refusal := self._out_of_place(request, session):
            return refusal
        # Validation is over; from here on everything takes effect.
        live = [s for sid, s in account.sessions.items() if s.deadline > request.now or sid == request.session_id]
        if request.type is RequestType.INITIAL and len(live) >= MAX_SESSIONS_PER_ACCOUNT:
            return _refusal(5006, "sessions")
        self._roll(account, request.month)
        self._expire(request.account_id, account, request.now, keep=request.session_id)
        outcome = _Charging(self, account, request, session).run()
        self._answers[key] = outcome
        if request.type is RequestType.INITIAL and outcome.code != 2001:
            self._refused.add(request.session_id)
        return outcome

    def _out_of_place(self, request: ChargeRequest, session: Session | None) -> ChargeOutcome | None:
        if request.type is RequestType.INITIAL:
            return _refusal(5012, "open") if session else None
        if request.type is RequestType.EVENT:
            return None
        if session is None:
            if request.type is RequestType.TERMINATION and request.session_id in self._refused:
                return _refusal(2001, "")
            return _refusal(5002, "session")
        if request.number <= session.highest - ANSWERS_KEPT_PER_SESSION:
            return _refusal(5012, "late")
        return None

    def _expire(self, account_id: str, account: Account, now: int, keep: str | None) -> None:
        for sid, session in list(account.sessions.items()):
            if session.deadline <= now and sid != keep:
                returned = sum(service.held_money for service in session.services.values())
                for service in session.services.values():
                    release(account, service)
                del account.sessions[sid]
                self._journal("expired", now, account_id, sid=sid, ctx=session.context, returned=returned)

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
            expired_micro_eur=0,
            spent_month_micro_eur=a.spent_month if a.month == month else 0,
            limit_micro_eur=a.limit,
            bars=a.bars,
            package=a.package,
            package_pending=a.pending,
            period_end=a.period_end,
            buckets=tuple(BucketView(b.id, b.unit, b.left, b.held, b.expires) for b in a.buckets),
            sessions=tuple(_session_view(sid, session) for sid, session in sorted(a.sessions.items())),
        )


class _Charging:
    """One request that is applied: settle everything, then reserve."""

    def __init__(self, ledger: ModelLedger, account: Account, request: ChargeRequest, session: Session | None) -> None:
        self.ledger = ledger
        self.account = account
        self.request = request
        self.now = request.now
        if session is None or request.type is RequestType.EVENT:
            session = Session(request.origin_host, request.context, self.now, request.deadline, request.number)
            self.competing = len(account.sessions) + 1
        else:
            self.competing = len(account.sessions)
        self.session = session
        self.lines: list[dict[str, object]] = []
        self.results: list[ServiceOutcome] = []

    def run(self) -> ChargeOutcome:
        settled = [self._settle_one(asked) for asked in self.request.services]
        reserved = [self._reserve_one(*pair) for pair in zip(self.request.services, settled, strict=True)]
        if self.request.type is RequestType.EVENT:
            self.results = self._pay_events(reserved)
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
            svc=self.lines,
            code=code,
            debit=debit,
            credit=account.credit,
            closed=self.request.type is RequestType.TERMINATION,
        )
        return ChargeOutcome(code, False, tuple(self.results), account.credit, account.held, reason)

    def _settle_one(self, asked: ServiceCharge) -> ServiceOutcome:
        service = self.session.services.get(asked.key)
        line: dict[str, object] = {
            "key": asked.key,
            "used": asked.used,
            "debit": 0,
            "units": [],
            "overrun": 0,
            "held": 0,
        }
        self.lines.append(line)
        if service is None:
            if len(self.session.services) >= MAX_SERVICES_PER_SESSION:
                line.update(label=asked.label, price=asked.price.id, detail=asked.detail)
                return ServiceOutcome(asked.key, 5006, 0, False, "sessions", 0, 0, 0)
            service = Service(asked.label, asked.price, asked.buckets, asked.detail)
            self.session.services[asked.key] = service
        line.update(label=service.label, price=service.price.id, detail=service.detail)
        release(self.account, service)
        if asked.used == 0 or self.request.type is RequestType.EVENT:
            return ServiceOutcome(asked.key, 2001, 0, False, "", 0, 0, 0)
        debit, from_buckets, overrun = self._settle(service, asked.used, line)
        return ServiceOutcome(asked.key, 2001, 0, False, "", debit, from_buckets, overrun)

    def _settle(self, service: Service, used: int, line: dict[str, object]) -> tuple[int, int, int]:
        terms, account = service.price, self.account
        before = self.session.raw_used.get(terms.id, 0)
        self.session.raw_used[terms.id] = before + used
        owed = prices.billable_units(terms, before + used) - prices.billable_units(terms, before)
        paid_by: list[list[str | int]] = []
        from_buckets = 0
        for bucket in account.usable(service.buckets, self.now):
            free = bucket.free()
            take = owed if free is None else min(owed, free)
            if take:
                if bucket.left is not None:
                    bucket.left -= take
                paid_by.append([bucket.id, take])
                from_buckets += take
                owed -= take
        already = self.session.credit_units.get(terms.id, 0)
        pays = min(owed, prices.affordable_units(terms, already, account.credit - account.held))
        debit = prices.cost_micro_eur(terms, already + pays) - prices.cost_micro_eur(terms, already)
        self.session.credit_units[terms.id] = already + pays
        account.credit -= debit
        account.spent += debit
        account.spent_month += debit
        line.update(debit=debit, units=paid_by, overrun=owed - pays)
        return debit, from_buckets, owed - pays

    def _refusal(self, asked: ServiceCharge) -> tuple[int, str] | None:
        if asked.always:
            return None
        if self.account.state_at(self.now) != "active":
            return 4010, "state"
        return (4010, "bar") if set(asked.bars) & set(self.account.bars) else None

    def _reserve_one(self, asked: ServiceCharge, settled: ServiceOutcome) -> ServiceOutcome:
        if settled.code != 2001 or asked.want is None or self.request.type is RequestType.TERMINATION:
            return settled
        paid = (settled.debited_micro_eur, settled.debited_units, settled.overrun_units)
        if refusal := self._refusal(asked):
            return ServiceOutcome(asked.key, refusal[0], 0, False, refusal[1], *paid)
        service = self.session.services[asked.key]
        service.label, service.price, service.buckets, service.detail = (
            asked.label,
            asked.price,
            asked.buckets,
            asked.detail,
        )
        grant, final, reason = self._reserve(service, asked)
        self.lines[self.request.services.index(asked)]["held"] = service.held_money
        return ServiceOutcome(asked.key, 2001 if grant or not asked.want else 4012, grant, final, reason, *paid)

    def _reserve(self, service: Service, asked: ServiceCharge) -> tuple[int, bool, str]:
        terms, account, want = service.price, self.account, asked.want or 0
        raw, already = self.session.raw_used.get(terms.id, 0), self.session.credit_units.get(terms.id, 0)
        neighbours = [s for s in self.session.services.values() if s is not service and s.granted]
        if not terms.flat and any(s.price.id == terms.id for s in neighbours):
            raw = prices.billable_units(terms, raw)  # the step begun is not given to two
        usable = account.usable(service.buckets, self.now)
        money, reason = account.credit - account.held, "credit"
        if account.limit is not None and max(account.limit - account.spent_month - account.held, 0) < money:
            money, reason = max(account.limit - account.spent_month - account.held, 0), "limit"
        if any(bucket.left is None for bucket in usable):
            reason = "credit"
        units = prices.MAX_UNITS if terms.num == 0 else prices.affordable_units(terms, already, money)
        for bucket in usable:
            free = bucket.free()
            units += prices.MAX_UNITS if free is None else free
        # The most raw units whose bill, on top of what is billed already, stays within `units`.
        room = prices.raw_units(terms, prices.billable_units(terms, raw) + units) - raw
        grant = min(want, room)
        if self.request.type is not RequestType.EVENT and self.competing > 1 and room < want * self.competing:
            grant = min(grant, max(asked.minimum, room // self.competing))
        if grant <= 0:
            return 0, False, reason
        self._hold(service, prices.billable_units(terms, raw + grant) - prices.billable_units(terms, raw), usable)
        service.granted = grant
        final = grant == room and room < want
        return grant, final, reason if final else ""

    def _hold(self, service: Service, need: int, usable: list[Bucket]) -> None:
        for bucket in usable:
            free = bucket.free()
            take = need if free is None else min(need, free)
            if take:
                bucket.held += take
                service.held_units.append((bucket.id, take))
                need -= take
        already = self.session.credit_units.get(service.price.id, 0)
        cost = prices.cost_micro_eur(service.price, already + need) - prices.cost_micro_eur(service.price, already)
        service.held_money = cost
        self.account.held += cost

    def _pay_events(self, reserved: list[ServiceOutcome]) -> list[ServiceOutcome]:
        """All of a one-off request or none of it."""
        pairs = list(zip(self.request.services, reserved, strict=True))
        results = [
            ServiceOutcome(r.key, 4012, 0, False, r.reason or "credit", 0, 0, 0)
            if r.code in (2001, 4012) and r.granted < (asked.want or 0)
            else r
            for asked, r in pairs
        ]
        for service in self.session.services.values():
            release(self.account, service)
        for line in self.lines:
            line["held"] = 0
        if any(r.code != 2001 for r in results):
            return [ServiceOutcome(r.key, r.code, 0, False, r.reason, 0, 0, 0) for r in results]
        paid = []
        for line, r in zip(self.lines, results, strict=True):
            line["used"] = r.granted
            debit, units, overrun = self._settle(self.session.services[r.key], r.granted, line)
            paid.append(ServiceOutcome(r.key, r.code, r.granted, r.final, r.reason, debit, units, overrun))
        return paid

    def _command_level(self) -> tuple[int, str]:
        kind, results = self.request.type, self.results
        if not results or kind is RequestType.TERMINATION or any(r.code == 2001 for r in results):
            return 2001, ""
        first = results[0]
        alike = all(r.code == first.code for r in results)
        by_state = all(r.code == 4010 and r.reason == "state" for r in results)
        if (alike and kind is not RequestType.UPDATE) or by_state:
            return first.code, first.reason
        return 2001, ""

    def _close_or_keep(self, code: int) -> None:
        kind, sid, account = self.request.type, self.request.session_id, self.account
        if kind is RequestType.TERMINATION or (kind is RequestType.INITIAL and code != 2001):
            for service in self.session.services.values():
                release(account, service)
            account.sessions.pop(sid, None)
        elif kind is not RequestType.EVENT:
            self.session.deadline = self.request.deadline
            self.session.highest = max(self.session.highest, self.request.number)
            account.sessions[sid] = self.session

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


def release(account: Account, service: Service) -> None:
    for bucket_id, units in service.held_units:
        for bucket in account.buckets:
            if bucket.id == bucket_id:
                bucket.held -= units
    account.held -= service.held_money
    service.held_units, service.held_money, service.granted = [], 0, 0


def _refusal(code: int, reason: str) -> ChargeOutcome:
    return ChargeOutcome(code, False, (), 0, 0, reason)


def _session_view(session_id: str, session: Session) -> SessionView:
    return SessionView(
        session_id,
        session.origin_host,
        session.context,
        session.started,
        session.deadline,
        tuple(
            ReservationView(key, s.label, s.held_money, tuple(s.held_units))
            for key, s in sorted(session.services.items())
        ),
    )
