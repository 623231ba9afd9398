"""Which lines of the host belong to which of our sessions: worked by hand, and by chance with a known answer."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.history.reconcile import store as store_module
from ocs.history.reconcile.line import Line
from ocs.history.reconcile.matching import NEAREST, Matched, Tolerance, match
from ocs.history.reconcile.outcome import Outcome
from ocs.history.reconcile.reconcile import add_ours, compare, days_of, read_lines
from ocs.history.reconcile.store import Ours, Theirs, open_store
from ocs.outbox.reading import Record
from ocs.values.moment import utc_text

MINUTE = 60
DAY = 1_793_404_800
"""2026-10-31T00:00:00Z."""
TOLERANCE = Tolerance(seconds=60, units=2, per_mille_mille=10_000)
"""A minute; 2 units or 1 %."""


def ours(name: str, start: int, units: int, lasts: int = 0, charging: str = "") -> Ours:
    return Ours(name, start, start + lasts, units, 0, charging)


def theirs(line: int, start: int, units: int, session: str = "", charging: str = "", record: str = "") -> Theirs:
    return Theirs(line, start, start, units, 0, session, charging, record)


def lines_of(found: Matched) -> list[list[int]]:
    return [sorted(line.line for line in pair.theirs) for pair in found.pairs]


def test_the_nearest_beginning_with_alike_units() -> None:
    found = match([theirs(1, 1000, 100), theirs(2, 1030, 500)], [ours("a", 1001, 101), ours("b", 1029, 500)], TOLERANCE)
    assert lines_of(found) == [[1], [2]] and found.unmatched == []


def test_units_tell_two_sessions_of_one_second_apart() -> None:
    found = match([theirs(1, 1000, 500), theirs(2, 1000, 100)], [ours("a", 1000, 100), ours("b", 1000, 500)], TOLERANCE)
    assert lines_of(found) == [[2], [1]]


def test_a_minute_is_within_and_a_second_more_is_not() -> None:
    assert lines_of(match([theirs(1, 1060, 100)], [ours("a", 1000, 100)], TOLERANCE)) == [[1]]
    found = match([theirs(1, 1061, 100)], [ours("a", 1000, 100)], TOLERANCE)
    assert lines_of(found) == [[]] and [line.line for line in found.unmatched] == [1]


def test_the_tolerance_is_the_greater_of_units_and_percent() -> None:
    assert TOLERANCE.alike(10, 12) and not TOLERANCE.alike(10, 13)
    assert TOLERANCE.alike(9_900, 10_000) and not TOLERANCE.alike(9_899, 10_000)


def test_parts_with_one_charging_id_are_one_use() -> None:
    parts = [theirs(1, 1000, 40, charging="7"), theirs(2, 4600, 60, charging="7")]
    assert lines_of(match(parts, [ours("a", 1000, 100, 5000)], TOLERANCE)) == [[1, 2]]


def test_parts_without_an_id_belong_to_the_session_during_which_they_began() -> None:
    parts = [theirs(1, 1000, 40), theirs(2, 4600, 60), theirs(3, 9000, 5)]
    found = match(parts, [ours("a", 1000, 100, 5000), ours("b", 9010, 5, 10)], TOLERANCE)
    assert lines_of(found) == [[1, 2], [3]]


def test_a_session_id_decides_whatever_time_and_units_say() -> None:
    found = match([theirs(1, 1000, 100, session="b")], [ours("a", 1000, 100), ours("b", 90_000, 7)], TOLERANCE)
    assert lines_of(found) == [[], [1]]


def test_a_line_of_another_session_at_the_same_time_stays_alone() -> None:
    """Two calls at once, one of which has no record yet: its line says a Session-Id that is not here."""
    found = match([theirs(1, 100, 60, "a"), theirs(2, 110, 297, "b")], [ours("a", 100, 60, lasts=300)], TOLERANCE)
    assert lines_of(found) == [[1]] and [line.line for line in found.unmatched] == [2]


def test_session_ids_of_the_hosts_own_say_nothing() -> None:
    found = match([theirs(1, 100, 40, "x1"), theirs(2, 130, 20, "x2")], [ours("a", 100, 60, lasts=60)], TOLERANCE)
    assert lines_of(found) == [[1, 2]]


def test_a_charging_id_decides_unless_several_sessions_have_it() -> None:
    sessions = [ours("a", 1000, 100), ours("b", 90_000, 7, charging="47"), ours("c", 95_000, 1, charging="48")]
    found = match([theirs(1, 1000, 100, charging="47")], sessions, TOLERANCE)
    assert lines_of(found) == [[], [1], []]
    again = [*sessions, ours("d", 99_000, 5, charging="47")]
    assert lines_of(match([theirs(1, 1000, 100, charging="47")], again, TOLERANCE)) == [[1], [], [], []]


def test_a_line_that_repeats_another_is_a_duplicate_and_a_like_one_is_not() -> None:
    lines = [theirs(1, 1000, 1), theirs(2, 1000, 1), theirs(3, 1000, 1, record="other")]
    found = match(lines, [ours("a", 1000, 1), ours("b", 1000, 1)], TOLERANCE)
    assert [line.line for line in found.duplicates] == [2]
    assert lines_of(found) == [[1], [3]]


def test_messages_of_one_second_have_a_line_each() -> None:
    """Three recipients of one message are three lines of the host."""
    lines = [theirs(n, 1000, 1, record=str(n)) for n in range(1, 6)]
    found = match(lines, [ours("one", 1000, 1), ours("three", 1000, 3), ours("last", 1000, 1)], Tolerance(60, 0, 0))
    assert sorted(map(len, lines_of(found))) == [1, 1, 3] and found.unmatched == []


def test_a_burst_of_messages_is_matched_in_a_moment() -> None:
    count = 50 * NEAREST
    lines = [theirs(n + 1, 1000 + n // 10, 1, record=str(n)) for n in range(count)]
    sessions = [ours(f"s{n:06d}", 1000 + n // 10, 1) for n in range(count)]
    found = match(lines, sessions, Tolerance(60, 0, 0))
    assert found.unmatched == [] and all(len(pair.theirs) == 1 for pair in found.pairs)


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_a_file_of_the_same_sessions_has_no_difference(seed: int, count: int) -> None:
    """Sessions one after the other, clocks apart by some seconds: each line finds its session."""
    chance = random.Random(seed)
    now, sessions, lines = 10_000, [], []
    for number in range(count):
        lasts = chance.randint(1, 3 * MINUTE)
        units = chance.randint(1, 10**9)
        sessions.append(ours(f"s{number:02d}", now, units, lasts))
        lines.append(theirs(number + 1, now + chance.randint(-5, 5), units))
        now += lasts + chance.randint(0, 10 * MINUTE)
    order = sorted(lines, key=lambda line: (line.start, line.line))
    found = match(order, sessions, TOLERANCE)
    assert found.unmatched == [] and found.duplicates == []
    for pair in found.pairs:
        assert len(pair.theirs) == 1 and TOLERANCE.alike(pair.units, pair.ours.units)


def test_memory_does_not_grow_with_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and sessions are in SQLite; of one account at a time they are in memory."""
    monkeypatch.setattr(store_module, "ROWS_AT_ONCE", 200)

    def peak(count: int) -> int:
        def lines() -> Iterator[Line]:
            for n in range(count):
                yield Line(
                    n + 1,
                    str(38_668_000_000 + n % (count // 20)),
                    "",
                    "data",
                    DAY + n % 80_000,
                    DAY + n % 80_000,
                    n + 1,
                )

        def sessions() -> Iterator[Record]:
            for n in range(count):
                line = {"used": n + 1, "label": "data.home", "detail": "29340 mo internet"}
                yield {
                    "kind": "charge", "event_id": f"p01-{n}", "time": utc_text(DAY + n % 80_000), "context": "data",
                    "account": f"m{38_668_000_000 + n % (count // 20)}", "session_id": f"pgw;{n}", "services": [line],
                }  # fmt: skip

        tracemalloc.start()
        try:
            with open_store(None) as store:
                result = read_lines(lines(), store)
                for batch in store.subscribers():
                    store.know({each: each for each in batch})
                wanted = days_of(store, ZoneInfo("UTC"))
                assert wanted is not None
                add_ours(store, sessions(), lambda label, direction: False, wanted)
                compare(store, result, wanted, {"data": TOLERANCE})
                assert result.count(Outcome.MATCHED) == count and result.differences == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(9_000) < 1.8 * peak(3_000)
