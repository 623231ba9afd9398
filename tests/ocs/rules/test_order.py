"""Requests of one session that arrive together are charged in the order of arrival, on a real ledger."""

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
    """Sends all requests without waiting for answers; returns their Result-Codes."""
    answers = await asyncio.gather(*(world.reply(request) for request in requests))
    assert all(isinstance(answer, CreditControlAnswer) for answer in answers), answers
    return [answer.result_code or 0 for answer in answers]


def session(world: World, user: Subscriber, *later: str, first: str = "both") -> list[CreditControlRequest]:
    """I, U and T; the Subscription-Ids of the first request and of the later ones (one word for both, or one each)."""
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
async def test_a_whole_session_sent_in_one_write(world: World, later: str) -> None:
    """The account is not cached: the worker looks up two ids for the opening, and one or none for later requests."""
    user = await world.subscriber(20)
    assert await together(world, *session(world, user, later)) == [2001, 2001, 2001]
    view = await user.view()
    assert (view.held_micro_eur, view.sessions) == (0, ())
    assert view.credit_micro_eur == 20 * EUR - 2 * PRICE_PER_MB


@pytest.mark.parametrize("later", GIVEN)
async def test_a_session_of_a_moved_account(world: World, later: str) -> None:
    """The worker has cached the old account id and follows the move."""
    user = await world.subscriber(20)
    assert await together(world, *session(world, user, "both")) == [2001, 2001, 2001]
    partition = (int(user.account_id.partition("-")[0]) + 1) % world.ledger.partitions
    user.account_id = await world.ledger.move_account(user.account_id, partition=partition, **world.when)
    assert await together(world, *session(world, user, later)) == [2001, 2001, 2001]
    assert (await user.view()).held_micro_eur == 0
    assert await user.credit() == 20 * EUR - 4 * PRICE_PER_MB


async def test_a_session_opened_by_another_worker(world: World) -> None:
    """The first request here lacks the location. It is rated again with the session's, and still applied before the
    termination.
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
async def test_interleaved_sessions_are_charged_as_in_sequence(world: World, seed: int) -> None:
    """Accounts whose id the worker has cached, has not cached, or has cached wrongly after a move."""
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
