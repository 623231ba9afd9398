"""One operation on one account of the model: its account and pool, holds and returns, journalled events."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ocs.ledger.contract.payments import PaymentOrder
from ocs.values.life import DEFAULT_LIFE
from ocs.values.products import PackageTerms
from tests.ocs.ledger.model_state import (
    Account,
    Bucket,
    Event,
    Hold,
    LegState,
    Pool,
    Service,
    Session,
    partition_of,
)

LIFE = DEFAULT_LIFE
LATE_S = 3600
MAX_GIVEN_UP = 8


def _some(promotional: int) -> dict[str, int]:
    return {"promo": promotional} if promotional else {}


class Books:
    """All accounts and pools, and their events."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.pools: dict[tuple[str, str], Pool] = {}
        """By partition and id."""
        self.moved: dict[str, str] = {}
        self.asked: dict[str, int] = {}
        """Accounts whose automatic top-up may be ordered, and from when on."""
        self.orders: dict[str, dict[str, PaymentOrder]] = {}
        """By the id that the account had, and their own."""
        self.terms: dict[str, Sequence[tuple[int, PackageTerms]]] = {}
        """Terms of products by when they are in force."""
        self.events: list[Event] = []
        self.notices: list[tuple[str, str, str, tuple[str, ...]]] = []
        """Kind, reason, account, sessions: of "abort" and of claims only."""
        self.met: Counter[str] = Counter()
        """How often the rarer rules were used, by name (occurred.py)."""

    def pool_of(self, account_id: str) -> Pool | None:
        pool = self.accounts[account_id].pool
        return self.pools[partition_of(account_id), pool] if pool else None


@dataclass(slots=True)
class FirstUse:
    """The account and its pool before its first use, and the events that this has made."""

    before: bytes
    since: int
    until: int = 0
    told: dict[str, int] = field(default_factory=dict)
    """Highest threshold that was told then, by counter."""


