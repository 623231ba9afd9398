"""One charging request as the model ledger applies it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ocs.ledger.contract import (
    AS_GRANTED,
    MAX_SERVICES_PER_SESSION,
    ChargeOutcome,
    ChargeRequest,
    RequestType,
    Restrict,
    ServiceCharge,
    ServiceOutcome,
)
from ocs.rating import price as prices
from ocs.rating.types import PriceTerms
from tests.ocs.ledger.model_state import (
    Account,
    Bucket,
    Debit,
    DebitLine,
    Service,
    Session,
    owner_of,
    rate_of,
    release,
)

if TYPE_CHECKING:
    from tests.ocs.ledger.model import ModelLedger

SLACK_S, OCTETS_SLACK_S, MESSAGES_SLACK = 60, 5, 255


@dataclass(slots=True)
class _Opened:
    """A service of a request."""

    asked: ServiceCharge
    service: Service
    room: bool
    """The session has room for it."""
    behind: bool
    """A later update of the service came first."""
    own: bool
    """Its use is rated as the request itself says."""
    granted: int
    old: list[list[object]]
    """What it held of a period that is over."""


class Charging:
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
        self.ledger.journal(
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
            self._number(service)
            return _Opened(asked, service, room, False, True, 0, [])
        update = self.request.type is RequestType.UPDATE
        behind = update and self.request.number < service.highest
        own = asked.label != "unrated" and (service.label == "unrated" or (behind and not self.request.assumed))
        named = asked if own else service
        self.lines.append(self._line(asked, named.label, named.price, named.detail))
        granted = service.granted
        self._number(service)
        return _Opened(asked, service, True, behind, own, granted, release(self.account, service, self.now))

    def _number(self, service: Service) -> None:
        if self.request.type is RequestType.UPDATE:
            service.highest = max(service.highest, self.request.number)

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
        if not opened.behind:
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
            if asked.max_rate == 1 and not asked.reported and not opened.granted and not self.overtaken:
                service.reported = max(service.reported, self.now)
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
            self.ledger.debits[owner_of(self.request), self.request.session_id, self.request.number] = debit
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
                self.ledger.give_up(self.request.account_id, account, sid, "refused", self.now)

    def _thresholds(self) -> None:
        account = self.account
        if account.limit is None:
            return
        for percent in (80, 100):
            if account.notified < percent and account.spent_month * 100 >= account.limit * percent:
                account.notified = percent
                self.ledger.journal(
                    "threshold",
                    self.now,
                    self.request.account_id,
                    pct=percent,
                    spent=account.spent_month,
                    limit=account.limit,
                )
