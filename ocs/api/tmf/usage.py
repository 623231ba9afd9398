"""TMF635: itemised use in its forms. A line of use is a session and rate; what it has is a usageSpecification."""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

from ocs.api.call import Call
from ocs.api.pages import encode
from ocs.api.tmf.models import (
    Characteristic,
    Money,
    RatedProductUsage,
    Reference,
    SpecCharacteristic,
    Usage,
    UsageSpecification,
)
from ocs.history.queries import UsageItem
from ocs.values.money import format_eur
from ocs.values.use import ContextName

API = "usageManagement/v4"
SPECIFICATIONS: dict[str, str] = {
    "data": "Packet data (TS 32.251)",
    "ims": "Voice and video over IMS (TS 32.260)",
    "cs": "Circuit-switched calls (TS 32.276)",
    "sms": "Short messages (TS 32.274)",
    "mms": "Multimedia messages (TS 32.270)",
    "content": "Content and premium services",
}
"""Context → what is used."""
assert SPECIFICATIONS.keys() == set(get_args(ContextName))
_CHARACTERISTICS = (
    ("service", "service of the catalogue", "string"),
    ("rate", "rate of the catalogue", "string"),
    ("network", "serving network, MCC and MNC", "string"),
    ("direction", "mo, mt or fw", "string"),
    ("party", "other party, its last three digits masked; of data the APN", "string"),
    ("used", "octets, seconds or messages", "number"),
    ("bucketUnits", "units paid by products, by bucket", "object"),
    ("itemised", "what is itemised apart, such as premium", "string"),
)


class Usages:
    """`base`: address of the API, for `href`."""

    def __init__(self, call: Call, base: str, msisdn: str) -> None:
        self._call, self._msisdn = call, msisdn
        self._base = f"{base.rstrip('/')}/tmf-api/{API}"

    def usage(self, item: UsageItem) -> Usage:
        id_ = usage_id(self._msisdn, item)
        return Usage(
            id=id_,
            href=f"{self._base}/usage/{id_}",
            description=f"{item.service}, {item.rate}",
            usage_date=self._call.time(item.started_at),
            usage_type=item.context,
            status="guided" if item.open else "rated",
            related_party=[Reference(id=self._msisdn, role="subscriber", referred_type="MSISDN")],
            rated_product_usage=[self._rated(item)],
            usage_characteristic=_characteristics(item),
            usage_specification=Reference(
                id=item.context,
                href=f"{self._base}/usageSpecification/{item.context}",
                name=SPECIFICATIONS.get(item.context, item.context),
                referred_type="UsageSpecification",
            ),
        )

    def _rated(self, item: UsageItem) -> RatedProductUsage:
        return RatedProductUsage(
            is_billed=True,
            is_tax_exempt=False,
            rating_amount_type="total",
            rating_date=self._call.time(item.at),
            tax_rate=Decimal(item.vat_percent),
            usage_rating_tag=_tag(item),
            tax_excluded=Money(value=Decimal(format_eur(item.net_micro_eur))),
            tax_included=Money(value=Decimal(format_eur(item.micro_eur))),
        )


def usage_id(msisdn: str, item: UsageItem) -> str:
    return f"{msisdn}.{encode(list(item.position))}"


def _tag(item: UsageItem) -> str:
    """The words of the definition: use is paid by units, by credit, or by credit when the units were used up."""
    if item.bucket_units:
        return "non included usage" if item.micro_eur else "included usage"
    return "usage"


def _characteristics(item: UsageItem) -> list[Characteristic]:
    values = {
        "service": item.service,
        "rate": item.rate,
        "network": item.network,
        "direction": item.direction,
        "party": item.party,
        "used": item.used,
        "bucketUnits": dict(item.bucket_units),
        "itemised": item.itemised,
    }
    return [Characteristic(name=name, value=values[name], value_type=kind) for name, _, kind in _CHARACTERISTICS]


def specifications(base: str) -> list[UsageSpecification]:
    root = f"{base.rstrip('/')}/tmf-api/{API}/usageSpecification"
    described = [
        SpecCharacteristic(name=name, description=text, value_type=kind) for name, text, kind in _CHARACTERISTICS
    ]
    return [
        UsageSpecification(
            id=context,
            href=f"{root}/{context}",
            name=context,
            description=text,
            is_bundle=False,
            lifecycle_status="Active",
            spec_characteristic=described,
        )
        for context, text in SPECIFICATIONS.items()
    ]
