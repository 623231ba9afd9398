"""Ranges of addresses, asked at every accept: the time does not grow with the number of ranges."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class AddressRanges:
    """`networks`: addresses or networks of either kind. An IPv4 address that comes as IPv6 (::ffff:192.0.2.1) is one of
    IPv4.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._starts: dict[tuple[int, int], set[int]] = {}
        """(IP version, bits behind the prefix) → prefixes."""
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
