"""Business groups: numbers come and go with their PUK1, limits and a pool for all, accounts that change."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from ocs.accounts.errors import RefusedError, UnknownError
from ocs.ledger.contract.groups import GroupStep, StepKind
from ocs.ledger.contract.limits import MAX_PUK_TRIES
from ocs.values.identities import Imsi, Msisdn
from tests.ocs.accounts.group_desk import EUR, PARTITIONS, PUK, GroupDesk
from tests.ocs.ledger.books import empty_ledger, journal
from tests.rules import rule


@pytest.fixture
async def desk(redis_url: str) -> AsyncIterator[GroupDesk]:
    async with empty_ledger(redis_url, partitions=PARTITIONS) as ledger:
        desk = GroupDesk(ledger)
        yield desk
        await desk.audited()


async def refused(work: Awaitable[Any]) -> str:
    with pytest.raises((RefusedError, UnknownError)) as caught:
        await work
    return caught.value.code


async def roles(desk: GroupDesk, group: str) -> list[tuple[str, str]]:
    return [(view.msisdn, view.role) for view in (await desk.groups.read(group)).numbers]


@rule("HOT-GRP-1")
async def test_numbers_are_added_with_their_puk_and_removed(desk: GroupDesk) -> None:
    boss, member, stranger = [await desk.opened() for _ in range(3)]
    group = (await desk.groups.create(name="Firma", administrator=boss, payer="M-1")).group
    assert (group.name, group.payer, group.limit) == ("Firma", "M-1", None)
    assert (await desk.groups.create(name="Firma", administrator=boss)).group.group_id == group.group_id
    assert await refused(desk.groups.add(group.group_id, msisdn=member, puk="87654321")) == "puk"
    assert (await desk.view(member)).group == ""
    assert await desk.groups.add(group.group_id, msisdn=member, puk=PUK)
    assert not await desk.groups.add(group.group_id, msisdn=member, puk="87654321"), "it is in the group already"
    assert await roles(desk, group.group_id) == [(boss, "administrator"), (member, "member")]
    other = (await desk.groups.create(name="Druga", administrator=stranger)).group.group_id
    assert await refused(desk.groups.add(other, msisdn=member, puk=PUK)) == "grouped"
    told = await refused(desk.groups.add(other, msisdn=member, puk="00000000"))
    assert told == "puk", "who does not know the PUK1 is told nothing of the number"
    assert await refused(desk.groups.create(name="Tretja", administrator=member)) == "grouped"
    assert await refused(desk.groups.remove(group.group_id, msisdn=boss)) == "administrator"
    assert await desk.groups.remove(group.group_id, msisdn=member)
    assert not await desk.groups.remove(group.group_id, msisdn=member)
    assert await desk.groups.add(other, msisdn=member, puk=PUK)
    states = [(e["group"], e["state"]) for e in await journal(desk.ledger) if e["k"] == "group"]
    assert sorted(states) == sorted(
        [
            *((group.group_id, state) for state in ("administrator", "joined", "left")),
            *((other, state) for state in ("administrator", "joined")),
        ]
    )


@rule("HOT-GRP-1")
async def test_a_new_number_is_opened_and_added(desk: GroupDesk) -> None:
    group, (boss, _) = await desk.group()
    number, imsi = Msisdn("38668999999"), Imsi("293408999999999")
    assert await desk.groups.add_new(group, msisdn=number, imsi=imsi, puk="11112222", package=None)
    assert not await desk.groups.add_new(group, msisdn=number, imsi=imsi, puk="11112222", package=None)
    assert (await desk.view(number)).role == "member"
    other = desk.groups.add_new(group, msisdn=number, imsi=Imsi("293408888888888"), puk="11112222", package=None)
    assert await refused(other) == "exists"
    assert len(await roles(desk, group)) == 3
    # Number and IMSI alone are not enough to get an existing number.
    sold = Msisdn("38668999990")
    await desk.accounts.open(msisdn=sold, imsi=Imsi("293408999999990"), credit_micro_eur=0, package=None)
    grab = desk.groups.add_new(group, msisdn=sold, imsi=Imsi("293408999999990"), puk="11112222", package=None)
    assert await refused(grab) == "no_puk"
    assert await refused(desk.groups.read("nobody's")) == "group"
    assert boss == (await roles(desk, group))[0][0]


@rule("HOT-GRP-1")
async def test_wrong_entries_of_a_puk_are_bounded(desk: GroupDesk) -> None:
    group, _ = await desk.group()
    number = await desk.opened()
    for _ in range(MAX_PUK_TRIES - 1):
        assert await refused(desk.groups.add(group, msisdn=number, puk="00000000")) == "puk"
    await desk.groups.check_puk(number, puk=PUK)
    assert (await desk.view(number)).puk_tries == 0, "a right entry forgives the wrong ones"
    for _ in range(MAX_PUK_TRIES):
        assert await refused(desk.groups.add(group, msisdn=number, puk="00000000")) == "puk"
    assert await refused(desk.groups.add(group, msisdn=number, puk=PUK)) == "puk_blocked"
    await desk.groups.set_puk(number, puk="22223333")
    assert await desk.groups.add(group, msisdn=number, puk="22223333")


@rule("HOT-GRP-1")
async def test_a_new_sim_has_a_puk_of_its_own(desk: GroupDesk) -> None:
    group, _ = await desk.group()
    number = await desk.opened()
    view = await desk.view(number)
    assert view.puk_known
    await desk.ledger.change_imsi(view.account_id, imsi="293407777777777", **desk.when)
    assert not (await desk.view(number)).puk_known
    assert await refused(desk.groups.add(group, msisdn=number, puk=PUK)) == "no_puk"
    await desk.groups.set_puk(number, puk="33334444")
    assert await desk.groups.add(group, msisdn=number, puk="33334444")


@rule("HOT-GRP-1")
async def test_another_administrator(desk: GroupDesk) -> None:
    group, (boss, member) = await desk.group()
    stranger = await desk.opened()
    assert await refused(desk.groups.change_administrator(group, msisdn=stranger)) == "group"
    assert await desk.groups.change_administrator(group, msisdn=member)
    assert not await desk.groups.change_administrator(group, msisdn=member)
    assert await roles(desk, group) == [(member, "administrator"), (boss, "member")]
    assert await desk.groups.remove(group, msisdn=boss)


@rule("HOT-GRP-1")
async def test_accounts_that_end_change_their_number_or_move_stay_right(desk: GroupDesk) -> None:
    group, (boss, gone, renamed, moved) = await desk.group(3)
    await desk.accounts.terminate(gone)
    new = Msisdn("38668555555")
    await desk.ledger.change_msisdn((await desk.view(renamed)).account_id, msisdn=new, **desk.when)
    old_id = (await desk.view(moved)).account_id
    partition = (int(old_id[:2]) + 1) % PARTITIONS
    await desk.accounts.move(moved, partition=partition)
    assert await roles(desk, group) == [(boss, "administrator"), *sorted([(new, "member"), (moved, "member")])]
    # The note of the move expires: the account is found by the part of its id that stays.
    await desk.ledger._ask("test", int(old_id[:2]), b"DEL", desk.ledger._account_keys(old_id).account + old_id.encode())
    assert len(await roles(desk, group)) == 3
    assert len(await desk.groups.tidy(group)) == 1
    view = await desk.ledger.read_group(group)
    assert view is not None and len(view.numbers) == 3 and view.steps == ()
    assert (await desk.view(moved)).account_id in view.numbers, "its new id is noted"
    again = await desk.opened()
    assert await desk.groups.add(group, msisdn=again, puk=PUK)
    assert await desk.transfer(boss, moved, 1 * EUR, "t1")
    # The administrator ends: another takes its place.
    await desk.accounts.terminate(boss)
    assert await desk.groups.tidy(group) == []
    assert await desk.groups.change_administrator(group, msisdn=moved)
    assert len(await desk.groups.tidy(group)) == 1
    assert (await roles(desk, group))[0] == (moved, "administrator")


@rule("HOT-GRP-1", "HOT-CC-1")
async def test_a_limit_of_all_numbers_is_set_at_once(desk: GroupDesk) -> None:
    group, numbers = await desk.group(3)
    assert await desk.groups.set_limit(group, micro_eur=30 * EUR) == 4
    assert [(await desk.view(each)).limit_micro_eur for each in numbers] == [30 * EUR] * 4
    later = await desk.opened()
    await desk.groups.add(group, msisdn=later, puk=PUK)
    assert (await desk.view(later)).limit_micro_eur == 30 * EUR
    await desk.groups.set_limit(group, micro_eur=None)
    assert (await desk.view(later)).limit_micro_eur is None


@rule("HOT-GRP-1", "HOT-PKG-14")
async def test_all_numbers_share_a_pool_in_one_partition(desk: GroupDesk) -> None:
    group, numbers = await desk.group(3)
    before = {(await desk.view(each)).account_id.partition("-")[0] for each in numbers}
    assert len(before) > 1, "this test needs numbers of several partitions"
    assert await desk.groups.share(group) == 4
    later = await desk.opened()
    await desk.groups.add(group, msisdn=later, puk=PUK)
    views = [await desk.view(each) for each in (*numbers, later)]
    assert {view.pool for view in views} == {f"group-{group}"}
    assert {view.account_id.partition("-")[0] for view in views} == {views[0].account_id.partition("-")[0]}
    found = await desk.ledger.read_group(group)
    assert found is not None and set(found.numbers) == {view.account_id for view in views}


async def test_a_step_that_nobody_finished_is_continued(desk: GroupDesk) -> None:
    group, (_, member) = await desk.group()
    joining, busy = await desk.opened(), await desk.opened()
    step = GroupStep(StepKind.JOIN, (await desk.view(joining)).account_id)
    await desk.ledger.post_step(group, step, now=desk.now)
    leaving = GroupStep(StepKind.LEAVE, (await desk.view(member)).account_id)
    await desk.ledger.post_step(group, leaving, now=desk.now)
    await desk.recover()
    assert [each[0] for each in await roles(desk, group)][1:] == [joining]
    other, _ = await desk.group()
    await desk.groups.add(other, msisdn=busy, puk=PUK)
    await desk.ledger.post_step(group, GroupStep(StepKind.JOIN, (await desk.view(busy)).account_id), now=desk.now)
    await desk.recover()
    view = await desk.ledger.read_group(group)
    assert view is not None and view.steps == () and len(view.numbers) == 2, "it is in another group: dropped"


@rule("HOT-GRP-2")
async def test_the_books_are_right_while_transfers_are_under_way(desk: GroupDesk) -> None:
    """Many at once, in both directions, some of them refused; the audit runs all the while."""
    _, numbers = await desk.group(5, credit=100 * EUR)
    chance, going = random.Random(7), True

    async def transfers(one: int) -> None:
        for n in range(25):
            sender, receiver = (numbers[0], numbers[one]) if chance.random() < 0.5 else (numbers[one], numbers[0])
            with contextlib.suppress(RefusedError):
                await desk.transfer(sender, receiver, chance.choice((1, EUR, 30 * EUR)), f"{one}-{n}")

    async def audits() -> int:
        passes = 0
        while going:
            report = await desk.audited()
            assert report.paid_in_micro_eur == 600 * EUR
            passes += 1
        return passes

    auditing = asyncio.create_task(audits())
    await asyncio.gather(*(transfers(one) for one in range(1, 6)))
    going = False
    assert await auditing > 1
    report = await desk.audited()
    assert (report.in_transit_micro_eur, report.transfers, report.credit_micro_eur) == (0, 0, 600 * EUR)
    assert sum(each["k"] == "transfer_in" for each in await journal(desk.ledger)) > 50


@rule("HOT-GRP-2")
async def test_a_repeated_transfer_is_told_so_after_the_member_has_left(desk: GroupDesk) -> None:
    group, (boss, member) = await desk.group()
    assert await desk.transfer(boss, member, 5 * EUR, "T1")
    await desk.groups.remove(group, msisdn=member)
    assert not await desk.transfer(boss, member, 5 * EUR, "T1")
    assert await refused(desk.transfer(boss, member, 4 * EUR, "T1")) == "reference"
    assert await refused(desk.transfer(boss, member, 5 * EUR, "T2")) == "group"
    assert (await desk.credit(boss), await desk.credit(member)) == (15 * EUR, 25 * EUR)
    assert sum(each["k"] == "transfer_out" for each in await journal(desk.ledger)) == 1
