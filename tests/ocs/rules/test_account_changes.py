"""Blocks, another SIM or number, fees, the parts of the credit and pay-out (HOT-ACC-10, HOT-ACC-11, HOT-REC-3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ocs.accounts.errors import AccountError
from ocs.accounts.inputs import Reference
from ocs.accounts.life import LifeOperations
from ocs.accounts.operations import AccountOperations
from ocs.ledger.audit import audit
from ocs.ledger.contract.errors import LedgerError
from ocs.policy.life import LIFTED_BY, BlockReason, By, PayOut, may_lift
from ocs.values.identities import Imsi, Msisdn
from tests.catalogue import CATALOGUE
from tests.ocs.charging.ccr import IMS, SMS, seconds, sms_to, towards
from tests.ocs.rules.world import DAY_S, EUR, Subscriber, World
from tests.rules import rule

FRIEND = towards("tel:+38631234567")
NEW_IMSI, NEW_NUMBER = Imsi("293400000099999"), Msisdn("38670999999")


def life_of(world: World) -> LifeOperations:
    accounts = AccountOperations(world.ledger, world.catalogue, lambda: world.now, lambda: 77)
    return LifeOperations(accounts, world.ledger, world.catalogue, lambda: world.now)


def number_of(user: Subscriber) -> Msisdn:
    return Msisdn(user.msisdn)


async def fees(user: Subscriber) -> list[tuple[str, int]]:
    return [(each["id"], each["debit"]) for each in await user.events("package")]


# -- parts of the credit


@rule("HOT-ACC-10")
async def test_promotional_credit_pays_first_and_records_say_so(world: World) -> None:
    """2 EUR of 0.10 promotional: SMS at 0.069 EUR take 0.069, then 0.031 of 0.069, then nothing of it."""
    user = await world.subscriber(1.9)
    await world.ledger.top_up(
        user.account_id, amount_micro_eur=100_000, reference="gift", promotional=True, **world.when
    )
    left = []
    for _ in range(3):
        await user.message(SMS, sms_to("38631234567"))
        left.append((await user.view()).promotional_micro_eur)
    assert left == [31_000, 0, 0]
    charges = [each for each in await user.events("charge") if each["debit"]]
    assert [each.get("promo", 0) for each in charges] == [69_000, 31_000, 0]
    assert [each["svc"][0].get("promo", 0) for each in charges] == [69_000, 31_000, 0]
    assert (await audit(world.ledger, **world.when)).ok


@rule("HOT-ACC-10")
async def test_the_catalogue_says_the_order(world: World) -> None:
    text = (await _catalogue_text()).replace('["promotional", "refundable"]', '["refundable", "promotional"]')
    await world.price_lists(text)
    world.ledger.follow_life(world.catalogue.life_at)
    user = await world.subscriber(0.1)
    await world.ledger.top_up(user.account_id, amount_micro_eur=EUR, reference="gift", promotional=True, **world.when)
    left = []
    for _ in range(2):
        await user.message(SMS, sms_to("38631234567"))
        left.append((await user.view()).promotional_micro_eur)
    assert left == [EUR, EUR - 38_000]


async def _catalogue_text() -> str:
    return CATALOGUE.read_text(encoding="utf-8")


@rule("HOT-ACC-10")
async def test_an_inactive_account_gets_its_refundable_credit_once(world: World) -> None:
    user, life = await world.subscriber(20), life_of(world)
    await world.ledger.top_up(
        user.account_id, amount_micro_eur=5 * EUR, reference="gift", promotional=True, **world.when
    )
    with pytest.raises(AccountError) as active:
        await life.pay_out(number_of(user), reason=PayOut.INACTIVE, reference=Reference("P1"))
    assert active.value.code == "state"
    world.now += 90 * DAY_S
    paid = [await life.pay_out(number_of(user), reason=PayOut.INACTIVE, reference=Reference("P1")) for _ in range(2)]
    assert [(each.applied, each.micro_eur) for each in paid] == [(True, 20 * EUR), (False, 0)]
    view = await user.view()
    assert (view.credit_micro_eur, view.promotional_micro_eur, view.refunded_micro_eur) == (5 * EUR, 5 * EUR, 20 * EUR)
    assert [(each["debit"], each["reason"]) for each in await user.events("pay_out")] == [(20 * EUR, "inactive")]
    with pytest.raises(AccountError) as nothing:
        await life.pay_out(number_of(user), reason=PayOut.INACTIVE, reference=Reference("P2"))
    assert nothing.value.code == "nothing"
    assert (await audit(world.ledger, **world.when)).ok


@rule("HOT-ACC-10")
async def test_the_end_of_a_data_only_package_pays_out(world: World) -> None:
    user, life = await world.subscriber(20, "GIGA-MINI"), life_of(world)
    paid = await life.pay_out(number_of(user), reason=PayOut.DATA_ONLY, reference=Reference("P1"))
    assert paid.micro_eur == 20 * EUR - 6_990_000
    assert (await user.view()).package == ""
    other = await world.subscriber(20, "MINI")
    with pytest.raises(AccountError) as refused:
        await life.pay_out(number_of(other), reason=PayOut.DATA_ONLY, reference=Reference("P2"))
    assert refused.value.code == "reason"


@rule("HOT-ACC-10")
async def test_porting_out_pays_out_ends_the_account_and_frees_the_number(world: World) -> None:
    user, life = await world.subscriber(20), life_of(world)
    await world.ledger.top_up(
        user.account_id, amount_micro_eur=5 * EUR, reference="gift", promotional=True, **world.when
    )
    call = user.running(IMS, FRIEND)
    await call.take("I", seconds(want=600))
    async with world.hearing() as heard:
        await life.port_out(number_of(user), reference=Reference("P1"))
        assert [each.kind for each in await heard()] == ["abort"]
    view = await user.view()
    assert (view.state, view.refunded_micro_eur, view.expired_micro_eur) == ("terminated", 20 * EUR, 5 * EUR)
    assert await world.ledger.find_subscriber("m" + user.msisdn) is None
    assert [each["reason"] for each in await user.events("terminated")] == ["port-out"]


# -- commitments at an end for good


async def with_tv(world: World, credit: int) -> Subscriber:
    """TV costs 9.90, for 720 days, with 60.00 on the connection and 48.00 on equipment. 15 days later 705 are left:
    60.00 × 705 / 720 = 58.75 and 48.00 × 705 / 720 = 47.00.
    """
    user = await world.subscriber(credit)
    await world.ledger.subscribe(
        user.account_id, product=world.catalogue.products["TV"].terms, reference=f"TV {user.msisdn}", **world.when
    )
    world.now += 15 * DAY_S
    return user


async def shares(user: Subscriber) -> list[tuple[str, int, int]]:
    """Benefit, debit and what stays unpaid."""
    return [(each["benefit"], each["debit"], each.get("unpaid", 0)) for each in await user.events("share")]


@rule("HOT-REC-4", "HOT-PKG-17", "HOT-ACC-10")
async def test_porting_out_pays_the_shares_of_a_commitment_first(world: World) -> None:
    """120.00 - 9.90 - 58.75 - 47.00 = 4.35."""
    user = await with_tv(world, 120)
    ended = await life_of(world).port_out(number_of(user), reference=Reference("P1"))
    assert [each.micro_eur for each in ended.shares] == [58_750_000, 47_000_000]
    assert ended.unpaid_micro_eur == 0
    assert await shares(user) == [("connection", 58_750_000, 0), ("equipment", 47_000_000, 0)]
    assert [each["debit"] for each in await user.events("pay_out")] == [4_350_000]
    assert (await audit(world.ledger, **world.when)).ok


@rule("HOT-REC-4", "HOT-PKG-17")
async def test_the_end_of_an_account_pays_shares_as_far_as_there_is_credit(world: World) -> None:
    """100.00 - 9.90 - 58.75 = 31.35 of 47.00: 15.65 stay unpaid, and nothing is left to expire."""
    user = await with_tv(world, 100)
    accounts = AccountOperations(world.ledger, world.catalogue, lambda: world.now, lambda: 77)
    ended = await accounts.terminate(number_of(user))
    assert ended.unpaid_micro_eur == 15_650_000
    assert await shares(user) == [("connection", 58_750_000, 0), ("equipment", 31_350_000, 15_650_000)]
    (last,) = await user.events("terminated")
    assert (last["unpaid"], last["debit"]) == (15_650_000, 0)
    assert (await audit(world.ledger, **world.when)).ok


@rule("HOT-REC-4", "HOT-ACC-10")
async def test_the_pay_out_of_a_data_only_tariff_pays_its_shares_first(world: World) -> None:
    """20.00 - 6.99 - 12.00 × 50 / 60 = 3.01."""
    shipped = CATALOGUE.read_text("utf-8")
    committed = '[package.GIGA-MINI] # data only\ncommitment = { days = 60, benefits = { fee = "12.00" } }\n'
    await world.price_lists(shipped.replace("[package.GIGA-MINI] # data only\n", committed))
    user = await world.subscriber(20, "GIGA-MINI")
    world.now += 10 * DAY_S
    paid = await life_of(world).pay_out(number_of(user), reason=PayOut.DATA_ONLY, reference=Reference("P1"))
    assert paid.micro_eur == 3_010_000
    assert await shares(user) == [("fee", 10 * EUR, 0)]
    assert (await user.view()).package == ""


# -- blocks


@rule("HOT-ACC-11")
async def test_an_account_is_free_when_its_last_block_is_lifted(world: World) -> None:
    user, life = await world.subscriber(20), life_of(world)
    await life.block(number_of(user), reason=BlockReason.STOLEN)
    assert (await life.block(number_of(user), reason=BlockReason.CARE)).blocks == ("care", "stolen")
    assert await user.may_call(FRIEND) == 4010
    assert await user.may_call(towards("tel:112")) == 2001
    with pytest.raises(AccountError) as refused:
        await life.unblock(number_of(user), reason=BlockReason.STOLEN, by=By.SUBSCRIBER)
    assert refused.value.code == "by"
    assert (await life.unblock(number_of(user), reason=BlockReason.STOLEN, by=By.CARE)).view.state == "blocked"
    assert (await life.unblock(number_of(user), reason=BlockReason.CARE, by=By.CARE)).view.state == "active"
    assert await user.may_call(FRIEND) == 2001
    told = [(each["state"], each["reason"]) for each in await user.events("state")]
    assert told == [("b", "stolen"), ("b", "care"), ("b", "stolen"), ("a", "care")]


@rule("HOT-ACC-11")
def test_who_lifts_what() -> None:
    allowed = {reason: sorted(by.value for by in By if may_lift(reason, by)) for reason in BlockReason}
    assert allowed == {
        "lost": ["care", "new-sim", "subscriber"],
        "stolen": ["care", "new-sim"],
        "imei": ["care"],
        "non-payment": ["care"],
        "frozen": ["care", "subscriber"],
        "care": ["care"],
    }
    assert set(LIFTED_BY) == set(BlockReason)


# -- fees


@rule("HOT-REC-3")
async def test_freeze_and_unfreeze_each_take_their_fee_once(world: World) -> None:
    user, life = await world.subscriber(20), life_of(world)
    for _ in range(2):
        await life.freeze(number_of(user), reference=Reference("F1"))
    view = await user.view()
    assert (view.state, view.blocks, view.credit_micro_eur) == ("blocked", ("frozen",), 17 * EUR)
    for _ in range(2):
        await life.unfreeze(number_of(user), reference=Reference("F2"))
    view = await user.view()
    assert (view.state, view.credit_micro_eur) == ("active", 14 * EUR)
    assert await fees(user) == [("FREEZE", 3 * EUR), ("UNFREEZE", 3 * EUR)]


@rule("HOT-REC-3")
async def test_a_fee_that_the_credit_does_not_cover_changes_nothing(world: World) -> None:
    user, life = await world.subscriber(4), life_of(world)
    await life.freeze(number_of(user), reference=Reference("F1"))
    with pytest.raises(AccountError) as refused:
        await life.unfreeze(number_of(user), reference=Reference("F2"))
    assert refused.value.code == "credit"
    assert (await user.view()).blocks == ("frozen",)


@rule("HOT-REC-3")
async def test_each_one_off_fee_is_a_transaction(world: World) -> None:
    user, life = await world.subscriber(50), life_of(world)
    await life.fee(number_of(user), fee="CONNECTION", reference=Reference("C"))
    await life.swap_sim(number_of(user), imsi=NEW_IMSI, reference=Reference("S"))
    await life.transfer_ownership(number_of(user), reference=Reference("O"))
    await life.block(number_of(user), reason=BlockReason.NON_PAYMENT)
    after = await life.unblock(number_of(user), reason=BlockReason.NON_PAYMENT, by=By.CARE, reference=Reference("U"))
    assert (after.view.state, after.view.credit_micro_eur) == ("active", 30 * EUR)
    named = ["CONNECTION", "SIM-REPLACEMENT", "OWNERSHIP-CHANGE", "UNBLOCKING"]
    assert await fees(user) == [(name, 5 * EUR) for name in named]
    assert (await user.view()).subscriptions == ()


# -- another SIM, another number


@rule("HOT-ACC-11")
async def test_a_new_sim_keeps_credit_and_products_and_lifts_the_block(world: World) -> None:
    user, life = await world.subscriber(20, "MINI"), life_of(world)
    before = await user.view()
    call = user.running(IMS, FRIEND)
    await call.take("I", seconds(want=60))
    await life.block(number_of(user), reason=BlockReason.STOLEN)
    async with world.hearing() as heard:
        assert (await life.swap_sim(number_of(user), imsi=NEW_IMSI)).applied
        assert [(each.kind, each.reason) for each in await heard()] == [("abort", "identity")]
    assert not (await life.swap_sim(number_of(user), imsi=NEW_IMSI)).applied
    view = await user.view()
    assert (view.imsi, view.state, view.credit_micro_eur) == (NEW_IMSI, "active", before.credit_micro_eur)
    assert [each.id for each in view.buckets] == [each.id for each in before.buckets]
    assert await world.ledger.find_subscriber("i" + before.imsi) is None
    assert await world.ledger.find_subscriber("i" + NEW_IMSI) == user.account_id
    assert await user.may_call(FRIEND) == 2001


@rule("HOT-ACC-11")
async def test_another_number_for_the_account(world: World) -> None:
    user, life, old = await world.subscriber(20), life_of(world), ""
    old = user.msisdn
    assert await life.change_number(Msisdn(old), new=NEW_NUMBER)
    assert not await life.change_number(Msisdn(old), new=NEW_NUMBER)
    assert await world.ledger.find_subscriber("m" + old) is None
    user.msisdn = NEW_NUMBER
    assert await user.may_call(FRIEND) == 2001
    other = await world.ledger.open_account(
        msisdn=old, imsi="293400000088888", credit_micro_eur=0, package=None, entropy=99, **world.when
    )
    assert await world.ledger.find_subscriber("m" + old) == other
    with pytest.raises(AccountError) as taken:
        await life.change_number(NEW_NUMBER, new=Msisdn(old))
    assert taken.value.code == "exists"
    assert await world.ledger.find_subscriber("m" + NEW_NUMBER) == user.account_id
    await world.ledger.terminate_account(user.account_id, **world.when)
    assert await world.ledger.find_subscriber("m" + NEW_NUMBER) is None


class Killed(Exception):
    """The process ended at this command."""


@asynccontextmanager
async def killed_at(world: World, step: int) -> AsyncIterator[list[int]]:
    """The ledger's process is killed before its command number `step`."""
    ledger: Any = world.ledger
    real, count = ledger._ask, [0]

    async def ask(*args: Any, **more: Any) -> Any:
        count[0] += 1
        if count[0] == step:
            raise Killed
        return await real(*args, **more)

    ledger._ask = ask
    try:
        yield count
    finally:
        del ledger._ask


