"""Pools: numbers that share units (HOT-PKG-14). An additional SIM, or a member of a group, uses the units of the pool
besides its own. Products that are `shared` in the catalogue have their units there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ocs.accounts.errors import RefusedError, raising_refused
from ocs.accounts.operations import AccountOperations, Offer
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import PoolView
from ocs.values.identities import Msisdn


@dataclass(frozen=True, slots=True)
class PoolState:
    account_id: str
    """Of the number that was asked about."""
    pool: PoolView


class PoolOperations:
    """`now` gives Unix seconds."""

    def __init__(
        self, accounts: AccountOperations, ledger: AccountLedger, offer: Offer, now: Callable[[], int]
    ) -> None:
        self._accounts, self._ledger, self._offer, self._now = accounts, ledger, offer, now

    async def open(self, msisdn: Msisdn, *, name: str) -> None:
        """Open a pool of that name beside the account, and let the account join it. RefusedError: "sessions"."""
        account_id, now = await self._accounts.find(msisdn), self._now()
        with raising_refused():
            await self._ledger.open_pool(account_id, name, now=now)
            await self._ledger.join_pool(account_id, name, **self._offer.when(now))

    async def join(self, msisdn: Msisdn, *, of: Msisdn) -> str:
        """Let a number join the pool of another; its account is moved to the partition of the pool first. Returns the
        pool's name. RefusedError: "no_pool", "pool" (it is in another pool), "sessions".
        """
        owner = (await self._accounts.read(of)).view
        if not owner.pool:
            raise RefusedError("no_pool", f"{of} is in no pool: open one first")
        member = (await self._accounts.read(msisdn)).view
        if member.pool and member.account_id.partition("-")[0] != owner.account_id.partition("-")[0]:
            raise RefusedError("pool", f"{msisdn} is in the pool {member.pool}: it must leave it first")
        when = self._offer.when(self._now())
        with raising_refused():
            partition = int(owner.account_id.partition("-")[0])
            account_id = await self._ledger.move_account(member.account_id, partition=partition, **when)
            await self._ledger.join_pool(account_id, owner.pool, **when)
        return owner.pool

    async def leave(self, msisdn: Msisdn) -> None:
        """RefusedError: "sessions" (open sessions hold units of the pool)."""
        account_id = await self._accounts.find(msisdn)
        with raising_refused():
            await self._ledger.join_pool(account_id, "", **self._offer.when(self._now()))

    async def read(self, msisdn: Msisdn) -> PoolState:
        """RefusedError: "no_pool"."""
        seen = await self._accounts.read(msisdn)
        if seen.pool is None:
            raise RefusedError("no_pool", f"{msisdn} is in no pool")
        return PoolState(seen.view.account_id, seen.pool)

    async def limit(self, msisdn: Msisdn, *, bucket: str, units: int | None, common: bool) -> None:
        """Most units that the member, or with `common` each member without a limit of its own, may use of a bucket in a
        period. RefusedError: "no_pool", "bucket" (the pool has no such bucket now).
        """
        await self.unit_of(msisdn, bucket)
        account_id = await self._accounts.find(msisdn)
        with raising_refused():
            await self._ledger.limit_pool(
                account_id, bucket=bucket, units=units, common=common, **self._offer.when(self._now())
            )

    async def unit_of(self, msisdn: Msisdn, bucket: str) -> str:
        """Unit of a bucket of the pool. RefusedError: "no_pool", "bucket"."""
        pool = (await self.read(msisdn)).pool
        for each in pool.buckets:
            if each.id == bucket:
                return each.unit
        names = ", ".join(sorted({each.id for each in pool.buckets})) or "none yet"
        raise RefusedError("bucket", f"the pool has no bucket {bucket!r}; it has {names}")
