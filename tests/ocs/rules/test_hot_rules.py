"""The operator's rules (HOT-…), each as a subscriber would see it. Prices: tests/data/catalogue.toml."""

from __future__ import annotations

import pytest

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.limits import MAX_SESSIONS_PER_ACCOUNT
from tests.ocs.charging.ccr import (
    AUSTRIA,
    CS,
    DATA,
    HOME,
    IMS,
    MB,
    MMS,
    SERBIA,
    SMS,
    USA,
    at,
    called_by,
    ccr,
    mms_from,
    mms_to,
    octets,
    seconds,
    sms_from,
    sms_to,
    towards,
    vcs,
)
from tests.ocs.rules.world import DAY_S, EUR, Subscriber, World
from tests.rules import rule

NATIONAL, AUSTRIAN, SERBIAN, ALBANIAN, NIGERIAN = (
    *("tel:+38631234567", "tel:+436641234567", "tel:+381641234567", "tel:+355672345678"),
    "tel:+2348021234567",
)
DATA_PER_MB, VOICE_PER_MIN, SMS_EACH = 6_900, 69_000, 69_000


# -- accounts


@rule("HOT-ACC-1")
async def test_hot_acc_1_every_use_debits_the_credit_by_the_price_list(world: World) -> None:
    user = await world.subscriber(10)
    assert await user.use_data(10 * MB) == 10 * DATA_PER_MB
    assert await user.call(120, towards(NATIONAL)) == 2 * VOICE_PER_MIN
    assert await user.message(SMS, sms_to("+38631234567")) == (2001, SMS_EACH)
    assert await user.message(MMS, mms_to("+38631234567")) == (2001, 250_000)
    assert await user.credit() == 10 * EUR - 69_000 - 138_000 - 69_000 - 250_000


@rule("HOT-ACC-1")
async def test_hot_acc_1_the_credit_is_never_negative(world: World) -> None:
    user = await world.subscriber(0.1)
    sid, where = world.new_session(), at()
    opened = await user.charged(DATA, "I", 0, octets(want=100 * MB), sid=sid, information=where)
    granted = opened.multiple_services_credit_control[0].granted_service_unit
    assert granted is not None and granted.cc_total_octets is not None and granted.cc_total_octets < 15 * MB
    # The network lets more through than was granted.
    answer = await user.charged(DATA, "U", 1, octets(want=0, used=50 * MB), sid=sid, information=where)
    assert answer.multiple_services_credit_control[0].result_code == 4012
    await user.charged(DATA, "T", 2, octets(used=5 * MB), sid=sid, information=where)
    assert await user.credit() == 0
    lost = sum(service["overrun"] for event in await user.events("charge") for service in event["svc"])
    assert lost > 30 * MB, "what could not be paid is on record"


@rule("HOT-ACC-4")
async def test_hot_acc_4_after_90_days_without_a_top_up_nothing_but_emergency_calls(world: World) -> None:
    user = await world.subscriber(20)
    world.now += 90 * DAY_S - 1
    assert await user.may_call(towards(NATIONAL)) == 2001
    world.now += 1
    assert (await user.view()).state == "inactive"
    assert await user.may_call(towards(NATIONAL)) == 4010
    assert await user.may_call(called_by("tel:+38631234567")) == 4010
    assert await user.message(SMS, sms_to("+38631234567")) == (4010, 0)
    refused = await user.charged(DATA, "I", 0, octets(want=0), sid="d", information=at())
    assert (refused.result_code, refused.multiple_services_credit_control) == (4010, [])
    assert await user.may_call(towards("tel:112")) == 2001
    assert await user.credit() == 20 * EUR
    await user.top_up(1, "back")
    assert await user.may_call(towards(NATIONAL)) == 2001


