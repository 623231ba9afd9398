"""Amounts in units that a service is not charged by (RFC 8506 §8.17–8.26): a one-off request with nothing else is
refused, since a guess would be debited; what a session reports of them is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocs.charging import money
from ocs.charging.members import MESSAGES, MONEY, OCTETS, SECONDS
from ocs.charging.units import LONGEST_TIME_S, amount_of
from ocs.values.use import Unit
from protocol import failed_avp
from protocol.credit_control import RequestedServiceUnit, UsedServiceUnit

REQUESTED, USED = "requested_service_unit", "used_service_unit"
UNIT_AVPS = (
    ("cc_money", MONEY),
    ("cc_time", SECONDS),
    ("cc_total_octets", OCTETS),
    ("cc_input_octets", OCTETS),
    ("cc_output_octets", OCTETS),
    ("cc_service_specific_units", MESSAGES),
)
AVP_OF = {unit: name for name, unit in UNIT_AVPS if name not in ("cc_input_octets", "cc_output_octets")}


def refusal(
    requested: RequestedServiceUnit | None,
    used: Sequence[UsedServiceUnit],
    unit: Unit,
    *parents: str,
    needed: bool,
) -> bytes:
    """Failed-AVP of a one-off request whose amount is of other units, or that is `needed` and missing; b"" = nothing is
    wrong.

    Money of another currency, or in parts of a micro-EUR, is of other units too. A 0 of other units says nothing.
    """
    groups: list[tuple[str, RequestedServiceUnit | UsedServiceUnit]]
    groups = [(REQUESTED, requested)] if requested is not None else []
    groups += [(USED, report) for report in used]
    if any(amount_of(group, unit) or (unit is MONEY and amount_of(group, unit) == 0) for _, group in groups):
        return b""
    for name, group in groups:
        for avp, _ in UNIT_AVPS:
            if value := getattr(group, avp):
                return failed_avp.copy(avp, value, *parents, name)
    return failed_avp.example(AVP_OF[unit], *parents, REQUESTED) if needed else b""


def reported(
    reports: Sequence[UsedServiceUnit], unit: Unit, *, with_time: bool = False
) -> tuple[tuple[Unit, int], ...]:
    """What reports say in other units, when none of them says anything in the service's own. Absurd times are left out,
    and all times `with_time`: time is granted beside.
    """
    if any(amount_of(report, unit) is not None for report in reports):
        return ()
    found: dict[Unit, int] = {}
    for report in reports:
        for other in Unit:
            amount = money.about(report.cc_money) if other is MONEY else amount_of(report, other) or 0
            if amount and not (other is SECONDS and (with_time or amount > LONGEST_TIME_S)):
                found[other] = found.get(other, 0) + amount
    return tuple(found.items())
