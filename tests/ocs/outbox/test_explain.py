"""`ocs explain`: what records say is explained, and computing it anew agrees, unless somebody has changed something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocs.catalogue.versions import Catalogues
from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox.explain import DIFFERENCE, explain
from ocs.outbox.facts import KINDS, facts_before
from ocs.outbox.format import record
from ocs.outbox.search import find_records, records_of_facts
from ocs.outbox.vat import Vat
from ocs.outbox.writer import RecordWriter
from ocs.values.measures import AccountMeasure, MeasureKind
from protocol.credit_control import REFUND_ACCOUNT, ServiceInformation
from tests.ocs.charging.ccr import AUSTRIA, IMS, MB, SERBIA, SMS, octets, seconds, sms_to, towards
from tests.ocs.charging.source import Origin
from tests.ocs.history.record_files import write_file
from tests.ocs.rules.conftest import world as world
from tests.ocs.rules.recipients import send, token_of
from tests.ocs.rules.test_call_forwarding import CFNRC, CFU, C, diverted
from tests.ocs.rules.test_catalogue_versions import BEGINS, reported
from tests.ocs.rules.test_itemised_and_vat import TEXT, with_vat
from tests.ocs.rules.test_rate_foretells import MIDNIGHT, NEXT, NIGHT, USES, charged, versions
from tests.ocs.rules.test_volumes import with_volume
from tests.ocs.rules.world import Subscriber, World
from tests.rules import rule


async def records(user: Subscriber) -> list[dict[str, Any]]:
    vat = Vat(versions(user.world))
    found = [record(OutboxEvent(7, n, body), vat) for n, body in enumerate(await user.journal(), start=1)]
    return [each for each in found if each.get("session_id")]


def steps(found: list[dict[str, Any]], catalogues: Catalogues, name: str) -> list[str]:
    return [step.value for step in explain(found, catalogues).steps if step.name == name]


async def assert_explained(user: Subscriber) -> None:
    found, catalogues = await records(user), versions(user.world)
    assert steps(found, catalogues, DIFFERENCE) == []
    assert steps(found, catalogues, "not recomputed") == []
    labels = [line["label"] for each in found if each["kind"] == "charge" for line in each.get("services", ())]
    assert labels and steps(found, catalogues, "rate") == labels


@rule("HOT-REC-2")
@pytest.mark.parametrize("package", [None, "MINI"])
@pytest.mark.parametrize(("context", "information", "amount"), USES)
async def test_every_kind_of_use(
    world: World, package: str | None, context: str, information: ServiceInformation, amount: int
) -> None:
    user = await world.subscriber(50, package)
    await charged(user, context, information, amount)
    await assert_explained(user)


@rule("HOT-REC-2", "HOT-PKG-5")
async def test_a_long_session_with_a_record_each_hour(world: World) -> None:
    """Steps are rounded over the session, not for each record."""
    user = await world.subscriber(50)
    call = user.running(IMS, towards(C))
    await call.one("I", seconds(want=1_800))
    for _ in range(5):
        world.now += 1_801
        await call.one("U", seconds(want=1_800, used=1_799))
    await call.take("T", seconds(used=1))
    found = await records(user)
    assert len([each for each in found if each["kind"] == "charge"]) >= 2
    await assert_explained(user)
    last = [each for each in found if each["kind"] == "charge"][-1]["event_id"]
    told = explain(found, versions(world), only=last)
    assert [step.value for step in told.steps if step.name == "record"] == [last]
    assert [step.name for step in told.steps if step.name == DIFFERENCE] == []


@rule("HOT-RAT-1")
@pytest.mark.parametrize("texts", [[NIGHT], [TEXT, NEXT]], ids=["holiday", "version"])
async def test_a_call_over_a_change_of_the_price(world: World, texts: list[str]) -> None:
    await world.price_lists(*texts)
    user = await world.subscriber(10)
    world.now = MIDNIGHT - 120
    await charged(user, IMS, towards(C), 125)
    await assert_explained(user)


@rule("HOT-RAT-8")
async def test_data_over_a_change_of_vat(world: World) -> None:
    await world.price_lists(TEXT, with_vat(25))
    user = await world.subscriber(20)
    world.now = BEGINS - 600
    running = user.data()
    await running.one("I", octets(want=10 * MB))
    world.now = BEGINS + 60
    await running.take("T", reported(4 * MB, 6 * MB))
    await assert_explained(user)
    assert steps(await records(user), versions(world), "version") == ["1", "2026-12"]
    assert steps(await records(user), versions(world), "VAT") == ["22 %", "25 %"]


@rule("HOT-ROA-3")
async def test_use_beyond_a_volume(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(20, "MAXI")
    session = user.data(AUSTRIA)
    await session.one("I", octets(want=50 * MB))
    await session.take("T", octets(used=30 * MB))
    found = await records(user)
    assert steps(found, versions(world), DIFFERENCE) == []
    assert steps(found, versions(world), "bucket") == ["MAXI.data"]


@rule("HOT-RAT-7")
@pytest.mark.parametrize("mode", [CFU, CFNRC])
async def test_forwarded_legs(world: World, mode: int) -> None:
    user = await world.subscriber(20)
    await user.call(61, diverted(mode, plmn=SERBIA))
    await assert_explained(user)


@rule("HOT-ROA-4", "HOT-ROA-7")
@pytest.mark.parametrize("always", [True, False], ids=["of the rate", "of a rate for some accounts"])
async def test_a_surcharge(world: World, always: bool) -> None:
    plain = '[rate."data.eu"] # HOT-ROA-1; HOT-ROA-3: beyond the fair-use volume at the wholesale cap\n'
    assert plain in TEXT
    await world.price_lists(TEXT.replace(plain, f'{plain}surcharge = "data-eu-beyond"\n') if always else TEXT)
    user = await world.subscriber(20, "MINI")
    if not always:
        measure = AccountMeasure(MeasureKind.FACT, "fair-use-surcharge", "test", world.now)
        await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    await user.use_data(5 * MB, plmn=AUSTRIA)
    await assert_explained(user)
    label = "data.eu.surcharge" if always else "data.eu-surcharged.surcharge"
    charges = [line for each in await records(user) for line in each.get("services", ())]
    assert [line["debit_micro_eur"] for line in charges if line["label"] == label] == [5 * 1_310]


# -- differences


async def one_sms(world: World) -> list[dict[str, Any]]:
    user = await world.subscriber(20)
    await user.message(SMS, sms_to("+38631234567"))
    return await records(user)


async def test_a_debit_that_the_price_does_not_explain(world: World) -> None:
    found = await one_sms(world)
    found[0]["services"][0]["debit_micro_eur"] = 70_000
    (step,) = [step for step in explain(found, versions(world)).steps if step.name == DIFFERENCE]
    assert (step.facts["micro_eur"], step.facts["debited"]) == (69_000, 70_000)


async def test_a_rate_that_is_another_one_now(world: World) -> None:
    found = await one_sms(world)
    found[0]["services"][0]["detail"] = "29340 mo +381641234567"
    (step,) = [step for step in explain(found, versions(world)).steps if step.name == DIFFERENCE]
    assert (step.value, step.facts["rate"]) == ("sms.home.national", ["sms.international"])


async def test_a_version_that_is_gone_is_said(world: World) -> None:
    found = await one_sms(world)
    await world.price_lists(with_vat(25))
    assert steps(found, versions(world), "not recomputed") == ["sms.home.national"]


# -- the files


def test_records_are_found_in_the_files(tmp_path: Path) -> None:
    def event(number: int, session: str, account: str = "a", partition: int = 7) -> OutboxEvent:
        body = {"k": "use", "t": 5, "a": account, "sid": session, "typ": "U", "n": 1, "debit": 1, "credit": 1}
        return OutboxEvent(partition, number, body)

    writer = RecordWriter(tmp_path, rotate_octets=400, rotate_s=3600, clock=lambda: 0.0)
    writer.open()
    for number in range(1, 8):
        writer.store([event(number, "x" if number % 2 else "y")])
    writer.store([event(1, "x", "b", partition=9)])
    writer.close()
    assert len(list(tmp_path.glob("records-*"))) > 1
    with next(tmp_path.glob("records-*")).open("ab") as file:
        file.write(b'{"session_id":"x", torn')
    assert [each["event_id"] for each in find_records(tmp_path, "y")] == ["p07-2", "p07-4", "p07-6"]
    assert [each["event_id"] for each in find_records(tmp_path, "p07-5")] == ["p07-1", "p07-3", "p07-5"]
    assert find_records(tmp_path, "p07-99") == find_records(tmp_path, "z") == []


def test_records_from_before_a_move_are_of_the_account_too(tmp_path: Path, world: World) -> None:
    """The ids differ by the partition; its sequence numbers say nothing of the other one's order."""
    fact = {"measure": "fact", "name": "resident", "state": "begun"}
    events = [
        OutboxEvent(7, 8, {"k": "measure", "t": 5, "a": "07-ab", **fact}),
        OutboxEvent(7, 9, {"k": "use", "t": 6, "a": "07-ab", "sid": "x", "debit": 1, "credit": 1}),
        OutboxEvent(7, 10, {"k": "moved_out", "t": 6, "a": "07-ab", "to": "02-ab", "debit": 1, "credit": 0}),
        OutboxEvent(2, 1, {"k": "moved_in", "t": 7, "a": "02-ab", "of": "07-ab", "credit_in": 1, "credit": 1}),
        OutboxEvent(2, 2, {"k": "use", "t": 7, "a": "02-ab", "sid": "x", "debit": 1, "credit": 0}),
        OutboxEvent(2, 3, {"k": "measure", "t": 9, "a": "02-ab", **fact, "state": "ended"}),
        OutboxEvent(2, 4, {"k": "use", "t": 9, "a": "02-cd", "sid": "x", "debit": 1, "credit": 0}),
    ]
    write_file(tmp_path, 1, 0, *(record(each, Vat(versions(world))) for each in events))
    assert [each["event_id"] for each in find_records(tmp_path, "p02-2")] == ["p07-9", "p02-2"]
    assert [each["event_id"] for each in find_records(tmp_path, "p07-9")] == ["p07-9"]
    assert [each["event_id"] for each in find_records(tmp_path, "x")] == ["p07-9", "p02-2", "p02-4"]
    (after,) = [each for each in find_records(tmp_path, "p02-2") if each["event_id"] == "p02-2"]
    for account in ("02-ab", "07-ab"):
        facts = records_of_facts(tmp_path, account)
        assert facts is not None and [each["event_id"] for each in facts] == ["p07-8", "p02-3"]
        assert facts_before(facts, after, versions(world)).at(6) == "resident"


