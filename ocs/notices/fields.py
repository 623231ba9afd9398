"""The values that a text sees: from the record of an event, the catalogue in force then, and the account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.model import RateTable, ServiceTable
from ocs.catalogue.place import HOME
from ocs.ledger.contract.views import STATES, AccountView
from ocs.notices.events import Field, Kind, fields_of
from ocs.notices.roaming_prices import place_of, roaming_prices
from ocs.values.measures import MeasureKind
from ocs.values.products import LIMIT_COUNTER, Measure

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recipient:
    """An account as it is when its notice is made."""

    msisdn: str
    language: str = ""
    """ISO 639-1; "" = that of the catalogue."""
    active_until: int = 0
    """Unix seconds."""
    facts: str = ""
    """Words by which some prices differ."""
    muted: frozenset[str] = frozenset()
    """Names of notices that the subscriber does not want."""


def values_of(record: Record, catalogue: Catalogue, recipient: Recipient) -> dict[str, object]:
    """The fields of the record's kind by name. KeyError: no notice can be about it."""
    kind = str(record["kind"])
    values = {name: _value(field, record) for name, field in fields_of(kind).items() if field.record}
    values |= {"msisdn": recipient.msisdn, "active_until": recipient.active_until}
    for name in ("state", "was"):
        if name in values:
            values[name] = STATES.get(str(values[name]), values[name])
    found = _FOUND.get(kind)
    return values | found(values, catalogue, recipient, unix_s(record["time"])) if found else values


def unix_s(time: object) -> int:
    """Of a time in a record: ISO 8601 in UTC, or Unix seconds; 0 = none."""
    if isinstance(time, str) and time:
        return int(datetime.fromisoformat(time).timestamp())
    return int(str(time or 0))


def _value(field: Field, record: Record) -> object:
    value = record.get(field.record)
    if field.kind is Kind.TEXT:
        return "" if value is None else str(value)
    if field.kind is Kind.FLAG:
        return bool(value)
    if field.kind is Kind.TIME:
        return unix_s(value)
    if field.kind is Kind.DATE:
        return date.fromisoformat(str(value)) if value else None
    return int(value or 0)


Values = Mapping[str, object]


def _of_product(values: Values, catalogue: Catalogue, recipient: Recipient, at: int) -> dict[str, object]:
    id_ = str(values["package"])
    product = catalogue.products.get(id_)
    found: dict[str, object] = {
        "product": product.name if product is not None else id_,
        "kind": str(product.kind) if product is not None else "",
    }
    if "price" not in values:
        found["price"] = product.terms.price_micro_eur if product is not None else 0
    return found


def _of_bucket(values: Values, catalogue: Catalogue, recipient: Recipient, at: int) -> dict[str, object]:
    id_ = str(values["bucket"])
    product = catalogue.products.get(id_.rpartition(".")[0])
    units = {each.id: each.unit for each in product.terms.buckets} if product is not None else {}
    return {"product": product.name if product is not None else id_, "unit": units.get(id_, "messages")}


def _of_counter(values: Values, catalogue: Catalogue, recipient: Recipient, at: int) -> dict[str, object]:
    return {"unit": unit_of_counter(catalogue, str(values["counter"]))}


def unit_of_counter(catalogue: Catalogue, counter: str) -> str:
    """ "money", or the unit of the services whose use moves it."""
    terms = catalogue.counters.get(counter)
    if counter == LIMIT_COUNTER or terms is None or terms.measure is Measure.MONEY:
        return "money"
    services = catalogue.tables.of("service", ServiceTable)
    rates = catalogue.tables.of("rate", RateTable).values()
    return next((services[each.service].unit for each in rates if counter in each.counters), "messages")


def _of_arrival(values: Values, catalogue: Catalogue, recipient: Recipient, at: int) -> dict[str, object]:
    plmn = str(values["plmn"])
    if values["country"] == HOME:
        return {"place": HOME, "call": None, "received": None, "sms": None, "data": None}
    return {"place": place_of(catalogue, plmn), **roaming_prices(catalogue, plmn, recipient.facts, at)}


_FOUND: Mapping[str, Callable[[Values, Catalogue, Recipient, int], dict[str, object]]] = {
    "package": _of_product,
    "subscription": _of_product,
    "bucket": _of_bucket,
    "threshold": _of_counter,
    "arrived": _of_arrival,
}
"""Kind of the event → what is found by its fields."""


def recipient_of(view: AccountView) -> Recipient:
    muted = (each.terms for each in view.measures if each.begun and each.terms.kind is MeasureKind.MUTE)
    return Recipient(
        msisdn=view.msisdn,
        language=view.language,
        active_until=view.active_until,
        facts=view.facts,
        muted=frozenset(each.name for each in muted),
    )
