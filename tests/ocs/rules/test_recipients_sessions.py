"""Sessions of messages to several recipients: holds, grants, and charging of reports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.charging.prepare import prepare
from ocs.charging.prepared import Terms
from ocs.charging.service import ChargingService
from ocs.charging.usage_context import usage_context_of
from ocs.ledger.contract.charging import ChargeRequest
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.operations import ChargeDone
from ocs.ledger.redis.ledger import RedisLedger
from ocs.settings.profile import STANDARD, FinalUnit
from ocs.values.requests import RequestType
from ocs.values.use import Context
from protocol.credit_control import UsedServiceUnit
from tests.ocs.charging.ccr import HOME, SMS, ccr, messages
from tests.ocs.charging.source import Origin
from tests.ocs.rules.recipients import (
    BOTH_CONTEXTS,
    BOTH_LEVELS,
    FIXED_CATALOGUE,
    OF_SMS,
    PRICES,
    SI,
    SPELLINGS,
    UA,
    US,
    granted,
    send,
    to,
)
from tests.ocs.rules.world import EUR, START, World


@pytest.mark.parametrize("others", [(), (US,)])
@pytest.mark.parametrize("spellings", SPELLINGS)
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_recipient_may_be_written_differently_in_a_termination(
    world: World, spellings: Sequence[str], others: tuple[str, ...], elsewhere: bool
) -> None:
    """The termination repeats the recipients of the opening."""
    user, units = await world.subscriber(20), 1 + len(others)
    opened = await send(user, *spellings, *others, units=units, kind="I", sid="s;1")
    assert (opened.result_code, granted(opened)) == (2001, units)
    cost = sum(OF_SMS[one] for one in (SI, *others))
    assert (await user.view()).held_micro_eur == cost
    if elsewhere:
        world.service = ChargingService(world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn)
    ended = await send(user, *spellings, *others, kind="T", used=units, number=1, sid="s;1")
    assert ended.result_code == 2001
    view = await user.view()
    assert (20 * EUR - view.credit_micro_eur, view.held_micro_eur) == (cost, 0)


@BOTH_LEVELS
@BOTH_CONTEXTS
@pytest.mark.parametrize(
    ("wish", "used", "shares"),
    [
        (3, 3, (1, 1, 1)),
        (None, 3, (1, 1, 1)),
        (1, 1, (1, 1, 1)),
        (2, 2, (2, 2, 2)),
        (6, 6, (2, 2, 2)),
        (3, 2, (1, 1, 0)),
        (3, 0, (0, 0, 0)),
        (1, 0, (0, 0, 0)),
        (1, 3, (1, 1, 1)),
        (1, 2, (1, 1, 0)),
        (1, 4, (2, 1, 1)),
        (2, 1, (1, 1, 1)),
        (2, 3, (1, 1, 1)),
        (2, 7, (3, 2, 2)),
        (3, 1, (1, 0, 0)),
    ],
)
@pytest.mark.parametrize("said", ["all again", "nothing", "the first", "to another worker"])
async def test_a_session_keeps_the_recipients_of_its_opening(
    world: World, context: str, wish: int | None, used: int, shares: tuple[int, ...], mscc: bool, said: str
) -> None:
    """The opening's recipients count, whatever the termination says and whichever worker handles it."""
    user = await world.subscriber(20)
    prices = [PRICES[context][recipient] for recipient in (SI, UA, US)]
    rest: dict[str, Any] = {"context": context, "mscc": mscc, "sid": "mmsc;1"}
    opened = await send(user, SI, UA, US, units=wish, kind="I", **rest)
    assert (opened.result_code, granted(opened)) == (2001, wish or 3)
    held = (await user.view()).held_micro_eur
    assert held == sum(prices) * (2 if wish in (2, 6) else 1)
    if said == "nothing":
        rest["information"] = None
    elif said == "the first":
        rest["information"] = to(SI, context=context)
    elif said == "to another worker":
        world.service = ChargingService(world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn)
    ended = await send(user, SI, UA, US, kind="T", used=used, number=1, **rest)
    assert ended.result_code == 2001
    assert [mscc.result_code for mscc in ended.multiple_services_credit_control] == [2001] * mscc
    cost = sum(share * price for share, price in zip(shares, prices, strict=True))
    assert 20 * EUR - await user.credit() == cost
    assert (await user.view()).held_micro_eur == 0
    (record,) = await user.events("charge")
    lines = {line["detail"]: line["used"] for line in record["svc"]}
    parties = [f"{HOME} mo {one}" for one in (SI, UA, US)]
    assert lines == {party: share for party, share in zip(parties, shares, strict=True) if share or party in lines}


