"""Sessions and Origin-State-Ids of clients, to find the sessions of a client that has lost its state (RFC 6733 §8.6).

The scripts keep one set of sessions per partition and Origin-Host. A member may be stale: its session has ended, or its
account has moved.
"""

from __future__ import annotations

import logging

from ocs.ledger.redis.client import LedgerClient

log = logging.getLogger(__name__)

SCAN_COUNT = 500
MAX_ORIGIN_STATES = 10_000
"""Clients whose Origin-State-Id is kept; that of one more is not."""
MAX_RELAYED_ORIGIN_STATES = 8_000
"""Of these, clients behind relays. A relay may make up names; the rest is left to clients that connect directly."""


class Clients(LedgerClient):
    """Part of `RedisLedger`."""

    async def sessions_of_client(self, partition: int, origin_host: str) -> list[tuple[str, str]]:
        """(account id, Session-Id) of the client's sessions in the partition; some may have ended."""
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

    # -- clients that lost their sessions (RFC 6733 §8.6)

    async def origin_states(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(Origin-Host, relay or "") → (Origin-State-Id, Unix seconds at which it rose)."""
        flat = await self._ask("origin_states", 0, b"HGETALL", self._keys.origin_states)
        states = {}
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            relay, _, host = name.decode().partition(" ")
            state_id, at = value.split()
            states[host, relay] = int(state_id), int(at)
        return states

    async def note_origin_state(self, origin_host: str, state_id: int, *, now: int, relay: str = "") -> None:
        """Keep a client's Origin-State-Id; the housekeeper then finds its lost sessions. `relay`: the relay that sent
        it, "" = the client itself. Beyond MAX_ORIGIN_STATES clients no new one is kept.
        """
        key, name = self._keys.origin_states, f"{relay} {origin_host}".lower().encode()
        known = await self._ask("origin_states", 0, b"HGET", key, name)
        if known and int(known.split()[0]) == state_id:
            return
        limit = MAX_RELAYED_ORIGIN_STATES if relay else MAX_ORIGIN_STATES
        if not known and await self._ask("origin_states", 0, b"HLEN", key) >= limit:
            log.warning(
                "more than %d clients have an Origin-State-Id: sessions that others lose stay until their deadlines",
                limit,
            )
            return
        await self._ask("origin_states", 0, b"HSET", key, name, f"{state_id} {now}")
