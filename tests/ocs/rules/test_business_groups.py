"""Transfers and separate accounts of business groups, beside sessions that are charged (HOT-GRP-1, -2, -5)."""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import count
from typing import Any

import pytest

from ocs.accounts.errors import RefusedError
from ocs.accounts.groups import GroupOperations
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountOperations
from ocs.accounts.products import ProductOperations
from ocs.accounts.transfers import TransferOperations
from ocs.policy.groups import Actor
from ocs.values.identities import Msisdn
from tests.ocs.charging.ccr import HOME, SMS, octets, seconds, sms_to, towards
from tests.ocs.rules.test_keywords import SMS_EACH, Phone
from tests.ocs.rules.world import DAY_S, EUR, IMS, Subscriber, World, granted
from tests.rules import rule

PUK = "12345678"
PARTNER = "310150"
"""The partner network in the USA."""
PACK = 7 * EUR


class Firm:
    """A group in a world: its administrator, and its members."""

    def __init__(self, world: World) -> None:
        self.world, serial = world, count(0xF000)

        def now() -> int:
            return world.now

        self.accounts = AccountOperations(world.ledger, world.catalogue, now, lambda: next(serial))
        self.groups = GroupOperations(self.accounts, world.ledger, world.catalogue, now, lambda: next(serial))
        self.transfers = TransferOperations(self.accounts, world.ledger, self, now)
        self.products = ProductOperations(self.accounts, world.ledger, world.catalogue, now)
        self.with_promotional = False
        self.id = ""

    # the catalogue, for transfers

    def when(self, unix_s: int) -> dict[str, int]:
        return dict(self.world.when)

    def life_at(self, unix_s: int) -> Any:
        return self

    @property
    def transfer_promotional(self) -> bool:
        return self.with_promotional

    async def gather(self, *credits: float, package: str | None = None) -> list[Subscriber]:
        boss, *members = [await self.world.subscriber(each, package) for each in credits]
        self.id = (await self.groups.create(name="Firma", administrator=Msisdn(boss.msisdn))).group.group_id
        for each in members:
            await self.groups.set_puk(Msisdn(each.msisdn), puk=PUK)
            await self.groups.add(self.id, msisdn=Msisdn(each.msisdn), puk=PUK)
        return [boss, *members]

    async def transfer(self, sender: Subscriber, to: Subscriber, eur: float, reference: str) -> bool:
        done = await self.transfers.transfer(
            Msisdn(sender.msisdn),
            to=Msisdn(to.msisdn),
            amount_micro_eur=round(eur * EUR),
            reference=Reference(reference),
        )
        return done.applied

    async def separate(self, user: Subscriber, eur: float) -> None:
        number = Msisdn(user.msisdn)
        await self.groups.set_separate(number, is_open=True)
        if eur:
            await self.accounts.top_up(
                number, amount_micro_eur=round(eur * EUR), reference=Reference(f"own {eur}"), separate=True
            )


async def refused(work: Awaitable[Any]) -> str:
    with pytest.raises(RefusedError) as caught:
        await work
    return caught.value.code


async def money(user: Subscriber) -> tuple[int, int]:
    view = await user.view()
    return view.credit_micro_eur, view.separate_micro_eur


# -- transfers


@rule("HOT-GRP-2")
async def test_credit_goes_to_a_member_and_back_and_nowhere_else(world: World) -> None:
    firm = Firm(world)
    boss, one, other = await firm.gather(20, 0, 3)
    stranger = await world.subscriber(50)
    assert await firm.transfer(boss, one, 12.5, "t1")
    assert not await firm.transfer(boss, one, 12.5, "t1"), "once a reference"
    assert [await each.credit() for each in (boss, one)] == [7_500_000, 12_500_000]
    assert await refused(firm.transfer(boss, one, 12, "t1")) == "reference"
    assert await firm.transfer(one, boss, 2.5, "t2")
    for sender, receiver in ((one, other), (boss, stranger), (stranger, boss), (boss, boss)):
        assert await refused(firm.transfer(sender, receiver, 1, "t3")) == "group"
    assert await refused(firm.transfer(boss, one, 10.000001, "t4")) == "funds", "it can't overdraw"
    assert [await each.credit() for each in (boss, one, other, stranger)] == [10 * EUR, 10 * EUR, 3 * EUR, 50 * EUR]
    (out,), (came,) = await boss.events("transfer_out"), await one.events("transfer_in")
    assert (out["debit"], came["credit_in"], out["transfer"]) == (12_500_000, 12_500_000, came["transfer"])
    await firm.groups.remove(firm.id, msisdn=Msisdn(one.msisdn))
    assert await refused(firm.transfer(boss, one, 1, "t5")) == "group"


