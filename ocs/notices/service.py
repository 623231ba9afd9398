"""Notices as API and command line see them: looked at, sent again, delivered. Blocking work is done in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row

from ocs.accounts.errors import InputError, RefusedError, UnknownError
from ocs.catalogue.model import NoticeTable
from ocs.catalogue.versions import Catalogues
from ocs.history.account_ids import AccountIds, all_ids
from ocs.history.engine import history_engine, writing
from ocs.history.errors import DATABASE_ERRORS, reason
from ocs.history.migrating import check
from ocs.history.service import HistoryUnavailableError
from ocs.notices import queue
from ocs.notices.states import RETRIED, State
from ocs.settings.schema import Settings

T = TypeVar("T")
Position = tuple[int, str]
"""(created, id) of the last notice of a page."""


def notices_of(settings: Settings, catalogue: Catalogues, now: Callable[[], int]) -> NoticeService:
    """On the database of the settings. `close()` it at the end."""
    return NoticeService(history_engine(settings.history, settings.data_dir), catalogue, now)


class NoticeService:
    def __init__(self, engine: Engine, catalogue: Catalogues, now: Callable[[], int]) -> None:
        self._engine, self._catalogue, self._now = engine, catalogue, now
        self._is_checked = False

    def close(self) -> None:
        self._engine.dispose()

    async def listed(
        self, ids: AccountIds = (), *, state: str = "", before: Position | None = None, limit: int = 100
    ) -> list[Row[Any]]:
        """The latest first; `ids`: of an account; () = of all. InputError: "state"."""
        if state and state not in {*State}:
            raise InputError("state", f"state {state!r}: there are {', '.join(State)}")

        def read(connection: Connection) -> list[Row[Any]]:
            accounts = all_ids(connection, ids)
            return queue.listed(connection, accounts=accounts, state=state, before=before, limit=limit)

        return await self._do(read)

    async def shown(self, id_: str) -> Row[Any]:
        """UnknownError: "notice"."""
        found = await self._do(lambda connection: queue.shown(connection, id_))
        if found is None:
            raise _unknown(id_)
        return found

    async def retry(self, id_: str) -> Row[Any]:
        """Send a notice again that failed or was given up. UnknownError: "notice". RefusedError: "state"."""
        lives_s = 3600 * self._expires_h((await self.shown(id_)).name)
        now = self._now()
        before = await self._do(lambda connection: queue.retry(connection, id_, now=now, lives_s=lives_s), writes=True)
        if before not in RETRIED:
            wanted = " or ".join(RETRIED)
            raise RefusedError("state", f"notice {id_} is {before}: only one that is {wanted} can be sent again")
        return await self.shown(id_)

    async def receive(self, id_: str, state: State, reason: str) -> None:
        """A receipt: delivered or failed. UnknownError: "notice"."""
        now = self._now()
        before = await self._do(lambda connection: queue.receive(connection, id_, state, reason, now=now), writes=True)
        if before is None:
            raise _unknown(id_)

    def _expires_h(self, name: str) -> int:
        tables = self._catalogue.in_force().tables
        table = tables.of("notice", NoticeTable).get(name)
        return table.expires_h if table is not None and table.expires_h else tables.notices.expires_h

    async def _do(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        def done() -> T:
            if not self._is_checked:
                check(self._engine)
                self._is_checked = True
            with writing(self._engine) if writes else self._engine.connect() as connection:
                return work(connection)

        try:
            return await asyncio.to_thread(done)
        except DATABASE_ERRORS as error:
            raise HistoryUnavailableError(reason(error)) from error


def _unknown(id_: str) -> UnknownError:
    return UnknownError("notice", f"there is no notice {id_}")
