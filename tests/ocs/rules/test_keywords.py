"""Orders and questions by SMS: the window, what is bought and cancelled, what is answered (HOT-PKG-12, HOT-ACC-12)."""

from __future__ import annotations

import pytest

from ocs.accounts.keywords import KeywordOperations
from ocs.accounts.operations import AccountOperations
from ocs.accounts.products import ProductOperations
from ocs.ledger.contract.limits import MAX_SUBSCRIPTIONS_PER_ACCOUNT
from ocs.values.identities import Msisdn
from ocs.values.sms_text import is_gsm7
from tests.ocs.charging.ccr import MB, SMS, sms_to, towards
from tests.ocs.rules.world import CATALOGUE, DAY_S, EUR, Subscriber, World
from tests.rules import rule

SMS_EACH = 69_000


class Phone:
    """Sends keywords: each is charged as an SMS, then acted upon."""

    def __init__(self, user: Subscriber) -> None:
        world, self.user = user.world, user

        def now() -> int:
            return world.now

        accounts = AccountOperations(world.ledger, world.catalogue, now, lambda: 0)
        products = ProductOperations(accounts, world.ledger, world.catalogue, now)
        self.keywords = KeywordOperations(accounts, products, world.ledger, world.catalogue, now, 1024)

    async def send(self, text: str, to: str = "1918", language: str = "sl") -> tuple[str, str]:
        """Key and text of the answer."""
        assert await self.user.message(SMS, sms_to(to)) == (2001, SMS_EACH)
        return await self.say(text, language)

    async def say(self, text: str, language: str = "sl") -> tuple[str, str]:
        answer = await self.keywords.handle(Msisdn(self.user.msisdn), text, language=language)
        return answer.key, answer.text


@rule("HOT-PKG-12", "HOT-PKG-7")
async def test_a_pack_is_asked_for_confirmed_used_and_cancelled(world: World) -> None:
    user = await world.subscriber(20, "MINI")  # 13.01
    phone = Phone(user)
    assert await phone.send("SMS 200") == (
        "ask",
        "Naročilo SMS 200 stane 7,00 EUR. Za potrditev v 5 minutah pošljite SMS 200 DA.",
    )
    assert await user.credit() == 13_010_000 - SMS_EACH, "nothing is bought yet"
    world.now += 299
    assert await phone.send("sms 200 da") == ("bought", "SMS 200 je vključen. Cena: 7,00 EUR.")
    assert await user.credit() == 13_010_000 - 7_000_000 - 2 * SMS_EACH
    assert await user.left("SMS-200.pack-sms") == 200, "messages to short numbers are not of the pack"
    assert (await phone.send("SMS 200 NE"))[0] == "cancelled"
    assert (await phone.say("SMS 200 NE"))[1] == "SMS 200 je že odpovedan, velja do 10. 12. 2026."
    assert await user.message(SMS, sms_to("+38631234567")) == (2001, 0)
    world.now += 30 * DAY_S
    await world.sweep()
    assert [each.product for each in (await user.view()).subscriptions] == ["MINI"]


@rule("HOT-PKG-12")
@pytest.mark.parametrize(("later_s", "key"), [(0, "bought"), (299, "bought"), (300, "too-late"), (4_000, "too-late")])
@pytest.mark.parametrize("swept", [True, False])
async def test_an_order_is_confirmed_within_five_minutes(world: World, later_s: int, key: str, swept: bool) -> None:
    user = await world.subscriber(20, "MINI")
    phone = Phone(user)
    await phone.say("SMS 200")
    world.now += later_s
    if swept:
        await world.sweep()
    assert (await phone.say("SMS 200 DA"))[0] == key
    assert await user.credit() == 13_010_000 - (7 * EUR if key == "bought" else 0)