@rule("HOT-ACC-3")
@pytest.mark.parametrize("after_days", [0, 1, 89])
async def test_hot_acc_3_a_top_up_makes_it_active_for_90_days_from_then(world: World, after_days: int) -> None:
    user = await world.subscriber(20)
    world.now += after_days * DAY_S
    await user.top_up(1, "more")
    assert (await user.view()).active_until == world.now + 90 * DAY_S
    world.now += 90 * DAY_S - 1
    assert await user.may_call(towards(NATIONAL)) == 2001
    world.now += 1
    assert await user.may_call(towards(NATIONAL)) == 4010


@rule("HOT-ACC-5", "HOT-ACC-6")
@pytest.mark.parametrize("swept", [True, False])
async def test_hot_acc_5_within_270_days_a_top_up_brings_the_credit_back(world: World, swept: bool) -> None:
    user = await world.subscriber(20)
    world.now += 90 * DAY_S
    if swept:
        await world.sweep()
    assert (await user.view()).state == "inactive"
    world.now += 270 * DAY_S - 1
    if swept:
        await world.sweep()
    assert await user.top_up(1, "back")
    assert (await user.view()).state == "active"
    assert await user.credit() == 21 * EUR
    assert await user.call(60, towards(NATIONAL)) == VOICE_PER_MIN


@rule("HOT-ACC-6")
async def test_hot_acc_6_a_top_up_after_270_days_is_refused_though_nobody_has_swept(world: World) -> None:
    user = await world.subscriber(20)
    world.now += 360 * DAY_S
    with pytest.raises(LedgerError) as refused:
        await user.top_up(1, "too late")
    assert refused.value.code == "state"
    await world.sweep()
    assert (await user.view()).state == "terminated"


@rule("HOT-ACC-6")
async def test_hot_acc_6_after_270_days_more_it_is_ended_and_the_credit_lost(world: World) -> None:
    user = await world.subscriber(20)
    world.now += 360 * DAY_S
    await world.sweep()
    with pytest.raises(LedgerError) as refused:
        await user.top_up(1, "too late")
    assert refused.value.code == "state"
    view = await user.view()
    assert (view.state, view.credit_micro_eur, view.expired_micro_eur) == ("terminated", 0, 20 * EUR)
    assert await user.may_call(towards(NATIONAL)) == 5030
    assert await world.ledger.find_subscriber(f"m{user.msisdn}") is None


@rule("HOT-ACC-7")
async def test_hot_acc_7_a_top_up_beyond_200_eur_is_refused_whole(world: World) -> None:
    user = await world.subscriber(150)
    with pytest.raises(LedgerError, match=r"200 EUR \(HOT-ACC-7\)") as refused:
        await user.top_up(50.000001, "too much")
    assert refused.value.code == "ceiling"
    assert await user.credit() == 150 * EUR
    assert await user.top_up(50, "just right")
    assert await user.credit() == 200 * EUR


async def _no_credit(world: World) -> Subscriber:
    return await world.subscriber(0)


@rule("HOT-ACC-9")
async def test_hot_acc_9_without_credit_nothing_goes_out(world: World) -> None:
    user = await _no_credit(world)
    assert await user.may_call(towards(NATIONAL)) == 4012
    assert await user.message(SMS, sms_to("+38631234567")) == (4012, 0)
    assert await user.message(MMS, mms_to("+38631234567")) == (4012, 0)
    refused = await user.charged(DATA, "I", 0, octets(want=0), sid="d", information=at())
    assert refused.result_code == 4012


@rule("HOT-ACC-9")
async def test_hot_acc_9_without_credit_calls_and_sms_still_come_in_at_home_and_in_the_eu(world: World) -> None:
    user = await _no_credit(world)
    for plmn in (HOME, AUSTRIA):
        assert await user.may_call(called_by("tel:+38631234567", plmn)) == 2001
        assert await user.call(600, called_by("tel:+38631234567", plmn)) == 0
        assert await user.message(SMS, sms_from("+38631234567", plmn)) == (2001, 0)
        assert await user.message(MMS, mms_from("+38631234567", plmn)) == (2001, 0)
        assert await user.may_call(towards("tel:112", plmn)) == 2001
    assert await user.may_call(called_by("tel:+38631234567", SERBIA)) == 4012


