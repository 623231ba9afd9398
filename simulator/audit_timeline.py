"""What happened to accounts in order: requests of the network, and what the records say was ordered, paid in or set.

A request that moved money or ended a session left a record, which tells its place among the others. The other requests
are placed by the time of their answers, other records by their second. Requests that were under way at the same time
may have been applied in either order: `orders` gives the possible ones, the most likely first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations, islice
from typing import Any

from simulator.tally import SessionReport, Step

OF_REQUESTS = ("use", "charge")
"""Kinds of records that a request leaves."""
MOST_UNSURE, MOST_EXCHANGED, MOST_ORDERS = 24, 3, 100
"""Most pairs of neighbours whose order is not known, most of them that are exchanged at a time, most orders tried."""
CLOCKS_S = 2
"""Clocks of network and server differ by less."""
Record = Mapping[str, Any]


def unix(text: str) -> int:
    """Of a record's time, "2026-11-22T16:30:00Z"."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) if text else 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A request (`step` of `report`), or a record that is no request's."""

    account: str
    at: int
    """Unix seconds."""
    until: int
    report: SessionReport | None = None
    step: Step | None = None
    record: Record | None = None
    """Of a request: the one that it left, if any."""


def timeline(reports: Sequence[tuple[str, SessionReport]], records: Sequence[Record]) -> list[Entry]:
    """`reports`: sessions with their account; `records`: of the same accounts, in the order of the ledger."""
    left: dict[tuple[str, int], Record] = {}
    for record in records:
        if record["kind"] in OF_REQUESTS and "session_id" in record:
            left.setdefault((record["session_id"], record.get("request_number", 0)), record)
    steps = []
    for account, report in reports:
        for step in report.steps:
            record_of = left.get((report.session_id, step.number))
            if record_of is not None and not step.at - CLOCKS_S <= unix(record_of["time"]) <= step.until + CLOCKS_S:
                record_of = None  # of the hour, or of what came late
            steps.append(_entry(account, report, step, record_of))
    steps.sort(key=lambda each: each.step.answered if each.step else 0.0)
    steps = _in_order_of_records(steps, records)
    return _with_facts(steps, records)


def _entry(account: str, report: SessionReport, step: Step, record: Record | None) -> Entry:
    at = unix(record["time"]) if record is not None else step.at
    return Entry(account, at, max(at, step.until), report, step, record)


def _in_order_of_records(steps: list[Entry], records: Sequence[Record]) -> list[Entry]:
    rank = {record["event_id"]: n for n, record in enumerate(records)}
    places = [n for n, each in enumerate(steps) if each.record is not None]
    ordered = sorted((steps[n] for n in places), key=lambda each: rank[each.record["event_id"]] if each.record else 0)
    for n, each in zip(places, ordered, strict=True):
        steps[n] = each
    return steps


def _with_facts(steps: list[Entry], records: Sequence[Record]) -> list[Entry]:
    """Put the other records between the requests: not before what the ledger did before them."""
    of_step = {each.record["event_id"]: n for n, each in enumerate(steps) if each.record is not None}
    begins = [each.at for each in steps]
    for n in range(1, len(begins)):
        begins[n] = max(begins[n], begins[n - 1])
    placed: list[tuple[int, int, Entry]] = [(2 * n + 1, 0, each) for n, each in enumerate(steps)]
    lowest, following = 0, _next_anchors(records, of_step, len(steps))
    for number, record in enumerate(records):
        anchor = of_step.get(record["event_id"])
        if anchor is not None:
            lowest = max(lowest, anchor + 1)
            continue
        at = unix(record["time"])
        place = min(max(bisect_left(begins, at), lowest), following[number])
        lowest = max(lowest, place)
        placed.append((2 * place, number, Entry(record["account"], at, at, record=record)))
    placed.sort(key=lambda each: each[:2])
    return [each for _, _, each in placed]


def _next_anchors(records: Sequence[Record], of_step: Mapping[str, int], end: int) -> list[int]:
    """For each record: the first request that the ledger applied after it."""
    found, nearest = [], end
    for record in reversed(records):
        found.append(nearest)
        nearest = min(nearest, of_step.get(record["event_id"], nearest))
    return found[::-1]


def orders(entries: list[Entry]) -> Iterator[list[Entry]]:
    """The timeline as it is, then with neighbours exchanged whose order is not known; at most MOST_ORDERS."""
    return islice(_orders(entries), MOST_ORDERS)


def _orders(entries: list[Entry]) -> Iterator[list[Entry]]:
    yield entries
    unsure = [n for n in range(len(entries) - 1) if _may_be_exchanged(entries[n], entries[n + 1])][:MOST_UNSURE]
    for count in range(1, MOST_EXCHANGED + 1):
        for chosen in combinations(unsure, count):
            other = list(entries)
            for n in chosen:
                other[n], other[n + 1] = other[n + 1], other[n]
            yield other


def _may_be_exchanged(one: Entry, other: Entry) -> bool:
    if one.record is not None and other.record is not None:
        return False
    if one.step is None or other.step is None:
        return one.at <= other.until and other.at <= one.until
    return one.report is not other.report and other.step.sent < one.step.answered
