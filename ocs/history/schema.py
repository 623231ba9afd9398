"""The tables of the SQL database (docs/HISTORY.md).

Money is in micro-EUR, `at` and other times are Unix seconds. `month` is the calendar month of `at` in the operator's
time zone, such as 202611; tables with a `month` in their key are partitioned by it on PostgreSQL (`PARTITIONED`).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

METADATA = MetaData(naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "pk": "pk_%(table_name)s"})
JSON_TEXT = JSON().with_variant(JSONB(), "postgresql")
ACCOUNT = String(40)
EVENT_ID = String(40)

POSITIONS = Table(
    "positions",
    METADATA,
    Column("name", String(40), primary_key=True),
    Column("file_number", BigInteger, nullable=False),
    Column("file_name", String(80), nullable=False),
    Column("file_offset", BigInteger, nullable=False),
    Column("last_line", LargeBinary, nullable=False),
    Column("sequences", LargeBinary, nullable=False),
    comment="up to where the record files are loaded; changed in the transaction that stores the rows",
)
"""One row, "records". `file_offset`: octets of the file that are loaded; `last_line`: length and hash of the last line
before it. `sequences`: the sequence number of each partition's last loaded event, 8 octets each.
"""

MOVES = Table(
    "moves",
    METADATA,
    Column("account", ACCOUNT, primary_key=True),
    Column("moved_from", ACCOUNT, nullable=False),
    comment="accounts that were moved from another partition, and their id there",
)

PERIODS = Table(
    "periods",
    METADATA,
    Column("account", ACCOUNT, primary_key=True),
    Column("begins_at", BigInteger, primary_key=True),
    Column("ends_at", BigInteger, nullable=False),
    comment="billing periods of an account: those of its tariff",
)

USAGE = Table(
    "usage",
    METADATA,
    Column("account", ACCOUNT, primary_key=True),
    Column("month", Integer, primary_key=True, autoincrement=False),
    Column("line", BigInteger, primary_key=True, autoincrement=False),
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
    Index(None, "account", "started_at"),
    comment="use: one row for a session, rate and month",
    postgresql_partition_by="RANGE (month)",
)
"""`line`: hash of session, start, service and rate, which with account and month is unique. `at`, `event_id`, `price`:
of the row's last record. `party`: the other party with its last three digits masked (HOT-REC-1), or the APN. `free`: a
call to a free or emergency number, which no itemised bill shows. `itemised`: "" or what is itemised apart (HOT-RAT-6).
`bucket_units`: units by bucket.
"""

TRANSACTIONS = Table(
    "transactions",
    METADATA,
    Column("account", ACCOUNT, primary_key=True),
    Column("month", Integer, primary_key=True, autoincrement=False),
    Column("event_id", EVENT_ID, primary_key=True),
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
    Column("separate_micro_eur", BigInteger, nullable=False, server_default="0"),
    Index(None, "account", "at"),
    Index(None, "reference"),
    comment="movements of credit that are no use: top-ups, packages, fees, refunds, pay-outs, shares, transfers",
    postgresql_partition_by="RANGE (month)",
)
"""`credit_micro_eur`: the credit afterwards. `what`: the product, benefit or other account. `vat_percent`: 0 = the
movement is no price of something sold. `separate_micro_eur`: what came to the separate account (HOT-GRP-5), negative =
what it paid. `net_micro_eur`: of both together.
"""

EVENTS = Table(
    "events",
    METADATA,
    Column("event_id", EVENT_ID, primary_key=True),
    Column("month", Integer, primary_key=True, autoincrement=False),
    Column("account", ACCOUNT, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("body", JSON_TEXT, nullable=False),
    Index(None, "account", "at"),
    Index(None, "kind", "at"),
    comment="all events but use: the record without event_id, kind, time and account",
    postgresql_partition_by="RANGE (month)",
)

ACCOUNT_MONTHS = Table(
    "account_months",
    METADATA,
    Column("account", ACCOUNT, primary_key=True),
    Column("month", Integer, primary_key=True, autoincrement=False),
    Column("opening_micro_eur", BigInteger, nullable=False),
    Column("credit_in_micro_eur", BigInteger, nullable=False),
    Column("debit_micro_eur", BigInteger, nullable=False),
    Column("use_micro_eur", BigInteger, nullable=False),
    Column("recorded_micro_eur", BigInteger, nullable=False),
    Column("credit_micro_eur", BigInteger, nullable=False),
    comment="what moved the credit of an account in a month",
)
"""`opening_micro_eur`: the credit before the first event. `credit_in_micro_eur`, `debit_micro_eur`: of all events.
`use_micro_eur`: the part of the debit that is use. `recorded_micro_eur`: use of the charging records of the month,
which `usage` itemises. It differs from `use_micro_eur` by sessions that were open at the beginning or the end of the
month. `credit_micro_eur`: after the last event.
"""

NOTICE_EVENTS = Table(
    "notice_events",
    METADATA,
    Column("event_id", EVENT_ID, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
    Index(None, "at"),
    comment="events of which notices are to be made; stored in the transaction that loads the event",
)

NOTICES = Table(
    "notices",
    METADATA,
    Column("id", String(96), primary_key=True),
    Column("event_id", EVENT_ID, nullable=False),
    Column("name", String(48), nullable=False),
    Column("account", ACCOUNT, nullable=False),
    Column("msisdn", String(16), nullable=False),
    Column("language", String(8), nullable=False),
    Column("text", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("quiet", Boolean, nullable=False),
    Column("state", String(12), nullable=False),
    Column("reason", String(200), nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("owner", String(80), nullable=False),
    Column("claimed_until", BigInteger, nullable=False),
    Column("reference", String(100), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Index(None, "state", "next_at"),
    Index(None, "state", "priority", "next_at"),
    Index(None, "account", "created"),
    Index(None, "created"),
    comment="texts for subscribers, and what became of them",
)
"""`id`: event and name of the notice, so there is one of each (HOT-NOT-2). `msisdn`: the number when it was made.
`state`: waiting, sending, sent, delivered, failed, given_up, suppressed; `reason` of the last three. `next_at`:
earliest time of the next attempt. `quiet`: it waits for the end of the quiet hours. `owner`, `claimed_until`: the
process that sends it, and until when nobody else does. `reference`: the receiver's name of the message.
"""

PARTITIONED = (USAGE, TRANSACTIONS, EVENTS)
