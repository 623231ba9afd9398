"""First look of a request: its key, the account of its path, and its repetition, in one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ocs.accounts.errors import InputError
from ocs.accounts.first_look import FirstLook
from ocs.accounts.inputs import msisdn as parsed_msisdn
from ocs.api.keys import ApiKeys
from ocs.api.repetitions import Repetition
from ocs.ledger.contract.api_keys import ApiKey, ApiLedger, KeptAnswer
from ocs.values.bounded_cache import BoundedCache
from ocs.values.identities import Msisdn, by_msisdn

MAX_KNOWN: Final = 100_000
"""Subscribers whose account a process remembers. A wrong or missing one costs a further round trip, no more: what the
index says counts.
"""


@dataclass(frozen=True, slots=True)
class Seen:
    key: ApiKey | None
    """None = it is not in force."""
    first: FirstLook | None = None
    begun: bool = False
    """The repetition was begun."""
    kept: KeptAnswer | None = None
    """Of an earlier request, if it was."""


class Looker:
    """One of a process."""

    def __init__(self, ledger: ApiLedger, keys: ApiKeys) -> None:
        self._ledger, self._keys = ledger, keys
        self._known: BoundedCache[Msisdn, str] = BoundedCache(MAX_KNOWN)

    async def look(self, key_text: str, number: str, repetition: Repetition | None = None) -> Seen:
        """The key, if it is in force, and what is found of `number` ("" = there is none in the path). `repetition`: to
        be begun in the same round trip; of a key in `ApiKeys.known`.

        Of an account nothing is read, and nothing is begun, before this process has seen the key in force.
        """
        key_id, msisdn = self._keys.id_of(key_text), _msisdn(number)
        if key_id is None:
            return Seen(None)
        if not self._keys.is_known(key_id) or (msisdn is None and repetition is None):
            return Seen(await self._keys.verify(key_text))
        identity, guess = (by_msisdn(msisdn), self._known.get(msisdn, "")) if msisdn is not None else ("", "")
        begin = (repetition.name, repetition.fingerprint) if repetition is not None else None
        found = await self._ledger.look(key_id, identity, guess, begin)
        key, begun = await self._keys.accepted(found.key, key_text), begin is not None
        if key is None or found.account_id is None or msisdn is None:
            return Seen(key, begun=begun, kept=found.kept)
        if guess != found.account_id:
            self._known.put(msisdn, found.account_id)
        return Seen(key, FirstLook(msisdn, found.account_id, found.document), begun, found.kept)


def _msisdn(number: str) -> Msisdn | None:
    """None = there is none, or it is none: who asks is told after its key is known."""
    try:
        return parsed_msisdn(number) if number else None
    except InputError:
        return None
