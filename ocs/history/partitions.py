"""Partitions of the tables on PostgreSQL: one for each month, made ahead. SQLite needs none."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Table, text

from ocs.history.schema import PARTITIONED

AHEAD = 2
"""Months made ahead: a batch at the beginning of a month need not wait for the lock that making one takes."""


def following(month: int, count: int = 1) -> int:
    """202611 → 202612; 202612 → 202701."""
    months = month // 100 * 12 + month % 100 - 1 + count
    return months // 12 * 100 + months % 12 + 1


def name_of(table: Table, month: int) -> str:
    return f"{table.name}_{month}"


def make_partitions(connection: Connection, months: Iterable[int]) -> None:
    """Make the partitions of these months that do not exist."""
    wanted = sorted({*months})
    if not wanted:
        return
    there = existing(connection)
    for month in wanted:
        for table in PARTITIONED:
            if name_of(table, month) not in there:
                connection.execute(
                    text(
                        f"CREATE TABLE IF NOT EXISTS {name_of(table, month)} PARTITION OF {table.name}"
                        f" FOR VALUES FROM ({month}) TO ({following(month)})"
                    )
                )


def make_ahead(connection: Connection, month: int) -> None:
    """The partitions of this month and of the next ones."""
    if connection.dialect.name == "postgresql":
        make_partitions(connection, [following(month, count) for count in range(AHEAD + 1)])


def existing(connection: Connection) -> set[str]:
    """Names of all partitions."""
    query = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE relkind = 'r'"
    return {*connection.execute(text(query)).scalars()}
