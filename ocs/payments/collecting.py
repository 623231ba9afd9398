"""What orders work with: who collects, the parts of ledger and catalogue that they need, and who acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.payments import OrderKind, PaymentLedger, PaymentOrder
from ocs.payments.mandates import Mandates
from ocs.payments.provider import Provider
from ocs.values.actor import ACTOR
from ocs.values.products import Product

HTTP, SEPA = "http", "sepa"
ACTOR_NAME, PAYMENT_NAME = "auto-top-up", "payment"
"""Who acts in the loop, and when a notification comes (`ocs.values.actor`)."""


class Ledger(AccountLedger, PaymentLedger, Protocol):
    """The part of the ledger that orders need."""


class Offer(Protocol):
    """The part of the catalogue that orders need."""

    @property
    def products(self) -> Mapping[str, Product]: ...
    @property
    def blocks_returned_payments(self) -> bool: ...
    def when(self, unix_s: int) -> dict[str, int]: ...


class OrderMetrics(Protocol):
    def payment_order(self, kind: str, state: str) -> None: ...


class NoMetrics:
    def payment_order(self, kind: str, state: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Collecting:
    """Who collects."""

    automatic: str = ""
    """"http", "sepa", or "" = nobody."""
    provider: Provider | None = None
    mandates: Mandates | None = None


@contextmanager
def acting(order: PaymentOrder) -> Iterator[None]:
    """While it lasts, events say that the automatic top-up, or the payment, acts, unless somebody else does."""
    usual = ACTOR_NAME if order.kind is OrderKind.AUTOMATIC else PAYMENT_NAME
    token = ACTOR.set(ACTOR.get() or usual)
    try:
        yield
    finally:
        ACTOR.reset(token)
