"""Settings of `ocs import topups`: how a retailer writes its daily file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ocs.settings.base import CombinationError, Section

TopUpColumn = Literal["msisdn", "amount", "reference"]
DEFAULT_COLUMNS: dict[TopUpColumn, str] = {"msisdn": "msisdn", "amount": "amount", "reference": "reference"}


class TopUpFileSection(Section):
    """One kind of file, `[top_up_file.NAME]` (docs/PROVISIONING.md)."""

    columns: dict[TopUpColumn, str] = Field(
        default=DEFAULT_COLUMNS, description='a table with the column of "msisdn", "amount" and "reference"'
    )
    """As in the file's header line; other columns are ignored."""
    prefix: str = Field(default="", max_length=32, pattern=r"^[!-~]*$", description="up to 32 characters, no blanks")
    """Put before each reference of the file, so that those of two retailers never collide. If the retailer tops up over
    the API too, with the same references, the file says nothing new: leave it empty.
    """
    unit: Literal["eur", "cent"] = Field(default="eur", description='"eur" or "cent"')
    """Of the amounts."""
    decimal: Literal[".", ","] = Field(default=".", description='"." or ","')
    """Decimal sign of the amounts."""
    delimiter: Literal[",", ";", "tab", "|"] = Field(default=",", description='",", ";", "tab" or "|"')
    """Between columns."""
    encoding: str = Field(default="utf-8-sig", min_length=1, description="a codec of Python, such as cp1250")
    """Of the file's text."""
    skip_lines: int = Field(default=0, ge=0, le=1000, description="0 to 1000")
    """Lines before the header line."""
    trailer: str = Field(default="", max_length=64, description='a text, such as "TOTAL"; "" = there is none')
    """First column of the file's last line, which has the number of rows and their sum."""
    trailer_rows: int = Field(default=2, ge=0, le=100, description="0 to 100; 0 = it is not told")
    """Column of the trailer with the number of rows; the first column is 1."""
    trailer_amount: int = Field(default=3, ge=0, le=100, description="0 to 100; 0 = it is not told")
    """Column of the trailer with the sum of the amounts."""

    @model_validator(mode="after")
    def _can_be_read(self) -> TopUpFileSection:
        found: list[tuple[tuple[str | int, ...], object, str]] = []
        if missing := [name for name in DEFAULT_COLUMNS if not self.columns.get(name)]:
            found.append((("columns",), None, f"must name {', '.join(missing)}"))
        try:
            "".encode(self.encoding)
        except LookupError:
            found.append((("encoding",), self.encoding, "is no codec of Python"))
        if found:
            raise CombinationError(found)
        return self
