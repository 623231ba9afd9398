"""Requests of one session that come together are charged in the order in which they came, on a real ledger."""

from __future__ import annotations

import asyncio
import random

import pytest

from ocs.charging.service import ChargingService
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from tests.ocs.charging.ccr import DATA, MB, Counted, at, ccr, octets
from tests.ocs.rules.world import EUR, Subscriber, World

PRICE_PER_MB = 6_900
GIVEN = {
    "both": ("msisdn", "imsi"),
    "msisdn": ("msisdn",),
    "imsi": ("imsi",),
    "neither": (),
}


async def together(world: World, *requests: CreditControlRequest) -> list[int]:
    """Result-Codes of requests that nobody waited for."""
    answers = await asyncio.gather(*(world.reply(request) for request in requests))
    assert all(isinstance(answer, CreditControlAnswer) for answer in answers), answers
    return [answer.result_code or 0 for answer in answers]


def session(world: World, user: Subscriber, *later: str, first: str = "both") -> list[CreditControlRequest]:
    """I, U and T; who is named in the first, and in those after it (one word for both of them, or a word for each)."""
    who = {"msisdn": user.msisdn, "imsi": str(293400000000000 + int(user.msisdn) - 38668100000)}
    sid, steps = world.new_session(), (("I", octets(want=MB)), ("U", octets(want=MB, used=MB)), ("T", octets(used=MB)))
    named = first, later[0], later[-1]
    return [
        ccr(
            *(kind, number, step),
            context=DATA,
            sid=sid,
            information=at(),
            **{name: who[name] if name in GIVEN[named[number]] else None for name in who},
        )
        for number, (kind, step) in enumerate(steps)
    ]


@pytest.mark.parametrize("later", GIVEN)
async def test_a_session_in_one_write(world: World, later: str) -> None:
    """The account is not known to the worker: two ids are looked up for the opening, one or none for what follows."""
    user = await world.subscriber(20)
    assert await together(world, *session(world, user, later)) == [2001, 2001, 2001]
    view = await user.view()
    assert (view.held_micro_eur, view.sessions) == (0, ())
    assert view.credit_micro_eur == 20 * EUR - 2 * PRICE_PER_MB


@pytest.mark.parametrize("later", GIVEN)
async def test_a_session_of_an_account_that_has_moved(world: World, later: str) -> None:
    """The worker knows where the account was, and follows it."""
    user = await world.subscriber(20)
    assert await together(world, *session(world, user, "both")) == [2001, 2001, 2001]
    partition = (int(user.account_id.partition("-")[0]) + 1) % world.ledger.partitions
    user.account_id = await world.ledger.move_account(user.account_id, partition=partition, **world.when)
    assert await together(world, *session(world, user, later)) == [2001, 2001, 2001]
    assert (await user.view()).held_micro_eur == 0
    assert await user.credit() == 20 * EUR - 4 * PRICE_PER_MB


async def test_a_session_that_another_worker_has_opened(world: World) -> None:
    """Where it is, the first request leaves out: it is rated again there, and is applied before the end all the
    same.
    """
    user = await world.subscriber(20)
    opened, used, ended = session(world, user, "neither")
    assert (await world.ask(opened)).result_code == 2001
    used.service_information = None
    world.service = ChargingService(world.catalogue, world.ledger, Counted(), lambda: world.now, world._spawn)
    assert await together(world, used, ended) == [2001, 2001]
    kinds = [event["k"] for event in await user.journal()]
    assert "late" not in kinds and await user.credit() == 20 * EUR - 2 * PRICE_PER_MB
    assert (await user.view()).held_micro_eur == 0


@pytest.mark.parametrize("seed", range(12))
async def test_any_interleaving_of_sessions_is_charged_as_if_one_after_another(world: World, seed: int) -> None:
    """Of accounts that the worker knows, does not know, or knows where they no longer are."""
    rng, words = random.Random(seed), list(GIVEN)
    users = [await world.subscriber(20) for _ in range(4)]
    for user in users[:2]:
        await together(world, *session(world, user, "neither"))
    partition = (int(users[0].account_id.partition("-")[0]) + 1) % world.ledger.partitions
    users[0].account_id = await world.ledger.move_account(users[0].account_id, partition=partition, **world.when)
    queues = [
        session(world, rng.choice(users), rng.choice(words), rng.choice(words), first=rng.choice(words[:3]))
        for _ in range(12)
    ]
    before, sessions = sum([await user.credit() for user in users]), len(queues)
    burst = []
    while queues:
        queue = rng.choice(queues)
        burst.append(queue.pop(0))
        queues = [each for each in queues if each]
    assert await together(world, *burst) == [2001] * len(burst)
    assert [(await user.view()).held_micro_eur for user in users] == [0, 0, 0, 0]
    assert before - sum([await user.credit() for user in users]) == sessions * 2 * PRICE_PER_MB
