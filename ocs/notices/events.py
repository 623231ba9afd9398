"""Events that a notice can be about, and the fields that its texts may name (HOT-NOT-1).

A field comes from the charging record of the event (`ocs.outbox.format`), or is found in the catalogue by it. Tests
hold this table to the events of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ocs.catalogue.countries import NO_COUNTRY
from ocs.ledger.contract.payments import OrderKind, OrderState


class Kind(StrEnum):
    """What a field holds. Filters turn it into words."""

    MONEY = "money"
    """Micro-EUR."""
    AMOUNT = "amount"
    """Octets, seconds, messages or micro-EUR: the field `unit` says which."""
    NUMBER = "number"
    TIME = "time"
    """Unix seconds; 0 = none."""
    DATE = "date"
    """A calendar day."""
    FLAG = "flag"
    TEXT = "text"
    PRICE = "price"
    """Micro-EUR per unit as (numerator, denominator, whether per call); None = there is no price."""


@dataclass(frozen=True, slots=True)
class Field:
    kind: Kind
    record: str = ""
    """Field of the record; "" = found in the catalogue, or in the account."""
    choices: tuple[object, ...] = ()
    """All values, if there are few."""
    source: str = ""
    """List of the catalogue that has all values: "packages", "counters", "buckets", "places", "percents"."""


def _money(record: str) -> Field:
    return Field(Kind.MONEY, record)


def _text(record: str = "", *choices: str, source: str = "") -> Field:
    return Field(Kind.TEXT, record, choices, source)


COMMON: Mapping[str, Field] = {
    "msisdn": _text(),
    "active_until": Field(Kind.TIME),
}
"""Fields of every event, of the account: its number, and when its active period ends."""
LONG_COUNTRIES = ("AE", "VC", NO_COUNTRY)
"""Those with long names, so that a text that fits them fits others: the United Arab Emirates, whose Slovene name is no
GSM 7-bit text; Saint Vincent and the Grenadines; a ship.
"""
PRODUCT: Mapping[str, Field] = {
    "package": _text("package", source="packages"),
    "product": _text(),
    "kind": _text("", "tariff", "pack", "option", "zone", "extra", "fee", "recurring-fee", ""),
}
"""Of a product: its id, its name, and what it is."""
EVENTS: Mapping[str, Mapping[str, Field]] = {
    "low_credit": {"credit": _money("credit_micro_eur"), "below": _money("below")},
    "topup": {
        "amount": _money("credit_in_micro_eur"),
        "credit": _money("credit_micro_eur"),
        "channel": _text("channel", "one-off", "voucher", "auto", "import", "care"),
        "separate": _money("separate_in_micro_eur"),
    },
    "auto_top_up": {
        "state": _text("state", "on", "off", "asked", "given_up"),
        "credit": _money("credit_micro_eur"),
        "below": _money("below"),
    },
    "payment": {
        "state": _text("state", *(each.value for each in OrderState)),
        "channel": _text("channel", *(each.value for each in OrderKind)),
        "amount": _money("amount_micro_eur"),
    },
    "payment_returned": {
        "amount": _money("amount_micro_eur"),
        "unpaid": _money("unpaid_micro_eur"),
        "credit": _money("credit_micro_eur"),
    },
    "voucher_blocked": {"wrong": Field(Kind.NUMBER, "wrong")},
    "transfer_in": {"amount": _money("credit_in_micro_eur"), "credit": _money("credit_micro_eur")},
    "package": {
        **PRODUCT,
        "price": _money("price_micro_eur"),
        "credit": _money("credit_micro_eur"),
        "ends": Field(Kind.TIME, "period_end"),
        "paid": Field(Kind.FLAG, "paid"),
        "renewal": Field(Kind.FLAG, "renewal"),
        "separate": Field(Kind.FLAG, "separate_out_micro_eur"),
    },
    "subscription": {
        **PRODUCT,
        "state": _text("state", "planned", "armed", "ending", "ended", "voided", "expiring"),
        "ends": Field(Kind.TIME, "ends"),
        "renews": Field(Kind.FLAG, "renews"),
        "reason": _text("reason", "requires", "barred", "tariff", "excluded", "commitment", ""),
        "price": Field(Kind.MONEY),
    },
    "bucket": {
        "bucket": _text("bucket", source="buckets"),
        "product": _text(),
        "unit": _text("", "octets", "seconds", "messages"),
        "percent": Field(Kind.NUMBER, "percent", source="percents"),
        "quantity": Field(Kind.AMOUNT, "quantity"),
        "left": Field(Kind.AMOUNT, "left"),
    },
    "threshold": {
        "counter": _text("counter", source="counters"),
        "unit": _text("", "money", "octets", "seconds", "messages"),
        "percent": Field(Kind.NUMBER, "percent", source="percents"),
        "value": Field(Kind.AMOUNT, "value"),
        "limit": Field(Kind.AMOUNT, "limit"),
        "window": _text("window", "day", "month", "period", "rolling"),
    },
    "fair_use": {
        "state": _text("state", "warned", "surcharge", ""),
        "deadline": Field(Kind.DATE, "deadline"),
        "home_days": Field(Kind.NUMBER, "home_days"),
        "abroad_days": Field(Kind.NUMBER, "abroad_days"),
    },
    "arrived": {
        "country": _text("country", "RS", "DE", "GB", "US", "home", *LONG_COUNTRIES),
        "place": _text(source="places"),
        "plmn": _text("plmn"),
        "call": Field(Kind.PRICE),
        "received": Field(Kind.PRICE),
        "sms": Field(Kind.PRICE),
        "data": Field(Kind.PRICE),
    },
    "expiring": {"state": _text("state", "inactive", "terminated"), "ends": Field(Kind.TIME, "ends")},
    "state": {
        "state": _text("state", "active", "inactive", "blocked", "new"),
        "was": _text("was", "active", "inactive", "blocked", "new"),
        "ends": Field(Kind.TIME, "ends"),
        "reason": _text("reason"),
    },
    "identity": {"what": _text("what", "imsi", "msisdn")},
}
"""Kind of the event → name in a text → field. "muted" and "by" of a record are for no text."""


def fields_of(event: str) -> Mapping[str, Field]:
    """All fields of an event. KeyError: no notice can be about it."""
    return {**COMMON, **EVENTS[event]}
