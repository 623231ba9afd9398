"""Which subscribers a worker watches (`ocs trace`): the list in Redis, read again whenever it may have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ocs.charging.subscriber_watch import SubscriberWatch
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.traces import TRACES, Traced, TraceLedger

log = logging.getLogger(__name__)

READ_AGAIN_S = 1.0
READ_TRIES = 5


class TracedSubscribers:
    """One per worker. `first`: it logs for all workers of the server. `now`: Unix seconds."""

    def __init__(
        self,
        watch: SubscriberWatch,
        ledger: TraceLedger,
        now: Callable[[], int],
        spawn: Callable[[Awaitable[None]], None],
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        *,
        first: bool,
    ) -> None:
        self._watch = watch
        self._ledger = ledger
        self._now = now
        self._spawn = spawn
        self._call_later = call_later
        self._first = first
        self._known: dict[str, Traced] = {}
        self._timer: asyncio.TimerHandle | None = None

    def hear(self, notice: Notice) -> None:
        if notice.kind == TRACES:
            self.read()

    def read(self) -> None:
        """The list may have changed: at a notice, and whenever notices may have been lost."""
        self._spawn(self._read())

    async def _read(self) -> None:
        for _ in range(READ_TRIES):
            try:
                self._follow(await self._ledger.traced(now=self._now()))
                return
            except LedgerUnavailable:
                await asyncio.sleep(READ_AGAIN_S)

    def _follow(self, traced: Sequence[Traced]) -> None:
        found = {each.id: each for each in traced}
        if self._first:
            for each in traced:
                if each.id not in self._known:
                    log.info("account %s is traced for %d s, by %s", each.account_id, each.until - self._now(), each.by)
            for trace_id in self._known.keys() - found.keys():
                log.info("account %s is no longer traced by %s", *_whom(self._known[trace_id]))
        self._known = found
        self._watch.follow(traced)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if traced:
            ends_s = min(each.until for each in traced) - self._now()
            self._timer = self._call_later(max(ends_s, 0) + 1, self._look_at_ends)

    def _look_at_ends(self) -> None:
        self._timer = None
        now = self._now()
        self._follow([each for each in self._known.values() if each.until > now])


def _whom(traced: Traced) -> tuple[str, str]:
    return traced.account_id, traced.by
