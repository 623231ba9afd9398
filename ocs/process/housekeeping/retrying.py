"""Error handling of the housekeeper's loops: they wait while Redis is unavailable, and postpone accounts that fail."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ocs.ledger.contract.charging import Retry
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.process.child_main import Child
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

RETRY_S = 1.0
FIRST_PAUSE_S = 10.0
"""How long an account is postponed after its first failure; the time doubles with each further one."""
LONGEST_PAUSE_S = 3600.0
MAX_POSTPONED = 10_000
"""Accounts postponed at once; above it the one that was added first is dropped, and tried again."""
UNREADABLE = (Retry.UNREADABLE.value, Retry.VERSION.value)


async def run_loop(child: Child, pause_s: float, step: Callable[[], Awaitable[object]]) -> None:
    """Run `step` repeatedly until the process is asked to end; wait while Redis is unavailable."""
    while not await child.wait_stopping(pause_s):
        try:
            await step()
        except LedgerUnavailable as error:
            log.warning("Redis cannot be used, waiting for it: %s", error)
            await child.wait_stopping(RETRY_S)
        except LedgerError as error:
            if not concerns_all(error):
                raise
            log.error("no sweeps, records and audits until this is repaired: %s", error)
            await child.wait_stopping(FIRST_PAUSE_S)


def concerns_all(error: LedgerError) -> bool:
    """Whether the error concerns all accounts, not only the one at hand: this machine's clock is wrong."""
    return error.code == Retry.CLOCK


@dataclass(slots=True)
class _Postponed:
    until: float
    pause_s: float
    unreadable: bool


class PostponedAccounts:
    """Accounts that failed and are postponed; shared by all loops."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._accounts: dict[str, _Postponed] = {}
        self._throttled_log = ThrottledLog(child.environment.clock)

    def __len__(self) -> int:
        return len(self._accounts)

    def skips(self, account_id: str) -> bool:
        """Whether the account is postponed now."""
        found = self._accounts.get(account_id)
        return found is not None and self._child.environment.clock() < found.until

    def failed(self, account_id: str, what: str, error: LedgerError | LedgerUnavailable) -> None:
        """Postpone the account. `what`: text for the log, after the account's id, such as "cannot be swept"."""
        before = self._accounts.pop(account_id, None)
        if len(self._accounts) >= MAX_POSTPONED:
            del self._accounts[next(iter(self._accounts))]
        pause_s = min(before.pause_s * 2, LONGEST_PAUSE_S) if before is not None else FIRST_PAUSE_S
        # LedgerUnavailable for this account alone: its script fails, for charging too.
        unreadable = isinstance(error, LedgerUnavailable) or error.code in UNREADABLE
        self._accounts[account_id] = _Postponed(self._child.environment.clock() + pause_s, pause_s, unreadable)
        self._measure()
        # One line a minute for all accounts, even if a thousand fail.
        more = self._throttled_log.allow(what)
        if more is not None:
            log.error("account %s %s: %s; tried again in %d s%s", account_id, what, error, pause_s, more)

    def worked(self, account_id: str) -> None:
        """The account did not fail: no longer postpone it."""
        if self._accounts.pop(account_id, None) is not None:
            self._measure()

    def _measure(self) -> None:
        count = sum([each.unreadable for each in self._accounts.values()])
        self._child.metrics.set("ocs_unreadable_accounts", count)
