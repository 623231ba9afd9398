"""One call of the API: who calls, what for, and what it may see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from ocs.accounts import inputs
from ocs.accounts.backend import Backend
from ocs.accounts.errors import UnknownError, raising_refused
from ocs.accounts.first_look import FirstLook
from ocs.accounts.inputs import Reference
from ocs.api.container import Container
from ocs.api.problems import ProblemError
from ocs.api.repetitions import Repetition
from ocs.api.rights import Operation, Role, Scope
from ocs.ledger.contract.api_keys import ApiKey, KeptAnswer
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.keys import uid_of
from ocs.policy.groups import ADMINISTRATOR, CARE, Actor
from ocs.values.identities import Msisdn, by_msisdn
from ocs.values.moment import when_of

OWN_REFERENCES = "api:"
"""Beginning of the references that the API makes of Idempotency-Keys. No reference of a client may begin so."""


@dataclass(slots=True)
class Call:
    """Given to a route as `call: TheCall`, when the key may do the operation on the account of the path."""

    container: Container
    request_id: str
    name: str
    """Of the operation."""
    operation: Operation
    key: ApiKey
    role: Role
    scope: Scope
    idempotency_key: str = ""
    account_id: str = ""
    """Of the path's MSISDN, or of the account that the call has opened; "" = none."""
    repetition: Repetition | None = None
    """The request by its Idempotency-Key, if it has one and was begun."""
    kept: KeptAnswer | None = None
    """Of an earlier request under the key."""
    first: FirstLook | None = None
    """At the account of the path; None = the path names none, or it was not read."""
    after: AccountView | None = None
    """The account of the path after the operation, if the route has read it."""
    repeated: bool = False
    """The same request was begun before, and may have been done."""
    replayed: bool = False
    """The operation was done before; nothing was changed."""

    backend: Backend = field(init=False)
    """With what was read first."""

    def __post_init__(self) -> None:
        backend = self.container.backend
        self.backend = backend if self.first is None else replace(backend, first=self.first)

    @property
    def actor(self) -> Actor:
        """Who acts, for the rules of business groups (`ocs.policy.groups`)."""
        if self.scope is Scope.ALL:
            return CARE
        bound_to = self.key.bound_to
        return Actor(group=bound_to) if self.scope is Scope.GROUP else Actor(msisdn=bound_to)

    def time(self, unix_s: int) -> datetime | None:
        """For an answer; 0 → None."""
        return self.container.time(unix_s)

    def applied(self, applied: bool) -> None:
        """Say whether a money operation was done now, or by an earlier request."""
        self.replayed = self.replayed or not applied

    def reference(self, business: str | None = None) -> Reference:
        """Reference under which the ledger does the operation once: the client's own, or one of key and
        Idempotency-Key, so that two keys never collide.
        """
        if business:
            if business.startswith(OWN_REFERENCES):
                raise ProblemError("invalid", f"a reference must not begin with {OWN_REFERENCES!r}")
            return inputs.reference(business)
        return inputs.reference(f"{OWN_REFERENCES}{self.key.id}:{self.idempotency_key}")

    async def may_see(self, msisdn: Msisdn) -> AccountView | None:
        """Check that the key may do the operation on this account too: one that the body names. Returns the account if
        it was read. UnknownError "account": it may not, or there is none; the two look alike.
        """
        if self.scope is Scope.ALL:
            return None
        if self.scope is Scope.GROUP:
            return await self._in_group(msisdn)
        if msisdn != self.key.bound_to:
            raise _no_account(msisdn)
        account_id = await self.find(msisdn)
        if account_id is None or uid_of(account_id) != self.key.account_uid:
            raise _no_account(msisdn)
        return None if self.scope is Scope.OWN else await self._orders_itself(msisdn)

    async def find(self, msisdn: Msisdn) -> str | None:
        """Id of the account; None = there is none."""
        if self.first is not None and self.first.msisdn == msisdn:
            return self.first.account_id
        return await self.backend.ledger.find_subscriber(by_msisdn(msisdn))

    async def _in_group(self, msisdn: Msisdn) -> AccountView:
        view = await self._view(msisdn)
        if not view.group or view.group != self.key.bound_to:
            raise _no_account(msisdn)
        return view

    async def _orders_itself(self, msisdn: Msisdn) -> AccountView:
        """ProblemError "forbidden": the administrator of its group does this (HOT-GRP-1, HOT-GRP-5)."""
        view = await self._view(msisdn)
        pays = self.scope is Scope.OWN_ORDERING and view.has_separate
        if view.group and view.role != ADMINISTRATOR and not pays:
            raise ProblemError("forbidden", "the number is in a business group: its administrator does this")
        return view

    async def _view(self, msisdn: Msisdn) -> AccountView:
        try:
            if self.first is not None and self.first.msisdn == msisdn:
                with raising_refused():
                    if (view := self.first.view(when_of(self.backend.when()))) is not None:
                        return view
            return (await self.container.backend.accounts.read(msisdn)).view
        except UnknownError:
            raise _no_account(msisdn) from None

    def may_see_group(self, group: str) -> None:
        """ProblemError "unknown_group": it is another group than the key's."""
        if self.scope is not Scope.ALL and not (self.scope is Scope.GROUP and group == self.key.bound_to):
            raise UnknownError("group", f"there is no group {group}")


def _no_account(msisdn: str) -> UnknownError:
    return UnknownError("account", f"there is no account with MSISDN {msisdn}")


async def _call_of(request: Request) -> Call:
    """Async, though it awaits nothing: FastAPI runs other functions in a thread."""
    call = request.scope["state"]["call"]
    assert isinstance(call, Call)
    return call


TheCall = Annotated[Call, Depends(_call_of)]
