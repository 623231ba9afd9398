"""First look of a request: its key, and the account of its path, in one round trip."""

from __future__ import annotations

from typing import Final

from ocs.accounts.errors import InputError
from ocs.accounts.first_look import FirstLook
from ocs.accounts.inputs import msisdn as parsed_msisdn
from ocs.api.keys import ApiKeys
from ocs.ledger.contract.api_keys import ApiKey, ApiLedger
from ocs.values.bounded_cache import BoundedCache
from ocs.values.identities import Msisdn, by_msisdn

MAX_KNOWN: Final = 100_000
"""Subscribers whose account a process remembers. A wrong or missing one costs a further round trip, no more: what the
index says counts.
"""


class Looker:
    """One of a process."""

    def __init__(self, ledger: ApiLedger, keys: ApiKeys) -> None:
        self._ledger, self._keys = ledger, keys
        self._known: BoundedCache[Msisdn, str] = BoundedCache(MAX_KNOWN)

    async def look(self, key_text: str, number: str) -> tuple[ApiKey | None, FirstLook | None]:
        """The key, if it is in force, and what is found of `number` ("" = there is none in the path).

        Of an account nothing is read before this process has seen the key in force.
        """
        key_id, msisdn = self._keys.id_of(key_text), _msisdn(number)
        if key_id is None:
            return None, None
        if msisdn is None or not self._keys.is_known(key_id):
            return await self._keys.verify(key_text), None
        found = await self._ledger.look(key_id, by_msisdn(msisdn), self._known.get(msisdn, ""))
        key = await self._keys.accepted(found.key, key_text)
        if key is None or found.account_id is None:
            return key, None
        if self._known.get(msisdn) != found.account_id:
            self._known.put(msisdn, found.account_id)
        return key, FirstLook(msisdn, found.account_id, found.document)


def _msisdn(number: str) -> Msisdn | None:
    """None = there is none, or it is none: who asks is told after its key is known."""
    try:
        return parsed_msisdn(number) if number else None
    except InputError:
        return None