@rule("HOT-ACC-9")
async def test_hot_acc_9_a_running_session_is_cut_when_the_credit_is_gone(world: World) -> None:
    user = await world.subscriber(0.069)  # 10 MB
    where = at()
    (_, first), (_, second), (_, _) = await user.session(
        DATA, where, octets(want=50 * MB), octets(want=50 * MB, used=10 * MB), octets(used=0)
    )
    assert first is not None and first.granted_service_unit is not None
    assert first.granted_service_unit.cc_total_octets == 10 * MB
    assert first.final_unit_indication is not None and first.final_unit_indication.final_unit_action == 0
    assert second is not None and (second.result_code, second.granted_service_unit) == (4012, None)
    assert await user.credit() == 0


# -- packages

GB = 1024 * MB


@rule("HOT-PKG-1")
@pytest.mark.parametrize(
    ("package", "price", "net", "included"),
    [
        ("MINI", 6_990_000, 5_730_000, {"voice": 1500 * 60, "sms": 1500, "data": 9 * GB}),
        ("MAXI", 9_990_000, 8_190_000, {"voice": None, "sms": None, "data": 150 * GB}),
        ("EXTRA", 13_990_000, 11_470_000, {"voice": None, "sms": None, "data": 300 * GB}),
        ("GIGA-MINI", 6_990_000, 5_730_000, {"data": 100 * GB}),
        ("GIGA-UNLIMITED", 14_990_000, 12_290_000, {"data": None}),
    ],
)
async def test_hot_pkg_1_the_five_packages(
    world: World, package: str, price: int, net: int, included: dict[str, int | None]
) -> None:
    user = await world.subscriber(20, package)
    view = await user.view()
    assert view.credit_micro_eur == 20 * EUR - price
    assert {bucket.id: bucket.left for bucket in view.buckets} == {f"{package}.{k}": q for k, q in included.items()}
    assert all(bucket.expires_at == world.now + 30 * DAY_S for bucket in view.buckets)
    # HOT-RAT-8: 22 % VAT, prices to the cent.
    assert round(price * 100 / 122 / 10_000) * 10_000 == net
    # A data package pays for data only.
    assert await user.use_data(100 * MB) == 0
    cost = await user.call(60, towards(NATIONAL))
    assert cost == (0 if "voice" in included else VOICE_PER_MIN)


@rule("HOT-PKG-1")
async def test_hot_pkg_1_the_5g_option_has_a_price_of_its_own(world: World) -> None:
    assert world.catalogue.terms["5G"].price_micro_eur == 1_990_000


@rule("HOT-PKG-2")
async def test_hot_pkg_2_a_period_is_30_days_and_renews_from_credit(world: World) -> None:
    user = await world.subscriber(20, "MAXI")
    await user.use_data(10 * MB)
    world.now += 30 * DAY_S - 1
    await world.sweep()
    assert await user.left("MAXI.data") == 150 * GB - 10 * MB
    assert await user.credit() == 10_010_000
    world.now += 1
    await world.sweep()
    assert await user.left("MAXI.data") == 150 * GB, "what was not used does not carry over"
    assert await user.credit() == 20_000
    renewed = (await user.events("package"))[-1]
    assert (renewed["id"], renewed["ok"], renewed["debit"]) == ("MAXI", True, 9_990_000)


@rule("HOT-PKG-2")
async def test_hot_pkg_2_too_little_credit_ends_it_and_a_top_up_that_covers_it_renews_it(world: World) -> None:
    user = await world.subscriber(12, "MAXI")
    world.now += 30 * DAY_S
    await world.sweep()
    view = await user.view()
    assert (view.package_pending, view.buckets, view.credit_micro_eur) == (True, (), 2_010_000)
    assert await user.use_data(MB) == DATA_PER_MB, "its units are gone: use is paid per unit"
    await user.top_up(7, "not yet")
    assert (await user.view()).package_pending
    await user.top_up(2, "now")
    view = await user.view()
    assert (view.package_pending, view.credit_micro_eur) == (False, 11_010_000 - DATA_PER_MB - 9_990_000)
    assert view.period_end == world.now + 30 * DAY_S
    assert await user.use_data(MB) == 0


