"""Plays a plan in compressed time: network elements, each a Diameter peer, and thousands of sessions.

Every request is answered or repeated (`delivery`). Answers that the plan loses are dropped, once.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from dataclasses import dataclass

from simulator.behaviour import ASR, RAR, SessionRun
from simulator.clocks import PacedClock, RunClock
from simulator.delivery import Delivery
from simulator.deployment import Deployment, play_events
from simulator.identifiers import new_run, session_id
from simulator.peer import CMD_RAR
from simulator.plan import Plan, PlannedSession
from simulator.requests import Element, Kind, Request
from simulator.tally import SUCCESS, Tally
from simulator.wire import Answer

PROTOCOL_ERRORS = 3
"""First digit of their Result-Codes (RFC 6733 §7.1.3)."""
UNKNOWN_SESSION_ID = 5002
MAX_TOP_UPS = 8
"""Most top-ups of a run."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server under test, and the realm of the elements."""

    host: str
    port: int
    realm: str
    server_realm: str


class Engine:
    """One run of a plan."""

    def __init__(
        self,
        plan: Plan,
        target: Target,
        *,
        speed: float,
        seed: int,
        top_up: Callable[[str], None] | None = None,
        clock: RunClock | None = None,
    ) -> None:
        """`top_up`: credits an MSISDN (may block); called for a few subscribers whose sessions wait without units.
        `clock`: default: one at this speed, of the simulator alone.
        """
        self.tally = Tally()
        self.clock = clock or PacedClock(speed)
        self._plan, self._target, self._speed = plan, target, speed
        self._runs: dict[str, SessionRun] = {}
        self._top_up = top_up
        self._topping_up: asyncio.Future[None] | None = None
        self._chance = random.Random(f"{seed}/identifiers")
        self._run = new_run()
        self._error: BaseException | None = None
        self.deployment = Deployment(plan.network, target, self.tally, self._asked, self._chance)
        self._delivery = Delivery(self.deployment, self.tally, self.clock.repeat_after_s)

    async def run(self, on_progress: Callable[[], None] | None = None) -> Tally:
        """Connect, play every session to its end, disconnect. Raises PeerError when a connection can't be made or is
        lost.
        """
        gc.freeze()  # the plan is thousands of permanent objects: collecting them would count as latency
        try:
            await self.deployment.start({session.element for session in self._plan.sessions})
            await self._play(on_progress)
        finally:
            await self.deployment.stop()
            gc.unfreeze()
        return self.tally

    def _asked(self, command: int, session_id: str) -> int | None:
        """Handles a RAR or ASR of the server."""
        name = RAR if command == CMD_RAR else ASR
        run = self._runs.get(session_id)
        if run is None:
            self.tally.asked[name, "unknown"] += 1
            return UNKNOWN_SESSION_ID
        return run.asked(name)

    def _dry(self, msisdn: str) -> None:
        """Tops up the account of a waiting session, one at a time and MAX_TOP_UPS in all."""
        tally = self.tally
        busy = self._topping_up is not None and not self._topping_up.done()
        if self._top_up is None or busy or len(tally.topped_up) >= MAX_TOP_UPS or msisdn in tally.topped_up:
            return
        tally.topped_up.add(msisdn)
        self._topping_up = asyncio.get_running_loop().run_in_executor(None, self._top_up, msisdn)

    @property
    def progress(self) -> float:
        """Share of the plan's time that was played, 0 to 1."""
        last = self._plan.sessions[-1].start_s if self._plan.sessions else 1.0
        return min(self.clock.now_s() / max(last, 1.0), 1.0)

    async def _play(self, on_progress: Callable[[], None] | None) -> None:
        self.clock.restart()
        tasks: set[asyncio.Task[None]] = set()
        events = asyncio.create_task(play_events(self.deployment, self._plan, self.clock))
        events.add_done_callback(self._note_error)
        reporter = asyncio.create_task(self._report_progress(on_progress)) if on_progress else None
        try:
            for session in self._plan.sessions:
                await self.clock.sleep_until(session.start_s)
                task = asyncio.create_task(self._session(session))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(self._note_error)
                if self._error is not None:
                    raise self._error
            while tasks:
                await asyncio.wait(tasks)
            if self._topping_up is not None:
                await self._topping_up
            if self._error is not None:
                raise self._error
        finally:
            for task in tasks:
                task.cancel()
            events.cancel()
            if reporter is not None:
                reporter.cancel()
        if on_progress:
            on_progress()

    def _note_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._error = self._error or task.exception()

    async def _report_progress(self, on_progress: Callable[[], None]) -> None:
        while True:
            on_progress()
            await asyncio.sleep(0.25)

    async def _session(self, planned: PlannedSession) -> None:
        node = self.deployment.open(planned)
        name = session_id(node.host, self._run, planned.index)
        self.deployment.begin(name, planned, node)
        dialect = node.sender.dialect
        run = self._runs[name] = SessionRun(planned, name, self.clock, self._ask, self.tally, self._dry, dialect)
        self.tally.live_sessions += 1
        try:
            await run.run()
        finally:
            del self._runs[name]
            self.deployment.end(name)
            self.tally.live_sessions -= 1

    # -- one request --------------------------------------------------------------------------------------------------

    async def _ask(self, request: Request, lost_answers: frozenset[int]) -> Answer | None:
        """Sends, waits, and repeats with T if no answer came (or it is to be lost). None = never answered."""
        tally, traffic = self.tally, _traffic(request)
        tally.requests[traffic, request.kind.value] += 1
        tally.timeline[int(self.clock.now_s() // 60), traffic] += 1
        with self.clock.awaiting():
            first, answer = await self._delivery.ask(request, lost_answers)
        self._count(request, first, answer)
        return answer

    def _count(self, request: Request, first: Answer | None, answer: Answer | None) -> None:
        tally = self.tally
        if answer is None:
            tally.unanswered += 1
            return
        tally.answered += 1
        tally.results[answer.result_code] += 1
        if first is not None and not _equal(first, answer):
            if is_final(request.kind, first.result_code) and answer.result_code // 1000 != PROTOCOL_ERRORS:
                tally.unequal(request.session_id, request.kind, request.number, first.result_code, answer.result_code)
            else:
                tally.evaluated_anew += 1
        for part in request.parts:
            if part.used:
                tally.used[_traffic(request), request.place.id] += part.used
        if request.kind == "E" and answer.result_code == 2001:
            tally.used[_traffic(request), request.place.id] += sum(
                service.granted or 0 for service in (*answer.services, answer.command)
            )


def is_final(kind: Kind, result_code: int) -> bool:
    """Whether a repetition must get this answer again. A refused opening or event changed nothing, and is evaluated
    anew: meanwhile another session may have released credit (docs/LEDGER.md, Repetitions). After a protocol error
    (RFC 6733 §7.1.3) the client does not know whether its request was handled.
    """
    if result_code // 1000 == PROTOCOL_ERRORS:
        return False
    return result_code == SUCCESS or kind in (Kind.UPDATE, Kind.TERMINATION)


def _equal(first: Answer, second: Answer) -> bool:
    """Whether both answers are equal (invariant 4), except for the Hop-by-Hop Identifier."""
    return (
        first.result_code == second.result_code
        and first.services == second.services
        and first.command == second.command
    )


_TRAFFIC = {
    Element.PGW: "data",
    Element.IMS: "voice",
    Element.MSC: "voice",
    Element.SMSC: "sms",
    Element.MMSC: "mms",
}


def _traffic(request: Request) -> str:
    return _TRAFFIC[request.element]
