"""The columns of an export: name, type, unit, where it is from. docs/RECORDS.md shows them; a test compares.

The order and the meaning of columns are stable. New ones are appended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Which rows an export has."""

    USAGE = "usage"
    """One for each service and price of a charging record (HOT-REC-2)."""
    MONEY = "money"
    """One for each event that moved credit: Σ `credit_in_micro_eur` - Σ `debit_micro_eur` is the balance. (Σ
    `separate_in_micro_eur` - Σ `separate_out_micro_eur` is that of a member's separate account, HOT-GRP-5.)
    """
    ALL = "all"
    """One for each event, and those of USAGE."""


class Type(StrEnum):
    TEXT = "text"
    INTEGER = "integer"
    TIME = "time"
    """UTC, ISO 8601, whole seconds."""
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: Type
    unit: str
    source: str
    """Field of the record, or how it is made of it."""


T, N, AT, B = Type.TEXT, Type.INTEGER, Type.TIME, Type.BOOLEAN
COLUMNS = (
    Column("event_id", T, "", "`event_id`; with `line` unique for ever"),
    Column("line", N, "", "0 = the event itself; 1, 2, … = its services, in the record's order"),
    Column("kind", T, "", "`kind`"),
    Column("time", AT, "UTC", "`time`: when the ledger applied it"),
    Column("account", T, "", "`account`: the id, not the number"),
    Column("session_id", T, "", "`session_id`"),
    Column("charging_id", T, "", "`charging_id`: of data, the 3GPP-Charging-Id of the P-GW"),
    Column("context", T, "", "`context`: data, ims, cs, sms, mms, content"),
    Column("request_type", T, "", "`request_type`: I, U, T, E"),
    Column("request_number", N, "", "`request_number`"),
    Column("result_code", N, "", "`result_code`"),
    Column("started", AT, "UTC", "`started`: of the session"),
    Column("closed", B, "", "`closed`: the session has ended"),
    Column("late", B, "", "`late`: the session had been given up before"),
    Column("service_key", T, "", "`services.key`: rating group, service identifiers"),
    Column("rate", T, "", "`services.label`"),
    Column("price", T, "", "`services.price`"),
    Column("catalogue_version", T, "", "`services.price`, after `/`: the version that priced it"),
    Column("network", T, "", "`services.detail`: MCC and MNC, or the number of the serving switch"),
    Column("direction", T, "", "`services.detail`: mo, mt, fw"),
    Column("apn", T, "", "`services.detail`, of data"),
    Column("other_party", T, "", "`services.detail`, of all others; the last three digits are hidden (HOT-REC-1)"),
    Column("unit", T, "", "of the rate's service: octets, seconds, messages, money"),
    Column("used", N, "`unit`", "`services.used`: negative in a refund"),
    Column("bucket_units", T, "`unit`", "`services.bucket_units`: JSON, bucket → billable units"),
    Column("overrun_units", N, "`unit`", "`services.overrun_units`: billable, paid by nobody"),
    Column("dropped_units", N, "`unit`", "`services.dropped`: reported, impossible, not charged"),
    Column("charged_micro_eur", N, "micro-EUR", "`services.debit_micro_eur`, less `services.credit_in_micro_eur`"),
    Column("vat_percent", N, "%", "`vat_percent`"),
    Column("net_micro_eur", N, "micro-EUR", "`net_micro_eur`; negative in a refund"),
    Column("itemised", T, "", "`services.itemised`"),
    Column("debit_micro_eur", N, "micro-EUR", "`debit_micro_eur`: taken from the credit. Line 0 only"),
    Column("credit_in_micro_eur", N, "micro-EUR", "`credit_in_micro_eur`: put into the credit. Line 0 only"),
    Column("promotional_micro_eur", N, "micro-EUR", "`promo`: the promotional part of the movement. Line 0 only"),
    Column("credit_micro_eur", N, "micro-EUR", "`credit_micro_eur`: afterwards. Line 0 only"),
    Column(
        "separate_out_micro_eur", N, "micro-EUR", "the same, from a member's separate account (HOT-GRP-5). Line 0 only"
    ),
    Column("separate_in_micro_eur", N, "micro-EUR", "the same, into it. Line 0 only"),
    Column("separate_micro_eur", N, "micro-EUR", "the same, afterwards. Line 0 only"),
    Column("product", T, "", "`package`"),
    Column("reference", T, "", "`reference`"),
    Column("by", T, "", "`by`: who did it"),
    Column("more", T, "", "all other fields of the record: JSON, names sorted. Line 0 only"),
)
NAMES = tuple(column.name for column in COLUMNS)