@rule("HOT-PKG-2")
async def test_hot_pkg_2_no_use_falls_between_two_periods(world: World) -> None:
    """The sweeper is late: the first request after the end renews the package itself."""
    user = await world.subscriber(25, "MAXI")
    world.now += 30 * DAY_S + 7
    assert await user.use_data(5 * MB) == 9_990_000
    assert await user.left("MAXI.data") == 150 * GB - 5 * MB


@rule("HOT-PKG-3")
async def test_hot_pkg_3_included_units_first_then_credit_then_nothing(world: World) -> None:
    user = await world.subscriber(7, "MINI")  # 0.01 EUR stays
    for _ in range(3):
        assert await user.use_data(3 * GB - MB) == 0
    assert await user.left("MINI.data") == 3 * MB
    (_, first), (_, _) = await user.session(DATA, at(), octets(want=10 * MB), octets(used=4 * MB))
    assert first is not None and first.granted_service_unit is not None
    granted = first.granted_service_unit.cc_total_octets or 0
    assert 4 * MB < granted < 5 * MB and first.final_unit_indication is not None
    assert await user.left("MINI.data") == 0
    assert await user.credit() == 10_000 - DATA_PER_MB
    paid = (await user.events("charge"))[-1]["svc"][0]
    assert (paid["units"], paid["debit"]) == ([["MINI.data", 3 * MB]], DATA_PER_MB)
    await user.use_data(MB)
    refused = await user.charged(DATA, "I", 0, octets(want=0), sid="end", information=at())
    assert refused.result_code == 4012


@rule("HOT-PKG-4")
async def test_hot_pkg_4_data_without_an_included_quantity(world: World) -> None:
    user = await world.subscriber(1)
    assert await user.use_data(MB) == DATA_PER_MB
    assert await user.use_data(10 * MB, 10 * MB) == 20 * DATA_PER_MB


@rule("HOT-PKG-5")
async def test_hot_pkg_5_the_billing_interval_counts_per_session_not_per_report(world: World) -> None:
    user = await world.subscriber(10)
    # Steps of 1 kB: 10 reports of 100 octets are 1 kB; in 10 sessions they would be 10 kB.
    kb = round(DATA_PER_MB / 1024)
    assert await user.use_data(*[100] * 10) == kb
    assert await user.use_data(1) + await user.use_data(1) == 2 * kb
    # 60/1: a call of 61 s reported in three parts.
    where = towards(NATIONAL)
    before = await user.credit()
    steps = (seconds(want=30), seconds(want=30, used=20), seconds(want=30, used=20), seconds(used=21))
    await user.session(IMS, where, *steps)
    assert before - await user.credit() == VOICE_PER_MIN * 61 // 60
    assert await user.call(1, where) == VOICE_PER_MIN
    assert await user.call(60, where) == VOICE_PER_MIN
    # 60/60: to Serbia the second minute is paid in full once it has begun.
    assert await user.call(61, towards(SERBIAN)) == 2 * 500_000


# -- rating


