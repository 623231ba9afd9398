"""Resources of TMF654 v4 and TMF635 v4, as far as the charging system has them: names and types as published."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from ocs.api.models.common import MSISDN_PATTERN
from ocs.api.models.vouchers import NUMBER_PATTERN

Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]
UsageType = Literal["monetary", "voice", "data", "sms", "other"]
ActionStatus = Literal["created", "failed", "cancelled", "completed"]
Text = Annotated[str, Field(max_length=512)]


class Resource(BaseModel):
    """What all have; with `fields` only these may be there."""

    id: str
    href: str
    type: str = Field(serialization_alias="@type")


class Quantity(BaseModel):
    amount: Number
    units: str = Field(description='"EUR", "octets", "seconds" or "messages".')


class Money(BaseModel):
    unit: Literal["EUR"] = "EUR"
    value: Number


class Reference(BaseModel):
    """Refers to another resource."""

    id: str
    href: str | None = None
    name: str | None = None
    role: str | None = None
    referred_type: str | None = Field(default=None, serialization_alias="@referredType")


class TimePeriod(BaseModel):
    start: datetime | None = Field(default=None, serialization_alias="startDateTime")
    end: datetime | None = Field(default=None, serialization_alias="endDateTime")


class Bucket(Resource):
    """Credit, or the units of a product, of one subscriber."""

    type: str = Field(default="Bucket", serialization_alias="@type")
    name: str | None = None
    is_shared: bool | None = Field(default=None, serialization_alias="isShared")
    logical_resource: list[Reference] | None = Field(default=None, serialization_alias="logicalResource")
    party_account: Reference | None = Field(default=None, serialization_alias="partyAccount")
    product: list[Reference] | None = None
    remaining_value: Quantity | None = Field(
        default=None, serialization_alias="remainingValue", description="Without what is reserved; absent = unlimited."
    )
    remaining_value_name: str | None = Field(default=None, serialization_alias="remainingValueName")
    reserved_value: Quantity | None = Field(
        default=None, serialization_alias="reservedValue", description="Held by running sessions."
    )
    status: Literal["active", "suspended", "expired"] | None = None
    usage_type: UsageType | None = Field(default=None, serialization_alias="usageType")
    valid_for: TimePeriod | None = Field(default=None, serialization_alias="validFor")


class AccumulatedBalance(Resource):
    """The sum of a subscriber's buckets of one unit. If one of them is unlimited, there is no sum."""

    type: str = Field(default="AccumulatedBalance", serialization_alias="@type")
    name: str | None = None
    bucket: list[Reference] | None = None
    logical_resource: Reference | None = Field(default=None, serialization_alias="logicalResource")
    party_account: Reference | None = Field(default=None, serialization_alias="partyAccount")
    total_balance: Quantity | None = Field(default=None, serialization_alias="totalBalance")


class Action(Resource):
    """A change of a balance."""

    amount: Quantity | None = None
    bucket: Reference | None = None
    channel: Reference | None = None
    confirmation_date: datetime | None = Field(default=None, serialization_alias="confirmationDate")
    logical_resource: list[Reference] | None = Field(default=None, serialization_alias="logicalResource")
    party_account: Reference | None = Field(default=None, serialization_alias="partyAccount")
    reason: str | None = None
    requested_date: datetime | None = Field(default=None, serialization_alias="requestedDate")
    requestor: Reference | None = None
    status: ActionStatus | None = None
    usage_type: UsageType | None = Field(default=None, serialization_alias="usageType")


class TopupBalance(Action):
    type: str = Field(default="TopupBalance", serialization_alias="@type")
    is_auto_topup: bool | None = Field(default=None, serialization_alias="isAutoTopup")


class AdjustBalance(Action):
    type: str = Field(default="AdjustBalance", serialization_alias="@type")
    adjust_type: Literal["oneTime"] | None = Field(default=None, serialization_alias="adjustType")


class TransferBalance(Action):
    type: str = Field(default="TransferBalance", serialization_alias="@type")
    receiver_bucket: Reference | None = Field(default=None, serialization_alias="receiverBucket")
    receiver_bucket_usage_type: UsageType | None = Field(default=None, serialization_alias="receiverBucketUsageType")
    receiver_logical_resource: Reference | None = Field(default=None, serialization_alias="receiverLogicalResource")


# -- requests


