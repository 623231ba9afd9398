"""Routes RARs and ASRs: finds the connected peer through which a session's client is reached."""

from __future__ import annotations

from ocs.diameter.rar_asr import Sender
from ocs.ledger.contract.notices import NoticedSession
from ocs.settings.diameter import DiameterConfig
from ocs.values.sessions import session_owner


class Routes:
    def __init__(self, config: DiameterConfig, server: Sender) -> None:
        self._server = server
        self._peers = {peer.origin_host.lower(): peer for peer in config.peers}
        self._relays = sorted((peer for peer in config.peers if peer.relay), key=lambda peer: peer.origin_host.lower())
        self._unknown_profile = config.unknown_profile

    def owner(self, host: str) -> str:
        """Owner of this client's sessions: its failover group, or itself."""
        entry = self._peers.get(host.lower())
        return session_owner(host, failover_group=entry.failover_group if entry is not None else "")

    def peer_of(self, session: NoticedSession) -> str | None:
        """Origin-Host of the peer to send to; None = another worker is connected to it, "" = no worker is."""
        for name in (session.relay, session.origin_host):
            if name and self._server.connected_anywhere(name):
                return name if self._server.connected_here(name) else None
        for relay in self._relays:
            if relay.realms and session.origin_realm.lower() not in relay.realms:
                continue
            if self._server.connected_anywhere(relay.origin_host):
                return relay.origin_host if self._server.connected_here(relay.origin_host) else None
        return ""

    def wants_rar(self, peer: str, client: str) -> bool:
        """`reauthorize` of the client's profile; else of its relay's, else of the profile of unknown peers."""
        entry = self._peers.get(client.lower()) or self._peers.get(peer.lower())
        return (self._unknown_profile if entry is None else entry.profile).reauthorize
