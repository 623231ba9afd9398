"""Erases what has been kept long enough: itemised use, money, files of records (HOT-REC-1)."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, exists, select, text

from ocs.history.engine import writing
from ocs.history.partitions import existing, following, name_of
from ocs.history.periods import Period, kept_from
from ocs.history.position import Position
from ocs.history.schema import ACCOUNT_MONTHS, EVENTS, PARTITIONED, PERIODS, USAGE
from ocs.outbox.files import TAIL_OCTETS, record_files

log = logging.getLogger(__name__)

PAGE_ACCOUNTS = 200
"""Accounts whose use is erased in one transaction."""
PERSONAL_KINDS = ("arrived", "equipment", "fair_use")
"""Events that say where somebody was, and with which phone: they are erased with the itemised use."""
DAY_S = 86_400
LOCK_TIMEOUT = "2s"
"""How long dropping a partition waits for readers; else it is tried again at the next pass."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept (`[history]`)."""

    past_periods: int
    money_years: int
    records_days: int
    """0 = for ever."""


def erase_use(engine: Engine, after: str, now: int, keep: Keep) -> tuple[int, str]:
    """Erase old use of the next PAGE_ACCOUNTS accounts behind account `after`. Returns how many rows, and the last
    account; "" = there is none behind it.
    """
    with writing(engine) as connection:
        accounts = _accounts(connection, after)
        known = _periods(connection, accounts)
        erased = 0
        for account in accounts:
            before = kept_from(known.get(account, ()), now, keep.past_periods)
            erased += erase_of(connection, account, before)
            old = PERIODS.c.account == account, PERIODS.c.ends_at <= before
            connection.execute(delete(PERIODS).where(*old))
    return erased, accounts[-1] if len(accounts) == PAGE_ACCOUNTS else ""


def erase_of(connection: Connection, account: str, before: int) -> int:
    """Erase use and PERSONAL_KINDS of an account before this moment; returns the number of rows."""
    use = connection.execute(delete(USAGE).where(USAGE.c.account == account, USAGE.c.at < before))
    personal = EVENTS.c.account == account, EVENTS.c.at < before, EVENTS.c.kind.in_(PERSONAL_KINDS)
    return use.rowcount + connection.execute(delete(EVENTS).where(*personal)).rowcount


def _accounts(connection: Connection, after: str) -> list[str]:
    query = select(USAGE.c.account).distinct().where(USAGE.c.account > after).order_by(USAGE.c.account)
    return list(connection.execute(query.limit(PAGE_ACCOUNTS)).scalars())


def _periods(connection: Connection, accounts: Sequence[str]) -> dict[str, list[Period]]:
    found: defaultdict[str, list[Period]] = defaultdict(list)
    query = select(PERIODS).where(PERIODS.c.account.in_(accounts)).order_by(PERIODS.c.begins_at)
    for account, begins_at, ends_at in connection.execute(query):
        found[account].append((begins_at, ends_at))
    return found


def erase_money(engine: Engine, month: int, keep: Keep) -> int:
    """Erase months of transactions, events and sums that are older than `money_years`. Returns the number of rows, or
    of partitions.
    """
    oldest = following(month, -12 * keep.money_years)
    with writing(engine) as connection:
        erased = connection.execute(delete(ACCOUNT_MONTHS).where(ACCOUNT_MONTHS.c.month < oldest)).rowcount
        if engine.dialect.name != "postgresql":
            for table in PARTITIONED:
                erased += connection.execute(delete(table).where(table.c.month < oldest)).rowcount
            return erased
    return erased + drop_partitions(engine, month, oldest)


def drop_partitions(engine: Engine, month: int, oldest: int) -> int:
    """Drop partitions older than month `oldest`, and empty ones of `usage` older than `month`."""
    dropped = 0
    with writing(engine) as connection:
        names = existing(connection)
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        for table in PARTITIONED:
            for name in sorted(name for name in names if name.startswith(f"{table.name}_2")):
                its_month = int(name.rpartition("_")[2])
                is_old = its_month < oldest
                if is_old or (table is USAGE and its_month < month and not _has_rows(connection, its_month)):
                    connection.execute(text(f"DROP TABLE {name_of(table, its_month)}"))
                    dropped += 1
    return dropped


def _has_rows(connection: Connection, month: int) -> bool:
    return bool(connection.execute(select(exists().where(USAGE.c.month == month))).scalar())


def delete_files(folder: Path, position: Position, now: float, keep: Keep) -> list[str]:
    """Delete files of records that are loaded to their end and old enough; returns their names. The last TAIL_OCTETS
    stay in any case: the housekeeper recognises by them what is recorded already when the ledger was rolled back.
    """
    if not keep.records_days:
        return []
    before, later_octets, deleted = now - keep.records_days * DAY_S, 0, []
    for number, path in reversed(record_files(folder)):
        status = path.stat()
        if number < position.number and status.st_mtime < before and later_octets >= TAIL_OCTETS:
            path.unlink()
            deleted.append(path.name)
        later_octets += status.st_size
    return deleted