@rule("HOT-ACC-11")
@pytest.mark.parametrize("what", ["imsi", "msisdn"])
async def test_a_change_survives_a_kill_at_any_step(world: World, what: str) -> None:
    """After each step: the account is found by its number or SIM, old or new; called again, only by the new one."""
    for step in range(1, 20):
        user = await world.subscriber(20)
        view = await user.view()
        old, new = (
            ("i" + view.imsi, f"i2934001{step:08d}") if what == "imsi" else ("m" + view.msisdn, f"m3867{step:07d}")
        )

        async def change(account_id: str = user.account_id, new: str = new) -> bool:
            if what == "imsi":
                return await world.ledger.change_imsi(account_id, imsi=new[1:], **world.when)
            return await world.ledger.change_msisdn(account_id, msisdn=new[1:], **world.when)

        async with killed_at(world, step) as count:
            try:
                await change()
                finished = True
            except Killed:
                finished = False
        found = {await world.ledger.find_subscriber(name) for name in (old, new)}
        assert user.account_id in found
        await change()
        assert await world.ledger.find_subscriber(old) is None
        assert await world.ledger.find_subscriber(new) == user.account_id
        assert len(await user.events("identity")) == 1
        if finished:
            assert count[0] < step
            break
    else:
        pytest.fail("it takes more steps than are tried")
    assert step > 4, "claim, change, confirm, delete the old entry, note it"
    assert (await audit(world.ledger, **world.when)).ok