@rule("HOT-PKG-3", "HOT-PKG-15")
async def test_hot_pkg_15_minutes_past_the_included_ones_cost_as_calls_to_mobiles(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    assert await user.call(1_499 * 60, towards(NATIONAL)) == 0
    assert await user.call(120, towards(NATIONAL)) == VOICE_PER_MIN, "the last included minute, and one more"
    landline = "tel:+38614714711"
    assert await user.call(60, towards(landline)) == VOICE_PER_MIN


@rule("HOT-RAT-1")
async def test_hot_rat_1_price_by_direction_destination_and_place(world: World) -> None:
    user = await world.subscriber(100)
    minute = {
        (NATIONAL, HOME): 69_000,
        ("tel:+38612345678", HOME): 69_000,  # a fixed number
        (AUSTRIAN, HOME): 231_800,
        (SERBIAN, HOME): 500_000,
        (NIGERIAN, HOME): 1_500_000,
        ("tel:+38690123456", HOME): 1_500_000,  # 090
        (NATIONAL, AUSTRIA): 69_000,
        (NATIONAL, SERBIA): 990_000,
        (NATIONAL, USA): 2_990_000,
    }
    for (called, plmn), price in minute.items():
        assert await user.call(60, towards(called, plmn)) == price, (called, plmn)
    assert await user.call(60, called_by(NATIONAL)) == 0
    assert await user.call(60, called_by(NATIONAL, SERBIA)) == 490_000
    assert await user.call(60, called_by(NATIONAL, USA)) == 1_490_000
    # The circuit-switched core gives the location by the VLR's number: +381641234567 in TBCD.
    assert await user.call(60, vcs(NATIONAL, bytes.fromhex("836114325476")), CS) == 990_000
    assert await user.message(SMS, sms_to("+38631234567", SERBIA)) == (2001, 250_000)
    assert await user.message(SMS, sms_to("+436641234567")) == (2001, 73_200)
    assert await user.message(SMS, sms_to("+381641234567")) == (2001, 150_000)
    assert await user.use_data(MB, plmn=SERBIA) == pytest.approx(2_900_000, abs=30_000)


EMERGENCY = ["tel:112", "sip:113@ims.example.net", "tel:116000", "urn:service:sos", "urn:service:sos.police"]


@rule("HOT-RAT-2")
@pytest.mark.parametrize("called", EMERGENCY)
async def test_hot_rat_2_emergency_calls_are_free_and_always_allowed(world: World, called: str) -> None:
    where = [towards(called), towards(called, AUSTRIA), towards(called, SERBIA)]
    poor, blocked, barred, at_limit, inactive = [await world.subscriber(credit) for credit in (0, 5, 5, 5, 5)]
    await world.ledger.set_state(blocked.account_id, state="blocked", **world.when)
    bars = ["roaming", "international", "premium", "data"]
    await world.ledger.set_bars(barred.account_id, bars=bars, **world.when)
    await world.ledger.set_limit(at_limit.account_id, limit_micro_eur=0, **world.when)
    for user in (poor, blocked, barred, at_limit):
        for each in where:
            assert await user.call(180, each) == 0
    world.now += 91 * DAY_S
    assert await inactive.call(180, where[0]) == 0
    # An unknown subscriber.
    stranger = await world.ask(ccr("I", 0, seconds(want=0), context=IMS, msisdn="38699999999", information=where[0]))
    assert stranger.result_code == 2001
    granted = stranger.multiple_services_credit_control[0].granted_service_unit
    assert granted is not None and granted.cc_time == 300


@rule("HOT-RAT-2")
async def test_hot_rat_2_no_bound_of_ours_stops_an_emergency_call(world: World) -> None:
    """The account has its maximum of sessions, and the ledger has closed the session meanwhile."""
    user = await world.subscriber(5)
    for n in range(MAX_SESSIONS_PER_ACCOUNT):
        await user.charged(DATA, "I", 0, octets(want=MB), sid=f"full;{n}", information=at())
    more = await user.charged(DATA, "I", 0, octets(want=MB), sid="full", information=at())
    assert more.result_code == 5006
    call = towards("tel:112")
    assert await user.call(60, call) == 0
    update = await user.charged(IMS, "U", 7, seconds(want=60, used=60), sid="lost", information=call)
    granted = update.multiple_services_credit_control[0].granted_service_unit
    assert granted is not None and granted.cc_time == 60


@rule("HOT-RAT-2")
async def test_hot_rat_2_the_bearer_of_an_emergency_call(world: World) -> None:
    user = await world.subscriber(0)
    await world.ledger.set_state(user.account_id, state="blocked", **world.when)
    assert await user.use_data(5 * MB, apn="sos") == 0


@rule("HOT-RAT-3")
@pytest.mark.parametrize("called", ["tel:+38680123456", "tel:080123456", "tel:+38668686868", "tel:1990"])
async def test_hot_rat_3_freephone_and_the_help_centre_are_free_in_the_eu_too(world: World, called: str) -> None:
    user = await world.subscriber(0)
    for plmn in (HOME, AUSTRIA):
        assert await user.call(600, towards(called, plmn)) == 0
    assert await user.may_call(towards(called, SERBIA)) == 4012


@rule("HOT-RAT-4")
async def test_hot_rat_4_zones_by_the_number_called(world: World) -> None:
    user = await world.subscriber(50)
    zone2 = [SERBIAN, ALBANIAN, "tel:+38761123456"]  # RS, AL, BA
    assert [await user.call(60, towards(called)) for called in zone2] == [500_000] * 3
    assert await user.call(60, towards("tel:00381641234567")) == 500_000
    assert await user.call(60, towards("sip:+381641234567@ims.example.net;user=phone")) == 500_000
    assert await user.call(60, towards(AUSTRIAN)) == 231_800
    assert await user.call(60, towards(NIGERIAN)) == 1_500_000


@rule("HOT-RAT-8")
async def test_hot_rat_8_money_is_exact_to_the_micro_eur(world: World) -> None:
    assert world.catalogue.vat_percent == 22
    user = await world.subscriber(1)
    # 7 kB at 6,900 micro-EUR a MB: 47.168 → 47, rounded once per session, however it is reported.
    assert await user.use_data(7 * 1024) == 47
    assert await user.use_data(1024, 3 * 1024, 3 * 1024) == 47
    events = await user.events("charge")
    assert all(isinstance(service["debit"], int) for event in events for service in event["svc"])


@rule("HOT-ROA-1")
async def test_hot_roa_1_in_the_eu_as_at_home(world: World) -> None:
    user = await world.subscriber(10, "MINI")
    assert await user.use_data(100 * MB, plmn=AUSTRIA) == 0
    assert await user.left("MINI.data") == 9 * GB - 100 * MB
    for called in (NATIONAL, AUSTRIAN, "tel:+4915112345678"):
        assert await user.call(60, towards(called, AUSTRIA)) == 0
    assert await user.left("MINI.voice") == (1500 - 3) * 60
    assert await user.message(SMS, sms_to("+38631234567", AUSTRIA)) == (2001, 0)
    assert await user.left("MINI.sms") == 1499
    payg = await world.subscriber(10)
    assert await payg.use_data(10 * MB, plmn=AUSTRIA) == 10 * DATA_PER_MB
    assert await payg.call(60, towards(NATIONAL, AUSTRIA)) == VOICE_PER_MIN
    assert await user.use_data(MB, plmn=SERBIA) > 0, "outside the EU included units do not pay"


# -- cost control


@rule("HOT-CC-1")
async def test_hot_cc_1_100_eur_a_calendar_month_unless_changed_or_switched_off(world: World) -> None:
    user = await world.subscriber(200)
    assert (await user.view()).limit_micro_eur == 100 * EUR
    premium = towards("tel:+38690123456")  # 1.50 EUR a minute
    assert await user.call(66 * 60, premium) == 99 * EUR
    (_, opened), _ = await user.session(IMS, premium, seconds(want=600), seconds(used=0))
    assert opened is None, "1 EUR is left of the limit, and a minute is 1.50"
    assert await user.may_call(premium) == 4012
    assert await user.may_call(towards(NATIONAL)) == 2001
    await world.ledger.set_limit(user.account_id, limit_micro_eur=None, **world.when)
    assert await user.may_call(premium) == 2001
    await world.ledger.set_limit(user.account_id, limit_micro_eur=50 * EUR, **world.when)
    assert await user.may_call(premium) == 4012
    world.now += 30 * DAY_S  # December, in Ljubljana
    assert (await user.view()).spent_month_micro_eur == 0
    assert await user.may_call(premium) == 2001


@rule("HOT-CC-1")
async def test_hot_cc_1_the_month_ends_at_midnight_in_ljubljana(world: World) -> None:
    user = await world.subscriber(20)
    world.now += 20 * DAY_S + 11 * 3600 - 1  # 30 November, 22:59:59 UTC
    await user.use_data(MB)
    assert (await user.view()).spent_month_micro_eur == DATA_PER_MB
    world.now += 1
    assert (await user.view()).spent_month_micro_eur == 0


@rule("HOT-CC-2")
async def test_hot_cc_2_package_prices_do_not_count(world: World) -> None:
    user = await world.subscriber(40, "EXTRA")
    assert (await user.view()).spent_month_micro_eur == 0
    maxi = world.catalogue.packages["MAXI"]
    await world.ledger.activate_package(user.account_id, package=maxi, reference="other", **world.when)
    assert (await user.view()).spent_month_micro_eur == 0
    await user.message(SMS, sms_to("+436641234567"))
    assert (await user.view()).spent_month_micro_eur == 73_200


@rule("HOT-CC-3")
async def test_hot_cc_3_at_the_limit_use_is_prevented_in_a_running_session_too(world: World) -> None:
    user = await world.subscriber(50)
    await world.ledger.set_limit(user.account_id, limit_micro_eur=69_000, **world.when)  # 10 MB
    sid, where = world.new_session(), at()

    async def step(kind: str, number: int, service: object) -> tuple[int | None, int, bool]:
        answer = await user.charged(DATA, kind, number, service, sid=sid, information=where)
        (mscc,) = answer.multiple_services_credit_control
        granted = mscc.granted_service_unit.cc_total_octets if mscc.granted_service_unit else 0
        return mscc.result_code, granted or 0, mscc.final_unit_indication is not None

    assert await step("I", 0, octets(want=8 * MB)) == (2001, 8 * MB, False)
    assert await step("U", 1, octets(want=8 * MB, used=8 * MB)) == (2001, 2 * MB, True)
    assert await step("U", 2, octets(want=8 * MB, used=2 * MB)) == (4012, 0, False)
    assert await user.credit() > 49 * EUR
    # Free services stay usable; a raised limit opens the session again.
    assert await user.may_call(towards("tel:+38680123456")) == 2001
    assert await user.may_call(called_by(NATIONAL)) == 2001
    await world.ledger.set_limit(user.account_id, limit_micro_eur=EUR, **world.when)
    assert await step("U", 3, octets(want=8 * MB)) == (2001, 8 * MB, False)


@rule("HOT-CC-3")
async def test_hot_cc_3_included_units_stay_usable_at_the_limit(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    await world.ledger.set_limit(user.account_id, limit_micro_eur=0, **world.when)
    assert await user.use_data(10 * MB) == 0
    assert await user.call(60, towards(NATIONAL)) == 0
    assert await user.may_call(towards(SERBIAN)) == 4012


@rule("HOT-CC-3", "HOT-CC-4")
async def test_hot_cc_3_events_at_80_and_100_percent(world: World) -> None:
    """Each once a month, and again after the limit was changed (HOT-CC-4)."""
    user = await world.subscriber(50)
    await world.ledger.set_limit(user.account_id, limit_micro_eur=10 * SMS_EACH, **world.when)

    async def texts(count: int) -> list[tuple[int, int]]:
        for _ in range(count):
            await user.message(SMS, sms_to("+38631234567"))
        return [(event["pct"], event["value"]) for event in await user.events("threshold")]

    assert await texts(7) == []
    assert await texts(1) == [(80, 8 * SMS_EACH)]
    assert await texts(1) == [(80, 8 * SMS_EACH)]
    both = [(80, 8 * SMS_EACH), (100, 10 * SMS_EACH)]
    assert await texts(1) == both
    assert await user.message(SMS, sms_to("+38631234567")) == (4012, 0)
    await world.ledger.set_limit(user.account_id, limit_micro_eur=20 * SMS_EACH, **world.when)
    assert await texts(6) == [*both, (80, 16 * SMS_EACH)]
    world.now += 30 * DAY_S
    assert await texts(16) == [*both, (80, 16 * SMS_EACH), (80, 16 * SMS_EACH)]
