"""Who may do what for which number of a business group, and who pays (HOT-GRP-1, -2, -5)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ocs.policy import puk
from ocs.policy.groups import CARE, Act, Actor, Payer, Standing, may, may_transfer, payer_of, standing
from ocs.values.products import ProductKind
from tests.rules import rule


@dataclass(frozen=True)
class Number:
    msisdn: str = "1"
    group: str = ""
    role: str = ""
    has_separate: bool = False


ALONE = Number()
BOSS = Number("2", "g", "administrator")
MEMBER = Number("3", "g", "member")
RICH = Number("4", "g", "member", has_separate=True)
OTHERS = Number("5", "h", "member")
ADMIN_KEY = Actor(group="g")
CHANGES = (Act.PACKAGE, Act.ORDER, Act.PAYMENT, Act.COST_CONTROL, Act.SERVICES, Act.NUMBERS, Act.TRANSFER)


@rule("HOT-GRP-1")
@pytest.mark.parametrize(
    ("actor", "number", "expected"),
    [
        (CARE, MEMBER, Standing.CARE),
        (ADMIN_KEY, MEMBER, Standing.ADMINISTRATOR),
        (ADMIN_KEY, BOSS, Standing.ADMINISTRATOR),
        (ADMIN_KEY, OTHERS, Standing.STRANGER),
        (ADMIN_KEY, ALONE, Standing.STRANGER),
        (Actor(msisdn="2", administers="g"), MEMBER, Standing.ADMINISTRATOR),
        (Actor(msisdn="2"), BOSS, Standing.ADMINISTRATOR),
        (Actor(msisdn="3"), MEMBER, Standing.MEMBER),
        (Actor(msisdn="1"), ALONE, Standing.OWNER),
        (Actor(msisdn="3"), BOSS, Standing.STRANGER),
        (Actor(msisdn="3"), OTHERS, Standing.STRANGER),
        (Actor(), ALONE, Standing.STRANGER),
        (Actor(), Number("", "", ""), Standing.STRANGER),
    ],
)
def test_what_somebody_is_to_a_number(actor: Actor, number: Number, expected: Standing) -> None:
    assert standing(actor, number) is expected


@rule("HOT-GRP-1")
def test_only_the_administrator_changes_and_a_member_only_sees() -> None:
    for act in CHANGES:
        assert may(ADMIN_KEY, act, MEMBER) and may(ADMIN_KEY, act, BOSS), act
        assert not may(Actor(msisdn="3"), act, MEMBER), act
        assert not may(ADMIN_KEY, act, OTHERS), act
    assert may(Actor(msisdn="3"), Act.SEE, MEMBER)
    assert not may(Actor(msisdn="3"), Act.SEE, BOSS)
    assert not may(Actor(msisdn="3"), Act.STATEMENT, MEMBER)


def test_who_is_in_no_group_decides_itself_but_has_nothing_to_transfer() -> None:
    alone = Actor(msisdn="1")
    assert {act for act in Act if may(alone, act, ALONE)} == set(Act) - {Act.NUMBERS, Act.TRANSFER, Act.STATEMENT}


@rule("HOT-GRP-5")
@pytest.mark.parametrize(
    ("actor", "kind", "number", "expected"),
    [
        (Actor(msisdn="4"), ProductKind.PACK, RICH, Payer.SEPARATE),
        (Actor(msisdn="4"), ProductKind.TARIFF, RICH, None),
        (Actor(msisdn="3"), ProductKind.PACK, MEMBER, None),
        (ADMIN_KEY, ProductKind.PACK, RICH, Payer.CREDIT),
        (ADMIN_KEY, ProductKind.TARIFF, RICH, Payer.CREDIT),
        (CARE, ProductKind.PACK, RICH, Payer.CREDIT),
        (Actor(msisdn="1"), ProductKind.TARIFF, ALONE, Payer.CREDIT),
        (Actor(msisdn="2"), ProductKind.PACK, BOSS, Payer.CREDIT),
        (Actor(msisdn="3"), ProductKind.PACK, RICH, None),
    ],
)
def test_who_pays_an_order(actor: Actor, kind: ProductKind, number: Number, expected: Payer | None) -> None:
    assert payer_of(actor, kind, number) is expected


@rule("HOT-GRP-2")
def test_transfers_are_between_the_administrator_and_a_member_only() -> None:
    assert may_transfer(BOSS, MEMBER) and may_transfer(MEMBER, BOSS)
    for sender, receiver in ((MEMBER, RICH), (BOSS, OTHERS), (ALONE, ALONE), (ALONE, MEMBER), (BOSS, BOSS)):
        assert not may_transfer(sender, receiver)


@rule("HOT-GRP-1")
def test_a_puk_is_compared_by_its_digest() -> None:
    stored = puk.digest("12345678", "00" * 16)
    assert puk.is_right("12345678", "00" * 16, stored)
    assert not puk.is_right("12345679", "00" * 16, stored)
    assert not puk.is_right("12345678", "01" * 16, stored), "each SIM has a salt of its own"
    assert "12345678" not in stored and len(stored) == 64
