"""The timeline of the story as text: what was asked, answered, what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import ROUND_DOWN, Decimal
from itertools import groupby

from simulator.story_result import Asked, Entry
from simulator.summary import RESULT_NAMES, human_units
from simulator.tally import SUCCESS

UPDATE_FOLLOWS = 2002
CENT = Decimal("0.01")


def left(entry: Entry) -> str:
    """Credit in whole cents, rounded down as in notices, and units of the pack."""
    if not entry.credit:
        return ""
    pack = "" if entry.units is None else f", {human_units('data', entry.units)} of the pack"
    return f"{Decimal(entry.credit).quantize(CENT, ROUND_DOWN)} EUR{pack}"


def asked_text(asked: Sequence[Asked]) -> tuple[str, str]:
    """Requests and their answers, equal ones together: ("CCR-I, 9 × CCR-U", "2001 50.0 MB, 2001 50.0 MB")."""
    parts = [(_times(count, one.what), _answer(one)) for count, one in _runs(asked)]
    return ", ".join(what for what, _ in parts), ", ".join(answer for _, answer in parts)


def _runs(asked: Sequence[Asked]) -> Iterator[tuple[int, Asked]]:
    """(how many, the last) of equal requests with equal answers that follow each other."""
    for _, group in groupby(asked, key=lambda one: (one.what, one.code, one.granted)):
        found = list(group)
        yield len(found), found[-1]


def _times(count: int, what: str) -> str:
    return what if count == 1 else f"{count} × {what}"


def _answer(one: Asked) -> str:
    if one.code == SUCCESS and one.granted is not None:
        granted = f"{one.granted} s" if one.traffic == "voice" else human_units("data", one.granted)
        return f"{one.code} {granted}"
    return (
        str(one.code)
        if one.code in (SUCCESS, UPDATE_FOLLOWS)
        else f"{one.code} {RESULT_NAMES.get(one.code, '')}".rstrip()
    )
