"""Payment orders: money that is fetched from a subscriber's bank or payment provider and then credited (HOT-TOP-1).

An order is kept in the partition in which it was made, though its account may move. Its id names account and partition,
goes to the provider as Idempotency-Key and to the bank as End-to-End-Id (at most 35 characters), and makes the
reference of the credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ocs.ledger.contract.errors import LedgerError


class OrderKind(StrEnum):
    AUTOMATIC = "auto"
    """A debit that the account's mark has asked for (HOT-TOP-4)."""
    ONE_OFF = "one-off"
    """The subscriber pays on the provider's page."""


class OrderState(StrEnum):
    ORDERED = "ordered"
    SUBMITTED = "submitted"
    """The provider, or the bank's file, has it; its outcome is awaited."""
    SUCCEEDED = "succeeded"
    """Paid, and not credited yet."""
    CREDITED = "credited"
    FAILED = "failed"
    """Not paid."""
    RETURNED = "returned"
    """Paid, and taken back by the payer's bank (R-transaction)."""
    REFUND_DUE = "refund-due"
    """Paid, and cannot be credited, as the account has ended: it is to be paid back by hand."""


OPEN = frozenset((OrderState.ORDERED, OrderState.SUBMITTED, OrderState.SUCCEEDED))


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """Times are Unix seconds, 0 = none."""

    id: str
    account_id: str
    """When it was ordered."""
    kind: OrderKind
    amount_micro_eur: int
    state: OrderState = OrderState.ORDERED
    reference: str = ""
    """Of the business, for a one-off payment: a repetition finds this order."""
    payer: str = ""
    """Whose mandate pays: "a<uid>" the account's, "g<id>" its group's; "" = who pays says it at the provider."""
    provider: str = ""
    """"http" or "sepa"."""
    provider_id: str = ""
    """Id that the provider gave it."""
    reason: str = ""
    """Why it failed or was returned: a word of ours, or a code of ISO 20022 such as AM04."""
    redirect_url: str = ""
    at: int = 0
    changed_at: int = 0
    due: int = 0
    """When something is to be done for it; 0 = nothing."""
    tries: int = 0
    """How often it was sent, or credited, without a certain outcome."""
    owed_micro_eur: int = 0
    """Of a returned one: what the credit did not cover."""
    version: int = 0
    collect_on: int = 0
    """Day on which the bank collects it, as 20261203; 0 = not decided."""
    sequence: str = ""
    """Of a SEPA debit: FRST or RCUR."""

    @property
    def credit_reference(self) -> str:
        """Reference of its top-up in the ledger."""
        return f"pay-{self.id}"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


@dataclass(frozen=True, slots=True)
class OrderResult:
    word: str
    """"ok"; or why there is no new order: "again" and "open" (with the order that there is), "enough", "off", "limit",
    "inactive", "ceiling", "orders".
    """
    order: PaymentOrder | None = None


class UnknownOrderError(LedgerError):
    def __init__(self, order_id: str) -> None:
        super().__init__("unknown", f"there is no payment order {order_id}")


def account_of(order_id: str) -> str:
    """Id that the account had when the order was made. ValueError: this is no order id."""
    account_id, dash, serial = order_id.rpartition("-")
    if not dash or not serial or "-" not in account_id:
        raise ValueError(f"{order_id!r} is no id of a payment order")
    return account_id


def new_order_id(account_id: str, entropy: int) -> str:
    """`entropy`: random, 32 bits are used."""
    return f"{account_id}-{entropy & 0xFFFFFFFF:08x}"


class PaymentLedger(Protocol):
    """Automatic top-ups, payment orders and mandates. `AccountLedger` says what LedgerErrors there are."""

    async def set_auto_top_up(
        self, account_id: str, *, below_micro_eur: int, now: int, month: int, day: int = 0
    ) -> bool:
        """Set the mark below which the account is topped up (HOT-TOP-4); 0 = off. Orders that were not sent yet end
        with it. False = it was so.
        """

    async def order_top_up(
        self, account_id: str, *, order: PaymentOrder, later_s: int, now: int, month: int, day: int = 0
    ) -> OrderResult:
        """Order an automatic top-up, if the credit is below the mark, none is under way and HOT-TOP-5 allows it. If it
        may not be now, the account stays on the work list for later.
        """

    async def order_one_off(
        self, account_id: str, *, order: PaymentOrder, now: int, month: int, day: int = 0
    ) -> OrderResult: ...

    async def order_failed(
        self,
        account_id: str,
        *,
        order_id: str,
        released: bool,
        later_s: int,
        most: int,
        now: int,
        month: int,
        day: int = 0,
    ) -> bool:
        """An automatic order failed: it is ordered again after `later_s` times the failures, at most `most` times.
        `released`: it never reached a bank, so it does not count for HOT-TOP-5. False = this was noted before.
        """

    async def take_back(
        self, account_id: str, *, order: PaymentOrder, reason: str, block: str, now: int, month: int, day: int = 0
    ) -> int:
        """A payment was returned: take back what refundable credit there is, switch the automatic top-up off, and block
        the account for the reason `block` ("" = not). Once an order; returns the micro-EUR taken back.
        """

    async def store_order(
        self, order: PaymentOrder, *, told: bool, now: int, month: int, day: int = 0
    ) -> PaymentOrder | None:
        """Replace the order, if it has this version; `told`: the change is an event. None = somebody else has changed
        it: read it again. UnknownOrderError.
        """

    async def read_order(self, order_id: str) -> PaymentOrder:
        """UnknownOrderError."""

    async def orders_of(self, account_id: str) -> list[PaymentOrder]:
        """Those of the partition, the newest first."""

    async def find_account(self, uid: str, hint: str) -> str | None:
        """Present id of the account with this uid; `hint`: an id that it had."""

    async def put_in_message(self, message_id: str, order_ids: Sequence[str]) -> None:
        """Note orders that go to the bank in this message, before they are submitted."""

    async def orders_in_message(self, message_id: str) -> list[PaymentOrder]:
        """Orders that were noted for the message in the last MESSAGE_KEEP_S, whatever their state and message now; the
        oldest first.
        """

    async def asked_accounts(self, partition: int, *, now: int, count: int) -> list[str]:
        """Accounts of the partition whose automatic top-up is to be ordered."""

    async def due_orders(self, partition: int, *, now: int, count: int) -> list[str]: ...

    async def payments_due(self, partition: int, *, now: int) -> tuple[int, int]:
        """How many accounts and orders have something due, and since when (Unix seconds, 0 = none)."""

    async def ask_again(self, account_id: str, *, now: int) -> None:
        """Put the account on the work list: its automatic top-up is looked at now."""

    async def forget_work(self, partition: int, name: str) -> None:
        """Take an account or order that is not there any more off the lists of its partition."""

    async def read_mandate(self, payer: str) -> bytes | None: ...

    async def write_mandate(self, payer: str, *, new: bytes | None, old: bytes | None) -> bool:
        """Replace what is stored, if it is `old`; None = nothing. False = it is something else."""
