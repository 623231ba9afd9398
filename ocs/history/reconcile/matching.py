"""Finds which lines of the host's file belong to which of our sessions, for one account and service.

1. Lines that say our Session-Id belong to that session; those with the charging id of one session, to that one.
2. Parts of one use, with one charging id, are one line.
3. One line, one session: the beginnings at most `tolerance_s` apart, the units alike. The nearest pairs first.
4. What is left belongs to the session during which it began (parts without a common id), nearest first; one that still
   lacks units before one that has them all. A session whose line says our Session-Id takes none that says another one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ocs.history.reconcile.store import Ours, Theirs

NEAREST = 64
"""Sessions before and after the beginning of a line that are looked at; a subscriber has a few at a time."""
LONG_S = 3600
"""Sessions of this length are looked at wherever they began, but at most NEAREST of them."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    seconds: int
    """Between beginnings."""
    units: int
    per_mille_mille: int
    """Of the greater amount: millionths."""

    def alike(self, one: int, other: int) -> bool:
        return abs(one - other) <= max(self.units, max(one, other) * self.per_mille_mille // 1_000_000)


@dataclass(slots=True)
class Pair:
    """One of our sessions and the lines that belong to it."""

    ours: Ours
    theirs: list[Theirs] = field(default_factory=list)

    @property
    def units(self) -> int:
        """By the host."""
        return sum(line.units for line in self.theirs)

    @property
    def amount(self) -> int:
        return sum(line.amount for line in self.theirs)


@dataclass(slots=True)
class Matched:
    pairs: list[Pair]
    """One for each of our sessions, in their order."""
    unmatched: list[Theirs]
    duplicates: list[Theirs]
    """Lines that an earlier one repeats in every field."""


def match(theirs: Sequence[Theirs], ours: Sequence[Ours], tolerance: Tolerance) -> Matched:
    """Both ordered by start."""
    lines, duplicates = _without_duplicates(theirs)
    pairs = [Pair(session) for session in ours]
    lines = _by_ids(lines, pairs)
    parts = _joined(lines)
    left = _alike(parts, pairs, tolerance)
    left = _within(left, pairs, tolerance)
    unmatched = [line for part in left for line in part.lines]
    return Matched(pairs, sorted(unmatched, key=lambda line: line.line), duplicates)


def _without_duplicates(theirs: Sequence[Theirs]) -> tuple[list[Theirs], list[Theirs]]:
    kept, duplicates, seen, start = list[Theirs](), list[Theirs](), set[Theirs](), None
    for line in theirs:
        if line.start != start:
            seen, start = set(), line.start
        same = replace(line, line=0)
        (duplicates if same in seen else kept).append(line)
        seen.add(same)
    return kept, duplicates


def _by_ids(lines: list[Theirs], pairs: list[Pair]) -> list[Theirs]:
    """Returns the lines that name no session of ours. A charging id that several sessions have names none."""
    by_session = {pair.ours.session: pair for pair in pairs}
    by_charging: dict[str, Pair | None] = {}
    for pair in pairs:
        if pair.ours.charging:
            by_charging[pair.ours.charging] = None if pair.ours.charging in by_charging else pair
    left = []
    for line in lines:
        found = by_session.get(line.session) if line.session else None
        found = found or (by_charging.get(line.charging) if line.charging else None)
        if found is None:
            left.append(line)
        else:
            found.theirs.append(line)
    return left


@dataclass(slots=True)
class _Part:
    """Lines of one use."""

    lines: list[Theirs]
    start: int
    units: int


def _joined(lines: list[Theirs]) -> list[_Part]:
    groups: dict[object, list[Theirs]] = defaultdict(list)
    for line in lines:
        groups[line.charging or (line.line,)].append(line)
    parts = [_Part(group, group[0].start, sum(line.units for line in group)) for group in groups.values()]
    return sorted(parts, key=lambda part: (part.start, part.lines[0].line))


def _alike(parts: list[_Part], pairs: list[Pair], tolerance: Tolerance) -> list[_Part]:
    """Pairs one part with one session. Returns the parts that found none."""
    free = [pair for pair in pairs if not pair.theirs]
    starts = [pair.ours.start for pair in free]
    candidates = []
    for number, part in enumerate(parts):
        at = bisect_left(starts, part.start)
        first = max(bisect_left(starts, part.start - tolerance.seconds), at - NEAREST)
        for place in range(first, min(bisect_right(starts, part.start + tolerance.seconds), at + NEAREST)):
            session = free[place].ours
            if tolerance.alike(session.units, part.units):
                distance = abs(session.start - part.start), abs(session.units - part.units)
                candidates.append((*distance, number, place))
    taken: set[int] = set()
    for _, _, number, place in sorted(candidates):
        if number not in taken and not free[place].theirs:
            taken.add(number)
            free[place].theirs.extend(parts[number].lines)
    return [part for number, part in enumerate(parts) if number not in taken]


def _within(parts: list[_Part], pairs: list[Pair], tolerance: Tolerance) -> list[_Part]:
    """Gives each part to a session during which it began. Returns those for which there is none."""
    left = []
    starts = [pair.ours.start for pair in pairs]
    long = [pair for pair in pairs if pair.ours.end - pair.ours.start >= LONG_S][:NEAREST]
    for part in parts:
        last = bisect_right(starts, part.start + tolerance.seconds)
        near = pairs[max(last - NEAREST, 0) : last]
        earliest_end, latest_start = part.start - tolerance.seconds, part.start + tolerance.seconds
        found = [
            pair
            for pair in (*near, *long)
            if pair.ours.start <= latest_start and pair.ours.end >= earliest_end and not _says_another(part, pair)
        ]
        if not found:
            left.append(part)
            continue
        best = min(found, key=partial(_distance, at=part.start))
        best.theirs.extend(part.lines)
    return left


def _says_another(part: _Part, pair: Pair) -> bool:
    """Whether the host tells these apart: it says our Session-Id in lines of `pair`, and another one in the part."""
    own = pair.ours.session
    return any(line.session == own for line in pair.theirs) and any(
        line.session not in ("", own) for line in part.lines
    )


def _distance(pair: Pair, at: int) -> tuple[bool, int]:
    return pair.units >= pair.ours.units, abs(pair.ours.start - at)
