"""Behaviour of a network element in one session: grants, thresholds, validity, final units, result codes, repetitions
(TS 32.299 §6.3, §6.5; RFC 8506 §5, §5.6, §5.7).

Each service of a session is a meter that consumes its grant at a constant rate. The next event is the first of: a meter
reaches its threshold or the end of its grant, a grant's validity ends, the session ends. Times are simulated seconds of
the session, so the same answers give the same use whatever the machine's speed. The clock only makes the session wait.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from simulator.clocks import Clock, Interruption
from simulator.dialects import Dialect, load_dialect
from simulator.meter import Meter, triggers_of
from simulator.plan import PlannedSession
from simulator.requests import (
    REASON_FINAL,
    REASON_FORCED,
    REASON_RATING_CHANGE,
    Element,
    Kind,
    Reaction,
    Request,
    ServicePart,
)
from simulator.steps import service_for, step_of
from simulator.tally import SUCCESS, SessionReport, Tally, UsedService
from simulator.wire import Answer

RAR, ASR = "RAR", "ASR"
DONE, UNABLE = 2001, 5012
"""Result-Codes of a RAA and an ASA after which nothing follows (RFC 6733 §8.5)."""
MAX_UPDATES = 10_000
"""Most updates of one session; more means that the server grants too little each time."""
DATA = "data"
"""Traffic whose sessions stay open without a grant."""
DELIVERY_S = 3.0
"""Simulated seconds from a message's acceptance to its delivery report."""


EARLY = (0, 3)
"""Service-Modes by which the home network forwards before the phone is reached: CFU and CFNL (docs/RATING.md)."""


Dry = Callable[[str], None]
"""Called with the MSISDN of a session that has no units and waits."""
Ask = Callable[[Request, frozenset[int]], Awaitable[Answer | None]]
"""Sends a request (and repeats it if its number is among those whose answer is lost); None = never answered."""


