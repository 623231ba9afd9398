"""Checks the invariants of the whole ledger on a live system (`ocs audit`; docs/ARCHITECTURE.md).

1. paid in + received = credit + separate + spent + refunded + expired + sent: credit includes what is held; separate is
   the credit of separate accounts (HOT-GRP-5); sent and received are transfers (HOT-GRP-2);
2. no balance, bucket or hold is negative, and none holds more than it has; the promotional part is within the credit;
3. held = Σ open reservations: on credit, on each bucket, on each counter, and on each bucket of a pool;
4. "document": each account that the index of subscribers names has a document.

An account is one document, read at one instant, so the audit is exact while traffic and transfers run. Over all
accounts, paid in = available + held + separate + spent + refunded + expired + in transit; in transit = sent − received.
(A sender read before a transfer, and its receiver after it, make this less than what is on its way.) A pool is compared
with its members if it was the same before and after they were read. The audit goes in slices of a partition, so that
several processes can share the work.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView, BucketView, PoolView

BATCH = 200
"""Accounts read at once."""
DOCUMENT = "document"
POOL_TRIES = 4
"""How often a pool and its members are read until nothing changes meanwhile; then the next pass looks again."""


@dataclass(frozen=True, slots=True)
class Violation:
    account: str
    invariant: int | str
    detail: str


@dataclass(slots=True)
class AuditReport:
    """Totals are micro-EUR over all accounts, terminated ones among them; `violations` is empty when `ok`."""

    accounts: int = 0
    """Without the terminated ones."""
    terminated: int = 0
    unreadable: int = 0
    """Each of them is a violation too."""
    open_sessions: int = 0
    paid_in_micro_eur: int = 0
    credit_micro_eur: int = 0
    held_micro_eur: int = 0
    spent_micro_eur: int = 0
    refunded_micro_eur: int = 0
    expired_micro_eur: int = 0
    separate_micro_eur: int = 0
    sent_micro_eur: int = 0
    received_micro_eur: int = 0
    transfers: int = 0
    """That are not finished."""
    drift_micro_eur: int = 0
    """Sum over all accounts of the absolute difference in invariant 1."""
    violations: list[Violation] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.violations

    @property
    def looked_at(self) -> int:
        return self.accounts + self.terminated + self.unreadable

    @property
    def in_transit_micro_eur(self) -> int:
        """Sent, and not received by those who were read."""
        return self.sent_micro_eur - self.received_micro_eur

    @property
    def totals(self) -> dict[str, int]:
        """Invariant 1 over all accounts: paid in = the sum of the others."""
        return {
            "paid_in_micro_eur": self.paid_in_micro_eur,
            "available_micro_eur": self.credit_micro_eur - self.held_micro_eur,
            "held_micro_eur": self.held_micro_eur,
            "spent_micro_eur": self.spent_micro_eur,
            "refunded_micro_eur": self.refunded_micro_eur,
            "expired_micro_eur": self.expired_micro_eur,
            "separate_micro_eur": self.separate_micro_eur,
            "in_transit_micro_eur": self.in_transit_micro_eur,
        }

    def add(self, view: AccountView) -> None:
        if view.state == "terminated":
            self.terminated += 1
        else:
            self.accounts += 1
        self.open_sessions += sum(not session.released for session in view.sessions)
        self.paid_in_micro_eur += view.paid_in_micro_eur
        self.credit_micro_eur += view.credit_micro_eur
        self.held_micro_eur += view.held_micro_eur
        self.spent_micro_eur += view.spent_micro_eur
        self.refunded_micro_eur += view.refunded_micro_eur
        self.expired_micro_eur += view.expired_micro_eur
        self.separate_micro_eur += view.separate_micro_eur
        self.sent_micro_eur += view.sent_micro_eur
        self.received_micro_eur += view.received_micro_eur
        self.transfers += len(view.transfers)
        self.drift_micro_eur += abs(view.paid_in_micro_eur + view.received_micro_eur - explained(view))
        self.violations.extend(violations(view))

    def merge(self, other: AuditReport) -> None:
        self.accounts += other.accounts
        self.terminated += other.terminated
        self.unreadable += other.unreadable
        self.open_sessions += other.open_sessions
        self.paid_in_micro_eur += other.paid_in_micro_eur
        self.credit_micro_eur += other.credit_micro_eur
        self.held_micro_eur += other.held_micro_eur
        self.spent_micro_eur += other.spent_micro_eur
        self.refunded_micro_eur += other.refunded_micro_eur
        self.expired_micro_eur += other.expired_micro_eur
        self.separate_micro_eur += other.separate_micro_eur
        self.sent_micro_eur += other.sent_micro_eur
        self.received_micro_eur += other.received_micro_eur
        self.transfers += other.transfers
        self.drift_micro_eur += other.drift_micro_eur
        self.violations.extend(other.violations)


def explained(view: AccountView) -> int:
    """Right side of invariant 1."""
    kept = view.credit_micro_eur + view.separate_micro_eur
    return kept + view.spent_micro_eur + view.refunded_micro_eur + view.expired_micro_eur + view.sent_micro_eur


def violations(view: AccountView) -> Iterator[Violation]:
    """Violations of one account."""
    found = (*_money(view), *_buckets(view.buckets), *_held_units(view), *_held_counters(view))
    return (Violation(view.account_id, invariant, detail) for invariant, detail in found)


Broken = Iterator[tuple[int, str]]
"""(invariant, detail)."""


def _money(view: AccountView) -> Broken:
    came_in = view.paid_in_micro_eur + view.received_micro_eur
    if came_in != explained(view):
        yield 1, f"paid in {came_in} micro-EUR, explained {explained(view)}"
    in_transit = sum(each.amount_micro_eur for each in view.transfers)
    for name, value in (
        ("credit", view.credit_micro_eur),
        ("held", view.held_micro_eur),
        ("available", view.credit_micro_eur - view.held_micro_eur),
        ("spent", view.spent_micro_eur),
        ("separate", view.separate_micro_eur),
        ("received", view.received_micro_eur),
        ("sent, without what is in transit", view.sent_micro_eur - in_transit),
        ("promotional", view.promotional_micro_eur),
        ("refundable", view.credit_micro_eur - view.promotional_micro_eur),
    ):
        if value < 0:
            yield 2, f"{name} is {value} micro-EUR"
    on_credit = sum(r.held_micro_eur for s in view.sessions for r in s.reservations)
    if on_credit != view.held_micro_eur:
        yield 3, f"{view.held_micro_eur} micro-EUR are held on credit, sessions reserve {on_credit}"


def _buckets(buckets: Sequence[BucketView]) -> Broken:
    seen: set[int] = set()
    for bucket in buckets:
        name = f"bucket {bucket.id}" + (f" (instance {bucket.instance})" if bucket.instance else "")
        if bucket.held < 0 or (bucket.left is not None and bucket.left < bucket.held):
            yield 2, f"{name} has {bucket.left}, of which {bucket.held} are held"
        if bucket.instance in seen:
            yield 2, f"{name}: there is another one of this instance"
        if bucket.instance:
            seen.add(bucket.instance)


def _held_units(view: AccountView) -> Broken:
    """Compared by bucket id: a reservation does not name the instance."""
    reserved: Counter[str] = Counter()
    for session in view.sessions:
        for reservation in session.reservations:
            for bucket_id, units in reservation.held_units:
                reserved[bucket_id] += units
    on_buckets: Counter[str] = Counter()
    for bucket in view.buckets:
        on_buckets[bucket.id] += bucket.held
    yield from _compared(on_buckets, reserved, "bucket")


def _held_counters(view: AccountView) -> Broken:
    reserved: Counter[str] = Counter()
    for session in view.sessions:
        for reservation in session.reservations:
            for counter_id, amount in reservation.held_counters:
                reserved[counter_id] += amount
    on_counters: Counter[str] = Counter()
    for counter in view.counters:
        on_counters[counter.id] += counter.held
        if counter.held < 0:
            yield 2, f"counter {counter.id} holds {counter.held}"
    yield from _compared(on_counters, reserved, "counter")


def _compared(held: Mapping[str, int], reserved: Mapping[str, int], what: str) -> Broken:
    for name, amount in held.items():
        if reserved.get(name, 0) != amount:
            yield 3, f"{amount} are held on {what} {name}, sessions reserve {reserved.get(name, 0)}"
    for name, amount in reserved.items():
        if amount and name not in held:
            yield 3, f"sessions reserve {amount} on {what} {name}, which the account does not have"


def pool_violations(pool: PoolView, members: Mapping[str, AccountView | None]) -> Iterator[Violation]:
    """Violations of a pool, alone and against its members (None = there is no such account)."""
    for invariant, detail in _buckets(pool.buckets):
        yield Violation(pool.pool_id, invariant, detail)
    holds: Counter[int] = Counter()
    by_account: dict[str, Counter[int]] = {}
    for hold in pool.holds:
        holds[hold.instance] += hold.units
        by_account.setdefault(hold.account_id, Counter())[hold.instance] += hold.units
        if hold.units < 0:
            yield Violation(pool.pool_id, 2, f"account {hold.account_id} holds {hold.units}")
    for bucket in pool.buckets:
        held = holds.pop(bucket.instance, 0)
        if held != bucket.held:
            detail = f"{bucket.held} are held on bucket {bucket.id} (instance {bucket.instance}), accounts hold {held}"
            yield Violation(pool.pool_id, 3, detail)
    for instance, units in holds.items():
        if units:
            yield Violation(
                pool.pool_id, 3, f"accounts hold {units} on instance {instance}, which the pool does not have"
            )
    for account_id, view in members.items():
        in_pool = {instance: units for instance, units in by_account.get(account_id, Counter()).items() if units}
        reserved = _pool_units(view, pool.pool_id)
        if in_pool != reserved:
            detail = f"it holds {in_pool} in pool {pool.pool_id} (instance: units), its sessions reserve {reserved}"
            yield Violation(account_id, 3, detail)


def _pool_units(view: AccountView | None, pool_id: str) -> dict[int, int]:
    units: Counter[int] = Counter()
    if view is not None and view.pool == pool_id:
        for session in view.sessions:
            for reservation in session.reservations:
                for instance, held in reservation.pool_units:
                    units[instance] += held
    return {instance: held for instance, held in units.items() if held}


class Auditable(Protocol):
    @property
    def partitions(self) -> int: ...

    async def account_slice(self, partition: int, cursor: int, count: int) -> tuple[dict[str, bytes], int]: ...

    async def is_lost(self, account_id: str, partition: int, entry: bytes) -> bool: ...

    async def read(self, account_id: str, *, now: int, month: int, day: int = 0) -> AccountView | None: ...

    async def read_pool(self, account_id: str, pool_id: str) -> PoolView | None: ...


Unreadable = Callable[[str, LedgerError], None]


async def audit(ledger: Auditable, *, now: int, month: int, day: int = 0) -> AuditReport:
    """Audit every account once. Accounts opened meanwhile may be left out; one that cannot be read is a violation."""
    report = AuditReport()

    def unreadable(account_id: str, error: LedgerError) -> None:
        report.violations.append(Violation(account_id, 1, f"it cannot be read: {error}"))

    for partition in range(ledger.partitions):
        cursor, seen = 0, set[str]()
        while True:
            found, cursor = await audit_slice(
                ledger,
                partition,
                cursor,
                now=now,
                month=month,
                day=day,
                unreadable=unreadable,
                skips=seen.__contains__,
                seen=seen,
            )
            report.merge(found)
            if not cursor:
                break
    return report


async def audit_slice(
    ledger: Auditable,
    partition: int,
    cursor: int,
    *,
    now: int,
    month: int,
    day: int = 0,
    unreadable: Unreadable,
    count: int = BATCH,
    skips: Callable[[str], bool] = lambda account_id: False,
    seen: set[str] | None = None,
) -> tuple[AuditReport, int]:
    """Audit about `count` accounts of a partition from `cursor` on, without those that `skips` names. The audited ones
    are added to `seen`.

    The second result is the cursor of the next slice; 0 = this was the last one.
    """
    found, following = await ledger.account_slice(partition, cursor, count)
    account_ids = [account_id for account_id in found if not skips(account_id)]
    if seen is not None:
        seen.update(account_ids)
    report, pools = AuditReport(), dict[str, str]()
    when = {"now": now, "month": month, "day": day}
    failed = set[str]()

    def cannot_be_read(account_id: str, error: LedgerError) -> None:
        failed.add(account_id)
        report.unreadable += 1
        unreadable(account_id, error)

    views = await _read(ledger, account_ids, when, cannot_be_read)
    for account_id, view in zip(account_ids, views, strict=True):
        if view is not None:
            report.add(view)
            if view.pool:
                pools.setdefault(view.pool, view.account_id)
        elif account_id not in failed and await ledger.is_lost(account_id, partition, found[account_id]):
            report.violations.append(Violation(account_id, DOCUMENT, "the index names it, but it has no document"))
    for pool_id, member in pools.items():
        report.violations.extend(await _audit_pool(ledger, pool_id, member, when))
    return report, following


async def _read(
    ledger: Auditable, account_ids: Sequence[str], when: dict[str, int], unreadable: Unreadable
) -> list[AccountView | None]:
    async def one(account_id: str) -> AccountView | None:
        try:
            return await ledger.read(account_id, **when)
        except LedgerError as error:
            unreadable(account_id, error)
            return None

    return await asyncio.gather(*(one(account_id) for account_id in account_ids))


async def _audit_pool(ledger: Auditable, pool_id: str, member: str, when: dict[str, int]) -> list[Violation]:
    """Violations of a pool and its members; none if the pool changed at each of POOL_TRIES readings."""
    before, found = await ledger.read_pool(member, pool_id), list[Violation]()
    for attempt in range(POOL_TRIES):
        account_ids = [member, *(hold.account_id for hold in before.holds)] if before is not None else [member]
        views = await _read(ledger, list(dict.fromkeys(account_ids)), when, lambda account_id, error: None)
        after = await ledger.read_pool(member, pool_id)
        if after == before:
            if after is None:
                return [Violation(member, 3, f"its pool {pool_id} does not exist")]
            again = list(pool_violations(after, dict(zip(dict.fromkeys(account_ids), views, strict=True))))
            # Reported only if found twice: a hold may come and go between two reads.
            if not again or (attempt and again == found):
                return again
            found = again
        before = after
    return []
