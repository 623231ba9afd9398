"""Traced subscribers: whose requests the workers tell to somebody who watches (`ocs trace`).

The list is in Redis, with an end for each; workers read it when they subscribe to notices and at a notice of kind
TRACES. What they tell goes to a channel of the account, and is stored nowhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from ocs.ledger.contract.notices import Notice
from ocs.values.rung import Rung

MAX_TRACED = 16
"""Traces at a time, over all nodes."""
MAX_TRACE_S = 86_400
"""Longest trace."""
TRACES = "traces"
"""Kind of the notice that the list has changed."""


@dataclass(frozen=True, slots=True)
class Traced:
    """One trace. Of one subscriber there may be several."""

    id: str
    account_id: str
    msisdn: str
    imsi: str
    until: int
    """Unix seconds."""
    by: str
    """Who watches, as in `ocs.values.actor`."""


class TraceLedger(Protocol):
    async def begin_trace(self, traced: Traced, *, now: int) -> bool:
        """False: MAX_TRACED traces are under way."""

    async def end_trace(self, trace_id: str) -> None: ...

    async def traced(self, *, now: int) -> list[Traced]:
        """Traces under way."""

    async def announce_traces(self) -> int:
        """Tell the workers that the list has changed. How many processes heard it; of a cluster, those at one node."""

    def publish_rung(self, account_id: str, rung: Rung) -> None:
        """Send and forget: it waits for no answer."""

    def rungs(
        self, account_id: str, subscribed: Callable[[], None], lost: Callable[[str], None]
    ) -> AsyncIterator[Rung | Notice]:
        """What workers publish of the account from the call of `subscribed` on, and its notices (RAR, ASR). `lost` is
        told why when the connection has gone; it is made again, and what was published meanwhile is missing.
        """
