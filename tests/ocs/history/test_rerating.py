"""What a draft would have earned: hand-worked accounts, and the paper against the ledger for any use."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ocs.catalogue.catalogue import parse_catalogue
from ocs.catalogue.versions import Catalogues
from ocs.history.rerating.draft import compare_with_draft
from ocs.history.rerating.month import Month, Rerating, job_of, month_range, run
from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox import reading
from ocs.outbox.format import record
from ocs.outbox.reading import LATEST, Range
from ocs.values.measures import AccountMeasure, MeasureKind
from tests.ocs.charging.ccr import AUSTRIA, DATA, HOME, IMS, MB, SERBIA, SMS, at, octets, seconds, sms_to, towards
from tests.ocs.history.record_files import write_records
from tests.ocs.rules.conftest import world as world
from tests.ocs.rules.test_call_forwarding import CFNRC, CFU, C, diverted
from tests.ocs.rules.test_catalogue_versions import changed
from tests.ocs.rules.test_rate_foretells import versions
from tests.ocs.rules.world import CATALOGUE, Subscriber, World, granted
from tests.rules import rule

TEXT = CATALOGUE.read_text()
EVER = Range(0, LATEST)
DEARER = changed(
    TEXT,
    ("[price.voice-national] # 60/1; also after the included minutes are used up (HOT-PKG-15)\nmicro_eur = 69_000",
     "[price.voice-national]\nmicro_eur = 120_000"),
    ('price_eur = "6.99"\nnet_eur = "5.73"\nperiod_days = 30\nnotice_days = 3\nshared = true # in a pool',
     'price_eur = "4.88"\nnet_eur = "4.00"\nperiod_days = 30\nnotice_days = 3\nshared = true # in a pool'),
    ('quantity = "1500 min"', 'quantity = "2 min"'),
)  # fmt: skip
"""National calls cost 0.12 EUR a minute; MINI costs 4.88 EUR and has two minutes."""


def catalogue(world: World, text: str) -> Catalogues:
    return Catalogues([parse_catalogue(text, "draft")], lambda: world.now)


def rerated(folder: Path, in_force: Catalogues, draft: Catalogues, wanted: Range = EVER) -> Month:
    job = Rerating(in_force, draft, wanted)
    for each in reading.read(reading.sources(folder, EVER), EVER):
        job.take(each)
    return job.finish()


@rule("HOT-REC-2")
async def test_a_dearer_price_and_a_cheaper_tariff_by_hand(world: World, tmp_path: Path) -> None:
    """Without a tariff: 61 s and 10 s are 61 s and 60 s. With MINI: 100 s and 50 s are included. By the draft 120 s
    are: the second call's 60 s step is 20 s of units and 40 s of credit.
    """
    plain, mini = await world.subscriber(20), await world.subscriber(20, "MINI")
    for user, lengths in ((plain, (61, 10)), (mini, (100, 50))):
        for length in lengths:
            await user.call(length, towards(C))
    await write_records(world, tmp_path)
    found = rerated(tmp_path, versions(world), catalogue(world, DEARER))
    without = found.use["no tariff", "voice", "home"]
    assert (without.uses, without.recorded) == (2, 70_150 + 69_000)
    assert (without.in_force, without.draft) == (139_150, 122_000 + 120_000)
    tariff = found.use["MINI", "voice", "home"]
    assert (tariff.uses, tariff.recorded, tariff.in_force, tariff.draft) == (2, 0, 0, 80_000)
    fee = found.fees["MINI"]
    assert (fee.uses, fee.recorded, fee.in_force, fee.draft) == (1, 6_990_000, 6_990_000, 4_880_000)
    assert (found.more, found.less, found.same) == (1, 1, 0)
    assert found.changes == [(80_000 - 2_110_000, mini.account_id), (242_000 - 139_150, plain.account_id)]
    assert found.deviation == 0 and not found.left_out


@rule("HOT-REC-2", "HOT-PKG-3", "HOT-PKG-5")
@pytest.mark.parametrize("seed", range(5))
async def test_the_paper_says_what_the_ledger_charged(world: World, tmp_path: Path, seed: int) -> None:
    """With the same catalogue and credit that suffices, no cent differs, whatever is used."""
    chance = random.Random(seed)
    users = [await world.subscriber(150, package) for package in (None, "MINI", "MAXI", "GIGA-MINI")]
    for _ in range(60):
        world.now += chance.randint(1, 86_400)
        await world.sweep()
        await some_use(chance.choice(users), chance)
    await write_records(world, tmp_path)
    same = versions(world)
    found = rerated(tmp_path, same, same)
    differing = {key: each for key, each in found.use.items() if each.recorded != each.in_force}
    assert not differing, differing
    assert found.deviation == 0 and found.assumed == 0 and not found.left_out
    assert found.total.recorded == found.total.in_force == found.total.draft > 0
    assert sum(each.uses for each in found.use.values()) > 30


async def some_use(user: Subscriber, chance: random.Random) -> None:
    plmn = chance.choice([HOME, HOME, AUSTRIA, SERBIA])
    kind = chance.randrange(5)
    if kind == 0:
        await user.message(SMS, sms_to("+38631234567"))
    elif kind == 1:
        await session(user, IMS, towards(C, plmn), seconds, chance.randint(1, 4_000), chance)
    elif kind == 2:
        await session(user, IMS, diverted(chance.choice([CFU, CFNRC]), plmn=plmn), seconds, 100, chance)
    else:
        most = 60 * MB if plmn != SERBIA else 2 * MB
        await session(user, DATA, at(plmn, "internet"), octets, chance.randint(1, most), chance)


async def session(
    user: Subscriber, context: str, information: Any, step: Any, amount: int, chance: random.Random
) -> None:
    """Of some reports, each of what was granted at most. Some take more than an hour."""
    running = user.running(context, information)
    opened = await running.take("I", step(want=0))
    if opened.result_code != 2001:
        return
    grant = granted(opened.multiple_services_credit_control[0])
    while grant and amount > grant and running._next < 6:
        user.world.now += chance.choice([10, 1_900])
        amount -= grant
        grant = granted(await running.one("U", step(want=0, used=grant)))
    user.world.now += 10
    await running.take("T", step(used=min(amount, grant)))


async def test_what_cannot_be_rerated_is_left_out_and_told(world: World, tmp_path: Path) -> None:
    user = await world.subscriber(50, "MINI")
    await user.call(60, towards(C, SERBIA))
    without = TEXT.replace("[package.MINI]", "[package.MICRO]").replace('"MINI', '"MICRO')
    await write_records(world, tmp_path)
    found = rerated(tmp_path, versions(world), catalogue(world, without))
    left = found.left_out["product MINI is not in the draft"]
    assert (left.uses, left.recorded) == (1, 6_990_000) and not found.fees
    assert found.total.recorded == found.total.in_force == found.total.draft > 0


async def test_units_of_unknown_origin_pay_what_they_paid(world: World, tmp_path: Path) -> None:
    """The period began before the records that are read."""
    user = await world.subscriber(50, "MINI")
    await user.call(60, towards(C))
    await write_records(world, tmp_path)
    job = Rerating(versions(world), catalogue(world, DEARER), EVER)
    for each in reading.read(reading.sources(tmp_path, EVER), EVER):
        if each["kind"] == "charge":
            job.take(each)
    found = job.finish()
    assert found.assumed == 1
    assert found.use["no tariff", "voice", "home"].draft == 0 == found.total.recorded


async def test_the_month_before_prepares_and_is_not_counted(world: World, tmp_path: Path) -> None:
    user = await world.subscriber(50, "MINI")
    await user.call(100, towards(C))
    middle = world.now + 3_600
    world.now = middle + 3_600
    await user.call(50, towards(C))
    await write_records(world, tmp_path)
    found = rerated(tmp_path, versions(world), catalogue(world, DEARER), Range(middle, LATEST))
    assert found.records == 1 and not found.fees
    assert found.use["MINI", "voice", "home"].draft == 80_000


async def test_an_account_that_moves_is_one_on_paper(world: World, tmp_path: Path) -> None:
    """Asked for under either id, whatever the number of processes; its included minutes go with it."""
    user = await world.subscriber(20, "MINI")
    await user.call(100, towards(C))
    before = user.account_id
    user.account_id = await world.ledger.move_account(before, partition=3, **world.when)
    assert user.account_id != before
    await user.call(50, towards(C))
    await write_records(world, tmp_path)
    in_force, draft = versions(world), catalogue(world, DEARER)
    for account in (before, user.account_id):
        found = run(job_of(tmp_path, EVER, in_force, draft, account), 2)
        tariff = found.use["MINI", "voice", "home"]
        assert (tariff.uses, tariff.recorded, tariff.in_force, tariff.draft) == (2, 0, 0, 80_000)
        assert found.changes == [(80_000 - 2_110_000, user.account_id)] and not found.assumed


async def test_several_processes_and_shares_find_the_same(world: World, tmp_path: Path) -> None:
    users = [await world.subscriber(50, package) for package in (None, "MINI", "MAXI", None, "MINI")]
    for user in users:
        await user.call(90, towards(C))
    await write_records(world, tmp_path)
    job = job_of(tmp_path, Range(0, LATEST), versions(world), catalogue(world, DEARER))
    one, two = run(job, 1), run(job, 2)
    assert dict(one.use) == dict(two.use) and dict(one.fees) == dict(two.fees)
    assert (one.more, one.less, one.same, one.changes) == (two.more, two.less, two.same, two.changes)
    assert one.records == two.records == len(users) + 3
    alone = run(job_of(tmp_path, Range(0, LATEST), versions(world), catalogue(world, DEARER), users[1].account_id), 1)
    assert alone.records == 2 and alone.more + alone.less == 1


def test_a_month_is_that_of_the_operator(world: World) -> None:
    found = month_range("2026-11", versions(world))
    assert (found.since, found.until) == (1_793_487_600, 1_796_079_600), "23:00 UTC of the last day before"
    for wrong in ("2026-13", "november", "2026-1"):
        with pytest.raises(ValueError, match=r"month|format"):
            month_range(wrong, versions(world))


# -- one session


async def records(user: Subscriber) -> list[dict[str, Any]]:
    return [record(OutboxEvent(7, n, body)) for n, body in enumerate(await user.journal(), start=1)]


async def test_a_session_under_a_draft(world: World) -> None:
    user = await world.subscriber(20)
    await user.call(61, towards(C))
    found = await records(user)
    calls = [each for each in found if each.get("session_id")]
    trace = compare_with_draft(calls, versions(world), catalogue(world, DEARER), history=found)
    steps = {step.name: (step.value, step.why) for step in trace.steps}
    assert steps["rate"][0] == "voice.home.national"
    assert steps["draft credit"] == ("0.122 EUR", "for 61 s; 0.07015 EUR was debited")
    assert steps["draft sum"] == ("0.122 EUR", "0.07015 EUR was debited: 0.05185 EUR more")
    same = compare_with_draft(calls, versions(world), versions(world), history=found)
    assert same.steps[-1].why == "0.07015 EUR was debited: the same"


async def test_a_session_that_units_paid_is_paid_by_them(world: World) -> None:
    user = await world.subscriber(20, "MINI")
    await user.call(180, towards(C))
    calls = [each for each in await records(user) if each.get("session_id")]
    trace = compare_with_draft(calls, versions(world), catalogue(world, DEARER))
    assert [(step.value, step.why) for step in trace.steps if step.name == "bucket"] == [("MINI.voice", "pays 180 s")]
    assert trace.steps[-1].value == "0.00 EUR"


@rule("HOT-ROA-4")
async def test_facts_of_the_account_decide_under_the_draft_too(world: World, tmp_path: Path) -> None:
    user = await world.subscriber(20)
    measure = AccountMeasure(MeasureKind.FACT, "fair-use-surcharge", "test", world.now)
    await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    await user.use_data(MB, plmn=AUSTRIA)
    await write_records(world, tmp_path)
    same = versions(world)
    found = rerated(tmp_path, same, same)
    assert found.deviation == 0 and found.total.recorded > 0
    without = "\n".join(line for line in TEXT.splitlines() if not line.startswith('surcharge = "data-eu'))
    plain = rerated(tmp_path, same, catalogue(world, without))
    assert plain.total.draft < plain.total.in_force
