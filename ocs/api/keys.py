"""Keys of the API: `ocs_<id>_<secret>`. The ledger keeps the SHA-256 of the secret, which is 32 random octets."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ocs.accounts.errors import InputError, raising_refused
from ocs.api.rights import BOUND, Role
from ocs.ledger.contract.api_keys import ApiKey, ApiLedger
from ocs.ledger.contract.groups import GroupView
from ocs.ledger.redis.keys import uid_of
from ocs.values.bounded_cache import BoundedCache
from ocs.values.identities import by_msisdn, parse_msisdn
from ocs.values.moment import DAY_S, utc_day

PREFIX = "ocs"
ID_OCTETS = 6
SECRET_OCTETS = 32
MAX_NAME_LENGTH = 64
MAX_GROUP_LENGTH = 48
MAX_DAYS = 3_660
MAX_KEY_LENGTH = 128
"""Characters of an Authorization header's key that are looked at."""
MAX_NOTED = 10_000
"""Keys that a process remembers, and that their use was noted today."""


class Ledger(ApiLedger, Protocol):
    async def find_subscriber(self, identity: str) -> str | None: ...

    async def read_group(self, group_id: str) -> GroupView | None: ...


@dataclass(frozen=True, slots=True)
class NewKey:
    key: ApiKey
    text: str
    """The whole key. It cannot be shown again."""


class ApiKeys:
    """`now` gives Unix seconds."""

    def __init__(self, ledger: Ledger, now: Callable[[], int]) -> None:
        self._ledger, self._now = ledger, now
        self._noted: OrderedDict[str, int] = OrderedDict()
        """Key id → day on which its use was noted last; at most MAX_NOTED."""
        self._in_force: BoundedCache[str, ApiKey] = BoundedCache(MAX_NOTED)
        """Keys as they were seen last."""

    async def create(self, *, role: str, name: str, bound_to: str = "", days: int = 0) -> NewKey:
        """Create a key. `bound_to`: the group of a group-admin, the MSISDN of a member. `days` 0 = it does not expire.

        InputError: "role", "name", "bound_to", "days". RefusedError: "api_keys" (too many).
        """
        kind = _role(role)
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
            raise InputError("name", f"a name must have 1 to {MAX_NAME_LENGTH} printable characters")
        if not 0 <= days <= MAX_DAYS:
            raise InputError("days", f"{days} days: 0 (it does not expire) to {MAX_DAYS} are allowed")
        bound_to, uid = await self._bound(kind, bound_to)
        now, secret = self._now(), secrets.token_urlsafe(SECRET_OCTETS)
        key = ApiKey(
            id=secrets.token_hex(ID_OCTETS),
            digest=_digest(secret),
            role=kind,
            name=name,
            bound_to=bound_to,
            account_uid=uid,
            created_at=now,
            expires_at=now + days * DAY_S if days else 0,
        )
        with raising_refused():
            await self._ledger.add_api_key(key, now=now)
        await self._note(key, "keys.create")
        return NewKey(key, f"{PREFIX}_{key.id}_{secret}")

    async def _bound(self, role: Role, bound_to: str) -> tuple[str, str]:
        """What the key is bound to, and the uid of the account of an MSISDN."""
        what = BOUND.get(role, "")
        if bool(bound_to) != bool(what):
            needs = f"needs the {what} that it is bound to" if what else "is bound to nothing"
            raise InputError("bound_to", f"a key of the role {role} {needs}")
        if what != "msisdn":
            if len(bound_to) > MAX_GROUP_LENGTH or not bound_to.isprintable():
                raise InputError("bound_to", f"the id of a group has at most {MAX_GROUP_LENGTH} printable characters")
            if bound_to and await self._ledger.read_group(bound_to) is None:
                raise InputError("bound_to", f"there is no business group {bound_to}")
            return bound_to, ""
        try:
            msisdn = parse_msisdn(bound_to)
        except ValueError as error:
            raise InputError("bound_to", str(error)) from None
        account_id = await self._ledger.find_subscriber(by_msisdn(msisdn))
        if account_id is None:
            raise InputError("bound_to", f"there is no account with MSISDN {msisdn}")
        return msisdn, uid_of(account_id)

    async def verify(self, text: str) -> ApiKey | None:
        """The key that was sent; None = it is none of ours, revoked or expired."""
        key_id = self.id_of(text)
        return None if key_id is None else await self.accepted(await self._ledger.api_key(key_id), text)

    @staticmethod
    def id_of(text: str) -> str | None:
        """Id in a key that was sent; None = it is none of ours."""
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        is_ours = prefix == PREFIX and secret and len(text) <= MAX_KEY_LENGTH and len(key_id) == 2 * ID_OCTETS
        return key_id if is_ours else None

    def is_known(self, key_id: str) -> bool:
        """This process has seen the key in force."""
        return key_id in self._in_force

    def known(self, text: str) -> ApiKey | None:
        """The key, if this process has seen it in force with this secret. It may be revoked since."""
        key = self._in_force.get(self.id_of(text) or "")
        return key if key is not None and _has_secret(key, text) else None

    async def accepted(self, key: ApiKey | None, text: str) -> ApiKey | None:
        """The stored key, if the text is that key and it is in force."""
        if key is None:
            self._in_force.pop(self.id_of(text) or "", None)
        if key is None or not _has_secret(key, text):
            return None
        now = self._now()
        if key.revoked_at or 0 < key.expires_at <= now:
            self._in_force.pop(key.id, None)
            return None
        await self._note_used(key.id, utc_day(now))
        if self._in_force.get(key.id) is not key:
            self._in_force.put(key.id, key)
        return key

    async def _note_used(self, key_id: str, day: int) -> None:
        if self._noted.get(key_id) == day:
            return
        await self._ledger.note_api_key_used(key_id, day=day)
        self._noted[key_id] = day
        self._noted.move_to_end(key_id)
        if len(self._noted) > MAX_NOTED:
            self._noted.popitem(last=False)

    async def list(self) -> list[ApiKey]:
        return await self._ledger.api_keys()

    async def revoke(self, key_id: str) -> bool:
        """With immediate effect. False = there is no such key, or it was revoked before."""
        revoked = await self._ledger.revoke_api_key(key_id, now=self._now())
        if revoked and (key := await self._ledger.api_key(key_id)) is not None:
            await self._note(key, "keys.revoke")
        return revoked

    async def _note(self, key: ApiKey, operation: str) -> None:
        """Into the audit trail; of no account."""
        event = {"key": key.id, "role": key.role, "op": operation, "status": 200}
        await self._ledger.note_api_call("", now=self._now(), event=event)


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise InputError("role", f"{text!r} is no role; there are {', '.join(Role)}") from None


def _has_secret(key: ApiKey, text: str) -> bool:
    return hmac.compare_digest(key.digest, _digest(text.split("_", 2)[2]))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
