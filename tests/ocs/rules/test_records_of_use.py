"""Charging records of a subscriber's use (HOT-REC-2), and the round trips of a request."""

from __future__ import annotations

from tests.ocs.charging.ccr import DATA, HOME, MB, SMS, at, messages, octets, sms_to, towards
from tests.ocs.rules.world import World
from tests.rules import rule

SERBIAN = "tel:+381641234567"
DATA_PER_MB = 6_900


@rule("HOT-REC-2")
async def test_hot_rec_2_each_charge_is_on_record_and_their_sum_explains_the_balance(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    await user.top_up(5, "voucher")
    await user.use_data(10 * MB, 5 * MB)
    await user.call(90, towards(SERBIAN))
    await user.message(SMS, sms_to("+436641234567"))
    journal = await user.journal()
    assert [event["k"] for event in journal] == ["opened", "package", "topup", "charge", "charge", "charge"]
    assert sum(e.get("credit_in", 0) - e.get("debit", 0) for e in journal) == await user.credit()

    data, call, sms = await user.events("charge")
    assert [charge["ctx"] for charge in (data, call, sms)] == ["data", "ims", "sms"]
    assert all(charge["a"] == user.account_id and charge["closed"] for charge in (data, call, sms))
    # subscriber, service, location, called party, time, units, price, payer
    (line,) = call["svc"]
    assert (call["started"], call["t"]) == (world.now - 90, world.now)
    assert (line["label"], line["detail"], line["used"]) == ("voice.zone2", f"{HOME} mo {SERBIAN}", 90)
    assert (line["debit"], line["units"], call["debit"]) == (1_000_000, [], 1_000_000)
    assert line["price"].startswith("voice")
    (line,) = data["svc"]
    assert (line["used"], line["debit"], line["units"]) == (15 * MB, 0, [["MINI.data", 15 * MB]])
    assert line["detail"] == f"{HOME} mo internet"


@rule("HOT-REC-2")
async def test_hot_rec_2_a_session_has_one_record_at_its_end_and_small_ones_before(world: World) -> None:
    user = await world.subscriber(20)
    await user.use_data(10 * MB, 5 * MB)
    opened, use, charge = await user.journal()
    assert (opened["k"], use["k"], use["debit"], charge["k"], charge["debit"]) == (
        *("opened", "use", 10 * DATA_PER_MB, "charge", 5 * DATA_PER_MB),
    )
    assert "svc" not in use
    assert [(line["used"], line["debit"]) for line in charge["svc"]] == [(15 * MB, 15 * DATA_PER_MB)], "all of it"


@rule("HOT-REC-2")
async def test_hot_rec_2_a_long_session_is_on_record_every_hour(world: World) -> None:
    user = await world.subscriber(20)
    sid, where = world.new_session(), at()
    await user.charged(DATA, "I", 0, octets(want=0), sid=sid, information=where)
    for number in range(1, 6):  # every half hour
        world.now += 1800
        await user.charged(DATA, "U", number, octets(want=0, used=MB), sid=sid, information=where)
    await user.charged(DATA, "T", 6, octets(used=MB), sid=sid, information=where)
    records = await user.events("charge")
    assert [(each["closed"], each["svc"][0]["used"]) for each in records] == [
        *((False, 2 * MB), (False, 2 * MB), (True, 2 * MB)),
    ]
    assert len(await user.events("use")) == 3, "what is no record is a small event"


@rule("HOT-REC-2")
async def test_hot_rec_2_several_services_of_one_request_are_recorded_apart(world: World) -> None:
    user = await world.subscriber(20)
    sid = world.new_session()
    both = (octets(want=0, group=1), octets(want=0, group=10))
    await user.charged(DATA, "I", 0, *both, sid=sid, information=at())
    used = (octets(used=3 * MB, group=1), octets(used=2 * MB, group=10))
    await user.charged(DATA, "T", 1, *used, sid=sid, information=at())
    last = (await user.events("charge"))[-1]
    assert [(s["key"], s["used"], s["debit"]) for s in last["svc"]] == [("1", 3 * MB, 20_700), ("10", 2 * MB, 13_800)]
    assert (last["debit"], last["closed"]) == (34_500, True)


async def test_one_round_trip_to_redis_for_a_known_subscriber(world: World) -> None:
    """This project's rule, not the operator's: one script per request, and a look-up for the first only."""
    user = await world.subscriber(20)
    (address,) = world.ledger._nodes.addresses()
    async with world.ledger._nodes.client(address) as client:
        await client.config_resetstat()
        await user.use_data(MB, MB, MB)
        await user.message(SMS, sms_to("+38631234567"))
        await user.charged(SMS, "E", 0, messages(want=1), sid="again", information=sms_to("+38631234567"))
        stats = await client.info("commandstats")
    called = stats.get("cmdstat_fcall") or stats["cmdstat_evalsha"]
    assert called["calls"] == 6
    # The subscriber is looked up once. A session's document says whether a request was applied; openings and
    # one-off requests look for a remembered answer and its End-to-End-Id.
    assert (stats["cmdstat_hget"]["calls"], stats["cmdstat_hmget"]["calls"]) == (1, 1 + 2)


@rule("HOT-REC-2")
async def test_hot_rec_2_records_of_data_have_the_charging_id_of_the_bearer(world: World) -> None:
    """As the opening says it; a long session has it in every record, and so has one that is given up."""
    user = await world.subscriber(20)
    bearer = at()
    bearer.ps_information.tgpp_charging_id = bytes.fromhex("0001e240")
    sid = world.new_session()
    await user.charged(DATA, "I", 0, octets(want=0), sid=sid, information=bearer)
    world.now += 3_601
    await user.charged(DATA, "U", 1, octets(want=0, used=MB), sid=sid, information=at())
    await user.charged(DATA, "T", 2, octets(used=MB), sid=sid, information=at())
    assert [each["chg"] for each in await user.events("charge")] == ["123456"] * 2
    await user.charged(DATA, "I", 0, octets(want=0), sid=world.new_session(), information=bearer)
    world.now += 86_400
    await world.sweep()
    (expired,) = await user.events("expired")
    assert expired["chg"] == "123456"


@rule("HOT-REC-2")
async def test_hot_rec_2_a_charging_id_of_another_length_is_none(world: World) -> None:
    user = await world.subscriber(20)
    bearer = at()
    bearer.ps_information.tgpp_charging_id = b"\x01\x02"
    sid = world.new_session()
    await user.charged(DATA, "I", 0, octets(want=0), sid=sid, information=bearer)
    await user.charged(DATA, "T", 1, octets(used=MB), sid=sid, information=bearer)
    (charge,) = await user.events("charge")
    assert "chg" not in charge
