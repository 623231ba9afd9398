"""The ledger as plain Python: one process, no Redis, nothing kept. The tests' oracle for the scripts (model-based testing).

Written from the contract, with the price arithmetic of `ocs.rating.price`, not from the scripts: where the two disagree, one is wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

from ocs.ledger.contract import (
    ANSWERS_KEPT_PER_SESSION,
    CREDIT_CEILING_MICRO_EUR,
    MAX_SESSIONS_PER_ACCOUNT,
    AccountView,
    Action,
    BucketView,
    ChargeOutcome,
    ChargeRequest,
    LedgerError,
    PackageTerms,
    RequestType,
    ServiceOutcome,
)
from ocs.rating import price as prices
from tests.ocs.ledger.model_charging import Charging
from tests.ocs.ledger.model_state import (
    Account,
    Bucket,
    Debit,
    Event,
    Session,
    in_need,
    owner_of,
    release,
    session_view,
)

ACTIVE_S = 90 * 86_400
LATE_S = 3600
MAX_GIVEN_UP = 8
KINDS = {Action.CHECK: "C", Action.REFUND: "R"}


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
        self.debits: dict[tuple[str, str, int], Debit] = {}

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
        self.journal("opened", now, account_id, credit_in=credit, credit=credit, package=package.id if package else "")
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
        self.journal("topup", now, account_id, credit_in=amount, ref=reference, credit=account.credit)
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
        self.journal("limit", now, account_id, limit=-1 if limit is None else limit)

    def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int) -> None:
        self._roll(self.accounts[account_id], month)
        self.accounts[account_id].bars = tuple(sorted(set(bars)))
        self.journal("bars", now, account_id, bars=",".join(sorted(set(bars))))

    def set_state(self, account_id: str, *, state: str, now: int, month: int) -> None:
        self._roll(self.accounts[account_id], month)
        self.accounts[account_id].state = state
        self.journal("state", now, account_id, state=state[0])

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
                self.journal(
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
        self.journal(
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
            self.give_up(account_id, account, sid, "terminated", now)
        lost = account.credit
        account.state, account.credit, account.expired = "terminated", 0, account.expired + lost
        account.buckets, account.period_end, account.pending, account.sessions = [], 0, False, {}
        self.journal("terminated", now, account_id, debit=lost, credit=0)

    def release_session(self, account_id: str, session_id: str, *, reason: str, now: int, month: int) -> bool:
        account = self.accounts[account_id]
        if session_id not in account.live():
            return False
        self._roll(account, month)
        self.give_up(account_id, account, session_id, reason, now)
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
        relieved = (
            session
            and request.type is not RequestType.INITIAL
            and in_need(session.place)
            and not in_need(request.place)
        )
        if session and (relieved or request.assumed not in ("", session.place)):
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
                self.give_up(request.account_id, account, sid, "restarted", request.now)
            account.sessions.pop(sid, None)
            session = None
            self._answers = {
                key: known
                for key, known in self._answers.items()
                if key[:2] != (owner, sid) or key[2][0] in KINDS.values() or key[2][0] == "E"
            }
            self._refused.discard((owner, sid))
        self._expire(request.account_id, account, request.now, keep=sid)
        outcome = Charging(self, account, request, session, look).run()
        if not look:
            self._answers[owner, sid, f"{request.type.value}{request.number}"] = outcome
            if request.type is RequestType.UPDATE:
                self._answers.pop((owner, sid, f"U{request.number - ANSWERS_KEPT_PER_SESSION}"), None)
            if opening and outcome.code != 2001:
                self._refused.add((owner, sid))
            elif opening:
                self._refused.discard((owner, sid))
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
        debit = self.debits.get((owner_of(request), *(request.refund_of or (request.session_id, request.number))))
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
        self.journal(
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

    def give_up(self, account_id: str, account: Account, sid: str, reason: str, now: int) -> None:
        session = account.sessions[sid]
        returned = sum(service.held_money for service in session.services.values())
        for service in session.services.values():
            release(account, service, now)
            service.phase = "normal"
        session.released, session.deadline = True, now + LATE_S
        self.journal("expired", now, account_id, sid=sid, ctx=session.context, returned=returned, reason=reason)
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
                self.give_up(account_id, account, sid, "deadline", now)

    def journal(self, kind: str, now: int, account_id: str, **fields: object) -> None:
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
            sessions=tuple(session_view(sid, session) for sid, session in sorted(a.sessions.items())),
        )