class Operation:
    """`keep` is the Session-Id of the request: the agenda neither gives this session up nor forgets it."""

    def __init__(self, ledger: Books, account_id: str, now: int, month: int, day: int = 0, keep: str = "") -> None:
        self.ledger = ledger
        self.account_id = account_id
        self.now, self.month, self.day, self.keep = now, month, day or now // 86_400, keep
        self.account: Account = ledger.accounts[account_id]
        self.pool: Pool | None = ledger.pool_of(account_id)
        self._events = len(ledger.events)
        self._notices = len(ledger.notices)
        self._before: bytes | None = None
        self.before_use = (0, 0)
        """Credit and what was held of it, before a first use."""
        self.first_use: FirstUse | None = None
        self.low_credit = False
        """A use took the credit below the mark (HOT-ACC-8)."""

    # -- money

    def spend(self, amount: int, *, use: bool = False, separate: bool = False) -> int:
        """Take money out of the credit, the promotional part first; returns that part of it. `separate`: out of the
        separate account.
        """
        account, before = self.account, self.account.credit
        if separate:
            account.separate -= amount
            account.spent += amount
            return 0
        part = min(amount, account.promotional)
        account.credit -= amount
        account.promotional -= part
        account.spent += amount
        self.low_credit |= use and account.credit < LIFE.low_credit_micro_eur <= before
        return part

    def tell_low_credit(self) -> None:
        if self.low_credit and self.account.state != "terminated":
            self.journal("low_credit", credit=self.account.credit, below=LIFE.low_credit_micro_eur)
        self.low_credit = False

    def ask_top_up(self) -> None:
        """HOT-TOP-4: at the crossing of the mark."""
        account = self.account
        below = account.credit < account.auto_below
        if account.auto_below and below is not account.auto_asked and account.state != "terminated":
            account.auto_asked = below
            if below:
                self.ledger.asked[self.account_id] = self.now
                self.journal("auto_top_up", state="asked", credit=account.credit, below=account.auto_below)
            else:
                account.auto_failures = 0
                self.ledger.asked.pop(self.account_id, None)

    # -- all or nothing

    def begin(self) -> None:
        """Saves the account and its pool, so that `take_back` can restore them."""
        self._before = pickle.dumps((self.account, self.pool))

    def take_back(self) -> None:
        assert self._before is not None
        self.account, self.pool = pickle.loads(self._before)
        self.ledger.accounts[self.account_id] = self.account
        if self.pool is not None:
            self.ledger.pools[partition_of(self.account_id), self.pool.id] = self.pool
        del self.ledger.events[self._events :]
        del self.ledger.notices[self._notices :]

    def journal(self, kind: str, /, promo: int = 0, **fields: Any) -> None:
        event: Event = {"k": kind, "t": self.now, "a": self.account_id, **fields, **_some(promo)}
        self.ledger.events.append(event)

    def notice(self, kind: str, reason: str, sids: list[str]) -> None:
        if sids:
            self.ledger.notices.append((kind, reason, self.account_id, tuple(sids)))

    def abort(self, reason: str) -> None:
        """Notices to end sessions. A session with a service that is always allowed is not aborted (HOT-RAT-2)."""
        live = sorted(self.account.live().items())
        kept = {sid for sid, session in live if any(s.always for s in session.services.values())}
        others = {sid for sid, session in live if not all(s.always for s in session.services.values())}
        self.notice("abort", reason, [sid for sid, _ in live if sid not in kept])
        self.notice("reauthorize", reason, [sid for sid, _ in live if sid in kept & others])

    # -- buckets

    def buckets(self) -> Iterator[tuple[str, Bucket]]:
        """Each bucket with the id of its pool; "" = the account's own."""
        yield from (("", bucket) for bucket in self.account.buckets)
        if self.pool is not None:
            yield from ((self.pool.id, bucket) for bucket in self.pool.buckets)

    def bucket(self, hold: Hold) -> Bucket | None:
        for pool, bucket in self.buckets():
            if (pool, bucket.instance) == (hold.pool, hold.instance):
                return bucket
        return None

    def is_current(self, bucket: Bucket) -> bool:
        return not bucket.ended and self.now < bucket.expires

    def usable(self, ids: tuple[str, ...]) -> list[tuple[str, Bucket]]:
        """Buckets in the order in which they pay: priority, expiry, place in `ids`, own before the pool's, instance."""
        if not ids:
            return []
        found = [(pool, bucket) for pool, bucket in self.buckets() if bucket.id in ids and self.is_current(bucket)]
        return sorted(
            found,
            key=lambda each: (each[1].priority, each[1].expires, ids.index(each[1].id), each[0], each[1].instance),
        )

    def hold(self, pool: str, bucket: Bucket, units: int) -> None:
        """Adds to what a bucket holds; negative units return."""
        bucket.held += units
        if pool:
            bucket.by[self.account_id] = bucket.by.get(self.account_id, 0) + units
            if not bucket.by[self.account_id]:
                del bucket.by[self.account_id]

    def pay(self, bucket: Bucket, units: int, pool: str) -> None:
        """Takes units; negative: they are given back."""
        if bucket.left is not None:
            bucket.left -= units
        key = (self.account_id, bucket.instance)
        if (
            pool
            and self.pool is not None
            and (self.pool.limits or self.pool.used)
            and (units > 0 or key in self.pool.used)
        ):
            self.pool.used[key] = max(self.pool.used.get(key, 0) + units, 0)

    def free(self, pool: str, bucket: Bucket) -> int | None:
        """Units that nobody holds, as far as the pool's limit for this member leaves them."""
        free = bucket.free()
        if not pool or self.pool is None:
            return free
        common = self.pool.limits.get(("", bucket.id))
        limit = self.pool.limits.get((self.account_id, bucket.id), common)
        if limit is None:
            return free
        used = self.pool.used.get((self.account_id, bucket.instance), 0) + bucket.by.get(self.account_id, 0)
        self.ledger.met["a member's limit leaves less"] += free is None or limit - used < free
        return max(limit - used, 0) if free is None else min(free, max(limit - used, 0))

    def end(self, bucket: Bucket) -> None:
        """Ends a bucket's period. Granted units stay for the sessions that hold them."""
        if not bucket.ended:
            bucket.ended, bucket.expires = True, min(bucket.expires, self.now)

    def trim(self) -> None:
        """Reduces ended buckets to what is held, or was granted to sessions that were given up since; removes empty
        ones.
        """
        granted: dict[int, int] = {}
        sessions = [*self.account.sessions.values(), *self.account.closed.values()]
        for claim in (claim for session in sessions for leg in session.legs() for claim in leg.granted_by):
            if not claim.pool:
                granted[claim.instance] = granted.get(claim.instance, 0) + claim.units
        for pool, bucket in self.buckets():
            if bucket.ended:
                kept = bucket.held + (0 if pool else granted.get(bucket.instance, 0))
                bucket.left = kept if bucket.left is None else min(bucket.left, kept)
        gone = [bucket for _, bucket in self.buckets() if bucket.ended and not bucket.left]
        for place in (self.account, self.pool):
            if place is not None and gone:
                place.buckets = [bucket for bucket in place.buckets if bucket not in gone]
        if self.pool is not None:
            there = {bucket.instance for bucket in self.pool.buckets}
            self.pool.used = {key: units for key, units in self.pool.used.items() if key[1] in there}

    # -- what services hold

    def release_leg(self, leg: LegState) -> list[Hold]:
        """Returns all that the leg holds. The result: units by bucket that its grant held."""
        granted_by = [*leg.granted_by, *leg.held_units]
        for hold in leg.held_units:
            bucket = self.bucket(hold)
            if bucket is not None:
                self.hold(hold.pool, bucket, -hold.units)
        self.account.held -= leg.held_money
        for counter_id, amount in leg.held_counters.items():
            counter = self.account.counter(counter_id)
            assert counter is not None
            counter.held -= amount
        leg.held_units, leg.held_money, leg.held_counters, leg.granted_by = [], 0, {}, []
        return granted_by

    def release(self, service: Service, remember: bool) -> list[list[Hold]]:
        granted_by = [self.release_leg(leg) for leg in service.legs]
        if remember:
            for leg, by in zip(service.legs, granted_by, strict=True):
                leg.granted_by = by
        service.granted = 0
        return granted_by

    def take_money(self, leg: LegState, money: int) -> None:
        """Takes money that a leg holds, and reduces what its money counters hold."""
        leg.held_money -= money
        self.account.held -= money
        for terms in leg.counters:
            if terms.measure == "money":
                self.unhold_counter(leg, terms.id, money)

    def unhold_counter(self, leg: LegState, counter_id: str, amount: int) -> None:
        amount = min(amount, leg.held_counters.get(counter_id, 0))
        counter = self.account.counter(counter_id)
        if amount and counter is not None:
            counter.held -= amount
            leg.held_counters[counter_id] -= amount

    # -- sessions

    def give_up(self, sid: str, reason: str) -> None:
        account = self.account
        session = account.sessions[sid]
        returned = sum(service.held_money for service in session.services.values())
        for service in session.services.values():
            self.release(service, remember=True)
            service.phase = "normal"
        session.released, session.deadline = True, self.now + LATE_S
        told = {"returned": returned, "reason": reason, "started": session.started, "credit": account.credit}
        self.journal("expired", sid=sid, ctx=session.context, svc=self.record(session), **told, **session.bearer)
        given_up = sorted((s.deadline, other) for other, s in account.sessions.items() if s.released and other != sid)
        forgettable = [other for _, other in given_up if other != self.keep]
        if len(given_up) >= MAX_GIVEN_UP and forgettable:
            self.ledger.met["more given up than are kept"] += 1
            self.forget(forgettable[0])

    def forget(self, sid: str) -> None:
        """Removes a session that was given up. Use since its last record is written as one more record."""
        session = self.account.sessions.pop(sid)
        for service in session.services.values():
            self.release(service, remember=False)
        if svc := self.record(session):
            rest = {"debit": 0, "credit": self.account.credit, "closed": True, "late": True, "started": session.started}
            rest |= session.bearer
            self.journal("charge", sid=sid, ctx=session.context, typ="U", n=session.highest, svc=svc, code=2001, **rest)

    def record(self, session: Session) -> list[dict[str, Any]]:
        """The session's tallies as lines of a record; the tallies begin anew."""
        session.recorded = self.now
        lines = []
        for (key, price), tally in sorted(session.tallies.items()):
            if tally.used or tally.debit or tally.units or tally.overrun or tally.dropped:
                units = [[bucket_id, units] for bucket_id, units in sorted(tally.units.items()) if units]
                lines.append(
                    {
                        "key": key,
                        "label": tally.label,
                        "price": price,
                        "detail": tally.detail,
                        "used": tally.used,
                        "debit": tally.debit,
                        "units": units,
                        "overrun": tally.overrun,
                        "dropped": tally.dropped,
                        **_some(tally.promotional),
                    }
                )
        session.tallies = {}
        return lines
