"""A client's session: it uses what it is granted, reports in time, and says when the price changed meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.credit_control import CreditControlAnswer, ServiceInformation, UsedServiceUnit
from simulator.price_sheet import Row
from tests.ocs.charging.ccr import DATA, MB, octets, seconds
from tests.ocs.rules.world import granted
from tests.ocs.year.asked import Asked
from tests.ocs.year.line import SETTLED, Line

DEFAULT_OCTETS, DEFAULT_S = 50 * MB, 300
"""What is granted to a client that leaves the amount to the server."""
LATE_S = 7_800


@dataclass(frozen=True, slots=True)
class Part:
    """So much use at one place: octets or seconds."""

    asked: Asked
    information: ServiceInformation
    amount: int


class ClientSession:
    """`gap_s`: how long a grant of volume lasts. `ends`: "T"; "lost", when no termination comes; "late", when it comes
    hours later."""

    def __init__(self, line: Line, context: str, parts: list[Part], gap_s: int = 600, ends: str = "T") -> None:
        self.line, self.context, self.parts = line, context, list(parts)
        self.gap_s, self.ends = gap_s, ends
        self.sid, self.number, self.used = line.new_session(), 0, 0
        self._left = parts[0].amount
        self._granted_at = line.now
        self._rows: list[Row] = []
        self._rated: Asked = parts[0].asked
        self._surcharged = self._final = False

    async def run(self) -> int:
        """Returns the units used."""
        answer = await self._request("I", [])
        while there := self._granted(answer):
            take, lasts, switch = self._grant(answer, there)
            await self.line.clock.until(self._granted_at + lasts)
            reports, used = self._report(take, switch)
            self._left -= take
            self.used += take
            while self._left == 0 and len(self.parts) > 1:
                self.parts.pop(0)
                self._left = self.parts[0].amount
            if self._left:
                answer = await self._request("U", reports, used)
                continue
            if self.ends == "lost":
                self.used -= take
                return self.used
            if self.ends == "late":
                await self.line.clock.until(self.line.now + LATE_S)
            await self._end(reports, used)
            return self.used
        if answer.result_code == 2001 or self.number:
            await self._end([], [])
        return self.used

    async def in_background(self) -> None:
        self.line.background += 1
        await self.run()
        self.line.background -= 1

    def _granted(self, answer: CreditControlAnswer) -> int:
        mscc = answer.multiple_services_credit_control
        return granted(mscc[0]) if mscc and answer.result_code == 2001 else 0

    def _grant(self, answer: CreditControlAnswer, there: int) -> tuple[int, int, int]:
        """What is used of the grant, for how long it lasts, and Tariff-Time-Change."""
        (mscc,) = answer.multiple_services_credit_control
        unit = mscc.granted_service_unit
        assert unit is not None
        validity = mscc.validity_time or answer.validity_time or 3600
        take = min(there, self._left)
        if self.context == DATA:
            return take, min(self.gap_s, validity), unit.tariff_time_change or 0
        take = min(take, validity)
        return take, take, 0

    def _report(self, take: int, switch: int) -> tuple[list[UsedServiceUnit], list[tuple[list[Row], int]]]:
        """The report as the client sends it, and what is to be paid at which rows."""
        name = "cc_total_octets" if self.context == DATA else "cc_time"
        if not self._granted_at < switch <= self.line.now:
            return [UsedServiceUnit(**{name: take})], [(self._rows, take)]
        before = take * (switch - self._granted_at) // (self.line.now - self._granted_at)
        sides = [
            UsedServiceUnit(tariff_change_usage=n, **{name: side}) for n, side in enumerate((before, take - before))
        ]
        after = self._rated.rows(self.line.sheet, switch, self._surcharged)
        return sides, [(self._rows, before), (after, take - before)]

    async def _request(
        self, kind: str, reports: list[UsedServiceUnit], used: list[tuple[list[Row], int]] | None = None
    ) -> CreditControlAnswer:
        line, part, now = self.line, self.parts[0], self.line.now
        service = octets(want=0) if self.context == DATA else seconds(want=0)
        service.used_service_unit = reports
        answer = await line.send(self.context, kind, self.number, service, self.sid, part.information, part.asked)
        self.number += 1
        line.paper.pass_time(now)
        self._pay(answer.result_code, used or [], now)
        self._granted_at, self._rated, self._rows = now, part.asked, part.asked.rows(line.sheet, now, line.surcharged)
        self._surcharged = line.surcharged
        if answer.result_code == 2001 and self._granted(answer) and part.asked.begins_life:
            line.paper.begin(now)
        if answer.result_code in (2001, 4012):
            line.paper.ask(now, self._rows, DEFAULT_OCTETS if self.context == DATA else DEFAULT_S)
        line.note(answer.result_code, self._rows, now)
        codes = {answer.result_code, *(each.result_code for each in answer.multiple_services_credit_control)}
        if 4012 in codes:
            line.paper.stop(now, self.sid, self._rows, refused=True)
        self._final = any(each.final_unit_indication for each in answer.multiple_services_credit_control)
        return answer

    async def _end(self, reports: list[UsedServiceUnit], used: list[tuple[list[Row], int]]) -> None:
        now, part = self.line.now, self.parts[0]
        service = octets() if self.context == DATA else seconds()
        service.used_service_unit = reports
        answer = await self.line.send(self.context, "T", self.number, service, self.sid, part.information, part.asked)
        self.line.paper.pass_time(now)
        self._pay(answer.result_code, used, now)
        if self._final and used and answer.result_code in SETTLED:
            self.line.paper.stop(now, self.sid, self._rows, refused=False)

    def _pay(self, code: int | None, used: list[tuple[list[Row], int]], now: int) -> None:
        if code in SETTLED:
            for rows, units in used:
                if units:
                    self.line.paper.use(now, self.sid, rows, units, self._granted_at)
