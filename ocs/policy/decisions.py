"""What the rules see of an account, and what they decide. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ocs.values.products import BenefitShare, Product

RUNNING = ("active", "ending")
"""States of a subscription in which a period runs."""
WAITING = ("planned", "armed")
"""States of a subscription that has not begun."""


class Subscription(Protocol):
    """A product as an account has it (`ocs.ledger.contract.views.SubscriptionView`)."""

    @property
    def instance(self) -> int: ...
    @property
    def product(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def ends_at(self) -> int: ...
    @property
    def price_micro_eur(self) -> int: ...
    @property
    def group(self) -> str: ...
    @property
    def committed_until(self) -> int: ...
    @property
    def committed_days(self) -> int: ...
    @property
    def benefits(self) -> Sequence[tuple[str, int]]: ...


class Account(Protocol):
    """The part of `AccountView` that the rules need."""

    @property
    def subscriptions(self) -> Sequence[Subscription]: ...


Offer = Mapping[str, Product]
"""All products of the catalogue, by id."""


@dataclass(frozen=True, slots=True)
class Refused:
    """`code`: "sold", "excluded", "barred", "requires", "tariff", "kind", "date", "commitment", "planned", "same" or
    "subscription".
    """

    code: str
    product: str = ""
    """Product that stands in the way, or is needed."""
    until: int = 0
    """Unix seconds until which it stands in the way; 0 = not known."""


@dataclass(frozen=True, slots=True)
class Buy:
    """Buy it now: paid at once, or `armed` until its first use (HOT-PKG-13)."""

    armed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Begin it at `at`, Unix seconds; it is paid then, at the price of that day (HOT-PKG-11)."""

    at: int


@dataclass(frozen=True, slots=True)
class Follow:
    """The subscription `instance` has this tariff from its next period on, `at` Unix seconds (HOT-PKG-6)."""

    instance: int
    at: int


@dataclass(frozen=True, slots=True)
class End:
    """End the subscription `instance`, `at` Unix seconds; `shares` are debited at once (HOT-REC-4)."""

    instance: int
    at: int
    at_once: bool
    shares: tuple[BenefitShare, ...]
