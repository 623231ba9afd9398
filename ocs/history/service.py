"""The history as API and command line use it. Each call asks the database in a thread. Accounts are named by all ids
that the ledger knows they had (`AccountView.ids`), so that use and money from before a move are found too.

HistoryUnavailableError: the database cannot be used now; the ledger and charging go on without it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine

from ocs.accounts.errors import InputError, RefusedError
from ocs.history import queries
from ocs.history.account_ids import AccountIds, all_ids
from ocs.history.engine import history_engine
from ocs.history.erasure import Erased, erase_person
from ocs.history.errors import DATABASE_ERRORS, reason
from ocs.history.group_statement import NumberMonth, group_month
from ocs.history.migrating import check
from ocs.history.periods import Period
from ocs.history.queries import Position, Transaction, UsageItem
from ocs.history.statement import Statement, TooLargeError, statement
from ocs.settings.schema import Settings

T = TypeVar("T")
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)


class HistoryUnavailableError(Exception):
    """The SQL database cannot be used; the message says why."""


class Journal(Protocol):
    """The part of the ledger that an erasure needs."""

    def note_event(self, kind: str, account_id: str, *, now: int, event: Mapping[str, object]) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class UsagePage:
    period: Period
    items: list[UsageItem]


class History:
    """`now` gives Unix seconds. `past_periods`: how many can be looked at besides the current one."""

    def __init__(
        self, engine: Engine, records: Path, ledger: Journal, now: Callable[[], int], *, past_periods: int
    ) -> None:
        self.engine = engine
        self._records = records
        self._ledger = ledger
        self._now = now
        self._past_periods = past_periods
        self._is_checked = False

    def close(self) -> None:
        self.engine.dispose()

    async def usage(self, ids: AccountIds, period: int = 0, *, after: Position | None, limit: int) -> UsagePage:
        """Itemised use of a billing period: 0 = the current one, 1 = the one before, … (HOT-REC-1). InputError
        "period".
        """
        if not 0 <= period <= self._past_periods:
            raise InputError("period", f"period is 0 (the current billing period) to {self._past_periods}")

        def read(connection: Connection) -> UsagePage:
            accounts = all_ids(connection, ids)
            its = queries.billing_periods(connection, accounts, self._now(), period + 1)[period]
            return UsagePage(its, queries.usage(connection, accounts, its, after=after, limit=limit))

        return await self._read(read)

    async def transactions(
        self,
        ids: AccountIds,
        period: Period,
        *,
        kinds: tuple[str, ...] = (),
        reference: str = "",
        after: Position | None,
        limit: int,
    ) -> list[Transaction]:
        """Movements of credit that are no use, from one moment to another (Unix seconds). `kinds`, `reference`: only
        those; none = all.
        """

        def read(connection: Connection) -> list[Transaction]:
            accounts = all_ids(connection, ids)
            return queries.transactions(
                connection, accounts, period, kinds=kinds, reference=reference, after=after, limit=limit
            )

        return await self._read(read)

    async def statement(self, ids: AccountIds, month: int, credit_micro_eur: int) -> Statement:
        """Of a calendar month, such as 202611. `credit_micro_eur`: the credit now. RefusedError "too_many"."""

        def read(connection: Connection) -> Statement:
            return statement(connection, all_ids(connection, ids), month, credit_micro_eur)

        try:
            return await self._read(read)
        except TooLargeError as error:
            raise RefusedError("too_many", str(error)) from error

    async def group_statement(
        self, group_id: str, month: int, present: Sequence[AccountIds], month_of: Callable[[int], int]
    ) -> list[NumberMonth]:
        """What the numbers of a business group did in a calendar month, while they were in the group (HOT-GRP-3).
        `present`: the accounts that are in it now. RefusedError "too_many".
        """
        try:
            return await self._read(lambda connection: group_month(connection, group_id, month, present, month_of))
        except TooLargeError as error:
            raise RefusedError("too_many", str(error)) from error

    async def erase(self, ids: AccountIds, *, reason: str) -> Erased:
        """Erase what need not be kept of the person whose account it is (docs/HISTORY.md, Erasure), and journal that.
        Called again after a failure, it goes on.
        """
        now = self._now()
        done = await self._call(lambda: erase_person(self.engine, self._records, ids, now))
        event = {"rows": done.rows, "file_lines": done.file_lines, "before": done.before, "reason": reason}
        await self._ledger.note_event("erased", ids[0], now=now, event=event)
        return done

    async def _read(self, work: Callable[[Connection], T]) -> T:
        def read() -> T:
            with self.engine.connect() as connection:
                return work(connection)

        return await self._call(read)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            if not self._is_checked:
                await asyncio.to_thread(check, self.engine)
                self._is_checked = True
            return await asyncio.to_thread(work)
        except DATABASE_ERRORS as error:
            raise HistoryUnavailableError(reason(error)) from error


def history_of(settings: Settings, ledger: Journal, now: Callable[[], int]) -> History:
    """The history that the settings name."""
    engine = history_engine(settings.history, settings.data_dir)
    records = settings.data_dir / "records"
    return History(engine, records, ledger, now, past_periods=settings.history.keep_periods)


def parse_month(text: str) -> int:
    """ "2026-11" → 202611. InputError "month"."""
    found = _MONTH.fullmatch(text)
    if found is None:
        raise InputError("month", f"{text!r} is no month: a year and a month, such as 2026-11")
    return int(found[1] + found[2])
