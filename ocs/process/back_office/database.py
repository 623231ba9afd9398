"""The SQL database as the loops of the backoffice use it: each waits alone while the database cannot be used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import Engine

from ocs.compose import StartError
from ocs.history.engine import history_engine
from ocs.history.errors import DATABASE_ERRORS, reason
from ocs.history.migrating import migrate
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.process.child_main import Child
from ocs.telemetry.logs import describe
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

RETRY_S = 1.0
"""Pause after a failure; it doubles with each further one …"""
LONGEST_RETRY_S = 10.0
"""… up to this."""
LAST_S = 10.0
"""How long the last step of a loop may take when the process is asked to end."""
Result = TypeVar("Result")


class Database:
    """The engine, and whether the database can be used. Blocking work runs in threads."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.engine: Engine = history_engine(child.settings.history, child.settings.data_dir)
        self._migrating = asyncio.Lock()
        self._is_migrated = False
        self._throttled_log = ThrottledLog(child.environment.monotonic)

    async def call(self, work: Callable[[], Result]) -> Result:
        """`work()` in a thread, once the tables are there. DATABASE_ERRORS."""
        async with self._migrating:
            if not self._is_migrated:
                await asyncio.to_thread(migrate, self.engine)
                self._is_migrated = True
        return await asyncio.to_thread(work)

    async def run_loop(self, name: str, pause_s: float, step: Callable[[], object]) -> None:
        """Call `step` in a thread again and again until the process is asked to end; one that returns True is called
        again at once. While the database cannot be used, wait.
        """

        async def in_a_thread() -> object:
            return await self.call(step)

        await self.run_steps(name, pause_s, in_a_thread)

    async def run_steps(self, name: str, pause_s: float, step: Callable[[], Awaitable[object]]) -> None:
        """As `run_loop`, of a step that does more than blocking work. It waits for the ledger too."""
        retry_s = RETRY_S
        wait_s = pause_s
        while not await self._child.wait_stopping(wait_s):
            try:
                more = await step()
            except DATABASE_ERRORS as error:
                self.failed(name, error)
                wait_s, retry_s = retry_s, min(retry_s * 2, LONGEST_RETRY_S)
            except LedgerUnavailable as error:
                if (more := self._throttled_log.allow((name, "ledger"))) is not None:
                    log.warning("%s waits, Redis cannot be used: %s%s", name, error, more)
                wait_s, retry_s = retry_s, min(retry_s * 2, LONGEST_RETRY_S)
            except StartError:
                raise
            except Exception as error:  # noqa: BLE001 - the other loops must go on
                if (more := self._throttled_log.allow((name, "internal"))) is not None:
                    log.error("internal error in %s, please report it: %s%s", name, describe(error), more)
                self._child.metrics.count("ocs_history_failures", name)
                wait_s, retry_s = retry_s, min(retry_s * 2, LONGEST_RETRY_S)
            else:
                self._child.metrics.set("ocs_history_up", 1)
                wait_s, retry_s = 0.0 if more is True else pause_s, RETRY_S

    async def last(self, name: str, work: Callable[[], object]) -> None:
        """Call `work` once more when the process is asked to end; if it fails, it is done at the next start."""
        try:
            async with asyncio.timeout(LAST_S):
                await self.call(work)
        except (*DATABASE_ERRORS, TimeoutError) as error:
            log.warning("%s: the last step is done at the next start: %s", name, reason(error))

    def failed(self, name: str, error: Exception) -> None:
        self._child.metrics.set("ocs_history_up", 0)
        self._child.metrics.count("ocs_history_failures", name)
        if (more := self._throttled_log.allow(name)) is not None:
            log.error("%s waits, the database of the history cannot be used: %s%s", name, reason(error), more)

    def close(self) -> None:
        self.engine.dispose()