@rule("HOT-GRP-2", "HOT-ACC-7")
async def test_the_receiver_stays_within_200_eur_and_the_sender_has_its_money_back(world: World) -> None:
    firm = Firm(world)
    boss, member = await firm.gather(150, 100)
    assert await refused(firm.transfer(boss, member, 100.01, "t1")) == "ceiling"
    assert [await each.credit() for each in (boss, member)] == [150 * EUR, 100 * EUR]
    assert [each["reason"] for each in await boss.events("transfer_back")] == ["ceiling"]
    assert await firm.transfer(boss, member, 100, "t1"), "a refused transfer leaves its reference free"
    assert await member.credit() == 200 * EUR


@rule("HOT-GRP-2")
async def test_money_that_a_session_holds_is_not_transferred(world: World) -> None:
    firm = Firm(world)
    boss, member = await firm.gather(1, 0)
    call = boss.running(IMS, towards("+38640123456"))
    assert granted(await call.one("I", seconds(want=300))) == 300
    held = (await boss.view()).held_micro_eur
    assert held > 0
    assert await refused(firm.transfer(boss, member, (1 * EUR - held + 1) / EUR, "t1")) == "funds"
    assert await firm.transfer(boss, member, (1 * EUR - held) / EUR, "t2")
    await call.take("T", seconds(used=300))
    assert (await boss.view()).credit_micro_eur == 0, "the call is paid by what it held"


@rule("HOT-GRP-2")
async def test_a_member_that_had_nothing_goes_on_with_what_it_gets(world: World) -> None:
    firm = Firm(world)
    boss, member = await firm.gather(20, 0.1)
    call = member.running(IMS, towards("+38640123456"))
    first = granted(await call.one("I", seconds(want=300)))
    assert 0 < first < 300
    async with world.hearing() as heard:
        await firm.transfer(boss, member, 5, "t1")
        assert [(each.kind, each.reason) for each in await heard()] == [("reauthorize", "topup")]
    assert granted(await call.one("U", seconds(used=first, want=300))) == 300


@rule("HOT-GRP-2", "HOT-ACC-3", "HOT-ACC-4")
async def test_a_transfer_is_no_top_up(world: World) -> None:
    """The active period of the receiver stays; who is not active sends nothing."""
    firm = Firm(world)
    boss, member = await firm.gather(50, 5)
    until = (await member.view()).active_until
    world.now += 60 * DAY_S
    await boss.top_up(1, "keeps active")
    await firm.transfer(boss, member, 5, "t1")
    assert (await member.view()).active_until == until
    world.now += 31 * DAY_S
    assert (await member.view()).state == "inactive"
    assert await firm.transfer(boss, member, 5, "t2"), "an inactive account takes money, and stays inactive"
    assert (await member.view()).state == "inactive"
    assert await refused(firm.transfer(member, boss, 1, "t3")) == "state"
    world.now += 300 * DAY_S
    await boss.top_up(1, "again active")
    assert await refused(firm.transfer(boss, member, 5, "t4")) == "state", "its life is over"


