"""Compares the host's usage file with our charging records, session by session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from zoneinfo import ZoneInfo

from ocs.history.reconcile.line import BadLine, Line
from ocs.history.reconcile.matching import Matched, Pair, Tolerance, match
from ocs.history.reconcile.our_sessions import add_sessions
from ocs.history.reconcile.outcome import Outcome, Result
from ocs.history.reconcile.store import Difference, Ours, Store, Theirs
from ocs.outbox.legs import IsSecond
from ocs.outbox.reading import Range, Record
from ocs.settings.reconciliation import ReconcileSection

MAX_BAD_LINES_SHOWN = 50
NO_ACCOUNT = "no account has this number"
Key = tuple[str, str]
"""Account and service."""


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that the ledger has open."""

    session: str
    service: str
    started: int


OpenSessions = Callable[[str], Iterable[OpenSession]]
"""Account id → its open sessions."""


def read_lines(lines: Iterable[Line | BadLine], store: Store) -> Result:
    """Stores the lines of a file. Those without units cannot be missing anywhere, and are left out."""
    result = Result(0, 0)
    for line in lines:
        result.lines += 1
        if isinstance(line, BadLine):
            result.bad_lines += 1
            if len(result.bad) < MAX_BAD_LINES_SHOWN:
                result.bad.append((line.number, line.reason))
        elif line.units or line.amount_micro_eur:
            store.add_line(line)
    store.flush()
    return result


def days_of(store: Store, zone: ZoneInfo) -> Range | None:
    """The whole days on which the file's lines begin; None = it has none."""
    span = store.span()
    if span is None:
        return None
    first, last = (datetime.fromtimestamp(each, UTC).astimezone(zone).date() for each in span)
    begins = datetime(first.year, first.month, first.day, tzinfo=zone)
    following = last + timedelta(days=1)
    ends = datetime(following.year, following.month, following.day, tzinfo=zone)
    return Range(max(int(begins.timestamp()), 0), int(ends.timestamp()))


def add_ours(store: Store, records: Iterable[Record], is_second: IsSecond, wanted: Range) -> None:
    """`records` from the range's beginning on, to the newest: a session is recorded when it ends."""
    store.rename(add_sessions(records, store, is_second, wanted.until))
    store.flush()


def tolerances(settings: ReconcileSection) -> dict[str, Tolerance]:
    millionths = int(Decimal(settings.tolerance_percent) * 10_000)
    units = {"data": settings.tolerance_octets, "voice": settings.tolerance_seconds, "sms": 0, "mms": 0}
    return {
        service: Tolerance(settings.tolerance_s, each, 0 if service in ("sms", "mms") else millionths)
        for service, each in units.items()
    }


def compare(
    store: Store,
    result: Result,
    wanted: Range,
    tolerance: dict[str, Tolerance],
    is_open: OpenSessions = lambda account: (),
) -> None:
    """Fills `result`, and the differences of the store."""
    result.since, result.until = wanted.since, wanted.until
    judge = _Judge(store, result, wanted, tolerance, is_open)
    for service, line in store.strangers():
        judge.missing_here("", service, line, NO_ACCOUNT)
    for key, theirs, ours in _groups(store):
        judge.group(key, match(theirs, ours, tolerance[key[1]]))
    judge.flush()


def _groups(store: Store) -> Iterator[tuple[Key, list[Theirs], list[Ours]]]:
    """Both sides of each account and service: a merge of two ordered streams."""
    theirs = groupby(store.their_groups(), key=lambda row: row[0])
    ours = groupby(store.our_groups(), key=lambda row: row[0])
    one, other = next(theirs, None), next(ours, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], [line for _, line in one[1]], []
            one = next(theirs, None)
        elif one is None or other[0] < one[0]:
            yield other[0], [], [session for _, session in other[1]]
            other = next(ours, None)
        else:
            yield one[0], [line for _, line in one[1]], [session for _, session in other[1]]
            one, other = next(theirs, None), next(ours, None)


class _Judge:
    """Decides the outcome of what was matched, and what is at stake."""

    def __init__(
        self, store: Store, result: Result, wanted: Range, tolerance: dict[str, Tolerance], is_open: OpenSessions
    ) -> None:
        self._store, self._result, self._range = store, result, wanted
        self._tolerance, self._is_open = tolerance, is_open
        self._found: list[Difference] = []

    def group(self, key: Key, matched: Matched) -> None:
        account, service = key
        for pair in matched.pairs:
            self._pair(account, service, pair)
        for line in matched.duplicates:
            self._add(Outcome.DUPLICATE, account, service, None, [line], line.amount)
        waiting = list(self._is_open(account)) if matched.unmatched else []
        for line in matched.unmatched:
            if not self._in_range(line.start):
                self._add(Outcome.EDGE, account, service, None, [line], 0)
            elif any(self._may_be(line, each, service) for each in waiting):
                self._add(Outcome.OPEN, account, service, None, [line], 0)
            else:
                self.missing_here(account, service, line, "")

    def _may_be(self, line: Theirs, session: OpenSession, service: str) -> bool:
        if line.session:
            return line.session == session.session
        return session.service == service and session.started <= line.start + self._tolerance[service].seconds

    def missing_here(self, account: str, service: str, line: Theirs, why: str) -> None:
        self._add(Outcome.MISSING_HERE, account, service, None, [line], line.amount, why)

    def _pair(self, account: str, service: str, pair: Pair) -> None:
        """Use that the host bills too much is worth its share of the bill; too little, its share of what we charged."""
        ours = pair.ours
        if not (self._in_range(ours.start) and ours.end <= self._range.until):
            if pair.theirs or self._in_range(ours.start):
                self._add(Outcome.EDGE, account, service, ours, pair.theirs, 0)
        elif not pair.theirs:
            if ours.units > 0:
                self._add(Outcome.MISSING_THERE, account, service, ours, [], max(ours.charged, 0))
        elif self._tolerance[service].alike(ours.units, pair.units):
            self._add(Outcome.MATCHED, account, service, ours, pair.theirs, 0)
        else:
            more = pair.units - ours.units
            stake = pair.amount * more // pair.units if more > 0 else ours.charged * -more // ours.units
            self._add(Outcome.DIFFERENT, account, service, ours, pair.theirs, max(stake, 0))

    def _in_range(self, unix_s: int) -> bool:
        return self._range.since <= unix_s < self._range.until

    def _add(
        self,
        outcome: Outcome,
        account: str,
        service: str,
        ours: Ours | None,
        theirs: list[Theirs],
        stake: int,
        why: str = "",
    ) -> None:
        mine, charged = (ours.units, ours.charged) if ours else (0, 0)
        units, billed = sum(line.units for line in theirs), sum(line.amount for line in theirs)
        self._result.add(outcome, service, ours=mine, theirs=units, charged=charged, billed=billed, stake=stake)
        if outcome is Outcome.MATCHED:
            return
        first = min(theirs, key=lambda line: line.line) if theirs else None
        session = ours.session if ours else first.session if first else ""
        number, start = (first.line if first else 0), (ours.start if ours else first.start if first else 0)
        self._found.append(
            Difference(
                outcome.value, account, service, session, number, start, mine, units, charged, billed, stake, why
            )
        )
        if len(self._found) >= 10_000:
            self.flush()

    def flush(self) -> None:
        self._store.add_differences(self._found)
        self._found.clear()
