"""Converts between Diameter's unit AVPs and amounts in a service's unit (RFC 8506 §8.16–8.25, TS 32.299 §7.1.9)."""

from __future__ import annotations

from collections.abc import Sequence

from ocs.catalogue.price import MAX_SESSION_UNITS
from ocs.charging import money
from ocs.charging.members import MESSAGES, OCTETS, SECONDS
from ocs.values.moment import DAY_S
from ocs.values.use import QuotaPolicy, Unit
from protocol.credit_control import GrantedServiceUnit, RequestedServiceUnit, UsedServiceUnit


def amount_of(units: RequestedServiceUnit | UsedServiceUnit, unit: Unit) -> int | None:
    """The amount in the service's unit. If CC-Total-Octets is missing or 0, input and output octets are added.

    None = there is no amount in this unit, or it is money of another currency.
    """
    if unit is OCTETS:
        return units.cc_total_octets or _directions(units, units.cc_total_octets)
    if unit is SECONDS:
        return units.cc_time
    return units.cc_service_specific_units if unit is MESSAGES else money.micro_eur_of(units.cc_money)


def _directions(units: RequestedServiceUnit | UsedServiceUnit, neither: int | None = 0) -> int | None:
    """Sum of input and output octets; `neither` if both are missing."""
    if units.cc_input_octets is None and units.cc_output_octets is None:
        return neither
    return (units.cc_input_octets or 0) + (units.cc_output_octets or 0)


LONGEST_TIME_S = 366 * DAY_S
"""A longer CC-Time is impossible."""
BEFORE, AFTER, INDETERMINATE = range(3)
"""Tariff-Change-Usage (RFC 8506 §8.27)."""


def used_by_tariff(reports: Sequence[UsedServiceUnit], unit: Unit) -> tuple[int, int, int]:
    """Units used before the price change (or without Tariff-Change-Usage), after it, and indeterminate. Each is at most
    MAX_SESSION_UNITS, up to which the ledger computes exactly.

    Reports of the same side may describe the same traffic twice, as a total and as directions. Then only the totals
    count.
    """
    most = MAX_SESSION_UNITS[unit]
    if not reports:
        return 0, 0, 0
    if len(reports) == 1 and not reports[0].tariff_change_usage:
        return min(amount_of(reports[0], unit) or 0, most), 0, 0
    parts, directions = [0, 0, 0], [0, 0, 0]
    for report in reports:
        side = report.tariff_change_usage or BEFORE
        if unit is OCTETS:
            parts[side] += report.cc_total_octets or 0
            directions[side] += _directions(report) or 0
        else:
            parts[side] += amount_of(report, unit) or 0
    before, after, either = (min(total or both, most) for total, both in zip(parts, directions, strict=True))
    return before, after, either


def absurd_time_s(reports: Sequence[UsedServiceUnit]) -> int:
    """Sum of impossible CC-Times. Some clients send the time of day in their first report."""
    absurd = 0
    for report in reports:
        if report.cc_time is not None and report.cc_time > LONGEST_TIME_S:
            absurd += report.cc_time
    return absurd


def may_have_both(request: RequestedServiceUnit | None) -> bool:
    """Whether time may be granted beside volume: the client requests both, or leaves the unit to the server."""
    return request is not None and (request.cc_time is None) == (amount_of(request, OCTETS) is None)


def amount_asked(request: RequestedServiceUnit | None, unit: Unit) -> int | None:
    """The requested amount, at most MAX_SESSION_UNITS; None = none is stated."""
    amount = None if request is None else amount_of(request, unit)
    return None if amount is None else min(amount, MAX_SESSION_UNITS[unit])


def wanted(request: RequestedServiceUnit | None, unit: Unit, quota: QuotaPolicy) -> int | None:
    """Units to reserve: the requested amount, or the policy's default if none is stated; at most its maximum. None =
    nothing is requested.
    """
    if request is None:
        return None
    amount = amount_of(request, unit) or quota.default
    return amount if amount <= quota.maximum else quota.maximum


def granted(amount: int, unit: Unit) -> GrantedServiceUnit:
    if unit is OCTETS:
        return GrantedServiceUnit(None, None, None, amount)
    if unit is SECONDS:
        return GrantedServiceUnit(cc_time=amount)
    if unit is MESSAGES:
        return GrantedServiceUnit(cc_service_specific_units=amount)
    return GrantedServiceUnit(cc_money=money.amount(amount))
