"""Sends claimed notices by a port, and decides what follows from its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from ocs.notices.port import DeliveryPort, Message, Taken
from ocs.notices.queue import Claimed, Outcome
from ocs.notices.states import Reason, State

FIRST_PAUSE_S = 10
"""After the first attempt; it doubles with each further one, give or take a quarter …"""
LONGEST_PAUSE_S = 3_600
"""… up to this."""


class Sender:
    """`not_before`: Unix seconds → end of the quiet hours then."""

    def __init__(
        self,
        port: DeliveryPort,
        *,
        attempts: int,
        now: Callable[[], int],
        not_before: Callable[[int], int],
        random: Random,
    ) -> None:
        self._port, self._attempts, self._now, self._not_before, self._random = port, attempts, now, not_before, random

    async def send(self, claimed: Sequence[Claimed]) -> list[Outcome]:
        """All side by side."""
        return list(await asyncio.gather(*(self._send(each) for each in claimed)))

    async def _send(self, notice: Claimed) -> Outcome:
        now = self._now()
        begins = self._not_before(now) if notice.quiet else now
        if notice.expires_at <= begins:
            return Outcome(notice.id, State.GIVEN_UP, Reason.EXPIRED.value)
        if begins > now:
            return Outcome(notice.id, State.WAITING, next_at=begins)
        answer = await self._port.send(
            Message(notice.id, notice.msisdn, notice.text, notice.language, notice.name, notice.expires_at)
        )
        if answer.taken is Taken.YES:
            return Outcome(notice.id, State.SENT, reference=answer.reference)
        if answer.taken is Taken.NO:
            return Outcome(notice.id, State.FAILED, answer.reason)
        again_at = self._now() + round(max(self._pause_s(notice.attempts), answer.after_s))
        if notice.attempts >= self._attempts or again_at >= notice.expires_at:
            return Outcome(notice.id, State.GIVEN_UP, answer.reason)
        return Outcome(notice.id, State.WAITING, answer.reason, next_at=again_at)

    def _pause_s(self, attempts: int) -> float:
        pause_s = min(FIRST_PAUSE_S << (attempts - 1), LONGEST_PAUSE_S)
        return pause_s * self._random.uniform(0.75, 1.25)


class Rate:
    """At most `per_s` in a second; what was not used is there later, up to one second's."""

    def __init__(self, per_s: int, monotonic: Callable[[], float]) -> None:
        self._per_s, self._monotonic = per_s, monotonic
        self._left, self._at = float(per_s), monotonic()

    def allowed(self) -> int:
        now = self._monotonic()
        self._left = min(self._left + (now - self._at) * self._per_s, float(self._per_s))
        self._at = now
        return int(self._left)

    def used(self, count: int) -> None:
        self._left -= count
