"""What an account has left: credit, and the units that may still be used (HOT-ACC-12)."""

from __future__ import annotations

from dataclasses import dataclass

from ocs.ledger.contract.views import AccountView, BucketView, PoolView


@dataclass(frozen=True, slots=True)
class UnitsLeft:
    bucket: str
    """Id: product and name."""
    unit: str
    left: int | None
    """Billable units, with what running sessions hold; None = unlimited."""
    expires_at: int
    """Unix seconds."""
    shared: bool
    """Of the account's pool (HOT-PKG-14)."""


@dataclass(frozen=True, slots=True)
class Balance:
    credit_micro_eur: int
    available_micro_eur: int
    """Without what running sessions hold."""
    state: str
    active_until: int
    """Unix seconds."""
    tariff: str
    """Id; "" = none, or it waits for its fee."""
    separate_micro_eur: int | None
    """Of the separate account (HOT-GRP-5); None = it has none."""
    units: tuple[UnitsLeft, ...]
    """In the order in which they are used."""


def balance_of(view: AccountView, pool: PoolView | None) -> Balance:
    """Of an account and its pool as of now."""
    found = [(each, False) for each in view.buckets] + [(each, True) for each in (pool.buckets if pool else ())]
    found.sort(key=lambda pair: (pair[0].priority, pair[0].expires_at, pair[0].instance))
    return Balance(
        credit_micro_eur=view.credit_micro_eur,
        available_micro_eur=view.credit_micro_eur - view.held_micro_eur,
        state=view.state,
        active_until=view.active_until,
        tariff="" if view.package_pending else view.package,
        separate_micro_eur=view.separate_micro_eur if view.has_separate else None,
        units=tuple(_units(bucket, shared) for bucket, shared in found),
    )


def _units(bucket: BucketView, shared: bool) -> UnitsLeft:
    return UnitsLeft(bucket.id, bucket.unit, bucket.left, bucket.expires_at, shared)
