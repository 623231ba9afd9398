"""The roaming cap (HOT-ROA-5), the monthly limit (HOT-CC-1 to -4), and each bar (HOT-CC-5)."""

from __future__ import annotations

import pytest

from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.service_context import ServiceContexts
from ocs.values.use import BARS, Context, UseEvent
from protocol.credit_control import CcMoney, MultipleServicesCreditControl, RequestedServiceUnit, UnitValue
from tests.ocs.charging.ccr import (
    AUSTRIA,
    DATA,
    HOME,
    IMS,
    MB,
    MMS,
    SERBIA,
    SMS,
    USA,
    at,
    mms_to,
    octets,
    seconds,
    sms_to,
    towards,
)
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import DAY_S, EUR, Subscriber, World, granted
from tests.rules import rule

NATIONAL, SERBIAN, PREMIUM = "tel:+38631234567", "tel:+381641234567", "tel:+38690123456"
CAP = "roaming-data"
WORLD_1, WORLD_2 = 2_900_000, 9_900_000
"""Micro-EUR a MB."""


async def told(user: Subscriber, counter: str) -> list[tuple[int, int]]:
    return [(e["pct"], e["value"]) for e in await user.events("threshold") if e["counter"] == counter]


async def allow(user: Subscriber, limit: int | None, *, once: bool = False) -> None:
    world = user.world
    terms = world.catalogue.counters[CAP]
    await world.ledger.set_limit(
        user.account_id, limit_micro_eur=limit, counter=CAP, terms=terms, once=once, **world.when
    )


async def spent_on(user: Subscriber, counter: str) -> int:
    return next(each.value for each in (await user.view()).counters if each.id == counter)


@rule("HOT-CC-4", "HOT-ROA-5")
@pytest.mark.parametrize(("limit", "percents"), [(10, [80, 100]), (24, [80]), (100, []), (None, [])])
async def test_a_limit_below_what_is_used_is_told_at_once(world: World, limit: int | None, percents: list[int]) -> None:
    """7 sessions of 1 MB in Serbia: 103 steps of 10 kB are 1,030 kB, at 2.90 a MB 2.916992 each. No request follows."""
    user = await world.subscriber(150)
    for _ in range(7):
        assert await user.use_data(MB, plmn=SERBIA) == 2_916_992
    await allow(user, limit * EUR if limit else None)
    limit_micro_eur = limit * EUR if limit else None
    await world.ledger.set_limit(user.account_id, limit_micro_eur=limit_micro_eur, **world.when)
    spent = 7 * 2_916_992
    assert [await told(user, each) for each in (CAP, "limit")] == [[(each, spent) for each in percents]] * 2
    await user.charged(DATA, "I", 0, octets(want=MB), sid=world.new_session(), information=at(SERBIA))
    assert [percent for percent, _ in await told(user, CAP)] == percents, "once"


@rule("HOT-ROA-5")
async def test_hot_roa_5_events_at_48_and_60_eur_and_data_stops_in_the_session(world: World) -> None:
    """Each grant is used in full, until nothing is granted."""
    user = await world.subscriber(150)
    session = user.data(SERBIA)
    mscc = await session.one("I", octets(want=MB))
    last = final = None
    while (last := granted(mscc)) > 0:
        final = mscc.final_unit_indication
        before = await spent_on(user, CAP)
        mscc = await session.one("U", octets(want=MB, used=last))
        after = await spent_on(user, CAP)
        if before < 48 * EUR <= after:
            assert await told(user, CAP) == [(80, after)]
        elif after < 48 * EUR:
            assert await told(user, CAP) == []
    assert final is not None and final.final_unit_action == 0, "the last grant said so"
    assert mscc.result_code == 4012
    # 10 kB cost 28,321 micro-EUR at most: no further step fits below 60 EUR.
    spent = await spent_on(user, CAP)
    assert 60 * EUR - 28_321 < spent <= 60 * EUR
    assert [percent for percent, _ in await told(user, CAP)] == [80, 100], "the subscriber hears why data stops"
    for plmn in (SERBIA, USA):
        opened = await user.charged(DATA, "I", 0, octets(want=MB), sid=world.new_session(), information=at(plmn))
        assert opened.result_code == 4012
    assert await user.use_data(MB) == 6_900, "data at home"
    assert await user.may_call(towards(NATIONAL, SERBIA)) == 2001, "calls abroad"
    assert [percent for percent, _ in await told(user, CAP)] == [80, 100], "told once"


@rule("HOT-ROA-5")
@pytest.mark.parametrize("kind", ["U", "T"])
async def test_hot_roa_5_the_end_of_the_final_units_is_the_cap(world: World, kind: str) -> None:
    """A client ends the session after its final units, or reports them and asks for no more."""
    user = await world.subscriber(150)
    session = user.data(SERBIA)
    mscc = await session.one("I", octets(want=MB))
    while mscc.final_unit_indication is None:
        mscc = await session.one("U", octets(want=MB, used=granted(mscc)))
    assert [percent for percent, _ in await told(user, CAP)] == [80]
    await session.one(kind, octets(used=granted(mscc)))
    assert [percent for percent, _ in await told(user, CAP)] == [80, 100]


