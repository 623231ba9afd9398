"""Which accounts can be computed again, and what that finds (`account_audit`).

All use of an account must be known: each of its sessions in the records is one that was reported here, with all its
requests, each clearly answered. The records must have the account from its opening.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from simulator.account_audit import Accounts, differences
from simulator.audit_timeline import Record
from simulator.catalogue_sheet import CatalogueSheet
from simulator.differences import Difference
from simulator.group_audit import of_transfer
from simulator.price_sheet import SheetError
from simulator.records import RecordBook
from simulator.tally import SessionReport


@dataclass(slots=True)
class Recomputed:
    accounts: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    """Why accounts were not computed again → how many."""
    differences: list[Difference] = field(default_factory=list)


def recompute(reports: Sequence[SessionReport], book: RecordBook, sheet: CatalogueSheet) -> Recomputed:
    known = _Known(reports, book)
    result = Recomputed()
    for transfer, records in book.transfers.items():
        result.differences += of_transfer(transfer, records)
    for ids in known.together():
        reason = known.unclear(ids)
        if not reason:
            try:
                result.differences += differences(known.accounts(ids), sheet)
            except SheetError as error:
                reason = str(error)
        if reason:
            result.left_out[reason] += len(ids)
        else:
            result.accounts.update(ids)
    return result


class _Known:
    """What is known of each account; one that moved goes by its last id."""

    def __init__(self, reports: Sequence[SessionReport], book: RecordBook) -> None:
        self._book = book
        self._last: dict[str, str] = {}
        self._ids: defaultdict[str, list[str]] = defaultdict(list)
        of_number: dict[str, str] = {}
        for account in book.accounts:
            self._last[account] = account
        for account, before in book.moved.items():
            self._last[before] = account
        for account in book.accounts:
            self._ids[self._last_of(account)].append(account)
        for report in reports:
            if report.msisdn and report.session_id in book.sessions:
                of_number[report.msisdn] = self._last_of(book.sessions[report.session_id].account)
        self._reports: defaultdict[str, list[SessionReport]] = defaultdict(list)
        for report in reports:
            account = of_number.get(report.msisdn, "")
            if not account and report.session_id in book.sessions:
                account = self._last_of(book.sessions[report.session_id].account)
            if account:
                self._reports[account].append(report)
        self._recorded: defaultdict[str, set[str]] = defaultdict(set)
        for session_id, session in book.sessions.items():
            self._recorded[self._last_of(session.account)].add(session_id)

    def _last_of(self, account: str) -> str:
        while self._last.get(account, account) != account:
            account = self._last[account]
        return account

    def together(self) -> Iterator[tuple[str, ...]]:
        """Accounts with use, those of a pool together."""
        above: dict[str, str] = {}

        def root(account: str) -> str:
            while account in above:
                account = above[account]
            return account

        for members in self._book.pools.values():
            first, *others = sorted({self._last_of(account) for account in members})
            for each in others:
                if root(each) != root(first):
                    above[root(each)] = root(first)
        found: defaultdict[str, list[str]] = defaultdict(list)
        for account in self._ids:
            found[root(account)].append(account)
        for ids in found.values():
            if any(account in self._reports for account in ids):
                yield tuple(sorted(ids))

    def unclear(self, ids: Sequence[str]) -> str:
        """Why these accounts cannot be computed again; "" = they can."""
        for account in ids:
            if not any(each in self._book.opened for each in self._ids[account]):
                return "the records do not have the opening"
            mine = {report.session_id for report in self._reports[account]}
            if self._recorded[account] - mine:
                return "sessions of others"
            for report in self._reports[account]:
                if report.uncertain or not all(step.is_clear for step in report.steps):
                    return "a request was not clearly answered"
                if not report.place and report.services:
                    return "sessions whose place is not known"
                reported = sum(service.used for service in report.services)
                steps = (step for step in report.steps if not step.refund)
                if report.steps_lost or reported != sum(part.used for step in steps for part in step.parts):
                    return "requests that were not kept"
        return ""

    def accounts(self, ids: Sequence[str]) -> Accounts:
        sessions = [(account, report) for account in ids for report in self._reports[account]]
        still_open = [report.session_id for _, report in sessions if not self._is_recorded(report)]
        every = [each for account in ids for each in self._ids[account]]
        records: list[Record] = [
            {**record, "account": self._last_of(str(record["account"]))}
            for record in in_order(self._book.records_of(every))
        ]
        return Accounts(tuple(ids), sessions, records, frozenset(still_open))

    def _is_recorded(self, report: SessionReport) -> bool:
        session = self._book.sessions.get(report.session_id)
        return report.closed or (session is not None and session.closed)


def in_order(records: Iterable[Record]) -> Iterator[Record]:
    """Records of several partitions by time; those of one partition stay in the order of the ledger. An account arrives
    in a partition after it has left another.
    """
    partitions: defaultdict[str, list[tuple[tuple[str, bool], Record]]] = defaultdict(list)
    for record in records:
        before = partitions[str(record["event_id"]).partition("-")[0]]
        key = str(record["time"]), record["kind"] == "moved_in"
        before.append((max(key, before[-1][0]) if before else key, record))
    merged = heapq.merge(*partitions.values(), key=lambda each: each[0])
    return (record for _, record in merged)
