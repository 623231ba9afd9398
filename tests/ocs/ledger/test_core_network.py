"""The ledger with the events of a real core network: notices, late use, restricted phases, price switches, refunds,
failover.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocs.catalogue.price import compile_price
from ocs.ledger.audit import audit
from ocs.ledger.contract.charging import UNKNOWN_PLACE, ChargeOutcome, NoFunds
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis import clients
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.requests import Action
from ocs.values.use import Unit
from tests.ocs.ledger.books import (
    EUR,
    MB,
    MONTH,
    MSISDN,
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
from tests.waiting import PATIENCE_S

SID = "pgw.example.net;1"
DEAR = compile_price("dear", unit=Unit.OCTETS, micro_eur=1_000_000, quantity=1_000_000)
CHEAP = compile_price("cheap", unit=Unit.OCTETS, micro_eur=100_000, quantity=1_000_000)


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_url) as ledger:
        yield ledger


class Heard:
    """Notices that are received while the block runs."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        self._queue: asyncio.Queue[Notice] = asyncio.Queue()
        self.notices: list[Notice] = []

    async def __aenter__(self) -> Heard:
        self._task = asyncio.create_task(self._listen())
        async with asyncio.timeout(PATIENCE_S):
            while self._queue.empty():  # subscribed as soon as our own notice arrives
                await self._ledger.announce(Notice("hello", "", 0.0, "", ()))
                await asyncio.sleep(0.02)
        return self

    async def _listen(self) -> None:
        async for notice in self._ledger.notices():
            self._queue.put_nowait(notice)

    async def told(self) -> list[tuple[str, str, list[str]]]:
        """(kind, reason, Session-Ids) of the notices since the last call; `notices` has them in full."""
        await self._ledger.announce(Notice("end", "", 0.0, "", ()))
        self.notices = []
        async with asyncio.timeout(PATIENCE_S):
            while (notice := await self._queue.get()).kind != "end":
                if notice.kind != "hello":
                    self.notices.append(notice)
        await asyncio.sleep(0.05)  # in a cluster, messages of two nodes may overtake each other
        while not self._queue.empty():
            self.notices.append(self._queue.get_nowait())
        return [(n.kind, n.reason, sorted(s.session_id for s in n.sessions)) for n in self.notices]

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def view(ledger: RedisLedger, account_id: str) -> AccountView:
    found = await ledger.read(account_id, **WHEN)
    assert found is not None
    return found


async def ask(
    ledger: RedisLedger, account_id: str, kind: str, number: int, *services: Any, **more: Any
) -> ChargeOutcome:
    return await charge(ledger, request(account_id, kind, number, *services, **more))


# -- notices


async def test_a_top_up_notifies_only_sessions_that_lacked_credit(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=1 * EUR)
    await ask(ledger, account_id, "I", 0, service(want=950_000, price=DEAR), sid="fed")
    route = {"sid": "hungry", "origin_realm": "example.net", "relay": "dra.example.net"}
    last = await ask(ledger, account_id, "I", 0, service(want=5_000_000, price=DEAR, minimum=800_000), **route)
    assert last.services[0].final
    async with Heard(ledger) as heard:
        await ledger.top_up(account_id, amount_micro_eur=EUR, reference="r", **WHEN)
        told = await heard.told()
        assert [each for each in told if each[1] != "reclaim"] == [("reauthorize", "topup", ["hungry"])]
        # In a cluster the update's own notice ("reclaim") may arrive only now.
        notice = next(each for each in heard.notices if each.reason == "topup")
        assert notice.account_id == account_id and notice.at > 0
        assert notice.sessions == (
            NoticedSession("hungry", "pgw.example.net", "example.net", "dra.example.net", "data"),
        )


