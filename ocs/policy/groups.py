"""Business groups: who may do what for which number, who pays, who may transfer credit to whom (HOT-GRP-1, -2, -5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ocs.values.products import ProductKind

ADMINISTRATOR, MEMBER = "administrator", "member"
"""Role of a number in its group."""


class GroupAccount(Protocol):
    """The part of `AccountView` that the rules need."""

    @property
    def msisdn(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def has_separate(self) -> bool: ...


class Act(StrEnum):
    """What somebody does for a number."""

    SEE = "see"
    """Balance and use."""
    PACKAGE = "package"
    """Buy, change, restart or cancel a tariff."""
    ORDER = "order"
    """Buy, plan or cancel a product beside the tariff."""
    PAYMENT = "payment"
    """Payment settings: automatic top-up, payer."""
    TOP_UP_SEPARATE = "top up separate"
    """Pay into the separate account of a member."""
    COST_CONTROL = "cost control"
    """Limits and consents."""
    SERVICES = "services"
    """Service settings: bars, blocks, SIM, number, language, notices."""
    NUMBERS = "numbers"
    """Add and remove numbers of the group, and change its administrator."""
    TRANSFER = "transfer"
    STATEMENT = "statement"
    """The group's monthly statement."""


class Standing(StrEnum):
    """What the one who acts is to the number that it acts for."""

    CARE = "care"
    ADMINISTRATOR = "administrator"
    """Of the number's group; of its own number too."""
    OWNER = "owner"
    """It acts for its own number, which is in no group."""
    MEMBER = "member"
    """It acts for its own number, which is in a group."""
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: care, the administrator of a group, or a number. One field is set."""

    care: bool = False
    group: str = ""
    msisdn: str = ""
    administers: str = ""
    """Group that the number `msisdn` is the administrator of; "" = none."""


CARE = Actor(care=True)

MAY: Mapping[Standing, frozenset[Act]] = {
    Standing.CARE: frozenset(Act),
    Standing.ADMINISTRATOR: frozenset(Act),
    Standing.OWNER: frozenset(Act) - {Act.NUMBERS, Act.TRANSFER, Act.STATEMENT},
    Standing.MEMBER: frozenset((Act.SEE,)),
    Standing.STRANGER: frozenset(),
}
WITH_SEPARATE = frozenset((Act.ORDER, Act.TOP_UP_SEPARATE))
"""What a member may do besides, if it has a separate account (HOT-GRP-5)."""


def standing(actor: Actor, account: GroupAccount) -> Standing:
    """HOT-GRP-1: what the one who acts is to this account."""
    if actor.care:
        return Standing.CARE
    if account.group and account.group in (actor.group, actor.administers):
        return Standing.ADMINISTRATOR
    if actor.msisdn and actor.msisdn == account.msisdn:
        if not account.group:
            return Standing.OWNER
        return Standing.ADMINISTRATOR if account.role == ADMINISTRATOR else Standing.MEMBER
    return Standing.STRANGER


def may(actor: Actor, act: Act, account: GroupAccount) -> bool:
    """HOT-GRP-1: only the administrator changes packages, payment settings, cost control and service settings, for
    every member; a member only sees its balance and use. HOT-GRP-5: with a separate account it may order too.
    """
    found = standing(actor, account)
    return act in MAY[found] or (found is Standing.MEMBER and account.has_separate and act in WITH_SEPARATE)


class Payer(StrEnum):
    CREDIT = "credit"
    """The account of the number: the company's, if it is in a group."""
    SEPARATE = "separate"
    """The separate account of the member."""


def payer_of(actor: Actor, kind: ProductKind, account: GroupAccount) -> Payer | None:
    """HOT-GRP-5: what a member orders itself is paid by its separate account; packages, and what the administrator
    orders, by the company's. None = it may not order it (HOT-GRP-1).
    """
    act = Act.PACKAGE if kind is ProductKind.TARIFF else Act.ORDER
    if not may(actor, act, account):
        return None
    return Payer.SEPARATE if standing(actor, account) is Standing.MEMBER else Payer.CREDIT


def may_transfer(sender: GroupAccount, receiver: GroupAccount) -> bool:
    """HOT-GRP-2: between the administrator and a member of one group, either way; no other transfer exists. The ledger
    looks again at each end.
    """
    return (
        sender.group != ""
        and sender.group == receiver.group
        and {sender.role, receiver.role}
        == {
            ADMINISTRATOR,
            MEMBER,
        }
    )