# -- facts of the account, by its records


async def judged(user: Subscriber, *, without: str = "") -> list[str]:
    """Differences when the account's records are known, but for those of a kind."""
    vat = Vat(versions(user.world))
    every = [record(OutboxEvent(7, n, body), vat) for n, body in enumerate(await user.journal(), start=1)]
    history = [each for each in every if each["kind"] in KINDS and each["kind"] != without]
    used = [each for each in every if each.get("session_id")]
    told = explain(used, versions(user.world), history=history)
    return [step.why for step in told.steps if step.name == DIFFERENCE]


@rule("HOT-ROA-4", "HOT-REC-2")
async def test_facts_that_the_records_say_decide(world: World) -> None:
    """The rate of a surcharged account is right with the measure, and wrong without it."""
    user = await world.subscriber(20)
    measure = AccountMeasure(MeasureKind.FACT, "fair-use-surcharge", "mostly abroad", world.now)
    await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    await user.use_data(MB, plmn=AUSTRIA)
    assert await judged(user) == []
    (said, _) = await judged(user, without="measure")
    assert said.startswith("the facts of the account, none, give the rate data.eu")


@rule("HOT-ROA-4")
async def test_facts_end_with_their_measure(world: World) -> None:
    user = await world.subscriber(20)
    measure = AccountMeasure(MeasureKind.FACT, "fair-use-surcharge", "mostly abroad", world.now, world.now + 60)
    await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    world.now += 120
    await user.use_data(MB, plmn=AUSTRIA)
    assert await judged(user) == []


