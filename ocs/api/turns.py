"""How many operations of the API are under way in the ledger at once.

When the machine is full they wait here, and not before the CCRs in Redis: their commands come in small groups.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from ocs.api.problems import ProblemError
from ocs.api.rights import OPERATIONS

MAX_AT_ONCE = 16
MAX_WAIT_S = 10
"""Then 503, with nothing done: clients do not wait for ever while Redis is down."""
RETRY_AFTER_S = 1
_ELSEWHERE = {
    *("accounts.erase", "groups.statement", "payments.start", "peers.list", "sessions.ask", "sessions.end"),
    *("tmf635.listUsage", "tmf635.retrieveUsage", "tmf654.listTopupBalance", "tmf654.retrieveTopupBalance"),
}
_SUBJECTS_ELSEWHERE = {"usage", "transactions", "statements", "notices", "explanations", "exports", "catalogue"}
WAITS_ELSEWHERE = frozenset(
    name for name in OPERATIONS if name in _ELSEWHERE or name.partition(".")[0] in _SUBJECTS_ELSEWHERE
)
"""Operations that wait for SQL, files, a provider or peers: they hold up nobody meanwhile."""


class Turns:
    """`async with` it: ProblemError "overloaded" if the turn does not come."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_AT_ONCE)

    async def __aenter__(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(MAX_WAIT_S):
                await self._free.acquire()
        except TimeoutError:
            retry = {"Retry-After": str(RETRY_AFTER_S)}
            raise ProblemError("overloaded", f"{MAX_AT_ONCE} operations are under way", retry) from None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._free.release()
