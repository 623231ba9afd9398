"""Each notice of HOT-NOT-1, from the CCR to the text, word for word in both languages."""

from __future__ import annotations

import pytest

from ocs.values.measures import AccountMeasure, MeasureKind
from tests.ocs.charging.ccr import AUSTRIA, HOME, IMS, MB, SERBIA, SMS, seconds, sms_to, towards
from tests.ocs.notices.said import said, texts
from tests.ocs.rules.test_cost_control import CAP, allow
from tests.ocs.rules.test_fair_use_presence import Months
from tests.ocs.rules.world import CATALOGUE, DAY_S, EUR, World
from tests.rules import rule

GB = 1024 * MB
FRIEND = towards("tel:+38631234567")
WORLD_1 = 2_900_000
SHIP = "90112"


@rule("HOT-NOT-1", "HOT-ACC-8")
async def test_low_credit(world: World) -> None:
    user = await world.subscriber(1.03)
    await user.call(60, FRIEND)  # 0.069 EUR
    assert await texts(user, "low-credit") == [
        (
            "Vaše dobroimetje je 0,96 EUR. Napolnite račun, da boste storitve lahko uporabljali naprej.",
            "Your credit is 0.96 EUR. Top up to keep using your services.",
        )
    ]
    await user.call(60, FRIEND)
    assert len(await said(user, "sl", "low-credit")) == 1, "once per crossing"


@rule("HOT-ACC-8")
async def test_a_package_that_takes_the_credit_below_the_mark_tells_nothing_of_it(world: World) -> None:
    user = await world.subscriber(7, "MINI")
    assert [name for name, _ in await said(user)] == ["package-started"]


@rule("HOT-NOT-1")
async def test_top_up_done(world: World) -> None:
    user = await world.subscriber(2.5)
    assert await user.top_up(10, "R1")
    assert await texts(user, "topup") == [
        (
            "Račun je napolnjen: 10,00 EUR. Dobroimetje: 12,50 EUR, velja do 8. 2. 2027.",
            "Topped up: 10.00 EUR. Credit: 12.50 EUR, valid until 8 Feb 2027.",
        )
    ]


@rule("HOT-NOT-1")
async def test_a_package_begins_is_announced_renewed_and_not_renewed(world: World) -> None:
    user = await world.subscriber(15, "MINI")
    assert await texts(user, "package-started") == [
        (
            "Paket MINI je vključen do 10. 12. 2026. Cena: 6,99 EUR.",
            "Package MINI is active until 10 Dec 2026. Price: 6.99 EUR.",
        )
    ]
    world.now += 27 * DAY_S
    await world.sweep()
    assert await texts(user, "package-renews") == [
        (
            "MINI: 10. 12. 2026 se samodejno podaljša. Cena: 6,99 EUR.",
            "MINI: renews by itself on 10 Dec 2026. Price: 6.99 EUR.",
        )
    ]
    world.now += 3 * DAY_S
    await world.sweep()
    assert await texts(user, "package-renewed") == [
        (
            "MINI: podaljšano do 9. 1. 2027. Cena: 6,99 EUR, dobroimetje: 1,02 EUR.",
            "MINI: renewed until 9 Jan 2027. Price: 6.99 EUR, credit: 1.02 EUR.",
        )
    ]
    world.now += 30 * DAY_S
    await world.sweep()
    assert await texts(user, "package-not-renewed") == [
        (
            "MINI: ni podaljšano. Cena: 6,99 EUR, dobroimetje: 1,02 EUR. Napolnite račun in vključilo se bo samo.",
            "MINI: not renewed. Price: 6.99 EUR, credit: 1.02 EUR. It starts again when you top up.",
        )
    ]
    assert await user.top_up(10, "R1")
    assert [name for name, _ in await said(user)][-2:] == ["topup", "package-started"]
    assert len(await said(user, "sl", "package-started")) == 2 and len(await said(user, "sl", "package-renewed")) == 1


