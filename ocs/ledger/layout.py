"""What is stored and what crosses the border to the scripts, declared once: records of named fields, kept as msgpack
arrays in this order.

The scripts are written with names (`account.credit`); `scripts.join` puts the positions in, makes the constructors
(`new_bucket()`) and the step that brings an older document up. Python reads a document by `Layout.read` and packs a
request by the writers of wire.py, which are made from the same declaration. So nobody keeps an offset by hand.

Rules of change. A field is added at the end of its record, with the layout's new version and a default; it may be
renamed, as the name is not stored. A script leaves fields behind the ones that it knows as they are. A change that an
older script would misread raises `readable_from` too: older scripts then refuse the document (`Retry.VERSION`).
Documents of every version are kept in tests/ocs/ledger/documents. The first layout (version 1) had no version in the
document and is refused.

Amounts are micro-EUR (credit, held, debit …) or billable units; times are Unix seconds; flags are 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgpack

EMPTY: tuple[object, ...] = ()


def _unpacked(value: str | bytes) -> list[Any]:
    """What is packed within a document; text is read with surrogates for what is no UTF-8."""
    octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    rows: list[Any] = msgpack.unpackb(octets, strict_map_key=False, unicode_errors="surrogateescape")
    return rows


@dataclass(frozen=True, slots=True)
class Field:
    """One place of a record. `many`: a list of that record; `each`: a map of text to that record; `one`: that record or
    false; `packed`: a list of that record, packed once more ("" = empty), so that who does not need it does not read
    it; `packed_one`: one record, likewise.
    """

    name: str
    default: object = 0
    many: str = ""
    each: str = ""
    one: str = ""
    packed: str = ""
    packed_one: str = ""
    since: int = 2

    @property
    def record(self) -> str:
        return self.many or self.each or self.one or self.packed or self.packed_one


def _fields(text: str, *more: Field, default: object = 0) -> tuple[Field, ...]:
    return (*(Field(name, default) for name in text.split()), *more)


@dataclass(frozen=True, slots=True)
class Layout:
    version: int
    readable_from: int
    """Oldest version whose scripts can work on what this one writes."""
    records: dict[str, tuple[Field, ...]] = field(default_factory=dict)

    def index(self, record: str, name: str) -> int:
        """Place of a field, from 0; KeyError says what there is."""
        for at, each in enumerate(self.records[record]):
            if each.name == name:
                return at
        raise KeyError(f"{record} has no field {name!r}; it has {', '.join(f.name for f in self.records[record])}")

    def new(self, record: str, **values: object) -> list[Any]:
        """A row with defaults but for `values`."""
        row: list[Any] = []
        for each in self.records[record]:
            default = each.default
            row.append(values.pop(each.name, [] if default == EMPTY else default))
        if values:
            raise KeyError(f"{record} has no field {next(iter(values))!r}")
        return row

    def writer(self, record: str, arguments: str, names: Mapping[str, Any], **values: str) -> Callable[..., list[Any]]:
        """A function of `arguments` that makes a row; `values` are Python expressions of them by field. KeyError: one
        is missing or too many."""
        wanted = [each.name for each in self.records[record]]
        if missing := set(wanted) ^ values.keys():
            raise KeyError(f"{record}: {', '.join(sorted(missing))}")
        row = ", ".join(values[name] for name in wanted)
        made: Callable[..., list[Any]] = eval(f"lambda {arguments}: [{row}]", dict(names))
        return made

    def read(self, record: str, row: list[Any]) -> dict[str, Any]:
        """A row by names, records within it too; what an older layout had not is the default."""
        named: dict[str, Any] = {}
        for at, each in enumerate(self.records[record]):
            value: Any = row[at] if at < len(row) else each.default
            if each.packed:
                value = _unpacked(value) if value else []
            if each.many or each.packed:
                value = [self.read(each.record, inner) for inner in value]
            elif each.each:
                pairs = value.items() if isinstance(value, dict) else ()  # an empty map is packed as an empty array
                value = {name: self.read(each.each, inner) for name, inner in pairs}
            elif each.packed_one:
                value = self.read(each.packed_one, _unpacked(value)) if value else None
            elif each.one:
                value = self.read(each.one, value) if value else None
            named[each.name] = value
        return named


_DOCUMENT = {
    "account": (
        *_fields("version readable_from"),
        *_fields("msisdn imsi state", default=""),
        *_fields("active_until told_inactive credit held paid_in spent refunded expired"),
        Field("bars", ""),
        Field("pool", ""),
        # `due`: score in the due set, 0 = not in it. `scarce_until`: a request got nothing while others held what it
        # lacked.
        *_fields("due last_instance scarce_until"),
        # `moved_to`: the account lives on under that id. `moved_from`, until `look_back_until`: answers may be under
        # those ids.
        Field("moved_to", ""),
        Field("moved_from", ""),
        Field("look_back_until"),
        Field("subscriptions", "", packed="subscription"),
        # Of the subscriptions: the first end of a running period, when the first is due (0 = never), how many are
        # armed.
        *_fields("period_ends subscriptions_due armed"),
        Field("buckets", EMPTY, many="bucket"),
        Field("counters", EMPTY, many="counter"),
        Field("agenda", EMPTY, many="entry"),
        Field("sessions", EMPTY, each="session"),
    ),
    "terms": (
        Field("id", ""),
        *_fields("price period_s"),
        Field("buckets", EMPTY, many="included"),
        Field("group", ""),
        Field("renews", 1),
        Field("excludes", EMPTY),
        Field("counters", EMPTY, many="counter_terms"),
        *_fields("shared order"),
    ),
    "included": (Field("id", ""), Field("unit", ""), Field("quantity"), Field("priority")),
    "counter_terms": (
        *_fields("id window measure", default=""),
        Field("limit", -1),
        Field("thresholds", EMPTY),
        Field("window_s"),
    ),
    "subscription": (
        Field("instance"),
        Field("terms", False, one="terms"),
        Field("state", ""),
        *_fields("due starts ends"),  # due: when the fee is, or was, of one that is planned or unpaid
        Field("following", False, one="terms"),
        Field("reference", ""),
    ),
    "bucket": (
        Field("instance"),
        Field("id", ""),
        Field("subscription"),
        Field("unit", ""),
        # `left` -1 = unlimited. `ended`: its period is over, what is left is for those that hold it or were granted it.
        *_fields("left held starts ends priority ended"),
        Field("owner", ""),  # in a pool: the account whose subscription it is of
    ),
    "counter": (
        *_fields("id window measure", default=""),
        Field("window_key"),  # the month, the day or when the period began; of a rolling window nothing
        *_fields("value held"),
        Field("limit", -1),
        Field("thresholds", EMPTY),
        *_fields("told window_s"),
        Field("slots", EMPTY),  # of a rolling window: begin of a sixteenth, amount, …
    ),
    "entry": (Field("at"), Field("kind", ""), Field("ref", "")),
    "session": (
        *_fields("origin_host origin_realm relay owner context", default=""),
        # `opening`, `highest`, `mask_low` and `mask_high`, `apart`: numbers applied (of the opening; of updates: the
        # highest, the 64 before it, those kept apart). `answers_until`: when its remembered answers go.
        *_fields("started deadline origin_state opening highest mask_low mask_high"),
        Field("apart", EMPTY),
        # `closing`: number of the termination, -1 = none yet. `refused`: its opening was. `given_up`: it holds nothing
        # and waits for late use.
        Field("closing", -1),
        *_fields("refused given_up cost asked_back_at recorded_at answers_until"),
        Field("place", ""),
        Field("services", EMPTY, each="service"),
        Field("tallies", EMPTY, many="tally"),
    ),
    "service": (
        Field("detail", ""),
        Field("always"),
        # `reported_until`: last report (of time: how far the time reported reaches). `number`: highest update that had
        # it.
        *_fields("granted phase reported_until switch_at spans deadline number"),
        Field("legs", EMPTY, many="leg"),
    ),
    "leg": (
        Field("rate", "", packed_one="rate"),  # as the request gave it; scripts unpack one once (`rate_of`)
        Field("holds", EMPTY, many="hold"),
        Field("held"),
        Field("counter_holds", EMPTY),  # amounts, beside `counters`
        Field("granted_by", EMPTY, many="hold"),  # what it held when it was given up
    ),
    "rate": (
        Field("label", ""),
        Field("price", False, one="price"),
        Field("buckets", ""),  # ids in order, each between commas
        Field("counters", EMPTY),  # ids
        Field("price_after", False, one="price"),  # from the service's switch on
    ),
    "price": (Field("id", ""), *_fields("num den first_step next_step flat"), Field("rounding", "")),
    "hold": (*_fields("instance units pooled"),),
    "tally": (
        *_fields("key label price detail", default=""),
        # `unpaid`: the step begun last is not paid. `recorded`: raw units that a charging record has.
        *_fields("used credit_units debit"),
        Field("units", EMPTY),  # bucket id, units, …
        *_fields("overrun dropped unpaid recorded"),
    ),
    "pool": (
        *_fields("version readable_from last_instance"),
        Field("buckets", EMPTY, many="bucket"),
        Field("shares", EMPTY, many="share"),
    ),
    "share": (Field("account", ""), *_fields("instance units")),
    "header": _fields("version readable_from"),  # how every document begins
}

_MESSAGES = {
    "request": (
        *_fields("identity session_id origin_host origin_realm relay owner context type", default=""),
        *_fields("number now month day deadline remember_s origin_state look max_skew_s"),
        *_fields(
            "place expected_location pool looked_back", default=""
        ),  # looked_back: the account's old id, whose answers were looked at
        Field("counters", EMPTY, many="counter_terms"),
        Field("services", EMPTY, many="requested_service"),
        Field("retransmitted"),
        Field("end_to_end"),
        Field("content", ""),
    ),
    "requested_service": (
        *_fields("key detail unit", default=""),
        *_fields(
            "used used_after used_either want minimum always max_rate restrict retry_want switch_at spans maximum"
        ),
        Field("bars", ""),
        Field("legs", EMPTY),  # a packed `rate` each
    ),
    # In the order of ServiceOutcome and ChargeOutcome.
    "service_outcome": (
        Field("key", ""),
        Field("code", 2001),
        *_fields("granted"),
        Field("final", False),
        Field("reason", ""),
        *_fields("debited_micro_eur debited_units overrun_units dropped"),
        Field("restricted", False),
        Field("span_switch", False),
    ),
    "outcome": (
        Field("code"),
        Field("duplicate", False),
        Field("services", EMPTY, many="service_outcome"),
        *_fields("credit_micro_eur held_micro_eur"),
        Field("reason", ""),
        *_fields("session_cost_micro_eur period_end"),
        Field("late", False),
        Field("place", ""),
        Field("at"),
        Field("reused", False),
    ),
}

LAYOUT = Layout(version=2, readable_from=2, records={**_DOCUMENT, **_MESSAGES})

VARIABLES = {
    **{record: record for record in LAYOUT.records},
    "other": "session",
    "next_leg": "leg",
    "requested": "requested_service",
    "requested_rate": "rate",
    "result": "service_outcome",
    "next_price": "price",
    "next_tally": "tally",
    "next_entry": "entry",
    "next_bucket": "bucket",
    "other_service": "service",
    "following": "terms",
}
"""Names that the scripts give to what is a record: `bucket.left` is then a place of it. Any other table must have
another name.
"""