async def test_changes_notify_every_session(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    for sid in ("a", "b"):
        await ask(ledger, account_id, "I", 0, service(want=1000), sid=sid)
    async with Heard(ledger) as heard:
        await ledger.set_limit(account_id, limit_micro_eur=5 * EUR, **WHEN)
        await ledger.set_bars(account_id, bars=["data"], **WHEN)
        await ledger.set_state(account_id, state="blocked", **WHEN)
        await ledger.set_state(account_id, state="active", **WHEN)
        assert await heard.told() == [
            ("reauthorize", "limit", ["a", "b"]),
            ("reauthorize", "bars", ["a", "b"]),
            ("abort", "state", ["a", "b"]),
            ("reauthorize", "state", ["a", "b"]),
        ]
        await ask(ledger, account_id, "T", 1, sid="a")
        await ledger.terminate_account(account_id, **WHEN)
        assert await heard.told() == [("abort", "state", ["b"])]


async def test_a_session_without_credit_reclaims_what_the_others_hold(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=1 * EUR)
    await ask(ledger, account_id, "I", 0, service(want=1_000_000, price=DEAR), sid="rich")
    async with Heard(ledger) as heard:
        outcome = await ask(ledger, account_id, "I", 0, service(want=100_000, price=DEAR), sid="poor")
        assert (outcome.code, outcome.reason) == (4012, "credit")
        assert await heard.told() == [("reauthorize", "reclaim", ["rich"])]
        await ask(ledger, account_id, "I", 0, service(want=100_000, price=DEAR), sid="poor2")
        assert await heard.told() == []  # at most once a minute
        later = {"now": NOW + 61, "deadline": NOW + 9000}
        await ask(ledger, account_id, "I", 0, service(want=100_000, price=DEAR), sid="poor3", **later)
        assert await heard.told() == [("reauthorize", "reclaim", ["rich"])]


@rule("HOT-CC-3")
async def test_the_reached_spending_limit_notifies_the_other_sessions(ledger: RedisLedger) -> None:
    """HOT-CC-3"""
    account_id = await open_account(ledger)
    await ledger.set_limit(account_id, limit_micro_eur=EUR, **WHEN)
    await ask(ledger, account_id, "I", 0, service(want=100_000, price=DEAR), sid="other")
    await ask(ledger, account_id, "I", 0, service(want=200_000, price=DEAR), sid="eager")
    async with Heard(ledger) as heard:
        await ask(ledger, account_id, "U", 1, service(used=1_500_000, want=200_000, price=DEAR), sid="eager")
        assert ("reauthorize", "threshold", ["other"]) in await heard.told()


# -- sessions: owners, restarts, sessions given up, late use


async def test_only_the_owner_continues_a_session(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=1000), sid="own", owner="pgw.example.net")
    stranger = request(account_id, "U", 1, service(want=1000), sid="own")
    stranger.origin_host = "evil.example.net"
    outcome = await charge(ledger, stranger)
    assert (outcome.code, outcome.reason) == (5002, "owner")
    # Another member of the failover group continues, and gets the RARs from then on.
    await ask(ledger, account_id, "I", 0, service(want=1000), sid="group", owner="pgws")
    member = request(account_id, "U", 1, service(want=1000), sid="group", owner="pgws", origin_realm="b.net")
    member.origin_host = "pgw2.example.net"
    assert (await charge(ledger, member)).code == 2001
    session = next(s for s in (await view(ledger, account_id)).sessions if s.session_id == "group")
    assert (session.origin_host, session.origin_realm) == ("pgw2.example.net", "b.net")


async def test_a_client_that_lost_its_state_may_reuse_a_session_id(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=10 * MB), origin_state_id=7)
    same = await ask(ledger, account_id, "I", 1, service(want=MB), origin_state_id=7)
    assert (same.code, same.reason) == (5012, "open")
    again = await ask(ledger, account_id, "I", 2, service(want=MB), origin_state_id=8)
    assert (again.code, again.held_micro_eur) == (2001, 6_900)
    assert [e["reason"] for e in await journal(ledger) if e["k"] == "expired"] == ["restarted"]


