"""What the log says of peers and their connections: in whole sentences, with the name to look for and the key to
change.

A name of a network element is no subscriber's identity: it is shown as it came, but bounded and with nothing that a
terminal obeys.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocs.settings.diameter import PeerConfig
from ocs.values.text import listed

REFUSED = {
    "address": "no [[peer]] may come from this address (peer.addresses)",
    "address_limit": "too many connections of this address before their CER (diameter.max_connections_per_address)",
    "connection_limit": "this worker has as many connections as it may (diameter.max_connections)",
    "pending_limit": "still without a CER, and its place is needed (diameter.max_pending_connections)",
    "cer_timeout": "no CER in time (diameter.cer_timeout_s)",
    "not_a_cer": "its first message is no CER",
    "bad_stream": "what it sends is no Diameter",
    "stopping": "the server stops",
}
"""Why a connection is not taken, before its name is known."""

IN_ORDER = {"dpr": "it asked to part (DPR)", "stopped": "we asked to part (DPR)"}
LOST = {
    "closed_by_peer": "it closed the connection, or the network lost it, without a DPR",
    "watchdog": "it did not answer the watchdog (DWR)",
    "bad_stream": "what it sent is no Diameter message, or one longer than diameter.max_message_octets",
    "write_buffer": "it does not read our answers",
    "partial_message": "the rest of a message did not come in time",
    "error": "after an error of the protocol or of ours",
}
"""Why an open connection ended, by the label of the metrics."""


OURS = "diameter.identity is ours: the peer needs an Origin-Host of its own"
NODE = "diameter.hosts names it as a node of ours: if it is a peer, take it out there"


def where_allowed(entry: PeerConfig | None, listen_tls: Sequence[tuple[str, int]]) -> str:
    """What the settings say of an Origin-Host: for the log only, a stranger is not told."""
    if entry is None:
        return "no [[peer]] has this origin_host: add one if it may charge"
    port = listed(address_text(*each) for each in listen_tls) or "no address: see diameter.listen_tls"
    tls = {True: f"with TLS (which we serve on {port})", False: "without TLS", None: "with or without TLS"}[entry.tls]
    addresses = listed(entry.addresses) if entry.addresses else "any address"
    return f"its [[peer]] allows realm {entry.realm or 'any'}, from {addresses}, {tls}"


def address_text(host: str, port: int) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