@rule("HOT-PKG-12")
async def test_a_confirmation_counts_once_and_a_new_question_begins_a_new_window(world: World) -> None:
    user = await world.subscriber(40, "MINI")
    phone = Phone(user)
    assert (await phone.say("SMS 200 DA"))[0] == "too-late", "nobody has asked"
    await phone.say("SMS 200 MESEC")
    world.now += 200
    await phone.say("SMS 200 MESEC")
    world.now += 200
    assert [(await phone.say("SMS 200 MESEC DA"))[0] for _ in range(2)] == ["bought", "too-late"]
    assert await user.credit() == (4000 - 699 - 700) * 10_000
    await phone.say("SMS 200 MESEC")
    assert (await phone.say("SMS 200 MESEC DA"))[0] == "bought", "a one-off pack several times"
    await phone.say("SMS 200 MESEC")
    assert (await phone.say("SMS 200 MESEC NE"))[0] == "dropped"
    assert (await phone.say("SMS 200 MESEC DA"))[0] == "too-late"
    assert await user.credit() == (4000 - 699 - 2 * 700) * 10_000


@rule("HOT-PKG-12")
async def test_an_order_whose_answer_was_lost_is_not_paid_twice(world: World) -> None:
    """The window was not closed after the purchase."""
    user = await world.subscriber(40, "MINI")
    phone = Phone(user)
    await phone.say("SMS 200 MESEC")
    ends = (await user.view()).reminders[0].at
    for _ in range(2):
        assert (await phone.say("SMS 200 MESEC DA"))[0] == "bought"
        await world.ledger.remind(user.account_id, at=ends, kind="keyword", ref="SMS-200-MESEC", **world.when)
    assert await user.credit() == (4000 - 699 - 700) * 10_000


@rule("HOT-PKG-9", "HOT-PKG-12")
async def test_what_may_not_be_bought_is_not_asked_for(world: World) -> None:
    poor, rich = Phone(await world.subscriber(16, "MINI")), Phone(await world.subscriber(60, "MAXI"))
    assert await rich.say("SMS 200", "en") == ("refused-barred", "SMS 200 is not available with MAXI.")
    await poor.say("SMS 200")
    await poor.say("SMS 200 DA")
    assert await poor.say("SMS 1000") == (
        "refused-excluded",
        "SMS 1000 ni mogoče naročiti v istem obdobju kot SMS 200.",
    )
    await poor.say("SMS 1000 MESEC")
    assert await poor.say("SMS 1000 MESEC DA") == (
        "refused-credit",
        "Za SMS 1000 MESEC je premalo dobroimetja: 2,01 EUR. Cena: 11,00 EUR.",
    )
    assert (await poor.say("SMS 1000 NE"))[0] == "not-held"


@rule("HOT-PKG-13", "HOT-PKG-12")
async def test_a_zone_pack_is_armed(world: World) -> None:
    user = await world.subscriber(40)
    phone = Phone(user)
    await phone.say("USA")
    assert (await phone.say("USA DA"))[0] == "armed"
    assert await user.credit() == 40 * EUR
    assert (await phone.say("USA NE"))[0] == "cancelled"
    assert (await user.view()).subscriptions == ()


@rule("HOT-PKG-12", "HOT-ACC-12")
async def test_what_is_left(world: World) -> None:
    user = await world.subscriber(30, "MINI")
    phone = Phone(user)
    await phone.say("SMS 200 MESEC")
    await phone.say("SMS 200 MESEC DA")
    for _ in range(98):
        await user.message(SMS, sms_to("+38631234567"))
    await user.use_data(1536 * MB)
    await user.call(59 * 60 + 1, towards("tel:+38631234567"))
    assert await phone.send("PORABA K", to="1919") == (
        "usage",
        "Preostalo: SMS 200 MESEC 102 sporočili do 10. 12. 2026, MINI 1440 minut do 10. 12. 2026, "
        "MINI 1500 sporočil do 10. 12. 2026, MINI 7,5 GB do 10. 12. 2026.",
    )
    assert (await phone.say("usage", "en"))[1].startswith("Left: SMS 200 MESEC 102 messages until 10 Dec 2026, MINI ")
    assert await phone.say("Stanje") == ("balance", "Dobroimetje: 15,94 EUR, račun je aktiven do 8. 2. 2027.")
    assert await phone.say("*100#", "en") == ("balance", "Credit: 15.94 EUR, active until 8 Feb 2027.")
    payg = Phone(await world.subscriber(5))
    assert await payg.say("PORABA K") == ("usage-none", "Nimate zakupljenih količin. Dobroimetje: 5,00 EUR.")
    assert (await payg.say("kaj?"))[1].startswith("Neznano sporočilo. Naročila: SMS 200, SMS 1000, ")


