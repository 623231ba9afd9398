"""Draws the ladder of a subscriber's requests: two lines for each, an arrow to us and one back.

`ocs trace` draws it rung by rung as they come, `ocs explain` at once from records.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.text import Text

from ocs.cli.show import PIPED_COLUMNS, units_text
from ocs.values.money import format_eur
from ocs.values.rung import Rung, RungService
from protocol.errors import ResultCode

MAX_SESSIONS = 256
"""Sessions whose number is remembered; then the numbers begin anew."""
SUCCESS = int(ResultCode.SUCCESS)
_NO_TIME = " " * 12
_KIND_COLUMNS, _CODE_STYLE = 10, {True: "green", False: "red"}
NAMES = {int(code): code.name for code in ResultCode}


class Ladder:
    """Draws on standard output. `zone`: of the times. A session gets a number when it is first seen."""

    def __init__(self, zone: ZoneInfo, console: Console | None = None) -> None:
        width = None if sys.stdout.isatty() else PIPED_COLUMNS
        self._console = console or Console(width=width, soft_wrap=True, highlight=False)
        self._zone = zone
        self._sessions: dict[str, int] = {}

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    def draw(self, rung: Rung) -> None:
        if rung.left_out:
            self._console.print(f"{_NO_TIME}  {rung.left_out} requests before this one are not shown: too many at once")
        if rung.session_id not in self._sessions:
            self._begin(rung)
        number = f"#{self._sessions[rung.session_id]}"
        moment = datetime.fromtimestamp(rung.time, self._zone).strftime("%H:%M:%S.%f")[:-3]
        first, *more = _asked(rung)
        self._line(f"{moment}  {number:<4}", _kind(rung), "◀──" if rung.from_us else "──▶", first)
        for text in more:
            self._line(f"{_NO_TIME}      ", "", "   ", text)
        if not rung.from_us:
            code = str(rung.result_code or "")
            style = _CODE_STYLE[rung.result_code == SUCCESS] if rung.result_code else ""
            self._line(f"{_NO_TIME}      ", code, "◀──", _answered(rung), style)

    def _begin(self, rung: Rung) -> None:
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.clear()
        number = self._sessions[rung.session_id] = len(self._sessions) + 1
        way = f"{rung.peer} by {rung.relay}" if rung.relay else rung.peer
        self._console.print(Text(f"── #{number} {way}  {rung.session_id}", style="bold"))

    def _line(self, left: str, kind: str, arrow: str, text: str, style: str = "") -> None:
        line = Text(f"{left}  ")
        line.append(f"{kind:<{_KIND_COLUMNS}}", style)
        line.append(f"{arrow}  {text}".rstrip())
        self._console.print(line)


def _kind(rung: Rung) -> str:
    return rung.kind if rung.number is None else f"{rung.kind} {rung.number}"


def _asked(rung: Rung) -> list[str]:
    """A line for each service: what it reports and asks for."""
    marks = [word for word, said in (("repeated", rung.retransmitted), ("late", rung.late)) if said]
    if rung.from_us or not rung.services:
        return [", ".join([*marks, *([rung.reason] if rung.from_us and rung.reason else [])])]
    lines = [_service_asked(each, rung.context) for each in rung.services]
    lines[0] += f" ({', '.join(marks)})" if marks else ""
    return lines


def _service_asked(service: RungService, context: str) -> str:
    name = " ".join(part for part in (context, service.key, service.rate, service.detail) if part)
    amounts = []
    if service.used:
        amounts.append(f"used {units_text(service.used, service.unit)}")
    if service.wanted is not None:
        amounts.append(f"wants {units_text(service.wanted, service.unit)}")
    return f"{name}: {', '.join(amounts)}" if amounts else name


def _answered(rung: Rung) -> str:
    return " · ".join(_answer_parts(rung))


def _answer_parts(rung: Rung) -> Iterator[str]:
    if rung.result_code and rung.result_code != SUCCESS:
        yield NAMES.get(rung.result_code, "?")
    if rung.reason:
        yield rung.reason
    if rung.duplicate:
        yield "the stored answer"
    several = len(rung.services) > 1
    for each in rung.services:
        if text := _granted(each, rung):
            yield f"{each.key}: {text}" if several else text
    if rung.debited_micro_eur:
        yield f"debited {format_eur(rung.debited_micro_eur)} EUR"
    if rung.held_micro_eur is not None and rung.credit_micro_eur is not None:
        yield f"held {format_eur(rung.held_micro_eur)} EUR"
    if rung.credit_micro_eur is not None:
        yield f"balance {format_eur(rung.credit_micro_eur)} EUR"
    if rung.took_ms is not None:
        yield f"{rung.took_ms:.1f} ms"


def _granted(service: RungService, rung: Rung) -> str:
    words = []
    if service.granted is not None and (service.granted or service.wanted):
        words.append(f"granted {units_text(service.granted, service.unit)}")
    words += ["final"] if service.final else []
    if service.result_code not in (None, SUCCESS, rung.result_code):
        words.append(f"{service.result_code} {NAMES.get(service.result_code or 0, '?')}")
    words += [service.reason] if service.reason else []
    if service.debited_units:
        words.append(f"buckets paid {units_text(service.debited_units, service.unit)}")
    return " ".join(words)
