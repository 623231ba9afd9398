"""Why a charge differs from the account on paper: the rule that it breaks, in a few words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Protocol

from simulator.account_replay import Line
from simulator.paper_counters import LIMIT
from simulator.paper_entries import Units
from simulator.paper_products import VOLUME
from simulator.tally import SessionReport

SURCHARGE = ".surcharge"


class Paid(Protocol):
    """What a session used at a rate, and who paid."""

    @property
    def used(self) -> int: ...
    @property
    def debit(self) -> int: ...
    @property
    def units(self) -> Counter[str]: ...


def of_charge(
    line: Line, report: SessionReport | None, label: str, paper: Paid, recorded: Paid, differing: Collection[str]
) -> tuple[str, str]:
    """(rule, why). `differing`: labels of the session that differ."""
    labels_differ = len(differing) > 1 or not paper.used or not recorded.used
    if report is not None and report.forwarding and labels_differ:
        return "HOT-RAT-7", _of_forwarding(report)
    if label.endswith(SURCHARGE):
        return "HOT-ROA-4", "the surcharge that the account pays in the EU"
    if paper.used != recorded.used and report is not None and any(step.refund for step in report.steps):
        return "HOT-REC-2", "use as the network reported it, less what it took back"
    if paper.used != recorded.used:
        if labels_differ:
            return "HOT-RAT-1", "price by service, place, direction and destination"
        return "HOT-REC-2", "use as the network reported it"
    if +paper.units != +recorded.units:
        return _of_units(line, report, label, paper, recorded)
    return "HOT-PKG-5", "steps rounded up once a session, micro-EUR once a price"


def _of_forwarding(report: SessionReport) -> str:
    if report.forwarding == "early":
        return "forwarded before the phone was reached: a call from home, wherever the subscriber is"
    return "forwarded from where the subscriber is: abroad the call from there, and an incoming one"


def _of_units(line: Line, report: SessionReport | None, label: str, paper: Paid, recorded: Paid) -> tuple[str, str]:
    wrong = {id_ for id_, units in recorded.units.items() if units > paper.units[id_]}
    owned = _owned(line)
    for id_ in sorted(wrong):
        if id_ not in owned:
            return "HOT-PKG-2", f"no period of {id_} was paid and runs"
        if label in line.rows and id_.rpartition(".")[2] not in line.rows[label].units:
            return "HOT-ROA-6", f"{id_} does not pay there"
    missing = {id_ for id_, units in paper.units.items() if units > recorded.units[id_]}
    in_eu = report is not None and any(step.place == "eu" for step in report.steps)
    if line.paper.volume is not None and in_eu and not (wrong and missing):
        left = max(line.paper.volume - line.paper.volume_used, 0)
        return "HOT-ROA-2", (
            f"included units pay in the EU up to the fair-use volume of {line.paper.volume} octets ({left} left)"
        )
    if any(owned[id_].last for id_ in wrong) and missing:
        return "HOT-PKG-10", f"{' and '.join(sorted(missing))} pay before the tariff's units"
    if wrong and missing:
        return "HOT-PKG-3", f"{' and '.join(sorted(missing))} end first, and pay first"
    if missing:
        return "HOT-PKG-3", f"{' and '.join(sorted(missing))} pay before credit"
    return "HOT-PKG-3", f"{' and '.join(sorted(wrong))} had no such units left"


def _owned(line: Line) -> dict[str, Units]:
    pool = line.paper.pool.units if line.paper.pool else ()
    return {each.id: each for each in (*line.paper.units, *pool)}


def of_counter(counter: str) -> tuple[str, str]:
    if counter == LIMIT:
        return "HOT-CC-3", "the spending limit"
    return "HOT-ROA-5", f"the limit {counter}"


def of_notice(what: str, percent: int) -> tuple[str, str]:
    if what == "low credit":
        return "HOT-ACC-8", "told once each time that use takes the credit below the mark"
    once = f"{percent} % of {what} is told once"
    if what == LIMIT:
        return "HOT-CC-4", f"{once} a month, and again after a change of the limit"
    if what == VOLUME:
        return "HOT-ROA-3", f"{once} a period of the tariff"
    if "." in what:
        return "HOT-NOT-1", f"{once} a period"
    return "HOT-ROA-5", f"{once} a month, and again after a change of the limit"
