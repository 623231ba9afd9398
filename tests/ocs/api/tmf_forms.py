"""JSON schemas of TMF654 v4.0.0, TMF635 v4.0.0 and TMF630 errors, written from the published definitions: every
attribute of a resource with its type, and those that must be there. An attribute that the definitions do not have is a
mistake.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

TEXT: dict[str, Any] = {"type": "string"}
NUMBER, INTEGER, FLAG = {"type": "number"}, {"type": "integer"}, {"type": "boolean"}
TIME, URI = {"type": "string", "format": "date-time"}, {"type": "string", "format": "uri"}
EXTENSIBLE = {"@baseType": TEXT, "@schemaLocation": URI, "@type": TEXT}


def words(*allowed: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(allowed)}


def several(items: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}


def form(required: str = "", **attributes: dict[str, Any]) -> dict[str, Any]:
    properties = {**attributes, **EXTENSIBLE}
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def reference(required: str = "id", **more: dict[str, Any]) -> dict[str, Any]:
    attributes = {"id": TEXT, "href": URI, "name": TEXT, "@referredType": TEXT, **more}
    return form(required, **attributes)


REF = reference()
PARTY = reference("id @referredType", role=TEXT)
PARTY_ACCOUNT = reference(description=TEXT, status=TEXT)
QUANTITY, MONEY = form(amount=NUMBER, units=TEXT), form(unit=TEXT, value=NUMBER)
PERIOD = form(startDateTime=TIME, endDateTime=TIME)
USAGE_TYPE = words("monetary", "voice", "data", "sms", "other")
ACTION = {
    "id": TEXT,
    "href": URI,
    "confirmationDate": TIME,
    "description": TEXT,
    "reason": TEXT,
    "requestedDate": TIME,
    "amount": QUANTITY,
    "bucket": REF,
    "channel": REF,
    "logicalResource": several(REF),
    "partyAccount": PARTY_ACCOUNT,
    "product": several(REF),
    "relatedParty": several(PARTY),
    "requestor": PARTY,
    "status": words("created", "failed", "cancelled", "completed"),
    "usageType": USAGE_TYPE,
    "validFor": PERIOD,
}

BUCKET = form(
    id=TEXT,
    href=URI,
    confirmationDate=TIME,
    description=TEXT,
    isShared=FLAG,
    name=TEXT,
    remainingValueName=TEXT,
    requestedDate=TIME,
    logicalResource=several(REF),
    partyAccount=PARTY_ACCOUNT,
    product=several(REF),
    relatedParty=several(PARTY),
    remainingValue=QUANTITY,
    reservedValue=QUANTITY,
    status=words("active", "suspended", "expired"),
    usageType=USAGE_TYPE,
    validFor=PERIOD,
)
ACCUMULATED = form(
    "bucket name totalBalance",
    id=TEXT,
    href=URI,
    description=TEXT,
    name=TEXT,
    bucket=several(REF, 1),
    logicalResource=REF,
    partyAccount=PARTY_ACCOUNT,
    product=several(REF),
    relatedParty=several(PARTY),
    totalBalance=QUANTITY,
)
TOP_UP = form(
    "status",
    **ACTION,
    isAutoTopup=FLAG,
    numberOfPeriods=INTEGER,
    voucher=TEXT,
    balanceTopup=PARTY,
    paymentMethod=REF,
    recurringPeriod=words("weekly", "fortnightly", "monthly"),
)
ADJUST = form("status", **ACTION, adjustType=words("recurring", "oneTime"))
TRANSFER = form(
    "id href reason channel logicalResource receiverLogicalResource status",
    **ACTION,
    costOwner=words("originator", "receiver"),
    receiver=PARTY,
    receiverBucket=REF,
    receiverBucketUsageType=USAGE_TYPE,
    receiverLogicalResource=REF,
    receiverProduct=REF,
    transferCost=MONEY,
)
CHARACTERISTIC = form("name value", id=TEXT, name=TEXT, valueType=TEXT, value={}, characteristicRelationship={})
RATED = form(
    isBilled=FLAG,
    isTaxExempt=FLAG,
    offerTariffType=TEXT,
    ratingAmountType=TEXT,
    ratingDate=TIME,
    taxRate=NUMBER,
    usageRatingTag=words("usage", "included usage", "non included usage"),
    bucketValueConvertedInAmount=MONEY,
    productRef=REF,
    taxExcludedRatingAmount=MONEY,
    taxIncludedRatingAmount=MONEY,
)
USAGE = form(
    id=TEXT,
    href=URI,
    description=TEXT,
    usageDate=TIME,
    usageType=TEXT,
    ratedProductUsage=several(RATED),
    relatedParty=several(PARTY),
    status=words("received", "rejected", "recycled", "guided", "rated", "rerated", "billed"),
    usageCharacteristic=several(CHARACTERISTIC),
    usageSpecification=REF,
)
SPEC_CHARACTERISTIC = form(
    id=TEXT,
    name=TEXT,
    description=TEXT,
    valueType=TEXT,
    configurable=FLAG,
    extensible=FLAG,
    isUnique=FLAG,
    maxCardinality=INTEGER,
    minCardinality=INTEGER,
    regex=TEXT,
    charSpecRelationship={},
    characteristicValueSpecification={},
    validFor=PERIOD,
)
SPECIFICATION = form(
    id=TEXT,
    href=URI,
    description=TEXT,
    isBundle=FLAG,
    lastUpdate=TIME,
    lifecycleStatus=TEXT,
    name=TEXT,
    version=TEXT,
    attachment={},
    constraint={},
    entitySpecRelationship={},
    relatedParty=several(PARTY),
    specCharacteristic=several(SPEC_CHARACTERISTIC),
    targetEntitySchema={},
    validFor=PERIOD,
)
ERROR = form("code reason", code=TEXT, reason=TEXT, message=TEXT, status=TEXT, referenceError=URI)


def has_form(value: Any, schema: dict[str, Any]) -> None:
    """AssertionError: it has not."""
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    mistakes = [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(value)]
    assert not mistakes, mistakes
