"""Transactions say what moved the credit of a separate account (HOT-GRP-5)."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "v0003_separate"
down_revision = "v0002_notices"


def upgrade() -> None:
    op.add_column("transactions", Column("separate_micro_eur", BigInteger, nullable=False, server_default="0"))
