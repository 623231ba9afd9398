"""Names of the simulated network elements."""

from __future__ import annotations

from simulator.requests import Element

SIMULATED_REALM = "sim.example.net"
"""Origin-Realm of the simulated network; config/ocs.toml lists its elements as peers."""
SERVER_REALM = "example.net"
"""Destination-Realm: the charging server's, as in config/ocs.toml."""
MAX_LOAD_PEERS = 64


def element_hosts(realm: str = SIMULATED_REALM) -> tuple[str, ...]:
    """Origin-Hosts of all five elements."""
    return tuple(f"{element.value}.{realm}" for element in Element)


def load_hosts(peers: int, realm: str = SIMULATED_REALM) -> tuple[str, ...]:
    """Origin-Hosts of the load generator's connections: the P-GW first, then load2, load3 …"""
    if not 1 <= peers <= MAX_LOAD_PEERS:
        raise ValueError(f"1 to {MAX_LOAD_PEERS} peers, not {peers}")
    return (f"{Element.PGW.value}.{realm}", *(f"load{index}.{realm}" for index in range(2, peers + 1)))
