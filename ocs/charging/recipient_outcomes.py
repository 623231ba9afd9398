"""Outcomes of a message to several recipients: the client gets one outcome for all parts (see `recipient_services`).

A message in a session gets no grant if one part gets none, since the client could not tell which. Then the reservations
of the other parts are released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from ocs.charging.members import REFUND, REFUSE
from ocs.charging.prepared import Prepared, Service, results
from ocs.ledger.contract.charging import ChargeOutcome, ServiceCharge, ServiceOutcome
from protocol.errors import ResultCode

SUCCESS = int(ResultCode.SUCCESS)


def merge_parts(
    prepared: Prepared, outcomes: Sequence[ServiceOutcome | None], outcome: ChargeOutcome
) -> tuple[Prepared, ChargeOutcome]:
    """Services and outcomes as the client requested them: the parts of each service merged."""
    shown: list[Service] = []
    lines: list[ServiceOutcome | None] = []
    pairs = zip(prepared.services, outcomes, strict=True)
    for whole, group in groupby(pairs, key=lambda pair: pair[0].whole):
        if not whole:
            for service, line in group:
                shown.append(service)
                lines.append(line)
            continue
        members = list(group)
        shown.append(_merged_service(whole, [service for service, _ in members]))
        lines.append(_merged_outcome(prepared, whole, members))
    found = tuple(line for line in lines if line is not None)
    return replace(prepared, services=shown, several=False), replace(outcome, services=found)


def _merged_service(whole: str, members: Sequence[Service]) -> Service:
    first = next((service for service in members if service.rated is None), members[0])
    return replace(first, key=whole, whole="", divided=True)


def _merged_outcome(
    prepared: Prepared, whole: str, members: Sequence[tuple[Service, ServiceOutcome | None]]
) -> ServiceOutcome | None:
    lines = [line for _, line in members if line is not None]
    if not lines or (len(lines) < len(members) and prepared.action is not REFUND):
        return None
    worst = next((line for line in lines if line.code != SUCCESS), lines[0])
    restricted = any(line.restricted for line in lines)
    grants = [line.granted for line in lines]
    granted = sum(grants)
    if members[0][0].of_each:
        granted = max(grants) if prepared.action is REFUND else min(grants)
    return replace(
        worst,
        key=whole,
        granted=0 if restricted or worst.code != SUCCESS else granted,
        final=any(line.final for line in lines),
        restricted=restricted,
        span_switch=any(line.span_switch for line in lines),
        debited_micro_eur=sum(line.debited_micro_eur for line in lines),
        debited_units=sum(line.debited_units for line in lines),
        overrun_units=sum(line.overrun_units for line in lines),
        dropped=sum(line.dropped for line in lines),
    )


# -- reservations of refused messages


def unusable_grants(prepared: Prepared, outcome: ChargeOutcome) -> tuple[tuple[ServiceCharge, ...], ChargeOutcome]:
    """Charges that release the reservations of messages that the client gets no grant for, () = there are none; and the
    outcome without these grants.
    """
    charges: list[ServiceCharge] = []
    lines = {line.key: line for line in outcome.services}
    pairs = zip(prepared.services, results(prepared, outcome), strict=True)
    for whole, group in groupby(pairs, key=lambda pair: pair[0].whole):
        members = list(group)
        refused = _merged_outcome(prepared, whole, members) if whole else None
        if refused is None or refused.granted:
            continue
        for service, line in members:
            if line is not None and line.granted and service.charge is not None:
                charges.append(_releasing_charge(service.charge))
                code, reason, restricted = refused.code, refused.reason, refused.restricted
                lines[line.key] = replace(
                    line, code=code, reason=reason, restricted=restricted, granted=0, final=False, span_switch=False
                )
    return tuple(charges), replace(outcome, services=tuple(lines.values())) if charges else outcome


def _releasing_charge(charge: ServiceCharge) -> ServiceCharge:
    return replace(charge, used=0, used_after=0, used_either=0, want=None, restrict=REFUSE)
