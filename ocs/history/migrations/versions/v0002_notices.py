"""Notices: texts for subscribers, and the events of which they are to be made."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, PrimaryKeyConstraint, SmallInteger, String, Text

revision = "v0002_notices"
down_revision = "v0001_first"

TEXTS = {"id": 96, "event_id": 40, "name": 48, "account": 40, "msisdn": 16, "language": 8}


def upgrade() -> None:
    op.create_table(
        "notice_events",
        Column("event_id", String(40), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("record", Text, nullable=False),
        PrimaryKeyConstraint("event_id", name="pk_notice_events"),
        comment="events of which notices are to be made; stored in the transaction that loads the event",
    )
    op.create_index("ix_notice_events_at", "notice_events", ["at"])
    op.create_table(
        "notices",
        *(Column(name, String(length), nullable=False) for name, length in TEXTS.items()),
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
        PrimaryKeyConstraint("id", name="pk_notices"),
        comment="texts for subscribers, and what became of them",
    )
    op.create_index("ix_notices_state_next_at", "notices", ["state", "next_at"])
    op.create_index("ix_notices_state_priority_next_at", "notices", ["state", "priority", "next_at"])
    op.create_index("ix_notices_account_created", "notices", ["account", "created"])
    op.create_index("ix_notices_created", "notices", ["created"])
