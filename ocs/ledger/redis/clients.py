"""Open sessions by the client that has them, one set a partition and Origin-Host, kept by the scripts.

So the sessions of a client that has lost its state are found without a look at all accounts (RFC 6733 §8.6). A member
may be stale: its session has ended meanwhile, or the account was moved.
"""

from __future__ import annotations

from ocs.ledger.redis.client import LedgerClient

SCAN_COUNT = 500


class Clients(LedgerClient):
    """Part of `RedisLedger`."""

    async def sessions_of_client(self, partition: int, origin_host: str) -> list[tuple[str, str]]:
        """(account id, Session-Id) of its sessions in the partition; some may have ended."""
        key, cursor, found = self._client_key(partition, origin_host), b"0", set[bytes]()
        while True:
            cursor, members = await self._ask("clients", partition, b"SSCAN", key, cursor, b"COUNT", SCAN_COUNT)
            found.update(members)
            if cursor == b"0":
                break
        pairs = (member.decode().partition(" ") for member in sorted(found))
        return [(account_id, session_id) for account_id, _, session_id in pairs]

    async def forget_client_session(self, partition: int, origin_host: str, account_id: str, session_id: str) -> None:
        member = f"{account_id} {session_id}".encode()
        await self._ask("clients", partition, b"SREM", self._client_key(partition, origin_host), member)

    def _client_key(self, partition: int, origin_host: str) -> bytes:
        return self._keys.by_partition[partition].clients + origin_host.lower().encode()
