"""Amounts in another unit than the one the service is charged by (RFC 8506 §8.17–8.26).

An event with such amounts only is refused: a guess would be debited. If a session reports them, they are counted.
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


def wrong_unit_avp(
    requested: RequestedServiceUnit | None,
    used: Sequence[UsedServiceUnit],
    unit: Unit,
    *parents: str,
    needed: bool,
) -> bytes:
    """Failed-AVP of an event whose amount is in another unit, or missing although `needed`; b"" = the amount is valid.

    Money of another currency, or with a fraction of a micro-EUR, counts as another unit. A zero is ignored.
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
    """Amounts in other units, if no report has the service's own unit. Impossible times are left out; with `with_time`
    all times are, as time was granted together with volume.
    """
    if any(amount_of(report, unit) is not None for report in reports):
        return ()
    found: dict[Unit, int] = {}
    for report in reports:
        for other in Unit:
            amount = money.rounded_millionths(report.cc_money) if other is MONEY else amount_of(report, other) or 0
            if amount and not (other is SECONDS and (with_time or amount > LONGEST_TIME_S)):
                found[other] = found.get(other, 0) + amount
    return tuple(found.items())