@rule("HOT-ACC-11")
async def test_a_claim_of_a_killed_change_expires(world: World) -> None:
    user, other = await world.subscriber(20), await world.subscriber(20)
    async with killed_at(world, 2):  # after the claim
        with pytest.raises(Killed):
            await world.ledger.change_imsi(user.account_id, imsi=NEW_IMSI, **world.when)
    with pytest.raises(LedgerError) as early:
        await world.ledger.change_imsi(other.account_id, imsi=NEW_IMSI, **world.when)
    assert early.value.code == "opening"
    world.now += 61
    assert await world.ledger.change_imsi(other.account_id, imsi=NEW_IMSI, **world.when)
    assert await world.ledger.find_subscriber("i" + NEW_IMSI) == other.account_id


@rule("HOT-ACC-10")
async def test_a_number_of_another_operator_is_ported_in(world: World) -> None:
    """Opened like any other, with what other operators' numbers look like; after it was ported out it may come back."""
    msisdn = "38640111222"
    ids = []
    for n in range(2):
        ids.append(
            await world.ledger.open_account(
                msisdn=msisdn,
                imsi=f"29340000007777{n}",
                credit_micro_eur=5 * EUR,
                package=None,
                entropy=500 + n,
                **world.when,
            )
        )
        user = Subscriber(world, ids[-1], msisdn)
        assert await user.may_call(FRIEND) == 2001
        await life_of(world).port_out(Msisdn(msisdn), reference=Reference(f"out {n}"))
        world.now += 1
    assert ids[0] != ids[1]
    assert await world.ledger.find_subscriber("m" + msisdn) is None
