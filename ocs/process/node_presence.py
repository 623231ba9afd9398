"""A node among the others on its ledger: it has its identity alone, says what it is, and does not start where sessions
would be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping

from ocs.compose import StartError
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.leases import Leases
from ocs.process.child_main import Child
from ocs.process.node_facts import NodeFacts, doubts, facts_of, objections
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

LEASE_S = 10.0
"""A node that is silent so long is gone; its identity may be another's."""
RENEW_S = 2.0
LOOK_S = 0.5
DOUBTS_LOOK_S = 5.0
MAX_NODES = 64
"""As many as diameter.hosts takes; beyond it those that do not run are forgotten."""


class HeldLease:
    """A lease that this process keeps; several processes of one installation (`holder`) may keep it together."""

    def __init__(self, child: Child, ledger: Leases, name: str, holder: str) -> None:
        self._child = child
        self._ledger = ledger
        self.name = name
        self._holder = holder
        self._held_at = float("-inf")
        self.lost_to = ""
        """Who had it when we last wanted to prolong it."""

    @property
    def held(self) -> bool:
        """Nobody else can have it now."""
        return self._child.environment.monotonic() - self._held_at < LEASE_S - RENEW_S

    async def take(self) -> str:
        """Wait until it is ours ("") or seen to be kept by another, who is returned."""
        while not self._child.stopping.is_set():
            try:
                if not await self._hold():
                    break
                if other := await keeper(self._child, self._ledger, self.name):
                    return other
            except LedgerUnavailable as error:
                log.warning("waiting for Redis: %s", error)
                await self._child.wait_stopping(LOOK_S)
        return ""

    async def keep(self, lost: Callable[[str], object]) -> None:
        """Prolong it for ever. `lost` is told each time that another has it."""
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                self.lost_to = await self._hold()
            except LedgerUnavailable:
                continue
            if self.lost_to:
                lost(self.lost_to)

    async def give_back(self) -> None:
        try:
            await self._ledger.release(self.name, self._holder)
        except LedgerUnavailable as error:
            log.warning("%s: the lease is not given back, it lapses in %.0f s: %s", self.name, LEASE_S, error)

    async def _hold(self) -> str:
        asked_at = self._child.environment.monotonic()
        found = await self._ledger.hold(self.name, self._holder, int(LEASE_S * 1_000))
        if found != self._holder:
            return found
        self._held_at = asked_at
        return ""


async def keeper(child: Child, ledger: Leases, lease: str) -> str:
    """Who keeps the lease, seen by its being prolonged; "" = it has lapsed, or we are asked to end.
    LedgerUnavailable.
    """
    before_ms = None
    while True:
        holder, left_ms = await ledger.holder(lease)
        if not holder or (before_ms is not None and left_ms > before_ms):
            return holder
        before_ms = left_ms
        if await child.wait_stopping(LOOK_S):
            return ""


@contextlib.asynccontextmanager
async def present(child: Child, ledger: Leases) -> AsyncIterator[None]:
    """Each worker looks around before it takes a peer; the node's first one keeps its lease. StartError as of
    `Presence.join`.
    """
    presence = Presence(child, ledger)
    await presence.join()
    if child.number:
        yield
        return
    tasks = [asyncio.create_task(each) for each in (presence.keep(), presence.look_again())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await presence.leave()


class Presence:
    """A node's word to the others, and theirs to it."""

    def __init__(self, child: Child, ledger: Leases) -> None:
        self._child = child
        self._ledger = ledger
        self._facts = facts_of(child.settings)
        self._lease = HeldLease(child, ledger, _lease_of(self._facts.identity), self._facts.where)
        self._throttled_log = ThrottledLog(child.environment.monotonic)
        self._doubts: list[str] = []
        """What was said of the other nodes, and is still so."""

    async def join(self) -> None:
        """StartError: another node has our identity, or sessions that clients were told to move would be refused."""
        while not self._child.stopping.is_set():
            try:
                await self._join()
            except LedgerUnavailable as error:
                log.warning("waiting for Redis: %s", error)
                await self._child.wait_stopping(LOOK_S)
            else:
                return

    async def _join(self) -> None:
        ours = self._facts
        if other := await self._lease.take():
            raise StartError(
                f"diameter.identity = {ours.identity!r}: the node at {other} has it on this Redis;"
                " each node needs an identity of its own"
            )
        # Said before it looks: of two that start at once, one sees the other.
        await self._ledger.say_node(ours.identity, ours.encode())
        known = await self._others()
        for name, facts in known.items():
            found = objections(ours, [facts] if facts is not None else [])
            if found and await keeper(self._child, self._ledger, _lease_of(name)):
                await self.leave()
                raise StartError("; ".join(found))
        if self._child.number == 0:
            self._tell_doubts(doubts(ours, known))
        await self._forget_some(known)

    async def _others(self) -> dict[str, NodeFacts | None]:
        known = {name: NodeFacts.decode(said) for name, said in (await self._ledger.nodes()).items()}
        known.pop(self._facts.identity, None)
        return known

    def _tell_doubts(self, found: list[str]) -> None:
        """Each once, and when it is gone."""
        for gone in self._doubts:
            if gone not in found:
                log.info("no longer so (diameter.hosts): %s", gone)
        for doubt in found:
            if doubt not in self._doubts:
                log.warning("sessions may not move between nodes (diameter.hosts): %s", doubt)
        if self._doubts and not found:
            log.info("sessions may move between all nodes of diameter.hosts")
        self._doubts = found

    async def look_again(self) -> None:
        """While there are doubts: the other node starts later, or is restarted with other settings."""
        while self._doubts:
            await asyncio.sleep(DOUBTS_LOOK_S)
            with contextlib.suppress(LedgerUnavailable):
                self._tell_doubts(doubts(self._facts, await self._others()))

    async def _forget_some(self, known: Mapping[str, NodeFacts | None]) -> None:
        if len(known) < MAX_NODES:
            return
        for name in known:
            if not (await self._ledger.holder(_lease_of(name)))[0]:
                await self._ledger.forget_node(name)

    async def keep(self) -> None:
        await self._lease.keep(self._lost)

    async def leave(self) -> None:
        await self._lease.give_back()

    def _lost(self, other: str) -> None:
        more = self._throttled_log.allow("lost")
        if more is not None:
            log.error("the node at %s has the same diameter.identity: give each node one of its own%s", other, more)


def _lease_of(identity: str) -> str:
    return f"node {identity}"
