"""What follows from a port's answer: sent, refused, again later, given up."""

from __future__ import annotations

from random import Random

import pytest

from ocs.notices.port import Answer, Message, Taken
from ocs.notices.queue import Claimed, Outcome
from ocs.notices.sending import FIRST_PAUSE_S, LONGEST_PAUSE_S, Rate, Sender
from ocs.notices.states import State

NOW = 1_795_000_000
NOTICE = Claimed("p1-1.topup", "p1-1", "topup", "38668100000", "sl", "Napolnjeno", True, 1, NOW + 86_400)


class Port:
    def __init__(self, answer: Answer) -> None:
        self.answer, self.sent = answer, list[Message]()

    async def send(self, message: Message) -> Answer:
        self.sent.append(message)
        return self.answer

    async def close(self) -> None: ...


def sender(port: Port, quiet_until: int = 0) -> Sender:
    return Sender(port, attempts=8, now=lambda: NOW, not_before=lambda now: max(now, quiet_until), random=Random(1))


async def after(answer: Answer, **fields: object) -> Outcome:
    (outcome,) = await sender(Port(answer)).send([_claimed(**fields)])
    return outcome


def _claimed(**fields: object) -> Claimed:
    names = NOTICE.__dataclass_fields__
    return Claimed(**{name: fields.get(name, getattr(NOTICE, name)) for name in names})


async def test_a_message_that_is_taken_or_refused_is_done() -> None:
    assert await after(Answer(Taken.YES, reference="sms-1")) == Outcome(NOTICE.id, State.SENT, reference="sms-1")
    assert await after(Answer(Taken.NO, "status 400")) == Outcome(NOTICE.id, State.FAILED, "status 400")


@pytest.mark.parametrize("attempts", range(1, 8))
async def test_the_pause_doubles_up_to_an_hour(attempts: int) -> None:
    outcome = await after(Answer(Taken.LATER, "status 500"), attempts=attempts)
    pause_s = min(FIRST_PAUSE_S * 2 ** (attempts - 1), LONGEST_PAUSE_S)
    assert outcome.state is State.WAITING and outcome.reason == "status 500"
    assert pause_s * 0.74 <= outcome.next_at - NOW <= pause_s * 1.26


async def test_the_receiver_may_ask_for_a_longer_pause() -> None:
    assert (await after(Answer(Taken.LATER, after_s=700))).next_at == NOW + 700
    assert (await after(Answer(Taken.LATER, after_s=1))).next_at >= NOW + 7


async def test_it_is_given_up_after_the_last_attempt_and_when_it_would_be_too_late() -> None:
    assert (await after(Answer(Taken.LATER, "status 500"), attempts=8)).state is State.GIVEN_UP
    assert (await after(Answer(Taken.LATER, "status 500"), expires_at=NOW + 5)).state is State.GIVEN_UP
    port = Port(Answer(Taken.YES))
    assert await sender(port).send([_claimed(expires_at=NOW)]) == [Outcome(NOTICE.id, State.GIVEN_UP, "expired")]
    assert port.sent == [], "what is too late is not sent at all"


async def test_what_is_delayed_into_the_quiet_hours_waits_for_their_end() -> None:
    port = Port(Answer(Taken.YES))
    (quiet, urgent) = await sender(port, NOW + 900).send([_claimed(), _claimed(id="p1-2.x", quiet=False)])
    assert quiet == Outcome(NOTICE.id, State.WAITING, next_at=NOW + 900)
    assert urgent.state is State.SENT and [each.id for each in port.sent] == ["p1-2.x"]
    (late,) = await sender(port, NOW + 900).send([_claimed(expires_at=NOW + 900)])
    assert late == Outcome(NOTICE.id, State.GIVEN_UP, "expired")


def test_the_rate_is_bounded() -> None:
    now = 0.0
    rate = Rate(20, lambda: now)
    assert rate.allowed() == 20
    rate.used(20)
    assert rate.allowed() == 0
    now = 0.25
    assert rate.allowed() == 5
    now = 60.0
    assert rate.allowed() == 20, "no burst after a pause"
