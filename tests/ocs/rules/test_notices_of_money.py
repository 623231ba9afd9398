"""Notices of what happens to money: vouchers, automatic top-ups, returned payments, transfers; word for word."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from ocs.accounts.errors import RefusedError
from ocs.accounts.operations import AccountOperations
from ocs.accounts.redeeming import RedeemOperations
from ocs.accounts.transfers import TransferOperations
from ocs.values.identities import Msisdn
from ocs.values.voucher_numbers import draw
from simulator.payment_provider import RETURNED
from tests.conftest import RedisServer
from tests.ocs.notices.said import said, texts
from tests.ocs.payments.till import DAY_S, Till, till_on
from tests.ocs.rules.world import CATALOGUE, EUR, World
from tests.rules import rule


@pytest.fixture
async def till(redis_7: RedisServer) -> AsyncIterator[Till]:
    async with till_on(redis_7.url) as till:
        yield till


@rule("HOT-NOT-1", "HOT-TOP-4")
async def test_an_automatic_top_up_that_fails_and_is_given_up(till: Till) -> None:
    user = await till.user(6.99 + 1, token="declined")
    await till.rounds()
    assert await texts(user, "auto-topup-failed") == [
        (
            "Samodejno polnjenje za 6,99 EUR ni uspelo. Napolnite račun drugače.",
            "The automatic top-up of 6.99 EUR failed. Top up in another way.",
        )
    ]
    await till.rounds(31 * DAY_S, step_s=DAY_S // 2)
    assert await texts(user, "auto-topup-given-up") == [
        (
            "Samodejno polnjenje je izklopljeno, ker večkrat ni uspelo. Dobroimetje: 1,00 EUR.",
            "Automatic top-up is switched off, as it failed several times. Credit: 1.00 EUR.",
        )
    ]
    assert len(await said(user, "sl", "auto-topup-failed")) == 3, "once an order"


@rule("HOT-NOT-1", "HOT-ACC-10")
async def test_a_payment_that_the_bank_took_back(till: Till) -> None:
    user = await till.user(6.99 + 1)
    till.provider.behaviour.at_once = True
    await till.rounds()
    (order,) = await till.orders_of(user)
    for _ in range(2):  # it comes twice
        await till.provider.settle(order.id, RETURNED, "MD06")
    assert await texts(user, "payment-returned") == [
        (
            "Banka je vrnila plačilo 6,99 EUR. Dobroimetje: 1,00 EUR.",
            "Your bank took the payment of 6.99 EUR back. Credit: 1.00 EUR.",
        )
    ]
    assert [text for _, text in await said(user, "en", "topup")] == [
        "Topped up: 6.99 EUR. Credit: 7.99 EUR, valid until 8 Feb 2027."
    ]


@rule("HOT-NOT-1", "HOT-TOP-3")
async def test_twenty_wrong_vouchers(world: World) -> None:
    user = await world.subscriber(5)

    def now() -> int:
        return world.now

    accounts = AccountOperations(world.ledger, world.catalogue, now, lambda: secrets.randbits(64))
    redeeming = RedeemOperations(accounts, world.ledger, world.catalogue, now, lambda: secrets.randbits(64), None)
    for _ in range(20):
        with pytest.raises(RefusedError):
            await redeeming.redeem(Msisdn(user.msisdn), draw(secrets.randbelow))
    assert await texts(user, "voucher-blocked") == [
        (
            "Polnjenje z vrednostnico je blokirano: 20 napačnih vnosov. Pokličite pomoč uporabnikom.",
            "Top-up by voucher is blocked: 20 wrong entries. Call customer care.",
        )
    ]


@rule("HOT-NOT-1", "HOT-GRP-2")
async def test_credit_from_the_administrator_of_the_group(world: World) -> None:
    await world.price_lists(CATALOGUE.read_text())
    boss, member = await world.subscriber(20), await world.subscriber(1.5)
    for user, role in ((boss, "administrator"), (member, "member")):
        await world.ledger.join_group(user.account_id, group_id="G1", role=role, **world.when)
    accounts = AccountOperations(world.ledger, world.catalogue, lambda: world.now, lambda: 0)
    transfers = TransferOperations(accounts, world.ledger, world.catalogue, lambda: world.now)
    for _ in range(2):
        await transfers.transfer(
            Msisdn(boss.msisdn), to=Msisdn(member.msisdn), amount_micro_eur=5 * EUR, reference="T1"
        )
    assert await texts(member, "transfer-received") == [
        (
            "Prejeli ste dobroimetje 5,00 EUR. Zdaj ga imate 6,50 EUR.",
            "You have received credit of 5.00 EUR. You now have 6.50 EUR.",
        )
    ]


@rule("HOT-NOT-1", "HOT-GRP-5")
async def test_a_separate_account_is_told_of_its_own_money_only(world: World) -> None:
    await world.price_lists(CATALOGUE.read_text())
    member = await world.subscriber(50, "MINI")
    await world.ledger.join_group(member.account_id, group_id="G1", role="member", **world.when)
    await world.ledger.set_separate(member.account_id, is_open=True, **world.when)
    await world.ledger.top_up(member.account_id, amount_micro_eur=20 * EUR, reference="S1", separate=True, **world.when)
    assert await texts(member, "topup-separate") == [
        ("Vaš ločeni račun je napolnjen: 20,00 EUR.", "Your separate account is topped up: 20.00 EUR.")
    ]
    assert await said(member, "sl", "topup") == []
    pack = world.catalogue.products["SMS-200"].terms
    assert await member.buy(pack, "B1", separate=True)
    world.now += 30 * DAY_S
    await world.sweep()
    assert sorted(text for _, text in await said(member, "en", "package-renewed")) == [
        "MINI: renewed until 9 Jan 2027. Price: 6.99 EUR, credit: 36.02 EUR.",
        "SMS 200: renewed until 9 Jan 2027. Price: 7.00 EUR.",
    ]
