"""The elements and agents of a run, connected: who serves a session, over which connection, and what fails when.

An element behind agents has a connection to each of them. It prefers one; requests that were outstanding when it broke,
or that came back with 3002, go over another one, with the T flag (RFC 6733 §5.5.4, RFC 8506 §5.7). If an element fails,
another of its group goes on with its sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from simulator.agent import Agent
from simulator.clocks import RunClock
from simulator.dialects import Sender, load_dialect
from simulator.network import SERVER, Failover, Group, Network
from simulator.peer import REBOOTING, Asked, DiameterPeer, Identity, PeerError
from simulator.plan import Plan, PlannedSession
from simulator.requests import Element
from simulator.tally import Tally

RECONNECTS, RECONNECT_PAUSE_S = 50, 0.2
"""A restarting server has ten seconds. (Tc of RFC 6733 §2.1 is 30 s: too long for compressed time.)"""
OTHER_WAY_S = 5.0
"""Longest wait for another way, for a request that came back with 3002."""


class Target(Protocol):
    """The server under test, and the realms."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def realm(self) -> str: ...
    @property
    def server_realm(self) -> str: ...


@dataclass(slots=True)
class Route:
    """One way to the server: its own connection, or one to an agent."""

    agent: Agent | None
    peer: DiameterPeer | None = None

    @property
    def is_open(self) -> bool:
        return self.peer is not None and self.peer.is_open


