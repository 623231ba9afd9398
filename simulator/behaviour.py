"""How a network element behaves in one session: grants, thresholds, validity, final units, result codes, repeats (TS
32.299 §6.3, §6.5; RFC 8506 §5, §5.6, §5.7).

A session's services are meters that run at a constant rate through what is granted. The next event is the first of: a
meter reaches its threshold or the end of its grant, a grant's validity runs out, the session ends. Times are simulated
seconds on the session's own time line, so that the same answers give the same use whatever the machine's speed; the
clock that is handed in only makes it wait.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from simulator.plan import PlannedSession, PlannedUse
from simulator.requests import (
    REASON_EXHAUSTED,
    REASON_FINAL,
    REASON_FORCED,
    REASON_THRESHOLD,
    REASON_VALIDITY,
    Element,
    Kind,
    Reaction,
    Request,
    ServicePart,
)
from simulator.tally import SUCCESS, SessionReport, Tally, UsedService
from simulator.wire import Answer, ServiceAnswer

RAR, ASR = "RAR", "ASR"
UPDATE_FOLLOWS, DONE, UNABLE = 2002, 2001, 5012
"""Result-Codes of RAA and ASA (RFC 8506 §5.5, RFC 6733 §8.5)."""
MAX_UPDATES = 10_000
"""Of one session; more means that the server grants crumbs for ever."""
DATA = "data"
"""The traffic whose sessions outlive their grants."""
DELIVERY_S = 3.0
"""From a message's acceptance to the report that it was delivered (simulated)."""
MIN_STEP_S = 0.5
"""A meter never asks more often than this (simulated)."""


ROUNDING = 1e-6
"""Of a unit: what the last of many small steps may lack by floating point."""


class Clock(Protocol):
    """Simulated time."""

    def unix_s(self) -> int: ...

    def now_s(self) -> float: ...

    async def sleep_until(self, when_s: float, interrupted: asyncio.Event | None = None) -> None:
        """Returns earlier when `interrupted` is set."""


Dry = Callable[[str], None]
"""Told the MSISDN of a session that has nothing more to run on and waits."""
Ask = Callable[[Request, frozenset[int]], Awaitable[Answer | None]]
"""Sends a request (repeating it when its number is among those whose answer gets lost); None = never answered."""


