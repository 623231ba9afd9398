"""How reported use is paid: late, overtaken or impossible reports, price switches of one rate, services that share,
supervision.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocs.catalogue.price import compile_price, free_price
from ocs.ledger.audit import audit
from ocs.ledger.contract.charging import ChargeOutcome, NoFunds
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.use import Unit
from tests.ocs.ledger.books import (
    EUR,
    MB,
    MONTH,
    NOW,
    PACKAGE,
    SMS,
    VOICE,
    WHEN,
    charge,
    empty_ledger,
    journal,
    open_account,
    request,
    service,
)
from tests.rules import rule

HOME = compile_price("home", unit=Unit.OCTETS, micro_eur=6_900, quantity=MB)
ABROAD = compile_price("abroad", unit=Unit.OCTETS, micro_eur=2_900_000, quantity=MB)
DAY, NIGHT = (compile_price("call", unit=Unit.SECONDS, micro_eur=m, quantity=60, first=60) for m in (60_000, 30_000))
FLAT_DAY, FLAT_NIGHT = (
    compile_price("show", unit=Unit.SECONDS, micro_eur=micro_eur, quantity=1, flat=True)
    for micro_eur in (2 * EUR, 300_000)
)
SECONDS: dict[str, Any] = {"unit": Unit.SECONDS}


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_url) as ledger:
        yield ledger
        assert (await audit(ledger, **WHEN)).ok


async def ask(
    ledger: RedisLedger, account_id: str, kind: str, number: int, *services: Any, after: int = 0, **more: Any
) -> ChargeOutcome:
    when = {"now": NOW + after, "deadline": NOW + after + 7200, **more}
    return await charge(ledger, request(account_id, kind, number, *services, **when))


async def spent(ledger: RedisLedger, account_id: str) -> int:
    view = await ledger.read(account_id, now=NOW, month=MONTH)
    assert view is not None
    return view.spent_micro_eur


async def last_lines(ledger: RedisLedger) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [event for event in await journal(ledger) if event["k"] == "charge"][-1]["svc"]
    return lines


# -- one rate, several prices (HOT-PKG-5: use is rounded per session)


async def test_a_call_over_a_price_switch_pays_its_first_step_once(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    ahead = {"price": DAY, "price_after": NIGHT, "switch_at": NOW + 30}
    await ask(ledger, account_id, "I", 0, service(want=300, **ahead))
    await ask(ledger, account_id, "T", 1, service(used=30, used_after=60, price=NIGHT), after=90)
    # 60 s for the first step by day, 30 s by night: 90 s in all.
    assert await spent(ledger, account_id) == 60_000 + 15_000


async def test_a_price_per_call_is_paid_once_whatever_the_hour(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    ahead = {"price": FLAT_DAY, "price_after": FLAT_NIGHT, "switch_at": NOW + 30}
    opened = await ask(ledger, account_id, "I", 0, service(want=300, **ahead))
    assert opened.held_micro_eur == 2 * EUR
    await ask(ledger, account_id, "U", 1, service(used=30, used_after=20, want=300, price=FLAT_NIGHT), after=50)
    await ask(ledger, account_id, "T", 2, service(used=100, price=FLAT_NIGHT), after=150)
    assert await spent(ledger, account_id) == 2 * EUR


async def test_time_reported_over_a_switch_is_split_by_the_clock(ledger: RedisLedger) -> None:
    """A grant of time ends at the switch. A late report over the switch is split by time and rated on each side (RFC
    8506 §5.1.1).
    """
    account_id = await open_account(ledger)
    ends = {"price": DAY, "price_after": NIGHT, "switch_at": NOW + 90, "spans": False, **SECONDS}
    opened = await ask(ledger, account_id, "I", 0, service(want=300, **ends))
    assert not opened.services[0].span_switch
    await ask(ledger, account_id, "U", 1, service(used=60, want=300, **ends), after=60)
    # 600 s more: 30 s by day, 570 s by night.
    await ask(ledger, account_id, "T", 2, service(used=600, price=NIGHT, **SECONDS), after=700)
    assert await spent(ledger, account_id) == 90_000 + 285_000
    used = {line["price"]: line["used"] for line in await last_lines(ledger)}
    assert used == {DAY.id: 60 + 30, NIGHT.id: 570}


# -- impossible reports


async def test_time_of_a_service_added_later_counts_from_its_start(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=300, key="1", price=DAY, **SECONDS))
    joins = service(want=600, key="2", price=DAY, switch_at=NOW + 1860, price_after=NIGHT, spans=False, **SECONDS)
    await ask(ledger, account_id, "U", 1, joins, after=1800)
    await ask(ledger, account_id, "T", 2, service(used=600, key="2", price=NIGHT, **SECONDS), after=2400)
    assert await spent(ledger, account_id) == 60 * 1_000 + 540 * 500


async def test_use_after_an_unrateable_report_is_charged(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB, key="1", price=HOME))
    unrated = service(used=MB, key="2", price=free_price("unrated", Unit.OCTETS))
    unrated.label = "unrated"
    await ask(ledger, account_id, "U", 1, unrated)
    await ask(ledger, account_id, "U", 2, service(used=MB, want=MB, key="2", price=HOME))
    assert await spent(ledger, account_id) == 6_900


async def test_two_reports_after_an_outage_are_both_charged(ledger: RedisLedger) -> None:
    """A client that continued by itself sends its stored reports one after the other (RFC 8506 §5.7)."""
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=300, price=VOICE, **SECONDS))
    for number in (1, 2):
        late = await ask(
            ledger, account_id, "U", number, service(used=600, want=300, price=VOICE, **SECONDS), after=1200
        )
        assert late.services[0].dropped == 0
    assert await spent(ledger, account_id) == 1_200_000


async def test_absurd_octets_and_messages_are_not_charged(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    octets, messages = {"price": HOME, "max_rate": 1_250_000_000}, {"price": SMS, "unit": Unit.MESSAGES}
    both = service(want=10 * MB, **octets), service(want=1, key="sms", **messages)
    await ask(ledger, account_id, "I", 0, *both)
    used = service(used=2**44, **octets), service(used=2**20, key="sms", **messages)
    ended = await ask(ledger, account_id, "T", 1, *used, after=1)
    assert [s.dropped for s in ended.services] == [2**44 - 10 * MB, 2**20 - 1]
    assert await spent(ledger, account_id) == 69_000 + 70_000
    # A long message has more parts than were requested.
    await ask(ledger, account_id, "I", 0, service(want=1, **messages), sid="sms")
    parts = await ask(ledger, account_id, "T", 1, service(used=5, **messages), sid="sms")
    assert (parts.services[0].dropped, parts.services[0].debited_micro_eur) == (0, 350_000)


# -- requests that overtake each other


async def test_an_overtaken_update_is_rated_at_its_own_location(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=10 * MB, price=HOME), place="home")
    await ask(ledger, account_id, "U", 3, service(used=MB, want=MB, price=ABROAD), place="abroad")
    late = await ask(ledger, account_id, "U", 2, service(used=10 * MB, want=MB, price=HOME), place="home")
    assert late.services[0].debited_micro_eur == 69_000, "used at home"
    told = await ask(ledger, account_id, "U", 4, service(used=MB, price=HOME), place="home", expected_location="home")
    assert (told.reason, told.place) == ("place", "abroad"), "the session is where the later one said"
    ended = await ask(ledger, account_id, "T", 5, service(used=MB, price=HOME), place="home")
    assert ended.services[0].debited_micro_eur == 2_900_000, "and so is the price in force"


async def test_an_overtaken_update_without_a_location_has_the_price_in_force(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=10 * MB, price=HOME), place="home")
    await ask(ledger, account_id, "U", 3, service(want=MB, price=ABROAD), place="abroad")
    late = await ask(
        ledger, account_id, "U", 2, service(used=MB, price=ABROAD), place="abroad", expected_location="abroad"
    )
    assert late.services[0].debited_micro_eur == 2_900_000


async def test_a_termination_with_a_low_number_is_applied(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB, price=HOME))
    await ask(ledger, account_id, "U", 100, service(want=MB, price=HOME))
    assert (await ask(ledger, account_id, "U", 1, service(used=MB, price=HOME))).reason == "late"
    ended = await ask(ledger, account_id, "T", 1, service(used=MB, price=HOME))
    assert (ended.code, ended.services[0].debited_micro_eur, ended.held_micro_eur) == (2001, 6_900, 0)


# -- services that share


async def test_use_reported_for_a_pool_is_paid_from_all_its_holds(ledger: RedisLedger) -> None:
    """RFC 8506 §5.1.2: one service may use the grants of the others, and report alone."""
    account_id = await open_account(ledger, credit=20 * 6_900)
    two = [service(want=10 * MB, key=key, price=HOME) for key in "ab"]
    await ask(ledger, account_id, "I", 0, *two)
    alone = await ask(ledger, account_id, "U", 1, service(used=18 * MB, want=MB, key="a", price=HOME))
    assert (alone.services[0].overrun_units, alone.services[0].debited_micro_eur) == (0, 18 * 6_900)
    rest = await ask(ledger, account_id, "T", 2, service(used=2 * MB, key="b", price=HOME))
    assert (rest.services[0].overrun_units, rest.credit_micro_eur, rest.held_micro_eur) == (0, 0, 0)


async def test_included_units_held_by_the_pool_pay(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=3 * EUR, package=PACKAGE)
    kept = {"price": HOME, "buckets": ("SMALL.data",)}
    await ask(ledger, account_id, "I", 0, *(service(want=10 * MB, key=key, **kept) for key in "ab"))
    alone = await ask(ledger, account_id, "T", 1, service(used=20 * MB, key="a", **kept))
    assert (alone.services[0].debited_micro_eur, alone.services[0].overrun_units) == (0, 0)
    assert 0 <= 20 * MB - alone.services[0].debited_units < 100, "the first octets cost nothing anyway"


async def test_a_service_beyond_the_bound_is_settled(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, *(service(want=1024, key=str(n), price=HOME) for n in range(64)))
    ended = await ask(ledger, account_id, "T", 1, service(used=10 * MB, key="one more", price=HOME))
    assert (ended.services[0].code, ended.services[0].debited_micro_eur) == (5006, 69_000)


# -- supervision (Tcc, RFC 8506 §13)


async def test_the_longest_running_validity_supervises_the_session(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB, price=HOME), service(want=MB, key="2", price=HOME))
    await ask(ledger, account_id, "U", 1, service(want=MB, key="2", price=HOME), after=10, deadline=NOW + 610)
    view = await ledger.read(account_id, **WHEN)
    assert view is not None and view.sessions[0].deadline == NOW + 7200, "the first grant lives on"
    await ask(ledger, account_id, "U", 2, service(key="1", price=HOME), after=20, deadline=NOW + 620)
    view = await ledger.read(account_id, **WHEN)
    assert view is not None and view.sessions[0].deadline == NOW + 620, "it was given back"


async def test_a_refused_update_of_a_blocked_account_gives_up_the_session(ledger: RedisLedger) -> None:
    """RFC 8506 §7: an update without success releases all reservations. Use is debited, late use too."""
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB, price=HOME), service(want=MB, key="2", price=HOME))
    await ledger.set_state(account_id, state="blocked", **WHEN)
    refused = await ask(ledger, account_id, "U", 1, service(used=MB, want=MB, price=HOME))
    assert (refused.code, refused.reason) == (4010, "state")
    view = await ledger.read(account_id, **WHEN)
    assert view is not None and view.held_micro_eur == 0 and view.sessions[0].released
    ended = await ask(ledger, account_id, "T", 2, service(used=MB, key="2", price=HOME))
    assert (ended.code, ended.late) == (2001, True)
    assert await spent(ledger, account_id) == 2 * 6_900


# -- final units and a top-up (RFC 8506 §5.6)


async def test_final_units_in_use_are_renewed_after_a_top_up(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=6_900)
    more: dict[str, Any] = {"price": HOME, "restrict": NoFunds.RESTRICT_REPEATEDLY, "retry_want": 2 * MB}
    opened = await ask(ledger, account_id, "I", 0, service(want=10 * MB, **more))
    assert opened.services[0].final
    await ledger.top_up(account_id, amount_micro_eur=EUR, reference="r", **WHEN)
    asked = await ask(ledger, account_id, "U", 1, service(**more))
    assert (asked.services[0].granted, asked.services[0].restricted) == (2 * MB, False)
    # A report of the last units that requests no more begins the restricted phase.
    begun = await ask(ledger, account_id, "U", 2, service(used=MB, want=200 * MB, **more))
    assert begun.services[0].final
    restricted = await ask(ledger, account_id, "U", 3, service(used=MB, **more))
    assert restricted.services[0].restricted


@rule("HOT-RAT-2")
async def test_an_update_without_the_emergency_mark_stays_an_emergency(ledger: RedisLedger) -> None:
    """HOT-RAT-2: the outcome names the session's location, and the request is sent again with it."""
    account_id, call = await open_account(ledger), "mo\x1f{}\x1f29340\x1f\x1f\x1f+38631234567"
    await ask(ledger, account_id, "I", 0, service(want=60, price=VOICE), place=call.format("1"))
    for kind in ("U", "T"):
        told = await ask(ledger, account_id, kind, 1, service(used=60, price=VOICE), place=call.format(""))
        assert (told.code, told.reason, told.place) == (0, "place", call.format("1"))
    assert (await ask(ledger, account_id, "U", 1, service(used=60, price=VOICE), place=call.format("1"))).code == 2001
