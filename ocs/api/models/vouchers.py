"""Vouchers and their batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ocs.accounts.redeeming import Redeemed
from ocs.accounts.voucher_batches import BATCH_NAME, MAX_VOUCHERS
from ocs.api.call import Call
from ocs.api.models.common import Answer, Body, Eur, Time
from ocs.ledger.contract.limits import MAX_WRONG_VOUCHERS
from ocs.ledger.contract.views import AccountView
from ocs.ledger.contract.vouchers import BatchView, VoucherView
from ocs.values.money import format_eur

NUMBER_PATTERN = r"^[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}[ -]?[0-9]{4}$"
BATCH_PATTERN = f"^{BATCH_NAME}$"
State = Literal["generated", "active", "claimed", "spent", "blocked", "expired"]
Number = Annotated[
    str, Field(pattern=NUMBER_PATTERN, description="16 digits, in groups or not.", examples=["4000 0012 3456 7899"])
]
Serial = Annotated[int, Field(ge=1, le=MAX_VOUCHERS)]


class VoucherNumber(Body):
    """A voucher as the subscriber enters it."""

    number: Number


class RedeemVoucher(VoucherNumber):
    """A voucher to top up by."""

    separate: bool = Field(default=False, description="Into the separate account of the number (HOT-GRP-5).")


class RedeemedVoucher(Answer):
    """What a voucher did."""

    reference: str = Field(description="Of the top-up: batch and serial number.", examples=["SPAR-1/17"])
    amount: Eur
    credit: Eur = Field(description="EUR, after the top-up; of the separate account, if it was topped up.")


class VoucherEntries(Answer):
    """Wrong entries of an account (HOT-TOP-3)."""

    wrong: int = Field(description="Wrong entries that customer care has not forgiven.")
    left: int = Field(description="More wrong entries until vouchers are blocked.")
    blocked: bool


class Serials(Body):
    """Part of a batch."""

    first: Serial
    last: Serial

    @model_validator(mode="after")
    def _in_order(self) -> Serials:
        if self.last < self.first:
            raise ValueError("last is less than first")
        return self


class PartOfBatch(Body):
    """What to change; without `serials` the whole batch."""

    serials: Serials | None = None


class ChangedVouchers(Answer):
    """What was changed."""

    changed: int
    redeemed: int = Field(description="Vouchers that were redeemed before: they stay as they are.")


class Batch(Answer):
    """Vouchers that were made together."""

    id: str
    count: int
    value: Eur = Field(description="EUR of each voucher.")
    expires_at: Time | None
    made_at: Time | None
    made_by: str
    complete: bool = Field(description="False: its making was interrupted, nothing of it can be redeemed.")
    states: dict[State, int] = Field(description="Vouchers by state.")
    actions: list[str] = Field(description="What was done to it, the newest last.")


class Voucher(Answer):
    """One voucher. Its number is not known."""

    batch: str
    serial: int
    state: State
    value: Eur
    expires_at: Time | None
    changed_at: Time | None
    account: str | None = Field(description="Id of the account that has redeemed it, or tried last.")
    reference: str | None = Field(description="Of the top-up.")


def redeemed(done: Redeemed) -> RedeemedVoucher:
    return RedeemedVoucher(
        reference=done.reference,
        amount=format_eur(done.value_micro_eur),
        credit=format_eur(done.credit_micro_eur),
    )


def entries(view: AccountView) -> VoucherEntries:
    left = max(MAX_WRONG_VOUCHERS - view.wrong_vouchers, 0)
    return VoucherEntries(wrong=view.wrong_vouchers, left=left, blocked=view.vouchers_blocked)


def batch(view: BatchView, call: Call) -> Batch:
    made = view.batch
    return Batch(
        id=made.id,
        count=made.count,
        value=format_eur(made.value_micro_eur),
        expires_at=call.time(made.expires_at),
        made_at=call.time(made.made_at),
        made_by=made.made_by,
        complete=made.complete,
        states={state.value: count for state, count in sorted(view.counts.items()) if count},
        actions=list(made.actions),
    )


def voucher(found: VoucherView, call: Call) -> Voucher:
    expired = found.has_expired(call.backend.environment.now())
    return Voucher(
        batch=found.batch,
        serial=found.serial,
        state="expired" if expired else found.state.value,
        value=format_eur(found.value_micro_eur),
        expires_at=call.time(found.expires_at),
        changed_at=call.time(found.changed_at),
        account=found.account_id or None,
        reference=found.reference if found.claim else None,
    )
