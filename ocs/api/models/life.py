"""An account's life: blocks, another SIM or number, freeze, pay-out, port-out, fees, end."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ocs.api.models.common import Answer, Body, Eur, ImsiField, MsisdnField, ReferenceField
from ocs.api.models.subscriptions import Share
from ocs.policy.life import BlockReason, PayOut

WithFee = Annotated[bool, Field(description="Debit the fee of the catalogue for it (HOT-REC-3).")]


class Block(Body):
    """A reason for which all use but emergency calls is blocked (HOT-ACC-11)."""

    reason: BlockReason


class Lift(Body):
    """How a reason of a block is lifted."""

    fee: WithFee = False
    reference: ReferenceField = None


class Blocked(Answer):
    """State of the account after a block was set or lifted."""

    state: str
    blocks: list[str] = Field(description="Reasons that hold.")


class NewSim(Body):
    """Another SIM of the same number."""

    imsi: ImsiField
    puk: str | None = Field(
        default=None,
        pattern=r"^[0-9]{8}$",
        description="PUK1 of the new SIM, stored hashed; null = it is not known (HOT-GRP-1).",
        repr=False,
    )
    fee: WithFee = False
    reference: ReferenceField = None


class NewNumber(Body):
    """Another number of the account: one of the operator's, or one that is ported in."""

    msisdn: MsisdnField


class Changed(Answer):
    """Whether something was changed."""

    changed: bool = Field(description="false = it was so before.")


class Once(Body):
    """An operation that is done once."""

    reference: ReferenceField = None


class FeeOrder(Body):
    """A one-off fee of the catalogue."""

    fee: str = Field(min_length=1, max_length=64, description="Id of the fee.", examples=["SIM-REPLACEMENT"])
    reference: ReferenceField = None


class FeePaid(Answer):
    """A fee that was debited."""

    fee: str
    reference: str
    amount: Eur


class PayOutOrder(Body):
    """A pay-out of refundable credit (HOT-ACC-10)."""

    reason: PayOut = Field(description="inactive, or data-only: the tariff ends with it. port-out: see port-out.")
    reference: ReferenceField = None


class PaidOut(Answer):
    """What was paid out."""

    reference: str
    amount: Eur | None = Field(description="null = it was paid out before, under this reference.")


class End(Body):
    """The end of an account, which cannot be undone."""

    confirm_msisdn: MsisdnField = Field(description="The number of the account once more.")


class PortOut(End):
    """A port-out."""

    reference: ReferenceField = None


class Ended(Answer):
    """What the end of an account cost, and what was paid out."""

    paid_out: Eur
    shares: list[Share] = Field(description="What early ends of commitments cost (HOT-REC-4).")
    unpaid: Eur = Field(description="Part of it that the credit did not cover.")
