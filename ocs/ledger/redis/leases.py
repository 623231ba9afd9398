"""Leases among the nodes of one ledger, and the facts that each node publishes.

A lease is a key with a TTL whose value names its holder. The first to set it has it; the holder prolongs it; else it
expires. No money depends on a lease: two holders at once cost a message too many.
"""

from __future__ import annotations

from ocs.ledger.redis.client import LedgerClient


class Leases(LedgerClient):
    """Part of `RedisLedger`."""

    async def hold(self, lease: str, holder: str, ttl_ms: int) -> str:
        """Take or prolong the lease. Returns its holder: `holder`, or another."""
        partition, key = self._lease(lease)
        if await self._ask("lease", partition, b"SET", key, holder, b"NX", b"PX", ttl_ms):
            return holder
        found = await self._ask("lease", partition, b"GET", key)
        if found is None:  # it expired between the two commands
            return await self.hold(lease, holder, ttl_ms)
        if found.decode() == holder:
            await self._ask("lease", partition, b"PEXPIRE", key, ttl_ms)
        return str(found.decode())

    async def holder(self, lease: str) -> tuple[str, int]:
        """Holder and remaining ms; ("", 0) = nobody has it."""
        partition, key = self._lease(lease)
        found = await self._ask("lease", partition, b"GET", key)
        left_ms = await self._ask("lease", partition, b"PTTL", key) if found else 0
        return (found.decode(), max(left_ms, 0)) if found else ("", 0)

    async def release(self, lease: str, holder: str) -> None:
        """Release the lease, if `holder` still has it."""
        partition, key = self._lease(lease)
        found = await self._ask("lease", partition, b"GET", key)
        if found and found.decode() == holder:
            await self._ask("lease", partition, b"DEL", key)

    def _lease(self, lease: str) -> tuple[int, bytes]:
        partition = self._keys.partition_of_name(lease)
        return partition, self._keys.by_partition[partition].leases + lease.encode()

    # -- facts of the nodes

    async def nodes(self) -> dict[str, bytes]:
        """Identity in small letters → facts that its node published last."""
        flat = await self._ask("nodes", 0, b"HGETALL", self._keys.nodes)
        return {name.decode(): facts for name, facts in zip(flat[::2], flat[1::2], strict=True)}

    async def say_node(self, identity: str, facts: bytes) -> None:
        await self._ask("nodes", 0, b"HSET", self._keys.nodes, identity.lower(), facts)

    async def forget_node(self, identity: str) -> None:
        await self._ask("nodes", 0, b"HDEL", self._keys.nodes, identity.lower())
