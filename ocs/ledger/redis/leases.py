"""What the servers on one ledger agree on: who holds a lease now, and what each node says of itself.

A lease is a key with a TTL whose value names its holder. It is had by whoever sets it first, prolonged by its holder,
and lapses when the holder is silent. Nothing here moves money: a lease that two believe to have costs a message too
many.
"""

from __future__ import annotations

from ocs.ledger.redis.client import LedgerClient


class Leases(LedgerClient):
    """Part of `RedisLedger`."""

    async def hold(self, lease: str, holder: str, ttl_ms: int) -> str:
        """Take the lease, or prolong it. Returns who has it now: `holder`, or another."""
        partition, key = self._lease(lease)
        if await self._ask("lease", partition, b"SET", key, holder, b"NX", b"PX", ttl_ms):
            return holder
        found = await self._ask("lease", partition, b"GET", key)
        if found is None:  # it lapsed between the two
            return await self.hold(lease, holder, ttl_ms)
        if found.decode() == holder:
            await self._ask("lease", partition, b"PEXPIRE", key, ttl_ms)
        return str(found.decode())

    async def holder(self, lease: str) -> tuple[str, int]:
        """Who has it and for how many ms still; ("", 0) = nobody."""
        partition, key = self._lease(lease)
        found = await self._ask("lease", partition, b"GET", key)
        left_ms = await self._ask("lease", partition, b"PTTL", key) if found else 0
        return (found.decode(), max(left_ms, 0)) if found else ("", 0)

    async def let_go(self, lease: str, holder: str) -> None:
        """Give it back before its time, if it is still ours."""
        partition, key = self._lease(lease)
        found = await self._ask("lease", partition, b"GET", key)
        if found and found.decode() == holder:
            await self._ask("lease", partition, b"DEL", key)

    def _lease(self, lease: str) -> tuple[int, bytes]:
        partition = self._keys.partition_of_name(lease)
        return partition, self._keys.by_partition[partition].leases + lease.encode()

    # -- what the nodes say of themselves

    async def nodes(self) -> dict[str, bytes]:
        """Identity in small letters → what its node said last."""
        flat = await self._ask("nodes", 0, b"HGETALL", self._keys.nodes)
        return {name.decode(): facts for name, facts in zip(flat[::2], flat[1::2], strict=True)}

    async def say_node(self, identity: str, facts: bytes) -> None:
        await self._ask("nodes", 0, b"HSET", self._keys.nodes, identity.lower(), facts)

    async def forget_node(self, identity: str) -> None:
        await self._ask("nodes", 0, b"HDEL", self._keys.nodes, identity.lower())
