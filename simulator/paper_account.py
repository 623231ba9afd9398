"""An account kept on paper: what it must hold after what the network reported and the subscriber bought.

An independent computation of the operator's rules (docs/RULES.md), in plain sequence: no reservations, no sessions
that wait, no repetitions. It assumes that clients use what they were granted, not more. Each movement is a `Charge`.

- Included units pay before credit; of several those of packs first, then those that end first (HOT-PKG-3, -10).
- A session's use is rounded up to steps once, and to whole micro-EUR once for each price (HOT-PKG-5, HOT-RAT-8).
- Products renew from credit when their period ends, or wait until there is enough (HOT-PKG-2).
- Without a top-up in 90 days the account is inactive, 270 days later it is terminated (HOT-ACC-3 to -6).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from simulator.paper_entries import Charge, Pool, Session, Subscription, Units
from simulator.price_sheet import Article, PriceSheet, Row

DAY_S = 86_400
ACTIVE_S, LIFE_S = 90 * DAY_S, 270 * DAY_S
LIMIT = "limit"
LOW_CREDIT = 1_000_000
"""Micro-EUR: a use below it is told (HOT-ACC-8)."""
TOLD = ("data", "usa-data", "balkan-data", "pack-sms", "pack-mms")
"""Units of which 80 and 100 % are told, if the product's are."""
NOTICES = (80, 100)
RUNNING = ("active", "ending")


