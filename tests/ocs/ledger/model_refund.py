"""Refunds in the model ledger: what is left of a one-off debit is returned, money first (decision 7)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from ocs.catalogue import price as prices
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge, ServiceOutcome
from tests.ocs.ledger import model_agenda as agenda
from tests.ocs.ledger.model_operation import Operation
from tests.ocs.ledger.model_state import DebitLine, measured

UNNAMED = "-"
"""Key of a request that names no service: all of them are meant."""


@dataclass(slots=True)
class _Returned:
    raw: int = 0
    money: int = 0
    promotional: int = 0
    units: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)


def refund(op: Operation, request: ChargeRequest, lines: list[DebitLine]) -> ChargeOutcome | None:
    """None if nothing is left, or if what is left belongs to an ended period."""
    before = copy.deepcopy(lines)
    results: list[ServiceOutcome] = []
    event: list[dict[str, Any]] = []
    money = promotional = 0
    for asked in request.services:
        back = _Returned()
        for key, want in _meant(asked, lines):
            _service(op, [line for line in lines if line.key == key], want, back)
        if back.lines:
            results.append(ServiceOutcome(asked.key, 2001, back.raw, False, "", -back.money, -back.units, 0))
            event += back.lines
            money += back.money
            promotional += back.promotional
            op.ledger.met["promotional credit is refunded"] += back.promotional > 0
    if not results:
        lines[:] = before
        return None
    op.account.credit += money
    op.account.spent -= money
    op.account.promotional += promotional
    op.journal(
        "refund",
        promo=promotional,
        sid=request.session_id,
        ctx=request.context,
        n=request.number,
        svc=event,
        credit_in=money,
        credit=op.account.credit,
        **_of_session(request),
    )
    account = op.account
    return ChargeOutcome(
        *(2001, False, tuple(results), account.credit, account.held, "", -money, agenda.period_end(op)), at=op.now
    )


def _of_session(request: ChargeRequest) -> dict[str, str]:
    """The debit's Session-Id, if the refund has another."""
    if request.refund_of is None or request.refund_of[0] == request.session_id:
        return {}
    return {"of_session": request.refund_of[0]}


def _meant(asked: ServiceCharge, lines: list[DebitLine]) -> list[tuple[str, int | None]]:
    """The debit's services that the refund names, and the amount of each; None = all."""
    left: dict[str, int] = {}
    for line in lines:
        if line.raw:
            left.setdefault(line.key, line.raw)
    if asked.key != UNNAMED and len({line.key for line in lines}) > 1:
        return [(asked.key, asked.want)] if asked.key in left else []
    if asked.want is None:
        return [(key, None) for key in left]
    meant: list[tuple[str, int | None]] = []
    rest = asked.want
    for place, (key, raw) in enumerate(left.items()):
        if rest or not place:
            meant.append((key, min(rest, raw)))
            rest -= min(rest, raw)
    return meant


def _service(op: Operation, lines: list[DebitLine], want: int | None, back: _Returned) -> None:
    """Returns the same units on each leg."""
    returned = 0
    for line in lines:
        raw = line.raw if want is None else min(want, line.raw)
        came_back = _line(op, line, raw)
        if came_back is None:
            continue
        returned = max(returned, raw)
        back.money += came_back["credit_in"]
        back.promotional += came_back.get("promo", 0)
        back.units += sum(units for _, units in came_back["units"])
        back.lines.append(came_back)
    back.raw += returned


def _line(op: Operation, line: DebitLine, raw: int) -> dict[str, Any] | None:
    owed = prices.billable_units(line.price, line.raw) - prices.billable_units(line.price, line.raw - raw)
    by_credit = min(owed, line.credit)
    paid = line.before + line.credit
    for_credit = line.credit_price
    money = prices.cost_micro_eur(for_credit, paid) - prices.cost_micro_eur(for_credit, paid - by_credit)
    # What paid last returns first: the refundable part.
    cost = prices.cost_micro_eur(for_credit, paid) - prices.cost_micro_eur(for_credit, line.before)
    promotional = max(money - (cost - line.promotional), 0)
    line.raw, line.credit, line.promotional = line.raw - raw, line.credit - by_credit, line.promotional - promotional
    given = _units(op, line, owed - by_credit)
    if owed and not by_credit and not given:
        return None  # its period has ended
    units = sum(amount for _, amount in given)
    for counter_id, measure, window in line.counted:
        counter = op.account.counter(counter_id)
        if counter is not None:
            counter.take_back(measured(measure, money, by_credit, by_credit + units), window)
    came_back = {"key": line.key, "price": line.price.id, "used": raw, "credit_in": money, "units": given}
    return {**came_back, "promo": promotional} if promotional else came_back


def _units(op: Operation, line: DebitLine, rest: int) -> list[list[Any]]:
    """Returns units to the same buckets of the same period; the bucket that paid last comes first."""
    given: list[list[Any]] = []
    for bucket_id, hold in reversed(line.paid_by):
        take = min(rest, hold.units)
        if not take:
            continue
        rest -= take
        hold.units -= take
        bucket = op.bucket(hold)
        if bucket is not None and op.is_current(bucket):
            op.pay(bucket, -take, hold.pool)
            given.append([bucket_id, take])
    return given
