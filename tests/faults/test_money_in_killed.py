"""A process that redeems a voucher or imports top-ups is killed (kill -9) before and after each of its Redis commands.
Whoever comes then, the value is credited once, to one account (invariant 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest

from ocs.accounts.errors import RefusedError
from ocs.accounts.top_up_files import Outcome, Report, TopUpImport, Totals, read_top_ups
from ocs.ledger.audit import audit
from ocs.ledger.contract.vouchers import VoucherState
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.settings.top_up_files import TopUpFileSection
from ocs.values.identities import Msisdn
from ocs.values.voucher_numbers import VoucherNumber
from tests.conftest import RedisServer
from tests.ocs.accounts.voucher_desk import EUR, PARTITIONS, Desk, Offer
from tests.ocs.ledger.books import journal
from tests.rules import rule

SETTINGS = LedgerSettings(max_clock_skew_s=0, partitions=PARTITIONS)
Moment = Literal["before", "after"]
End = tuple[VoucherState, int]
SPENT_BY_FIRST = (VoucherState.SPENT, 10 * EUR)
SPENT_BY_SECOND = (VoucherState.SPENT, 0)
NOT_SPENT = (VoucherState.ACTIVE, 0)
Resume = Callable[[Desk, Msisdn, Msisdn, VoucherNumber], Coroutine[Any, Any, None]]


class DyingLedger(RedisLedger):
    """Kills its process before or after one of its commands."""

    asked = 0
    dies_at = 0
    moment: Moment = "before"

    async def _ask(self, operation: str, partition: int, *command: Any, **more: Any) -> Any:
        if operation in ("installation", "scan"):  # connecting, and the key that is made once
            return await super()._ask(operation, partition, *command, **more)
        self.asked += 1
        dies = self.asked == self.dies_at
        if dies and self.moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await super()._ask(operation, partition, *command, **more)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def in_child(url: str, folder: Path, dies_at: int, moment: Moment, work: Callable[[Desk], Awaitable[object]]) -> bool:
    """Do `work` in a process that is killed at its command `dies_at`. False = it had fewer, and has finished."""

    async def until_killed() -> None:
        ledger = await DyingLedger.connect(url, SETTINGS)
        ledger.dies_at, ledger.moment = dies_at, moment
        with contextlib.suppress(RefusedError):
            await work(Desk(ledger, folder))
        await ledger.close()

    def child() -> NoReturn:
        asyncio.run(until_killed())
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed"
    return os.WIFSIGNALED(status)


def on_the_ledger(url: str, folder: Path, work: Callable[[Desk], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        ledger = await RedisLedger.connect(url, SETTINGS)
        try:
            return await work(Desk(ledger, folder))
        finally:
            await ledger.close()

    return asyncio.run(run())


async def tolerant(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except RefusedError as error:
        assert error.code in ("spent", "ceiling", "busy"), error


async def same_again(desk: Desk, first: Msisdn, second: Msisdn, number: VoucherNumber) -> None:
    await tolerant(desk.redeeming.redeem(first, number))
    await tolerant(desk.redeeming.redeem(second, number))


async def another_comes(desk: Desk, first: Msisdn, second: Msisdn, number: VoucherNumber) -> None:
    await tolerant(desk.redeeming.redeem(second, number))


async def nobody_comes(desk: Desk, first: Msisdn, second: Msisdn, number: VoucherNumber) -> None:
    desk.now += 60
    for partition in range(PARTITIONS):
        _, stuck = await desk.redeeming.finish_open_claims(partition)
        assert stuck == 0


async def all_at_once(desk: Desk, first: Msisdn, second: Msisdn, number: VoucherNumber) -> None:
    desk.now += 60
    recovery = (desk.redeeming.finish_open_claims(partition) for partition in range(PARTITIONS))
    entries = (tolerant(desk.redeeming.redeem(who, number)) for who in (first, second, first))
    await asyncio.gather(*entries, *recovery)


def kills() -> Iterator[tuple[int, Moment]]:
    for dies_at in itertools.count(1):
        yield dies_at, "before"
        yield dies_at, "after"


async def prepare(desk: Desk, credit: int) -> tuple[Msisdn, Msisdn, VoucherNumber]:
    (number,) = await desk.sold()
    return await desk.opened(credit), await desk.opened(), number


async def end_of(desk: Desk, first: Msisdn, second: Msisdn, number: VoucherNumber, before: int) -> End:
    """State of the voucher, and what the first account got. `before`: its credit before."""
    voucher = await desk.batches.by_number(number)
    paid = await desk.credit(first) - before, await desk.credit(second)
    spent = voucher.state is VoucherState.SPENT
    assert sorted(paid) == [0, 10 * EUR if spent else 0]
    top_ups = [each["ref"] for each in await journal(desk.ledger) if each["k"] == "topup"]
    assert len([each for each in top_ups if each.startswith(f"{voucher.batch}/")]) == spent
    return voucher.state, paid[0]


@rule("HOT-TOP-2")
@pytest.mark.parametrize(
    ("resume", "credit", "ends"),
    [
        (same_again, 0, {SPENT_BY_FIRST}),
        (another_comes, 0, {SPENT_BY_FIRST, SPENT_BY_SECOND}),
        (nobody_comes, 0, {SPENT_BY_FIRST, NOT_SPENT}),
        (all_at_once, 0, {SPENT_BY_FIRST}),
        (same_again, 195 * EUR, {SPENT_BY_SECOND}),
        (another_comes, 195 * EUR, {SPENT_BY_SECOND}),
        (nobody_comes, 195 * EUR, {NOT_SPENT}),
        (all_at_once, 195 * EUR, {SPENT_BY_SECOND}),
    ],
)
def test_no_cent_is_lost_or_doubled(
    own_redis: RedisServer, tmp_path: Path, resume: Resume, credit: int, ends: set[End]
) -> None:
    """`credit` of the first account, whose process is killed; with 195 EUR it cannot take the voucher of 10 EUR."""

    async def resumed(desk: Desk) -> End:
        await resume(desk, *subjects)
        first, second, number = subjects
        return await end_of(desk, first, second, number, credit)

    seen = set[End]()
    for dies_at, moment in kills():
        subjects = on_the_ledger(own_redis.url, tmp_path, lambda desk: prepare(desk, credit))
        first, _, number = subjects
        killed = in_child(
            own_redis.url,
            tmp_path,
            dies_at,
            moment,
            lambda desk: desk.redeeming.redeem(first, number),  # noqa: B023
        )
        seen.add(on_the_ledger(own_redis.url, tmp_path, resumed))
        if not killed:
            break
    assert dies_at > (7 if credit == 0 else 5), "the steps were not reached"
    assert ends <= seen if resume is all_at_once else ends == seen

    async def books(desk: Desk) -> None:
        report = await audit(desk.ledger, now=desk.now, month=202611)
        assert report.ok, report.violations

    on_the_ledger(own_redis.url, tmp_path, books)


@rule("HOT-TOP-1")
def test_an_import_that_is_killed_is_finished_by_repeating_it(own_redis: RedisServer, tmp_path: Path) -> None:
    """The file has three rows of two accounts; one of them is refused."""
    file = tmp_path / "day.csv"

    async def imported(desk: Desk) -> Report:
        rows = read_top_ups(file, TopUpFileSection())
        return await TopUpImport(desk.accounts, desk.ledger, lambda: Offer().when(desk.now)).run(rows)

    async def opened(desk: Desk) -> tuple[Msisdn, Msisdn]:
        return await desk.opened(), await desk.opened(198 * EUR)

    async def credits(desk: Desk) -> list[int]:
        return [await desk.credit(poor), await desk.credit(rich)]

    for dies_at, moment in kills():
        poor, rich = on_the_ledger(own_redis.url, tmp_path, opened)
        day = f"{dies_at}-{moment}"
        file.write_text(f"msisdn,amount,reference\n{poor},5,{day}-1\n{rich},5,{day}-2\n{poor},7,{day}-3\n")
        killed = in_child(own_redis.url, tmp_path, dies_at, moment, imported)
        report = on_the_ledger(own_redis.url, tmp_path, imported)
        done = report.totals.get(Outcome.APPLIED, Totals()).rows + report.totals.get(Outcome.AGAIN, Totals()).rows
        assert (done, [each.reason for each in report.differences]) == (2, ["ceiling"])
        assert on_the_ledger(own_redis.url, tmp_path, credits) == [12 * EUR, 198 * EUR]
        if not killed:
            break
    assert dies_at > 8, "the steps were not reached"
