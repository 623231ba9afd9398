"""What the housekeeper's loops share: they wait while Redis is away, and one account that cannot be worked on stops
nothing.
"""

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
"""An account that cannot be worked on is left alone so long, then twice as long each time."""
LONGEST_PAUSE_S = 3600.0
MAX_SET_ASIDE = 10_000
"""Accounts remembered; beyond it the one that has been so for longest is tried again."""
UNREADABLE = (Retry.UNREADABLE.value, Retry.VERSION.value)


async def patiently(child: Child, pause_s: float, step: Callable[[], Awaitable[object]]) -> None:
    """Run `step` again and again until the end; Redis being away only makes it wait."""
    while not await child.wait_stopping(pause_s):
        try:
            await step()
        except LedgerUnavailable as error:
            log.warning("Redis cannot be used, waiting for it: %s", error)
            await child.wait_stopping(RETRY_S)
        except LedgerError as error:
            if not of_all(error):
                raise
            log.error("no deadlines, records and audits until this is mended: %s", error)
            await child.wait_stopping(FIRST_PAUSE_S)


def of_all(error: LedgerError) -> bool:
    """Is it this machine's trouble and not one account's?"""
    return error.code == Retry.CLOCK


@dataclass(slots=True)
class _Aside:
    until: float
    pause_s: float
    unreadable: bool


class SetAside:
    """Accounts that could not be worked on, each left alone for a while. One for all loops."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._accounts: dict[str, _Aside] = {}
        self._throttled_log = ThrottledLog(child.environment.clock)

    def __len__(self) -> int:
        return len(self._accounts)

    def skips(self, account_id: str) -> bool:
        found = self._accounts.get(account_id)
        return found is not None and self._child.environment.clock() < found.until

    def failed(self, account_id: str, what: str, error: LedgerError | LedgerUnavailable) -> None:
        """`what` could not be done, in words that follow the account's id."""
        before = self._accounts.pop(account_id, None)
        if len(self._accounts) >= MAX_SET_ASIDE:
            del self._accounts[next(iter(self._accounts))]
        pause_s = min(before.pause_s * 2, LONGEST_PAUSE_S) if before is not None else FIRST_PAUSE_S
        # A script that fails on this account alone is the same to whoever wants to be charged.
        unreadable = isinstance(error, LedgerUnavailable) or error.code in UNREADABLE
        self._accounts[account_id] = _Aside(self._child.environment.clock() + pause_s, pause_s, unreadable)
        self._measure()
        # One line a minute for all of them: a thousand broken accounts must not be a thousand lines each time.
        more = self._throttled_log.allow(what)
        if more is not None:
            log.error("account %s %s: %s; tried again in %d s%s", account_id, what, error, pause_s, more)

    def worked(self, account_id: str) -> None:
        if self._accounts.pop(account_id, None) is not None:
            self._measure()

    def _measure(self) -> None:
        count = sum([each.unreadable for each in self._accounts.values()])
        self._child.metrics.set("ocs_unreadable_accounts", count)