async def test_a_message_that_cannot_be_paid_in_full_is_not_granted(world: World) -> None:
    user = await world.subscriber(0.30)
    opened = await send(user, SI, UA, US, units=3, kind="I", sid="s;1")
    (mscc,) = opened.multiple_services_credit_control
    assert (opened.result_code, mscc.result_code, mscc.granted_service_unit) == (2001, 4012, None)
    ended = await send(user, SI, UA, US, kind="T", used=0, number=1, sid="s;1")
    assert ended.result_code == 2001
    view = await user.view()
    assert (view.credit_micro_eur, view.held_micro_eur) == (300_000, 0)


@BOTH_LEVELS
@pytest.mark.parametrize("order", [(SI, US), (US, SI)])
@pytest.mark.parametrize("final", [FinalUnit.TERMINATE, FinalUnit.REDIRECT])
@pytest.mark.parametrize("units", [2, 1])
async def test_nothing_is_held_for_a_message_that_is_refused(
    world: World, order: Sequence[str], final: FinalUnit, units: int, mscc: bool
) -> None:
    profile = replace(STANDARD, final_unit=final, redirect_address="http://topup.example.net", remaining_balance=True)
    world.source = Origin(profile=profile)
    user = await world.subscriber(0.10)
    rest: dict[str, Any] = {"sid": "s;1", "mscc": mscc}
    asked = [await send(user, *order, units=units, kind="I", **rest)]
    assert (await user.view()).held_micro_eur == 0
    for number in range(1, 13):
        asked.append(await send(user, *order, units=units, kind="U", number=number, **rest))
        assert (await user.view()).held_micro_eur == 0
    assert [await send(user, *order, units=units, kind="U", number=12, **rest)] == asked[-1:], "it comes again"
    for answer in asked:
        found = answer.multiple_services_credit_control[0] if mscc else answer
        assert (answer.result_code == 2001) or not mscc
        assert found.result_code in ((4012,) if final is FinalUnit.TERMINATE else (2001, 4012))
        assert found.granted_service_unit is None
        assert answer.remaining_balance is not None and answer.remaining_balance.unit_value.value_digits == 100_000
    assert world.metrics.of("granted") == []
    await user.top_up(1, "r1")
    paid = await send(user, *order, units=units, kind="U", number=13, **rest)
    assert granted(paid) == units and (await user.view()).held_micro_eur == 219_000
    await send(user, *order, kind="T", used=units, number=14, **rest)
    view = await user.view()
    assert (view.credit_micro_eur, view.held_micro_eur, view.sessions) == (1_100_000 - 219_000, 0, ())


async def test_the_opening_is_paid_if_the_next_message_is_refused(world: World) -> None:
    user = await world.subscriber(0.30)
    assert granted(await send(user, SI, US, units=2, kind="I", sid="s;1")) == 2
    refused = await send(user, SI, US, units=2, used=2, kind="U", number=1, sid="s;1")
    assert (refused.multiple_services_credit_control[0].result_code, granted(refused)) == (4012, None)
    view = await user.view()
    assert (view.credit_micro_eur, view.held_micro_eur) == (81_000, 0)
    assert (await send(user, SI, US, used=0, kind="T", number=2, sid="s;1")).result_code == 2001
    assert await user.credit() == 81_000


async def test_a_refused_opening_is_repeated(world: World) -> None:
    user = await world.subscriber(0.10)
    first = await send(user, SI, US, units=2, kind="I", sid="s;1")
    for _ in range(2):
        assert await send(user, SI, US, units=2, kind="I", sid="s;1") == first
    view = await user.view()
    assert (view.held_micro_eur, len(view.sessions)) == (0, 1)
    await send(user, SI, US, used=0, kind="T", number=1, sid="s;1")
    assert (await user.view()).sessions == ()


