"""Credit, life and products of an account on paper (`paper_account.py`): all that happens without use.

- Products renew from credit when their period ends, or wait until there is enough (HOT-PKG-2).
- Without a top-up in 90 days the account is inactive, 270 days later it is terminated (HOT-ACC-3 to -6).
"""

from __future__ import annotations

import math
from fractions import Fraction
from zoneinfo import ZoneInfo

from simulator.paper_counters import LIMIT, PaperCounters
from simulator.paper_entries import Charge, Pool, Subscription, Units
from simulator.price_sheet import Article, Sheet

DAY_S = 86_400
ACTIVE_S, LIFE_S = 90 * DAY_S, 270 * DAY_S
VOLUME = "eu-data"
LOW_CREDIT = 1_000_000
"""Micro-EUR: a use below it is told (HOT-ACC-8)."""
MEMBERS_RENEW_S = 600
"""So long after the end of a period that a pool shares (docs/LEDGER.md)."""
RUNNING = ("active", "ending")


class PaperProducts(PaperCounters):
    """`zone`: of the calendar months."""

    def __init__(self, sheet: Sheet, zone: ZoneInfo) -> None:
        super().__init__(zone)
        self._sheet = sheet
        self.credit = self.promotional = 0
        """Micro-EUR; `promotional` is a part of the credit, and pays first (HOT-ACC-10)."""
        self.separate = 0
        """Micro-EUR of the separate account (HOT-GRP-5)."""
        self.active_until = 0
        self.unused = self.terminated = False
        self.country = "home"
        self._left: dict[str, int] = {}
        """When countries were left."""
        self.blocks: set[str] = set()
        """Reasons."""
        self.charges: list[Charge] = []
        self.units: list[Units] = []
        self.pool: Pool | None = None
        self.subscriptions: list[Subscription] = []
        self.volume: int | None = None
        """Octets of this period that included units may pay in the EU; None = any."""
        self.volume_used = self._volume_held = 0
        self.held = 0
        """Micro-EUR that grants hold (`PaperAccount.hold`)."""
        self._number = 0

    # -- time

    def state(self, at: int) -> str:
        if self.terminated:
            return "terminated"
        if self.blocks:
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

    def owes_the_pool(self, now: int) -> bool:
        """Whether a period whose units a pool has ended a moment ago: a request of any member renews it."""
        return any(
            each.state in RUNNING and each.ends <= now < each.ends + MEMBERS_RENEW_S and "shared" in each.article.marks
            for each in self.subscriptions
        )

    def pass_time(self, now: int) -> None:
        while (due := self._first_due(now)) is not None:
            if due.state in RUNNING:
                self._next_period(due, now)
                continue
            # Paid at the price of the day on which the period begins (HOT-PKG-11).
            due.article = self._sheet.article(due.due if due.state == "planned" else now, due.article.id)
            if self._is_forbidden(due, now):
                self._end(due)
                continue
            if self._can_pay(due.article, now, separate=due.separate):
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
            begins = each.state == "unpaid" and self._can_pay(each.article, now, separate=each.separate)
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
        if self._is_forbidden(ended, at):
            self._end(ended)
        elif self._can_pay(ended.article, now, separate=ended.separate):
            missed = now >= at + ended.article.days * DAY_S
            self._pay_fee(ended, now if missed else at, now)
        else:
            ended.state, ended.due, ended.ends = "unpaid", at, 0

    def _is_forbidden(self, subscription: Subscription, at: int) -> bool:
        """No period without a product that it needs, or with a tariff with which it is not sold (HOT-PKG-9, -16). One
        that ends then is not there.
        """
        others = [
            each
            for each in self.subscriptions
            if each is not subscription and not (each.state == "ending" and each.ends <= at)
        ]
        tariffs = [each for each in others if each.article.is_tariff and each.state in (*RUNNING, "unpaid")]
        tariff = next((each for each in tariffs if each.state in RUNNING), tariffs[0] if tariffs else None)
        marks = subscription.article.marks
        needed = {each.removeprefix("needs:") for each in marks if each.startswith("needs:")}
        if tariff is not None and f"not-with:{tariff.article.id}" in marks:
            return True
        return bool(needed) and not any(
            each.article.id in needed or ("tariff" in needed and each.article.is_tariff) for each in others
        )

    def end(self, at: int) -> None:
        """The account is over: by the time that passed, or because care ended it."""
        self.pass_time(at)
        if not self.terminated:
            self._terminate(at)

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

    def move(self, at: int, what: str, micro_eur: int, *, promotional: int = 0) -> None:
        """Credit arrives (or, below 0, leaves) without being paid in: a transfer, a payment that a bank takes back."""
        self.pass_time(at)
        before = self.credit
        self.credit, self.promotional = self.credit + micro_eur, self.promotional + promotional
        self.charges.append(Charge(at, what, -micro_eur, promotional=-promotional))
        if micro_eur < 0:
            self._tell_low_credit(at, before)
        self.pass_time(at)

    def close_separate(self, at: int) -> None:
        """What is left of the separate account is the account's (HOT-GRP-5)."""
        self.pass_time(at)
        self.charges.append(Charge(at, "separate", -self.separate))
        self.credit, self.separate = self.credit + self.separate, 0
        for each in self.subscriptions:
            each.separate = False

    def block(self, at: int, reason: str) -> None:
        self.pass_time(at)
        self.blocks.add(reason)

    def lift(self, at: int, reason: str = "") -> None:
        """Lift one block, or all (HOT-ACC-11)."""
        self.pass_time(at)
        self.blocks = {each for each in self.blocks if reason and each != reason}
        self.pass_time(at)

    def fee(self, at: int, product: str) -> None:
        """A one-off fee, in whatever state the account is (HOT-REC-3)."""
        self.pass_time(at)
        price, before = self._sheet.article(at, product).price_micro_eur, self.credit
        self.charges.append(Charge(at, product, price, promotional=self._take(price), is_fee=True))
        self._tell_low_credit(at, before)

    def _tell_low_credit(self, at: int, before: int) -> None:
        if before >= LOW_CREDIT > self.credit:
            self.notices.append((at, "low credit", 0))

    def pay_out(self, at: int) -> int:
        """What is not promotional is paid out (HOT-ACC-10)."""
        self.pass_time(at)
        amount = self.credit - self.promotional
        self.credit -= amount
        self.charges.append(Charge(at, "pay-out", amount))
        return amount

    def port_out(self, at: int) -> None:
        self.pay_out(at)
        self._terminate(at)

    def buy(self, at: int, product: str, *, starts: int = 0, armed: bool = False, separate: bool = False) -> None:
        """The purchase was accepted. `starts`: planned for then; `armed`: it begins at its first use; `separate`: the
        member's own account pays.
        """
        self.pass_time(at)
        state = "planned" if starts else "armed" if armed else "new"
        bought = Subscription(self._sheet.article(at, product), state, due=starts, separate=separate)
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

    def _take(self, micro_eur: int) -> int:
        """Returns the promotional part."""
        part = min(self.promotional, micro_eur)
        self.credit, self.promotional = self.credit - micro_eur, self.promotional - part
        return part

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

    def _can_pay(self, article: Article, now: int, *, separate: bool = False) -> bool:
        if self.state(now) != "active" or (self.separate if separate else self.credit) < article.price_micro_eur:
            return False
        counts = "counts" in article.marks and not separate
        return not counts or self._has_room(LIMIT, now, article.price_micro_eur)

    def _pay_fee(self, subscription: Subscription, starts: int, now: int) -> None:
        article, before = subscription.article, self.credit
        fee = Charge(now, article.id, 0 if subscription.separate else article.price_micro_eur, is_fee=True)
        self.charges.append(fee)
        if subscription.separate:
            fee.separate, self.separate = article.price_micro_eur, self.separate - article.price_micro_eur
        else:
            fee.promotional = self._take(fee.debit)
        if "counts" in article.marks and not subscription.separate:
            self._count(LIMIT, now, article.price_micro_eur)
            self._tell(LIMIT, now)
        if article.days == 0:
            self._tell_low_credit(now, before)
            self._end(subscription)
            return
        subscription.state, subscription.ends = "active", self._period_end(article, starts)
        fee.ends = subscription.ends
        if article.benefits and not subscription.committed_until:
            subscription.committed_until = starts + article.agreed_days * DAY_S
        if article.is_tariff:
            self._replace_tariff(subscription, now)
            self._begin_volume(article.volume(self._sheet.cap(starts)))
        pool = self.pool if "shared" in article.marks else None
        where = self.units if pool is None else pool.units
        for name, quantity in article.units.items():
            self._number += 1
            number = self._number if pool is None else pool.next_number
            where.append(
                Units(
                    *(f"{article.id}.{name}", name, quantity, quantity, starts, subscription.ends, subscription),
                    *(article.is_tariff, name in article.told, number),
                    pooled=pool is not None,
                )
            )

    def _begin_volume(self, octets: int | None) -> None:
        self.volume, self.volume_used = octets, 0
        self._told = {each for each in self._told if each[0] != VOLUME}

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
        if subscription.article.is_tariff:
            self._begin_volume(None)

    def join(self, at: int, pool: Pool | None) -> None:
        """Share units, or no more. Those of running periods are shared at once, but for what grants hold, and stay in
        the pool when the account leaves it (HOT-PKG-14).
        """
        self.pass_time(at)
        self.pool = pool
        if pool is None:
            return
        for each in list(self.units):
            if "shared" in each.owner.article.marks and at < each.ends and not each.held:
                self.units = [other for other in self.units if other is not each]
                each.pooled, each.number = True, pool.next_number  # of those that end together the first pays first
                pool.units.append(each)

    def arrive(self, at: int, country: str) -> None:
        """The network of a country serves the subscriber: told, unless it was left less than a day ago."""
        if country != self.country and not self.terminated:
            if at >= self._left.get(country, -DAY_S) + DAY_S:
                self.notices.append((at, f"arrived {country}", 0))
            self._left[self.country], self.country = at, country

    # -- counters

    def look(self, at: int) -> None:
        """A request was looked at, whatever the answer: what a changed limit makes due is told (HOT-CC-4)."""
        self.pass_time(at)
        for counter in () if self.terminated else self.limits:
            self._tell(counter, at)

    def set_limit(self, at: int, counter: str, micro_eur: int | None, *, once: bool = False) -> None:
        """Its notices come anew (HOT-CC-4). `once`: for this month only."""
        self.pass_time(at)
        if once:
            self._limits_of[counter, self.month(at)] = micro_eur
        else:
            self._limits_of.pop((counter, self.month(at)), None)
            self.limits[counter] = micro_eur
        self._told = {each for each in self._told if each[0] != counter}
        self.look(at)
