"""What records say of third-party services (HOT-RAT-6) and of VAT (HOT-RAT-8), from the CCR to the record."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ocs.catalogue.versions import Catalogues
from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox.format import record
from ocs.outbox.vat import Vat
from ocs.values.money import format_eur, net_micro_eur, parse_eur, round_to_cent
from protocol.credit_control import REFUND_ACCOUNT
from tests.ocs.charging.ccr import AUSTRIA, HOME, MB, SERBIA, SMS, messages, octets, sms_to, towards
from tests.ocs.charging.source import Origin
from tests.ocs.rules.test_catalogue_versions import BEGINS, changed, reported
from tests.ocs.rules.world import CATALOGUE, EUR, Subscriber, World
from tests.rules import rule

TEXT = CATALOGUE.read_text()
NATIONAL = "+38631234567"


async def records(user: Subscriber) -> list[dict[str, Any]]:
    known = user.world.catalogue
    vat = Vat(known if isinstance(known, Catalogues) else Catalogues([known], lambda: user.world.now))
    return [record(OutboxEvent(0, n, body), vat) for n, body in enumerate(await user.journal(), start=1)]


async def lines(user: Subscriber, kind: str = "charge") -> list[dict[str, Any]]:
    return [line for each in await records(user) if each["kind"] == kind for line in each.get("services", ())]


def said(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line.get(name) for name in ("label", "itemised", "debit_micro_eur", "vat_percent", "net_micro_eur"))


# -- third parties


@rule("HOT-RAT-6")
@pytest.mark.parametrize("plmn", [HOME, AUSTRIA, SERBIA])
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("1929", ("sms.donation-1", "donation", 1_000_000, 0, 1_000_000)),
        ("1935", ("sms.donation-5", "donation", 5_000_000, 0, 5_000_000)),
        ("6060", ("sms.commercial", "commercial", 1_990_000, 22, 1_631_148)),  # 1.99 / 1.22 = 1.631147...
    ],
)
async def test_a_fixed_amount_wherever_the_subscriber_is(
    world: World, plmn: str, number: str, expected: tuple[Any, ...]
) -> None:
    """Included SMS do not pay for it."""
    user = await world.subscriber(20, "MINI")
    assert await user.message(SMS, sms_to(number, plmn)) == (2001, expected[2])
    (line,) = await lines(user)
    assert said(line) == expected and line["detail"].startswith(f"{plmn} mo ") and line["detail"].endswith(number)


@rule("HOT-RAT-6")
async def test_090_by_minute_and_by_call(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    assert await user.call(61, towards("tel:+38690123456")) == 3_000_000
    assert await user.call(600, towards("tel:+38690412345")) == 2_000_000
    assert [said(line)[:3] for line in await lines(user)] == [
        ("voice.premium", "premium", 3_000_000),
        ("voice.premium-call", "premium", 2_000_000),
    ]


@rule("HOT-RAT-6", "HOT-CC-5")
@pytest.mark.parametrize(("number", "code"), [("6060", 4010), ("1929", 2001), (NATIONAL, 2001)])
async def test_the_bar_of_premium_services(world: World, number: str, code: int) -> None:
    user = await world.subscriber(20)
    await world.ledger.set_bars(user.account_id, bars=["premium"], **world.when)
    assert (await user.message(SMS, sms_to(number)))[0] == code


@rule("HOT-RAT-6")
async def test_own_services_are_not_itemised_apart(world: World) -> None:
    user = await world.subscriber(20)
    await user.message(SMS, sms_to(NATIONAL))
    await user.call(60, towards(f"tel:{NATIONAL}"))
    assert all("itemised" not in line for line in await lines(user))


# -- free services, minutes past the included ones


@rule("HOT-RAT-3")
@pytest.mark.parametrize("called", ["tel:+38680123456", "tel:1990", "tel:+38668686868"])
@pytest.mark.parametrize("plmn", [HOME, AUSTRIA, "24201", "22801"])
async def test_help_centre_and_freephone_from_the_eu_and_eea(world: World, called: str, plmn: str) -> None:
    """Free without credit at home, in the EU (Austria) and in the EEA (Norway); not in Switzerland."""
    user = await world.subscriber(0)
    assert await user.may_call(towards(called, plmn)) == (2001 if plmn != "22801" else 4012)


@rule("HOT-PKG-15")
@pytest.mark.parametrize(("plmn", "called"), [(HOME, NATIONAL), (HOME, "+38614714711"), (AUSTRIA, NATIONAL)])
async def test_minutes_past_the_included_ones(world: World, plmn: str, called: str) -> None:
    """1,500 minutes are included; of 1,501.5 the last 90 s cost as a call to a mobile: 90 s of 0.069 EUR a minute."""
    user = await world.subscriber(20, "MINI")
    assert await user.call(1_500 * 60 + 90, towards(f"tel:{called}", plmn)) == 69_000 * 90 // 60
    (line,) = await lines(user)
    assert line["bucket_units"] == {"MINI.voice": 90_000}


# -- VAT


@rule("HOT-RAT-8")
async def test_a_line_has_gross_vat_and_net(world: World) -> None:
    """0.069 EUR / 1.22 = 0.056557377 EUR."""
    user = await world.subscriber(20)
    await user.message(SMS, sms_to(NATIONAL))
    assert said((await lines(user))[0]) == ("sms.home.national", None, 69_000, 22, 56_557)


@rule("HOT-RAT-8")
async def test_free_use_and_use_of_included_units_has_none(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    await user.message(SMS, sms_to(NATIONAL))
    await user.call(60, towards("tel:112"))
    assert all(line.keys().isdisjoint({"vat_percent", "net_micro_eur"}) for line in await lines(user))


@rule("HOT-RAT-8")
@pytest.mark.parametrize(("package", "net"), [("MINI", 5_729_508), ("MAXI", 8_188_525), ("EXTRA", 11_467_213)])
async def test_a_fee_has_gross_vat_and_net(world: World, package: str, net: int) -> None:
    """In whole cents it is the net price of the price list."""
    user = await world.subscriber(20, package)
    (fee,) = [each for each in await records(user) if each["kind"] == "package"]
    assert (fee["vat_percent"], fee["net_micro_eur"]) == (22, net)
    listed = re.search(rf'\[package\.{package}\].*?net_eur = "([0-9.]+)"', TEXT, re.DOTALL)
    assert listed is not None and round_to_cent(net) == parse_eur(listed[1])


@rule("HOT-RAT-8")
async def test_a_top_up_has_none(world: World) -> None:
    user = await world.subscriber(20)
    await user.top_up(5, "R")
    assert all("vat_percent" not in each for each in await records(user))


@rule("HOT-RAT-8")
async def test_a_refund_takes_back_what_the_debit_had(world: World) -> None:
    world.source = Origin(refunds=True)
    user, sid, where = await world.subscriber(20), world.new_session(), sms_to(NATIONAL)
    answer = await user.charged(SMS, "E", 0, messages(want=1), sid=sid, information=where)
    back_again = messages(want=1)
    back_again.refund_information = answer.multiple_services_credit_control[0].refund_information
    await user.charged(SMS, "E", 1, back_again, sid=sid, information=where, requested_action=REFUND_ACCOUNT)
    (debit,), (back,) = await lines(user), await lines(user, "refund")
    assert (back["vat_percent"], back["net_micro_eur"]) == (debit["vat_percent"], debit["net_micro_eur"])


def with_vat(percent: int) -> str:
    """The catalogue from December on, with other net prices: gross prices stay."""

    def net(found: re.Match[str]) -> str:
        gross = parse_eur(found[1])
        return f'price_eur = "{found[1]}"\nnet_eur = "{format_eur(round_to_cent(net_micro_eur(gross, percent)))}"'

    text = re.sub(r'price_eur = "([0-9.]+)"\nnet_eur = "[0-9.]+"', net, TEXT)
    return changed(
        text,
        ('version = "1"', 'version = "2026-12"\nvalid_from = "2026-12-01T00:00"'),
        ("vat_percent = 22", f"vat_percent = {percent}"),
    )


@rule("HOT-RAT-8")
async def test_a_change_of_the_rate_of_vat_in_the_middle_of_a_session(world: World) -> None:
    """4 MB of 6,900 with 22 %: 27,600 / 1.22 = 22,622.95; 6 MB with 25 %: 41,400 / 1.25 = 33,120."""
    await world.price_lists(TEXT, with_vat(25))
    user = await world.subscriber(20)
    world.now = BEGINS - 600
    running = user.data()
    await running.one("I", octets(want=10 * MB))
    world.now = BEGINS + 60
    await running.take("T", reported(4 * MB, 6 * MB))
    assert [said(line)[2:] for line in await lines(user)] == [(27_600, 22, 22_623), (41_400, 25, 33_120)]


@rule("HOT-RAT-8")
async def test_a_fee_has_the_rate_of_its_day(world: World) -> None:
    await world.price_lists(TEXT, with_vat(25))
    found = []
    for world.now in (BEGINS - 1, BEGINS):
        user = await world.subscriber(20, "MINI")
        found += [each["vat_percent"] for each in await records(user) if each["kind"] == "package"]
    assert found == [22, 25]


@rule("HOT-RAT-8")
async def test_a_line_of_a_version_that_is_gone_has_the_rate_of_its_time(world: World) -> None:
    await world.price_lists(TEXT, with_vat(25))
    user = await world.subscriber(20)
    await user.message(SMS, sms_to(NATIONAL))
    await world.price_lists(with_vat(25).replace('version = "2026-12"', 'version = "3"'))
    assert said((await lines(user))[0])[3] == 25


@pytest.mark.parametrize("percent", [0, 9, 22, 25])
def test_net_and_vat_add_up(percent: int) -> None:
    """VAT is what is left, so nothing is lost; net is nearest to the exact value."""
    for gross in (1, 2, 999, 69_000, 6_990_000, 200 * EUR):
        net = net_micro_eur(gross, percent)
        assert abs(net * (100 + percent) - gross * 100) * 2 <= 100 + percent
