"""Plays a timeline (`audit_timeline`) onto accounts on paper (`paper_account`).

What subscribers and care did (paid in, bought, set) is taken from the records. What follows is computed: what a use
costs and who pays, when periods begin and end, what is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simulator.audit_timeline import Entry, unix
from simulator.catalogue_sheet import CatalogueSheet
from simulator.paper_account import PaperAccount
from simulator.paper_counters import LIMIT
from simulator.paper_entries import Pool
from simulator.price_sheet import Row
from simulator.tally import CREDIT_LIMIT_REACHED, SUCCESS, SessionReport, Step

SETTLED = (2001, 4010, 4012)
"""Result-Codes with which reported use has been charged."""
FACT, BLOCKED = "fact", "b"
Record = Mapping[str, Any]


@dataclass(slots=True)
class Grant:
    """What a service was granted last."""

    rows: list[Row]
    at: int
    place: str
    final: bool = False
    changes_at: int = 0


@dataclass(slots=True)
class Line:
    """One account on paper."""

    paper: PaperAccount
    facts: set[str] = field(default_factory=set)
    """Words that rates ask for (HOT-ROA-4, HOT-ROA-8)."""
    ends: dict[int, int] = field(default_factory=dict)
    """Instance of a subscription → when its period ends; 0 = it waits."""
    rows: dict[str, Row] = field(default_factory=dict)
    """Those that were asked for, by label."""
    grants: dict[tuple[str, int], Grant] = field(default_factory=dict)
    beyond: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    """Credit paid beyond a limit: (counter, session, number of the request, counted, limit)."""
    allowed: dict[tuple[str, int], int] = field(default_factory=dict)
    """(counter, month) → what a limit that was lowered later had let pass."""


@dataclass(slots=True)
class Ahead:
    """What the record of an order does not say, from what followed. By event."""

    followed: dict[str, str] = field(default_factory=dict)
    """Of a `package`: product of the next period of the same subscription, if it is another (HOT-PKG-6)."""
    begins: dict[str, int] = field(default_factory=dict)
    """Of a plan: when it is to begin (HOT-PKG-11). Not of one that was given up before."""


def ahead(sheet: CatalogueSheet, records: Sequence[Record]) -> Ahead:
    found, paid, planned = Ahead(), dict[tuple[str, int], Record](), dict[tuple[str, int], Record]()
    for record in records:
        key = str(record["account"]), int(record.get("instance", 0))
        if record["kind"] == "subscription" and record.get("state") == "planned":
            planned[key] = record
        elif record["kind"] == "package":
            plan, before = planned.pop(key, None), paid.get(key)
            if plan is not None:
                found.begins[str(plan["event_id"])] = sheet.midnight(unix(record["time"]))
            if before is not None and before["package"] != record["package"]:
                found.followed[str(before["event_id"])] = str(record["package"])
            if record.get("paid"):
                paid[key] = record
    return found


class Replay:
    """`lines` after `play`. Raises SheetError: the catalogue has no such price."""

    def __init__(self, sheet: CatalogueSheet, records: Sequence[Record]) -> None:
        """`records`: all, for what an order says later only."""
        self.sheet, self._ahead = sheet, ahead(sheet, records)
        self.lines: dict[str, Line] = {}
        self._pools: defaultdict[str, Pool] = defaultdict(Pool)
        self._of: dict[str, Callable[[Line, int, Record], None]] = {
            "topup": self._topup,
            "package": self._package,
            "subscription": self._subscription,
            "limit": self._limit,
            "measure": self._measure,
            "pool": self._pool,
            "pool_limit": self._pool_limit,
            "state": self._state,
            "expired": self._expired,
            "pay_out": self._pay_out,
            "payment_returned": self._returned,
            "transfer_out": self._transfer,
            "transfer_in": self._transfer,
            "transfer_back": self._transfer,
            "separate": self._separate,
            "terminated": self._terminated,
        }

    def play(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.record is not None and entry.record["kind"] == "opened":
                self._open(entry)
                continue
            line = self.lines.get(entry.account)
            if line is None:
                continue
            if entry.step is not None and entry.report is not None:
                self._request(line, entry.at, entry.report, entry.step)
            elif entry.record is not None and (known := self._of.get(entry.record["kind"])) is not None:
                known(line, entry.at, entry.record)
        if entries:
            last = max(entry.at for entry in entries)
            for line in self.lines.values():
                line.paper.pass_time(last)

    # -- requests of the network

    def _request(self, line: Line, at: int, report: SessionReport, step: Step) -> None:
        paper = line.paper
        self._renew_for_the_pool(line, at)
        if step.code not in SETTLED:
            return
        paper.look(at)
        if step.refund:
            paper.refund(at, report.session_id)
            return
        if step.kind == "E":
            self._event(line, at, report, step)
            return
        for part in step.parts:
            grant = line.grants.get((report.session_id, part.service))
            if part.used:
                self._use(line, at, report, step, part.service, part.used, part.used_after)
            else:
                paper.release(report.session_id, str(part.service))
            if step.kind == "T" and part.used and grant is not None and grant.final:
                paper.stop(at, report.session_id, grant.rows, refused=False)
        if step.kind == "T":
            paper.release(report.session_id)
            return
        self._grant(line, at, report, step)

    def _renew_for_the_pool(self, line: Line, at: int) -> None:
        """A member's request renews what another shares, if its period has ended lately."""
        for other in self.lines.values() if line.paper.pool is not None else ():
            if other is not line and other.paper.pool is line.paper.pool and other.paper.owes_the_pool(at):
                other.paper.pass_time(at)

    def _grant(self, line: Line, at: int, report: SessionReport, step: Step) -> None:
        paper, wanting = line.paper, []
        for part in step.parts:
            if part.wanted is None or part.code not in (SUCCESS, CREDIT_LIMIT_REACHED):
                continue
            rows = self._rows(line, at, report, part.service, step.place)
            wanting.append((part, rows))
            line.grants[report.session_id, part.service] = Grant(rows, at, step.place, part.final, part.changes_at)
        if any(part.granted and not rows[0].always for part, rows in wanting):
            paper.begin(at)
        for part, rows in wanting:
            paper.ask(at, rows, part.wanted or self.sheet.default_units(at, report.services[part.service].service))
        for part, rows in wanting:
            if part.code == CREDIT_LIMIT_REACHED:
                paper.stop(at, report.session_id, rows, refused=True)
            paper.hold(at, report.session_id, str(part.service), rows, part.granted)

    def _event(self, line: Line, at: int, report: SessionReport, step: Step) -> None:
        for part in step.parts:
            rows = self._rows(line, at, report, part.service, step.place)
            if part.code == SUCCESS and not rows[0].always:
                line.paper.begin(at)
            if part.code in (SUCCESS, CREDIT_LIMIT_REACHED):
                line.paper.ask(at, rows, part.wanted or 1)
            if part.code == CREDIT_LIMIT_REACHED:
                line.paper.stop(at, report.session_id, rows, refused=True)
            if part.used:
                self._use(line, at, report, step, part.service, part.used, 0)

    def _use(
        self, line: Line, at: int, report: SessionReport, step: Step, service: int, used: int, used_after: int
    ) -> None:
        grant = line.grants.get((report.session_id, service))
        if grant is None:
            grant = Grant(self._rows(line, at, report, service, step.place), at, step.place)
        sides = [(grant.rows, used)]
        if used_after and grant.changes_at:
            after = self._rows(line, grant.changes_at, report, service, grant.place)
            sides = [(grant.rows, used - used_after), (after, used_after)]
        for rows, units in sides:
            if units:
                line.paper.use(at, report.session_id, rows, units, grant.at, str(service))
                self._look_at_limits(line, at, report, step, rows)

    def _look_at_limits(self, line: Line, at: int, report: SessionReport, step: Step, rows: list[Row]) -> None:
        paper = line.paper
        if not any(charge.debit for charge in paper.charges[-len(rows) :]):
            return
        for counter in {LIMIT, *(row.cap for row in rows if row.cap)}:
            key, limit = (counter, paper.month(at)), paper.limit_of(counter, at)
            if limit is not None and paper.counted[key] > max(limit, line.allowed.get(key, 0)):
                line.beyond.append((counter, report.session_id, step.number, paper.counted[key], limit))

    def _rows(self, line: Line, at: int, report: SessionReport, service: int, place: str) -> list[Row]:
        found = self.sheet.legs(
            at,
            report.services[service].service,
            place,
            direction="mt" if report.incoming else "mo",
            destination=report.destination_class,
            forwarding=report.forwarding,
            facts=line.facts,
        )
        line.rows.update({row.label: row for row in found})
        return found

    # -- what the records say was done

    def _open(self, entry: Entry) -> None:
        record = entry.record or {}
        paper = PaperAccount(self.sheet, self.sheet.zone)
        paper.limits = self.sheet.limits(entry.at)
        self.lines[entry.account] = Line(paper)
        unused = bool(record.get("unused"))
        paper.open(entry.at, int(record.get("credit_in_micro_eur", 0)), str(record.get("package", "")), unused=unused)

    def _topup(self, line: Line, at: int, record: Record) -> None:
        line.paper.separate += int(record.get("separate_in_micro_eur", 0))
        line.paper.top_up(at, int(record.get("credit_in_micro_eur", 0)), promotional=bool(record.get("promo")))

    def _package(self, line: Line, at: int, record: Record) -> None:
        """A period began. Those of renewals, and of what waited, begin on paper by themselves."""
        paper, id_, instance = line.paper, str(record["package"]), int(record.get("instance", 0))
        is_new = instance not in line.ends and not (instance == 1 and paper.has(id_))
        line.ends[instance] = unix(record.get("period_end", "")) if record.get("paid") else 0
        if is_new and record.get("paid"):
            paper.buy(at, id_, separate="separate_out_micro_eur" in record)
        paper.pass_time(at)
        following = self._ahead.followed.get(str(record["event_id"]))
        if following is not None:
            paper.follow(at, following)

    def _subscription(self, line: Line, at: int, record: Record) -> None:
        paper, id_, state = line.paper, str(record["package"]), record.get("state")
        instance = int(record.get("instance", 0))
        if state in ("planned", "armed"):
            line.ends[instance] = 0
            starts = self._ahead.begins.get(str(record["event_id"]), 0)
            if starts or state == "armed":
                paper.buy(at, id_, starts=starts, armed=not starts)
        elif state == "ending" and paper.has(id_):
            paper.cancel(at, id_)
        elif state == "ended" and not record.get("reason") and not 0 < line.ends.get(instance, 0) <= at:
            paper.pass_time(at)
            if paper.has(id_):
                paper.cancel(at, id_, at_once=True)

    def _limit(self, line: Line, at: int, record: Record) -> None:
        paper, counter = line.paper, str(record["counter"])
        key = counter, paper.month(at)
        line.allowed[key] = paper.counted[key] + paper.held
        paper.set_limit(at, counter, record.get("limit"), once=bool(record.get("once")))

    def _measure(self, line: Line, at: int, record: Record) -> None:
        line.paper.pass_time(at)
        if record.get("measure") == FACT:
            change = line.facts.add if record.get("state") == "begun" else line.facts.discard
            change(str(record["name"]))

    def _pool(self, line: Line, at: int, record: Record) -> None:
        line.paper.join(at, self._pools[record["pool"]] if record.get("pool") else None)

    def _pool_limit(self, line: Line, at: int, record: Record) -> None:
        units, member = int(record.get("units", 0)), None if record.get("common") else line.paper
        line.paper.pass_time(at)
        if line.paper.pool is not None:
            line.paper.pool.set_limit(member, str(record["bucket"]), units if units >= 0 else None)

    def _state(self, line: Line, at: int, record: Record) -> None:
        if record.get("state") == "blocked":
            line.paper.block(at, "record")
        elif record.get("was") == BLOCKED:
            line.paper.lift(at)

    def _expired(self, line: Line, at: int, record: Record) -> None:
        line.paper.pass_time(at)
        line.paper.release(str(record["session_id"]))

    def _pay_out(self, line: Line, at: int, _: Record) -> None:
        line.paper.pay_out(at)
        line.paper.separate = 0

    def _returned(self, line: Line, at: int, record: Record) -> None:
        line.paper.move(at, "payment returned", -int(record.get("debit_micro_eur", 0)))

    def _transfer(self, line: Line, at: int, record: Record) -> None:
        arrived = int(record.get("credit_in_micro_eur", 0))
        promotional = int(record.get("promo", 0)) * (1 if arrived else -1)
        line.paper.move(
            at, str(record["kind"]), arrived - int(record.get("debit_micro_eur", 0)), promotional=promotional
        )

    def _separate(self, line: Line, at: int, record: Record) -> None:
        if not record.get("open"):
            line.paper.close_separate(at)

    def _terminated(self, line: Line, at: int, _: Record) -> None:
        line.paper.end(at)
