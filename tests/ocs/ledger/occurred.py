"""Counts the special cases that a random walk met, so that the model test cannot lose one unnoticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge
from ocs.ledger.contract.payments import OrderResult
from ocs.values.requests import Action, RequestType
from tests.ocs.ledger.least import LEAST, STEPS
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import Account, Event, Service, Session


@dataclass(slots=True)
class Before:
    """State before an operation."""

    session: str
    """"unknown", "open", "given up", "closed" or "refused"."""
    highest: int
    deadline: int
    origin_state_id: int
    apart: int
    state: str
    starved: bool
    services: dict[str, tuple[str, int, bool]]
    """Phase, units granted, whether a switch is ahead."""
    subscriptions: dict[int, str]
    month: int
    session_elsewhere: bool
    """Another account has a session with this Session-Id."""


def before(model: ModelLedger, account_id: str, now: int, sid: str = "") -> Before | None:
    account = model.accounts.get(account_id)
    if account is None:
        return None
    session = account.sessions.get(sid) or _tombstone(account, sid)
    services: dict[str, Service] = session.services if session is not None else {}
    return Before(
        _state_of(account, sid),
        session.highest if session is not None else -1,
        session.deadline if session is not None else 0,
        session.origin_state_id if session is not None else 0,
        len(session.numbers.apart) if session is not None else 0,
        account.state_at(now),
        bool(account.starved_at) and now < account.starved_at + 60,
        {key: (each.phase, each.granted, each.price_after is not None) for key, each in services.items()},
        {each.instance: each.state for each in account.subscriptions},
        next(each.since for each in account.counters if each.id == "limit"),
        any(sid in other.sessions for other in model.accounts.values() if other is not account),
    )


def _state_of(account: Account, sid: str) -> str:
    if sid in account.sessions:
        return "given up" if account.sessions[sid].released else "open"
    tombstone = _tombstone(account, sid)
    if tombstone is not None:
        return "refused" if tombstone.closed_by is None else "closed"
    return "unknown"


def _tombstone(account: Account, sid: str) -> Session | None:
    return next((session for name, session in account.closed.items() if name[0] == sid), None)


class Occurred(Counter[str]):
    """Numbers of special cases by name: "U 2001", "E debit 4012 credit", "given up: lost", …"""

    def did(self, operation: str, result: Any, more: dict[str, Any]) -> None:
        what = result if isinstance(result, str | bool) or result is None else "done"
        if isinstance(result, OrderResult):
            what = result.word
        if operation == "move_account" and isinstance(result, str) and "-" in result:
            what = "done"
        self[f"{operation} {what}"] += 1
        if operation == "subscribe" and result is True:
            self["bought planned"] += bool(more.get("starts_at"))
            self["bought armed"] += bool(more.get("armed"))
        self[f"set_limit of {more.get('counter')}"] += operation == "set_limit"

    def charged(
        self, request: ChargeRequest, outcome: ChargeOutcome, was: Before | None, events: Sequence[Event]
    ) -> None:
        kind = request.type.value
        if request.type is RequestType.EVENT:
            kind += " " + request.action.value
        if outcome.duplicate:
            self[f"{kind} duplicate"] += 1
            self[f"duplicate of a session {was.session if was else 'moved'}"] += kind in "IUT"
            return
        self[f"{kind} {outcome.code} {outcome.reason}".rstrip()] += 1
        if outcome.code == 0 or was is None:
            return
        if kind in "IUT":
            self[f"{kind} of a session {was.session}: {outcome.code}"] += 1
            self._session(kind, request, outcome, was)
        elif was.session == "open":
            self["E on the id of a live session"] += 1
        self[f"{kind} late"] += outcome.late
        self[f"Session-Id of a session {was.session} reused"] += outcome.reused
        self["pool's account charged"] += bool(request.pool)
        self["two accounts' Session-Id"] += was.session_elsewhere and outcome.code == 2001
        for result in outcome.services if request.action is not Action.REFUND else ():
            self._result(kind, request, outcome, result, was)
        if request.action is Action.REFUND and outcome.code == 2001:
            self._refunded(request, outcome)
        if kind in "IU":
            self._prices(request)

    def _session(self, kind: str, request: ChargeRequest, outcome: ChargeOutcome, was: Before) -> None:
        applied = outcome.code in (2001, 4010, 4012)
        self["U with a lower number"] += applied and kind == "U" and request.number < was.highest
        self["past its deadline, not given up"] += (
            applied and kind in "UT" and was.session == "open" and was.deadline <= request.now
        )
        self[f"U of a live session, {was.state}"] += kind == "U" and was.session == "open"
        self["I replaces an open session"] += kind == "I" and was.session == "open" and applied
        far = applied and kind == "U" and was.highest >= 0 and request.number > was.highest + 1_024
        self["number far ahead"] += far
        self["number near after one far ahead"] += (
            applied and kind == "U" and was.apart > 0 and not far and request.number > was.highest
        )
        self["paid after the end"] += was.session in ("closed", "refused") and any(
            each.debited_micro_eur or each.debited_units or each.overrun_units for each in outcome.services
        )

    def _result(self, kind: str, request: ChargeRequest, outcome: ChargeOutcome, result: Any, was: Before) -> None:
        asked = {each.key: each for each in request.services}[result.key]
        self["final"] += result.final
        self["span_switch"] += result.span_switch
        self["dropped"] += result.dropped > 0
        self["overrun"] += result.overrun_units > 0
        self[f"{kind}, buckets pay"] += result.debited_units > 0
        self[f"{kind}, credit pays"] += result.debited_micro_eur > 0
        self[f"service {result.code} {result.reason}".rstrip()] += 1
        self["restricted"] += result.restricted
        wanted = asked.want or 0
        shared = 0 < result.granted < wanted and not result.final
        self["shared or bounded by the policy"] += shared
        self["fair share after starving"] += shared and was.starved and not asked.maximum_micro_eur
        self["bounded in money"] += shared and asked.maximum_micro_eur > 1 and not was.starved
        self["several legs granted"] += bool(asked.more_legs) and result.granted > 0 and kind != "E check"
        self["several legs paid"] += bool(asked.more_legs) and result.debited_micro_eur > 0
        if result.key in was.services and kind == "U":
            self._service(asked, was.services[result.key], result)

    def _service(self, asked: ServiceCharge, was: tuple[str, int, bool], result: Any) -> None:
        phase, granted, switch = was
        if phase == "restricted" and asked.want is None and asked.restrict and asked.retry_want:
            self["restricted phase ends with a grant"] += result.granted > 0
            self["restricted phase ends without"] += not result.granted
            self["restricted once, then refused"] += result.code == 4012
        self["use of a grant over a switch"] += switch and asked.used + asked.used_after > 0
        self["more used than granted"] += asked.used > granted > 0

    def _refunded(self, request: ChargeRequest, outcome: ChargeOutcome) -> None:
        self["refund of money"] += outcome.session_cost_micro_eur < 0
        self["refund of units"] += any(each.debited_units < 0 for each in outcome.services)
        self["refund in part"] += any(each.want for each in request.services)
        self["refund without a service's name"] += any(each.key == "-" for each in request.services)

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

    def journalled(self, model: ModelLedger, account_id: str, was: Before | None, events: Sequence[Event]) -> None:
        """Counts after one operation on an account."""
        account = model.accounts.get(account_id)
        for event in events:
            name = self._name(event)
            self[name] += 1
            if event["k"] == "package" and was is not None and event["ok"]:
                self[f"fee paid by one {was.subscriptions.get(int(str(event['instance'])), 'new')}"] += 1
        if account is None or was is None:
            return
        self["month rolled"] += next(each.since for each in account.counters if each.id == "limit") > was.month
        self["subscriptions at once"] += len(account.subscriptions) > 2
        self["ended buckets kept"] += any(each.ended for each in account.buckets)
        self["pool's buckets held by two"] += any(
            len(bucket.by) > 1 for pool in model.pools.values() for bucket in pool.buckets
        )

    @staticmethod
    def _name(event: Event) -> str:
        kind = str(event["k"])
        detail = {
            "expired": "reason",
            "subscription": "state",
            "threshold": "counter",
            "due": "kind",
            "measure": "state",
            "arrived": "country",
            "auto_top_up": "state",
            "payment": "state",
            "state": "state",
            "package": "ok",
        }
        if kind == "charge":
            late = ", late" if event["late"] else ""
            return f"event charge {event['typ']}{late}"
        return f"event {kind} {event[detail[kind]]}" if kind in detail else f"event {kind}"

    def missing(self) -> dict[str, tuple[int, int]]:
        """Cases that were met too seldom: the number, and the minimum."""
        least = {name: often * self["steps"] // STEPS for name, often in LEAST.items()}
        return {name: (self[name], at_least) for name, at_least in least.items() if self[name] < at_least}
