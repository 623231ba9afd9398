"""HOT-ROA-4 from the CCR: months of use at home and abroad, warning, two weeks, surcharge, and its end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ocs.accounts.fair_use import REASON, Evaluation, FairUseOperations
from ocs.catalogue.versions import Catalogues
from ocs.charging.equipment import EquipmentIds
from ocs.charging.service import ChargingService
from ocs.ledger.contract.views import AccountView
from ocs.outbox.observer import Observer
from ocs.policy.fair_use import Action
from ocs.values.measures import AccountMeasure, MeasureKind
from protocol.units import UserEquipmentInfo
from tests.ocs.charging.ccr import AUSTRIA, HOME, IMS, MB, SERBIA, SMS, octets, sms_to, towards
from tests.ocs.rules.world import CATALOGUE, DAY_S, START, Subscriber, World
from tests.rules import rule

SURCHARGE = "fair-use-surcharge"
WARNED, SURCHARGED, STOPPED = "warned", "surcharge", ""


class Months:
    """Days that pass, each with the work of the housekeeper in the night after."""

    def __init__(self, world: World) -> None:
        self.world = world
        assert isinstance(world.catalogue, Catalogues)
        self.catalogue = world.catalogue
        self.observer = Observer(world.ledger, world.catalogue)
        self.operations = FairUseOperations(world.ledger, world.catalogue, lambda: world.now)
        self.evaluated = 0

    async def live(self, user: Subscriber, days: int, *plmns: str) -> None:
        """So many days with 1 MB on each of these networks."""
        for _ in range(days):
            for plmn in plmns:
                await user.use_data(MB, plmn=plmn)
            await self.pass_day()

    async def pass_day(self) -> None:
        self.world.now += DAY_S
        await self.observe()
        await self.evaluate()

    async def observe(self) -> None:
        ledger = self.world.ledger
        await self.observer.through({each: await ledger.outbox_last(each) for each in range(ledger.partitions)})

    async def evaluate(self) -> list[Evaluation]:
        ledger, found = self.world.ledger, []
        today = self.catalogue.day_of(self.world.now)
        for due in await ledger.observations_due(range(ledger.partitions), day=today, count=100):
            for account_id in due:
                self.evaluated += 1
                evaluation = await self.operations.evaluate(account_id)
                found += [evaluation] if evaluation is not None else []
        return found


@pytest.fixture
async def months(world: World) -> Months:
    await world.price_lists(CATALOGUE.read_text())
    return Months(world)


async def rich(world: World) -> Subscriber:
    """Without a package, and with credit for half a year."""
    return await world.subscriber(150)


async def steps(user: Subscriber) -> list[tuple[int, str]]:
    """(day of the test, state) of each event."""
    return [((event["t"] - START) // DAY_S, event["state"]) for event in await user.events("fair_use")]


async def top_up(user: Subscriber) -> None:
    await user.top_up(1, f"T{user.world.now}")


@rule("HOT-ROA-4")
async def test_mostly_abroad_is_warned_surcharged_and_free_again_at_home(months: Months, world: World) -> None:
    user = await rich(world)
    await months.live(user, 60, AUSTRIA)
    await top_up(user)
    await months.live(user, 20, HOME)
    await months.live(user, 40, AUSTRIA)
    assert await steps(user) == [], "119 whole days after the first one abroad"
    await months.live(user, 1, AUSTRIA)
    assert await steps(user) == [(121, WARNED)]
    (warning,) = await user.events("fair_use")
    # Days 1 to 120 of the test: 59 abroad, 20 at home, 41 abroad; each with 1 MB.
    assert (warning["home_days"], warning["abroad_days"], warning["why"]) == (20, 100, "presence")
    assert warning["share"] == [["data", 20 * MB, 100 * MB]]
    assert warning["deadline"] == "2027-03-25", "2026-11-10 and 121 days, and 14 more"
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900
    await months.live(user, 13, AUSTRIA)
    assert len(await steps(user)) == 1
    await months.live(user, 1, AUSTRIA)
    assert await steps(user) == [(121, WARNED), (135, SURCHARGED)]
    assert (await user.view()).facts == SURCHARGE
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900 + 1_191, "from 2027 on"
    # 69,000 a minute, and 23,180 as a surcharge.
    assert await user.call(60, towards("tel:+38631234567", AUSTRIA), IMS) == 69_000 + 23_180
    assert await user.message(SMS, sms_to("+38631234567", AUSTRIA)) == (2001, 69_000 + 3_660)
    assert await user.use_data(MB) == 6_900
    await top_up(user)
    await months.live(user, 6, HOME)
    assert len(await steps(user)) == 2
    await months.live(user, 2, HOME)
    assert await steps(user) == [(121, WARNED), (135, SURCHARGED), (142, STOPPED)]
    assert (await user.view()).facts == ""
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900


@rule("HOT-ROA-4")
async def test_who_changes_within_two_weeks_pays_no_surcharge(months: Months, world: World) -> None:
    user = await rich(world)
    await months.live(user, 60, AUSTRIA)
    await top_up(user)
    await months.live(user, 61, AUSTRIA)
    assert await steps(user) == [(121, WARNED)]
    await months.live(user, 5, AUSTRIA)
    await top_up(user)
    await months.live(user, 9, HOME)
    assert await steps(user) == [(121, WARNED), (135, STOPPED)]
    assert await user.use_data(MB, plmn=AUSTRIA) == 6_900
    await months.live(user, 20, HOME)
    assert len(await steps(user)) == 2
    # Abroad again while most of the window still is: a new warning with two weeks of its own.
    await months.live(user, 8, AUSTRIA)
    assert [state for _, state in await steps(user)] == [WARNED, STOPPED, WARNED]


@rule("HOT-ROA-4")
async def test_a_phone_that_hops_over_the_border_is_at_home(months: Months, world: World) -> None:
    user = await rich(world)
    await months.live(user, 1, AUSTRIA)
    await months.live(user, 70, HOME, AUSTRIA, AUSTRIA)
    await top_up(user)
    await months.live(user, 60, AUSTRIA, HOME)
    assert await steps(user) == []
    assert months.evaluated == 11, "not before four months, then once a day"


@rule("HOT-ROA-4")
async def test_only_accounts_that_were_in_the_eu_are_observed(months: Months, world: World) -> None:
    at_home, traveller, overseas = [await rich(world) for _ in range(3)]
    await at_home.use_data(MB)
    await traveller.use_data(MB, plmn=AUSTRIA)
    await overseas.use_data(100 * 1024, plmn=SERBIA)
    await months.pass_day()
    found = [await world.ledger.observation(user.account_id) for user in (at_home, traveller, overseas)]
    assert [each is not None for each in found] == [False, True, False]
    await months.live(traveller, 60, HOME)
    await top_up(traveller)
    await months.live(traveller, 61, HOME)
    assert await world.ledger.observation(traveller.account_id) is None, "its day abroad has left the window"
    assert await steps(traveller) == []
    states = await world.ledger.fair_use_states(range(world.ledger.partitions))
    assert sum(each["observed"] for each in states) == 0


async def test_each_day_has_use_by_service_where_it_was(months: Months, world: World) -> None:
    user = await rich(world)
    await user.use_data(MB, 2 * MB, plmn=AUSTRIA)
    await user.call(90, towards("tel:+38631234567", AUSTRIA), IMS)
    await user.call(30, towards("tel:+38631234567", HOME), IMS)
    await user.message(SMS, sms_to("+38631234567", AUSTRIA))
    await months.observe()
    observed = await world.ledger.observation(user.account_id)
    assert observed is not None
    (day,) = observed.days.values()
    assert (day.at_home, day.abroad) == (True, True)
    assert day.use == {"data": (0, 3 * MB), "voice": (30, 90), "sms": (0, 1)}
    (number,) = observed.days
    assert number == months.catalogue.day_of(world.now) == observed.since


async def test_a_day_ends_at_midnight_in_ljubljana(months: Months, world: World) -> None:
    user = await rich(world)
    world.now = START + 10 * 3600 + 3599  # 22:59:59 UTC, 23:59:59 in Ljubljana
    await user.use_data(MB, plmn=AUSTRIA)
    world.now += 1
    await user.use_data(2 * MB, plmn=AUSTRIA)
    await months.observe()
    observed = await world.ledger.observation(user.account_id)
    assert observed is not None
    assert [day.use["data"] for _, day in sorted(observed.days.items())] == [(0, MB), (0, 2 * MB)]


async def test_a_surcharge_of_a_session_is_not_counted_twice(months: Months, world: World) -> None:
    user = await rich(world)
    await world.ledger.set_measure(
        user.account_id, measure=AccountMeasure(MeasureKind.FACT, SURCHARGE, "care", world.now), **world.when
    )
    await user.use_data(5 * MB, plmn=AUSTRIA)
    await months.observe()
    observed = await world.ledger.observation(user.account_id)
    assert observed is not None and [day.use for day in observed.days.values()] == [{"data": (0, 5 * MB)}]


@rule("HOT-ROA-4")
async def test_a_step_is_done_once_and_care_s_own_surcharge_stays(months: Months, world: World) -> None:
    user = await rich(world)
    await months.live(user, 60, AUSTRIA)
    await top_up(user)
    await months.live(user, 61, AUSTRIA)
    await months.operations.evaluate(user.account_id)
    await months.operations.evaluate(user.account_id)
    assert await steps(user) == [(121, WARNED)]
    await months.live(user, 14, AUSTRIA)
    assert await measures_of(await user.view()) == [(SURCHARGE, REASON)]
    by_care = AccountMeasure(MeasureKind.FACT, SURCHARGE, "resale", world.now)
    await world.ledger.set_measure(user.account_id, measure=by_care, **world.when)
    await months.live(user, 8, HOME)
    assert [state for _, state in await steps(user)] == [WARNED, SURCHARGED, STOPPED]
    assert await measures_of(await user.view()) == [(SURCHARGE, "resale")]


async def measures_of(view: AccountView) -> list[tuple[str, str]]:
    return [(each.terms.name, each.terms.reason) for each in view.measures]


@pytest.mark.parametrize("moves", [(1,), (1, 0), (1, 2, 0, 1)], ids=["there", "and back", "around"])
async def test_an_observation_moves_with_its_account(months: Months, world: World, moves: Sequence[int]) -> None:
    """Moved and seen on one day; nothing is lost, and nothing counted twice."""
    user = await rich(world)
    await months.live(user, 60, AUSTRIA)
    await top_up(user)
    here, seen = int(user.account_id.partition("-")[0]), [user.account_id]
    for offset in moves:
        before = await world.ledger.observation(user.account_id)
        target = (here + offset) % world.ledger.partitions
        user.account_id = await world.ledger.move_account(user.account_id, partition=target, **world.when)
        seen.append(user.account_id)
        assert await world.ledger.observation(user.account_id) == before
        await user.use_data(MB, plmn=AUSTRIA)
        await months.observe()
    await months.live(user, 61, AUSTRIA)
    (warning,) = await user.events("fair_use")
    # One MB on each of 120 days, and one after each move.
    assert warning["share"] == [["data", 0, (120 + len(moves)) * MB]]
    for _ in range(2):
        await top_up(user)
        await months.live(user, 65, HOME)
    for each in seen:
        assert await world.ledger.observation(each) is None, each
    states = await world.ledger.fair_use_states(range(world.ledger.partitions))
    assert [sum(each[name] for each in states) for name in ("observed", "warned", "surcharge")] == [0, 0, 0]


async def test_a_terminated_account_is_forgotten(months: Months, world: World) -> None:
    user = await rich(world)
    await months.live(user, 60, AUSTRIA)
    await top_up(user)
    await months.live(user, 61, AUSTRIA)
    await world.ledger.terminate_account(user.account_id, **world.when)
    await months.pass_day()
    assert await world.ledger.observation(user.account_id) is None
    states = await world.ledger.fair_use_states(range(world.ledger.partitions))
    assert [sum(each[name] for each in states) for name in ("observed", "warned", "surcharge")] == [0, 0, 0]


@rule("HOT-ROA-4")
@pytest.mark.parametrize(
    ("other", "why", "sims"), [(b"356938035643809", "presence,sims", 2), (b"490154203237518", "presence", 1)]
)
async def test_several_sims_in_one_phone_are_a_further_indicator(
    months: Months, world: World, other: bytes, why: str, sims: int
) -> None:
    """Two months on, another SIM is used abroad: in the same phone, or in another one."""
    ids = EquipmentIds(await world.ledger.equipment_key())
    world.service = ChargingService(
        world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn, equipment_ids=ids
    )
    user, second = await rich(world), await rich(world)
    for each, imei, days in ((user, b"3569380356438099", 60), (second, other, 0)):
        session = each.data(AUSTRIA)
        await session.take("I", octets(want=MB), user_equipment_info=UserEquipmentInfo(0, imei))
        await session.take("T", octets(used=MB))
        await months.live(user, days, AUSTRIA)
        await top_up(user)
    await months.live(user, 61, AUSTRIA)
    (warning,) = await user.events("fair_use")
    assert (warning["why"], warning["sims"]) == (why, sims)
    shown = await months.operations.show(await user.view())
    assert shown.decision is not None and shown.decision.sims == sims
    (arrival,) = await user.events("arrived")
    assert len(arrival["equipment"]) == 16 and "35693803564380" not in str(await user.journal())


async def test_nothing_is_changed_by_a_prediction(months: Months, world: World) -> None:
    user = await rich(world)
    await months.live(user, 60, AUSTRIA)
    await top_up(user)
    await months.live(user, 60, AUSTRIA)
    found = [each async for each in months.operations.foretell(world.now + DAY_S)]
    assert [(each.account_id, each.decision.action, each.done) for each in found] == [
        (user.account_id, Action.WARN, False)
    ]
    assert await steps(user) == []
