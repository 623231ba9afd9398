"""Records → rows of the tables. No I/O.

A charging record has what a session used since its last one. Its lines become one row for each session, rate and month;
lines that come later are added to it. Records of money become transactions, all but use becomes events. `use` records,
which say only that credit moved within a session, move the sums of the month and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import orjson

from ocs.values.masking import masked_party
from ocs.values.use import Context

Record = Mapping[str, Any]
USE, CHARGES = "use", ("charge", "expired")
FRESH_S = 3_000
"""A record of a session that began less long ago is its first one: the first partial record comes after an hour."""
_DATA = Context.DATA.value
_NUL = "\x00"
"""PostgreSQL stores no text with it."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An event that is being loaded, as the hooks get it."""

    event_id: str
    kind: str
    at: int
    """Unix seconds. Of an event that is loaded late (the database was down, or is new) long ago."""
    account: str
    record: Record
    """All fields (docs/LEDGER.md, Events)."""


@dataclass(slots=True)
class Usage:
    """A row of `usage`, in the order of its columns."""

    account: str
    month: int
    line: int
    at: int
    started_at: int
    session_id: str
    event_id: str
    context: str
    service: str
    rate: str
    price: str
    place: str
    direction: str
    party: str
    used: int
    debit_micro_eur: int
    net_micro_eur: int
    vat_percent: int
    bucket_units: dict[str, int]
    overrun_units: int
    itemised: str
    closed: bool
    free: bool
    is_first: bool
    """No earlier batch has a row for it, as far as the record tells."""

    def add(self, later: Usage) -> None:
        self.at, self.event_id, self.price = later.at, later.event_id, later.price
        self.place, self.direction, self.party = later.place, later.direction, later.party
        self.used += later.used
        self.debit_micro_eur += later.debit_micro_eur
        self.net_micro_eur += later.net_micro_eur
        self.vat_percent = later.vat_percent or self.vat_percent
        for bucket, units in later.bucket_units.items():
            self.bucket_units[bucket] = self.bucket_units.get(bucket, 0) + units
        self.overrun_units += later.overrun_units
        self.closed = self.closed or later.closed
        self.is_first = self.is_first and later.is_first


@dataclass(slots=True)
class AccountMonth:
    """A row of `account_months`: what a batch adds to it."""

    opening_micro_eur: int
    credit_in_micro_eur: int = 0
    debit_micro_eur: int = 0
    use_micro_eur: int = 0
    recorded_micro_eur: int = 0
    credit_micro_eur: int = 0


@dataclass(slots=True)
class Rows:
    """The rows of a batch, as tuples in the order of the columns unless a class says more."""

    usage: dict[tuple[str, int, int], Usage] = field(default_factory=dict)
    transactions: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    """(event_id, month, account, at, kind, JSON text)."""
    months: dict[tuple[str, int], AccountMonth] = field(default_factory=dict)
    periods: list[tuple[str, int, int]] = field(default_factory=list)
    moves: list[tuple[str, str]] = field(default_factory=list)
    loaded: list[Loaded] = field(default_factory=list)
    """All events but use and charges."""
    last_at: int = 0

    def count(self) -> dict[str, int]:
        """Rows by table."""
        return {
            "usage": len(self.usage),
            "transactions": len(self.transactions),
            "events": len(self.events),
            "account_months": len(self.months),
        }


class Projection:
    """Makes the rows of batches. `month_of`: Unix seconds → month in the operator's time zone. `is_free`: whether a
    rate is one of free or emergency numbers. `is_tariff`: whether a product's periods are billing periods.
    """

    def __init__(
        self, month_of: Callable[[int], int], is_free: Callable[[str], bool], is_tariff: Callable[[str], bool]
    ) -> None:
        self._month_of = month_of
        self._is_free = is_free
        self._is_tariff = is_tariff

    def rows(self, records: Iterable[Record]) -> Rows:
        rows = Rows()
        for record in records:
            self._add(record, rows)
        return rows

    def _add(self, record: Record, rows: Rows) -> None:
        kind, account, at = record["kind"], record["account"], unix_s(record["time"])
        month = self._month_of(at)
        rows.last_at = max(rows.last_at, at)
        _move(record, kind, account, month, rows)
        if kind == USE:
            return
        if "services" in record and kind in CHARGES:
            self._use(record, account, month, at, rows)
        if kind == "charge":
            return
        event_id = record["event_id"]
        rows.loaded.append(Loaded(event_id, kind, at, account, record))
        rows.events.append((event_id, month, account, at, kind, _body(record)))
        if any(record.get(name) for name in _MOVEMENTS):
            rows.transactions.append(_transaction(record, kind, account, month, at))
        if kind == "package" and record.get("paid") and self._is_tariff(record["package"]):
            ends_at = record.get("period_end")
            rows.periods.append((account, at, unix_s(ends_at) if ends_at else at))
        elif kind == "moved_in":
            rows.moves.append((account, record["from_account"]))

    def _use(self, record: Record, account: str, month: int, at: int, rows: Rows) -> None:
        session_id = _clean(record["session_id"])
        started = record.get("started")
        started_at = unix_s(started) if started else at
        is_first = at - started_at < FRESH_S and record["kind"] == "charge" and "late" not in record
        closed = bool(record.get("closed")) or record["kind"] == "expired"
        data = record.get("context") == _DATA
        for line in record["services"]:
            service, rate = _clean(line["key"]), line["label"]
            free = self._is_free(rate)
            place, direction, party = _parties(line.get("detail", ""), free, data)
            row = Usage(
                account=account,
                month=month,
                line=_line_hash(session_id, started_at, service, rate),
                at=at,
                started_at=started_at,
                session_id=session_id,
                event_id=record["event_id"],
                context=record.get("context", ""),
                service=service,
                rate=rate,
                price=line["price"],
                place=place,
                direction=direction,
                party=party,
                used=line["used"],
                debit_micro_eur=line.get("debit_micro_eur", 0),
                net_micro_eur=line.get("net_micro_eur", 0),
                vat_percent=line.get("vat_percent", 0),
                bucket_units=dict(line.get("bucket_units", ())),
                overrun_units=line.get("overrun_units", 0),
                itemised=line.get("itemised", ""),
                closed=closed,
                free=free,
                is_first=is_first,
            )
            key = account, month, row.line
            known = rows.usage.get(key)
            if known is None:
                rows.usage[key] = row
            else:
                known.add(row)


