"""Schema of the table [fair_use] of the catalogue (HOT-ROA-2 to -4)."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from ocs.catalogue.model import MAX_PERIOD_DAYS, Amount, Date, Table, Word


class CapTable(Table):
    """One entry of fair_use.caps. The key `from` is a Python keyword, hence `since`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, defer_build=True)

    since: Annotated[Date, Field(alias="from")]
    eur_per_gb: Amount
    """Wholesale cap, without VAT."""


class FairUseTable(Table):
    """[fair_use]"""

    counter: str
    caps: Annotated[list[CapTable], Field(min_length=1)]
    surcharge: Word
    window_days: Annotated[int, Field(ge=120, le=MAX_PERIOD_DAYS)] = 120
    share_percent: Annotated[int, Field(ge=50, le=99)] = 50
    notice_days: Annotated[int, Field(ge=14, le=60)] = 14
    silent_days: Annotated[int, Field(ge=1, le=MAX_PERIOD_DAYS)] = 60