@rule("HOT-GRP-2", "HOT-ACC-10")
async def test_promotional_credit_stays_unless_the_catalogue_says_so(world: World) -> None:
    firm = Firm(world)
    boss, member = await firm.gather(5, 0)
    await world.ledger.top_up(
        boss.account_id, amount_micro_eur=10 * EUR, reference="gift", promotional=True, **world.when
    )
    assert await refused(firm.transfer(boss, member, 5.01, "t1")) == "funds"
    assert await firm.transfer(boss, member, 5, "t2")
    assert ((await boss.view()).promotional_micro_eur, (await member.view()).promotional_micro_eur) == (10 * EUR, 0)
    firm.with_promotional = True
    assert await firm.transfer(boss, member, 4, "t3")
    assert (await member.view()).promotional_micro_eur == 4 * EUR, "it stays promotional"
    assert ((await boss.view()).promotional_micro_eur, await member.credit()) == (6 * EUR, 9 * EUR)


@rule("HOT-GRP-2", "HOT-ACC-8")
async def test_credit_that_a_transfer_takes_below_the_mark_is_told(world: World) -> None:
    firm = Firm(world)
    boss, member = await firm.gather(5, 0)
    await firm.transfer(boss, member, 4.5, "t1")
    assert [each["credit"] for each in await boss.events("low_credit")] == [500_000]


# -- rights and separate accounts


@rule("HOT-GRP-1", "HOT-PKG-12")
async def test_a_member_without_a_separate_account_orders_nothing(world: World) -> None:
    firm = Firm(world)
    boss, member = await firm.gather(20, 20)
    phone = Phone(member)
    for text in ("SMS 200", "SMS 200 DA", "SMS 200 NE"):
        key, answer = await phone.send(text)
        assert key == "refused-rights" and "skrbnik" in answer
    assert (await member.view()).subscriptions == ()
    assert (await phone.say("STANJE"))[0] == "balance", "it sees its balance"
    assert (await Phone(boss).send("SMS 200"))[0] == "ask", "the administrator orders"
    pack = world.catalogue.products["SMS-200"]
    own = Actor(msisdn=member.msisdn)
    order = firm.products.buy(Msisdn(member.msisdn), product=pack, reference=Reference("p"), actor=own)
    assert await refused(order) == "rights"


@rule("HOT-GRP-5", "HOT-PKG-12")
async def test_a_keyword_order_of_a_member_is_paid_by_its_separate_account(world: World) -> None:
    firm = Firm(world)
    _, member = await firm.gather(20, 20, package="MINI")
    await firm.separate(member, 8)
    phone = Phone(member)
    company = await member.credit()
    assert (await phone.send("SMS 200"))[0] == "ask"
    assert (await phone.send("SMS 200 DA"))[0] == "bought"
    # Each keyword is charged as an SMS: use is the company's.
    assert await money(member) == (company - 2 * SMS_EACH, 1 * EUR)
    assert await member.left("SMS-200.pack-sms") == 200
    assert await member.message(SMS, sms_to("+38631234567")) == (2001, 0), "and its units pay"
    (paid,) = [each for each in await member.events("package") if each["id"] == "SMS-200"]
    assert (paid["debit"], paid["separate_out"]) == (0, PACK)
    assert (await phone.say("STANJE"))[1].startswith("Dobroimetje: ")
    assert "ločeni račun: 1,00 EUR" in (await phone.say("STANJE"))[1]
    # Its renewal is its own, too; the package's is the company's.
    world.now += 30 * DAY_S
    await world.sweep()
    states = {each.product: each.state.value for each in (await member.view()).subscriptions}
    assert states == {"MINI": "active", "SMS-200": "unpaid"}
    assert (await money(member))[1] == 1 * EUR
    await firm.accounts.top_up(
        Msisdn(member.msisdn), amount_micro_eur=6 * EUR, reference=Reference("more"), separate=True
    )
    states = {each.product: each.state.value for each in (await member.view()).subscriptions}
    assert (states["SMS-200"], (await money(member))[1]) == ("active", 0)
    assert (await phone.say("SMS 200 NE"))[0] == "cancelled"


