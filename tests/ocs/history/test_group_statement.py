"""The statement of a business group: who was in it and when, what was sold to its numbers, what was transferred, and
what members paid themselves (HOT-GRP-3, HOT-GRP-5).
"""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from ocs.accounts.errors import RefusedError
from ocs.history.group_statement import NumberMonth, check_is_over, group_month
from ocs.values.money import net_micro_eur
from tests.ocs.history.records import DAY, T0, Folder, Journal, load_all, month_of, use
from tests.rules import rule

BOSS, MEMBER, LEAVER, STRANGER = "01-a", "02-b", "03-c", "00-d"
MINI, PACK = 6_990_000, 7_000_000
NOVEMBER, DECEMBER = 202611, 202612


def month(engine: Engine, which: int, *present: str | tuple[str, ...]) -> dict[str, NumberMonth]:
    """`present`: ids of the accounts in the group, of those that have moved the earlier ones too."""
    ids = [(each,) if isinstance(each, str) else each for each in present or (BOSS, MEMBER)]
    with engine.connect() as connection:
        return {each.account: each for each in group_month(connection, "g1", which, ids, month_of)}


def filled(folder: Folder) -> None:
    journal = Journal()
    folder.append(
        journal.line(BOSS, "topup", T0 - 20, credit_in=50_000_000, ref="before"),
        journal.line(BOSS, "group", T0 - 10, group="g1", state="administrator"),
        journal.line(MEMBER, "group", T0 - 10, group="g1", state="joined"),
        journal.line(LEAVER, "group", T0 - 10, group="g1", state="joined"),
        journal.line(STRANGER, "group", T0 - 10, group="g2", state="joined"),
        journal.line(BOSS, "transfer_out", T0, to=MEMBER, ref="t", group="g1", debit=10_000_000),
        journal.line(MEMBER, "transfer_in", T0, of=BOSS, ref="t", group="g1", credit_in=10_000_000),
        journal.line(MEMBER, "package", T0 + 1, id="MAXI", ok=1, debit=MINI, price=MINI, period_end=T0 + 30 * DAY),
        journal.charge(MEMBER, T0 + 2, "s1", use(debit=122_000), debit=122_000, started=T0 + 2),
        journal.line(MEMBER, "topup", T0 + 3, credit_in=0, ref="own", separate_in=20_000_000),
        journal.line(MEMBER, "package", T0 + 4, id="SMS-200", ok=1, debit=0, price=PACK, separate_out=PACK),
        journal.line(LEAVER, "group", T0 + 5, group="g1", state="left"),
        journal.line(LEAVER, "topup", T0 + 6, credit_in=1_000_000, ref="private"),
        journal.charge(LEAVER, T0 + 7, "s2", use(debit=61_000), debit=61_000, started=T0 + 7),
        # In December the member's account has moved.
        journal.line(MEMBER, "moved_out", T0 + 2 * DAY, to="00-b", debit=journal.credit[MEMBER]),
        journal.line("00-b", "moved_in", T0 + 2 * DAY, of=MEMBER, credit_in=2_888_000),
        journal.line("00-b", "topup", T0 + 3 * DAY, credit_in=5_000_000, ref="december"),
    )


@rule("HOT-GRP-3")
def test_all_transactions_of_administrator_and_members_net_vat_and_gross(engine: Engine, folder: Folder) -> None:
    filled(folder)
    load_all(engine, folder)
    found = month(engine, NOVEMBER, BOSS, "00-b")
    assert set(found) == {BOSS, "00-b", LEAVER}, "who was in the group in the month, however short"
    assert [(each.kind, each.micro_eur) for each in found[BOSS].transactions] == [("transfer_out", -10_000_000)]
    member = found["00-b"]
    assert [(each.kind, each.what) for each in member.transactions] == [("transfer_in", BOSS), ("package", "MAXI")]
    assert [(each.rate, each.micro_eur) for each in member.use] == [("voice.home.national", 122_000)]
    gross = MINI + 122_000
    assert member.sold == {22: (net_micro_eur(MINI) + net_micro_eur(122_000), gross)}
    assert found[BOSS].sold == {}, "a transfer is no sale"
    assert found[LEAVER].transactions == [] and found[LEAVER].use == [], "what came after it had left is its own"


@rule("HOT-GRP-3", "HOT-GRP-5")
def test_what_a_member_paid_itself_is_listed_apart(engine: Engine, folder: Folder) -> None:
    filled(folder)
    load_all(engine, folder)
    member = month(engine, NOVEMBER, BOSS, "00-b")["00-b"]
    lines = [(each.kind, each.what, each.micro_eur, each.net_micro_eur) for each in member.separate]
    assert lines == [
        ("topup", "", 20_000_000, 20_000_000),
        ("package", "SMS-200", -PACK, -net_micro_eur(PACK)),
    ]
    assert PACK not in [-each.micro_eur for each in member.transactions]


@rule("HOT-GRP-3")
def test_the_months_before_and_after(engine: Engine, folder: Folder) -> None:
    filled(folder)
    load_all(engine, folder)
    assert month(engine, 202610, BOSS, "00-b") == {}, "the group did not exist"
    december = month(engine, DECEMBER, BOSS, "00-b")
    assert set(december) == {BOSS, "00-b"}
    assert [each.reference for each in december["00-b"].transactions] == ["december"]
    new = month(engine, DECEMBER, BOSS, "00-b", "01-e")
    assert "01-e" in new and new["01-e"].transactions == [], "a number whose events are not loaded yet"


@rule("HOT-GRP-3")
def test_a_move_that_is_not_loaded_yet_takes_nothing_from_the_statement(engine: Engine, folder: Folder) -> None:
    filled(folder)
    load_all(engine, folder)
    before = month(engine, NOVEMBER, BOSS, "00-b")["00-b"]
    after = month(engine, NOVEMBER, BOSS, ("03-b", "00-b"))["03-b"]
    assert (after.transactions, after.use, after.separate) == (before.transactions, before.use, before.separate)
    assert before.transactions and before.use and before.separate


@rule("HOT-GRP-3")
def test_a_statement_is_there_from_the_first_day_of_the_next_month(engine: Engine) -> None:
    check_is_over(NOVEMBER, DECEMBER)
    for current in (NOVEMBER, 202610):
        with pytest.raises(RefusedError, match="from 2026-12-01 on") as caught:
            check_is_over(NOVEMBER, current)
        assert caught.value.code == "month"
    with pytest.raises(RefusedError, match="from 2027-01-01 on"):
        check_is_over(DECEMBER, DECEMBER)
