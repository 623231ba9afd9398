"""Compares the ledger and its records with the paper, account by account; each difference is a sentence."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ocs.ledger.audit import pool_violations, violations
from ocs.ledger.contract.views import AccountView, BucketView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.outbox.format import record
from ocs.outbox.vat import Vat
from simulator.paper_counters import LIMIT
from simulator.paper_entries import Charge, Units
from tests.ocs.ledger.books import outbox_read
from tests.ocs.year.line import CAP, Line

PAGE = 5_000


def text(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


@dataclass(slots=True)
class Books:
    """An account's records so far."""

    moved: int = 0
    """Σ credit_in − Σ debit, micro-EUR."""
    promotional: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    fees: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    notices: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    counted: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(counter, month) → micro-EUR of the records."""


class Check:
    """`read`: the last event of each partition that is not looked at."""

    def __init__(self, ledger: RedisLedger, lines: list[Line], read: list[int] | None = None) -> None:
        self.ledger, self.lines = ledger, lines
        self.books: defaultdict[int, Books] = defaultdict(Books)
        self.events = 0
        self.records: list[dict[str, Any]] = []
        """All charging records."""
        self.differences: list[str] = []
        self._read = read or [0] * ledger.partitions

    def _line_of(self) -> dict[str, Line]:
        return {account_id: line for line in self.lines for account_id in line.account_ids}

    async def day(self) -> None:
        """Read what was recorded since the last time, and compare the accounts that it is about."""
        line_of, touched = self._line_of(), dict[int, Line]()
        for partition in range(self.ledger.partitions):
            while found := await outbox_read(self.ledger, partition, after=self._read[partition], count=PAGE):
                self._read[partition] = found[-1].sequence
                for event in found:
                    body: dict[str, Any] = event.body
                    line = line_of[body["a"]]
                    touched[line.number] = line
                    self._note(line, body)
                    self.records.append(record(event, Vat(line.world.catalogue)))
                    self._vat(line, self.records[-1], body["t"])
        for line in touched.values():
            await self.compare(line)

    def _note(self, line: Line, event: dict[str, Any]) -> None:
        books, kind = self.books[line.number], event["k"]
        self.events += 1
        books.events.append(event)
        debit, back = int(event.get("debit") or 0), int(event.get("credit_in") or 0)
        books.moved += back - debit
        books.promotional += (event.get("promo") or 0) * (1 if back else -1)
        if event.get("credit") is not None and int(event["credit"]) < 0:
            self._differs(line, event["t"], f"credit of {event['credit']} in {event}")
        month = line.paper.month(event["t"])
        if kind in ("use", "charge", "refund"):
            books.counted[LIMIT, month] += debit - back
        if kind == "package" and event["ok"]:
            if "counts" in line.sheet.article(event["t"], event["id"]).marks:
                books.counted[LIMIT, month] += debit
            self._once(line, books.fees, event, ("instance", "period_end"))
        self._area_and_period(line, event)
        if kind == "threshold":
            self._once(line, books.notices, event, ("counter", "window", "limit", "pct"))
        if kind == "bucket":
            self._once(line, books.notices, event, ("id", "subscription", "pct"))

    def _vat(self, line: Line, found: dict[str, Any], moment: int) -> None:
        """Each line of a record states its VAT (HOT-RAT-8)."""
        taxed = [(part, part["price"].rpartition("/")[2]) for part in found.get("services") or ()]
        if found["kind"] in ("package", "share"):
            taxed.append((found, ""))
        for part, version in taxed:
            gross = part.get("debit_micro_eur") or part.get("credit_in_micro_eur") or 0
            stated = part.get("vat_percent"), part.get("net_micro_eur")
            expected = line.sheet.net(gross, moment, version) if gross else (None, None)
            if stated != expected:
                self._differs(line, moment, f"VAT percent and net {stated}, on paper {expected}: {part}")

    def _once(self, line: Line, seen: Counter[tuple[Any, ...]], event: dict[str, Any], names: tuple[str, ...]) -> None:
        """A fee is paid once a period, a notice is told once a month or period (or again when a limit was set)."""
        window: list[int] = []
        if event["k"] != "package":
            events = self.books[line.number].events
            window = [sum(each["k"] in ("package", "limit") for each in events)]
            if event.get("window") == "month":
                window = [line.paper.month(event["t"]), sum(each["k"] == "limit" for each in events)]
        key = (event["k"], *window, *(event.get(name) for name in names))
        seen[key] += 1
        if seen[key] > 1:
            self._differs(line, event["t"], f"told or paid twice: {event}")

    def _area_and_period(self, line: Line, event: dict[str, Any]) -> None:
        """Included units pay only where a row names them, and only in periods that were paid (HOT-ROA-6, HOT-PKG-2)."""
        for part in event.get("svc") or () if event["k"] != "refund" else ():
            names = {name for row in line.sheet.rows() if row.label == part["label"] for name in row.units}
            for id_, _ in part["units"]:
                product, _, name = id_.rpartition(".")
                if name not in names:
                    self._differs(line, event["t"], f"{id_} paid for {part['label']}: {event}")
                if line.paper.pool is None and not self._was_paid(line, product, event):
                    self._differs(line, event["t"], f"{id_} paid outside its period: {event}")

    def _was_paid(self, line: Line, product: str, event: dict[str, Any]) -> bool:
        """Whether a paid period of the product and the time that the record is about have a moment in common."""
        since = event.get("started") or event["t"]
        return any(
            fee["k"] == "package" and fee["ok"] and fee["id"] == product and fee["period_end"] >= since
            for fee in self.books[line.number].events
        )

    def _differs(self, line: Line, moment: int, what: str) -> None:
        self.differences.append(f"{line.msisdn} ({line.account_id}) {text(moment)}: {what}")

    # -- an account at this moment

    async def compare(self, line: Line) -> None:
        view = await line.view()
        for found in (*self._wrong(line, view), *(self._differing(line, view) if line.on_paper else ())):
            self._differs(line, line.now, found)
        if view.pool:
            await self._compare_pool(line, view)

    def _wrong(self, line: Line, view: AccountView) -> Iterator[str]:
        """What is wrong by itself: the account's own books, and its records."""
        books = self.books[line.number]
        for violation in violations(view):
            yield f"invariant {violation.invariant}: {violation.detail}"
        if books.moved != view.credit_micro_eur:
            yield f"the records add up to {books.moved} micro-EUR, the credit is {view.credit_micro_eur}"
        if books.promotional != view.promotional_micro_eur:
            yield f"the records add up to {books.promotional} promotional, it is {view.promotional_micro_eur}"
        counted = books.counted[LIMIT, line.paper.month(line.now)]
        for counter in view.counters:
            if counter.id == LIMIT and counter.value != counted:
                yield f"counter {LIMIT} is {counter.value}, its records add up to {counted}"

    def _differing(self, line: Line, view: AccountView) -> Iterator[str]:
        """What differs from the paper."""
        paper = line.paper
        if view.state == "terminated":
            paper.pass_time(line.now)
        if (paper.credit, paper.promotional) != (view.credit_micro_eur, view.promotional_micro_eur):
            yield (
                f"credit {view.credit_micro_eur}, promotional {view.promotional_micro_eur}; on paper {paper.credit}, "
                f"{paper.promotional}" + self._lately(line)
            )
        have, on_paper = _left(view.buckets, line.now), _left_on_paper(paper.units, line.now)
        if have != on_paper:
            yield f"units {have}, on paper {on_paper}" + self._lately(line)
        for counter in view.counters:
            counted = paper.counted[counter.id, paper.month(line.now)]
            if counter.id in (LIMIT, CAP) and counter.value != counted:
                yield f"counter {counter.id} is {counter.value}, on paper {counted}" + self._lately(line)

    async def _compare_pool(self, line: Line, view: AccountView) -> None:
        pool = await self.ledger.read_pool(view.account_id, view.pool)
        assert pool is not None and line.paper.pool is not None
        for violation in pool_violations(pool, {view.account_id: view}):
            self._differs(line, line.now, f"pool, invariant {violation.invariant}: {violation.detail}")
        have, paper = _left(pool.buckets, line.now), _left_on_paper(line.paper.pool.units, line.now)
        if have != paper:
            self._differs(line, line.now, f"units of the pool {have}, on paper {paper}" + self._lately(line))

    def _lately(self, line: Line) -> str:
        """The last movements of both, to find the first that differs."""
        events = [e for e in self.books[line.number].events if e.get("debit") or e.get("credit_in") or e.get("svc")]
        charges = [each for each in line.paper.charges if each.debit or each.units]
        told = [f"    record {_record_text(event)}" for event in events[-5:]]
        return "\n" + "\n".join([*told, *(f"    paper  {_charge_text(each)}" for each in charges[-5:])])

    # -- the whole year

    def year(self) -> None:
        for line in self.lines:
            self._compare_charges(line)
            self._compare_fees(line)
            self._compare_notices(line)

    def _compare_charges(self, line: Line) -> None:
        """Σ records = Σ on paper, for each session, label and version of the price list."""
        recorded: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(lambda: [0, 0, Counter(), 0])
        for event in self.books[line.number].events:
            for part in event.get("svc") or ():
                back = event["k"] == "refund"
                label, _, version = part["price"].rpartition("/")
                sums = recorded[event["sid"], label.partition("@")[0], version]
                sums[0] += -part["used"] if back else part["used"]
                sums[1] += -part["credit_in"] if back else part["debit"]
                for id_, units in part["units"]:
                    sums[2][id_] += -units if back else units
                sums[3] += part.get("overrun") or 0
        paper: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(lambda: [0, 0, Counter(), 0])
        moments = {}
        for each in line.paper.charges:
            if each.session:
                moments[each.session] = each.at
                sums = paper[each.session, each.what, each.version]
                sums[0] += each.used
                sums[1] += each.debit
                sums[2].update(each.units)
                sums[3] += each.unpaid
        for key in recorded.keys() | paper.keys():
            one, other = recorded[key], paper[key]
            one[2], other[2] = +one[2], +other[2]
            if one != other and (any(one) or any(other)):
                self._differs(
                    line,
                    moments.get(key[0], 0),
                    f"{' '.join(key)}: (used, debit, units, unpaid) {one}, on paper {other}",
                )

    def _compare_fees(self, line: Line) -> None:
        recorded = Counter(
            (event["id"], event["debit"])
            for event in self.books[line.number].events
            if event["k"] == "package" and event["ok"]
        )
        ids = {id_ for version in line.sheet.articles for id_ in version}
        paper = Counter((each.what, each.debit) for each in line.paper.charges if not each.session and each.what in ids)
        if recorded != paper:
            self._differs(line, line.now, f"fees {recorded - paper} only recorded, {paper - recorded} only on paper")

    def _compare_notices(self, line: Line) -> None:
        names = {"threshold": "counter", "bucket": "id"}
        recorded: Counter[tuple[int, str, int | str]] = Counter(
            (event["t"], event[names[event["k"]]], event["pct"])
            for event in self.books[line.number].events
            if event["k"] in names
        )
        recorded.update(
            (e["t"], f"arrived {e['country']}", 0) for e in self.books[line.number].events if e["k"] == "arrived"
        )
        recorded.update((e["t"], "low credit", 0) for e in self.books[line.number].events if e["k"] == "low_credit")
        recorded.update(
            (e["t"], "fair use", e["state"]) for e in self.books[line.number].events if e["k"] == "fair_use"
        )
        paper: Counter[tuple[int, str, int | str]] = Counter(line.paper.notices)
        paper.update((at, "fair use", state) for at, state in line.presence.told)
        if recorded != paper:
            self._differs(line, line.now, f"notices {recorded - paper} only recorded, {paper - recorded} only on paper")


def _left(buckets: Sequence[BucketView], now: int) -> list[tuple[str, int, int]]:
    """(bucket, end, units left; -1 = unlimited) of those that run."""
    return sorted((b.id, b.expires_at, -1 if b.left is None else b.left) for b in buckets if b.expires_at > now)


def _left_on_paper(units: Sequence[Units], now: int) -> list[tuple[str, int, int]]:
    running = (each for each in units if each.starts <= now < each.ends)
    return sorted((each.id, each.ends, -1 if each.left is None else each.left) for each in running)


def _record_text(event: dict[str, Any]) -> str:
    rest = {name: value for name, value in event.items() if name not in ("k", "t", "a") and value}
    return f"{text(event['t'])} {event['k']} {rest}"


def _charge_text(charge: Charge) -> str:
    units = dict(charge.units)
    return f"{text(charge.at)} {charge.what} {charge.session} used {charge.used} debit {charge.debit} units {units}"
