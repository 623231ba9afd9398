"""Settings of `ocs reconcile`: how the host's usage file is written, and how far two measurements may differ."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from ocs.settings.base import CombinationError, Section
from ocs.values.quantity import unit_factors
from ocs.values.use import Unit

UsageService = Literal["data", "voice", "sms", "mms"]
"""What a line of the file is of."""
UNITS: dict[str, Unit] = {"data": Unit.OCTETS, "voice": Unit.SECONDS, "sms": Unit.MESSAGES, "mms": Unit.MESSAGES}
ColumnName = Literal[
    "record", "msisdn", "imsi", "session", "charging", "service", "start", "end", "duration", "units", "up", "down",
    "amount",
]  # fmt: skip
DEFAULT_COLUMNS: dict[ColumnName, str] = {
    "record": "record_id", "msisdn": "msisdn", "imsi": "imsi", "session": "session_id", "charging": "charging_id",
    "service": "service", "start": "start", "end": "end", "units": "units", "amount": "amount_eur",
}  # fmt: skip
ISO, UNIX = "iso", "unix"


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError):
        raise ValueError("is no time zone") from None
    return text


def _percent(text: str) -> str:
    try:
        value = Decimal(text)
    except ArithmeticError:
        raise ValueError("is no number") from None
    if not 0 <= value <= 100:
        raise ValueError("is not from 0 to 100")
    return text


class ReconcileSection(Section):
    """How `ocs reconcile` reads the host's usage file and compares it (docs/RECONCILIATION.md)."""

    form: Literal["csv", "tap"] = Field(default="csv", description='"csv" or "tap"')
    """`tap`: TAP 3.12 (GSMA TD.57), by the package pycrate; of the keys below only the tolerances matter then."""
    columns: dict[ColumnName, str] = Field(
        default=DEFAULT_COLUMNS,
        description='names of the file\'s columns, for "record", "msisdn", "imsi", "session", "charging", "service", '
        '"start", "end", "duration", "units", "up", "down", "amount"',
    )
    """The defaults are what `ocs-sim run --wholesale` writes. Needed: msisdn or imsi; start; units, or up and down."""
    services: dict[str, UsageService] = Field(
        default={"data": "data", "voice": "voice", "sms": "sms", "mms": "mms"},
        min_length=1,
        max_length=256,
        description='up to 256 texts of the column `service`, each with "data", "voice", "sms" or "mms"',
    )
    """What the words in the column `service` mean; case does not matter. Lines with another word are told."""
    service: UsageService | None = Field(
        default=None, description='"data", "voice", "sms" or "mms"; absent = by the column'
    )
    """Of all lines, if the file has no such column."""
    units: dict[UsageService, str] = Field(
        default={"data": "B", "voice": "s"},
        description='for "data" B, kB, MB, GB or TB, for "voice" s, min or h, for "sms" and "mms" messages',
    )
    """Units in which the file counts. Amounts may have decimals."""
    kilo: Literal[1000, 1024] = Field(default=1024, description="1000 or 1024")
    """Octets in a kB of the file."""
    time_format: str = Field(default=ISO, min_length=1, description="iso, unix, or a pattern such as %d.%m.%Y %H:%M:%S")
    """Of the columns `start` and `end`."""
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="a name of the IANA database, such as Europe/Ljubljana"
    )
    """Of times without an offset, and of the days of the file."""
    delimiter: str = Field(
        default="", pattern=r"^[,;\t|]?$", description='"" (found out), a comma, a semicolon, a tab or a vertical bar'
    )
    """Between columns."""
    decimal: Literal[".", ","] = Field(default=".", description='"." or ","')
    """Decimal sign of amounts."""
    encoding: str = Field(default="utf-8-sig", min_length=1, description="a codec of Python, such as cp1250")
    """Of the file's text."""
    skip_lines: int = Field(default=0, ge=0, le=1000, description="0 to 1000")
    """Lines before the header."""
    tolerance_s: int = Field(default=60, ge=0, le=86_400, description="0 to 86400 seconds")
    """How far the two times of a beginning may be apart."""
    tolerance_percent: Annotated[str, AfterValidator(_percent)] = Field(
        default="1", description='a number in a text, such as "0.5", from 0 to 100'
    )
    """How far two amounts may be apart, of the greater one; 0.01 EUR of wholesale price is not worth a dispute."""
    tolerance_octets: int = Field(default=102_400, ge=0, le=2**40, description="0 to 2^40 octets")
    """How far two volumes may be apart in any case."""
    tolerance_seconds: int = Field(default=2, ge=0, le=3600, description="0 to 3600 seconds")
    """How far two durations may be apart in any case."""

    @model_validator(mode="after")
    def _fits_together(self) -> ReconcileSection:
        found: list[tuple[tuple[str | int, ...], object, str]] = []
        columns = self.columns
        if self.form == "csv":
            if not {"msisdn", "imsi"} & set(columns):
                found.append((("reconcile", "columns"), None, "must name msisdn or imsi"))
            if "start" not in columns:
                found.append((("reconcile", "columns"), None, "must name start"))
            if "units" not in columns and not {"up", "down"} <= set(columns):
                found.append((("reconcile", "columns"), None, "must name units, or up and down"))
            if "service" not in columns and self.service is None:
                found.append((("reconcile", "columns"), None, "must name service, or the key `service` must say it"))
        for service, name in self.units.items():
            known = unit_factors(UNITS[service], kilo=self.kilo)
            if name not in known:
                found.append((("reconcile", "units", service), name, f"must be one of {', '.join(known)}"))
        try:
            "".encode(self.encoding)
        except LookupError:
            found.append((("reconcile", "encoding"), self.encoding, "is no codec of Python"))
        if found:
            raise CombinationError(found)
        return self
