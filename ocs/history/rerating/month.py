"""Re-rates all use of a month with a draft of the catalogue: what it would have earned.

Each account is charged twice on paper: by the catalogue in force and by the draft (`ShadowAccount`). The difference of
the two is what the draft changes. The first, beside what was recorded, says how far the paper can be trusted.

Records from one longest period before the month on are read, so that periods and included units are known when it
begins. Accounts are independent of each other: partitions are shared out to processes, and to passes that keep memory
bounded.
"""

from __future__ import annotations

import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path

from ocs.catalogue.versions import Catalogues
from ocs.history.rerating.shadow import Paid, ShadowAccount
from ocs.history.rerating.uses import Use, started_at, uses_of
from ocs.outbox import reading
from ocs.outbox.explain import is_emergency
from ocs.outbox.facts import KINDS
from ocs.outbox.legs import IsSecond, second_legs
from ocs.outbox.reading import Range, Record, Source, unix_s
from ocs.values.identities import uid_of
from ocs.values.use import Unrateable

OCTETS_OF_A_PASS = 1024**3
"""Octets of records whose accounts are in memory together, of all processes: about a million accounts."""
MOST_WARM_UP_S = 100 * 86_400
"""Longer periods are not waited for: their units are of unknown origin."""
MOST_SHOWN = 10
"""Accounts with the greatest changes that are kept."""
NO_TARIFF = "no tariff"
Key = tuple[str, str, str]
"""(tariff, service, place)."""


@dataclass(slots=True)
class Sum:
    """Micro-EUR."""

    uses: int = 0
    recorded: int = 0
    in_force: int = 0
    """By the catalogue in force, on paper."""
    draft: int = 0

    def add(self, recorded: int, in_force: int, draft: int) -> None:
        self.uses += 1
        self.recorded, self.in_force, self.draft = (
            self.recorded + recorded, self.in_force + in_force, self.draft + draft
        )  # fmt: skip

    def join(self, other: Sum) -> None:
        self.uses += other.uses
        self.recorded, self.in_force = self.recorded + other.recorded, self.in_force + other.in_force
        self.draft += other.draft


@dataclass(slots=True)
class Month:
    """The result, of all or of some accounts."""

    records: int = 0
    use: defaultdict[Key, Sum] = field(default_factory=partial(defaultdict, Sum))
    fees: defaultdict[str, Sum] = field(default_factory=partial(defaultdict, Sum))
    """By product."""
    left_out: defaultdict[str, Sum] = field(default_factory=partial(defaultdict, Sum))
    """Reason → what could not be re-rated. Only `uses` and `recorded` mean something."""
    assumed: int = 0
    """Uses that units of unknown origin paid in part."""
    more: int = 0
    less: int = 0
    same: int = 0
    changes: list[tuple[int, str]] = field(default_factory=list)
    """(draft - in force, account) of accounts with the greatest changes."""

    def join(self, other: Month) -> None:
        self.records += other.records
        for key, total in other.use.items():
            self.use[key].join(total)
        for product, total in other.fees.items():
            self.fees[product].join(total)
        for reason, total in other.left_out.items():
            self.left_out[reason].join(total)
        self.assumed += other.assumed
        self.more, self.less, self.same = self.more + other.more, self.less + other.less, self.same + other.same
        self.changes = _greatest([*self.changes, *other.changes])

    @property
    def total(self) -> Sum:
        """Use and fees, without what was left out."""
        total = Sum()
        for each in (*self.use.values(), *self.fees.values()):
            total.join(each)
        return total

    @property
    def deviation(self) -> int:
        """Micro-EUR by which the paper differs from the records: the sum over tariffs, services, places, products."""
        return sum(abs(each.in_force - each.recorded) for each in (*self.use.values(), *self.fees.values()))


