"""The Diameter side of a worker: listens, owns the peer table and the dispatcher, and stops in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from ocs.diameter.accept_limits import AcceptLimits
from ocs.diameter.connection import Connection
from ocs.diameter.dispatch import Dispatcher, Handler
from ocs.diameter.initiator import Initiator
from ocs.diameter.locks import PeerLocks
from ocs.diameter.log_texts import address_text
from ocs.diameter.metrics import DiameterMetrics
from ocs.diameter.origin_state import OnOriginState, OriginStates
from ocs.diameter.outstanding import Asked, Done, Identifiers
from ocs.diameter.peer_connections import PeerConnections
from ocs.diameter.peers import Peer, PeerTable
from ocs.diameter.shared_peer_state import SharedPeerStates
from ocs.diameter.tls import LOOK_EVERY_S, TlsMaterial
from ocs.diameter.tls_port import TlsPort
from ocs.settings.diameter import DiameterConfig
from protocol.capabilities import LocalNode
from protocol.peer import OPEN_STATES
from protocol.watchdog import JITTER_S, TWINIT_S

logger = logging.getLogger(__name__)

LISTEN_BACKLOG = 128


class MakeDispatcher(Protocol):
    """Makes the dispatcher of a worker: `Dispatcher`, or one that does more."""

    def __call__(
        self,
        config: DiameterConfig,
        handler: Handler,
        metrics: DiameterMetrics,
        clock: Callable[[], float],
        origin_states: OriginStates,
        unix_clock: Callable[[], float],
    ) -> Dispatcher: ...


class DiameterServer:
    """`clock`: monotonic seconds. `rng`: for the watchdog's jitter and the first Hop-by-Hop Identifier."""

    def __init__(
        self,
        config: DiameterConfig,
        handler: Handler,
        metrics: DiameterMetrics,
        clock: Callable[[], float],
        rng: random.Random,
        on_origin_state: OnOriginState = lambda host, relay, state_id: None,
        unix_clock: Callable[[], float] = time.time,
        make_dispatcher: MakeDispatcher = Dispatcher,
    ) -> None:
        self.config = config
        self.metrics = metrics
        self.clock = clock
        self.local = LocalNode(
            config.origin_host,
            config.realm,
            config.product_name,
            config.vendor_id,
            origin_state_id=config.origin_state_id or None,
        )
        self.tls = TlsMaterial(config.tls) if config.tls is not None else None
        self.locks = PeerLocks(config.locks)
        self.shared_peer_state = SharedPeerStates(config.locks, unix_clock)
        self.origin_states = OriginStates(on_origin_state)
        self.dispatcher = make_dispatcher(config, handler, metrics, clock, self.origin_states, unix_clock)
        self.peers_table = PeerTable(config, metrics, self.locks.follow)
        self.peer_connections = PeerConnections(self.peers_table, config.origin_host, clock)
        self.identifiers = Identifiers(rng)
        self.loop: asyncio.AbstractEventLoop
        self._rng = rng
        self.unix_clock = unix_clock
        self._initiators: list[asyncio.Task[None]] = []
        self._look_at_tls = 0.0
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._tls_ports: list[TlsPort] = []
        self.accept_limits = AcceptLimits(config, metrics, clock)
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def peers(self) -> dict[str, str]:
        """Origin-Host → state."""
        return self.peers_table.states()

    @property
    def listening(self) -> list[tuple[str, int]]:
        """The addresses for plain TCP, with their actual ports."""
        return [socket.getsockname()[:2] for server in self._servers for socket in server.sockets]

    @property
    def listening_tls(self) -> list[tuple[str, int]]:
        return [address for port in self._tls_ports for address in port.listening]

    async def start(self) -> None:
        """Listen and connect. OSError if an address cannot be bound; then none is left open."""
        self.loop = asyncio.get_running_loop()
        try:
            for host, port in self.config.listen:
                self._servers.append(await self._listen(host, port))
            for host, port in self.config.listen_tls:
                self._tls_ports.append(TlsPort(self))
                await self._tls_ports[-1].open(host, port, LISTEN_BACKLOG)
        except OSError:
            self._close_servers()
            raise
        self.locks.open(self.loop, self._probe)
        self._sweep()
        for peer in self.config.peers:
            if peer.connect:
                self._initiators.append(self.loop.create_task(Initiator(self, peer, self._rng).run()))
        addresses = [address_text(*each) for each in self.listening]
        addresses += [f"{address_text(*each)} (TLS)" for each in self.listening_tls]
        logger.info("listening for Diameter on %s", ", ".join(addresses))

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        return await self.loop.create_server(
            self.connection, host, port, backlog=LISTEN_BACKLOG, reuse_port=self.config.reuse_port or None
        )

    def connection(self, calling: Peer | None = None) -> Connection:
        return Connection(self, calling=calling)

    def reload_tls(self) -> None:
        """Reload the certificates (SIGHUP)."""
        if self.tls is not None:
            self.tls.reload()

    async def stop(self, grace_s: float) -> None:
        """Accept no more connections, send DPR to all peers, and answer requests in flight. After at most `grace_s`,
        close all connections.
        """
        self.accept_limits.closed = self.dispatcher.draining = True
        for initiator in self._initiators:
            initiator.cancel()
        if self._connections:
            self._empty.clear()
        self._close_servers()
        for port in self._tls_ports:
            port.give_up()
        for connection in list(self._connections):
            connection.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), grace_s)
        for connection in list(self._connections):
            connection.close_now()
        await asyncio.sleep(0)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.locks.close(self.loop)

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        for port in self._tls_ports:
            port.close()
        self._servers.clear()

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(self.config.answer_timeout_ms / 10_000, self._sweep)
        self.dispatcher.expire()
        now, unix_s = self.clock(), self.unix_clock()
        for connection in list(self._connections):
            connection.look(now, unix_s)
        if self.tls is not None and now >= self._look_at_tls:
            self._look_at_tls = now + LOOK_EVERY_S
            self.tls.look()
        self.peer_connections.expire()

    # --- for connections

    def enter(self, connection: Connection) -> bool:
        """Admit a new connection; False = close it at once."""
        before, connection.before = connection.before, None
        limits = self.accept_limits
        entered = limits.go_on(before, connection) if before else limits.enter(connection, ours=connection.called)
        if entered:
            self._connections.add(connection)
        return entered

    def leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.accept_limits.leave(connection)
        if not self._connections:
            self._empty.set()

    def watchdog_interval_s(self) -> float:
        """Tw: Twinit with jitter, ±2 s, or less if Twinit is below its standard value (RFC 3539 §3.4.1)."""
        twinit_s = self.config.watchdog_s
        return twinit_s + self._rng.uniform(-1, 1) * JITTER_S * min(1.0, twinit_s / TWINIT_S)

    # --- RAR and ASR

    def _probe(self, origin_host: str) -> None:
        """Another worker has refused this peer because we have it: check that our connection is alive."""
        peer = self.peers_table.named(origin_host)
        if peer is not None and peer.connection is not None:
            peer.connection.probe()

    def ask(self, peer_host: str, request: Asked, done: Done, timeout_s: float) -> bool:
        """Send a RAR or ASR to a peer of this worker. False if it is not connected, too many requests are unanswered,
        or the watchdog is not in OKAY.

        `done` is called exactly once: with the answer, with an ErrorMessage, or with None (no answer in time,
        connection lost).
        """
        peer = self.peers_table.named(peer_host)
        if peer is None or peer.connection is None or peer.state not in OPEN_STATES:
            return False
        return peer.connection.ask(request, done, timeout_s)

    def connected_here(self, peer_host: str) -> bool:
        peer = self.peers_table.named(peer_host)
        return peer is not None and peer.state in OPEN_STATES

    def connected_anywhere(self, peer_host: str) -> bool:
        """Whether the peer has an open connection with any worker of this server."""
        return self.connected_here(peer_host) or self.locks.open_anywhere(peer_host)
