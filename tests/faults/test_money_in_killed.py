"""A process that redeems a voucher or imports top-ups is killed (kill -9) before and after each of its Redis commands.
Whoever comes then, the value is credited once, to one account (invariant 1).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

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
from tests.faults.dying_ledger import Moment, killed, kills
from tests.ocs.accounts.voucher_desk import EUR, PARTITIONS, Desk, Offer
from tests.ocs.ledger.books import journal
from tests.rules import rule

SETTINGS = LedgerSettings(max_clock_skew_s=0, partitions=PARTITIONS)
End = tuple[VoucherState, int]
SPENT_BY_FIRST = (VoucherState.SPENT, 10 * EUR)
SPENT_BY_SECOND = (VoucherState.SPENT, 0)
NOT_SPENT = (VoucherState.ACTIVE, 0)
Resume = Callable[[Desk, Msisdn, Msisdn, VoucherNumber], Coroutine[Any, Any, None]]


def in_child(url: str, folder: Path, dies_at: int, moment: Moment, work: Callable[[Desk], Awaitable[object]]) -> bool:
    """Do `work` in a process that is killed at its command `dies_at`. False = it had fewer, and has finished."""

    async def until_killed(ledger: RedisLedger) -> None:
        with contextlib.suppress(RefusedError):
            await work(Desk(ledger, folder))

    return killed(url, SETTINGS, until_killed, dies_at, moment)


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
        was_killed = in_child(
            own_redis.url,
            tmp_path,
            dies_at,
            moment,
            lambda desk: desk.redeeming.redeem(first, number),  # noqa: B023
        )
        seen.add(on_the_ledger(own_redis.url, tmp_path, resumed))
        if not was_killed:
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

    for dies_at, moment in kills(together=True):
        poor, rich = on_the_ledger(own_redis.url, tmp_path, opened)
        day = f"{dies_at}-{moment}"
        file.write_text(f"msisdn,amount,reference\n{poor},5,{day}-1\n{rich},5,{day}-2\n{poor},7,{day}-3\n")
        was_killed = in_child(own_redis.url, tmp_path, dies_at, moment, imported)
        report = on_the_ledger(own_redis.url, tmp_path, imported)
        done = report.totals.get(Outcome.APPLIED, Totals()).rows + report.totals.get(Outcome.AGAIN, Totals()).rows
        assert (done, [each.reason for each in report.differences]) == (2, ["ceiling"])
        assert on_the_ledger(own_redis.url, tmp_path, credits) == [12 * EUR, 198 * EUR]
        if not was_killed:
            break
    assert dies_at > 8, "the steps were not reached"
