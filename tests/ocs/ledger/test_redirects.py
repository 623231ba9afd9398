"""Redirections (MOVED, ASK): the address that an error names, and the queue of requests that are sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.metrics import NoMetrics
from ocs.ledger.redis.redirects import AGAIN_FIRST_S, AGAIN_MOST_S, RetryQueue, target
from ocs.ledger.redis.request import Request


@pytest.mark.parametrize(
    ("error", "address"),
    [
        ("MOVED 3999 127.0.0.1:6381", ("127.0.0.1", 6381)),
        ("ASK 3999 127.0.0.1:6381", ("127.0.0.1", 6381)),
        ("ASK 3999 2001:db8::1:6381", ("2001:db8::1", 6381)),
        ("MOVED 3999 redis-2.example.net:6381", ("redis-2.example.net", 6381)),
        ("MOVED 3999 :6381", ("10.0.0.7", 6381)),
        ("MOVED 3999 ?:6381", None),
        ("MOVED", None),
    ],
)
def test_the_address_in_a_redirection(error: str, address: tuple[str, int] | None) -> None:
    assert target(error, ("10.0.0.7", 6379)) == address


def test_a_redirection_without_a_host_has_no_target_on_a_unix_socket() -> None:
    assert target("MOVED 1 :6381", "/run/redis.sock") is None


class Waiting:
    """A `RetryQueue`: what it sent again and when, and the requests that it answered itself."""

    def __init__(self, max_waiting: int = 100) -> None:
        self.loop = asyncio.get_running_loop()
        self.retry_queue = RetryQueue(loop=self.loop, metrics=NoMetrics(), max_waiting=max_waiting, route=self._route)
        self.sent: list[tuple[str, float]] = []
        self.answers: dict[str, Any] = {}

    def _route(self, request: Request) -> None:
        self.sent.append((request.operation, self.loop.time()))

    def request(self, name: str, order_key: int, refusals: int = 1, time_s: float = 5.0) -> Request:
        def answered(answer: Any) -> None:
            assert name not in self.answers
            self.answers[name] = answer

        made = Request(b"", answered, name, self.loop.time() + time_s, 0, order_key, 0)
        made.refusals = refusals
        return made


async def test_requests_of_one_key_are_sent_again_in_order_and_delay_no_other_key() -> None:
    waiting = Waiting()
    waiting.retry_queue.wait(waiting.request("first", 1))
    waiting.retry_queue.wait(waiting.request("second", 1))
    assert waiting.retry_queue.queued(waiting.request("third", 1, refusals=0))
    assert not waiting.retry_queue.queued(waiting.request("other", 2, refusals=0))
    await asyncio.sleep(0.1)
    assert [name for name, _ in waiting.sent] == ["first", "second", "third"]
    assert not waiting.retry_queue.queues
    assert not waiting.retry_queue.queued(waiting.request("fourth", 1, refusals=0))


async def test_pauses_between_tries_grow_up_to_a_bound() -> None:
    waiting = Waiting()
    started = waiting.loop.time()
    for refusals in range(1, 12):
        waiting.retry_queue.wait(waiting.request(str(refusals), refusals, refusals))
    await asyncio.sleep(0.15)
    pauses = {int(name): at - started for name, at in waiting.sent}
    assert pauses[1] >= AGAIN_FIRST_S and pauses[11] >= AGAIN_MOST_S - 0.002
    assert max(pauses.values()) < AGAIN_MOST_S + 0.1


async def test_a_request_that_waits_too_long_is_answered_once_and_not_sent() -> None:
    waiting = Waiting()
    late = waiting.request("late", 1, refusals=8, time_s=0.01)
    waiting.retry_queue.watch(late)
    waiting.retry_queue.wait(late)
    await asyncio.sleep(0.1)
    assert isinstance(waiting.answers["late"], LedgerUnavailable)
    assert waiting.sent == []


async def test_a_request_queued_behind_another_is_answered_in_time() -> None:
    waiting = Waiting()
    waiting.retry_queue.wait(waiting.request("first", 1, refusals=8))
    assert waiting.retry_queue.queued(waiting.request("second", 1, refusals=0, time_s=0.01))
    await asyncio.sleep(0.1)
    assert list(waiting.answers) == ["second"]
    assert [name for name, _ in waiting.sent] == ["first"]


async def test_the_number_of_waiting_requests_is_bounded() -> None:
    waiting = Waiting(max_waiting=2)
    for number in range(4):
        waiting.retry_queue.wait(waiting.request(str(number), order_key=number))
    await asyncio.sleep(0.1)
    assert [name for name, _ in waiting.sent] == ["0", "1"]
    assert sorted(waiting.answers) == ["2", "3"]
    assert "too many" in str(waiting.answers["2"])
    waiting.retry_queue.wait(waiting.request("again", order_key=9))  # there is room again
    await asyncio.sleep(0.1)
    assert waiting.sent[-1][0] == "again"


async def test_closing_answers_all_waiting_requests() -> None:
    waiting = Waiting()
    waiting.retry_queue.wait(waiting.request("first", 1))
    waiting.retry_queue.close()
    assert "closed" in str(waiting.answers["first"])
    await asyncio.sleep(0.05)
    assert waiting.sent == []
