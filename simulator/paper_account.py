"""An account kept on paper: what it must hold after what the network reported and the subscriber bought.

An independent computation of the operator's rules (docs/RULES.md), in plain sequence: no sessions that wait, no
repetitions. It assumes that clients use what they were granted, not more. Each movement is a `Charge`. Who tells it
what was granted (`hold`) may use several sessions at a time: units that a grant holds pay for no other use.

- Included units pay before credit; of several those of packs first, then those that end first (HOT-PKG-3, -10).
- A session's use is rounded up to steps once, and to whole micro-EUR once for each price (HOT-PKG-5, HOT-RAT-8).
- In the EU included units pay for the fair-use volume, then credit pays another price (HOT-ROA-2, -3).
"""

from __future__ import annotations

from collections import defaultdict
from zoneinfo import ZoneInfo

from simulator.paper_counters import LIMIT, NOTICES
from simulator.paper_entries import Charge, Hold, Session, Subscription, Units
from simulator.paper_products import VOLUME, PaperProducts
from simulator.price_sheet import Row, Sheet
from simulator.prices import Price


class PaperAccount(PaperProducts):
    """`zone`: of the calendar months."""

    def __init__(self, sheet: Sheet, zone: ZoneInfo) -> None:
        super().__init__(sheet, zone)
        self._sessions: defaultdict[str, Session] = defaultdict(Session)

    def ask(self, at: int, rows: list[Row], wanted: int) -> None:
        """So much was asked for at these rows. What waits for its first use there begins, unless units of the same
        product run and are enough (HOT-PKG-13).
        """
        self.look(at)
        if self.terminated:
            return
        for each in list(self.subscriptions):
            if (
                each.state == "armed"
                and self._is_short(each, rows, wanted, at)
                and self._can_pay(each.article, at, separate=each.separate)
            ):
                self._pay_fee(each, at, at)

    def _is_short(self, armed: Subscription, rows: list[Row], wanted: int, at: int) -> bool:
        for name in armed.article.units:
            owed = sum(row.price.billable(wanted) for row in rows if name in row.units)
            id_ = f"{armed.article.id}.{name}"
            running = [each for each in self.units if each.id == id_ and each.starts <= at < each.ends]
            unlimited = any(each.left is None for each in running)
            if owed and not unlimited and sum(each.free or 0 for each in running) < owed:
                return True
        return False

    # -- grants

    def hold(self, at: int, session: str, service: str, rows: list[Row], granted: int) -> None:
        """The network was granted so many units at these rows: what will pay for them pays for nothing else until the
        service's next report.
        """
        self.release(session, service)
        if self.terminated or not granted:
            return
        seen, hold = self._sessions[session], Hold(frozenset(row.label for row in rows))
        for row in rows:
            raw = seen.raw[row.label]
            shared = any(row.label in other.labels for other in seen.holds.values())
            if shared or row.label in seen.unpaid:
                raw = row.price.billable(raw)
            owed = row.price.billable(raw + granted) - row.price.billable(raw)
            owed -= self._hold_units(at, hold, row, owed)
            beyond = row.beyond is not None and self._volume_left() == 0
            price = row.beyond if beyond and row.beyond is not None else row.price
            paid = seen.paid[row.label, row.version, price.micro_eur]
            hold.money += price.cost_micro_eur(paid + owed) - price.cost_micro_eur(paid)
        seen.holds[service] = hold
        self.held += hold.money

    def _hold_units(self, at: int, hold: Hold, row: Row, owed: int) -> int:
        held, room = 0, self._volume_left() if row.beyond is not None else None
        most = owed if room is None else min(owed, room)
        for each in self._payers(row, at, at):
            free = self._free(each)
            take = most - held if free is None else min(most - held, free)
            if take:
                self._hold(each, take)
                held += take
                hold.units.append((row.label, each, take))
        if row.beyond is not None:
            hold.volume += held
            self._volume_held += held
        return held

    def _free(self, units: Units) -> int | None:
        """What the account may use of units; None = any number."""
        room = self.pool.room(self, units) if self.pool is not None and units.pooled else None
        return min((each for each in (units.free, room) if each is not None), default=None)

    def _hold(self, units: Units, count: int) -> None:
        units.held += count
        if self.pool is not None and units.pooled:
            self.pool.hold(self, units, count)

    def release(self, session: str, service: str | None = None) -> list[tuple[str, Units, int]]:
        """What a service held, or all services of the session, is free again: it was reported, or given up."""
        holds, freed = self._sessions[session].holds, []
        for key in list(holds) if service is None else [service]:
            hold = holds.pop(key, None)
            if hold is not None:
                for _, each, units in hold.units:
                    self._hold(each, -units)
                self.held -= hold.money
                self._volume_held -= hold.volume
                freed += hold.units
        return freed

    # -- use

    def use(
        self, at: int, session: str, rows: list[Row], used: int, granted_at: int, service: str | None = None
    ) -> None:
        """The network reported use of what was granted at `granted_at`, to be paid at each of the rows. `service`: what
        its grant holds (`hold`) pays first.
        """
        self.pass_time(at)
        if self.terminated:  # an emergency call, which needs no account
            return
        before, freed = self.credit, [] if service is None else self.release(session, service)
        self._use(at, session, rows, used, granted_at, freed)
        self.look(at)
        self._tell_low_credit(at, before)

    def _use(
        self,
        at: int,
        session: str,
        rows: list[Row],
        used: int,
        granted_at: int,
        freed: list[tuple[str, Units, int]],
    ) -> None:
        for row in rows:
            seen = self._sessions[session]
            before = seen.raw[row.label]
            seen.raw[row.label] += used
            owed = row.price.billable(before + used) - row.price.billable(before)
            charge = Charge(at, row.label, 0, session, row.version, used)
            own = [(each, units) for label, each, units in freed if label == row.label]
            owed -= self._pay_by_units(charge, row, owed, granted_at, own)
            if row.beyond is not None and self._volume_left() == 0:
                self._pay_by_credit(charge, row, row.beyond, owed, seen)
            else:
                self._pay_by_credit(charge, row, row.price, owed, seen)
            self.charges.append(charge)

    def stop(self, at: int, session: str, rows: list[Row], *, refused: bool) -> None:
        """A service stops. A limit whose rest does not pay the least that could be granted counts as reached, once a
        month (HOT-CC-4, HOT-ROA-5). `refused`: more was asked for; then credit is no reason to tell.
        """
        if self.terminated:
            return
        seen, least = self._sessions[session], []
        for row in rows:
            raw = seen.raw[row.label]
            owed = row.price.billable(raw + 1) - row.price.billable(raw)
            for each in self._payers(row, at, at):
                owed -= owed if each.left is None else min(owed, each.left)
            paid = seen.paid[row.label, row.version, row.price.micro_eur]
            least.append(row.price.cost_micro_eur(paid + owed) - row.price.cost_micro_eur(paid))
        if refused and sum(least) > self.credit - self.held:
            return
        for row, money in zip(rows, least, strict=True):
            for counter in (LIMIT, row.cap):
                if counter and money and not self._has_room(counter, at, money):
                    self._tell_reached(counter, at)

    def could_pay(self, at: int, rows: list[Row], used: int) -> bool:
        """Whether included units, or credit within the limits, would pay all of it."""
        money = 0
        for row in rows:
            owed = row.price.billable(used)
            for each in self._payers(row, at, at):
                free = self._free(each)
                owed -= owed if free is None else min(owed, free)
            money += row.price.cost_micro_eur(owed)
        counters = {LIMIT, *(row.cap for row in rows if row.cap)}
        return money <= self.credit and (not money or all(self._has_room(each, at, money) for each in counters))

    def refund(self, at: int, session: str) -> None:
        """All that a message cost comes back (RFC 8506 §6.4); units only to a period that still runs."""
        self.pass_time(at)
        for paid in [each for each in self.charges if each.session == session]:
            self.credit, self.promotional = self.credit + paid.debit, self.promotional + paid.promotional
            back = Charge(at, paid.what, -paid.debit, session, paid.version, -paid.used)
            for id_, units in paid.units.items():
                for each in (*self.units, *(self.pool.units if self.pool else ())):
                    if each.id == id_ and each.starts <= paid.at < each.ends and at < each.ends:
                        each.left = None if each.left is None else each.left + units
                        if self.pool is not None and each.pooled:
                            self.pool.use(self, each, -units)
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

    def _volume_left(self) -> int | None:
        return None if self.volume is None else max(self.volume - self.volume_used - self._volume_held, 0)

    def _pay_by_units(self, charge: Charge, row: Row, owed: int, granted_at: int, own: list[tuple[Units, int]]) -> int:
        """`own`: what the grant held."""
        paid, room = 0, self._volume_left() if row.beyond is not None else None
        most = owed if room is None else min(owed, room)
        payers: list[tuple[Units, int | None]] = [(each, None) for each in self._payers(row, granted_at, charge.at)]
        for each, granted in [*own, *payers]:
            free = each.free if granted is not None else self._free(each)
            take = min(count for count in (most - paid, granted, free) if count is not None)
            if take:
                paid += take
                charge.units[each.id] += take
                if self.pool is not None and each.pooled:
                    self.pool.use(self, each, take)
                if each.left is not None:
                    before, each.left = each.left, each.left - take
                    self._tell_units(each, before, charge.at)
        if row.beyond is not None:
            self.volume_used += paid
            self._tell_volume(charge.at)
        return paid

    def _tell_volume(self, at: int) -> None:
        for percent in NOTICES:
            reached = self.volume is not None and self.volume_used * 100 >= self.volume * percent
            if reached and (VOLUME, 0, percent) not in self._told:
                self._told.add((VOLUME, 0, percent))
                self.notices.append((at, VOLUME, percent))

    def _tell_units(self, units: Units, before: int, at: int) -> None:
        if units.told and units.quantity and units.left is not None and at < units.ends:
            for percent in NOTICES:
                bound = units.quantity * percent
                if (units.quantity - before) * 100 < bound <= (units.quantity - units.left) * 100:
                    self.notices.append((at, units.id, percent))

    def _pay_by_credit(self, charge: Charge, row: Row, price: Price, owed: int, seen: Session) -> None:
        key = row.label, row.version, price.micro_eur
        had = price.cost_micro_eur(seen.paid[key])
        full = price.cost_micro_eur(seen.paid[key] + owed) - had <= self.credit
        low, high = (owed if full else 0), owed
        while low < high:  # the most that the credit covers
            middle = (low + high + 1) // 2
            if price.cost_micro_eur(seen.paid[key] + middle) - had <= self.credit:
                low = middle
            else:
                high = middle - 1
        seen.paid[key] += low
        charge.unpaid = owed - low
        if owed:
            (seen.unpaid.add if charge.unpaid else seen.unpaid.discard)(row.label)
        charge.debit = price.cost_micro_eur(seen.paid[key]) - had
        charge.promotional = self._take(charge.debit)
        for counter in (LIMIT, row.cap):
            if counter:
                self._count(counter, charge.at, charge.debit)