def _move(record: Record, kind: str, account: str, month: int, rows: Rows) -> None:
    debit, credit_in = record.get("debit_micro_eur", 0), record.get("credit_in_micro_eur", 0)
    recorded = record.get("services_debit_micro_eur", 0) if kind in CHARGES else 0
    credit = record.get("credit_micro_eur")
    if credit is None or not (debit or credit_in or recorded):
        return
    sums = rows.months.get((account, month))
    if sums is None:
        sums = rows.months[account, month] = AccountMonth(credit + debit - credit_in)
    sums.credit_in_micro_eur += credit_in
    sums.debit_micro_eur += debit
    sums.recorded_micro_eur += recorded
    if kind == USE or kind in CHARGES:
        sums.use_micro_eur += debit
    sums.credit_micro_eur = credit


def _transaction(record: Record, kind: str, account: str, month: int, at: int) -> tuple[Any, ...]:
    debit, credit_in = record.get("debit_micro_eur", 0), record.get("credit_in_micro_eur", 0)
    separate = record.get("separate_in_micro_eur", 0) - record.get("separate_out_micro_eur", 0)
    net, vat_percent = record.get("net_micro_eur"), record.get("vat_percent", 0)
    if kind == "refund":
        lines = record.get("services", ())
        net = sum(line.get("net_micro_eur", line.get("credit_in_micro_eur", 0)) for line in lines)
        vat_percent = max((line.get("vat_percent", 0) for line in lines), default=0)
    what = next((record[name] for name in _WHAT if record.get(name)), "")
    return (
        account,
        month,
        record["event_id"],
        at,
        kind,
        _clean(str(what)),
        _clean(record.get("reference", "")),
        _clean(record.get("channel", "")),
        _clean(record.get("by", "")),
        credit_in,
        debit,
        abs(credit_in - debit + separate) if net is None else net,
        vat_percent,
        record.get("promo", 0),
        record.get("credit_micro_eur", 0),
        separate,
    )


_MOVEMENTS = ("debit_micro_eur", "credit_in_micro_eur", "separate_in_micro_eur", "separate_out_micro_eur")
_WHAT = ("package", "to_account", "from_account", "of_session", "session_id", "reason")
"""Fields that name what a transaction is for; the first that a record has. `of_session`: of the refunded debit."""
_HEAD = frozenset({"event_id", "kind", "time", "account"})
_HEAD_OF_USE = _HEAD | {"services"}
"""The lines of use, which name the other party, are rows of `usage`."""


def _body(record: Record) -> str:
    """The record without what the columns have."""
    left_out = _HEAD_OF_USE if record["kind"] in CHARGES else _HEAD
    body = {name: value for name, value in record.items() if name not in left_out}
    text = orjson.dumps(body).decode()
    return text if "\\u0000" not in text else orjson.dumps(_all_clean(body)).decode()


def _all_clean(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {_clean(name): _all_clean(each) for name, each in value.items()}
    return [_all_clean(each) for each in value] if isinstance(value, list) else value


@lru_cache(4_096)
def unix_s(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _clean(text: str) -> str:
    return text.replace(_NUL, "") if _NUL in text else text


def _line_hash(session_id: str, started_at: int, service: str, rate: str) -> int:
    content = f"{session_id}\x1f{started_at}\x1f{service}\x1f{rate}".encode()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big", signed=True)


def _parties(detail: str, free: bool, data: bool) -> tuple[str, str, str]:
    """Network, direction and the other party, masked, of `UsageContext.detail`."""
    network, _, rest = detail.partition(" ")
    direction, _, party = rest.partition(" ")
    if free or not party:
        return _clean(network), _clean(direction), ""
    return _clean(network), _clean(direction), _clean(party if data else masked_party(party))
