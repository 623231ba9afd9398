"""Sets of IP networks. A look-up takes the same time for any number of networks, as it is done at every accept."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class AddressRanges:
    """`networks`: IPv4 and IPv6 addresses or networks. An IPv4-mapped address (::ffff:192.0.2.1) counts as IPv4."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._starts: dict[tuple[int, int], set[int]] = {}
        """(IP version, number of host bits) → prefixes, shifted right by the host bits."""
        for text in networks:
            network = ip_network(text, strict=False)
            behind = network.max_prefixlen - network.prefixlen
            starts = self._starts.setdefault((network.version, behind), set())
            starts.add(int(network.network_address) >> behind)

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __contains__(self, address: str) -> bool:
        try:
            source: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        source = getattr(source, "ipv4_mapped", None) or source
        return any(
            version == source.version and int(source) >> behind in starts
            for (version, behind), starts in self._starts.items()
        )