async def test_every_refusal_of_the_ledger_has_an_answer(world: World) -> None:
    phone = Phone(await world.subscriber(20))
    balkan = world.catalogue.products["BALKAN-500-MB"].terms
    for n in range(MAX_SUBSCRIPTIONS_PER_ACCOUNT):
        await phone.user.buy(balkan, f"b{n}", armed=True)
    await phone.say("USA")
    assert (await phone.say("USA DA"))[0] == "refused-state"


@rule("HOT-ACC-12")
@pytest.mark.parametrize(
    ("text", "language", "page"),
    [
        ("*100#", "sl", "Dobroimetje: 13,01 EUR, racun je aktiven do 8. 2. 2027."),
        ("STANJE", "sl", "Dobroimetje: 13,01 EUR, racun je aktiven do 8. 2. 2027."),
        ("*100#", "en", "Credit: 13.01 EUR, active until 8 Feb 2027."),
        (
            "*101#",
            "sl",
            "Preostalo: MINI 1500 minut do 10. 12. 2026, MINI 1500 sporocil do 10. 12. 2026, MINI 9 GB do "
            "10. 12. 2026.",
        ),
        (
            "*101#",
            "en",
            "Left: MINI 1500 minutes until 10 Dec 2026, MINI 1500 messages until 10 Dec 2026, MINI 9 GB until "
            "10 Dec 2026.",
        ),
    ],
)
async def test_a_ussd_page_tells_the_balance_in_the_language_of_the_account(
    world: World, text: str, language: str, page: str
) -> None:
    user = await world.subscriber(20, "MINI")
    await world.ledger.set_customer(user.account_id, name="language", value=language, **world.when)
    answer = await Phone(user).keywords.ussd(Msisdn(user.msisdn), text)
    assert answer.text == page and is_gsm7(page) and len(page) <= 182


@rule("HOT-ACC-12")
async def test_a_long_answer_is_cut_to_one_ussd_page(world: World) -> None:
    user = await world.subscriber(60, "MINI")
    for n, product in enumerate(("SMS-200", "MMS-50", "EXTRA-DATA-5-GB")):
        assert await user.buy(world.catalogue.products[product].terms, f"B{n}")
    answer = await Phone(user).keywords.ussd(Msisdn(user.msisdn), "*101#")
    assert len(answer.text) <= 182 and answer.text.endswith("...")
    assert len((await Phone(user).keywords.handle(Msisdn(user.msisdn), "*101#")).text) > 182


@rule("HOT-ACC-12")
async def test_an_answer_of_the_operator_takes_the_place_of_ours(world: World) -> None:
    own = '\n[answer.balance]\nsl = "Na računu imate {credit} EUR."\nen = "You have {credit} EUR."\n'
    await world.price_lists(CATALOGUE.read_text() + own)
    phone = Phone(await world.subscriber(20, "MINI"))
    assert await phone.say("STANJE") == ("balance", "Na računu imate 13,01 EUR.")
    assert await phone.say("STANJE", "en") == ("balance", "You have 13.01 EUR.")
    assert (await phone.say("SMS 200", "en"))[1].startswith("SMS 200 costs 7.00 EUR."), "the others stay"
    await world.price_lists(CATALOGUE.read_text() + own.replace("{credit}", "{kredit}"))
    phone = Phone(await world.subscriber(20, "MINI"))
    assert (await phone.say("STANJE", "en"))[1].startswith("Credit: 13.01 EUR"), "one with a mistake is not used"
