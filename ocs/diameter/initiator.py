"""Outgoing connections, to peers that have `connect` (RFC 6733 §2.1, §5.6).

Every worker tries; the peer's locks let one of them connect. While the peer is connected to any worker, nothing is
done. A peer that connects to us meanwhile, to this worker or another, is accepted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from typing import Protocol

from ocs.diameter.connection import Connection
from ocs.diameter.locks import PeerLocks
from ocs.diameter.peer_connections import PeerConnections
from ocs.diameter.peers import Peer, PeerTable
from ocs.diameter.shared_peer_state import SharedPeerStates
from ocs.diameter.tls import TlsMaterial
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.telemetry.logs import describe, reason_of
from protocol.peer import PeerEvent, PeerState

logger = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.05
CONNECT_TIMEOUT_S = 10.0
LOG_EVERY_FAILURES = 10
"""Of failed attempts, the first and every tenth after it are logged."""


class InitiatorServer(Protocol):
    loop: asyncio.AbstractEventLoop
    config: DiameterConfig
    tls: TlsMaterial | None
    locks: PeerLocks
    shared_peer_state: SharedPeerStates
    peers_table: PeerTable
    peer_connections: PeerConnections

    def connection(self, calling: Peer) -> Connection: ...


class Initiator:
    """Keeps one peer connected."""

    def __init__(self, server: InitiatorServer, config: PeerConfig, rng: random.Random) -> None:
        self._server = server
        self._config = config
        self._rng = rng
        self._failures = 0
        host, _, port = config.connect.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)

    async def run(self) -> None:
        await asyncio.sleep(FIRST_PAUSE_S)
        while True:
            try:
                await self._once()
            except Exception as error:  # noqa: BLE001 - the next try may succeed
                logger.error(
                    "peer %s: internal error while connecting to it, please report it: %s",
                    *(self._config.origin_host, describe(error)),
                )
            tc = self._server.config.reconnect_s
            await asyncio.sleep(tc * self._rng.uniform(0.8, 1.2))

    async def _once(self) -> None:
        server = self._server
        peer = server.peers_table.get(self._config.origin_host)
        if peer.state is not PeerState.CLOSED or server.shared_peer_state.is_away(peer, server.config.reconnect_s):
            return
        if not server.locks.call(peer.origin_host):
            return
        if not server.shared_peer_state.call(peer, server.config.reconnect_s):
            server.locks.follow(peer.origin_host, peer.state)
            return
        server.peer_connections.advance(peer, PeerEvent.START)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S) as peer.connecting:
                tls = self._tls()
                await server.loop.create_connection(
                    lambda: server.connection(calling=peer),
                    self._host,
                    self._port,
                    ssl=tls,
                    server_hostname=self._config.origin_host if tls else None,
                )
            self._failures = 0
        except (OSError, TimeoutError) as error:
            if peer.waiting is None:
                self._failed(error)
            with contextlib.suppress(KeyError):
                server.peer_connections.advance(peer, PeerEvent.I_RCV_CONN_NACK)
        finally:
            peer.connecting = None

    def _failed(self, error: OSError) -> None:
        if self._failures % LOG_EVERY_FAILURES == 0:
            reason = "no answer in time" if isinstance(error, TimeoutError) else reason_of(error)
            how = "TLS" if self._over_tls else "plain TCP"
            logger.warning(
                "peer %s: cannot connect to %s over %s: %s",
                *(self._config.origin_host, self._config.connect, how, reason),
            )
        self._failures += 1

    @property
    def _over_tls(self) -> bool:
        return bool(self._config.tls) or self._config.call_tls

    def _tls(self) -> ssl.SSLContext | None:
        """OSError: TLS is required, and we have no certificate. A failed handshake is not followed by an attempt
        without TLS, as an attacker could cause the failure.
        """
        if not self._over_tls:
            return None
        if self._server.tls is None:
            raise ssl.SSLError(
                "TLS is required for this peer, and we have no certificate: set tls.certificate, tls.key, tls.ca"
            )
        return self._server.tls.client
