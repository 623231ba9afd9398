"""A node's presence on a shared ledger: it holds a lease on its identity, publishes its settings, and does not start if
sessions would be lost.
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
from ocs.process.node_facts import NodeFacts, conflicts, facts_of, failover_warnings
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

LEASE_S = 10.0
"""Duration of a lease. A node that has not renewed its lease for so long counts as gone."""
RENEW_S = 2.0
LOOK_S = 0.5
WARNINGS_LOOK_S = 5.0
MAX_NODES = 64
"""Limit of diameter.hosts; above it the published settings of nodes that do not run are deleted."""


class HeldLease:
    """A lease in Redis that this process keeps; all processes of an installation (`holder`) may share it."""

    def __init__(self, child: Child, ledger: Leases, name: str, holder: str) -> None:
        self._child = child
        self._ledger = ledger
        self.name = name
        self._holder = holder
        self._held_at = float("-inf")
        self.lost_to = ""
        """The holder found at the last renewal, if it was another."""

    @property
    def held(self) -> bool:
        """Whether it is certain that nobody else holds the lease."""
        return self._child.environment.monotonic() - self._held_at < LEASE_S - RENEW_S

    async def take(self) -> str:
        """Wait until we hold the lease; returns "", or the holder if another one keeps renewing it."""
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
        """Renew the lease until cancelled. `lost` is called with the holder whenever it is another."""
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
            log.warning("%s: the lease could not be released, it expires in %.0f s: %s", self.name, LEASE_S, error)

    async def _hold(self) -> str:
        asked_at = self._child.environment.monotonic()
        found = await self._ledger.hold(self.name, self._holder, int(LEASE_S * 1_000))
        if found != self._holder:
            return found
        self._held_at = asked_at
        return ""


async def keeper(child: Child, ledger: Leases, lease: str) -> str:
    """The holder that keeps renewing the lease; "" = it has expired, or we are asked to end. LedgerUnavailable."""
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
    """Every worker checks the other nodes before it accepts peers; the first worker also keeps the node's lease.
    StartError: see `Presence.join`.
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
    """Publishes this node's settings, and compares them with those of the other nodes."""

    def __init__(self, child: Child, ledger: Leases) -> None:
        self._child = child
        self._ledger = ledger
        self._facts = facts_of(child.settings)
        self._lease = HeldLease(child, ledger, _lease_of(self._facts.identity), self._facts.where)
        self._throttled_log = ThrottledLog(child.environment.monotonic)
        self._warnings: list[str] = []
        """Warnings that were logged and still apply."""

    async def join(self) -> None:
        """StartError: another node has our identity, or moved sessions would be refused (`conflicts`)."""
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
        # Publish first, then look: of two nodes that start at once, one sees the other.
        await self._ledger.say_node(ours.identity, ours.encode())
        known = await self._others()
        for name, facts in known.items():
            found = conflicts(ours, [facts] if facts is not None else [])
            if found and await keeper(self._child, self._ledger, _lease_of(name)):
                await self.leave()
                raise StartError("; ".join(found))
        if self._child.number == 0:
            self._log_warnings(failover_warnings(ours, known))
        await self._forget_some(known)

    async def _others(self) -> dict[str, NodeFacts | None]:
        known = {name: NodeFacts.decode(said) for name, said in (await self._ledger.nodes()).items()}
        known.pop(self._facts.identity, None)
        return known

    def _log_warnings(self, found: list[str]) -> None:
        """Log each warning once, and once more when it no longer applies."""
        for gone in self._warnings:
            if gone not in found:
                log.info("no longer the case (diameter.hosts): %s", gone)
        for warning in found:
            if warning not in self._warnings:
                log.warning("sessions may not move between nodes (diameter.hosts): %s", warning)
        if self._warnings and not found:
            log.info("sessions may move between all nodes of diameter.hosts")
        self._warnings = found

    async def look_again(self) -> None:
        """Compare again while there are warnings, as other nodes may start or get other settings."""
        while self._warnings:
            await asyncio.sleep(WARNINGS_LOOK_S)
            with contextlib.suppress(LedgerUnavailable):
                self._log_warnings(failover_warnings(self._facts, await self._others()))

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
