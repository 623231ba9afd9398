"""Which account a request's subscriber ids belong to: a cache in front of the ledger's subscriber index.

A cached entry may be stale. The ledger checks the id with every request and says so, and the entry is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ocs.ledger.contract.operations import ChargingLedger
from ocs.values.bounded_cache import BoundedCache

MAX_SUBSCRIBERS_KEPT = 200_000
"""Subscriber ids whose account a worker caches (about 0.2 kB each), and those that have none."""
UNKNOWN_TTL_S = 60.0
"""TTL of the negative subscriber cache: the id may be given to an account meanwhile."""


class SubscriberConflictError(Exception):
    """The subscriber ids of one request belong to different accounts."""


class AccountLookup:
    """One per worker. `clock`: Unix seconds."""

    def __init__(self, ledger: ChargingLedger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._accounts: BoundedCache[str, str] = BoundedCache(MAX_SUBSCRIBERS_KEPT)
        self._unknown_until: BoundedCache[str, float] = BoundedCache(MAX_SUBSCRIBERS_KEPT)

    def cached(self, identities: Sequence[str]) -> tuple[str, str]:
        """The first id that has an account, and that account; "", "" = ask the ledger.

        Every id must be cached: with the same account, or as one without an account.
        """
        first, found = "", ""
        for identity in identities:
            account_id = self._accounts.get(identity)
            if account_id is None and self._unknown_until.get(identity, 0.0) > self._clock():
                continue
            if account_id is None or (found and account_id != found):
                return "", ""
            if not found:
                first, found = identity, account_id
        return first, found

    async def find(self, identities: Sequence[str]) -> tuple[str, str]:
        """The first id that has an account, and that account; "", "" = none has one. Raises SubscriberConflictError,
        LedgerUnavailable.
        """
        accounts: dict[str, str | None] = {}
        for identity in identities:
            accounts[identity] = await self._ledger.find_subscriber(identity)
        known = {identity: account_id for identity, account_id in accounts.items() if account_id}
        if len(set(known.values())) > 1:
            raise SubscriberConflictError
        if not known:
            return "", ""
        for identity, account_id in accounts.items():
            if account_id:
                self._accounts.put(identity, account_id)
            else:
                self._unknown_until.put(identity, self._clock() + UNKNOWN_TTL_S)
        return next(iter(known.items()))

    def remove(self, identity: str) -> None:
        self._accounts.pop(identity, None)