class Forgetful:
    """A ledger that is unavailable for requests that the server itself makes."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        self.find_subscriber, self.find_session = ledger.find_subscriber, ledger.find_session
        self.lost: list[int] = []

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        if request.type is RequestType.UPDATE and (request.number == 0 or request.number >= 2**32):
            self.lost.append(request.number)
            asyncio.get_running_loop().call_soon(done, LedgerUnavailable("gone"))
        else:
            self._ledger.charge(request, done)


async def test_holds_that_could_not_be_returned_are_returned_by_the_next_request(world: World) -> None:
    user, ledger = await world.subscriber(0.10), Forgetful(world.ledger)
    world.service = ChargingService(world.catalogue, ledger, world.metrics, lambda: world.now, world._spawn)
    for number, kind in enumerate("IUU"):
        answer = await send(user, SI, US, units=2, kind=kind, number=number, sid="s;1")
        assert answer.multiple_services_credit_control[0].result_code == 4012
    assert len(set(ledger.lost)) == 3
    assert (await user.view()).held_micro_eur == OF_SMS[SI]
    await send(user, SI, US, used=0, kind="T", number=3, sid="s;1")
    view = await user.view()
    assert (view.credit_micro_eur, view.held_micro_eur) == (100_000, 0)


async def test_updates_of_a_message_that_is_counted_once(world: World) -> None:
    """A report refers to each recipient, up to the amount last requested."""
    user = await world.subscriber(20)
    steps = [
        ("I", 1, None, 0),
        ("U", 2, 1, 1),
        ("U", 1, 2, 2),
        ("U", 3, 2, None),
        ("U", 1, 3, 1),
    ]
    cost = 0
    for number, (kind, want, used, each) in enumerate(steps):
        answer = await send(user, SI, UA, US, units=want, used=used, kind=kind, number=number, sid="s;1")
        assert granted(answer) == want
        cost += 219_000 if each is None else each * 369_000
        view = await user.view()
        assert (20 * EUR - view.credit_micro_eur, view.held_micro_eur) == (cost, 369_000 * (2 if want == 2 else 1))


@given(st.lists(st.integers(0, 9), min_size=3, max_size=3), st.integers(2, 9), st.integers(0, 9), st.booleans())
def test_reports_are_divided_among_recipients_within_the_grant(
    reports: list[int], among: int, counted_once: int, ends: bool
) -> None:
    recipients = [f"+386401112{number:02}" for number in range(among)]
    counted_once = min(counted_once, among - 1)
    service = messages()
    service.used_service_unit = [
        UsedServiceUnit(tariff_change_usage=side, cc_service_specific_units=amount)
        for side, amount in enumerate(reports)
    ]
    request = ccr("T" if ends else "U", 1, service, context=SMS, information=to(*recipients))
    where = usage_context_of(Context.SMS, request)
    where.counted_once = counted_once
    found = [service.charge for service in prepare(request, where, FIXED_CATALOGUE, Terms(START)).services]
    shares = [charge.reported for charge in found if charge is not None]
    used = sum(reports)
    if 0 < used <= counted_once:
        assert shares == [used] * among
    else:
        assert sum(shares) == used and max(shares) - min(shares) <= 1 and shares == sorted(shares, reverse=True)
        sides = [[charge.used, charge.used_after, charge.used_either] for charge in found if charge is not None]
        assert [sum(side) for side in zip(*sides, strict=True)] == reports


async def test_a_session_with_nothing_to_pay_from_is_not_opened(world: World) -> None:
    user = await world.subscriber(0)
    assert (await send(user, SI, UA, units=2, kind="I", sid="s;1")).result_code == 4012
    assert (await user.view()).sessions == ()


async def test_other_units_that_a_session_reports_are_counted_once(world: World) -> None:
    user = await world.subscriber(20)
    await send(user, SI, UA, units=2, kind="I", sid="s;1")
    report = messages()
    report.used_service_unit = [UsedServiceUnit(cc_time=60)]
    await user.charged(SMS, "T", 1, report, sid="s;1", information=to(SI, UA))
    assert world.metrics.of("other_units") == [["sms", "seconds", 60]]
