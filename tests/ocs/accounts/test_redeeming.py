"""Vouchers are redeemed once, and guessing them is hopeless (HOT-TOP-2, HOT-TOP-3), on a real Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ocs.accounts.errors import AccountError, RefusedError, UnknownError
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountAndPool, AccountOperations
from ocs.accounts.redeeming import Redeemed
from ocs.accounts.voucher_batches import Serials
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.limits import MAX_WRONG_VOUCHERS
from ocs.ledger.contract.vouchers import VoucherState
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.values.identities import Msisdn
from ocs.values.products import PackageTerms
from ocs.values.top_ups import Channel
from ocs.values.voucher_numbers import VoucherNumber, voucher_id
from tests.ocs.accounts.voucher_desk import EUR, NOW, Desk, desk_of, unknown_number
from tests.ocs.ledger.books import journal
from tests.rules import rule

AT = {"now": NOW, "month": 202611}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("vouchers"), durability="everysec")
    yield server.acquire()
    server.release()


@pytest.fixture
async def desk(url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_of(url, tmp_path) as desk:
        yield desk


async def answer(work: Any) -> str:
    """ "applied", "again", or the code of the refusal."""
    try:
        done: Redeemed = await work
    except AccountError as error:
        return error.code
    return "applied" if done.applied else "again"


async def events(desk: Desk, msisdn: Msisdn) -> list[dict[str, Any]]:
    account_id = await desk.accounts.find(msisdn)
    return [each for each in await journal(desk.ledger) if each["a"] == account_id]


# -- once


@rule("HOT-TOP-1")
@rule("HOT-TOP-2")
async def test_a_voucher_tops_up_once_and_is_spent(desk: Desk) -> None:
    first, second = await desk.opened(EUR), await desk.opened()
    (number,) = await desk.sold()
    done = await desk.redeeming.redeem(first, number)
    assert (done.applied, done.value_micro_eur, done.credit_micro_eur) == (True, 10 * EUR, 11 * EUR)
    assert await answer(desk.redeeming.redeem(first, number)) == "again", "its own repetition is no error"
    assert await answer(desk.redeeming.redeem(second, number)) == "spent"
    assert (await desk.credit(first), await desk.credit(second)) == (11 * EUR, 0)
    voucher = await desk.batches.by_number(number)
    assert voucher.state is VoucherState.SPENT and voucher.is_claimed_by(await desk.accounts.find(first))
    (top_up,) = [each for each in await events(desk, first) if each["k"] == "topup"]
    assert (top_up["channel"], top_up["ref"], top_up["credit_in"]) == ("voucher", done.reference, 10 * EUR)
    assert number not in str(await journal(desk.ledger)), "the number itself is in no record"


@rule("HOT-TOP-2")
async def test_sixteen_at_once_get_it_once(desk: Desk) -> None:
    accounts = [await desk.opened() for _ in range(16)]
    (number,) = await desk.sold()
    answers = Counter(await asyncio.gather(*(answer(desk.redeeming.redeem(each, number)) for each in accounts)))
    assert answers["applied"] == 1 and set(answers) <= {"applied", "spent", "busy"}
    assert sorted([await desk.credit(each) for each in accounts]) == [0] * 15 + [10 * EUR]


async def test_one_account_sixteen_times_at_once_gets_it_once(desk: Desk) -> None:
    account = await desk.opened()
    (number,) = await desk.sold()
    answers = Counter(await asyncio.gather(*(answer(desk.redeeming.redeem(account, number)) for _ in range(16))))
    assert answers == {"applied": 1, "again": 15}
    assert await desk.credit(account) == 10 * EUR


@rule("HOT-TOP-2")
async def test_an_expired_voucher_is_refused(desk: Desk) -> None:
    account = await desk.opened()
    in_time, too_late = await desk.sold(2, expires_at=NOW + 100)
    desk.now = NOW + 99
    assert await answer(desk.redeeming.redeem(account, in_time)) == "applied"
    desk.now = NOW + 100
    assert await answer(desk.redeeming.redeem(account, too_late)) == "expired"
    assert (await desk.batches.by_number(too_late)).has_expired(desk.now)
    assert await desk.credit(account) == 10 * EUR


# -- refused, and given back


@rule("HOT-ACC-7")
async def test_a_voucher_beyond_the_ceiling_is_refused_whole_and_stays_active(desk: Desk) -> None:
    rich, poor = await desk.opened(190 * EUR + 1), await desk.opened()
    (number,) = await desk.sold()
    assert await answer(desk.redeeming.redeem(rich, number)) == "ceiling"
    assert await desk.credit(rich) == 190 * EUR + 1
    assert (await desk.batches.by_number(number)).state is VoucherState.ACTIVE
    assert await answer(desk.redeeming.redeem(poor, number)) == "applied"
    assert await answer(desk.redeeming.redeem(rich, number)) == "spent"


@rule("HOT-ACC-7")
@pytest.mark.parametrize("channel", [each for each in Channel if each is not Channel.VOUCHER])
async def test_the_ceiling_holds_on_every_other_channel(desk: Desk, channel: Channel) -> None:
    account = await desk.opened(190 * EUR)

    async def top_up(micro_eur: int) -> str:
        reference = Reference(f"{account} {micro_eur}")
        try:
            await desk.accounts.top_up(account, amount_micro_eur=micro_eur, reference=reference, channel=channel)
        except RefusedError as error:
            return error.code
        return "applied"

    assert await top_up(10 * EUR + 1) == "ceiling"
    assert await top_up(10 * EUR) == "applied"
    found = [each for each in await events(desk, account) if each["k"] == "topup"]
    assert [(each["channel"], each["ref"]) for each in found] == [(channel.value, f"{account} {10 * EUR}")]


async def test_a_terminated_account_gives_the_voucher_back(desk: Desk) -> None:
    """It was claimed before the account ended."""
    gone, other = await desk.opened(), await desk.opened()
    (number,) = await desk.sold()
    await claim(desk, gone, number)
    await desk.accounts.terminate(gone)
    assert await answer(desk.redeeming.redeem(other, number)) == "applied"
    with pytest.raises(UnknownError):
        await desk.redeeming.redeem(gone, number)


async def test_a_refusal_of_a_claim_is_final(desk: Desk) -> None:
    """A late repetition of the step that credits does nothing, though it would be possible now."""
    rich, other = await desk.opened(200 * EUR), await desk.opened()
    (number,) = await desk.sold()
    late = await claim(desk, rich, number)
    assert await answer(desk.redeeming.redeem(other, number)) == "applied", "the rich one's claim was refused for it"
    await desk.ledger.subscribe(
        late.account_id,
        product=PackageTerms("FEE", 50 * EUR, 0, (), renews=False),
        reference="spends",
        any_state=True,
        **AT,
    )
    with pytest.raises(LedgerError, match="refused before"):
        await desk.ledger.credit_voucher(late.account_id, reference=late.reference, value_micro_eur=10 * EUR, **AT)
    await desk.ledger.settle_voucher(late, spent=True, now=NOW)
    assert await answer(desk.redeeming.redeem(other, number)) == "again"
    assert (await desk.credit(rich), await desk.credit(other)) == (150 * EUR, 10 * EUR)


async def claim(desk: Desk, msisdn: Msisdn, number: VoucherNumber) -> Any:
    """The first step of a redemption whose process died then."""
    voucher = await desk.batches.by_number(number)
    claimed = await desk.ledger.claim_voucher(voucher.voucher_id, await desk.accounts.find(msisdn), now=desk.now)
    assert claimed.voucher is not None
    return claimed.voucher


# -- what a crash leaves


async def test_the_next_comer_finishes_a_claim_for_who_made_it(desk: Desk) -> None:
    first, second = await desk.opened(), await desk.opened()
    (number,) = await desk.sold()
    await claim(desk, first, number)
    assert await answer(desk.redeeming.redeem(second, number)) == "spent"
    assert (await desk.credit(first), await desk.credit(second)) == (10 * EUR, 0)
    assert await answer(desk.redeeming.redeem(first, number)) == "again"


async def test_open_claims_are_finished_without_anybody_coming(desk: Desk) -> None:
    account = await desk.opened()
    numbers = await desk.sold(3)
    for each in numbers:
        await claim(desk, account, each)

    async def finished() -> int:
        return sum([(await desk.redeeming.finish_open_claims(n))[0] for n in range(desk.ledger.partitions)])

    assert await finished() == 0, "they may be under way"
    desk.now = NOW + 11
    assert await finished() == 3
    assert await finished() == 0
    assert await desk.credit(account) == 30 * EUR


async def test_a_claim_follows_an_account_that_moves(desk: Desk) -> None:
    account = await desk.opened()
    numbers = await desk.sold(2)
    for each in numbers:
        await claim(desk, account, each)
    home = int((await desk.accounts.find(account)).partition("-")[0])
    for number, partition in zip(numbers, ((home + 1) % 16, (home + 2) % 16), strict=True):
        await desk.accounts.move(account, partition=partition)
        assert await answer(desk.redeeming.redeem(account, number)) == "applied"
        assert await answer(desk.redeeming.redeem(account, number)) == "again"
    await desk.accounts.move(account, partition=home)
    assert [await answer(desk.redeeming.redeem(account, each)) for each in numbers] == ["again", "again"]
    assert await desk.credit(account) == 20 * EUR


async def test_a_claim_finds_an_account_whose_move_is_long_forgotten(desk: Desk) -> None:
    """The old document, which told the new id, is gone."""
    account = await desk.opened()
    (number,) = await desk.sold()
    before = (await claim(desk, account, number)).account_id
    home = int(before.partition("-")[0])
    await desk.accounts.move(account, partition=(home + 5) % 16)
    key = desk.ledger._account_keys(before).account + before.encode()
    assert await desk.ledger._ask("test", home, b"DEL", key) == 1
    desk.now += 60
    assert (await desk.redeeming.finish_open_claims(partition_of(desk, number)))[0] >= 1
    assert await desk.credit(account) == 10 * EUR


async def test_a_claim_of_an_account_that_exists_no_more_gives_the_voucher_back(desk: Desk) -> None:
    gone, other = await desk.opened(), await desk.opened()
    (number,) = await desk.sold()
    account_id = (await claim(desk, gone, number)).account_id
    key = desk.ledger._account_keys(account_id).account + account_id.encode()
    await desk.ledger._ask("test", int(account_id.partition("-")[0]), b"DEL", key)
    assert await answer(desk.redeeming.redeem(other, number)) == "applied"


def partition_of(desk: Desk, number: VoucherNumber) -> int:
    key = desk.ledger._voucher_key_known
    return desk.ledger._keys.partition_of_name(voucher_id(number, key))


# -- wrong entries


@rule("HOT-TOP-3")
async def test_twenty_wrong_entries_block_until_care_lifts_it(desk: Desk, url: str, tmp_path: Path) -> None:
    account, other = await desk.opened(), await desk.opened()
    name, (printed,) = await desk.printed(1)
    _, (blocked,) = await blocked_batch(desk)
    wrong = [printed, blocked, VoucherNumber("1234567890123456"), *(unknown_number() for _ in range(17))]
    texts = set()
    for at, number in enumerate(wrong):
        with pytest.raises(RefusedError) as refused:
            await desk.redeeming.redeem(account, number)
        texts.add(str(refused.value).partition(":")[0])
        assert refused.value.code == "voucher" and at < 20
    assert len(texts) == 1, "one cannot tell a voucher that is not active from none"
    await desk.batches.activate(name)
    assert await answer(desk.redeeming.redeem(account, printed)) == "voucher_blocked"
    assert (await desk.accounts.read(account)).view.vouchers_blocked
    assert await answer(desk.redeeming.redeem(account, unknown_number())) == "voucher_blocked"
    async with desk_of(url, tmp_path) as restarted:
        assert await answer(restarted.redeeming.redeem(account, printed)) == "voucher_blocked"
    await desk.accounts.top_up(account, amount_micro_eur=EUR, reference=Reference(f"{account} still"))
    assert await desk.redeeming.lift_block(account) is True
    assert await desk.redeeming.lift_block(account) is False
    assert await answer(desk.redeeming.redeem(other, unknown_number())) == "voucher"
    assert await answer(desk.redeeming.redeem(account, printed)) == "applied"
    told = [(each["k"], each.get("state"), each.get("wrong")) for each in await events(desk, account)]
    counted = [each for each in told if each[0].startswith("voucher")]
    assert counted[:20] == [("voucher", "wrong", n + 1) for n in range(20)]
    assert counted[20:] == [("voucher_blocked", None, 20), ("voucher", "lifted", 20)]


async def blocked_batch(desk: Desk) -> tuple[str, list[VoucherNumber]]:
    name, numbers = await desk.printed(1)
    await desk.batches.activate(name)
    await desk.batches.block(name)
    return name, numbers


@rule("HOT-TOP-3")
async def test_guesses_at_the_same_time_learn_no_more_than_one_after_the_other(desk: Desk) -> None:
    account = await desk.opened()
    right = await desk.sold(1)
    spent = await desk.sold(1)
    await desk.redeeming.redeem(await desk.opened(), spent[0])
    guesses = [unknown_number() for _ in range(60)]
    answers = Counter(await asyncio.gather(*(answer(desk.redeeming.redeem(account, each)) for each in guesses)))
    assert answers == {"voucher": MAX_WRONG_VOUCHERS, "voucher_blocked": 40}
    # An entry that has looked at the block before the last wrong one gets neither the money nor the answer.
    late = desk.redeeming_for(SeenBefore)
    assert await answer(late.redeem(account, right[0])) == "voucher_blocked"
    assert await answer(late.redeem(account, spent[0])) == "voucher_blocked"
    assert await desk.credit(account) == 0
    assert (await desk.batches.by_number(right[0])).state is VoucherState.ACTIVE, "it is given back"


class SeenBefore(AccountOperations):
    """Accounts as they were before the wrong entries."""

    async def read(self, msisdn: Msisdn) -> AccountAndPool:
        return AccountAndPool(replace((await super().read(msisdn)).view, wrong_vouchers=0), None)


async def test_a_repeated_entry_counts_once_and_right_ones_never(desk: Desk) -> None:
    account = await desk.opened()
    number, spent, late = unknown_number(), await desk.sold(1), await desk.sold(1, expires_at=NOW + 1)
    await desk.redeeming.redeem(await desk.opened(), spent[0])
    desk.now += 1
    for _ in range(3):
        assert await answer(desk.redeeming.redeem(account, number, entry="k:1")) == "voucher"
        assert await answer(desk.redeeming.redeem(account, spent[0])) == "spent"
        assert await answer(desk.redeeming.redeem(account, late[0])) == "expired"
    assert (await desk.accounts.read(account)).view.wrong_vouchers == 1
    assert await answer(desk.redeeming.redeem(account, unknown_number(), entry="k:1")) == "voucher"
    assert (await desk.accounts.read(account)).view.wrong_vouchers == 2, "another number is another entry"


# -- batches


@rule("HOT-TOP-2")
async def test_only_active_vouchers_of_the_part_named_can_be_redeemed(desk: Desk) -> None:
    account = await desk.opened()
    name, numbers = await desk.printed(10, EUR)
    assert (await desk.batches.activate(name, Serials(3, 5))).vouchers == 3
    found = [await answer(desk.redeeming.redeem(account, each)) for each in numbers]
    assert found == ["voucher"] * 2 + ["applied"] * 3 + ["voucher"] * 5
    blocked = await desk.batches.block(name)
    assert (blocked.vouchers, blocked.redeemed) == (7, 3)
    (view,) = [each for each in await desk.batches.all() if each.batch.id == name]
    assert {state: count for state, count in view.counts.items() if count} == {
        VoucherState.SPENT: 3,
        VoucherState.BLOCKED: 7,
    }
    assert [each.partition(" ")[2] for each in view.batch.actions] == [
        "10 generated",
        "3 of 3-5 active",
        "7 blocked",
    ]
    assert (await desk.batches.by_serial(name, 3)).state is VoucherState.SPENT
    with pytest.raises(UnknownError):
        await desk.batches.by_serial(name, 11)


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_the_file_is_private_and_written_once(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    batch = {"count": 3, "value_micro_eur": EUR, "expires_at": NOW + 10}
    await desk.batches.generate(name="priv1", file=file, **batch)
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert text.splitlines()[0] == "serial,number,value_eur,expires" and len(text.splitlines()) == 4
    for name, path in (("priv1", tmp_path / "other.csv"), ("priv2", file)):
        with pytest.raises(RefusedError) as refused:
            await desk.batches.generate(name=name, file=path, **batch)
        assert refused.value.code == "exists"
    assert file.read_text() == text
    assert files(tmp_path) == ["v.csv"]


async def test_a_batch_whose_making_was_interrupted_can_only_be_discarded(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"

    def power_cut(made: int) -> None:
        raise KeyboardInterrupt

    terms = {"name": "broken", "count": 5, "value_micro_eur": EUR, "expires_at": 0, "file": file}
    with pytest.raises(KeyboardInterrupt):
        await desk.batches.generate(**terms, made=power_cut)
    assert files(tmp_path) == []
    for work in (desk.batches.activate("broken"), desk.batches.generate(**terms)):
        with pytest.raises(RefusedError):
            await work
    await desk.batches.discard("broken")
    await desk.batches.generate(**terms)
    with pytest.raises(RefusedError, match="complete"):
        await desk.batches.discard("broken")
    assert (await desk.batches.activate("broken")).vouchers == 5


async def test_a_number_that_another_voucher_has_is_drawn_again(desk: Desk) -> None:
    name, (first,) = await desk.printed(1)
    drawn = iter([int(first[:-1]), int(first[:-1]), 123])
    desk.batches._below = lambda limit: next(drawn)
    other, (second,) = await desk.printed(1)
    assert second != first and second[:-1] == "123".zfill(15)
    assert (await desk.batches.by_number(first)).batch == name
    assert (await desk.batches.by_number(second)).batch == other


# -- separate accounts


@rule("HOT-GRP-5")
async def test_a_voucher_of_a_member_goes_into_its_separate_account(desk: Desk) -> None:
    """Also if a crash left the claim, and somebody else finishes it."""
    member, other = await desk.opened(EUR), await desk.opened()
    account_id = await desk.accounts.find(member)
    first, second, third, left = await desk.sold(4)
    assert await answer(desk.redeeming.redeem(member, first, separate=True)) == "no_separate"
    assert (await desk.batches.by_number(first)).state is VoucherState.ACTIVE
    await desk.ledger.join_group(account_id, group_id="G1", role="member", **AT)
    await desk.ledger.set_separate(account_id, is_open=True, **AT)
    done = await desk.redeeming.redeem(member, first, separate=True)
    assert (done.applied, done.credit_micro_eur) == (True, 10 * EUR)
    assert await answer(desk.redeeming.redeem(member, first)) == "again", "wherever it went"
    await desk.redeeming.redeem(member, second)
    id_ = (await desk.batches.by_number(third)).voucher_id
    await desk.ledger.claim_voucher(id_, account_id, now=desk.now, separate=True)
    assert await answer(desk.redeeming.redeem(other, third)) == "spent"
    view = (await desk.accounts.read(member)).view
    assert (view.credit_micro_eur, view.separate_micro_eur) == (11 * EUR, 20 * EUR)
    for _ in range(18):
        (number,) = await desk.sold()
        await desk.redeeming.redeem(member, number, separate=True)
    assert await answer(desk.redeeming.redeem(member, left, separate=True)) == "ceiling", "HOT-ACC-7 holds there too"
    assert await answer(desk.redeeming.redeem(member, left)) == "applied"
