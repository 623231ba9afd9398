"""Products beside the tariff, and changes of the tariff, as a subscriber has them (HOT-PKG-6 to -18, HOT-REC-4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any

import pytest

from ocs.accounts.errors import RefusedError
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountAndPool, AccountOperations
from ocs.accounts.products import Ordered, ProductOperations
from ocs.ledger.contract.limits import MAX_SUBSCRIPTIONS_PER_ACCOUNT
from ocs.values.identities import Msisdn
from tests.ocs.charging.ccr import (
    AUSTRIA,
    MB,
    MMS,
    SERBIA,
    SMS,
    USA,
    called_by,
    mms_to,
    octets,
    sms_to,
    towards,
)
from tests.ocs.rules.world import CATALOGUE, DAY_S, EUR, Subscriber, World, granted
from tests.rules import rule

GB = 1024 * MB
MOBILE = "+38631234567"
PARTNER = "310150"
BALKAN = {"ME": "29701", "AL": "27601", "RS": SERBIA, "MK": "29401", "BA": "21803"}
TODAY = date(2026, 11, 10)
FIXED = CATALOGUE.read_text("utf-8")


class Interrupted(AccountOperations):
    """After an account was read, something else is done first, once."""

    between: Awaitable[Any] | None = None

    async def read(self, msisdn: Msisdn) -> AccountAndPool:
        reading, between = await super().read(msisdn), self.between
        if between is not None:
            self.between = None
            await between
        return reading


class Shop:
    """Orders of one subscriber."""

    def __init__(self, user: Subscriber) -> None:
        world, self.user, self._orders = user.world, user, 0
        self.accounts = accounts = Interrupted(world.ledger, world.catalogue, lambda: world.now, lambda: 0)
        self.products = ProductOperations(accounts, world.ledger, world.catalogue, lambda: world.now)
        self.number = Msisdn(user.msisdn)

    def _named(self, product_id: str) -> dict[str, Any]:
        self._orders += 1
        product = self.user.world.catalogue.products[product_id]
        return {"product": product, "reference": Reference(f"{self.number}-{self._orders}")}

    async def buy(self, product_id: str) -> Ordered:
        return await self.products.buy(self.number, **self._named(product_id))

    async def plan(self, product_id: str, on: date) -> Ordered:
        return await self.products.plan(self.number, on=on, **self._named(product_id))

    async def change(self, product_id: str) -> Ordered:
        return await self.products.change(self.number, **self._named(product_id))

    async def cancel(self, product_id: str, *, at_once: bool = False) -> list[tuple[str, int, int]]:
        """Benefit, micro-EUR and days left of each share."""
        done = await self.products.cancel(self.number, product_id=product_id, at_once=at_once)
        return [(each.benefit, each.micro_eur, each.days_left) for each in done.shares]

    async def state(self, product_id: str) -> str:
        """ "" = the account does not have it."""
        view = await self.user.view()
        return next((each.state.value for each in view.subscriptions if each.product == product_id), "")

    async def told(self) -> list[tuple[str, str]]:
        return [(event["id"], event["state"]) for event in await self.user.events("subscription")]


async def refused(work: Any) -> str:
    with pytest.raises(RefusedError) as caught:
        await work
    return caught.value.code


async def texts(user: Subscriber, count: int, to: str = MOBILE, **more: Any) -> int:
    """What so many SMS cost."""
    return sum([(await user.message(SMS, sms_to(to, **more)))[1] for _ in range(count)])


async def pass_days(world: World, days: int) -> None:
    """The housekeeper sweeps after each."""
    for _ in range(days):
        world.now += DAY_S
        await world.sweep()


@rule("HOT-PKG-9", "HOT-PKG-3")
@pytest.mark.parametrize(
    ("tariff", "product", "other", "code"),
    [
        ("MINI", "SMS-200", lambda shop: shop.change("MAXI"), "barred"),
        ("MINI", "5G", lambda shop: shop.cancel("MINI", at_once=True), "requires"),
        ("MINI", "EXTRA-DATA-5-GB", lambda shop: shop.cancel("MINI", at_once=True), "tariff"),
        ("MINI", "SMS-200", lambda shop: shop.buy("SMS-1000"), "excluded"),
    ],
)
async def test_two_orders_at_once_do_not_slip_through(
    world: World, tariff: str, product: str, other: Callable[[Shop], Awaitable[Any]], code: str
) -> None:
    """The account is as the order wants it when it is read, and no more when it is sold."""
    user = await world.subscriber(60, tariff)
    shop = Shop(user)
    shop.accounts.between = other(shop)
    assert await refused(shop.buy(product)) == code
    assert await shop.state(product) == ""


@rule("HOT-PKG-7", "HOT-PKG-8", "HOT-PKG-12")
async def test_a_product_that_is_sold_no_more_stays_with_those_who_have_it(world: World) -> None:
    """SMS-200 is sold to the end of 10 November. On the 11th nobody gets it; who has it is debited 7.00 for the next
    period.
    """
    until = 'keyword = "SMS 200"\nsold_until = "2026-11-10"\n'
    await world.price_lists(FIXED.replace('keyword = "SMS 200"\n', until))
    mine, other = Shop(await world.subscriber(60, "MINI")), Shop(await world.subscriber(60, "MINI"))
    await mine.buy("SMS-200")
    await pass_days(world, 1)
    assert await refused(other.buy("SMS-200")) == "sold"
    assert await refused(other.plan("SMS-200", date(2026, 11, 20))) == "sold"
    await pass_days(world, 29)
    assert await mine.state("SMS-200") == "active"
    assert [event["debit"] for event in await mine.user.events("package") if event["id"] == "SMS-200"] == [7 * EUR] * 2
    assert await mine.cancel("SMS-200") == []
    assert await mine.state("SMS-200") == "ending"


# -- packs


@rule("HOT-PKG-7", "HOT-PKG-10", "HOT-PKG-18")
async def test_a_recurring_pack_pays_first_and_does_not_move_the_base_of_the_tariff(world: World) -> None:
    """MINI counts a base of its own, 1,500 messages: 200 by the pack leave it, the 201st takes one of it."""
    user = await world.subscriber(20, "MINI")  # 20 - 6.99
    shop = Shop(user)
    assert await shop.buy("SMS-200") == Ordered(True, "active", world.now)
    assert await user.credit() == 6_010_000  # - 7.00
    assert await texts(user, 200) == 0
    assert (await user.left("SMS-200.pack-sms"), await user.left("MINI.sms")) == (0, 1500)
    assert await texts(user, 1) == 0
    assert await user.left("MINI.sms") == 1499
    shares = [(event["pct"], event["left"]) for event in await user.events("bucket")]
    assert shares == [(80, 40), (100, 0)]


@rule("HOT-PKG-10", "HOT-ROA-6")
async def test_packs_do_not_apply_while_roaming(world: World) -> None:
    user = await world.subscriber(30, "MINI")
    shop = Shop(user)
    for product in ("SMS-200", "MMS-50"):
        await shop.buy(product)
    assert await texts(user, 2, plmn=AUSTRIA) == 0
    assert (await user.left("SMS-200.pack-sms"), await user.left("MINI.sms")) == (200, 1498)
    assert await texts(user, 2, plmn=SERBIA) == 2 * 250_000
    assert await user.message(MMS, mms_to(MOBILE)) == (2001, 0)
    assert await user.left("MMS-50.pack-mms") == 49
    assert await user.left("SMS-200.pack-sms") == 200


@rule("HOT-PKG-7", "HOT-PKG-9")
async def test_a_second_recurring_pack_is_refused_in_the_same_period(world: World) -> None:
    user = await world.subscriber(60, "MINI")
    shop = Shop(user)
    await shop.buy("SMS-200")
    assert [await refused(shop.buy(each)) for each in ("SMS-200", "SMS-1000")] == ["excluded"] * 2
    await texts(user, 10)
    assert await shop.cancel("SMS-200") == []
    assert await shop.state("SMS-200") == "ending"
    assert await refused(shop.buy("SMS-1000")) == "excluded", "it runs to the end of its period"
    assert await texts(user, 1) == 0
    assert await user.left("SMS-200.pack-sms") == 189
    before = await user.credit()
    await pass_days(world, 30)
    assert before - await user.credit() == 6_990_000, "MINI is renewed, the pack is not"
    assert await shop.state("SMS-200") == ""
    assert [each.id for each in (await user.view()).buckets if "pack" in each.id] == []
    await shop.buy("SMS-1000")
    assert await user.left("SMS-1000.pack-sms") == 1000


@rule("HOT-PKG-7")
async def test_a_recurring_pack_is_renewed_and_its_rest_is_lost(world: World) -> None:
    user = await world.subscriber(40, "MINI")  # 33.01
    shop = Shop(user)
    world.now += 10 * DAY_S
    await shop.buy("SMS-200")  # 26.01
    await texts(user, 50)
    await pass_days(world, 30)  # MINI on the 20th day of it: 19.02; the pack on the 30th: 12.02
    assert await user.left("SMS-200.pack-sms") == 200
    assert await user.credit() == 12_020_000


@rule("HOT-PKG-2", "HOT-PKG-7")
async def test_a_pack_that_cannot_be_renewed_waits_for_a_top_up(world: World) -> None:
    user = await world.subscriber(13, None)
    shop = Shop(user)
    await shop.buy("SMS-200")  # 6.00
    await pass_days(world, 30)
    assert (await shop.state("SMS-200"), await user.credit()) == ("unpaid", 6_000_000)
    assert await texts(user, 1) == 69_000
    await user.top_up(1.068999, "a cent's part less than enough")
    assert await shop.state("SMS-200") == "unpaid"
    await user.top_up(0.000001, "enough")
    assert (await shop.state("SMS-200"), await user.credit()) == ("active", 0)
    assert await texts(user, 1) == 0


@rule("HOT-PKG-8")
async def test_one_off_packs_several_times_for_the_running_period(world: World) -> None:
    user = await world.subscriber(40, "MINI")
    shop, ends = Shop(user), world.now + 30 * DAY_S
    world.now += 10 * DAY_S
    for _ in range(2):
        assert (await shop.buy("SMS-200-MESEC")).applied
    packs = [each for each in (await user.view()).buckets if each.id == "SMS-200-MESEC.pack-sms"]
    assert [(each.left, each.expires_at) for each in packs] == [(200, ends)] * 2
    assert await user.credit() == (4000 - 699 - 2 * 700) * 10_000
    await pass_days(world, 20)
    assert (await shop.state("SMS-200-MESEC"), await shop.state("MINI")) == ("", "active")


@rule("HOT-PKG-10")
async def test_of_two_packs_the_one_that_ends_first_pays_first(world: World) -> None:
    user = await world.subscriber(40, "MINI")
    shop = Shop(user)
    world.now += 10 * DAY_S
    await shop.buy("SMS-200")  # ends after the 40th day
    await shop.buy("SMS-200-MESEC")  # ends after the 30th, with the tariff
    await texts(user, 201)
    assert (await user.left("SMS-200-MESEC.pack-sms"), await user.left("SMS-200.pack-sms")) == (0, 199)
    assert await user.left("MINI.sms") == 1500


@rule("HOT-PKG-9", "HOT-PKG-1")
async def test_bars_by_tariff_and_what_a_product_needs(world: World) -> None:
    rich, poor, payg = [Shop(await world.subscriber(60, each)) for each in ("MAXI", "MINI", None)]
    assert await refused(rich.buy("SMS-200")) == "barred"
    assert await refused(poor.buy("TV-RECEIVER")) == "requires"
    assert await refused(payg.buy("5G")) == "requires"
    assert await refused(payg.buy("EXTRA-DATA-5-GB")) == "tariff"
    for product in ("5G", "TV", "TV-RECEIVER"):
        await poor.buy(product)
    assert await refused(poor.buy("MAXI")) == "kind"
    assert await poor.user.credit() == (6000 - 699 - 199 - 990 - 200) * 10_000


async def test_an_order_is_done_once(world: World) -> None:
    user = await world.subscriber(40, "MINI")
    shop = Shop(user)
    wanted = {"product": world.catalogue.products["SMS-200"], "reference": Reference("once")}
    assert [(await shop.products.buy(shop.number, **wanted)).applied for _ in range(3)] == [True, False, False]
    assert await user.credit() == (4000 - 699 - 700) * 10_000


async def test_an_account_has_a_bounded_number_of_products(world: World) -> None:
    user = await world.subscriber(190)
    shop = Shop(user)
    await shop.buy("TV")
    for _ in range(MAX_SUBSCRIPTIONS_PER_ACCOUNT - 1):
        await shop.buy("TV-RECEIVER")
    assert await refused(shop.buy("TV-RECEIVER")) == "subscriptions"
    assert await user.credit() == 190 * EUR - 9_900_000 - (MAX_SUBSCRIPTIONS_PER_ACCOUNT - 1) * 2 * EUR


# -- planned


@rule("HOT-PKG-11")
async def test_a_planned_activation_is_paid_on_its_day(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    shop = Shop(user)
    for wrong in (TODAY, TODAY + timedelta(days=31), date(2026, 12, 11), TODAY - timedelta(days=1)):
        assert await refused(shop.plan("SMS-200", wrong)) == "date", wrong
    done = await shop.plan("SMS-200", date(2026, 11, 20))
    assert done.state == "planned"
    assert done.at == world.now + 10 * DAY_S - 13 * 3600  # midnight in Ljubljana is 23:00 UTC, and now it is 12:00
    assert await refused(shop.buy("SMS-1000")) == "excluded"
    before = await user.credit()
    world.now = done.at - 1
    await world.sweep()
    assert await user.credit() == before
    world.now += 1
    await world.sweep()
    assert (before - await user.credit(), await shop.state("SMS-200")) == (7_000_000, "active")


@rule("HOT-PKG-11")
async def test_one_change_of_the_tariff_is_planned_at_a_time(world: World) -> None:
    """Two for one day would both be paid, and the first would give nothing."""
    user = await world.subscriber(60, "MINI")
    shop = Shop(user)
    assert await refused(shop.plan("MINI", date(2026, 11, 20))) == "same"
    assert (await shop.plan("MAXI", date(2026, 11, 20))).state == "planned"
    assert [await refused(shop.plan(each, date(2026, 11, 20))) for each in ("MAXI", "EXTRA")] == ["planned"] * 2
    await pass_days(world, 11)
    assert await user.credit() == (6000 - 699 - 999) * 10_000


@rule("HOT-PKG-6")
async def test_an_order_right_after_a_period_is_judged_by_what_follows(world: World) -> None:
    """The sweep has not come yet."""
    await world.price_lists(FIXED.replace("[package.MINI]\n", '[package.MINI]\nchange = "period-end"\n'))
    user = await world.subscriber(60, "MAXI")
    shop = Shop(user)
    assert (await shop.change("MINI")).state == "next"
    world.now += 30 * DAY_S + 2
    assert await refused(shop.change("MINI")) == "same"
    assert await user.credit() == (6000 - 999 - 699) * 10_000
    assert (await shop.change("MAXI")).state == "active"
    world.now += 30 * DAY_S + 2
    assert await refused(shop.change("MAXI")) == "same", "it was renewed, and is paid once"
    assert await user.credit() == (6000 - 999 - 699 - 2 * 999) * 10_000


@rule("HOT-PKG-9", "HOT-PKG-11")
async def test_a_planned_pack_is_void_with_a_tariff_with_which_it_is_not_sold(world: World) -> None:
    user = await world.subscriber(60, "MINI")
    shop = Shop(user)
    await shop.plan("SMS-200-MESEC", date(2026, 11, 20))
    await shop.change("MAXI")
    assert ("SMS-200-MESEC", "voided") in await shop.told()
    await pass_days(world, 11)
    assert await user.credit() == (6000 - 699 - 999) * 10_000


@rule("HOT-PKG-11")
async def test_a_planned_activation_has_the_day_of_the_next_month_as_its_last(world: World) -> None:
    shop = Shop(await world.subscriber(20, "MINI"))
    assert (await shop.plan("SMS-200", date(2026, 12, 10))).applied


@rule("HOT-PKG-11")
async def test_the_price_of_a_planned_activation_is_that_of_its_day(world: World) -> None:
    """SMS 200 costs 8.00 instead of 7.00 EUR from 15 November on; it is planned for the 14th and for the 16th."""
    i = FIXED.index("[package.SMS-200]")
    dearer = FIXED[i:].replace('"7.00"', '"8.00"', 1).replace('"5.74"', '"6.56"', 1)
    later = FIXED[:i].replace('version = "1"', 'version = "2"\nvalid_from = "2026-11-15T00:00"') + dearer
    await world.price_lists(FIXED, later)
    for day, price in ((14, 7 * EUR), (16, 8 * EUR)):
        user = await world.subscriber(20)
        await Shop(user).plan("SMS-200", date(2026, 11, day))
        now, world.now = world.now, world.now + 10 * DAY_S
        await world.sweep()
        assert await user.credit() == 20 * EUR - price
        world.now = now


@rule("HOT-PKG-11", "HOT-PKG-6")
async def test_a_change_of_the_tariff_voids_a_planned_activation(world: World) -> None:
    user = await world.subscriber(40, "MINI")
    shop = Shop(user)
    await shop.plan("SMS-200", date(2026, 11, 20))
    await shop.plan("TV", date(2026, 11, 20))
    assert (await shop.change("MAXI")).state == "active"
    assert (await shop.state("SMS-200"), await shop.state("TV")) == ("", "planned")
    assert ("SMS-200", "voided") in await shop.told()
    await pass_days(world, 10)
    assert await user.credit() == (4000 - 699 - 999 - 990) * 10_000


# -- change of the tariff


@rule("HOT-PKG-6")
async def test_a_change_at_once(world: World) -> None:
    user = await world.subscriber(40, "MINI")
    shop = Shop(user)
    world.now += 5 * DAY_S
    assert await refused(shop.change("MINI")) == "same"
    assert await refused(shop.change("SMS-200")) == "kind"
    assert (await shop.change("EXTRA")).state == "active"
    view = await user.view()
    assert (view.package, view.period_end) == ("EXTRA", world.now + 30 * DAY_S)
    assert view.credit_micro_eur == (4000 - 699 - 1399) * 10_000, "the change itself is free"
    assert {each.id for each in view.buckets} == {"EXTRA.voice", "EXTRA.sms", "EXTRA.data"}


@rule("HOT-PKG-6")
async def test_a_change_at_the_end_of_the_period(world: World) -> None:
    await world.price_lists(FIXED.replace("[package.MINI]\n", '[package.MINI]\nchange = "period-end"\n'))
    user = await world.subscriber(40, "MAXI")
    shop = Shop(user)
    world.now += 5 * DAY_S
    ordered = await shop.change("MINI")
    assert (ordered.state, ordered.at) == ("next", world.now + 25 * DAY_S)
    assert (await user.view()).package == "MAXI"
    await pass_days(world, 25)
    assert ((await user.view()).package, await user.credit()) == ("MINI", (4000 - 999 - 699) * 10_000)
    # A tariff that ends with its period is followed by the new one, too.
    await shop.change("EXTRA")
    await shop.cancel("EXTRA")
    assert (await shop.change("MINI")).state == "planned"
    await user.top_up(20, "more")
    await pass_days(world, 30)
    assert (await user.view()).package == "MINI"


# -- zone packs


@rule("HOT-PKG-13", "HOT-ROA-6")
async def test_usa_unlimited_begins_at_the_first_use_on_the_partner_network(world: World) -> None:
    user = await world.subscriber(60)
    shop = Shop(user)
    assert (await shop.buy("USA-UNLIMITED")).state == "armed"
    assert await user.credit() == 60 * EUR, "it is paid at its first use"
    assert await user.call(60, towards(f"tel:{MOBILE}", USA)) == 2_990_000, "another network of the country"
    assert await shop.state("USA-UNLIMITED") == "armed"
    await pass_days(world, 20)
    assert await user.call(600, towards(f"tel:{MOBILE}", PARTNER)) == 19_900_000, "the fee, and ten minutes free"
    begun = world.now - 600
    assert (await user.view()).subscriptions[0].ends_at == begun + 7 * DAY_S
    assert await user.call(600, called_by("tel:+12125551234", PARTNER)) == 0
    assert await texts(user, 3, plmn=PARTNER) == 0
    # 1,023 MB are 104,756 steps of 10 kB: of 1 GB 1,016 kB are left. Of 2 MB, 205 steps, credit pays 1,034 kB: at 9.90
    # EUR a MB 9.9966797 EUR.
    assert await user.use_data(300 * MB, 300 * MB, 300 * MB, 123 * MB, plmn=PARTNER) == 0
    assert await user.left("USA-UNLIMITED.usa-data") == 1_016 * 1024
    assert await user.use_data(2 * MB, plmn=PARTNER) == 9_996_680
    assert await user.left("USA-UNLIMITED.usa-data") == 0
    assert await user.call(60, towards(f"tel:{MOBILE}", USA)) == 2_990_000
    assert await user.call(60, towards(f"tel:{MOBILE}")) == 69_000
    await pass_days(world, 7)
    assert await shop.state("USA-UNLIMITED") == ""
    assert await user.call(60, towards(f"tel:{MOBILE}", PARTNER)) == 2_990_000


@rule("HOT-PKG-13", "HOT-ROA-6")
@pytest.mark.parametrize("country", BALKAN)
async def test_balkan_500_mb_counts_in_its_five_countries_only(world: World, country: str) -> None:
    user = await world.subscriber(40)
    shop = Shop(user)
    assert (await shop.buy("BALKAN-500-MB")).state == "armed"
    assert await user.use_data(MB) == 6_900
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900
    assert await shop.state("BALKAN-500-MB") == "armed"
    assert await user.use_data(100 * MB, plmn=BALKAN[country]) == 9_900_000
    assert await user.left("BALKAN-500-MB.balkan-data") == 400 * MB
    assert await user.use_data(MB, plmn="23410") == 2_916_992, "Britain: 103 steps of 10 kB at 2.90 EUR a MB"
    assert await user.left("BALKAN-500-MB.balkan-data") == 400 * MB


@rule("HOT-PKG-13")
async def test_of_two_zone_packs_the_second_begins_when_the_first_is_not_enough(world: World) -> None:
    """9.90 each. Use is by 10 kB: 1 MB are 1,030 kB, 600 MB 614,400. Of two times 512,000 kB 408,570 are left."""
    user = await world.subscriber(60)
    shop = Shop(user)
    for _ in range(2):
        await shop.buy("BALKAN-500-MB")
    assert await user.use_data(MB, plmn=SERBIA) == 9_900_000
    assert sorted(each.state.value for each in (await user.view()).subscriptions) == ["active", "armed"]
    await pass_days(world, 10)
    assert await user.use_data(*[50 * MB] * 12, plmn=SERBIA) == 9_900_000
    (rest,) = [each for each in (await user.view()).buckets if each.left]
    assert (rest.left, rest.expires_at) == (408_570 * 1024, world.now + 30 * DAY_S)
    assert {each.state.value for each in (await user.view()).subscriptions} == {"active"}


@rule("HOT-PKG-13")
async def test_services_of_a_session_may_together_need_a_second_zone_pack(world: World) -> None:
    user = await world.subscriber(60)
    shop = Shop(user)
    for _ in range(2):
        await shop.buy("BALKAN-500-MB")
    session = user.data(SERBIA)
    answer = await session.take("I", octets(want=300 * MB), octets(want=300 * MB, group=2))
    assert [granted(each) for each in answer.multiple_services_credit_control] == [300 * MB] * 2
    assert await user.credit() == 60 * EUR - 2 * 9_900_000
    assert sum((await session.held()).values()) == 0, "no money is held"


@rule("HOT-PKG-13")
async def test_a_zone_pack_that_cannot_be_paid_stays_armed(world: World) -> None:
    user = await world.subscriber(5)
    shop = Shop(user)
    await shop.buy("BALKAN-500-MB")
    assert await user.use_data(10 * 1024, plmn=SERBIA) == 28_320  # 10 kB of 2.90 EUR a MB: 28,320.3
    assert await shop.state("BALKAN-500-MB") == "armed"


# -- further quantities


@rule("HOT-CC-2", "HOT-PKG-3")
async def test_a_further_quantity_counts_to_the_monthly_limit_and_is_refused_beyond_it(world: World) -> None:
    user = await world.subscriber(60, "MINI")
    shop, ends = Shop(user), world.now + 30 * DAY_S
    await world.ledger.set_limit(user.account_id, limit_micro_eur=10 * EUR, **world.when)
    await shop.buy("5G")
    await shop.buy("SMS-200")
    assert (await user.view()).spent_month_micro_eur == 0, "neither packages nor the 5G option count"
    world.now += 3 * DAY_S
    for _ in range(2):
        await shop.buy("EXTRA-DATA-5-GB")
    view = await user.view()
    assert view.spent_month_micro_eur == 8 * EUR
    assert [(event["pct"], event["value"]) for event in await user.events("threshold")] == [(80, 8 * EUR)]
    extra = [each for each in view.buckets if each.id == "EXTRA-DATA-5-GB.extra-data"]
    assert [(each.left, each.expires_at) for each in extra] == [(5 * GB, ends)] * 2
    before = await user.credit()
    assert await refused(shop.buy("EXTRA-DATA-5-GB")) == "limit"
    assert await user.credit() == before
    await world.ledger.set_limit(user.account_id, limit_micro_eur=None, **world.when)
    await shop.buy("EXTRA-DATA-5-GB")
    assert before - await user.credit() == 4 * EUR


@rule("HOT-PKG-3")
async def test_a_further_quantity_is_used_when_the_included_one_is_gone(world: World) -> None:
    user = await world.subscriber(12, "MINI")  # 5.01
    for _ in range(3):
        await user.use_data(3 * GB)
    assert await user.use_data(MB) == 6_900
    await Shop(user).buy("EXTRA-DATA-5-GB")
    assert await user.use_data(MB) == 0
    assert await user.left("EXTRA-DATA-5-GB.extra-data") == 5 * GB - MB


# -- fees


@rule("HOT-PKG-16")
async def test_a_fee_is_paid_and_nothing_stays(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    shop = Shop(user)
    for _ in range(2):
        assert (await shop.buy("SIM-REPLACEMENT")).applied
    assert await user.credit() == (2000 - 699 - 2 * 500) * 10_000
    assert [each.product for each in (await user.view()).subscriptions] == ["MINI"]
    fees = [(event["id"], event["debit"], event["ok"]) for event in await user.events("package")]
    assert fees[1:] == [("SIM-REPLACEMENT", 5 * EUR, True)] * 2
    assert await refused(shop.buy("SIM-REPLACEMENT")) == "credit"
    assert await shop.told() == []


@rule("HOT-PKG-16")
async def test_a_recurring_fee_without_units(world: World) -> None:
    user = await world.subscriber(25, None)
    shop = Shop(user)
    await shop.buy("TV")
    assert await user.credit() == 15_100_000
    await pass_days(world, 30)
    assert await user.credit() == 5_200_000
    await pass_days(world, 30)
    assert (await shop.state("TV"), await user.credit()) == ("unpaid", 5_200_000)


# -- commitments


@rule("HOT-PKG-17", "HOT-REC-4")
async def test_an_early_end_costs_the_share_of_each_benefit(world: World) -> None:
    """TV for 720 days, with 60.00 on the connection and 48.00 on equipment; it ends at once after 200 days:
    60.00 × 520 / 720 = 43.333… and 48.00 × 520 / 720 = 34.666….
    """
    user = await world.subscriber(9.90)
    shop = Shop(user)
    await shop.buy("TV")
    await user.top_up(180, "years")
    await pass_days(world, 89)
    await user.top_up(1, "active")
    await pass_days(world, 89)
    await user.top_up(1, "still")
    await pass_days(world, 22)
    before = await user.credit()
    shares = await shop.cancel("TV", at_once=True)
    assert shares == [("connection", 43_330_000, 520), ("equipment", 34_670_000, 520)]
    assert before - await user.credit() == 78 * EUR
    events = await user.events("share")
    assert [(e["benefit"], e["days_left"], e["days"], e["debit"]) for e in events] == [
        ("connection", 520, 720, 43_330_000),
        ("equipment", 520, 720, 34_670_000),
    ]
    assert (await user.view()).spent_month_micro_eur == 0
    assert await shop.state("TV") == ""
    assert await refused(shop.cancel("TV")) == "subscription"


@rule("HOT-REC-4")
async def test_a_cancellation_counts_the_days_left_when_it_takes_effect(world: World) -> None:
    """On the 15th day for the end of the period, the 30th: 690 days are left, 60.00 × 690 / 720 = 57.50."""
    user = await world.subscriber(120)
    shop = Shop(user)
    await shop.buy("TV")
    world.now += 15 * DAY_S
    assert await shop.cancel("TV") == [("connection", 57_500_000, 690), ("equipment", 46_000_000, 690)]
    assert await shop.cancel("TV") == [], "a second time costs nothing"
    await pass_days(world, 15)
    assert await user.credit() == (12000 - 990 - 5750 - 4600) * 10_000


@rule("HOT-REC-4")
async def test_an_early_end_that_the_credit_does_not_cover_is_refused(world: World) -> None:
    user = await world.subscriber(100)
    shop = Shop(user)
    await shop.buy("TV")
    assert await refused(shop.cancel("TV", at_once=True)) == "credit"
    assert (await shop.state("TV"), await user.credit()) == ("active", 90_100_000)
    assert await user.events("share") == []


COMMITTED = FIXED.replace(
    "[package.MAXI]\n", '[package.MAXI]\ncommitment = { days = 60, benefits = { fee = "12.00" } }\n'
)


@rule("HOT-PKG-17")
async def test_a_committed_tariff_is_changed_to_a_dearer_one_only(world: World) -> None:
    await world.price_lists(COMMITTED)
    user = await world.subscriber(100, "MAXI")
    shop = Shop(user)
    world.now += 10 * DAY_S
    assert [await refused(shop.change(each)) for each in ("MINI", "GIGA-MINI")] == ["commitment"] * 2
    assert await refused(shop.plan("MINI", date(2026, 12, 1))) == "commitment"
    assert (await shop.change("EXTRA")).state == "active"
    assert await refused(shop.change("MINI")) == "commitment", "the commitment went over to EXTRA"
    (held,) = (await user.view()).subscriptions
    assert (held.committed_until, held.benefits) == (world.now + 50 * DAY_S, (("fee", 12 * EUR),))
    # 12.00 × 50 / 60 = 10.00
    assert await shop.cancel("EXTRA", at_once=True) == [("fee", 10 * EUR, 50)]


@rule("HOT-PKG-17")
async def test_a_committed_tariff_that_waits_for_its_fee_is_not_changed_to_a_cheaper_one(world: World) -> None:
    await world.price_lists(COMMITTED)
    user = await world.subscriber(19, "MAXI")
    shop = Shop(user)
    await pass_days(world, 31)
    assert await shop.state("MAXI") == "unpaid"
    assert await refused(shop.change("MINI")) == "commitment"
    assert await refused(shop.plan("MINI", date(2026, 12, 20))) == "commitment"
    await user.top_up(10, "fee")
    assert await shop.state("MAXI") == "active"


@rule("HOT-PKG-17")
async def test_no_commitment_begins_while_a_cheaper_tariff_is_planned(world: World) -> None:
    await world.price_lists(COMMITTED)
    user = await world.subscriber(60, "GIGA-MINI")
    shop = Shop(user)
    await shop.plan("MINI", date(2026, 11, 20))
    assert await refused(shop.change("MAXI")) == "planned"
    await shop.cancel("MINI")
    assert (await shop.change("MAXI")).state == "active"


@rule("HOT-PKG-17")
async def test_a_committed_tariff_is_not_replaced_by_a_cheaper_period(world: World) -> None:
    """What `ocs account package` does."""
    await world.price_lists(COMMITTED)
    user = await world.subscriber(100, "MAXI")
    shop, products = Shop(user), world.catalogue.products
    mini, maxi = products["MINI"], products["MAXI"]
    assert await refused(shop.products.restart(shop.number, product=mini, reference=Reference("1"))) == "commitment"
    done = [await shop.products.restart(shop.number, product=maxi, reference=Reference("2")) for _ in range(2)]
    assert [each.applied for each in done] == [True, False]
    assert await user.credit() == (10_000 - 2 * 999) * 10_000


@rule("HOT-PKG-17")
async def test_after_its_commitment_a_tariff_is_free(world: World) -> None:
    await world.price_lists(COMMITTED)
    user = await world.subscriber(100, "MAXI")
    shop = Shop(user)
    await pass_days(world, 60)
    assert (await shop.change("MINI")).state == "active"
    assert await shop.cancel("MINI", at_once=True) == []


# -- conditions of every period


async def told_why(user: Subscriber) -> list[tuple[str, str, str]]:
    events = await user.events("subscription")
    return [(event["id"], event["state"], event["reason"]) for event in events if "reason" in event]


@rule("HOT-PKG-16")
async def test_a_product_is_not_renewed_without_the_one_that_it_needs(world: World) -> None:
    """TV is bought on 10 November, its receiver on the 15th, and TV is given up with its period, on 10 December. The
    receiver runs to 15 December: 2.00 were paid for it, once.
    """
    user = await world.subscriber(190)
    shop = Shop(user)
    await shop.buy("TV")
    await pass_days(world, 5)
    await shop.buy("TV-RECEIVER")
    await shop.cancel("TV")
    before = await user.credit()
    await pass_days(world, 29)
    assert (await shop.state("TV"), await shop.state("TV-RECEIVER")) == ("", "active")
    await pass_days(world, 1)
    assert (await shop.state("TV-RECEIVER"), await user.credit()) == ("", before)
    assert await told_why(user) == [("TV-RECEIVER", "ended", "requires")]


@rule("HOT-PKG-16")
@pytest.mark.parametrize("receiver_first", [True, False])
async def test_a_product_that_ends_at_the_same_time_is_not_there_any_more(world: World, receiver_first: bool) -> None:
    needs = FIXED.replace("[package.TV-RECEIVER]", f"[package.TV-RECEIVER]\norder = {1 if receiver_first else 9}")
    await world.price_lists(needs)
    user = await world.subscriber(190)
    shop = Shop(user)
    await shop.buy("TV")
    await shop.buy("TV-RECEIVER")
    await shop.cancel("TV")
    await pass_days(world, 30)
    assert (await shop.state("TV"), await shop.state("TV-RECEIVER")) == ("", "")
    assert await told_why(user) == [("TV-RECEIVER", "ended", "requires")]


@rule("HOT-PKG-16", "HOT-PKG-2")
async def test_a_product_is_renewed_with_the_one_that_it_needs_and_while_that_waits_for_its_fee(world: World) -> None:
    """5G needs a tariff. Of 10.00, MINI takes 6.99 and 5G 1.99 for the first period. Topped up to 6.02, MINI waits;
    5G, which needs nothing that the account has given up, is renewed.
    """
    user = await world.subscriber(10, "MINI")
    shop = Shop(user)
    await shop.buy("5G")
    await user.top_up(5, "t")
    await pass_days(world, 30)
    assert (await shop.state("MINI"), await shop.state("5G")) == ("unpaid", "active")
    assert await user.credit() == (1000 - 699 - 199 + 500 - 199) * 10_000


@rule("HOT-PKG-9")
async def test_a_pack_is_not_renewed_with_a_tariff_with_which_it_is_not_sold(world: World) -> None:
    """The period that was paid goes on; MAXI is renewed on the same day, and no SMS-200."""
    user = await world.subscriber(60, "MINI")
    shop = Shop(user)
    await shop.buy("SMS-200")
    await shop.change("MAXI")
    await pass_days(world, 29)
    assert (await shop.state("SMS-200"), await user.left("SMS-200.pack-sms")) == ("active", 200)
    await pass_days(world, 1)
    assert await shop.state("SMS-200") == ""
    assert await told_why(user) == [("SMS-200", "ended", "barred")]
    assert await user.credit() == (6000 - 699 - 700 - 999 - 999) * 10_000


@rule("HOT-PKG-16", "HOT-PKG-2")
async def test_a_product_that_waits_for_its_fee_does_not_begin_without_the_one_that_it_needs(world: World) -> None:
    """14.00 − 6.99 − 1.99 + 3.00 − 6.99 = 1.03: too little for 5G. GIGA MINI is given up, then there are 6.03."""
    user = await world.subscriber(14, "GIGA-MINI")
    shop = Shop(user)
    await shop.buy("5G")
    await user.top_up(3, "1")
    await pass_days(world, 30)
    assert (await shop.state("GIGA-MINI"), await shop.state("5G")) == ("active", "unpaid")
    await shop.cancel("GIGA-MINI", at_once=True)
    await user.top_up(5, "2")
    assert (await shop.state("5G"), await user.credit()) == ("", 6_030_000)
    assert await told_why(user) == [("5G", "ended", "requires")]


@rule("HOT-PKG-16", "HOT-PKG-17")
async def test_a_commitment_keeps_a_product_whatever_it_needs(world: World) -> None:
    """The receiver was agreed for 60 days; TV is given up after 30."""
    agreed = '[package.TV-RECEIVER]\ncommitment = { days = 60, benefits = { equipment = "6.00" } }'
    await world.price_lists(FIXED.replace("[package.TV-RECEIVER]", agreed))
    user = await world.subscriber(190)
    shop = Shop(user)
    await shop.buy("TV")
    await shop.buy("TV-RECEIVER")
    await shop.cancel("TV")
    await pass_days(world, 59)
    assert (await shop.state("TV"), await shop.state("TV-RECEIVER")) == ("", "active")
    await pass_days(world, 1)
    assert await shop.state("TV-RECEIVER") == ""
    assert [event["id"] for event in await user.events("share")] == ["TV", "TV"]


# -- what waits is looked at again when it begins


@rule("HOT-PKG-11", "HOT-PKG-17")
async def test_a_planned_tariff_does_not_replace_a_commitment_made_meanwhile(world: World) -> None:
    """EXTRA, with a commitment of its own, is planned for 20 November; then MAXI is taken, for 60 days."""
    own = '[package.EXTRA]\ncommitment = { days = 90, benefits = { fee = "9.00" } }\n'
    await world.price_lists(COMMITTED.replace("[package.EXTRA]\n", own))
    user = await world.subscriber(100, "MINI")
    shop = Shop(user)
    await shop.plan("EXTRA", date(2026, 11, 20))
    await shop.change("MAXI")
    before = await user.credit()
    await pass_days(world, 11)
    assert (await shop.state("EXTRA"), await shop.state("MAXI"), await user.credit()) == ("", "active", before)
    assert await told_why(user) == [("EXTRA", "voided", "commitment")]
    (held,) = (await user.view()).subscriptions
    assert (held.committed_days, held.benefits) == (60, (("fee", 12 * EUR),))


@rule("HOT-PKG-11", "HOT-PKG-17")
async def test_a_planned_tariff_that_has_become_the_cheaper_one_does_not_replace_a_commitment(world: World) -> None:
    """MAXI costs 9.99 when EXTRA is planned for 13.99. From 15 November EXTRA costs 9.00."""
    later = COMMITTED.replace('price_eur = "13.99"\nnet_eur = "11.47"', 'price_eur = "9.00"\nnet_eur = "7.38"')
    later = later.replace("[catalogue]\n", '[catalogue]\nvalid_from = "2026-11-15T00:00"\n')
    await world.price_lists(COMMITTED, later)
    user = await world.subscriber(100, "MAXI")
    shop = Shop(user)
    await shop.plan("EXTRA", date(2026, 11, 20))
    await pass_days(world, 11)
    assert (await shop.state("EXTRA"), await shop.state("MAXI")) == ("", "active")
    assert await told_why(user) == [("EXTRA", "voided", "commitment")]


@rule("HOT-PKG-11", "HOT-PKG-16")
async def test_a_plan_is_void_if_what_it_needs_is_gone_on_its_day(world: World) -> None:
    user = await world.subscriber(190)
    shop = Shop(user)
    await shop.buy("TV")
    await shop.plan("TV-RECEIVER", date(2026, 11, 20))
    await shop.cancel("TV", at_once=True)
    before = await user.credit()
    await pass_days(world, 11)
    assert (await shop.state("TV-RECEIVER"), await user.credit()) == ("", before)
    assert await told_why(user) == [("TV-RECEIVER", "voided", "requires")]


@rule("HOT-PKG-9", "HOT-PKG-11")
async def test_a_plan_is_void_if_it_is_excluded_on_its_day(world: World) -> None:
    """From 15 November MMS-50 and SMS-200 exclude each other."""
    later = FIXED.replace('excludes = ["MMS-50"]', 'excludes = ["MMS-50", "SMS-200"]')
    later = later.replace("[catalogue]\n", '[catalogue]\nvalid_from = "2026-11-15T00:00"\n')
    await world.price_lists(FIXED, later)
    user = await world.subscriber(60, "MINI")
    shop = Shop(user)
    await shop.buy("SMS-200")
    await shop.plan("MMS-50", date(2026, 11, 20))
    await pass_days(world, 11)
    assert await shop.state("MMS-50") == ""
    assert await told_why(user) == [("MMS-50", "voided", "excluded")]


@rule("HOT-PKG-6", "HOT-PKG-16")
async def test_a_tariff_that_was_to_follow_does_not_without_what_it_needs(world: World) -> None:
    """MAXI, here for those with TV only, is to follow MINI. TV is given up: MINI goes on."""
    needs = '[package.MAXI]\nrequires = ["TV"]\nchange = "period-end"\n'
    await world.price_lists(FIXED.replace("[package.MAXI]\n", needs))
    user = await world.subscriber(190, "MINI")
    shop = Shop(user)
    await shop.buy("TV")
    assert (await shop.change("MAXI")).state == "next"
    await shop.cancel("TV", at_once=True)
    await pass_days(world, 30)
    assert (await shop.state("MINI"), await shop.state("MAXI")) == ("active", "")
    assert await told_why(user) == [("MAXI", "voided", "requires")]


# -- what is told


async def test_the_end_of_a_period_is_told_three_days_before(world: World) -> None:
    user = await world.subscriber(60, "MINI")
    shop, ends = Shop(user), world.now + 30 * DAY_S
    await shop.buy("SMS-200")
    await shop.cancel("SMS-200")
    await pass_days(world, 26)
    assert [each for each in await shop.told() if each[1] == "expiring"] == []
    await pass_days(world, 2)
    told = [event for event in await user.events("subscription") if event["state"] == "expiring"]
    found = {(event["id"], event["ends"], event["renews"]) for event in told}
    assert found == {("MINI", ends, 1), ("SMS-200", ends, 0)} and len(told) == 2
    await pass_days(world, 29)
    again = [event["id"] for event in await user.events("subscription") if event["state"] == "expiring"]
    assert sorted(again) == ["MINI", "MINI", "SMS-200"], "once a period"