def _greatest(changes: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    ordered = sorted((each for each in changes if each[0]), key=lambda each: (-abs(each[0]), each[1]))
    return ordered[:MOST_SHOWN]


def month_range(month: str, catalogues: Catalogues) -> Range:
    """Of a calendar month of the operator, such as 2026-11. ValueError = there is none."""
    begins = datetime.fromisoformat(f"{month}-01").replace(tzinfo=catalogues.time_zone)
    next_year, next_month = (begins.year + 1, 1) if begins.month == 12 else (begins.year, begins.month + 1)
    ends = begins.replace(year=next_year, month=next_month)
    return Range(int(begins.timestamp()), int(ends.timestamp()))


def warm_up_s(catalogues: Catalogues) -> int:
    """Seconds before the month from which on records are read: the longest period of a product."""
    periods = [terms.period_s for version in catalogues.versions for terms in version.terms.values()]
    return min(max(periods, default=0), MOST_WARM_UP_S)


class _Account:
    """One account, charged twice."""

    def __init__(self, in_force: Catalogues, draft: Catalogues) -> None:
        self.in_force, self.draft = ShadowAccount(in_force), ShadowAccount(draft)
        self.name = ""
        """Its last id."""
        self.change = 0
        self.is_in_month = False


class Rerating:
    """Takes records in the order of each account's events."""

    def __init__(self, in_force: Catalogues, draft: Catalogues, wanted: Range) -> None:
        self._in_force, self._draft, self._range = in_force, draft, wanted
        self._is_second: IsSecond = second_legs(in_force)
        self._accounts: dict[str, _Account] = {}
        """By the part of their ids that stays when they move."""
        self.result = Month()

    def take(self, record: Record) -> None:
        kind = record["kind"]
        if kind in ("charge", "expired"):
            self._charge(record)
        elif kind == "package" and record.get("paid"):
            self._fee(record)
        elif kind in KINDS:
            account = self._account(record)
            account.in_force.take(record)
            account.draft.take(record)
        elif kind == "refund" and self._counts(record):
            self.result.left_out["a refund"].add(-record.get("credit_in_micro_eur", 0), 0, 0)

    def finish(self) -> Month:
        result = self.result
        changes = []
        for account in self._accounts.values():
            if account.is_in_month:
                result.more += account.change > 0
                result.less += account.change < 0
                result.same += account.change == 0
                changes.append((account.change, account.name))
        result.changes = _greatest(changes)
        return result

    def _account(self, record: Record) -> _Account:
        name = str(record["account"])
        stays = uid_of(name) or name
        account = self._accounts.get(stays)
        if account is None:
            account = self._accounts[stays] = _Account(self._in_force, self._draft)
        account.name = name
        return account

    def _counts(self, record: Record) -> bool:
        """Whether it is of the month; what is before only prepares the account."""
        return self._range.since <= unix_s(record["time"]) < self._range.until

    def _fee(self, record: Record) -> None:
        account, product = self._account(record), str(record["package"])
        old, new = account.in_force.fee(record), account.draft.fee(record)
        if not self._counts(record):
            return
        self.result.records += 1
        account.is_in_month = True
        recorded = record.get("debit_micro_eur", 0) or record.get("separate_out_micro_eur", 0)
        if new is None or old is None:
            where = "the draft" if new is None else "the catalogue in force"
            self.result.left_out[f"product {product} is not in {where}"].add(recorded, 0, 0)
            return
        if not recorded:  # it was free for this account, by what was agreed
            old = new = 0
        self.result.fees[product].add(recorded, old, new)
        account.change += new - old

    def _charge(self, record: Record) -> None:
        account = self._account(record)
        counts = self._counts(record)
        at, session = unix_s(record["time"]), str(record.get("session_id", record["event_id"]))
        for use in uses_of(record, self._is_second):
            if isinstance(use, int):
                if counts:
                    self.result.left_out["the record does not say what was used"].add(use, 0, 0)
                continue
            use.event.at = started_at(record)
            self._use(account, use, session, at, counts)
        closed = record["kind"] == "expired" or record.get("closed", False) or record.get("request_type") == "E"
        for each in (account.in_force, account.draft):
            each.recorded(session, at, closed=closed)
        if counts:
            self.result.records += 1
            account.is_in_month = True

    def _use(self, account: _Account, use: Use, session: str, at: int, counts: bool) -> None:
        use.event.emergency = is_emergency(self._in_force, use.event, use.label)
        paid: list[Paid] = []
        for name, shadow in (("the catalogue in force", account.in_force), ("the draft", account.draft)):
            try:
                paid.append(shadow.use(use, session, at))
            except Unrateable as error:
                if counts:
                    self.result.left_out[f"{name} has no rate: {error.reason}"].add(use.charged, 0, 0)
                return
        if not counts:
            return
        old, new = paid
        leg = new.legs[0]
        tariff = account.in_force.tariff or NO_TARIFF
        self.result.use[tariff, leg.service, leg.place].add(use.charged, old.micro_eur, new.micro_eur)
        self.result.assumed += old.buckets_assumed
        account.change += new.micro_eur - old.micro_eur


# -- reading, in several processes


@dataclass(frozen=True, slots=True)
class Job:
    """What is re-rated."""

    files: tuple[Source, ...]
    month: Range
    read_from: int
    """Unix seconds: records before the month prepare the accounts."""
    in_force: Catalogues
    draft: Catalogues
    account: str = ""
    """"" = all."""


def job_of(folder: Path, month: Range, in_force: Catalogues, draft: Catalogues, account: str = "") -> Job:
    read_from = max(month.since - max(map(warm_up_s, (in_force, draft))), 0)
    files = reading.sources(folder, Range(read_from, month.until))
    return Job(tuple(files), month, read_from, in_force, draft, account)


def shares_of(job: Job, processes: int) -> int:
    """Into how many shares the partitions are divided, so that those of all processes fit into memory."""
    if job.account:  # it may have been in several partitions
        return 1
    octets = sum(each.octets for each in job.files)
    return processes * max(-(-octets // OCTETS_OF_A_PASS), 1)


_JOB: list[Job] = []
"""The job of this process and of those that are forked from it: catalogues are not sent, but inherited."""


def run(job: Job, processes: int, done: Callable[[], None] = lambda: None) -> Month:
    """Calls `done` after each share. Call it outside an event loop: it forks. RecordsError: a line is damaged."""
    result, count = Month(), shares_of(job, processes)
    _JOB[:] = [job]
    shares = [(number, count) for number in range(count)]
    try:
        for part in _results(shares, processes):
            result.join(part)
            done()
    finally:
        _JOB.clear()
    return result


def _results(shares: list[tuple[int, int]], processes: int) -> Iterator[Month]:
    if processes == 1:
        yield from map(_work, shares)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        yield from pool.map(_work, shares)


def _work(share: tuple[int, int]) -> Month:
    (job,) = _JOB
    rerating = Rerating(job.in_force, job.draft, job.month)
    for record in reading.read(list(job.files), Range(job.read_from, job.month.until), share=share):
        if not job.account or uid_of(str(record["account"])) == uid_of(job.account):
            rerating.take(record)
    return rerating.finish()