@rule("HOT-RAT-2")
async def test_an_emergency_is_concluded_from_its_rate(world: World) -> None:
    user = await world.subscriber(20)
    sos = towards(C, ims_emergency_indicator=1)
    await charged(user, IMS, sos, 60)
    told = explain(await records(user), versions(world), history=[])
    assert [step.value for step in told.steps if step.name == "emergency"] == ["marked by the network"]
    assert not [step for step in told.steps if step.name == DIFFERENCE]
    assert [step.value for step in told.steps if step.name == "rate"] == ["voice.emergency"]


@rule("HOT-REC-2")
@pytest.mark.parametrize("own", [False, True], ids=["the debit's Session-Id", "one of its own"])
async def test_a_refund_names_the_session_of_its_debit(world: World, tmp_path: Path, own: bool) -> None:
    """RFC 8506 §6.4: a refund is a session of its own. Who looks at the debit's session sees it."""
    world.source = Origin(refunds=True)
    user, sid = await world.subscriber(20), world.new_session()
    sent = await send(user, C, sid=sid)
    other = world.new_session() if own else sid
    await send(user, C, sid=other, number=1, requested_action=REFUND_ACCOUNT, token=token_of(sent))
    found = await records(user)
    write_file(tmp_path, 1, world.now, *found)
    session = find_records(tmp_path, sid)
    assert [each["kind"] for each in session] == ["charge", "refund"]
    assert (session[1]["session_id"], session[1].get("of_session")) == (other, sid if own else None)
    assert steps(session, versions(world), "refund of") == [sid]
