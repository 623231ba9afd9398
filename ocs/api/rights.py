"""Who may do what: one table of operations, roles and scopes (HOT-GRP-1, HOT-GRP-2). docs/API.md has it as a page.

An operation is the `operation_id` of a route. A route without an entry here does not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    CARE = "care"
    """Customer care: everything about subscribers."""
    SHOP = "shop"
    """Opens accounts, sells, tops up; sees no itemised use."""
    READ_ONLY = "read-only"
    """Reads everything."""
    GROUP_ADMIN = "group-admin"
    """Administrator of one business group: everything of its members."""
    MEMBER = "member"
    """One subscriber: its own number."""


class Scope(StrEnum):
    """Which accounts a role may do an operation on."""

    ALL = "all"
    GROUP = "its group"
    OWN = "its own number"
    OWN_PAYING = "its own number, if it pays for it itself"
    """Not a member of a group: there only the administrator orders and sets (HOT-GRP-1)."""


BOUND = {Role.GROUP_ADMIN: "group", Role.MEMBER: "msisdn"}
"""What a key of the role is bound to; the other roles are bound to nothing."""

Grants = Mapping[Role, Scope]

_CARE = {Role.CARE: Scope.ALL}
_SALES = {**_CARE, Role.SHOP: Scope.ALL}
_READERS = {**_CARE, Role.READ_ONLY: Scope.ALL}
_ADMIN = {Role.GROUP_ADMIN: Scope.GROUP}
_SELF = {Role.MEMBER: Scope.OWN}
_PAYER = {Role.MEMBER: Scope.OWN_PAYING}


@dataclass(frozen=True, slots=True)
class Operation:
    """What the API needs to know of an operation beside its route."""

    grants: Grants
    changes: bool = False
    """It changes an account: the audit trail has before and after."""
    once: bool = False
    """It moves money or sells: an Idempotency-Key is required, and a repetition gets the first answer."""


def reads(*grants: Grants) -> Operation:
    return Operation(_joined(grants))


def changes(*grants: Grants, once: bool = False) -> Operation:
    return Operation(_joined(grants), changes=True, once=once)


def _joined(grants: tuple[Grants, ...]) -> Grants:
    return {role: scope for each in grants for role, scope in each.items()}


OPERATIONS: dict[str, Operation] = {
    # accounts
    "accounts.open": changes(_SALES, once=True),
    "accounts.read": reads(_SALES, _READERS, _ADMIN, _SELF),
    "accounts.top_up": changes(_SALES, _ADMIN, once=True),
    # vouchers
    "vouchers.redeem": changes(_SALES, _ADMIN, _SELF, once=True),
    "vouchers.entries": reads(_SALES, _READERS, _ADMIN, _SELF),
    "vouchers.lift": changes(_CARE),
    "vouchers.batches": reads(_READERS),
    "vouchers.batch": reads(_READERS, _SALES),
    "vouchers.read": reads(_READERS, _SALES),
    "vouchers.look_up": reads(_CARE),
    "vouchers.activate": changes(_SALES),
    "vouchers.block": changes(_CARE),
}
