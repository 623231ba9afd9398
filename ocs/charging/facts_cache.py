"""What a worker caches of accounts: the facts by which some of their rates differ (`UseEvent.facts`).

Only accounts that have any are in it. An entry may be stale or missing: the ledger says so and the request is rated
again.
"""

from __future__ import annotations

from ocs.values.bounded_cache import BoundedCache

MAX_ACCOUNTS_KEPT = 100_000
"""Accounts with facts that a worker caches (about 0.2 kB each)."""


class FactsCache:
    """One per worker."""

    def __init__(self) -> None:
        self._facts: BoundedCache[str, str] = BoundedCache(MAX_ACCOUNTS_KEPT)

    def __bool__(self) -> bool:
        """Some account has facts."""
        return bool(self._facts)

    def of(self, account_id: str) -> str:
        return self._facts.get(account_id) or ""

    def correct(self, account_id: str, facts: str) -> None:
        """What the ledger says."""
        if facts:
            self._facts.put(account_id, facts)
        else:
            self._facts.pop(account_id, None)