class AskedQuantity(BaseModel):
    """EUR of a request."""

    amount: Annotated[Decimal, Field(gt=-(10**9), lt=10**9, decimal_places=6), WithJsonSchema({"type": "number"})]
    units: Literal["EUR"] = "EUR"


class AskedReference(BaseModel):
    id: str = Field(min_length=1, max_length=128)
    name: Text | None = None


class AskedNumber(BaseModel):
    """The subscriber."""

    id: str = Field(pattern=MSISDN_PATTERN, description="MSISDN")


class Create(BaseModel):
    """What a client sends. Attributes of the definition that mean nothing here are ignored."""

    amount: AskedQuantity | None = None
    bucket: AskedReference | None = Field(default=None, description="A bucket of credit.")
    party_account: AskedReference | None = Field(default=None, validation_alias="partyAccount")
    logical_resource: list[AskedNumber] | None = Field(
        default=None, validation_alias="logicalResource", min_length=1, max_length=1
    )
    usage_type: Literal["monetary"] = Field(validation_alias="usageType")
    reason: Text | None = None
    description: Text | None = None


class TopupBalanceCreate(Create):
    voucher: Annotated[str, Field(pattern=NUMBER_PATTERN)] | None = Field(
        default=None, description="Number of a voucher: its value counts, not `amount`."
    )
    is_auto_topup: Literal[False] = Field(default=False, validation_alias="isAutoTopup")


class AdjustBalanceCreate(Create):
    adjust_type: Literal["oneTime"] = Field(default="oneTime", validation_alias="adjustType")


class TransferBalanceCreate(Create):
    receiver_logical_resource: AskedNumber = Field(validation_alias="receiverLogicalResource")
    receiver_bucket: AskedReference | None = Field(default=None, validation_alias="receiverBucket")
    receiver_bucket_usage_type: Literal["monetary"] = Field(
        default="monetary", validation_alias="receiverBucketUsageType"
    )


# -- TMF635


class Characteristic(BaseModel):
    name: str
    value: Any
    value_type: str | None = Field(default=None, serialization_alias="valueType")


class RatedProductUsage(BaseModel):
    is_billed: bool = Field(serialization_alias="isBilled")
    is_tax_exempt: bool = Field(serialization_alias="isTaxExempt")
    rating_amount_type: str = Field(serialization_alias="ratingAmountType")
    rating_date: datetime | None = Field(default=None, serialization_alias="ratingDate")
    tax_rate: Number = Field(serialization_alias="taxRate")
    usage_rating_tag: str = Field(serialization_alias="usageRatingTag")
    tax_excluded: Money = Field(serialization_alias="taxExcludedRatingAmount")
    tax_included: Money = Field(serialization_alias="taxIncludedRatingAmount")


class Usage(Resource):
    """One line of itemised use: a session and rate."""

    type: str = Field(default="Usage", serialization_alias="@type")
    description: str | None = None
    usage_date: datetime | None = Field(default=None, serialization_alias="usageDate")
    usage_type: str | None = Field(default=None, serialization_alias="usageType")
    status: Literal["guided", "rated"] | None = Field(default=None, description="guided: the session goes on.")
    related_party: list[Reference] | None = Field(default=None, serialization_alias="relatedParty")
    rated_product_usage: list[RatedProductUsage] | None = Field(default=None, serialization_alias="ratedProductUsage")
    usage_characteristic: list[Characteristic] | None = Field(default=None, serialization_alias="usageCharacteristic")
    usage_specification: Reference | None = Field(default=None, serialization_alias="usageSpecification")


class SpecCharacteristic(BaseModel):
    name: str
    description: str
    value_type: str = Field(serialization_alias="valueType")


class UsageSpecification(Resource):
    """What a line of use has."""

    type: str = Field(default="UsageSpecification", serialization_alias="@type")
    name: str | None = None
    description: str | None = None
    is_bundle: bool | None = Field(default=None, serialization_alias="isBundle")
    lifecycle_status: str | None = Field(default=None, serialization_alias="lifecycleStatus")
    spec_characteristic: list[SpecCharacteristic] | None = Field(default=None, serialization_alias="specCharacteristic")


class TmfError(BaseModel):
    """An error of TMF630."""

    type: str = Field(serialization_alias="@type")
    code: str
    reason: str
    message: str
    status: str
    reference_error: str = Field(serialization_alias="referenceError")