class PaperAccount:
    """`zone`: of the calendar months."""

    def __init__(self, sheet: PriceSheet, zone: ZoneInfo) -> None:
        self._sheet, self._zone = sheet, zone
        self.credit = self.promotional = 0
        """Micro-EUR; `promotional` is a part of the credit, and pays first (HOT-ACC-10)."""
        self.active_until = 0
        self.unused = self.blocked = self.terminated = False
        self.charges: list[Charge] = []
        self.notices: list[tuple[int, str, int]] = []
        """(moment, bucket or counter, percent); "low credit" has none."""
        self.units: list[Units] = []
        self.pool: Pool | None = None
        self.subscriptions: list[Subscription] = []
        self.counted: Counter[tuple[str, int]] = Counter()
        """(counter, month) → micro-EUR."""
        self.limits: dict[str, int | None] = {}
        """Counter → micro-EUR; None = none."""
        self._told: set[tuple[str, int, int]] = set()
        self._sessions: defaultdict[str, Session] = defaultdict(Session)
        self._number = 0

    # -- time

    def month(self, at: int) -> int:
        local = datetime.fromtimestamp(at, self._zone)
        return local.year * 100 + local.month

    def state(self, at: int) -> str:
        if self.terminated:
            return "terminated"
        if self.blocked:
            return "blocked"
        if self.unused:
            return "new"
        return "active" if at < self.active_until else "inactive"

    def next_due(self) -> int:
        """The moment at which time changes something next; 0 = never."""
        if self.terminated:
            return 0
        ends = [each.ends for each in self.subscriptions if each.state in RUNNING]
        planned = [each.due for each in self.subscriptions if each.state == "planned"]
        return min([*ends, *planned, self.active_until + LIFE_S])

    def begin(self, at: int) -> None:
        """The first use was granted: life and package begin (HOT-ACC-2)."""
        if self.unused:
            self.unused, self.active_until = False, at + ACTIVE_S
            self.pass_time(at)

    def pass_time(self, now: int) -> None:
        while (due := self._first_due(now)) is not None:
            if due.state in RUNNING:
                self._next_period(due, now)
                continue
            # Paid at the price of the day on which the period begins (HOT-PKG-11).
            due.article = self._sheet.article(due.due if due.state == "planned" else now, due.article.id)
            if self._can_pay(due.article, now):
                late = due.state == "unpaid" or now >= due.due + due.article.days * DAY_S
                self._pay_fee(due, now if late else due.due, now)
            else:
                due.state = "unpaid"
        if not self.terminated and not self.unused and now >= self.active_until + LIFE_S:
            self._terminate(now)

    def _first_due(self, now: int) -> Subscription | None:
        waiting = []
        for each in self.subscriptions:
            at = each.ends if each.state in RUNNING else each.due
            begins = each.state == "unpaid" and self._can_pay(each.article, now)
            if at <= now and (begins or each.state in (*RUNNING, "planned")):
                waiting.append((at, *each.rank, each))
        return min(waiting, key=lambda found: found[:3])[3] if waiting else None

    def _next_period(self, ended: Subscription, now: int) -> None:
        at, last = ended.ends, ended.state == "ending"
        self._end_units(ended, at)
        if last or ("renews" not in ended.article.marks and not ended.following):
            self._end(ended)
            return
        before = ended.article.id
        following, ended.following = ended.following, ""
        ended.article = self._sheet.article(at, following or before)
        if ended.article.id != before:
            self._void_plans()
        if self._can_pay(ended.article, now):
            missed = now >= at + ended.article.days * DAY_S
            self._pay_fee(ended, now if missed else at, now)
        else:
            ended.state, ended.due, ended.ends = "unpaid", at, 0

    def _terminate(self, at: int) -> None:
        self.charges.append(Charge(at, "expired", self.credit))
        self.credit, self.promotional, self.terminated = 0, 0, True
        for each in list(self.subscriptions):
            self._end_units(each, at)
            self._end(each)

    # -- products

    def open(self, at: int, credit: int, product: str, *, unused: bool = False) -> None:
        """`unused`: sold, and nothing begins before the first use."""
        self.active_until, self.unused = at + ACTIVE_S, unused
        self.top_up(at, credit)
        if product:
            tariff = Subscription(self._sheet.article(at, product), "unpaid", due=at)
            self._add(tariff)
            self.pass_time(at)

    def top_up(self, at: int, micro_eur: int, *, promotional: bool = False) -> None:
        self.pass_time(at)
        self.credit += micro_eur
        self.promotional += micro_eur if promotional else 0
        self.active_until = max(self.active_until, at + ACTIVE_S)
        self.charges.append(Charge(at, "top-up", -micro_eur))
        self.pass_time(at)

    def block(self, at: int, blocked: bool) -> None:
        self.pass_time(at)
        self.blocked = blocked
        self.pass_time(at)

    def buy(self, at: int, product: str, *, starts: int = 0, armed: bool = False) -> None:
        """The purchase was accepted. `starts`: planned for then; `armed`: it begins at its first use."""
        self.pass_time(at)
        state = "planned" if starts else "armed" if armed else "new"
        bought = Subscription(self._sheet.article(at, product), state, due=starts)
        self._add(bought)
        if state == "new":
            self._pay_fee(bought, at, at)
            self.pass_time(at)

    def follow(self, at: int, product: str) -> None:
        """Another tariff follows at the end of the period (HOT-PKG-6)."""
        self.pass_time(at)
        for each in self.subscriptions:
            if each.article.is_tariff and each.state in RUNNING:
                each.following = product

    def cancel(self, at: int, product: str, *, at_once: bool = False) -> dict[str, int]:
        """At the end of the period; what has not begun ends at once (HOT-PKG-7). Returns what the early end of a
        commitment costs: benefit → micro-EUR, to the cent (HOT-REC-4).
        """
        self.pass_time(at)
        found = [each for each in self.subscriptions if each.article.id == product]
        running = [each for each in found if each.state in RUNNING]
        chosen = max(running, key=lambda each: (each.state == "active", each.ends), default=next(iter(found), None))
        assert chosen is not None, f"{product} is not on paper"
        goes_on = chosen.state in RUNNING and not at_once
        shares = self._shares(chosen, chosen.ends if goes_on else at)
        for benefit, micro_eur in shares.items():
            self._take(micro_eur)
            self.charges.append(Charge(at, f"share {benefit}", micro_eur))
        if shares:
            chosen.committed_until = 0
        if goes_on:
            chosen.state = "ending"
        else:
            self._end_units(chosen, at)
            self._end(chosen)
        return shares

    def _shares(self, subscription: Subscription, ends: int) -> dict[str, int]:
        agreed, days_left = subscription.article.agreed_days, max(subscription.committed_until - ends, 0) // DAY_S
        shares = {}
        for benefit, micro_eur in subscription.article.benefits.items():
            cents = Fraction(micro_eur * days_left, agreed * 10_000)
            shares[benefit] = math.floor(cents + Fraction(1, 2)) * 10_000
        return {benefit: micro_eur for benefit, micro_eur in shares.items() if micro_eur}

    def _take(self, micro_eur: int) -> None:
        self.credit -= micro_eur
        self.promotional -= min(self.promotional, micro_eur)

    def has(self, product: str) -> bool:
        return any(each.article.id == product for each in self.subscriptions)

    def _add(self, subscription: Subscription) -> None:
        self._number += 1
        subscription.number = self._number
        self.subscriptions.append(subscription)

    def _end(self, subscription: Subscription) -> None:
        subscription.state = "ended"
        self.subscriptions = [each for each in self.subscriptions if each is not subscription]

    def _void_plans(self) -> None:
        for each in list(self.subscriptions):
            if each.state == "planned" and "voided" in each.article.marks:
                self._end(each)

    def _can_pay(self, article: Article, now: int) -> bool:
        if "counts" in article.marks and not self._has_room(LIMIT, now, article.price_micro_eur):
            return False
        return self.state(now) == "active" and self.credit >= article.price_micro_eur

    def _has_room(self, counter: str, now: int, micro_eur: int) -> bool:
        limit = self.limits.get(counter)
        return limit is None or self.counted[counter, self.month(now)] + micro_eur <= limit

    def _pay_fee(self, subscription: Subscription, starts: int, now: int) -> None:
        article = subscription.article
        self._take(article.price_micro_eur)
        self.charges.append(Charge(now, article.id, article.price_micro_eur))
        if "counts" in article.marks:
            self._count(LIMIT, now, article.price_micro_eur)
            self._tell(LIMIT, now)
        if article.days == 0:
            self._end(subscription)
            return
        subscription.state, subscription.ends = "active", self._period_end(article, starts)
        if article.benefits and not subscription.committed_until:
            subscription.committed_until = starts + article.agreed_days * DAY_S
        if article.is_tariff:
            self._replace_tariff(subscription, now)
        where = self.pool.units if self.pool is not None and "shared" in article.marks else self.units
        for name, quantity in article.units.items():
            self._number += 1
            told = "told" in article.marks and name in TOLD
            where.append(
                Units(
                    *(f"{article.id}.{name}", name, quantity, quantity, starts, subscription.ends, subscription),
                    *(article.is_tariff, told, self._number),
                )
            )

    def _period_end(self, article: Article, starts: int) -> int:
        tariffs = [each.ends for each in self.subscriptions if each.article.is_tariff and each.state in RUNNING]
        if "with-tariff" in article.marks and tariffs and tariffs[0] > starts:
            return tariffs[0]
        return starts + article.days * DAY_S

    def _replace_tariff(self, tariff: Subscription, at: int) -> None:
        for each in list(self.subscriptions):
            if each is not tariff and each.article.is_tariff and each.state not in ("planned", "armed"):
                self._end_units(each, at)
                self._end(each)
                if each.article.id != tariff.article.id:
                    self._void_plans()

    def _end_units(self, subscription: Subscription, at: int) -> None:
        for each in (*self.units, *(self.pool.units if self.pool else ())):
            if each.owner is subscription:
                each.ends = min(each.ends, at)

    # -- use

    def ask(self, at: int, rows: list[Row]) -> None:
        """A grant was asked for at these rows: what waits for its first use there begins (HOT-PKG-13)."""
        self.look(at)
        names = {name for row in rows for name in row.units}
        for each in list(self.subscriptions):
            if each.state == "armed" and names & each.article.units.keys() and self._can_pay(each.article, at):
                self._pay_fee(each, at, at)

    def use(self, at: int, session: str, rows: list[Row], used: int, granted_at: int) -> None:
        """The network reported use of what was granted at `granted_at`, to be paid at each of the rows."""
        self.pass_time(at)
        before = self.credit
        self._use(at, session, rows, used, granted_at)
        self.look(at)
        if before >= LOW_CREDIT > self.credit:
            self.notices.append((at, "low credit", 0))

    def look(self, at: int) -> None:
        """A request was looked at, whatever the answer: what a changed limit makes due is told (HOT-CC-4)."""
        self.pass_time(at)
        for counter in self.limits:
            self._tell(counter, at)

    def _use(self, at: int, session: str, rows: list[Row], used: int, granted_at: int) -> None:
        for row in rows:
            seen = self._sessions[session]
            before = seen.raw[row.label]
            seen.raw[row.label] += used
            owed = row.price.billable(before + used) - row.price.billable(before)
            charge = Charge(at, row.label, 0, session, row.version, used)
            owed -= self._pay_by_units(charge, row, owed, granted_at)
            self._pay_by_credit(charge, row, owed, seen)
            self.charges.append(charge)

    def could_pay(self, at: int, rows: list[Row], used: int) -> bool:
        """Whether included units, or credit within the limits, would pay all of it."""
        money = 0
        for row in rows:
            owed = row.price.billable(used)
            for each in self._payers(row, at, at):
                owed -= owed if each.left is None else min(owed, each.left)
            money += row.price.cost_micro_eur(owed)
        counters = {LIMIT, *(row.cap for row in rows if row.cap)}
        return money <= self.credit and (not money or all(self._has_room(each, at, money) for each in counters))

    def refund(self, at: int, session: str) -> None:
        """All that a message cost comes back (RFC 8506 §6.4); units only to a period that still runs."""
        self.pass_time(at)
        for paid in [each for each in self.charges if each.session == session]:
            self.credit += paid.debit
            back = Charge(at, paid.what, -paid.debit, session, paid.version, -paid.used)
            for id_, units in paid.units.items():
                for each in self.units:
                    if each.id == id_ and each.starts <= paid.at < each.ends and at < each.ends:
                        each.left = None if each.left is None else each.left + units
                        back.units[id_] -= units
            if self.month(paid.at) == self.month(at):
                self._count(LIMIT, at, -paid.debit)
            self.charges.append(back)

    def _payers(self, row: Row, granted_at: int, at: int) -> list[Units]:
        """Units that had granted it, then those that run now."""
        own = [(each, 0) for each in self.units] + [(each, 1) for each in (self.pool.units if self.pool else ())]
        found = []
        for each, pooled in own:
            granted = each.starts <= granted_at < each.ends
            if each.name in row.units and (granted or each.starts <= at < each.ends):
                rank = (not granted, each.last, each.ends, row.units.index(each.name), pooled, each.number)
                found.append((rank, each))
        return [each for _, each in sorted(found, key=lambda pair: pair[0])]

    def _pay_by_units(self, charge: Charge, row: Row, owed: int, granted_at: int) -> int:
        paid = 0
        for each in self._payers(row, granted_at, charge.at):
            take = owed - paid if each.left is None else min(owed - paid, each.left)
            if take:
                paid += take
                charge.units[each.id] += take
                if each.left is not None:
                    before, each.left = each.left, each.left - take
                    self._tell_units(each, before, charge.at)
        return paid

    def _tell_units(self, units: Units, before: int, at: int) -> None:
        if units.told and units.quantity and units.left is not None and at < units.ends:
            for percent in NOTICES:
                bound = units.quantity * percent
                if (units.quantity - before) * 100 < bound <= (units.quantity - units.left) * 100:
                    self.notices.append((at, units.id, percent))

    def _pay_by_credit(self, charge: Charge, row: Row, owed: int, seen: Session) -> None:
        key = row.label, row.version
        had = row.price.cost_micro_eur(seen.paid[key])
        low, high = 0, owed
        while low < high:  # the most that the credit covers
            middle = (low + high + 1) // 2
            if row.price.cost_micro_eur(seen.paid[key] + middle) - had <= self.credit:
                low = middle
            else:
                high = middle - 1
        seen.paid[key] += low
        charge.unpaid = owed - low
        charge.debit = row.price.cost_micro_eur(seen.paid[key]) - had
        self._take(charge.debit)
        for counter in (LIMIT, row.cap):
            if counter:
                self._count(counter, charge.at, charge.debit)

    def _count(self, counter: str, at: int, micro_eur: int) -> None:
        self.counted[counter, self.month(at)] += micro_eur

    def _tell(self, counter: str, at: int) -> None:
        key, limit = (counter, self.month(at)), self.limits.get(counter)
        for percent in NOTICES:
            reached = limit is not None and self.counted[key] * 100 >= limit * percent
            if reached and (*key, percent) not in self._told:
                self._told.add((*key, percent))
                self.notices.append((at, counter, percent))

    def set_limit(self, at: int, counter: str, micro_eur: int | None) -> None:
        """Its notices come anew (HOT-CC-4)."""
        self.pass_time(at)
        self.limits[counter] = micro_eur
        self._told = {each for each in self._told if each[0] != counter}
        self.pass_time(at)
