"""Computes accounts again from what the network reported, and compares with their charging records.

Whole accounts: which included units paid (HOT-PKG-3, -10, -13), the fair-use volume (HOT-ROA-2, -3), surcharges
(HOT-ROA-4), limits (HOT-CC-3, HOT-ROA-5), legs of forwarded calls (HOT-RAT-7), fees and periods (HOT-PKG-2), notices,
and the credit that is left. Accounts that share a pool are played together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from simulator.account_replay import Line, Replay
from simulator.audit_timeline import CLOCKS_S, Record, orders, timeline, unix
from simulator.catalogue_sheet import CatalogueSheet
from simulator.differences import Difference, masked
from simulator.explanations import of_charge, of_counter, of_notice
from simulator.tally import SessionReport

NOTICES = {"threshold": "counter", "bucket": "bucket", "low_credit": ""}
"""Kinds of records that tell something → the field that names what."""


@dataclass(slots=True)
class Sums:
    """What one session used at one rate of one version of the catalogue, and who paid."""

    used: int = 0
    debit: int = 0
    units: Counter[str] = field(default_factory=Counter)
    unpaid: int = 0
    records: list[str] = field(default_factory=list)

    def same(self, other: Sums) -> bool:
        mine, its = (self.used, self.debit, self.unpaid), (other.used, other.debit, other.unpaid)
        return mine == its and +self.units == +other.units

    def text(self) -> str:
        units = ", ".join(f"{count} of {id_}" for id_, count in sorted(self.units.items()) if count)
        unpaid = f", {self.unpaid} unpaid" if self.unpaid else ""
        return f"{self.used} used, {self.debit} micro-EUR" + (f", {units}" if units else "") + unpaid


@dataclass(frozen=True, slots=True)
class Accounts:
    """Accounts that are played together, with all that is known of them."""

    ids: tuple[str, ...]
    sessions: Sequence[tuple[str, SessionReport]]
    """With the account."""
    records: Sequence[Record]
    open_sessions: frozenset[str] = frozenset()
    """Those whose use is not fully recorded yet."""

    @property
    def numbers(self) -> dict[str, str]:
        return {account: masked(report.msisdn) for account, report in self.sessions}


def differences(accounts: Accounts, sheet: CatalogueSheet) -> list[Difference]:
    """Of the most likely order in which requests were applied; none if some possible order explains the records.
    Raises SheetError.
    """
    first: list[Difference] | None = None
    for entries in orders(timeline(accounts.sessions, accounts.records)):
        replay = Replay(sheet, accounts.records)
        replay.play(entries)
        found = list(_Comparison(accounts, replay.lines).all())
        if not found:
            return []
        first = found if first is None else first
    return first or []


class _Comparison:
    def __init__(self, accounts: Accounts, lines: Mapping[str, Line]) -> None:
        self._accounts, self._lines, self._numbers = accounts, lines, accounts.numbers
        self._reports = {report.session_id: report for _, report in accounts.sessions}
        steps = (step for _, report in accounts.sessions for step in report.steps)
        self._apart_s = CLOCKS_S + max((step.until - step.at for step in steps), default=0)
        """A request was applied between its question and its answer."""

    def all(self) -> Iterator[Difference]:
        for account in self._accounts.ids:
            line = self._lines.get(account)
            if line is None:
                continue
            records = [record for record in self._accounts.records if record["account"] == account]
            found = [*self._charges(account, line, records), *self._fees(account, line, records)]
            found += [*self._limits(account, line, records), *self._notices(account, line, records)]
            yield from found
            if not found and not self._accounts.open_sessions:
                yield from self._credit(account, line, records)

    def _difference(
        self, rule: str, account: str, session: str, records: Sequence[str], expected: str, charged: str, why: str
    ) -> Difference:
        number = self._numbers.get(account, "")
        return Difference(rule, account, number, session, tuple(records), expected, charged, why)

    # -- use

    def _charges(self, account: str, line: Line, records: Sequence[Record]) -> Iterator[Difference]:
        recorded, paper = _recorded_sums(records), _paper_sums(line)
        sessions: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
        for key in recorded.keys() | paper.keys():
            if key[0] not in self._accounts.open_sessions:
                sessions[key[0]].add(key)
        for session, keys in sorted(sessions.items()):
            differing = [key for key in sorted(keys) if not paper[key].same(recorded[key])]
            for key in differing:
                one, other = paper[key], recorded[key]
                rule, why = of_charge(line, self._reports.get(session), key[1], one, other, [k[1] for k in differing])
                events = other.records or sorted({e for k in keys for e in recorded[k].records})
                label = f"{key[1]} of version {key[2]}: "
                yield self._difference(rule, account, session, events, label + one.text(), other.text(), why)

    # -- fees

    def _fees(self, account: str, line: Line, records: Sequence[Record]) -> Iterator[Difference]:
        recorded: Counter[tuple[str, int, int, int]] = Counter()
        events: dict[tuple[str, int, int, int], str] = {}
        for record in records:
            if record["kind"] == "package" and record.get("paid"):
                ends = unix(record.get("period_end", ""))
                key = (
                    str(record["package"]),
                    int(record.get("debit_micro_eur", 0)),
                    int(record.get("separate_out_micro_eur", 0)),
                    ends if ends > unix(record["time"]) else 0,
                )
                recorded[key] += 1
                events[key] = str(record["event_id"])
        paper = Counter((each.what, each.debit, each.separate, each.ends) for each in line.paper.charges if each.is_fee)
        only, missing = sorted((recorded - paper).elements()), sorted((paper - recorded).elements())
        for n in range(max(len(only), len(missing))):
            one, other = (list_[n] if n < len(list_) else None for list_ in (missing, only))
            about = (events[other],) if other is not None else ()
            product = (one or other or ("",))[0]
            rule = "HOT-GRP-5" if one and other and one[2] != other[2] else "HOT-PKG-2"
            yield self._difference(
                rule, account, "", about, _fee(one), _fee(other), f"fee and period of {product} by the price list"
            )

    # -- limits and notices

    def _limits(self, account: str, line: Line, records: Sequence[Record]) -> Iterator[Difference]:
        for counter, session, number, counted, limit in line.beyond:
            if session in self._accounts.open_sessions:
                continue
            events = [
                str(record["event_id"])
                for record in records
                if record.get("session_id") == session and record.get("request_number", 0) == number
            ] or [str(record["event_id"]) for record in records if record.get("session_id") == session]
            rule, what = of_counter(counter)
            yield self._difference(
                rule, account, session, events, f"at most {limit} micro-EUR", f"{counted} micro-EUR",
                f"{counted - limit} micro-EUR of use paid beyond {what} of the month",
            )  # fmt: skip

    def _notices(self, account: str, line: Line, records: Sequence[Record]) -> Iterator[Difference]:
        recorded: defaultdict[tuple[str, int], list[tuple[int, str]]] = defaultdict(list)
        for record in records:
            name = NOTICES.get(record["kind"])
            if name is not None:
                what = str(record[name]) if name else "low credit"
                recorded[what, int(record.get("percent", 0))].append((unix(record["time"]), str(record["event_id"])))
        paper: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        for at, what, percent in line.paper.notices:
            paper[what, percent].append(at)
        for key in sorted(recorded.keys() | paper.keys()):
            told, due = recorded[key], paper[key]
            if len(told) == len(due) and all(
                abs(at - expected) <= self._apart_s for (at, _), expected in zip(told, sorted(due), strict=True)
            ):
                continue
            rule, why = of_notice(key[0], key[1])
            yield self._difference(
                rule, account, "", [event for _, event in told], _times(due), _times([at for at, _ in told]), why
            )

    def _credit(self, account: str, line: Line, records: Sequence[Record]) -> Iterator[Difference]:
        stated = [record for record in records if record.get("credit_micro_eur") is not None]
        if stated and stated[-1]["credit_micro_eur"] != line.paper.credit:
            yield self._difference(
                "HOT-ACC-1", account, "", [str(stated[-1]["event_id"])], f"{line.paper.credit} micro-EUR of credit",
                f"{stated[-1]['credit_micro_eur']}", "what was paid in, less what was charged",
            )  # fmt: skip
        separate = sum(
            int(record.get("separate_in_micro_eur", 0)) - int(record.get("separate_out_micro_eur", 0))
            for record in records
        )
        if separate != line.paper.separate:
            yield self._difference(
                "HOT-GRP-5", account, "", [], f"{line.paper.separate} micro-EUR in the separate account",
                f"{separate}", "what was paid into it, less what it paid",
            )  # fmt: skip


def _fee(fee: tuple[str, int, int, int] | None) -> str:
    if fee is None:
        return "none"
    product, debit, separate, ends = fee
    return (
        f"{product}: {debit or separate} micro-EUR"
        + (" of the separate account" if separate else "")
        + (f", period until {ends} (Unix)" if ends else "")
    )


def _times(moments: Sequence[int]) -> str:
    return "told at " + ", ".join(map(str, moments)) if moments else "not told"


def _recorded_sums(records: Sequence[Record]) -> defaultdict[tuple[str, str, str], Sums]:
    """By session, rate and version."""
    found: defaultdict[tuple[str, str, str], Sums] = defaultdict(Sums)
    for record in records:
        for part in record.get("services") or () if record.get("session_id") else ():
            name, _, version = str(part.get("price", "")).rpartition("/")
            sums = found[str(record["session_id"]), name.partition("@")[0], version]
            sums.used += int(part.get("used", 0))
            sums.debit += int(part.get("debit_micro_eur", 0)) - int(part.get("credit_in_micro_eur", 0))
            sums.unpaid += int(part.get("overrun_units", 0))
            for id_, units in (part.get("bucket_units") or {}).items():
                sums.units[id_] += int(units)
            if str(record["event_id"]) not in sums.records:
                sums.records.append(str(record["event_id"]))
    return found


def _paper_sums(line: Line) -> defaultdict[tuple[str, str, str], Sums]:
    found: defaultdict[tuple[str, str, str], Sums] = defaultdict(Sums)
    for charge in line.paper.charges:
        if charge.session:
            sums = found[charge.session, charge.what, charge.version]
            sums.used, sums.debit, sums.unpaid = (
                sums.used + charge.used, sums.debit + charge.debit, sums.unpaid + charge.unpaid
            )  # fmt: skip
            for id_, units in charge.units.items():
                sums.units[id_] += units
    return found