async def test_use_reported_after_the_session_was_given_up_is_still_paid(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=10 * MB), deadline=NOW + 60)
    await ledger.sweep(account_id, now=NOW + 61, month=MONTH)
    assert (await view(ledger, account_id)).held_micro_eur == 0
    ended = await ask(ledger, account_id, "T", 1, service(used=MB), now=NOW + 100)
    assert (ended.code, ended.late, ended.services[0].debited_micro_eur) == (2001, True, 6_900)
    assert (await view(ledger, account_id)).sessions == ()
    # An update reopens the session.
    await ask(ledger, account_id, "I", 0, service(want=10 * MB), sid="b", deadline=NOW + 60)
    assert await ledger.release_session(account_id, "b", reason="lost", **WHEN)
    assert not await ledger.release_session(account_id, "b", reason="lost", **WHEN)
    updated = await ask(ledger, account_id, "U", 1, service(used=MB, want=MB), sid="b")
    assert (updated.code, updated.late, updated.services[0].granted) == (2001, True, MB)
    assert [s.released for s in (await view(ledger, account_id)).sessions] == [False]
    # After an hour it is forgotten.
    await ledger.release_session(account_id, "b", reason="lost", **WHEN)
    await ledger.sweep(account_id, now=NOW + 3601, month=MONTH)
    assert (await view(ledger, account_id)).sessions == ()
    gone = await ask(ledger, account_id, "T", 2, service(used=MB), sid="b", now=NOW + 3602)
    assert gone.code == 5002