class SessionRun:
    """Plays one planned session against the server."""

    def __init__(
        self,
        planned: PlannedSession,
        session_id: str,
        clock: Clock,
        ask: Ask,
        tally: Tally,
        dry: Dry = lambda msisdn: None,
        dialect: Dialect | None = None,
    ) -> None:
        self._planned, self._session_id, self._clock, self._ask, self._tally = planned, session_id, clock, ask, tally
        self._dry = dry
        self._dialect = dialect or load_dialect(planned.element.value)
        self._asked = Interruption()
        """Set when the server has sent RAR or ASR."""
        self._aborted = False
        self._asked_s = planned.start_s
        """Simulated time of the last request."""
        self._number = 0
        self._at_s = planned.start_s
        """Simulated time of the session."""
        self._unreported: dict[int, tuple[int, int]] = {}
        """Use of meters that ended (all wanted units or the final units used), reported by the termination; how much of
        it was after a tariff change.
        """
        self.report = SessionReport(
            session_id=session_id,
            traffic=planned.traffic,
            msisdn=planned.subscriber.msisdn,
            package=planned.subscriber.package,
            place=planned.place.id,
            destination_class=planned.destination_class,
            incoming=planned.incoming,
            started_s=planned.start_s,
            imsi=planned.subscriber.imsi,
            charging_id=planned.index + 1,
            forwarding="" if planned.forwarding is None else "early" if planned.forwarding in EARLY else "late",
            other_places=tuple(dict.fromkeys(place.id for _, place in planned.moves if place.id != planned.place.id)),
        )
        self._place, self._moves = planned.place, list(reversed(planned.moves))
        """Where the subscriber is, and the moves to come, the next one last."""
        duration_s = max(planned.duration_s, 1.0)
        self._meters = []
        for wanted in planned.uses:
            use = wanted if wanted.rating_group else replace(wanted, rating_group=self._dialect.rating_group)
            record = UsedService(use.service, use.rating_group, service_identifier=self._dialect.service_identifier)
            self.report.services.append(record)
            self._meters.append(Meter(use, use.units / duration_s, record, use.units))

    async def run(self) -> None:
        """Plays the session from its first request to its last answer."""
        self._tally.sessions.append(self.report)
        if self._planned.duration_s:
            await self._session()
        elif self._planned.two_step:
            await self._two_step()
        else:
            await self._event()
        self.report.ended_s = self._at_s

    def asked(self, command: str) -> int | None:
        """Result-Code of the answer to RAR or ASR, None = no answer. The session acts when it next waits."""
        reaction = self._planned.reaction
        habit = self._dialect.rar if command == RAR else self._dialect.asr
        if reaction is Reaction.ASKS and self._planned.duration_s and habit.acts:
            self._tally.asked[command, "asked again" if command == RAR else "ended"] += 1
            self._aborted = self._aborted or command == ASR
            self._asked.set()
            return habit.result_code or None
        silent = reaction is Reaction.SILENT or not habit.result_code
        self._tally.asked[command, "silent" if silent else "ignored"] += 1
        if silent:
            return None
        if not habit.acts:
            return habit.result_code
        return DONE if command == RAR else UNABLE

    # -- data and calls (SCUR) ----------------------------------------------------------------------------------------

    async def _session(self) -> None:
        answer = await self._request(
            Kind.INITIAL, [ServicePart(meter.use.rating_group, wanted=0) for meter in self._meters]
        )
        if not self._granted(answer):
            return
        self._apply(answer, self._meters)
        ends_s = self._at_s + self._planned.duration_s
        for _ in range(MAX_UPDATES):
            running = [meter for meter in self._meters if meter.open]
            if not running:
                if not self._waits:
                    break
                self._dry(self._planned.subscriber.msisdn)
            meter = min(running, key=Meter.next_event_s) if running else None
            until_s = min(meter.next_event_s() if meter else ends_s, ends_s, self._next_move_s)
            await self._clock.sleep_until(until_s, self._asked)
            if self._asked.is_set():
                self._asked.clear()
                self._at_s = max(self._at_s, min(self._clock.now_s(), until_s))
                if self._aborted:
                    break
                if not await self._ask_again():
                    return
                continue
            self._at_s = until_s
            if self._at_s >= ends_s:
                break
            if self._at_s >= self._next_move_s:
                if not await self._move():
                    return
                continue
            if meter is None:
                break
            if not await self._report(meter):
                return
        await self._terminate()

    @property
    def _next_move_s(self) -> float:
        return self._moves[-1][0] if self._moves else math.inf

    async def _move(self) -> bool:
        """The subscriber is elsewhere; services report at once what they are told to. False = the session is over."""
        before, self._place = self._place, self._moves.pop()[1]
        happened = triggers_of(before, self._place)
        meters = [meter for meter in self._meters if meter.open and happened & set(meter.armed)]
        if not meters:
            return True
        parts = []
        for meter in meters:
            fired = tuple(sorted(happened & set(meter.armed)))
            used = meter.consumed(self._at_s)
            parts.append(self._part(meter, used, reason=REASON_RATING_CHANGE, wanted=0, triggers=fired))
            meter.settle(used)
        answer = await self._request(Kind.UPDATE, parts)
        if not self._granted(answer):
            return False
        self._apply(answer, meters)
        return True

    def _part(
        self, meter: Meter, used: int, *, reason: int, wanted: int | None = None, triggers: tuple[int, ...] = ()
    ) -> ServicePart:
        """Use of the meter's present grant."""
        after = meter.after_change(used, self._clock.unix_s())
        return ServicePart(meter.use.rating_group, used, wanted, reason, after, triggers)

    @property
    def _waits(self) -> bool:
        """Whether the session stays open without units: data does, a call is ended."""
        return self._planned.traffic == DATA and any(meter.left > 0 for meter in self._meters)

    async def _ask_again(self) -> bool:
        """The update after a RAR, for all services that want more. False = the session is over."""
        wanting = [meter for meter in self._meters if meter.left > 0]
        starved = all(not meter.open for meter in wanting)
        parts = []
        for meter in wanting:
            used, after = self._unreported.pop(id(meter), (0, 0))
            if meter.open:
                rest = meter.consumed(self._at_s)
                after += meter.after_change(rest, self._clock.unix_s())
                meter.settle(rest)
                used += rest
            parts.append(ServicePart(meter.use.rating_group, used or None, 0, REASON_FORCED, after))
        if not parts:
            return True
        answer = await self._request(Kind.UPDATE, parts)
        if not self._granted(answer):
            return False
        self._apply(answer, wanting)
        if starved and any(meter.open for meter in wanting):
            self._tally.went_on.add(self._planned.subscriber.msisdn)
        return True

    async def _report(self, meter: Meter) -> bool:
        """Handles a meter's event: all used, final units used, or more needed. False = the session is over."""
        used = self._due(meter)
        if used >= meter.left or (meter.final and used >= meter.granted):
            self._unreported[id(meter)] = used, meter.after_change(used, self._clock.unix_s())
            meter.settle(used)
            return True
        part = self._part(meter, used, reason=meter.reason(self._at_s), wanted=0)
        meter.settle(used)
        answer = await self._request(Kind.UPDATE, [part])
        if not self._granted(answer):
            return False
        self._apply(answer, [meter])
        return True

    def _due(self, meter: Meter) -> int:
        """Units used at the meter's event: exactly up to the threshold or the end."""
        if meter.valid_until_s <= meter.next_event_s():
            return meter.consumed(meter.valid_until_s)
        return min(meter.granted if meter.final else meter.granted - meter.threshold, meter.left)

    async def _terminate(self) -> None:
        if self._planned.dies:
            self._tally.died += 1
            for meter in self._meters:
                meter.record.used -= self._unreported.pop(id(meter), (0, 0))[0]
            return
        parts = []
        for meter in self._meters:
            used, after = self._unreported.pop(id(meter), (0, 0))
            if meter.open:
                rest = meter.consumed(self._at_s)
                after += meter.after_change(rest, self._clock.unix_s())
                meter.settle(rest)
                used += rest
            elif not used:
                continue
            parts.append(ServicePart(meter.use.rating_group, used, None, REASON_FINAL, after))
        answer = await self._request(Kind.TERMINATION, parts)
        self.report.closed = answer is not None and answer.result_code == SUCCESS

    # -- messages (ECUR and IEC) --------------------------------------------------------------------------------------

    async def _two_step(self) -> None:
        (meter,) = self._meters
        units = meter.use.units
        answer = await self._request(Kind.INITIAL, [ServicePart(None, wanted=units)])
        if not self._granted(answer):
            return
        self._apply(answer, self._meters)
        sent = min(meter.granted, units) if meter.open else 0
        self._at_s += DELIVERY_S
        await self._clock.sleep_until(self._at_s)
        meter.settle(sent)
        answer = await self._request(
            Kind.TERMINATION, [ServicePart(None, used=sent, reason=REASON_FINAL)] if sent else []
        )
        self.report.closed = answer is not None and answer.result_code == SUCCESS

    async def _event(self) -> None:
        (meter,) = self._meters
        answer = await self._request(Kind.EVENT, [ServicePart(None, wanted=meter.use.units)])
        if not self._granted(answer):
            return
        self._apply(answer, self._meters)
        if meter.open:
            meter.settle(meter.granted)
        self.report.closed = True

    # -- one request --------------------------------------------------------------------------------------------------

    async def _request(self, kind: Kind, parts: list[ServicePart]) -> Answer | None:
        planned = self._planned
        request = Request(
            element=planned.element,
            kind=kind,
            session_id=self._session_id,
            number=self._number,
            at=self._now(),
            subscriber=planned.subscriber,
            place=self._place,
            parts=tuple(self._asking(part) for part in parts),
            other_party=planned.other_party if planned.element is not Element.PGW else "",
            incoming=planned.incoming,
            charging_id=planned.index + 1,
            size_octets=planned.size_octets,
            forwarding=planned.forwarding,
            caller=planned.caller,
            seconds=int(self._at_s - self._asked_s),
        )
        self._asked_s = self._at_s
        self._number += 1
        sent = time.monotonic()
        answer = await self._ask(request, planned.lost_answers)
        self._tally.note(self.report, step_of(self.report, request, answer, self._clock.unix_s(), sent))
        if answer is None or answer.result_code // 1000 in (3, 5):
            reports = kind is Kind.EVENT or any(part.used for part in parts)
            self.report.uncertain = self.report.uncertain or reports
        return answer

    def _asking(self, part: ServicePart) -> ServicePart:
        """Some clients always ask for the same amount."""
        return replace(part, wanted=self._dialect.asks) if part.wanted == 0 else part

    def _now(self) -> int:
        """Unix seconds, noted as the session's last request."""
        report = self.report
        report.ended_at = self._clock.unix_s()
        report.started_at = report.started_at or report.ended_at
        return report.ended_at

    def _granted(self, answer: Answer | None) -> bool:
        """Whether the session continues. A refusal at command level ends every service (RFC 8506 §5.1.2, §7)."""
        if answer is not None and answer.result_code == SUCCESS:
            return True
        code = answer.result_code if answer is not None else 0
        for meter in self._meters:
            meter.open = False
            meter.record.refused = code
            meter.record.used -= self._unreported.pop(id(meter), (0, 0))[0]
        self._blocked(code)
        return False

    def _apply(self, answer: Answer | None, meters: list[Meter]) -> None:
        """Gives each meter its part of the answer, by rating group or to the only meter."""
        assert answer is not None
        for meter in meters:
            service = service_for(answer, meter.use.rating_group)
            code = service.result_code or answer.result_code
            meter.take(service, code, self._at_s, self._clock.unix_s())
            self._tally.service_results[meter.use.service, code] += 1
            if code != SUCCESS:
                self._blocked(code)

    def _blocked(self, code: int) -> None:
        """Counts a refusal. An account with a low limit and credit left is blocked by the limit."""
        if not code or code // 1000 == 3:
            return
        subscriber = self._planned.subscriber
        reason = "other" if code != 4012 else "limit" if subscriber.limit else "zero"
        self._tally.blocked[int(self._at_s // 60), reason] += 1
        self._tally.blocked_accounts.setdefault(subscriber.msisdn, reason)