class Node:
    """An element: one Origin-Host."""

    def __init__(self, sender: Sender, routes: list[Route], target: Target, tally: Tally, asked: Asked,
                 rng: random.Random) -> None:  # fmt: skip
        self.sender, self.alive, self.gave_up = sender, True, False
        self._routes, self._target, self._tally, self._asked, self._rng = routes, target, tally, asked, rng
        self._is_wanted = False
        """It is to be connected: a lost connection is made again."""
        self._connecting = asyncio.Lock()
        self._opened = asyncio.Event()
        """Set, and replaced, when a way is open."""
        self._keeper: asyncio.Task[None] | None = None

    @property
    def host(self) -> str:
        return self.sender.host

    @property
    def peers(self) -> list[DiameterPeer]:
        return [route.peer for route in self._routes if route.peer is not None]

    async def connect(self) -> None:
        """All routes. Raises PeerError."""
        self._is_wanted = True
        for route in self._routes:
            await self._connect(route)

    async def disconnect(self, cause: int | None = None) -> None:
        self._is_wanted = False
        self._end_keeper()
        for peer in self.peers:
            await peer.disconnect() if cause is None else await peer.disconnect(cause)

    def fail(self) -> None:
        self.alive = self._is_wanted = False
        self._end_keeper()
        for peer in self.peers:
            peer.abort()

    def recover(self) -> None:
        self.alive = self._is_wanted = True
        self._keep()

    async def restart(self) -> None:
        """DPR, and a new Origin-State-Id when it connects again (RFC 6733 §8.16)."""
        await self.disconnect(REBOOTING)
        self.sender = replace(self.sender, state_id=max(self.sender.state_id + 1, int(time.time())))
        self._is_wanted = True
        await self._reconnect()
        self._keep()

    def learn(self, server_host: str) -> None:
        """The server's Origin-Host, from an answer."""
        if server_host and server_host != self.sender.server_host:
            self.sender = replace(self.sender, server_host=server_host)

    async def peer(self, *, avoid: DiameterPeer | None = None) -> DiameterPeer:
        """An open connection, not `avoid` if there is another, or will be soon; a closed one if the server can't be
        reached for too long.
        """
        if avoid is not None and self.has_several:
            await self._until_other(avoid)
        if not any(route.is_open for route in self._routes):
            await self._reconnect()
        ways = [route.peer for route in self._routes if route.peer is not None and route.is_open]
        others = [peer for peer in ways if peer is not avoid]
        return (others or ways or self.peers)[0]

    @property
    def has_several(self) -> bool:
        """Whether there is more than one way to the server, open or not."""
        return len(self._routes) > 1

    async def _until_other(self, peer: DiameterPeer) -> None:
        """Waits, but not for long, until a way is open that is not this connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OTHER_WAY_S):
                while not any(route.is_open and route.peer is not peer for route in self._routes):
                    await self._opened.wait()

    async def _connect(self, route: Route) -> None:
        sender = self.sender
        identity = Identity(sender.host, sender.realm, state_id=sender.state_id)
        address = (self._target.host, self._target.port) if route.agent is None else ("127.0.0.1", route.agent.port)
        route.peer = await DiameterPeer.connect(identity, *address, rng=self._rng, asked=self._asked)
        route.peer.via = route.agent.host if route.agent is not None else ""
        route.peer.closed.add_done_callback(lambda _: self._keep())
        self._opened.set()
        self._opened = asyncio.Event()

    async def _reconnect(self) -> None:
        """Until one route is open (RFC 3539 §3.4: reopen)."""
        async with self._connecting:
            for _ in range(RECONNECTS):
                if any(route.is_open for route in self._routes) or self.gave_up:
                    break
                if not self.alive or not await self._try_all():
                    await asyncio.sleep(RECONNECT_PAUSE_S)
            self.gave_up = not any(route.is_open for route in self._routes)

    async def _try_all(self) -> bool:
        for route in self._routes:
            if not route.is_open:
                with contextlib.suppress(PeerError):
                    await self._connect(route)
                    self._tally.reconnects += 1
        return any(route.is_open for route in self._routes)

    def _keep(self) -> None:
        if self._is_wanted and (self._keeper is None or self._keeper.done()):
            self._keeper = asyncio.get_running_loop().create_task(self._keep_all())

    async def _keep_all(self) -> None:
        while not all(route.is_open for route in self._routes):
            async with self._connecting:
                await self._try_all()
            await asyncio.sleep(RECONNECT_PAUSE_S)

    def _end_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None


class Deployment:
    def __init__(self, network: Network, target: Target, tally: Tally, asked: Asked, rng: random.Random) -> None:
        self._network, self._target, self._tally, self._asked, self._rng = network, target, tally, asked, rng
        self._agents = {
            label: Agent(f"{label}.{target.realm}", target.realm, (target.host, target.port), rng)
            for label in network.agents
        }
        self._nodes: dict[str, Node] = {}
        """By the first label of the Origin-Host."""
        self._serving: dict[str, tuple[Group, str]] = {}
        """Session-Id → who serves it."""

    async def start(self, elements: Iterable[Element]) -> None:
        """Raises PeerError."""
        for agent in self._agents.values():
            await agent.start()
        state_id = int(time.time())
        for element in sorted(elements):
            for group in self._network.groups_of(element):
                for label in group.hosts:
                    self._nodes[label] = self._node(label, group, state_id)
                    await self._nodes[label].connect()

    def _node(self, label: str, group: Group, state_id: int) -> Node:
        target = self._target
        sender = Sender(
            f"{label}.{target.realm}", target.realm, target.server_realm, load_dialect(group.dialect), state_id
        )
        agents = list(self._agents.values())
        first = len(self._nodes) % max(len(agents), 1)  # neighbours prefer different agents
        routes = [Route(agent) for agent in (*agents[first:], *agents[:first])] or [Route(None)]
        return Node(sender, routes, target, self._tally, self._asked, self._rng)

    async def stop(self) -> None:
        for node in self._nodes.values():
            await node.disconnect()
        for agent in self._agents.values():
            await agent.stop()

    @property
    def peers(self) -> list[DiameterPeer]:
        return [peer for node in self._nodes.values() for peer in node.peers]

    @property
    def agents(self) -> Iterator[Agent]:
        yield from self._agents.values()

    def open(self, planned: PlannedSession) -> Node:
        """The element that opens a session: the subscriber's, or another of its group."""
        group, label = self._network.home(planned.element, planned.subscriber.msisdn)
        return self._alive(group, label)[1]

    def begin(self, session_id: str, planned: PlannedSession, node: Node) -> None:
        group, _ = self._network.home(planned.element, planned.subscriber.msisdn)
        self._serving[session_id] = group, node.host.partition(".")[0]

    def end(self, session_id: str) -> None:
        del self._serving[session_id]

    def serving(self, session_id: str) -> Node:
        """The element that has the session now. It moves if that one is lost, and stays where it is then."""
        group, label = self._serving[session_id]
        now, node = self._alive(group, label)
        if now != label:
            self._serving[session_id] = group, now
            self._tally.moved += 1
        return node

    def _alive(self, group: Group, label: str) -> tuple[str, Node]:
        at = group.hosts.index(label)
        for each in (*group.hosts[at:], *group.hosts[:at]):
            if self._nodes[each].alive:
                return each, self._nodes[each]
        return label, self._nodes[label]

    async def fail(self, failover: Failover) -> None:
        if failover.host in self._agents:
            await self._agents[failover.host].cut(server_only=failover.link == SERVER)
        elif failover.host in self._nodes:
            self._nodes[failover.host].fail()

    async def recover(self, failover: Failover) -> None:
        if failover.host in self._agents:
            await self._agents[failover.host].restore()
        elif failover.host in self._nodes:
            self._nodes[failover.host].recover()

    async def restart(self, element: Element) -> None:
        """All elements of a kind restart at once."""
        hosts = [host for group in self._network.groups_of(element) for host in group.hosts]
        await asyncio.gather(*(self._nodes[host].restart() for host in hosts if host in self._nodes))


async def play_events(deployment: Deployment, plan: Plan, clock: RunClock) -> None:
    """Failovers and restarts of the plan, each at its second."""
    steps: list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = []
    for failover in plan.network.failovers:
        steps.append((failover.at_s, partial(deployment.fail, failover)))
        steps.append((failover.at_s + failover.for_s, partial(deployment.recover, failover)))
    steps += [(restart.at_s, partial(deployment.restart, restart.element)) for restart in plan.restarts]
    for at_s, step in sorted(steps, key=lambda each: each[0]):
        await clock.sleep_until(at_s)
        with clock.awaiting():
            await step()