async def test_the_number_of_sessions_given_up_at_once_is_bounded(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    for n in range(12):
        await ask(ledger, account_id, "I", 0, service(want=1000), sid=f"s{n:02d}", deadline=NOW + 60 + n)
    await ledger.sweep(account_id, now=NOW + 100, month=MONTH)
    assert [s.session_id for s in (await view(ledger, account_id)).sessions] == [f"s{n:02d}" for n in range(4, 12)]


# -- nothing left to pay from


async def test_a_restricted_phase_ends_with_a_top_up_or_repeats(ledger: RedisLedger) -> None:
    """RFC 8506 §5.6.2"""
    account_id = await open_account(ledger, credit=1 * EUR)
    kept = {"price": DEAR, "restrict": NoFunds.RESTRICT_REPEATEDLY, "retry_want": 500_000}
    last = (await ask(ledger, account_id, "I", 0, service(want=5_000_000, **kept))).services[0]
    assert (last.granted, last.final, last.restricted) == (1_000_000, True, False)
    begun = await ask(ledger, account_id, "U", 1, service(used=1_000_000, **kept))
    assert (begun.credit_micro_eur, begun.services[0].granted, begun.services[0].restricted) == (0, 0, True)
    still = (await ask(ledger, account_id, "U", 2, service(**kept))).services[0]
    assert (still.code, still.granted, still.restricted) == (2001, 0, True)
    await ledger.top_up(account_id, amount_micro_eur=2 * EUR, reference="r", **WHEN)
    freed = (await ask(ledger, account_id, "U", 3, service(**kept))).services[0]
    assert (freed.granted, freed.final, freed.restricted) == (500_000, False, False)


async def test_a_restricted_phase_may_be_given_once_only(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=0)
    kept = {"price": DEAR, "restrict": NoFunds.RESTRICT_ONCE, "retry_want": 500_000}
    opened = await ask(ledger, account_id, "I", 0, service(want=5_000_000, **kept))
    assert (opened.code, opened.services[0].code, opened.services[0].restricted) == (2001, 2001, True)
    ended = (await ask(ledger, account_id, "U", 1, service(**kept))).services[0]
    assert (ended.code, ended.restricted) == (4012, False)


# -- price switches, impossible use, pools, unchanged conditions


async def test_a_grant_over_a_price_switch_is_reserved_at_the_dearer_side(ledger: RedisLedger) -> None:
    """RFC 8506 §5.1.1"""
    account_id = await open_account(ledger, credit=10 * EUR)
    ahead = {"price": CHEAP, "price_after": DEAR, "switch_at": NOW + 100}
    opened = await ask(ledger, account_id, "I", 0, service(want=2_000_000, **ahead))
    assert (opened.held_micro_eur, opened.services[0].span_switch) == (2 * EUR, True)
    used = service(used=1_000_000, used_after=400_000, used_either=100_000, price=DEAR)
    ended = await ask(ledger, account_id, "T", 1, used, now=NOW + 200)
    # Before the switch 1 MB at 0.10, after it 0.4 MB at 1.00; use on either side has the cheaper price.
    assert ended.services[0].debited_micro_eur == 110_000 + 400_000
    lines = [e for e in await journal(ledger) if e["k"] == "charge"][-1]["svc"]
    assert [(line["price"], line["used"]) for line in lines] == [(CHEAP.id, 1_100_000), (DEAR.id, 400_000)]
    assert (await audit(ledger, **WHEN)).ok


async def test_impossible_use_is_not_charged(ledger: RedisLedger) -> None:
    """A first CC-Time that is a time of day is bounded by the elapsed time."""
    account_id = await open_account(ledger, credit=100 * EUR)
    call = {"price": VOICE, "unit": Unit.SECONDS}
    await ask(ledger, account_id, "I", 0, service(want=300, **call))
    updated = await ask(ledger, account_id, "U", 1, service(used=1_795_000_030, want=300, **call), now=NOW + 30)
    assert (updated.services[0].dropped, updated.session_cost_micro_eur) == (1_795_000_000, 60_000)
    honest = await ask(ledger, account_id, "U", 2, service(used=300, want=300, **call), now=NOW + 330)
    assert honest.services[0].dropped == 0
    # Nor more than was granted, however much time has passed.
    again = await ask(ledger, account_id, "T", 3, service(used=1_795_000_900, **call), now=NOW + 900)
    lines = [e for e in await journal(ledger) if e["k"] == "charge"][-1]["svc"]
    assert (lines[0]["used"], again.services[0].dropped) == (30 + 300 + 300, 1_795_000_600)
    assert lines[0]["dropped"] == 1_795_000_000 + 1_795_000_600


async def test_services_of_a_pool_may_use_each_others_grants(ledger: RedisLedger) -> None:
    """RFC 8506 §5.1.2"""
    account_id = await open_account(ledger, credit=1 * EUR)
    both = [service(key=key, want=500_000, price=DEAR) for key in "ab"]
    await ask(ledger, account_id, "I", 0, *both)
    used = [service(900_000, key="a", price=DEAR), service(100_000, key="b", price=DEAR)]
    ended = await ask(ledger, account_id, "T", 1, *used)
    assert [s.debited_micro_eur for s in ended.services] == [900_000, 100_000]
    assert [s.overrun_units for s in ended.services] == [0, 0]


async def test_a_request_without_a_location_is_rated_at_the_sessions(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=10 * EUR)
    await ask(ledger, account_id, "I", 0, service(want=1_000_000, price=DEAR), place="abroad")
    before = await ledger.read(account_id, now=NOW, month=MONTH)
    for kind, expected_location in (("U", "home"), ("U", UNKNOWN_PLACE), ("T", UNKNOWN_PLACE)):
        told = await ask(
            ledger,
            account_id,
            kind,
            1,
            service(5, want=9, price=CHEAP),
            place="home",
            expected_location=expected_location,
        )
        assert (told.code, told.reason, told.place, told.services) == (0, "place", "abroad", ())
    assert await ledger.read(account_id, now=NOW, month=MONTH) == before, "nothing was done"
    grant = service(want=1_000_000, price=DEAR)
    updated = await ask(ledger, account_id, "U", 1, grant, place="abroad", expected_location="abroad")
    assert (updated.code, updated.place) == (2001, "abroad")
    assert (
        await ask(ledger, account_id, "U", 1, grant, place="abroad", expected_location=UNKNOWN_PLACE)
    ).place == "abroad"
    assert (await ask(ledger, account_id, "U", 1, grant, place="abroad", expected_location="abroad")).duplicate
    # A request with a location moves the session, even if another part of the location is missing.
    await ask(ledger, account_id, "U", 2, service(want=9, price=CHEAP), place="home")
    await ask(ledger, account_id, "U", 3, service(want=9, price=CHEAP), place="home 2", expected_location="home")
    assert (
        await ask(ledger, account_id, "U", 4, service(want=9), place="x", expected_location="home")
    ).place == "home 2"
    # Late use after the session's end is rated at its last location too.
    await ask(ledger, account_id, "T", 5, service(0), place="home 2", expected_location="home 2")
    assert (await ask(ledger, account_id, "U", 6, service(want=9), expected_location=UNKNOWN_PLACE)).place == "home 2"
    assert (await ask(ledger, account_id, "U", 6, service(want=9), expected_location="home 2")).code == 5002


# -- one-off requests


async def test_a_balance_check_changes_nothing(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=EUR)
    before, events = await view(ledger, account_id), await journal(ledger)
    enough = await ask(ledger, account_id, "E", 0, service(want=1, price=SMS), action=Action.CHECK)
    assert (enough.code, enough.services[0].code) == (2001, 2001)
    short = await ask(ledger, account_id, "E", 1, service(want=1_000, price=SMS), action=Action.CHECK)
    assert (short.code, short.services[0].code) == (2001, 4012)
    assert await view(ledger, account_id) == before and await journal(ledger) == events
    await ledger.set_state(account_id, state="blocked", **WHEN)
    assert (await ask(ledger, account_id, "E", 2, service(want=1, price=SMS), action=Action.CHECK)).code == 4010
    again = await ask(ledger, account_id, "E", 0, service(want=1, price=SMS), action=Action.CHECK)
    assert again.duplicate and again.services == enough.services, "a repetition is answered as before"


async def test_a_refund_is_bounded_by_its_debit(ledger: RedisLedger) -> None:
    """RFC 8506 §6.4"""
    account_id = await open_account(ledger, credit=EUR)
    paid = await ask(ledger, account_id, "E", 0, service(want=3, price=SMS), sid="sms;1")
    price = paid.services[0].debited_micro_eur // 3

    async def refund(number: int, want: int | None, **more: Any) -> ChargeOutcome:
        asked = {"sid": "sms;2", "action": Action.REFUND, "refund_of": ("sms;1", 0), **more}
        return await ask(ledger, account_id, "E", number, service(want=want, price=SMS), **asked)

    one = await refund(1, 1)
    assert (one.code, one.services[0].granted, one.services[0].debited_micro_eur) == (2001, 1, -price)
    assert (await refund(1, 1)).duplicate
    rest = await refund(2, 99)
    assert (rest.services[0].granted, rest.services[0].debited_micro_eur) == (2, -2 * price)
    nothing = await refund(3, None)
    assert (nothing.code, nothing.reason) == (5012, "nothing_left")
    unknown = await refund(4, 1, refund_of=("sms;9", 0))
    assert (unknown.code, unknown.reason) == (5012, "no_debit")
    found = await view(ledger, account_id)
    assert (found.credit_micro_eur, found.spent_micro_eur, found.spent_month_micro_eur) == (EUR, 0, 0)
    moved = [int(e.get("credit_in", 0)) - int(e.get("debit", 0)) for e in await journal(ledger)]
    assert sum(moved) == EUR
    stranger = await open_account(ledger, 1)
    stolen = request(
        stranger, "E", 5, service(want=1, price=SMS), sid="x", action=Action.REFUND, refund_of=("sms;1", 0)
    )
    assert (await charge(ledger, stolen)).reason in ("no_debit", "nothing_left")


async def test_a_refund_returns_units_to_the_bucket(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, package=PACKAGE)
    event = {"price": DEAR, "buckets": ("SMALL.data",)}
    await ask(ledger, account_id, "E", 0, service(want=MB, **event), sid="e")
    assert [b.left for b in (await view(ledger, account_id)).buckets] == [19 * MB]
    back = await ask(
        *(ledger, account_id, "E", 1, service(want=None, **event)), sid="e", action=Action.REFUND, refund_of=("e", 0)
    )
    assert (back.services[0].granted, back.services[0].debited_units) == (MB, -MB)
    assert [b.left for b in (await view(ledger, account_id)).buckets] == [20 * MB]


# -- the end of an account


@rule("HOT-ACC-6")
async def test_a_terminated_account_loses_its_credit_and_frees_its_number(ledger: RedisLedger) -> None:
    """HOT-ACC-6"""
    account_id = await open_account(ledger, package=PACKAGE)
    await ask(ledger, account_id, "I", 0, service(want=10 * MB))
    await ledger.terminate_account(account_id, **WHEN)
    found = await view(ledger, account_id)
    assert (found.state, found.credit_micro_eur, found.held_micro_eur, found.buckets) == ("terminated", 0, 0, ())
    assert found.expired_micro_eur == 17 * EUR and (await audit(ledger, **WHEN)).ok
    assert await ledger.find_subscriber("m" + MSISDN) is None
    await ledger.terminate_account(account_id, **WHEN)
    with pytest.raises(LedgerError) as error:
        await ledger.top_up(account_id, amount_micro_eur=EUR, reference="r", **WHEN)
    assert error.value.code == "state"
    assert await open_account(ledger, entropy=99) != account_id


async def test_origin_states_are_remembered(ledger: RedisLedger) -> None:
    await ledger.note_origin_state("PGW.example.net", 8, now=NOW)
    await ledger.note_origin_state("pgw.example.net", 9, now=NOW + 1)
    await ledger.note_origin_state("pgw.example.net", 7, relay="DRA.example.net", now=NOW + 2)
    assert await ledger.origin_states() == {
        ("pgw.example.net", ""): (9, NOW + 1),
        ("pgw.example.net", "dra.example.net"): (7, NOW + 2),
    }


async def test_hosts_invented_behind_relays_displace_no_connected_client(
    ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "MAX_RELAYED_ORIGIN_STATES", 3)
    for number in range(6):
        await ledger.note_origin_state(f"made.up{number}", 1, relay="dra.example.net", now=NOW)
    await ledger.note_origin_state("pgw.example.net", 1, now=NOW)
    states = await ledger.origin_states()
    assert len(states) == 4 and ("pgw.example.net", "") in states


# -- more cases


async def test_a_number_given_to_another_account_is_looked_up_again(ledger: RedisLedger) -> None:
    ended = await open_account(ledger)
    await ledger.terminate_account(ended, **WHEN)
    await open_account(ledger, entropy=99)
    stale = await ask(ledger, ended, "I", 0, service(want=MB), identity="m" + MSISDN)
    assert (stale.code, stale.reason) == (0, "identity")


async def test_a_balance_check_returns_the_available_credit(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=140_000)
    looked = await ask(ledger, account_id, "E", 0, service(want=1, price=SMS), action=Action.CHECK)
    assert (looked.credit_micro_eur, looked.services[0].debited_micro_eur) == (140_000, 0)


async def test_the_number_of_sessions_given_up_one_by_one_is_bounded(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    for n in range(30):
        await ask(ledger, account_id, "I", 0, service(want=1000), sid=f"s{n}")
        assert await ledger.release_session(account_id, f"s{n}", reason="lost", **WHEN)
    assert len((await view(ledger, account_id)).sessions) == 8


async def test_a_session_that_replaces_another_does_not_repeat_its_answers(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 5, service(want=MB), origin_state_id=1)
    await ask(ledger, account_id, "U", 6, service(used=1024, want=MB), origin_state_id=1)
    await ask(ledger, account_id, "I", 0, service(want=MB), origin_state_id=2)
    fresh = await ask(ledger, account_id, "U", 6, service(used=MB, want=MB), origin_state_id=2)
    assert not fresh.duplicate and fresh.services[0].debited_micro_eur == 6_900


async def test_an_old_update_of_a_session_given_up_is_not_applied_twice(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB))
    await ask(ledger, account_id, "U", 1, service(used=1024, want=MB))
    await ledger.release_session(account_id, SID, reason="lost", **WHEN)
    partition, key = ledger._answers_key(account_id, SID, "pgw.example.net")
    assert await ledger._ask("test", partition, b"DEL", key) == 1
    again = await ask(ledger, account_id, "U", 1, service(used=1024, want=MB))
    assert (again.code, again.reason) == (5012, "late")
    assert (await ask(ledger, account_id, "U", 2, service(used=1024, want=MB))).late
