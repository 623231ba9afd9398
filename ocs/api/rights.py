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
    OWN_ALONE = "its own number, if in no group"
    """In a group only the administrator sets and orders (HOT-GRP-1)."""
    OWN_ORDERING = "its own number, if it pays"
    """In a group it orders what its separate account pays (HOT-GRP-5)."""


BOUND = {Role.GROUP_ADMIN: "group", Role.MEMBER: "msisdn"}
"""What a key of the role is bound to; the other roles are bound to nothing."""

Grants = Mapping[Role, Scope]

_CARE = {Role.CARE: Scope.ALL}
_SALES = {**_CARE, Role.SHOP: Scope.ALL}
_READERS = {**_CARE, Role.READ_ONLY: Scope.ALL}
_ADMIN = {Role.GROUP_ADMIN: Scope.GROUP}
_SELF = {Role.MEMBER: Scope.OWN}
_ALONE = {Role.MEMBER: Scope.OWN_ALONE}
_ORDERING = {Role.MEMBER: Scope.OWN_ORDERING}
_EVERYBODY = dict.fromkeys(Role, Scope.ALL)
"""Of what concerns no account."""


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


SEEN = reads(_SALES, _READERS, _ADMIN, _SELF)
"""What everybody sees of an account that it may see."""

OPERATIONS: dict[str, Operation] = {
    # accounts
    "accounts.open": changes(_SALES, once=True),
    "accounts.read": SEEN,
    "accounts.top_up": changes(_SALES, once=True),
    # history; a shop sees no itemised use
    "usage.list": reads(_READERS, _ADMIN, _SELF),
    "transactions.list": reads(_READERS, _ADMIN, _SELF),
    "statements.read": reads(_READERS, _ADMIN, _SELF),
    "accounts.erase": changes(_CARE),
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
    # subscriptions
    "subscriptions.list": SEEN,
    "subscriptions.buy": changes(_SALES, _ADMIN, _ORDERING, once=True),
    "subscriptions.plan": changes(_SALES, _ADMIN, _ORDERING, once=True),
    "subscriptions.change": changes(_SALES, _ADMIN, _ALONE, once=True),
    "subscriptions.restart": changes(_SALES, _ADMIN, _ALONE, once=True),
    "subscriptions.cancel": changes(_SALES, _ADMIN, _ORDERING, once=True),
    "balance.read": SEEN,
    "buckets.list": SEEN,
    "counters.list": SEEN,
    # limits and consents
    "limits.read": SEEN,
    "limits.set": changes(_CARE, _ADMIN, _ALONE),
    "bars.read": SEEN,
    "bars.set": changes(_CARE, _ADMIN, _ALONE),
    "mutes.list": SEEN,
    "mutes.set": changes(_CARE, _ADMIN, _ALONE),
    "mutes.lift": changes(_CARE, _ADMIN, _ALONE),
    "measures.list": reads(_READERS),
    "measures.set": changes(_CARE),
    "measures.lift": changes(_CARE),
    # notices
    "notices.list": reads(_READERS),
    "notices.read": reads(_READERS),
    "notices.retry": changes(_CARE),
    "notices.of_account": reads(_READERS, _ADMIN, _SELF),
    "language.read": SEEN,
    "language.set": changes(_SALES, _ADMIN, _SELF),
    # life
    "blocks.set": changes(_CARE, _ADMIN, _SELF),
    "blocks.lift": changes(_CARE, _ADMIN, _ALONE, once=True),
    "life.freeze": changes(_CARE, _ADMIN, _ALONE, once=True),
    "life.unfreeze": changes(_CARE, _ADMIN, _ALONE, once=True),
    "life.fee": changes(_SALES, once=True),
    "life.transfer_ownership": changes(_CARE, once=True),
    "life.swap_sim": changes(_SALES, once=True),
    "life.change_number": changes(_CARE),
    "life.port_in": changes(_CARE),
    "life.pay_out": changes(_CARE, once=True),
    "life.port_out": changes(_CARE, once=True),
    "life.end": changes(_CARE, once=True),
    # pools
    "pools.read": SEEN,
    "pools.open": changes(_CARE, _ADMIN),
    "pools.join": changes(_CARE, _ADMIN),
    "pools.leave": changes(_CARE, _ADMIN),
    "pools.limit": changes(_CARE, _ADMIN),
    # payments
    "auto_top_up.read": SEEN,
    "auto_top_up.set": changes(_CARE, _ADMIN, _ALONE),
    "auto_top_up.off": changes(_CARE, _ADMIN, _ALONE),
    "mandates.read": reads(_READERS, _ADMIN, _ALONE),
    "mandates.put": changes(_CARE, _ADMIN, _ALONE),
    "mandates.revoke": changes(_CARE, _ADMIN, _ALONE),
    "group_mandates.read": reads(_READERS, _ADMIN),
    "group_mandates.put": changes(_CARE, _ADMIN),
    "group_mandates.revoke": changes(_CARE, _ADMIN),
    "payments.start": changes(_SALES, _ADMIN, _SELF, once=True),
    "payments.list": SEEN,
    "payments.read": reads(_READERS),
    "payments.retry": changes(_CARE),
    # business groups
    "groups.create": changes(_CARE),
    "groups.list": reads(_READERS),
    "groups.read": reads(_SALES, _READERS, _ADMIN),
    "groups.change": changes(_CARE),
    "groups.add": changes(_CARE, _ADMIN),
    "groups.remove": changes(_CARE, _ADMIN),
    "groups.administrator": changes(_CARE, _ADMIN),
    "groups.limit": changes(_CARE, _ADMIN),
    "groups.share": changes(_CARE, _ADMIN),
    "groups.statement": reads(_READERS, _ADMIN),
    "transfers.make": changes(_CARE, _ADMIN, once=True),
    "puk.set": changes(_SALES),
    "separate.read": SEEN,
    "separate.set": changes(_CARE, _ADMIN),
    "separate.top_up": changes(_SALES, once=True),
    # sessions
    "sessions.list": reads(_READERS),
    "sessions.ask": changes(_CARE),
    "sessions.end": changes(_CARE),
    "keywords.handle": changes(_CARE),
    # the server
    "peers.list": reads(_READERS),
    "audit.last": reads(_READERS),
    "audit.account": reads(_READERS),
    "explanations.read": reads(_READERS),
    "explanations.draft": reads(_READERS),
    "exports.read": reads(_READERS),
    # the catalogue
    "products.list": reads(_EVERYBODY),
    "products.read": reads(_EVERYBODY),
    "catalogue.versions": reads(_READERS),
    "catalogue.check": reads(_READERS),
    "catalogue.compare": reads(_READERS),
    "rate.ask": reads(_SALES, _READERS, _ADMIN, _SELF),
    # TM Forum: as the operations that they stand for
    "tmf654.listBucket": SEEN,
    "tmf654.retrieveBucket": SEEN,
    "tmf654.listAccumulatedBalance": SEEN,
    "tmf654.retrieveAccumulatedBalance": SEEN,
    "tmf654.listTopupBalance": reads(_READERS, _ADMIN, _SELF),
    "tmf654.retrieveTopupBalance": reads(_READERS, _ADMIN, _SELF),
    "tmf654.createTopupBalance": changes(_SALES, once=True),
    "tmf654.createAdjustBalance": changes(_CARE, once=True),
    "tmf654.createTransferBalance": changes(_CARE, _ADMIN, once=True),
    "tmf635.listUsage": reads(_READERS, _ADMIN, _SELF),
    "tmf635.retrieveUsage": reads(_READERS, _ADMIN, _SELF),
    "tmf635.listUsageSpecification": SEEN,
    "tmf635.retrieveUsageSpecification": SEEN,
}
