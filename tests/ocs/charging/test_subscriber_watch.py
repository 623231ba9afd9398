"""The watch of traced subscribers within a worker: what is told, what is left out, and that it disturbs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ocs.charging.session_order import Reply
from ocs.charging.source import Source
from ocs.charging.subscriber_watch import MAX_RUNGS_PER_S, SubscriberWatch
from ocs.ledger.contract.traces import Traced
from ocs.values.rung import Rung
from protocol.credit_control import CreditControlAnswer, CreditControlRequest
from protocol.errors import DiameterError, ResultCode
from tests.ocs.charging.ccr import IMSI, MB, MSISDN, ccr, octets
from tests.ocs.charging.fake_ledger import NOW, FakeLedger
from tests.ocs.charging.worker import ACCOUNT, Worker


class Watched:
    """A worker, its watch, and what that has told."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.told: list[tuple[str, Rung]] = []
        self.handler: Callable[[CreditControlRequest, Source, Reply], None] = worker.service.handle
        self.plain = self.handler
        self.on_refused: Any = None
        self.publish: Callable[[str, Rung], None] = lambda account_id, rung: self.told.append((account_id, rung))
        self.watch = SubscriberWatch(
            worker.service, lambda *told: self.publish(*told),
            handler=self.handler, watch_by=self._watch_by, clock=lambda: worker.now, monotonic=lambda: worker.now,
        )  # fmt: skip

    def _watch_by(self, handler: Any, on_refused: Any) -> None:
        self.handler, self.on_refused = handler, on_refused

    def trace(self, *account_ids: str) -> None:
        traced = Traced("t", "", MSISDN, IMSI, NOW + 600, "cli:anna")
        self.watch.follow([replace(traced, account_id=each) for each in account_ids])

    async def ask(self, request: CreditControlRequest) -> CreditControlAnswer | DiameterError:
        """The one answer."""
        answers: list[CreditControlAnswer | DiameterError] = []
        self.handler(request, self.worker.source, answers.append)
        for _ in range(20):
            await asyncio.sleep(0)
        (answer,) = answers
        return answer

    @property
    def kinds(self) -> list[tuple[str, int | None]]:
        return [(rung.kind, rung.result_code) for _, rung in self.told]


@pytest.fixture
def watched(worker: Worker) -> Watched:
    return Watched(worker)


async def test_nothing_is_in_the_way_while_nobody_is_traced(watched: Watched, ledger: FakeLedger) -> None:
    before = watched.worker.service.ledger
    watched.trace(ACCOUNT)
    assert watched.handler is not watched.plain and watched.worker.service.ledger is not before
    await watched.ask(ccr("I", 0, octets(MB)))
    watched.watch.follow([])
    assert watched.handler is watched.plain and watched.worker.service.ledger is ledger and watched.on_refused is None
    await watched.ask(ccr("U", 1, octets(MB, MB)))
    assert watched.kinds == [("CCR-I", 2001)]


async def test_a_request_without_a_number_is_told_by_its_account(watched: Watched, ledger: FakeLedger) -> None:
    """Also one of a session that this worker does not know; then what the ledger said is told."""
    watched.trace(ACCOUNT)
    await watched.ask(ccr("I", 0, octets(MB)))
    anonymous = ccr("U", 1, octets(MB, MB))
    anonymous.subscription_id = []
    await watched.ask(anonymous)
    other = Watched(Worker(ledger, watched.worker.service._rater))
    other.trace(ACCOUNT)
    last = ccr("T", 2, octets(None, MB))
    last.subscription_id = []
    await other.ask(last)
    assert watched.kinds == [("CCR-I", 2001), ("CCR-U", 2001)] and other.kinds == [("CCR-T", 2001)]
    (account_id, rung) = other.told[0]
    assert account_id == ACCOUNT and rung.services[0].used == MB and rung.took_ms is None
    assert rung.credit_micro_eur == ledger.credit(ACCOUNT)


async def test_an_account_that_has_moved_is_still_told(watched: Watched) -> None:
    """It has another partition, and the same part behind it."""
    watched.trace(f"07-{ACCOUNT.partition('-')[2]}")
    await watched.ask(ccr("I", 0, octets(MB)))
    (_, rung) = watched.told[0]
    assert rung.credit_micro_eur is not None, "what the ledger said is told"


async def test_what_the_ledger_cannot_say_is_told_by_the_answer(watched: Watched, ledger: FakeLedger) -> None:
    watched.trace(ACCOUNT)
    await watched.ask(ccr("I", 0, octets(MB)))
    ledger.gone = True
    await watched.ask(ccr("U", 1, octets(MB, MB)))
    rung = watched.told[-1][1]
    assert (rung.kind, rung.result_code, rung.credit_micro_eur) == ("CCR-U", 3002, None)
    assert rung.reason == "the ledger cannot be reached" and rung.services[0].used == MB


async def test_a_request_refused_before_charging_is_told(watched: Watched) -> None:
    watched.trace(ACCOUNT)
    error = DiameterError(ResultCode.AUTHORIZATION_REJECTED, "this peer may not")
    watched.on_refused(ccr("I", 0, octets(MB)), watched.worker.source, error)
    stranger = ccr("I", 0, octets(MB))
    stranger.subscription_id[0].subscription_id_data = "38668199999"
    del stranger.subscription_id[1:]
    watched.on_refused(stranger, watched.worker.source, error)
    ((account_id, rung),) = watched.told
    assert account_id == ACCOUNT and (rung.result_code, rung.reason) == (5003, "this peer may not")


async def test_no_more_than_so_many_a_second_are_told(watched: Watched) -> None:
    watched.trace(ACCOUNT)
    for number in range(MAX_RUNGS_PER_S + 5):
        await watched.ask(ccr("I" if number == 0 else "U", number, octets(MB)))
    assert len(watched.told) == MAX_RUNGS_PER_S
    watched.worker.now += 1
    await watched.ask(ccr("U", MAX_RUNGS_PER_S + 5, octets(MB)))
    assert watched.told[-1][1].left_out == 5 and len(watched.told) == MAX_RUNGS_PER_S + 1


async def test_a_fault_of_the_watch_disturbs_nobody(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    def fail(account_id: str, rung: Rung) -> None:
        raise RuntimeError(MSISDN)

    watched.publish = fail
    watched.trace(ACCOUNT)
    answer = await watched.ask(ccr("I", 0, octets(MB)))
    assert isinstance(answer, CreditControlAnswer) and answer.result_code == 2001
    assert "internal error in a subscriber's trace, please report it: RuntimeError at" in caplog.text
    assert MSISDN not in caplog.text
