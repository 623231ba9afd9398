"""Bodies of automatic top-ups, mandates and payments."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from ocs.api.call import Call
from ocs.api.models.common import Amount, Answer, Body, Eur, ReferenceField, Time
from ocs.ledger.contract.payments import PaymentOrder
from ocs.payments.mandates import Mandate
from ocs.payments.operations import AutoTopUp, MandateInput
from ocs.values.money import format_eur

OrderId = Annotated[str, Field(examples=["17-4f2a9c0011223344-0a1b2c3d"])]


class SetAutoTopUp(Body):
    below: Amount = "2.00"


class AutoTopUpState(Answer):
    on: bool
    below: Eur | None = Field(description="The mark; null = it is off.")
    amount: Eur = Field(description="What one of them is: the price of the package and of the 5G option.")
    payer: str = Field(
        description="Whose mandate pays: account, group, or nobody's.", examples=["account", "group", ""]
    )
    failures: int = Field(description="Orders that failed since the credit was at the mark.")
    ordered: list[Time] = Field(description="Orders of the last ten days (at most two, HOT-TOP-5).")


class PutMandate(Body):
    """Either an IBAN, or the token by which the payment provider knows the payer."""

    name: Annotated[str, Field(max_length=70, description="Of the debtor.")]
    signed_on: date = Field(description="Day on which the mandate was signed.")
    iban: Annotated[str, Field(max_length=42, examples=["SI56192001234567892"])] = ""
    bic: Annotated[str, Field(max_length=11)] = ""
    token: Annotated[str, Field(max_length=256)] = ""
    mandate: Annotated[str, Field(max_length=35, description="Unique Mandate Reference; without it, one is made.")] = ""

    def given(self) -> MandateInput:
        return MandateInput(self.name, self.signed_on, self.iban, self.bic, self.token, self.mandate)


class MandateShown(Answer):
    """Nobody is shown more of the account than its beginning and end."""

    mandate: str
    by: str = Field(description="sepa or provider.")
    account: str = Field(description="Masked.", examples=["SI56…892"])
    signed_on: date


class MandateState(Answer):
    mandate: MandateShown | None


class Revoked(Answer):
    revoked: bool = Field(description="false = there was none.")


class StartPayment(Body):
    amount: Amount
    reference: ReferenceField = None


class Payment(Answer):
    order: OrderId
    kind: str = Field(description="auto or one-off.")
    state: str = Field(description="ordered, submitted, succeeded, credited, failed, returned or refund-due.")
    amount: Eur
    owed: Eur = Field(description="Of a returned payment: what the credit did not cover.")
    reason: str
    reference: str
    redirect_url: str = Field(description="Where the subscriber pays; empty = nowhere.")
    ordered_at: Time | None
    changed_at: Time | None


def auto_top_up(found: AutoTopUp, call: Call) -> AutoTopUpState:
    below, view = found.below_micro_eur, found.view
    return AutoTopUpState(
        on=below > 0,
        below=format_eur(below) if below else None,
        amount=format_eur(found.amount_micro_eur),
        payer=found.payer,
        failures=view.auto_failures,
        ordered=[time for _, at in view.auto_debits if (time := call.time(at)) is not None],
    )


def mandate(found: Mandate | None) -> MandateState:
    if found is None:
        return MandateState(mandate=None)
    signed_on = date.fromisoformat(found.signed_on)
    return MandateState(mandate=MandateShown(mandate=found.id, by=found.by, account=found.masked, signed_on=signed_on))


def payment(order: PaymentOrder, call: Call) -> Payment:
    return Payment(
        order=order.id,
        kind=order.kind.value,
        state=order.state.value,
        amount=format_eur(order.amount_micro_eur),
        owed=format_eur(order.owed_micro_eur),
        reason=order.reason,
        reference=order.reference,
        redirect_url=order.redirect_url if order.is_open else "",
        ordered_at=call.time(order.at),
        changed_at=call.time(order.changed_at),
    )
