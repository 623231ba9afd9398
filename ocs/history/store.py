"""Writes the rows of a batch, in the caller's transaction.

PostgreSQL gets them by COPY. Rows that may be there already (sums of a month, sessions that were recorded before) go
through a temporary table; all others go straight into their table. SQLite gets them by statements with many rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from psycopg import Connection as PsycopgConnection
from psycopg.errors import UniqueViolation
from sqlalchemy import Connection, Table

from ocs.history.partitions import make_partitions
from ocs.history.rows import Rows, Usage
from ocs.history.schema import ACCOUNT_MONTHS, EVENTS, MOVES, PERIODS, TRANSACTIONS, USAGE

_SUMMED = ("used", "debit_micro_eur", "net_micro_eur", "overrun_units")
_LATEST = ("at", "event_id", "price", "place", "direction", "party")
_SUMS_OF_MONTH = ("credit_in_micro_eur", "debit_micro_eur", "use_micro_eur", "recorded_micro_eur")
_BUCKETS = {
    "postgresql": """(SELECT jsonb_object_agg(name, units) FROM (SELECT key AS name, sum(value::bigint) AS units FROM (
        SELECT * FROM jsonb_each_text(usage.bucket_units) UNION ALL SELECT * FROM jsonb_each_text(excluded.bucket_units)
    ) AS every GROUP BY key) AS summed)""",
    "sqlite": """(SELECT json_group_object(name, units) FROM (SELECT key AS name, sum(value) AS units FROM (
        SELECT key, value FROM json_each(usage.bucket_units) UNION ALL
        SELECT key, value FROM json_each(excluded.bucket_units)
    ) GROUP BY key))""",
}
"""The units of both rows by bucket, of two rows that have some."""


def write(connection: Connection, rows: Rows) -> None:
    """SQLAlchemyError, psycopg.Error: nothing of the transaction can be stored."""
    if connection.dialect.name == "postgresql":
        _Postgresql(connection).write(rows)
    else:
        _write_sqlite(connection, rows)


def _columns(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _on_conflict(table: Table, dialect: str) -> str:
    """What happens to a row that is there already."""
    keys = ", ".join(column.name for column in table.primary_key.columns)
    if table is USAGE:
        sets = [f"{name} = usage.{name} + excluded.{name}" for name in _SUMMED]
        sets += [f'"{name}" = excluded."{name}"' for name in _LATEST]
        vat = "CASE WHEN excluded.vat_percent > 0 THEN excluded.vat_percent ELSE usage.vat_percent END"
        sets += [f"vat_percent = {vat}"]
        sets += ["closed = usage.closed OR excluded.closed"]
        sets += [
            "bucket_units = CASE WHEN usage.bucket_units = '{}' THEN excluded.bucket_units"
            f" WHEN excluded.bucket_units = '{{}}' THEN usage.bucket_units ELSE {_BUCKETS[dialect]} END"
        ]
    elif table is ACCOUNT_MONTHS:
        sets = [f"{name} = account_months.{name} + excluded.{name}" for name in _SUMS_OF_MONTH]
        sets += ["credit_micro_eur = excluded.credit_micro_eur"]
    else:
        return f"ON CONFLICT ({keys}) DO NOTHING"
    return f"ON CONFLICT ({keys}) DO UPDATE SET {', '.join(sets)}"


def _usage_values(row: Usage) -> tuple[Any, ...]:
    return (
        *(row.account, row.month, row.line, row.at, row.started_at, row.session_id, row.event_id, row.context),
        *(row.service, row.rate, row.price, row.place, row.direction, row.party, row.used, row.debit_micro_eur),
        *(row.net_micro_eur, row.vat_percent, _json(row.bucket_units), row.overrun_units, row.itemised),
        *(row.closed, row.free),
    )


def _json(units: dict[str, int]) -> str:
    return orjson.dumps(units).decode() if units else "{}"


def _month_values(rows: Rows) -> list[tuple[Any, ...]]:
    return [
        (
            *(account, month, sums.opening_micro_eur, sums.credit_in_micro_eur, sums.debit_micro_eur),
            *(sums.use_micro_eur, sums.recorded_micro_eur, sums.credit_micro_eur),
        )
        for (account, month), sums in rows.months.items()
    ]


# -- SQLite


def _write_sqlite(connection: Connection, rows: Rows) -> None:
    for table, values in (
        (USAGE, [_usage_values(row) for row in rows.usage.values()]),
        (TRANSACTIONS, rows.transactions),
        (EVENTS, rows.events),
        (ACCOUNT_MONTHS, _month_values(rows)),
        (PERIODS, rows.periods),
        (MOVES, rows.moves),
    ):
        if values:
            places = ", ".join("?" * len(table.columns))
            into = f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({places})"
            connection.exec_driver_sql(f"{into} {_on_conflict(table, 'sqlite')}", list(values))


# -- PostgreSQL


class _Postgresql:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        driver = connection.connection.driver_connection
        assert isinstance(driver, PsycopgConnection)
        self._driver = driver

    def write(self, rows: Rows) -> None:
        make_partitions(self._connection, {key[1] for key in rows.usage} | {row[1] for row in rows.events})
        first = [_usage_values(row) for row in rows.usage.values() if row.is_first]
        rest = [_usage_values(row) for row in rows.usage.values() if not row.is_first]
        if not self._insert(USAGE, first):
            rest += first
        self._merge(USAGE, rest)
        self._copy(TRANSACTIONS.name, TRANSACTIONS, rows.transactions)
        self._copy(EVENTS.name, EVENTS, rows.events)
        self._merge(ACCOUNT_MONTHS, _month_values(rows))
        self._merge(PERIODS, rows.periods)
        self._merge(MOVES, rows.moves)

    def _insert(self, table: Table, values: Sequence[tuple[Any, ...]]) -> bool:
        """Whether none of the rows was there already; else none is inserted."""
        try:
            with self._connection.begin_nested():
                self._copy(table.name, table, values)
        except UniqueViolation:
            return False
        return True

    def _merge(self, table: Table, values: Sequence[tuple[Any, ...]]) -> None:
        if not values:
            return
        new = f"new_{table.name}"
        with self._driver.cursor() as cursor:
            cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS {new} (LIKE {table.name}) ON COMMIT DELETE ROWS")
        self._copy(new, table, values)
        columns = _columns(table)
        with self._driver.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {new} {_on_conflict(table, 'postgresql')}"
            )

    def _copy(self, name: str, table: Table, values: Sequence[tuple[Any, ...]]) -> None:
        if values:
            with (
                self._driver.cursor() as cursor,
                cursor.copy(f"COPY {name} ({_columns(table)}) FROM STDIN") as copy,
            ):
                copy.write(copy_text(values))


_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def copy_text(rows: Iterable[tuple[Any, ...]]) -> bytes:
    """Rows in the text format of COPY: values between tabs. There are texts, integers and Booleans, and no nulls."""
    lines = []
    for row in rows:
        line = "\t".join(map(str, row))
        if "\\" in line or "\n" in line or "\r" in line or line.count("\t") != len(row) - 1:
            line = "\t".join([str(value).translate(_ESCAPED) for value in row])
        lines.append(line)
    lines.append("")
    return "\n".join(lines).encode()
