"""Sessions and one-off requests belong to the client that made them: no other client continues, repeats or refunds
them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ocs.ledger.audit import audit
from ocs.ledger.contract.charging import ChargeOutcome
from ocs.ledger.redis.keys import session_name
from ocs.ledger.redis.ledger import RedisLedger
from ocs.values.requests import Action
from tests.ocs.ledger.books import EUR, MB, SMS, WHEN, charge, empty_ledger, keys_of, open_account, request, service

OTHER = "evil.example.net"


@pytest.fixture
async def ledger(redis_url: str) -> AsyncIterator[RedisLedger]:
    async with empty_ledger(redis_url, remember_sessions_s=1000, remember_events_s=50_000) as ledger:
        yield ledger
        assert (await audit(ledger, **WHEN)).ok


async def ask(
    ledger: RedisLedger, account_id: str, kind: str, number: int, *services: Any, host: str = "", **more: Any
) -> ChargeOutcome:
    asked = request(account_id, kind, number, *services, **more)
    asked.origin_host = host or asked.origin_host
    return await charge(ledger, asked)


def sms(want: int | None = 1, **more: Any) -> Any:
    return service(want=want, price=SMS, **more)


def test_owners_by_client_and_failover_group() -> None:
    assert session_name("PGW.example.net;1;2", "pgw.example.net") == b"PGW.example.net;1;2"
    assert session_name("pgw.example.net", "pgw.example.net") == b"pgw.example.net pgw.example.net"
    assert session_name("pgw.example.net.evil;1", "pgw.example.net") == b"pgw.example.net pgw.example.net.evil;1"
    assert session_name("pgw.example.net;1", "group") == b"group pgw.example.net;1"


async def test_another_client_gets_no_answer_of_a_session(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB), origin_state_id=5)
    await ask(ledger, account_id, "U", 1, service(used=1024, want=MB), origin_state_id=5)
    before = await ledger.read(account_id, **WHEN)
    for kind, number, state in (("I", 0, 0), ("I", 0, 6), ("I", 7, 6), ("U", 1, 5), ("U", 2, 5), ("T", 2, 5)):
        told = await ask(ledger, account_id, kind, number, service(want=MB), host=OTHER, origin_state_id=state)
        assert (told.code, told.reason, told.duplicate) == (5002, "owner", False)
    assert await ledger.read(account_id, **WHEN) == before
    assert (await ask(ledger, account_id, "U", 1, service(used=1024), host="PGW.example.net")).duplicate, (
        "the same host"
    )
    await ask(ledger, account_id, "T", 2, service(used=1024))
    assert (await ask(ledger, account_id, "T", 2, service(used=1024), host=OTHER)).code == 5002
    assert await ledger.find_session("pgw.example.net;1", "pgw.example.net") == account_id


async def test_clients_of_a_group_go_on_with_each_others_sessions(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB), owner="pgws")
    repeated = await ask(ledger, account_id, "I", 0, service(want=MB), owner="pgws", host="pgw2.example.net")
    assert repeated.duplicate
    ended = await ask(ledger, account_id, "T", 1, service(used=MB), owner="pgws", host="pgw2.example.net")
    assert ended.code == 2001


async def test_a_group_may_have_the_name_of_a_member(ledger: RedisLedger) -> None:
    account_id, first = await open_account(ledger), "pgw.example.net"
    await ask(ledger, account_id, "I", 0, service(want=MB), owner=first)
    for number, host in enumerate(("pgw2.example.net", "pgw3.example.net", first, "pgw2.example.net"), 1):
        updated = await ask(ledger, account_id, "U", number, service(used=1024, want=MB), owner=first, host=host)
        assert (updated.code, updated.duplicate) == (2001, False)


async def test_a_client_that_lost_its_state_begins_with_the_same_number(ledger: RedisLedger) -> None:
    """RFC 6733 §8.6: CC-Request-Number 0 again, and a higher Origin-State-Id."""
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "I", 0, service(want=MB), origin_state_id=5)
    await ask(ledger, account_id, "U", 1, service(used=MB, want=MB), origin_state_id=5)
    again = await ask(ledger, account_id, "I", 0, service(want=MB), origin_state_id=5, retransmitted=True)
    assert again.duplicate
    anew = await ask(ledger, account_id, "I", 0, service(want=MB), origin_state_id=6)
    assert not anew.duplicate and anew.session_cost_micro_eur == 0
    used = await ask(ledger, account_id, "U", 1, service(used=MB, want=MB), origin_state_id=6)
    assert not used.duplicate and used.services[0].debited_micro_eur == 6_900
    again = await ask(ledger, account_id, "I", 0, service(want=MB), origin_state_id=6, retransmitted=True)
    assert again.duplicate


async def test_each_requested_action_has_its_own_numbers(ledger: RedisLedger) -> None:
    """Most clients number every event 0 (RFC 8506 §8.2)."""
    account_id = await open_account(ledger, credit=EUR)
    of = {"sid": "sms;1", "refund_of": ("sms;1", 0)}
    checked = await ask(ledger, account_id, "E", 0, sms(1_000), sid="sms;1", action=Action.CHECK)
    assert checked.services[0].code == 4012
    paid = await ask(ledger, account_id, "E", 0, sms(), sid="sms;1")
    assert not paid.duplicate and paid.services[0].debited_micro_eur == 70_000
    back = await ask(ledger, account_id, "E", 0, sms(), action=Action.REFUND, **of)
    assert not back.duplicate and back.services[0].debited_micro_eur == -70_000
    assert (await ask(ledger, account_id, "E", 0, sms(), action=Action.REFUND, **of)).duplicate
    assert (await ask(ledger, account_id, "E", 0, sms(), sid="sms;1")).duplicate
    view = await ledger.read(account_id, **WHEN)
    assert view is not None and view.credit_micro_eur == EUR


async def test_events_of_two_clients_are_no_repetitions_of_each_other(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=EUR)
    for host in ("smsc1.example.net", "smsc2.example.net"):
        paid = await ask(ledger, account_id, "E", 0, sms(), sid="x;1", host=host)
        assert (paid.duplicate, paid.services[0].debited_micro_eur) == (False, 70_000)
    stolen = {"sid": "y", "action": Action.REFUND, "refund_of": ("x;1", 0)}
    assert (await ask(ledger, account_id, "E", 1, sms(), host=OTHER, **stolen)).reason == "no_debit"
    assert (await ask(ledger, account_id, "E", 1, sms(), host="smsc1.example.net", **stolen)).code == 2001


async def test_a_session_does_not_shorten_how_long_an_event_is_remembered(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger)
    await ask(ledger, account_id, "E", 0, sms(), sid="pgw.example.net;1")
    await ask(ledger, account_id, "I", 0, service(want=MB))
    await ask(ledger, account_id, "T", 1, service(used=MB))
    ttl = {key.split(b":")[1]: ttl for key, ttl in keys_of(ledger).items() if ttl > 0}
    assert ttl[b"e"] > 49_000 and ttl[b"q"] <= 1_000
    assert (await ask(ledger, account_id, "E", 0, sms(), sid="pgw.example.net;1")).duplicate


async def test_a_refund_returns_only_the_service_that_it_names(ledger: RedisLedger) -> None:
    account_id = await open_account(ledger, credit=EUR)
    dear = service(want=2, price=SMS, key="dear")
    cheap = service(want=1, price=SMS, key="cheap")
    await ask(ledger, account_id, "E", 0, dear, cheap, sid="e")

    async def refund(number: int, key: str) -> ChargeOutcome:
        asked = {"sid": "r", "action": Action.REFUND, "refund_of": ("e", 0)}
        return await ask(ledger, account_id, "E", number, sms(None, key=key), **asked)

    assert (await refund(1, "cheap")).services[0].debited_micro_eur == -70_000
    again = await refund(2, "cheap")
    assert (again.code, again.reason) == (5012, "nothing_left"), "what the other service paid is not its"
    assert (await refund(3, "-")).services[0].debited_micro_eur == -140_000, "who names none gets what is left"
