"""What a payment provider can do, as a Protocol. `http_provider` is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ocs.ledger.contract.payments import PaymentOrder
from ocs.policy.payments import Outcome


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: Outcome
    provider_id: str = ""
    reason: str = ""
    """Why it failed: a code of the provider or of ISO 20022."""
    redirect_url: str = ""
    """Of a one-off payment: where the subscriber pays."""


class UncertainError(Exception):
    """No answer, or one that does not say whether the order was taken (timeout, 5xx, 429): ask for its outcome."""


class RefusedError(Exception):
    """The provider does not take the order: no bank has heard of it. The text is the reason."""


class Provider(Protocol):
    async def debit(self, order: PaymentOrder, token: str) -> Answer:
        """Collect by the mandate that the provider knows as `token`. Calling it again for the same order is safe."""

    async def pay(self, order: PaymentOrder) -> Answer:
        """Begin a one-off payment. Calling it again for the same order is safe."""

    async def outcome(self, order: PaymentOrder) -> Answer | None:
        """None = the provider does not know the order."""