@rule("HOT-CC-4")
async def test_hot_cc_4_a_limit_that_others_hold_is_not_reached(world: World) -> None:
    """The second session gets nothing while the first holds the rest of the limit; both together have used little."""
    user = await world.subscriber(150)
    await allow(user, WORLD_1)
    # What the first session leaves of the limit does not pay 10 kB.
    assert granted(await user.data(SERBIA).one("I", octets(want=MB))) > MB * 9 // 10
    second = await user.charged(DATA, "I", 0, octets(want=MB), sid=world.new_session(), information=at(SERBIA))
    assert second.result_code == 4012
    assert await told(user, CAP) == [] and await told(user, "limit") == []


@rule("HOT-ROA-5")
@pytest.mark.parametrize("report_beyond", [False, True])
async def test_hot_roa_5_100_percent_is_told_once(world: World, report_beyond: bool) -> None:
    user = await world.subscriber(200)
    await allow(user, 20 * WORLD_1)
    session = user.data(SERBIA)
    await session.one("I", octets(want=MB))
    await session.one("U", octets(want=MB, used=10 * MB))
    await session.one("U", octets(want=MB, used=5 * MB))
    assert await told(user, CAP) == []
    await session.one("U", octets(want=MB, used=5 * MB * (2 if report_beyond else 1)))
    full = (25 if report_beyond else 20) * WORLD_1
    assert await told(user, CAP) == [(80, full), (100, full)]
    await session.one("U", octets(want=MB, used=0))
    assert len(await told(user, CAP)) == 2
    await session.take("T", octets(used=0))
    world.now += 30 * DAY_S
    assert await user.use_data(15 * MB, MB, plmn=SERBIA) > 0
    assert [pct for pct, _ in await told(user, CAP)] == [80, 100, 80], "and again in the next month"


@rule("HOT-ROA-5")
async def test_hot_roa_5_the_subscriber_asks_for_more_this_month_or_for_good(world: World) -> None:
    user = await world.subscriber(200)
    assert await user.use_data(20 * MB, plmn=SERBIA) == 20 * WORLD_1
    session = user.data(SERBIA)
    first = await session.one("I", octets(want=MB))
    assert 0 < granted(first) < MB, "2 EUR are left"
    async with world.hearing() as heard:
        await allow(user, 80 * EUR, once=True)
        assert [(n.kind, n.reason) for n in await heard()] == [("reauthorize", "limit")]
    assert granted(await session.one("U", octets(want=MB))) == MB
    await session.take("T", octets(used=0))
    world.now += 30 * DAY_S
    counters = {each.id: each for each in (await user.view()).counters}
    assert (counters[CAP].limit, counters[CAP].value) == (60 * EUR, 0), "80 EUR were for that month"
    await allow(user, None)
    assert await user.use_data(25 * MB, plmn=SERBIA) == 25 * WORLD_1
    world.now += 30 * DAY_S
    counters = {each.id: each for each in (await user.view()).counters}
    assert counters[CAP].limit is None


@rule("HOT-ROA-5")
async def test_hot_roa_5_the_cap_can_be_changed_before_the_first_use_abroad(world: World) -> None:
    user = await world.subscriber(50)
    await allow(user, 0)
    opened = await user.charged(DATA, "I", 0, octets(want=MB), sid=world.new_session(), information=at(AUSTRIA))
    assert opened.result_code == 4012
    assert await user.use_data(MB) == 6_900


@rule("HOT-ROA-5")
async def test_hot_roa_5_included_units_in_the_eu_do_not_count_into_the_cap(world: World) -> None:
    user = await world.subscriber(20, "MAXI")
    assert await user.use_data(500 * MB, plmn=AUSTRIA) == 0
    assert next(each.value for each in (await user.view()).counters if each.id == CAP) == 0


@rule("HOT-ROA-5")
@pytest.mark.parametrize(("muted", "said"), [("", [80, 100]), (CAP, []), (f"{CAP}:80", [100]), (f"{CAP}:100", [80])])
async def test_hot_roa_5_either_notification_can_be_switched_off_and_on(
    world: World, muted: str, said: list[int]
) -> None:
    """A muted one is in the journal with a mark; data is stopped all the same."""
    user = await world.subscriber(100)
    await allow(user, 10 * WORLD_1)  # 29 EUR
    if muted:
        measure = AccountMeasure(MeasureKind.MUTE, muted, "asked for by the subscriber", world.now)
        await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    assert 23_200_000 < await user.use_data(9 * MB, plmn=SERBIA) < 29 * EUR
    await user.use_data(MB, plmn=SERBIA)
    events = [e for e in await user.events("threshold") if e["counter"] == CAP]
    assert [e["pct"] for e in events if not e.get("muted")] == said and len(events) == 2
    opened = await user.charged(DATA, "I", 0, octets(want=MB), sid=world.new_session(), information=at(SERBIA))
    assert opened.result_code == 4012
    if muted:
        assert await world.ledger.lift_measure(user.account_id, kind=MeasureKind.MUTE, name=muted, **world.when)
        world.now += 30 * DAY_S
        await user.use_data(9 * MB, plmn=SERBIA)
        assert not (await user.events("threshold"))[-1].get("muted")


