"""Several reports of one service in one request: use that is reported as a total and by direction is charged once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.catalogue.price import MAX_SESSION_UNITS
from ocs.charging.units import used_by_tariff
from ocs.values.use import Unit
from protocol.credit_control import RequestedServiceUnit, UsedServiceUnit
from tests.ocs.charging.ccr import MB, SMS, messages, octets, sms_to
from tests.ocs.rules.world import World

THRESHOLD, OTHER_QUOTA_TYPE = 0, 5
"""Reporting-Reason (TS 32.299 §7.2.175)."""
PER_MB = 6_900


def total(octets: int, reason: int | None = None, side: int | None = None) -> UsedServiceUnit:
    return UsedServiceUnit(reason, side, cc_total_octets=octets)


def directions(up: int | None, down: int | None, reason: int | None = None, side: int | None = None) -> UsedServiceUnit:
    return UsedServiceUnit(reason, side, cc_input_octets=up, cc_output_octets=down)


TABLE = [
    ([total(10), directions(4, 6)], (10, 0, 0)),
    ([total(10), directions(4, None)], (10, 0, 0)),
    ([total(10), directions(4, None), directions(None, 6)], (10, 0, 0)),
    ([total(7), total(3), directions(4, 6)], (10, 0, 0)),
    ([total(0), directions(4, 6)], (10, 0, 0)),
    ([directions(4, 6), directions(1, 2)], (13, 0, 0)),
    ([UsedServiceUnit(cc_total_octets=10, cc_input_octets=4, cc_output_octets=6)], (10, 0, 0)),
    ([UsedServiceUnit(cc_total_octets=0, cc_input_octets=4, cc_output_octets=6)], (10, 0, 0)),
    ([total(10, side=0), directions(4, 6, side=0), directions(3, 4, side=1)], (10, 7, 0)),
    ([total(10, side=1), directions(4, 6, side=1), total(5, side=2), directions(5, 0, side=2)], (0, 10, 5)),
    ([total(10), directions(4, 6, side=1)], (10, 10, 0)),
    (
        [total(10), directions(4, 6, side=0)],
        (10, 0, 0),
    ),  # no Tariff-Change-Usage: no switch, so counted before it (RFC 8506 §8.27)
    ([total(10), UsedServiceUnit(cc_time=30)], (10, 0, 0)),
]


@pytest.mark.parametrize(("reports", "used"), TABLE)
def test_totals_count_else_directions(reports: Sequence[UsedServiceUnit], used: tuple[int, int, int]) -> None:
    for order in permutations(reports):
        assert used_by_tariff(order, Unit.OCTETS) == used


amounts = st.none() | st.integers(0, 2**64 - 1)
reports_of_octets = st.builds(
    UsedServiceUnit,
    st.sampled_from((None, THRESHOLD, OTHER_QUOTA_TYPE)),
    st.sampled_from((None, 0, 1, 2)),
    cc_time=amounts,
    cc_total_octets=amounts,
    cc_input_octets=amounts,
    cc_output_octets=amounts,
    cc_service_specific_units=amounts,
)


@given(st.lists(reports_of_octets, max_size=5))
def test_each_side_of_a_switch_is_counted_separately(reports: list[UsedServiceUnit]) -> None:
    found = used_by_tariff(reports, Unit.OCTETS)
    for side in range(3):
        there = [report for report in reports if (report.tariff_change_usage or 0) == side]
        totals = sum(report.cc_total_octets or 0 for report in there)
        both = sum((report.cc_input_octets or 0) + (report.cc_output_octets or 0) for report in there)
        assert found[side] == min(totals or both, MAX_SESSION_UNITS[Unit.OCTETS])


async def test_ten_megabytes_in_two_reports_are_ten(world: World) -> None:
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=50 * MB, group=10))
    update = octets(want=50 * MB, group=10)
    update.used_service_unit = [
        total(10 * MB, THRESHOLD),
        directions(4 * MB, 6 * MB, OTHER_QUOTA_TYPE),
    ]
    before = await user.credit()
    world.now += 60
    await data.take("U", update)
    assert before - await user.credit() == 10 * PER_MB
    world.now += 60
    await data.take("T", octets(used=0, group=10))
    (record,) = await user.events("charge")
    assert [line["used"] for line in record["svc"]] == [10 * MB]


async def test_several_mscc_with_one_key_are_one_service(world: World) -> None:
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=50 * MB, group=10))
    one, two = octets(group=10), octets(group=10)
    one.used_service_unit, two.used_service_unit = [total(10 * MB)], [directions(4 * MB, 6 * MB)]
    before = await user.credit()
    world.now += 60
    await data.take("T", one, two)
    assert before - await user.credit() == 10 * PER_MB


async def test_a_one_off_debit_reports_on_any_side_of_a_switch(world: World) -> None:
    """Used units in place of requested ones (RFC 8506 §6.3) count, whatever Tariff-Change-Usage says."""
    user = await world.subscriber(20)
    before = await user.credit()
    sent = messages()
    sent.used_service_unit = [UsedServiceUnit(None, side, cc_service_specific_units=1) for side in (0, 1, 2)]
    answer = await user.charged(SMS, "E", 0, sent, sid=world.new_session(), information=sms_to("+38631234567"))
    assert answer.result_code == 2001
    assert before - await user.credit() == 3 * 69_000


async def test_requested_directions_beside_a_total_are_the_total(world: World) -> None:
    user = await world.subscriber(20)
    wish = octets(group=10)
    wish.requested_service_unit = RequestedServiceUnit(
        cc_total_octets=10 * MB, cc_input_octets=4 * MB, cc_output_octets=6 * MB
    )
    opened = await user.data().one("I", wish)
    assert opened.granted_service_unit is not None and opened.granted_service_unit.cc_total_octets == 10 * MB