@dataclass(slots=True)
class Meter:
    """One service of a session."""

    use: PlannedUse
    rate: float
    """Units per simulated second."""
    record: UsedService
    left: int
    """Units the subscriber still wants."""
    granted: int = 0
    threshold: int = 0
    granted_at_s: float = 0.0
    valid_until_s: float = math.inf
    final: bool = False
    open: bool = False
    """It has a grant to run on."""

    def take(self, answer: ServiceAnswer, code: int, now_s: float) -> None:
        """A fresh answer replaces the grant."""
        self.record.refused = 0 if code == SUCCESS else code
        self.granted = answer.granted or 0
        self.final = answer.final_action is not None
        self.threshold = min(answer.threshold, self.granted)
        self.granted_at_s = now_s
        self.valid_until_s = now_s + answer.validity_s if answer.validity_s else math.inf
        self.open = code == SUCCESS and self.granted > 0

    def consumed(self, now_s: float) -> int:
        """Units used of the grant in force."""
        return min(int(self.rate * max(now_s - self.granted_at_s, 0.0) + ROUNDING), self.granted, self.left)

    def next_event_s(self) -> float:
        """When it must report, or has all that it wants."""
        stop = self.granted if self.final else self.granted - self.threshold
        wanted = min(stop, self.left)
        return min(self.granted_at_s + max(wanted / self.rate, MIN_STEP_S), self.valid_until_s)

    def reason(self, now_s: float) -> int:
        if now_s >= self.valid_until_s:
            return REASON_VALIDITY
        return REASON_THRESHOLD if self.threshold else REASON_EXHAUSTED

    def settle(self, used: int) -> None:
        self.left -= used
        self.record.used += used
        self.open = False


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
    ) -> None:
        self._planned, self._session_id, self._clock, self._ask, self._tally = planned, session_id, clock, ask, tally
        self._dry = dry
        self._asked = asyncio.Event()
        """By the server."""
        self._aborted = False
        self._number = 0
        self._at_s = planned.start_s
        """Where the session is on its own time line."""
        self._unreported: dict[int, int] = {}
        """Use that ended by itself (all that was wanted, or the final units) and goes out with the termination."""
        self.report = SessionReport(
            session_id=session_id,
            traffic=planned.traffic,
            msisdn=planned.subscriber.msisdn,
            package=planned.subscriber.package,
            place=planned.place.id,
            destination_class=planned.destination_class,
            incoming=planned.incoming,
            started_s=planned.start_s,
        )
        duration_s = max(planned.duration_s, 1.0)
        self._meters = []
        for use in planned.uses:
            record = UsedService(use.service, use.rating_group)
            self.report.services.append(record)
            self._meters.append(Meter(use, use.units / duration_s, record, use.units))

    async def run(self) -> None:
        """From the first request to the last answer."""
        self._tally.sessions.append(self.report)
        if self._planned.duration_s:
            await self._session()
        elif self._planned.two_step:
            await self._two_step()
        else:
            await self._event()
        self.report.ended_s = self._at_s

    def asked(self, command: str) -> int | None:
        """The server's RAR or ASR: the answer's Result-Code, None = no answer. What follows is done where the session
        next waits.
        """
        reaction = self._planned.reaction
        if reaction is Reaction.ASKS and self._planned.duration_s:
            self._tally.asked[command, "asked again" if command == RAR else "ended"] += 1
            self._aborted = self._aborted or command == ASR
            self._asked.set()
            return UPDATE_FOLLOWS if command == RAR else DONE
        self._tally.asked[command, "silent" if reaction is Reaction.SILENT else "ignored"] += 1
        if reaction is Reaction.SILENT:
            return None
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
            until_s = min(meter.next_event_s() if meter else ends_s, ends_s)
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
            if meter is None or self._at_s >= ends_s:
                break
            if not await self._report(meter):
                return
        await self._terminate()

    @property
    def _waits(self) -> bool:
        """A data connection stays when nothing more may be used on it; a call is cut."""
        return self._planned.traffic == DATA and any(meter.left > 0 for meter in self._meters)

    async def _ask_again(self) -> bool:
        """The update that a RAR asks for: all services that still want something. False = the session is over."""
        wanting = [meter for meter in self._meters if meter.left > 0]
        starved = all(not meter.open for meter in wanting)
        parts = []
        for meter in wanting:
            used = self._unreported.pop(id(meter), 0)
            if meter.open:
                rest = meter.consumed(self._at_s)
                meter.settle(rest)
                used += rest
            parts.append(ServicePart(meter.use.rating_group, used=used or None, wanted=0, reason=REASON_FORCED))
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
        """A meter's event: all used, final units used, or time to ask for more. False = the session is over."""
        used = self._due(meter)
        if used >= meter.left or (meter.final and used >= meter.granted):
            meter.settle(used)
            self._unreported[id(meter)] = used
            return True
        part = ServicePart(meter.use.rating_group, used=used, wanted=0, reason=meter.reason(self._at_s))
        meter.settle(used)
        answer = await self._request(Kind.UPDATE, [part])
        if not self._granted(answer):
            return False
        self._apply(answer, [meter])
        return True

    def _due(self, meter: Meter) -> int:
        """What has been used when the meter's event comes: exactly to the threshold or the end."""
        if meter.valid_until_s <= meter.next_event_s():
            return meter.consumed(meter.valid_until_s)
        return min(meter.granted if meter.final else meter.granted - meter.threshold, meter.left)

    async def _terminate(self) -> None:
        if self._planned.dies:
            self._tally.died += 1
            for meter in self._meters:
                meter.record.used -= self._unreported.pop(id(meter), 0)
            return
        parts = []
        for meter in self._meters:
            used = self._unreported.pop(id(meter), 0)
            if meter.open:
                rest = meter.consumed(self._at_s)
                meter.settle(rest)
                used += rest
            elif not used:
                continue
            parts.append(ServicePart(meter.use.rating_group, used=used, reason=REASON_FINAL))
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
            at=self._clock.unix_s(),
            subscriber=planned.subscriber,
            place=planned.place,
            parts=tuple(parts),
            other_party=planned.other_party if planned.element is not Element.PGW else "",
            incoming=planned.incoming,
            charging_id=planned.index + 1,
            size_octets=planned.size_octets,
        )
        self._number += 1
        answer = await self._ask(request, planned.lost_answers)
        if answer is None or answer.result_code // 1000 in (3, 5):
            self.report.uncertain = self.report.uncertain or any(part.used for part in parts)
        return answer

    def _granted(self, answer: Answer | None) -> bool:
        """Whether the session goes on; a command-level refusal ends every service (RFC 8506 §5.1.2, §7)."""
        if answer is not None and answer.result_code == SUCCESS:
            return True
        code = answer.result_code if answer is not None else 0
        for meter in self._meters:
            meter.open = False
            meter.record.refused = code
            meter.record.used -= self._unreported.pop(id(meter), 0)
        self._blocked(code)
        return False

    def _apply(self, answer: Answer | None, meters: list[Meter]) -> None:
        """Hand each meter its part of the answer: by rating group, or the only one."""
        assert answer is not None
        for meter in meters:
            service = _service_for(answer, meter.use.rating_group)
            code = service.result_code or answer.result_code
            meter.take(service, code, self._at_s)
            self._tally.service_results[meter.use.service, code] += 1
            if code != SUCCESS:
                self._blocked(code)

    def _blocked(self, code: int) -> None:
        """Counts a refusal; an account with a low limit that still has credit is blocked by the limit."""
        if not code or code // 1000 == 3:
            return
        subscriber = self._planned.subscriber
        reason = "other" if code != 4012 else "limit" if subscriber.limit else "zero"
        self._tally.blocked[int(self._at_s // 60), reason] += 1
        self._tally.blocked_accounts.setdefault(subscriber.msisdn, reason)


def _service_for(answer: Answer, rating_group: int | None) -> ServiceAnswer:
    for service in answer.services:
        if service.rating_group == rating_group:
            return service
    if len(answer.services) == 1 and (rating_group is None or answer.services[0].rating_group is None):
        return answer.services[0]
    return answer.command
