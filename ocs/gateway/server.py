"""The gateway of a worker: listens, holds the peer table and the dispatcher, stops in good order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

from ocs.gateway.config import MAX_PENDING_CONNECTIONS, GatewayConfig, GatewayMetrics
from ocs.gateway.connection import Connection
from ocs.gateway.dispatch import Dispatcher, Handler
from ocs.gateway.origin_state import OriginStates
from ocs.gateway.peers import PeerTable
from protocol.capabilities import LocalNode
from protocol.watchdog import JITTER_S, TWINIT_S

logger = logging.getLogger(__name__)

LISTEN_BACKLOG = 128


class Gateway:
    """`clock` is monotonic seconds; `rng` jitters the watchdog and starts the identifiers."""

    def __init__(
        self,
        config: GatewayConfig,
        handler: Handler,
        metrics: GatewayMetrics,
        clock: Callable[[], float],
        rng: random.Random,
        on_origin_state: Callable[[str, int], None] = lambda host, state_id: None,
    ) -> None:
        self.config = config
        self.metrics = metrics
        self.clock = clock
        self.local = LocalNode(config.origin_host, config.realm, config.product_name, config.vendor_id)
        self.origin_states = OriginStates(on_origin_state)
        self.dispatcher = Dispatcher(config, handler, metrics, clock, self.origin_states)
        self.peers_table = PeerTable(config, metrics)
        self.loop: asyncio.AbstractEventLoop
        self._rng = rng
        self._hop_by_hop = rng.getrandbits(32)
        # RFC 6733 §3: the a random start keeps them apart across restarts.
        self._end_to_end = rng.getrandbits(32)
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._unopened: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._stopping = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def peers(self) -> dict[str, str]:
        """Origin-Host → state."""
        return self.peers_table.states()

    @property
    def listening(self) -> list[tuple[str, int]]:
        """The addresses bound, with the ports the system chose."""
        return [socket.getsockname()[:2] for server in self._servers for socket in server.sockets]

    async def start(self) -> None:
        """OSError if an address cannot be bound; then nothing is left listening."""
        self.loop = asyncio.get_running_loop()
        try:
            for host, port in self.config.listen:
                server = await self.loop.create_server(
                    lambda: Connection(self),
                    host,
                    port,
                    backlog=LISTEN_BACKLOG,
                    reuse_port=self.config.reuse_port or None,
                )
                self._servers.append(server)
        except OSError:
            self._close_servers()
            raise
        self._sweep()
        logger.info("listening for Diameter on %s", ", ".join(f"{host}:{port}" for host, port in self.listening))

    async def stop(self, grace_s: float) -> None:
        """No new connections; DPR to every peer; answers to what is in flight; then, at the latest after `grace_s`, the end."""
        self._stopping = self.dispatcher.draining = True
        if self._connections:
            self._empty.clear()
        self._close_servers()
        for connection in list(self._connections):
            connection.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), grace_s)
        for connection in list(self._connections):
            connection.cut_off()
        await asyncio.sleep(0)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _sweep(self) -> None:
        self.dispatcher.expire()
        self._sweeper = self.loop.call_later(self.config.answer_timeout_ms / 10_000, self._sweep)

    # --- for connections

    def enter(self, connection: Connection) -> bool:
        """A new connection; False if it must go at once."""
        if self._stopping or len(self._unopened) >= MAX_PENDING_CONNECTIONS:
            self.metrics.connection_refused("stopping" if self._stopping else "pending_limit")
            return False
        self._connections.add(connection)
        self._unopened.add(connection)
        return True

    def opened(self, connection: Connection) -> None:
        self._unopened.discard(connection)

    def leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._unopened.discard(connection)
        if not self._connections:
            self._empty.set()

    def identifiers(self) -> tuple[int, int]:
        """Hop-by-Hop and End-to-End of the next request of our own."""
        self._hop_by_hop = (self._hop_by_hop + 1) & 0xFFFFFFFF
        self._end_to_end = (self._end_to_end + 1) & 0xFFFFFFFF
        return self._hop_by_hop, self._end_to_end

    def watchdog_interval_s(self) -> float:
        """Tw: Twinit with its share of the ±2 s of jitter (RFC 3539 §3.4.1)."""
        twinit_s = self.config.watchdog_s
        return twinit_s + self._rng.uniform(-1, 1) * JITTER_S * min(1.0, twinit_s / TWINIT_S)