@rule("HOT-CC-1", "HOT-CC-4")
async def test_hot_cc_1_a_limit_of_this_month_only(world: World) -> None:
    user = await world.subscriber(20)
    await world.ledger.set_limit(user.account_id, limit_micro_eur=None, once=True, **world.when)
    assert (await user.view()).limit_micro_eur is None
    world.now += 30 * DAY_S
    assert (await user.view()).limit_micro_eur == 100 * EUR
    await user.message(SMS, sms_to("+38631234567"))
    assert (await user.view()).limit_micro_eur == 100 * EUR


@rule("HOT-CC-3", "HOT-CC-4")
async def test_hot_cc_4_a_second_session_is_asked_when_the_limit_is_reached_and_when_it_is_raised(
    world: World,
) -> None:
    user = await world.subscriber(50)
    await world.ledger.set_limit(user.account_id, limit_micro_eur=EUR, **world.when)
    data, call = user.data(), user.running(IMS, towards(NATIONAL))
    await data.one("I", octets(want=10 * MB))
    await call.one("I", seconds(want=60))
    async with world.hearing() as heard:
        await data.one("U", octets(want=10 * MB, used=200 * MB))
        asked = [(n.reason, [s.session_id for s in n.sessions]) for n in await heard()]
        assert ("threshold", [call.sid]) in asked
        await world.ledger.set_limit(user.account_id, limit_micro_eur=5 * EUR, **world.when)
        ((reason, sids),) = [(n.reason, sorted(s.session_id for s in n.sessions)) for n in await heard()]
        assert (reason, sids) == ("limit", sorted([data.sid, call.sid]))


# -- bars


async def _code(user: Subscriber, use: str) -> int:
    """Result-Code of one use of a kind."""
    calls = {
        "roaming": towards(NATIONAL, USA),
        "international": towards(SERBIAN),
        "premium": towards(PREMIUM),
        "national": towards(NATIONAL),
    }
    if use in calls:
        return await user.may_call(calls[use])
    if use == "forwarding":
        forwarded = towards(NATIONAL)
        assert forwarded.ims_information is not None
        forwarded.ims_information.role_of_node = 2
        return await user.may_call(forwarded)
    if use in ("international-sms", "sms"):
        return (await user.message(SMS, sms_to("+381641234567" if use != "sms" else "+38631234567")))[0]
    if use == "mms":
        return (await user.message(MMS, mms_to("+38631234567")))[0]
    sid = user.world.new_session()
    if use == "data":
        return (await user.charged(DATA, "I", 0, octets(want=MB), sid=sid, information=at(HOME))).result_code or 0
    raise AssertionError(use)


USES = ("roaming", "international", "international-sms", "premium", "data", "mms", "forwarding", "national", "sms")


@rule("HOT-CC-5")
@pytest.mark.parametrize("bar", [each for each in BARS if each != "content"])
async def test_hot_cc_5_each_bar_forbids_its_own_use_and_no_other(world: World, bar: str) -> None:
    user = await world.subscriber(100)
    assert {use: await _code(user, use) for use in USES} == dict.fromkeys(USES, 2001)
    await world.ledger.set_bars(user.account_id, bars=[bar], **world.when)
    assert {use: await _code(user, use) for use in USES} == {use: 4010 if use == bar else 2001 for use in USES}
    assert await user.may_call(towards("tel:112")) == 2001, "nothing bars an emergency call"


@rule("HOT-CC-5")
async def test_hot_cc_5_content_is_barred_by_its_own_bar_and_as_premium(world: World) -> None:
    assert world.catalogue.rate(UseEvent(Context.CONTENT)).bars == ("premium", "content")
    world.source = Origin(service_contexts=ServiceContexts({"Comverse.DCI": Context.CONTENT}))
    user = await world.subscriber(10)

    async def buy() -> int:
        euro = RequestedServiceUnit(cc_money=CcMoney(UnitValue(1, 0)))
        wish = MultipleServicesCreditControl(requested_service_unit=euro)
        sid = world.new_session()
        answer = await user.charged("Comverse.DCI", "E", 0, wish, sid=sid, information=at())
        return answer.result_code or 0

    for bars, code in (((), 2001), (("content",), 4010), (("premium",), 4010), (("data",), 2001)):
        await world.ledger.set_bars(user.account_id, bars=bars, **world.when)
        assert await buy() == code
