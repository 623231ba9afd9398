"""Keys of the API, the answers that it keeps for repetitions, and its audit trail."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

MAX_API_KEYS = 10_000
"""With more, the revoked and the expired ones make room; without any, no key is created."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored: without its secret."""

    id: str
    digest: str
    """SHA-256 of the secret, in hexadecimal digits."""
    role: str
    name: str
    """Who or what uses it."""
    bound_to: str = ""
    """The group or the MSISDN that a role is bound to; "" = it is bound to none."""
    account_uid: str = ""
    """Of the account that had the MSISDN when the key was created: a later owner of the number is another."""
    created_at: int = 0
    """Unix seconds."""
    expires_at: int = 0
    """Unix seconds; 0 = never."""
    revoked_at: int = 0
    """Unix seconds; 0 = it is in force."""
    used_day: int = 0
    """Last UTC day on which it was used, days since 1970-01-01; 0 = never."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a repetition of a request with an Idempotency-Key finds."""

    fingerprint: str
    """Of the first request."""
    answer: bytes | None
    """None = the first request has no answer yet, or none was stored."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a request of the API needs first."""

    key: ApiKey | None
    account_id: str | None
    """Of the subscriber; None = not asked for, or it has no account."""
    document: bytes | None
    """The account as stored; None = not read."""
    kept: KeptAnswer | None = None
    """What was kept under the name that was begun; None = nothing, or nothing was begun."""


class ApiLedger(Protocol):
    """Operations of the API on the ledger beside those on accounts."""

    async def look(
        self, key_id: str, identity: str = "", guess: str = "", begin: tuple[str, str] | None = None
    ) -> Look:
        """Read an API key, the account id of the subscriber `identity` ("" = of none), and the account, in one round
        trip. `begin`: name and fingerprint for `begin_answer` in the same one.

        `guess`: the account id that the subscriber had before; if it has another one, the account is not read. "" =
        not known.
        """

    async def add_api_key(self, key: ApiKey, *, now: int) -> None:
        """LedgerError: "api_keys" (too many)."""

    async def api_key(self, key_id: str) -> ApiKey | None: ...

    async def api_keys(self) -> list[ApiKey]:
        """All, the oldest first."""

    async def revoke_api_key(self, key_id: str, *, now: int) -> bool:
        """With immediate effect. False = there is none, or it was revoked before."""

    async def note_api_key_used(self, key_id: str, *, day: int) -> None: ...

    async def begin_answer(self, name: str, fingerprint: str) -> KeptAnswer | None:
        """Note that a request is being carried out under `name`. None = it is the first; else what is kept of it."""

    async def keep_answer(self, name: str, fingerprint: str, answer: bytes) -> bytes:
        """Keep the answer of the request. Returns the one that is kept: of two at once, the first."""

    async def plan_answer(self, name: str, plan: bytes) -> bytes:
        """Keep what the request under `name` is about to do. Returns what is kept: of two at once, the first."""

    async def planned_answer(self, name: str) -> bytes | None:
        """What an earlier try of the request was about to do; None = nothing was kept."""

    async def drop_answer(self, name: str, fingerprint: str) -> None:
        """Nothing was done under `name`, so that it may be used again. Does nothing if an answer is kept."""

    def note_api_call(self, account_id: str, *, now: int, event: Mapping[str, object]) -> Awaitable[None]:
        """Journal an `api` event (`ocs.ledger.redis.journal`). `account_id` "": the call concerned no account."""

    def note_event(self, kind: str, account_id: str, *, now: int, event: Mapping[str, object]) -> Awaitable[None]:
        """Journal an event that changes nothing. The account may have ended. It is sent at once, with what else is sent
        before it is awaited.
        """
