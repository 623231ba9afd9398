"""Rows of an export, made of charging records.

Money stands in a row once. Line 0 has the movement of credit; lines 1, 2, … say what use cost. A session's `use` events
move credit that its `charge` later accounts for, so both together would count it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from ocs.history.exports.schema import NAMES, Kind
from ocs.outbox.reading import Record
from ocs.values.masking import masked_party
from ocs.values.use import Context

Row = dict[str, Any]
"""Column → value; None = the record does not say it."""
UnitOf = Callable[[str, str], str]
"""Label of a rate and context → unit."""

_HEAD = ("event_id", "kind", "time", "account", "session_id", "context", "request_type", "request_number")
_OF_THE_EVENT = (*_HEAD, "charging_id", "result_code", "started", "closed", "late", "by")
_MOVES = ("debit_micro_eur", "credit_in_micro_eur", "separate_out_micro_eur", "separate_in_micro_eur")
_MOVEMENT = (*_MOVES, "credit_micro_eur", "separate_micro_eur", "vat_percent", "net_micro_eur", "reference")
_KNOWN = frozenset(
    (*_OF_THE_EVENT, *_MOVEMENT, "services", "services_debit_micro_eur", "package", "promo", "bucket_units")
)
_SECRET = {"imei": 6}
"""Fields of `more` that name a subscriber's equipment, and how many of their last digits are hidden."""


def rows(record: Record, kind: Kind, unit_of: UnitOf, *, full: bool) -> Iterator[Row]:
    """The rows of one record. `full`: other parties and equipment as they are, else their last digits are hidden."""
    moves = any(record.get(name) for name in _MOVES)
    if kind is Kind.ALL or (kind is Kind.MONEY and moves):
        yield _event_row(record, full)
    if kind is not Kind.MONEY:
        for number, line in enumerate(record.get("services", ()), start=1):
            yield _service_row(record, number, line, unit_of, full)


def _new_row(record: Record, line: int) -> Row:
    row: Row = dict.fromkeys(NAMES)
    row["line"] = line
    for name in _OF_THE_EVENT:
        row[name] = record.get(name)
    row["closed"], row["late"] = bool(row["closed"]), bool(row["late"])
    return row


def _event_row(record: Record, full: bool) -> Row:
    row = _new_row(record, 0)
    for name in _MOVEMENT:
        row[name] = record.get(name)
    row["promotional_micro_eur"] = record.get("promo")
    row["product"] = record.get("package")
    more = {name: value for name, value in record.items() if name not in _KNOWN}
    if not full:
        for name, hidden in _SECRET.items():
            if isinstance(value := more.get(name), str):
                more[name] = value[:-hidden] + "x" * min(hidden, len(value))
    row["more"] = orjson.dumps(more, option=orjson.OPT_SORT_KEYS).decode() if more else None
    return row


def _service_row(record: Record, number: int, line: dict[str, Any], unit_of: UnitOf, full: bool) -> Row:
    row = _new_row(record, number)
    context, price = str(record.get("context", "")), str(line.get("price", ""))
    row["service_key"], row["rate"], row["price"] = line.get("key"), line.get("label"), price
    row["catalogue_version"] = price.partition("@")[2].partition("/")[2] or None
    row["network"], row["direction"], towards = _detail(str(line.get("detail", "")))
    if context == Context.DATA:
        row["apn"] = towards
    elif towards is not None:
        row["other_party"] = towards if full else masked_party(towards)
    label = str(line.get("label") or price.partition("@")[0])
    row["unit"] = unit_of(label, context)
    row["used"] = line.get("used")
    units = line.get("bucket_units")
    row["bucket_units"] = orjson.dumps(units, option=orjson.OPT_SORT_KEYS).decode() if units else None
    row["overrun_units"], row["dropped_units"] = line.get("overrun_units"), line.get("dropped")
    back = line.get("credit_in_micro_eur", 0)
    row["charged_micro_eur"] = line.get("debit_micro_eur", 0) - back
    row["vat_percent"], row["itemised"] = line.get("vat_percent"), line.get("itemised")
    net = line.get("net_micro_eur")
    row["net_micro_eur"] = -net if net is not None and back else net
    return row


def _detail(text: str) -> tuple[str | None, str | None, str | None]:
    """(network, direction, other party or APN) of `UsageContext.detail`."""
    network, _, rest = text.partition(" ")
    direction, _, towards = rest.partition(" ")
    return network or None, direction or None, towards or None
