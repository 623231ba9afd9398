"""The index of subscriber ids: MSISDN or IMSI → account.

An entry may be in another partition than its account, so an id is claimed first, with the time of the claim.
"""

from __future__ import annotations

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis import views
from ocs.ledger.redis.client import REFUSALS, LedgerClient
from ocs.values.identities import by_imsi, by_msisdn

OPENING_S = 60
"""An IMSI is claimed for this long while its account is being opened; then others may claim it."""
CLAIMED = "?"
"""Prefix of the account id in the index while the account is being opened."""


class SubscriberIndex(LedgerClient):
    """Part of `RedisLedger`."""

    def _index_of(self, name: str) -> tuple[int, bytes, bytes]:
        """Partition, key and field of "m<msisdn>" or "i<imsi>" in the index."""
        partition = self._keys.partition_of_name(name)
        return partition, self._keys.by_partition[partition].subscribers, name.encode()

    async def _holds(self, account_id: str, name: str) -> bool:
        """Whether a living account has this subscriber id."""
        document = await self._document(account_id)
        if document is None:
            return False
        if name in views.subscriber_ids(document):
            return True
        moved = views.moved_to(document)
        return bool(moved) and await self._holds(moved, name)

    async def _is_claim_in_force(self, holder: bytes, name: str, now: int) -> bool:
        """Whether an index entry keeps others from the id: its account has it, or claimed it a moment ago."""
        owner, _, since = holder.decode().removeprefix(CLAIMED).partition(" ")
        if owner and await self._holds(owner, name):
            return True
        return holder.startswith(CLAIMED.encode()) and now - int(since or 0) < OPENING_S

    async def _claim(self, name: str, account_id: str, now: int) -> bytes:
        """Claim a subscriber id; returns the claim. LedgerError: "exists", or "opening" (another claim is in force)."""
        partition, subscribers, field = self._index_of(name)
        claim = f"{CLAIMED}{account_id} {now}".encode()
        if await self._ask("open", partition, b"HSETNX", subscribers, field, claim, durable=True):
            return claim
        holder: bytes = await self._ask("open", partition, b"HGET", subscribers, field) or b""
        owner = holder.decode().removeprefix(CLAIMED).partition(" ")[0]
        if owner == account_id:
            return holder
        if await self._is_claim_in_force(holder, name, now):
            code = "exists" if await self._holds(owner, name) else "opening"
            raise LedgerError(code, REFUSALS[code])
        if not await self._replace(partition, subscribers, field, holder, claim):
            raise LedgerError("opening", REFUSALS["opening"])
        return claim

    async def _replace(self, partition: int, key: bytes, name: bytes, old: bytes, new: bytes) -> bool:
        """Replace the value `old` of a hash field by `new` in one step; an empty `new` deletes it. False = the field
        has another value.
        """
        answer = await self._ask("open", partition, b"EVAL", _REPLACE, 1, key, name, old, new, durable=True)
        return bool(answer == 1)

    async def _release_claim(self, name: str, claim: bytes) -> None:
        if claim.startswith(CLAIMED.encode()):
            await self._replace(*self._index_of(name), claim, b"")

    async def _confirm(self, name: str, account_id: str, claim: bytes) -> bool:
        """Turn the claim into an entry. False = it expired, and another account has the id now."""
        if not claim.startswith(CLAIMED.encode()):
            return True
        partition, subscribers, field = self._index_of(name)
        if await self._replace(partition, subscribers, field, claim, account_id.encode()):
            return True
        return bool(await self._ask("open", partition, b"HGET", subscribers, field) == account_id.encode())

    async def _is_left_over(self, name: str, now: int) -> bool:
        """Remove an index entry that a crash left: of an account that is terminated, missing, or has another id now.
        True if it was one.
        """
        partition, subscribers, field = self._index_of(name)
        holder: bytes = await self._ask("open", partition, b"HGET", subscribers, field) or b""
        if await self._is_claim_in_force(holder, name, now):
            return False
        return await self._replace(partition, subscribers, field, holder, b"")

    async def _free_names(self, msisdn: str, imsi: str, account_id: str) -> None:
        for name in (by_msisdn(msisdn), by_imsi(imsi)):
            await self._replace(*self._index_of(name), account_id.encode(), b"")

    async def _document(self, account_id: str) -> bytes | None:
        keys = self._account_keys(account_id)
        partition = self._keys.partition_of_account(account_id)
        document: bytes | None = await self._ask("read", partition, b"GET", keys.account + account_id.encode())
        return document


def index_owner(entry: bytes) -> str:
    """Account id in an entry of the index: of an account, or of one that is being opened."""
    return entry.decode().removeprefix(CLAIMED).partition(" ")[0]


_REPLACE = b"""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
return 1"""
