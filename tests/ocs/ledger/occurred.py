"""What a random walk met, counted, so that the model test cannot become empty unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ocs.ledger.contract import Action, ChargeOutcome, ChargeRequest, RequestType, ServiceCharge
from tests.ocs.ledger.model import MAX_GIVEN_UP
from tests.ocs.ledger.model_state import Account, Event, Service

LEAST = {
    "E debit 2001": 300,
    "E debit 4010 bar": 4,
    "E debit 4010 state": 50,
    "E debit 4012 credit": 80,
    "E debit 4012 limit": 14,
    "E debit 0 identity": 12,
    "E debit duplicate": 70,
    "E debit, buckets pay": 80,
    "E debit, credit pays": 250,
    "E check 2001": 120,
    "E check 4010 state": 14,
    "E on the id of a live session": 70,
    "E refund 2001": 160,
    "E refund 5012 no_debit": 80,
    "E refund 5012 nothing_left": 70,
    "E refund duplicate": 50,
    "refund of money": 100,
    "refund of units": 18,
    "refund in part": 70,
    "I 2001": 800,
    "I 0 identity": 20,
    "I 4010 state": 100,
    "I 4010 bar": 2,
    "I 4012 credit": 20,
    "I 5012 open": 16,
    "I duplicate": 200,
    "I after given up": 10,
    "U 2001": 1000,
    "U 0 identity": 16,
    "U 0 place": 70,
    "U 4010 state": 25,
    "U 5002 binding": 40,
    "U 5002 session": 80,
    "U 5012 late": 60,
    "U duplicate": 100,
    "U late": 100,
    "U, buckets pay": 60,
    "U, credit pays": 300,
    "U with a lower number": 80,
    "U of a live session, active": 800,
    "U of a live session, blocked": 8,
    "U of a live session, inactive": 50,
    "past its deadline, not given up": 80,
    "T 2001": 140,
    "T 0 place": 8,
    "T 5002 binding": 5,
    "T 5002 session": 40,
    "T duplicate": 16,
    "T late": 60,
    "T after a refused opening": 8,
    "T, buckets pay": 8,
    "T, credit pays": 40,
    "final": 140,
    "span_switch": 250,
    "dropped": 30,
    "overrun": 40,
    "more used than granted": 70,
    "restricted": 140,
    "restricted once, then refused": 4,
    "restricted phase ends with a grant": 8,
    "restricted phase ends without": 16,
    "service 4010 bar": 35,
    "service 4010 state": 300,
    "service 4012 credit": 250,
    "service 4012 limit": 35,
    "service 2001 limit": 80,
    "two services at one price": 50,
    "switch to a window of the rate": 200,
    "switch to another rate": 80,
    "switch to or from flat": 40,
    "flat beside a switch": 50,
    "use of a grant over a switch": 100,
    "use on both sides of a switch": 30,
    "given up: deadline": 400,
    "given up: lost": 120,
    "given up: restarted": 40,
    "given up: terminated": 20,
    "given up with money held": 350,
    "more given up than are kept": 20,
    "month rolled": 40,
    "package paid": 140,
    "package not paid": 30,
    "package renewed with holds": 25,
    "package swept by a charge": 70,
    "threshold 80": 8,
    "threshold 100": 6,
    "activate_package True": 70,
    "activate_package credit": 50,
    "activate_package state": 18,
    "top_up True": 200,
    "top_up False": 14,
    "top_up ceiling": 12,
    "top_up reference": 6,
    "open refused: ceiling": 7,
    "open refused: exists": 16,
    "release_session True": 140,
    "release_session False": 40,
    "sweep None": 60,
    "terminate_account None": 12,
}
"""In fifteen thousand steps: a third of what the poorest of four runs met, by what the operation was or by what came of it."""


class Occurred(Counter[str]):
    """By name: "U 2001", "E debit 4012 credit", "given up: lost", …"""

    def charged(self, request: ChargeRequest, outcome: ChargeOutcome, before: Account, events: Sequence[Event]) -> None:
        """`before`: the account as it was; `events`: what was journalled."""
        kind = request.type.value
        if request.type is RequestType.EVENT:
            kind += " " + request.action.value
        if outcome.duplicate:
            self[f"{kind} duplicate"] += 1
            return
        self[f"{kind} {outcome.code} {outcome.reason}".rstrip()] += 1
        self["charged"] += 1
        self["T after a refused opening"] += (
            kind == "T" and outcome.code == 2001 and request.session_id not in before.sessions
        )
        session = before.sessions.get(request.session_id)
        if outcome.code in (2001, 4010) and outcome.reason != "sweep":
            self[f"{kind} late"] += outcome.late
            live = session is not None and not session.released
            if session is not None and live:
                self["E on the id of a live session"] += kind[0] == "E"
                self["U with a lower number"] += kind == "U" and request.number < session.highest
                self["past its deadline, not given up"] += kind in "UT" and session.deadline <= request.now
                self[f"U of a live session, {before.state_at(request.now)}"] += kind == "U"
            self["I after given up"] += kind == "I" and session is not None and session.released
            lines = [line for e in events if e["k"] == "charge" for line in e["svc"]]
            self["use on both sides of a switch"] += len(lines) > len(request.services)
        services = session.services if session is not None and kind in "UT" else {}
        asked = {each.key: each for each in request.services}
        for result in outcome.services:
            self["final"] += result.final
            self["span_switch"] += result.span_switch
            self["dropped"] += result.dropped > 0
            self["overrun"] += result.overrun_units > 0
            self[f"{kind}, buckets pay"] += result.debited_units > 0
            self[f"{kind}, credit pays"] += result.debited_micro_eur > 0
            self[f"service {result.code} {result.reason}".rstrip()] += 1
            self["restricted"] += result.restricted
            if result.key in asked and result.key in services and kind == "U":
                self._service(asked[result.key], services[result.key], result.granted, result.code)
        if request.action is Action.REFUND and outcome.code == 2001:
            self["refund of money"] += outcome.session_cost_micro_eur < 0
            self["refund of units"] += any(each.debited_units < 0 for each in outcome.services)
            self["refund in part"] += any(each.want for each in request.services)
        if kind in "IU":
            self._prices(request)

    def _service(self, asked: ServiceCharge, was: Service, granted: int, code: int) -> None:
        if was.phase == "restricted" and asked.want is None and asked.restrict and asked.retry_want:
            self["restricted phase ends with a grant"] += granted > 0
            self["restricted phase ends without"] += not granted
            self["restricted once, then refused"] += code == 4012
        self["use of a grant over a switch"] += was.price_after is not None and asked.used + asked.used_after > 0
        self["more used than granted"] += asked.used > was.granted > 0

    def _prices(self, request: ChargeRequest) -> None:
        names = [each.price.id for each in request.services if each.want]
        self["two services at one price"] += len(names) > len(set(names))
        for each in request.services:
            if each.price_after and each.switch_at > request.now:
                other, rate = each.price_after, each.price.id.split("@")[0]
                self["switch to a window of the rate"] += other.id != each.price.id and other.id.startswith(rate + "@")
                self["switch to another rate"] += not other.id.startswith(rate + "@")
                self["switch to or from flat"] += other.flat != each.price.flat
                self["flat beside a switch"] += any(s.price.flat for s in request.services if s is not each)

    def journalled(self, events: Sequence[Event], before: Account, after: Account) -> None:
        """After one operation on an account."""
        given_up = sum(session.released for session in before.sessions.values())
        for event in events:
            kind = event["k"]
            if kind == "expired":
                self[f"given up: {event['reason']}"] += 1
                self["given up with money held"] += bool(event["returned"])
                given_up += 1
            elif kind == "package":
                self["package paid" if event["ok"] else "package not paid"] += 1
                self["package renewed with holds"] += any(bucket.held for bucket in after.buckets)
            elif kind == "threshold":
                self[f"threshold {event['pct']}"] += 1
        self["more given up than are kept"] += given_up > MAX_GIVEN_UP
        self["month rolled"] += after.month > before.month and before.spent_month > 0

    def missing(self) -> dict[str, tuple[int, int]]:
        """What was met less often than it should be: how often, and how often at least."""
        least = {name: often * self["steps"] // 15_000 for name, often in LEAST.items()}
        return {name: (self[name], at_least) for name, at_least in least.items() if self[name] < at_least}
