"""A process is killed (kill -9) before and after each Redis command of a transfer, or of a step on a group. Whoever
comes then, no cent is made or lost (invariant 1), and group and accounts agree (HOT-GRP-1, HOT-GRP-2).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from ocs.accounts.errors import RefusedError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.values.identities import Msisdn
from tests.conftest import RedisServer
from tests.faults.dying_ledger import killed, kills
from tests.ocs.accounts.group_desk import EUR, PUK, GroupDesk
from tests.ocs.ledger.books import flush, journal
from tests.rules import rule

PARTITIONS = 4
"""Few: each audit and each recovery asks every one of them."""
SETTINGS = LedgerSettings(max_clock_skew_s=0, partitions=PARTITIONS)
AMOUNT = 5 * EUR
Numbers = list[Msisdn]
Work = Callable[[GroupDesk, str, Numbers], Coroutine[Any, Any, None]]


class Survivor:
    """A process that lives on: one loop, which does not run while another process is forked."""

    def __init__(self, url: str) -> None:
        flush(url)
        self.runner = asyncio.Runner()
        self.desk = self.runner.run(self._desk(url))

    async def _desk(self, url: str) -> GroupDesk:
        return GroupDesk(await RedisLedger.connect(url, SETTINGS))

    def do(self, work: Callable[[GroupDesk], Coroutine[Any, Any, Any]]) -> Any:
        return self.runner.run(work(self.desk))


@pytest.fixture
def survivor(redis_7: RedisServer) -> Iterator[Survivor]:
    found = Survivor(redis_7.url)
    yield found
    found.do(lambda desk: desk.ledger.close())
    found.runner.close()


# -- transfers


async def transfer(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    with contextlib.suppress(RefusedError):
        await desk.transfer(numbers[0], numbers[1], AMOUNT, f"t{numbers[0]}")


async def same_again(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await transfer(desk, group, numbers)
    await transfer(desk, group, numbers)


async def recovery(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.recover()


async def all_at_once(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    desk.now += 60
    recoveries = [desk.transfers.continue_partition(partition) for partition in range(PARTITIONS)]
    await asyncio.gather(transfer(desk, group, numbers), *recoveries, *recoveries_of(desk))


def recoveries_of(desk: GroupDesk) -> list[Coroutine[Any, Any, Any]]:
    return [desk.transfers.continue_partition(partition) for partition in range(PARTITIONS)]


async def receiver_moves(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await _move(desk, numbers[1])
    await desk.recover()


async def sender_moves(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await _move(desk, numbers[0])
    await desk.recover()


async def _move(desk: GroupDesk, number: Msisdn) -> None:
    before = (await desk.view(number)).account_id
    await desk.accounts.move(number, partition=(int(before.partition("-")[0]) + 1) % PARTITIONS)
    await desk.ledger._ask("test", int(before[:2]), b"DEL", desk.ledger._account_keys(before).account + before.encode())


async def receiver_ends(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.accounts.terminate(numbers[1])
    await desk.recover()


async def receiver_leaves(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.groups.remove(group, msisdn=numbers[1])
    await desk.recover()


async def receiver_is_full(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    full = 200 * EUR - await desk.credit(numbers[1])
    view = await desk.view(numbers[1])
    await desk.ledger.top_up(view.account_id, amount_micro_eur=full, reference=f"full {numbers[1]}", **desk.when)
    await desk.recover()


async def sender_ends(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.accounts.terminate(numbers[0])
    await desk.recover()


async def sender_ends_by_time_and_receiver_too(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    """The sweeper ends both while money is under way: it expires."""
    for number in numbers[:2]:
        await desk.ledger.terminate_account((await desk.view(number)).account_id, reason="life", **desk.when)
    await desk.recover()


@rule("HOT-GRP-2")
@pytest.mark.long
@pytest.mark.parametrize(
    "resume",
    [
        *(same_again, recovery, all_at_once, receiver_moves, sender_moves, receiver_ends, receiver_leaves),
        *(receiver_is_full, sender_ends, sender_ends_by_time_and_receiver_too),
    ],
)
def test_a_transfer_that_is_killed_makes_and_loses_no_cent(
    redis_7: RedisServer, survivor: Survivor, resume: Work
) -> None:
    outcomes = set()
    for dies_at, moment in kills():
        group, numbers = survivor.do(lambda desk: desk.group())

        async def work(ledger: RedisLedger, group: str = group, numbers: Numbers = numbers) -> None:
            await transfer(GroupDesk(ledger, survivor.desk.now), group, numbers)

        was_killed = killed(redis_7.url, SETTINGS, work, dies_at, moment)

        async def check(desk: GroupDesk, group: str = group, numbers: Numbers = numbers) -> str:
            await desk.audited()  # also while it is under way
            await resume(desk, group, numbers)
            return await outcome_of(desk, f"t{numbers[0]}")

        outcomes.add(survivor.do(check))
        if not was_killed:
            break
    assert dies_at > 8, "a transfer has that many commands"
    assert "arrived" in outcomes and outcomes <= {"arrived", "back", "not begun", "expired"}
    if resume is same_again or resume is all_at_once:
        assert outcomes == {"arrived"}
    if resume in (receiver_is_full, receiver_leaves):
        assert "back" in outcomes


async def outcome_of(desk: GroupDesk, reference: str) -> str:
    """What became of the transfer. Whatever it is, the books are right, and nothing is in transit."""
    report = await desk.audited()
    assert (report.in_transit_micro_eur, report.transfers) == (0, 0)
    found = [each for each in await journal(desk.ledger) if str(each["k"]).startswith("transfer_")]
    events = [each for each in found if each["ref"] == reference]
    kinds = sorted(str(each["k"]) for each in events)
    for partition in range(PARTITIONS):
        assert await desk.ledger.unfinished_transfers(partition, before=desk.now + 999, count=9) == []
    if not kinds:
        return "not begun"
    if kinds == ["transfer_in", "transfer_out"]:
        return "arrived"
    assert kinds == ["transfer_back", "transfer_out"], kinds
    return "expired" if any(each.get("expired") for each in events if each["k"] == "transfer_back") else "back"


# -- steps on groups


async def add(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.groups.add(group, msisdn=numbers[2], puk=PUK)


async def remove(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.groups.remove(group, msisdn=numbers[1])


async def change(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.groups.change_administrator(group, msisdn=numbers[1])


async def limit(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.groups.set_limit(group, micro_eur=9 * EUR)


async def share(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.groups.share(group)


async def create(desk: GroupDesk, group: str, numbers: Numbers) -> None:
    await desk.groups.create(name="Nova", administrator=numbers[2])


@rule("HOT-GRP-1")
@pytest.mark.long
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("work", [add, remove, change, limit, share, create])
def test_a_step_that_is_killed_is_done_or_not(
    redis_7: RedisServer, survivor: Survivor, work: Work, again: bool
) -> None:
    """`again`: the same is asked for again; else only the back office comes."""

    async def prepare(desk: GroupDesk) -> tuple[str, Numbers]:
        group, numbers = await desk.group()
        return group, [*numbers, await desk.opened()]

    for dies_at, moment in kills():
        group, numbers = survivor.do(prepare)

        async def dying(ledger: RedisLedger, group: str = group, numbers: Numbers = numbers) -> None:
            await work(GroupDesk(ledger, survivor.desk.now), group, numbers)

        was_killed = killed(redis_7.url, SETTINGS, dying, dies_at, moment)

        async def check(desk: GroupDesk, group: str = group, numbers: Numbers = numbers) -> None:
            if again:
                await work(desk, group, numbers)
            await desk.recover()
            await agree(desk, numbers)
            if again:
                await assert_done(desk, work, group, numbers)

        survivor.do(check)
        if not was_killed:
            break
    assert dies_at > 5


async def agree(desk: GroupDesk, numbers: Numbers) -> None:
    """Records of groups and accounts say the same, and no step is left."""
    await desk.audited()
    found: dict[str, tuple[str, str]] = {}
    for partition in range(PARTITIONS):
        assert await desk.ledger.unfinished_groups(partition, before=desk.now + 999, count=9) == []
        for group_id in await desk.ledger.group_ids(partition):
            state = await desk.groups.read(group_id)
            assert state.group.steps == () and state.numbers
            boss = await desk.ledger.locate(state.group.administrator)
            for view in state.numbers if {each.msisdn for each in state.numbers} & set(numbers) else ():
                role = "administrator" if view.account_id == boss else "member"
                assert view.msisdn not in found
                found[view.msisdn] = (group_id, role)
    for number in numbers:
        view = await desk.view(number)
        assert (view.group, view.role) == found.get(number, ("", ""))


async def assert_done(desk: GroupDesk, work: Work, group: str, numbers: Numbers) -> None:
    views = [await desk.view(each) for each in numbers]
    if work is add:
        assert views[2].group == group
    elif work is remove:
        assert views[1].group == ""
    elif work is change:
        assert (views[0].role, views[1].role) == ("member", "administrator")
    elif work is limit:
        assert {view.limit_micro_eur for view in views[:2]} == {9 * EUR}
    elif work is share:
        assert {view.pool for view in views[:2]} == {f"group-{group}"}
    else:
        assert views[2].role == "administrator"
