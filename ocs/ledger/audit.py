"""The invariants over the whole ledger, on a live system (`ocs audit`; docs/ARCHITECTURE.md).

1. credit paid in = available + held + spent + refunded + expired (here: paid in = credit + spent + refunded + expired, with held
   within credit); 2. no balance and no bucket is negative, none holds more than it has; 3. held = Σ open reservations, on credit
and on each bucket. Each account is one document, read at one instant, so the audit is exact while traffic runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ocs.ledger.contract import AccountView

BATCH = 200
"""Accounts read at a time."""


@dataclass(frozen=True, slots=True)
class Violation:
    account: str
    invariant: int
    detail: str


@dataclass(slots=True)
class AuditReport:
    """Totals are micro-EUR over all accounts; `violations` is empty when `ok`."""

    accounts: int = 0
    open_sessions: int = 0
    paid_in_micro_eur: int = 0
    credit_micro_eur: int = 0
    held_micro_eur: int = 0
    spent_micro_eur: int = 0
    refunded_micro_eur: int = 0
    expired_micro_eur: int = 0
    violations: list[Violation] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.violations

    @property
    def totals(self) -> dict[str, int]:
        """Invariant 1 over all accounts: paid in = available + held + spent + refunded + expired."""
        return {
            "paid_in_micro_eur": self.paid_in_micro_eur,
            "available_micro_eur": self.credit_micro_eur - self.held_micro_eur,
            "held_micro_eur": self.held_micro_eur,
            "spent_micro_eur": self.spent_micro_eur,
            "refunded_micro_eur": self.refunded_micro_eur,
            "expired_micro_eur": self.expired_micro_eur,
        }

    def add(self, view: AccountView) -> None:
        self.accounts += 1
        self.open_sessions += sum(not session.released for session in view.sessions)
        self.paid_in_micro_eur += view.paid_in_micro_eur
        self.credit_micro_eur += view.credit_micro_eur
        self.held_micro_eur += view.held_micro_eur
        self.spent_micro_eur += view.spent_micro_eur
        self.refunded_micro_eur += view.refunded_micro_eur
        self.expired_micro_eur += view.expired_micro_eur
        self.violations.extend(violations(view))


def violations(view: AccountView) -> Iterator[Violation]:
    """What one account breaks."""

    def broken(invariant: int, detail: str) -> Violation:
        return Violation(view.account_id, invariant, detail)

    explained = view.credit_micro_eur + view.spent_micro_eur + view.refunded_micro_eur + view.expired_micro_eur
    if view.paid_in_micro_eur != explained:
        yield broken(1, f"paid in {view.paid_in_micro_eur} micro-EUR, explained {explained}")
    for name, value in (
        ("credit", view.credit_micro_eur),
        ("held", view.held_micro_eur),
        ("available", view.credit_micro_eur - view.held_micro_eur),
        ("spent", view.spent_micro_eur),
    ):
        if value < 0:
            yield broken(2, f"{name} is {value} micro-EUR")
    on_credit = sum(r.held_micro_eur for s in view.sessions for r in s.reservations)
    if on_credit != view.held_micro_eur:
        yield broken(3, f"{view.held_micro_eur} micro-EUR are held on credit, sessions reserve {on_credit}")
    reserved: Counter[str] = Counter()
    for session in view.sessions:
        for reservation in session.reservations:
            reserved.update(dict(reservation.held_units))
    on_buckets: Counter[str] = Counter()
    for bucket in view.buckets:
        if bucket.held < 0 or (bucket.left is not None and bucket.left < bucket.held):
            yield broken(2, f"bucket {bucket.id} has {bucket.left}, of which {bucket.held} are held")
        on_buckets[bucket.id] += bucket.held  # the one of a period that is over may linger beside its successor
    for bucket_id, held in on_buckets.items():
        if reserved.pop(bucket_id, 0) != held:
            yield broken(3, f"{held} are held on bucket {bucket_id}, sessions reserve another amount")
    for bucket_id, units in reserved.items():
        yield broken(3, f"sessions reserve {units} on bucket {bucket_id}, which the account does not have")


class Auditable(Protocol):
    def account_ids(self) -> AsyncIterator[str]: ...

    async def read(self, account_id: str, *, now: int, month: int) -> AccountView | None: ...


async def audit(ledger: Auditable, *, now: int, month: int) -> AuditReport:
    """Look at every account once; accounts opened meanwhile may be left out."""
    report = AuditReport()
    batch: list[str] = []

    async def look() -> None:
        for view in await asyncio.gather(*(ledger.read(account_id, now=now, month=month) for account_id in batch)):
            if view is not None:
                report.add(view)
        batch.clear()

    seen: set[str] = set()
    async for account_id in ledger.account_ids():
        if account_id in seen:  # SCAN may give a key twice
            continue
        seen.add(account_id)
        batch.append(account_id)
        if len(batch) >= BATCH:
            await look()
    await look()
    return report
