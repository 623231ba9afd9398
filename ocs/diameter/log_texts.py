"""Log texts about peers and connections: each names the peer and the key to change.

Names of network elements are not subscriber identities, so they are logged: bounded, without control characters.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocs.settings.diameter import PeerConfig
from ocs.values.text import listed

REFUSED = {
    "address": "no [[peer]] may come from this address (peer.addresses)",
    "address_limit": "too many connections of this address before their CER (diameter.max_connections_per_address)",
    "connection_limit": "the worker has too many connections (diameter.max_connections)",
    "pending_limit": "too many connections without a CER, this is the oldest (diameter.max_pending_connections)",
    "cer_timeout": "no CER in time (diameter.cer_timeout_s)",
    "not_a_cer": "its first message is not a CER",
    "bad_stream": "it does not send Diameter messages",
    "stopping": "the server is stopping",
}
"""Why a connection is refused before the peer is known, by `reason` of the metric."""

IN_ORDER = {"dpr": "the peer sent DPR", "stopped": "we sent DPR"}
"""Why an open connection ended regularly, by `reason` of the metric."""
LOST = {
    "closed_by_peer": "it closed the connection, or the network lost it, without a DPR",
    "watchdog": "it did not answer the watchdog (DWR)",
    "bad_stream": "it sent no Diameter message, or one longer than diameter.max_message_octets",
    "write_buffer": "it does not read our answers",
    "partial_message": "the rest of a message did not come in time",
    "error": "a protocol error or an internal error ended it",
}
"""Why an open connection was lost, by `reason` of the metric."""


OURS = "it is our diameter.identity: the peer needs an Origin-Host of its own"
NODE = "diameter.hosts lists it as one of our nodes: remove it there if it is a peer"


def where_allowed(entry: PeerConfig | None, listen_tls: Sequence[tuple[str, int]]) -> str:
    """What the settings allow an Origin-Host. For the log only; the peer itself is not told."""
    if entry is None:
        return "no [[peer]] has this origin_host: add one if it may charge"
    port = listed(address_text(*each) for each in listen_tls) or "no address: see diameter.listen_tls"
    tls = {True: f"with TLS (which we serve on {port})", False: "without TLS", None: "with or without TLS"}[entry.tls]
    addresses = listed(entry.addresses) if entry.addresses else "any address"
    return f"its [[peer]] allows realm {entry.realm or 'any'}, from {addresses}, {tls}"


def address_text(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
