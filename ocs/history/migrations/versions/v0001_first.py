"""The first tables."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

revision = "v0001_first"
down_revision = None

ACCOUNT = String(40)
EVENT_ID = String(40)
JSON_TEXT = JSON().with_variant(JSONB(), "postgresql")
BY_MONTH: dict[str, Any] = {"postgresql_partition_by": "RANGE (month)"}


def upgrade() -> None:
    _state()
    _usage()
    _transactions()
    _events()


def _state() -> None:
    op.create_table(
        "positions",
        Column("name", String(40), nullable=False),
        Column("file_number", BigInteger, nullable=False),
        Column("file_name", String(80), nullable=False),
        Column("file_offset", BigInteger, nullable=False),
        Column("last_line", LargeBinary, nullable=False),
        Column("sequences", LargeBinary, nullable=False),
        PrimaryKeyConstraint("name", name="pk_positions"),
        comment="up to where the record files are loaded; changed in the transaction that stores the rows",
    )
    op.create_table(
        "moves",
        Column("account", ACCOUNT, nullable=False),
        Column("moved_from", ACCOUNT, nullable=False),
        PrimaryKeyConstraint("account", name="pk_moves"),
        comment="accounts that were moved from another partition, and their id there",
    )
    op.create_table(
        "periods",
        Column("account", ACCOUNT, nullable=False),
        Column("begins_at", BigInteger, nullable=False),
        Column("ends_at", BigInteger, nullable=False),
        PrimaryKeyConstraint("account", "begins_at", name="pk_periods"),
        comment="billing periods of an account: those of its tariff",
    )
    op.create_table(
        "account_months",
        Column("account", ACCOUNT, nullable=False),
        Column("month", Integer, nullable=False),
        Column("opening_micro_eur", BigInteger, nullable=False),
        Column("credit_in_micro_eur", BigInteger, nullable=False),
        Column("debit_micro_eur", BigInteger, nullable=False),
        Column("use_micro_eur", BigInteger, nullable=False),
        Column("recorded_micro_eur", BigInteger, nullable=False),
        Column("credit_micro_eur", BigInteger, nullable=False),
        PrimaryKeyConstraint("account", "month", name="pk_account_months"),
        comment="what moved the credit of an account in a month",
    )


def _usage() -> None:
    op.create_table(
        "usage",
        Column("account", ACCOUNT, nullable=False),
        Column("month", Integer, nullable=False),
        Column("line", BigInteger, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("started_at", BigInteger, nullable=False),
        Column("session_id", Text, nullable=False),
        Column("event_id", EVENT_ID, nullable=False),
        Column("context", String(16), nullable=False),
        Column("service", Text, nullable=False),
        Column("rate", Text, nullable=False),
        Column("price", Text, nullable=False),
        Column("place", String(40), nullable=False),
        Column("direction", String(16), nullable=False),
        Column("party", Text, nullable=False),
        Column("used", BigInteger, nullable=False),
        Column("debit_micro_eur", BigInteger, nullable=False),
        Column("net_micro_eur", BigInteger, nullable=False),
        Column("vat_percent", SmallInteger, nullable=False),
        Column("bucket_units", JSON_TEXT, nullable=False),
        Column("overrun_units", BigInteger, nullable=False),
        Column("itemised", Text, nullable=False),
        Column("closed", Boolean, nullable=False),
        Column("free", Boolean, nullable=False),
        PrimaryKeyConstraint("account", "month", "line", name="pk_usage"),
        comment="use: one row for a session, rate and month",
        **BY_MONTH,
    )
    op.create_index("ix_usage_account_started_at", "usage", ["account", "started_at"])


def _transactions() -> None:
    op.create_table(
        "transactions",
        Column("account", ACCOUNT, nullable=False),
        Column("month", Integer, nullable=False),
        Column("event_id", EVENT_ID, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("kind", String(24), nullable=False),
        Column("what", Text, nullable=False),
        Column("reference", Text, nullable=False),
        Column("channel", String(40), nullable=False),
        Column("acted_by", String(80), nullable=False),
        Column("credit_in_micro_eur", BigInteger, nullable=False),
        Column("debit_micro_eur", BigInteger, nullable=False),
        Column("net_micro_eur", BigInteger, nullable=False),
        Column("vat_percent", SmallInteger, nullable=False),
        Column("promotional_micro_eur", BigInteger, nullable=False),
        Column("credit_micro_eur", BigInteger, nullable=False),
        PrimaryKeyConstraint("account", "month", "event_id", name="pk_transactions"),
        comment="movements of credit that are no use: top-ups, packages, fees, refunds, pay-outs, shares, transfers",
        **BY_MONTH,
    )
    op.create_index("ix_transactions_account_at", "transactions", ["account", "at"])
    op.create_index("ix_transactions_reference", "transactions", ["reference"])


def _events() -> None:
    op.create_table(
        "events",
        Column("event_id", EVENT_ID, nullable=False),
        Column("month", Integer, nullable=False),
        Column("account", ACCOUNT, nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("kind", String(24), nullable=False),
        Column("body", JSON_TEXT, nullable=False),
        PrimaryKeyConstraint("event_id", "month", name="pk_events"),
        comment="all events but use: the record without event_id, kind, time and account",
        **BY_MONTH,
    )
    op.create_index("ix_events_account_at", "events", ["account", "at"])
    op.create_index("ix_events_kind_at", "events", ["kind", "at"])
