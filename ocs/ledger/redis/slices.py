"""All accounts in slices: a partition and a cursor, so that several processes can share the work.

Accounts are found by the MSISDNs in the partition's index, also those that have moved elsewhere. A terminated account
has no MSISDN: `terminate` (agenda.lua) leaves an entry of `ENDED` and its account id.
"""

from __future__ import annotations

from ocs.ledger.redis.client import LedgerClient
from ocs.ledger.redis.subscriber_index import CLAIMED

MSISDN = b"m"
ENDED = b"x"
"""Prefix of the account id of a terminated account in the index."""


class Slices(LedgerClient):
    """Part of `RedisLedger`."""

    async def account_slice(self, partition: int, cursor: int, count: int) -> tuple[dict[str, bytes], int]:
        """About `count` accounts of a partition, each with its index entry, and the cursor of the next slice. Cursor 0
        is the begin and the end. An account may come twice.
        """
        subscribers = self._keys.by_partition[partition].subscribers
        # Half of the entries are IMSIs, of accounts of any partition.
        following, flat = await self._ask("slice", partition, b"HSCAN", subscribers, cursor, b"COUNT", 2 * count)
        found = {
            account_id.decode(): name
            for name, account_id in zip(flat[::2], flat[1::2], strict=True)
            if name[:1] in (MSISDN, ENDED) and not account_id.startswith(CLAIMED.encode())
        }
        return found, int(following)

    async def is_lost(self, account_id: str, partition: int, entry: bytes) -> bool:
        """The entry still names the account, which has neither a document nor a note that it has moved."""
        subscribers = self._keys.by_partition[partition].subscribers
        if await self._ask("slice", partition, b"HGET", subscribers, entry) != account_id.encode():
            return False
        account = self._account_keys(account_id).account + account_id.encode()
        octets = await self._ask("slice", self._keys.partition_of_account(account_id), b"STRLEN", account)
        return bool(octets == 0)
