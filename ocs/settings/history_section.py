"""The section [history]: the SQL database of what people look up, and how long it keeps it."""

from __future__ import annotations

from pydantic import Field, field_validator

from ocs.settings.base import Section

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql+psycopg://"


class HistorySection(Section):
    """The SQL database that the charging records are loaded into (docs/HISTORY.md)."""

    url: str = Field(
        default="",
        description=f'"" (SQLite in data_dir), {POSTGRESQL}user:password@host/database, or {SQLITE}/absolute/path',
    )
    """SQLite is for small installations and trials; PostgreSQL 13 or later for production."""
    keep_periods: int = Field(default=3, ge=3, le=36, description="3 to 36 (HOT-REC-1: at least 3)")
    """Itemised use is kept for the current billing period and so many past ones, then erased."""
    keep_money_years: int = Field(default=7, ge=1, le=30, description="1 to 30 years")
    """How long money transactions, state changes and monthly sums are kept."""
    keep_records_days: int = Field(default=150, ge=0, le=36_500, description="0 to 36500 days; 0 = for ever")
    """Files of charging records are deleted so long after their last record was loaded."""

    @field_validator("url")
    @classmethod
    def _scheme(cls, url: str) -> str:
        if url and not url.startswith((SQLITE, POSTGRESQL)):
            raise ValueError("is no URL of SQLite or PostgreSQL")
        if url.startswith(SQLITE) and not url.removeprefix(SQLITE).startswith("/"):
            raise ValueError("the file needs its absolute path")
        return url