@rule("HOT-NOT-1")
async def test_a_package_that_ends_is_announced(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    pack = world.catalogue.products["SMS-200"].terms
    assert await user.buy(pack, "B1")
    (held,) = [each for each in (await user.view()).subscriptions if each.product == "SMS-200"]
    await world.ledger.unsubscribe(user.account_id, instance=held.instance, at_once=False, **world.when)
    world.now += 27 * DAY_S
    await world.sweep()
    assert await texts(user, "package-expiring") == [
        ("SMS 200: poteče 10. 12. 2026 in se ne podaljša.", "SMS 200: ends on 10 Dec 2026 and is not renewed.")
    ]


@rule("HOT-NOT-1", "HOT-PKG-9")
async def test_a_package_that_the_rules_end_says_why(world: World) -> None:
    user, products = await world.subscriber(60, "MINI"), world.catalogue.products
    assert await user.buy(products["SMS-200"].terms, "B1")
    assert await user.buy(products["MAXI"].terms, "B2")
    world.now += 30 * DAY_S
    await world.sweep()
    assert await texts(user, "package-ended") == [
        (
            "SMS 200: ni podaljšano, ker ni na voljo z vašim paketom. Nič nismo zaračunali.",
            "SMS 200: not renewed, because it is not available with your package. Nothing was charged.",
        )
    ]


@rule("HOT-NOT-1", "HOT-PKG-3")
async def test_80_and_100_percent_of_a_data_package(world: World) -> None:
    user = await world.subscriber(50, "MINI")
    for _ in range(8):
        await user.use_data(GB)
    assert await texts(user, "data-left") == [
        ("Porabili ste 80 % podatkov (MINI). Ostane še 1 GB.", "You have used 80 % of your data (MINI). 1 GB left.")
    ]
    await user.use_data(GB)
    assert await texts(user, "data-used-up") == [
        (
            "Porabili ste vse podatke: 9 GB (MINI). Nadaljnja poraba se zaračuna po ceniku.",
            "You have used all your data: 9 GB (MINI). Further use is charged by the price list.",
        )
    ]


@rule("HOT-NOT-1")
async def test_80_and_100_percent_of_other_units(world: World) -> None:
    user = await world.subscriber(50, "MINI")
    assert await user.buy(world.catalogue.products["SMS-200"].terms, "B1")
    for _ in range(160):
        assert await user.message(SMS, sms_to("+38631234567")) == (2001, 0)
    assert await texts(user, "units-left") == [("SMS 200: ostane še 40 sporočil.", "SMS 200: 40 messages left.")]
    for _ in range(40):
        await user.message(SMS, sms_to("+38631234567"))
    assert await texts(user, "units-used-up") == [
        (
            "SMS 200: vse je porabljeno (200 sporočil). Nadaljnja poraba se zaračuna po ceniku.",
            "SMS 200: all used up (200 messages). Further use is charged by the price list.",
        )
    ]


@rule("HOT-NOT-1", "HOT-CC-4")
async def test_cost_control_at_80_and_100_percent_and_again_after_a_change(world: World) -> None:
    user = await world.subscriber(50)

    async def limit(eur: int) -> None:
        await world.ledger.set_limit(user.account_id, limit_micro_eur=eur * EUR, **world.when)

    await limit(1)
    for _ in range(12):
        await user.call(60, FRIEND)
    assert await texts(user, "limit-80") == [
        (
            "Porabili ste 0,82 EUR od mesečne omejitve 1,00 EUR.",
            "You have spent 0.82 EUR of your monthly limit of 1.00 EUR.",
        )
    ]
    await user.session(IMS, FRIEND, seconds(want=3600), seconds(used=149))
    assert await texts(user, "limit-100") == [
        (
            "Dosegli ste mesečno omejitev 1,00 EUR. Plačljive storitve so ustavljene, dokler je ne "
            "zvišate ali izklopite.",
            "You have reached your monthly limit of 1.00 EUR. Chargeable services are stopped until you raise it or "
            "switch it off.",
        )
    ]
    assert len(await said(user, "sl", "limit-80", "limit-100")) == 2
    await limit(5)
    await user.call(2700, FRIEND)
    assert (await said(user, "en", "limit-80"))[1:] == [
        ("limit-80", "You have spent 4.10 EUR of your monthly limit of 5.00 EUR.")
    ]


@rule("HOT-NOT-1", "HOT-ROA-5")
async def test_the_roaming_cap_at_80_and_100_percent(world: World) -> None:
    user = await world.subscriber(150)
    await allow(user, 10 * WORLD_1)
    await user.use_data(8 * MB, plmn=SERBIA)
    assert await texts(user, "roaming-cap-80") == [
        (
            "Za podatke v gostovanju ste ta mesec porabili 23,22 EUR od omejitve 29,00 EUR.",
            "You have spent 23.22 EUR of 29.00 EUR on roaming data this month.",
        )
    ]
    await user.use_data(2 * MB, plmn=SERBIA)
    assert await texts(user, "roaming-cap-100") == [
        (
            "Dosegli ste omejitev 29,00 EUR za podatke v gostovanju. Prenos je ustavljen, dokler ne zahtevate višje "
            "omejitve.",
            "You have reached the limit of 29.00 EUR for roaming data. Data is stopped until you ask for a higher "
            "limit.",
        )
    ]


@rule("HOT-ROA-5")
async def test_a_notice_of_the_cap_can_be_switched_off_and_on(world: World) -> None:
    """The event says so; `ocs.notices.making` makes no notice to be sent of it."""
    user = await world.subscriber(150)
    await allow(user, 10 * WORLD_1)
    measure = AccountMeasure(MeasureKind.MUTE, f"{CAP}:80", "asked for", world.now)
    await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    await user.use_data(8 * MB, plmn=SERBIA)
    assert [each.get("muted") for each in await user.events("threshold") if each["counter"] == CAP] == [True]


@rule("HOT-NOT-1", "HOT-ROA-3")
async def test_the_fair_use_volume(world: World) -> None:
    await world.price_lists(CATALOGUE.read_text())
    user = await world.subscriber(100, "GIGA-UNLIMITED")  # 2 × 12.29 / 1.10 GB = 22.3 GB
    for _ in range(18):
        await user.use_data(GB, plmn=AUSTRIA)
    assert await texts(user, "fair-use-80") == [
        (
            "Porabili ste 80 % podatkov za pošteno uporabo v EU (22,3 GB).",
            "You have used 80 % of your fair-use data in the EU (22.3 GB).",
        )
    ]
    for _ in range(5):
        await user.use_data(GB, plmn=AUSTRIA)
    assert await texts(user, "fair-use-100") == [
        (
            "Porabili ste vse podatke za pošteno uporabo v EU (22,3 GB). Naprej se v EU zaračunajo po ceniku.",
            "You have used all your fair-use data in the EU (22.3 GB). From now on data in the EU is charged by the "
            "price list.",
        )
    ]


@rule("HOT-NOT-1", "HOT-ROA-4")
async def test_fair_use_by_presence(world: World) -> None:
    await world.price_lists(CATALOGUE.read_text())
    months = Months(world)
    user = await world.subscriber(150)
    await months.live(user, 60, AUSTRIA)
    assert await user.top_up(1, "T1")
    await months.live(user, 75, AUSTRIA)
    assert await user.top_up(1, "T2")
    await months.live(user, 10, HOME)
    assert await texts(user, "fair-use-warned") == [
        (
            "Zadnje mesece ste pretežno v tujini. Če bo do 25. 3. 2027 tako ostalo, se bo za gostovanje v EU zaračunal "
            "pribitek.",
            "In the last months you were mostly abroad. If that does not change by 25 Mar 2027, a surcharge will apply "
            "to roaming in the EU.",
        )
    ]
    assert await texts(user, "fair-use-surcharge") == [
        (
            "Ker ste pretežno v tujini, se za gostovanje v EU odslej zaračunava pribitek.",
            "As you are mostly abroad, a surcharge applies to roaming in the EU from now on.",
        )
    ]
    assert await texts(user, "fair-use-over") == [
        (
            "Opozorilo o pretežni uporabi v tujini ne velja več. Pribitek se ne zaračunava.",
            "The warning about use mostly abroad is over. No surcharge applies.",
        )
    ]


@rule("HOT-NOT-1")
async def test_the_welcome_has_the_prices_of_the_country_once_an_entry(world: World) -> None:
    user = await world.subscriber(100)
    await user.use_data(MB, plmn=SERBIA)
    await user.use_data(MB, plmn=SERBIA)
    world.now += 600
    await user.use_data(MB)  # home again, near the border
    await user.use_data(MB, plmn=SERBIA)
    assert await texts(user, "welcome") == [
        (
            "Srbija: klic v Slovenijo 0,99 EUR/min, prejeti 0,49 EUR/min, SMS 0,25 EUR, podatki 2,90 EUR/MB. "
            "V sili: 112.",
            "Welcome to Serbia: call to Slovenia 0.99 EUR/min, received 0.49 EUR/min, SMS 0.25 EUR, data 2.90 EUR/MB. "
            "Emergency: 112.",
        )
    ]
    await user.use_data(MB, plmn=SHIP)
    assert (await texts(user, "welcome"))[1:] == [
        (
            "Ladja, letalo ali satelit: klic v Slovenijo 5,99 EUR/min, prejeti 3,99 EUR/min, SMS 0,39 EUR, "
            "podatki 19,90 EUR/MB. V sili: 112.",
            "Welcome to the network of a ship, an aircraft or a satellite: call to Slovenia 5.99 EUR/min, received "
            "3.99 EUR/min, SMS 0.39 EUR, data 19.90 EUR/MB. Emergency: 112.",
        )
    ]


@rule("HOT-NOT-1", "HOT-ROA-1")
async def test_the_welcome_in_the_eu_and_none_at_home(world: World) -> None:
    user = await world.subscriber(100)
    await user.use_data(MB, plmn=AUSTRIA)
    world.now += 2 * DAY_S
    await user.use_data(MB, plmn=HOME)
    assert await texts(user, "welcome-eu") == [
        (
            "Avstrija: dobrodošli! Klici, SMS in podatki v EU stanejo toliko kot doma. Klic v sili: 112.",
            "Welcome to Austria! Calls, SMS and data in the EU cost the same as at home. Emergency call: 112.",
        )
    ]
    assert [name for name, _ in await said(user)] == ["welcome-eu"]


@rule("HOT-NOT-1", "HOT-ACC-4", "HOT-ACC-6")
async def test_the_end_of_the_account_is_announced(world: World) -> None:
    user = await world.subscriber(10)
    world.now += 83 * DAY_S
    await world.sweep()
    assert await texts(user, "account-inactive-soon") == [
        (
            "8. 2. 2027 se izteče aktivno obdobje računa. Napolnite ga, da boste storitve lahko uporabljali naprej.",
            "On 8 Feb 2027 the active period of your account ends. Top up to keep using your services.",
        )
    ]
    world.now += 7 * DAY_S
    await world.sweep()
    world.now += 263 * DAY_S
    await world.sweep()
    assert await texts(user, "account-lost-soon") == [
        (
            "Če računa do 5. 11. 2027 ne napolnite, izgubite številko in dobroimetje.",
            "If you do not top up by 5 Nov 2027, you lose your number and your credit.",
        )
    ]


@rule("HOT-NOT-1", "HOT-ACC-11")
async def test_another_sim_and_another_number(world: World) -> None:
    user = await world.subscriber(10)
    await world.ledger.change_imsi(user.account_id, imsi="293400000077777", **world.when)
    await world.ledger.change_msisdn(user.account_id, msisdn="38668199999", **world.when)
    assert await texts(user, "sim-changed") == [
        (
            "Vaša številka ima novo kartico SIM. Če tega niste zahtevali, nas takoj pokličite.",
            "Your number has a new SIM card. If you did not ask for it, call us at once.",
        )
    ]
    assert await texts(user, "number-changed") == [
        ("Vaša nova številka je +38668199999.", "Your new number is +38668199999.")
    ]


@pytest.mark.parametrize(("language", "begins"), [("", "Paket"), ("sl", "Paket"), ("en", "Package"), ("de", "Paket")])
async def test_the_language_is_that_of_the_subscriber_else_of_the_catalogue(
    world: World, language: str, begins: str
) -> None:
    user = await world.subscriber(20, "MINI")
    await world.ledger.set_customer(user.account_id, name="language", value=language, **world.when)
    ((_, text),) = await said(user)
    assert text.split()[0] == begins