@rule("HOT-GRP-5")
async def test_too_little_in_the_separate_account_is_not_taken_from_the_company(world: World) -> None:
    firm = Firm(world)
    _, member = await firm.gather(20, 20)
    await firm.separate(member, 6.99)
    phone = Phone(member)
    await phone.say("SMS 200")
    key, text = await phone.say("SMS 200 DA")
    assert key == "refused-credit" and "6,99" in text
    assert await money(member) == (20 * EUR, 6_990_000)


@rule("HOT-GRP-5")
async def test_what_the_administrator_orders_is_the_companys(world: World) -> None:
    firm = Firm(world)
    boss, member = await firm.gather(20, 20)
    await firm.separate(member, 50)
    pack, tariff = world.catalogue.products["SMS-200"], world.catalogue.products["MINI"]
    number, admin = Msisdn(member.msisdn), Actor(group=firm.id)
    await firm.products.buy(number, product=pack, reference=Reference("p1"), actor=admin)
    await firm.products.change(number, product=tariff, reference=Reference("p2"), actor=admin)
    assert await money(member) == (20 * EUR - PACK - 6_990_000, 50 * EUR)
    own = Actor(msisdn=member.msisdn)
    assert await refused(firm.products.cancel(number, product_id="SMS-200", actor=own)) == "subscription"
    assert await refused(firm.products.cancel(number, product_id="MINI", actor=own)) == "rights"
    await firm.products.cancel(number, product_id="SMS-200", actor=admin)
    boss_key = Actor(msisdn=boss.msisdn, administers=firm.id)
    assert (await firm.products.buy(number, product=pack, reference=Reference("p1"), actor=boss_key)).applied is False


@rule("HOT-GRP-5", "HOT-PKG-13")
async def test_an_armed_product_of_a_member_is_paid_at_its_first_use(world: World) -> None:
    firm = Firm(world)
    _, member = await firm.gather(20, 20)
    await firm.separate(member, 30)
    zone = world.catalogue.products["USA-UNLIMITED"]
    own = Actor(msisdn=member.msisdn)
    done = await firm.products.buy(Msisdn(member.msisdn), product=zone, reference=Reference("z"), actor=own)
    assert done.state == "armed" and await money(member) == (20 * EUR, 30 * EUR)
    await member.data(PARTNER).take("I", octets(want=1024, group=10))
    assert await money(member) == (20 * EUR, 30 * EUR - zone.terms.price_micro_eur)


@rule("HOT-GRP-5", "HOT-ACC-7")
async def test_a_separate_account_is_topped_up_closed_paid_out_and_ends(world: World) -> None:
    firm = Firm(world)
    _, member, leaver = await firm.gather(20, 150, 20)
    number = Msisdn(member.msisdn)
    top_up = firm.accounts.top_up(number, amount_micro_eur=EUR, reference=Reference("x"), separate=True)
    assert await refused(top_up) == "no_separate"
    await firm.separate(member, 60)
    over = firm.accounts.top_up(number, amount_micro_eur=141 * EUR, reference=Reference("y"), separate=True)
    assert await refused(over) == "ceiling", "it has a ceiling of its own"
    assert await refused(firm.groups.set_separate(number, is_open=False)) == "separate"
    await firm.groups.remove(firm.id, msisdn=number)
    assert await refused(firm.groups.set_separate(number, is_open=False)) == "ceiling"
    call = member.running(IMS, towards("+38640123456", HOME))
    await call.take("I", seconds(want=60))
    await call.take("T", seconds(used=60))
    await world.ledger.pay_out(member.account_id, reference="out", reason="inactive", states=("active",), **world.when)
    assert await money(member) == (0, 0), "what is refundable is paid out of both"
    assert await firm.groups.set_separate(number, is_open=False)
    await firm.separate(leaver, 5)
    await firm.accounts.terminate(Msisdn(leaver.msisdn))
    view = await leaver.view()
    assert (view.state, view.expired_micro_eur, view.separate_micro_eur) == ("terminated", 25 * EUR, 0)
    (ended,) = await leaver.events("terminated")
    assert (ended["debit"], ended["separate_out"]) == (20 * EUR, 5 * EUR)
