"""What the network of the year saw of a line: its sessions as the audit from outside reads them."""

from __future__ import annotations

from itertools import count

from protocol.credit_control import (
    REFUND_ACCOUNT,
    CreditControlAnswer,
    CreditControlRequest,
    MultipleServicesCreditControl,
)
from simulator.tally import SessionReport, Step, StepPart, UsedService
from tests.ocs.rules.world import granted
from tests.ocs.year.asked import Asked

CLASSES = {"national": "national-mobile", "free": "freephone"}
"""Destination of the price sheet → one of its classes in the catalogue; others have the same name."""
KINDS = {1: "I", 2: "U", 3: "T", 4: "E"}
_order = count()


class Network:
    """`reports`: by Session-Id."""

    def __init__(self) -> None:
        self.reports: dict[str, SessionReport] = {}

    def note(
        self, asked: Asked, request: CreditControlRequest, answer: CreditControlAnswer, msisdn: str, now: int
    ) -> Step:
        report = self.reports.get(request.session_id)
        if report is None:
            report = self.reports[request.session_id] = _report(asked, request.session_id, msisdn, now)
        is_refund = request.requested_action == REFUND_ACCOUNT
        kind, code = KINDS[request.cc_request_type], answer.result_code or 0
        parts = []
        for mscc in request.multiple_services_credit_control:
            part = _part(report, kind, code, mscc, answer)
            parts.append(part)
            report.services[part.service].used += 0 if is_refund else part.used
        order = float(next(_order))
        step = Step(kind, request.cc_request_number, asked.place, code, now, now, order, order, tuple(parts), is_refund)
        report.steps.append(step)
        report.ended_at = now
        report.closed = report.closed or (kind in ("T", "E") and code == 2001)
        return step


def _report(asked: Asked, session_id: str, msisdn: str, now: int) -> SessionReport:
    forwarding = ("early" if asked.place == "home" else "late") if asked.direction == "fw" else ""
    return SessionReport(
        session_id, asked.service, msisdn, "", asked.place, CLASSES.get(asked.to, asked.to), asked.direction == "mt",
        0.0, started_at=now, services=[UsedService(asked.service, None)], forwarding=forwarding,
    )  # fmt: skip


def _part(
    report: SessionReport, kind: str, code: int, mscc: MultipleServicesCreditControl, answer: CreditControlAnswer
) -> StepPart:
    found = next(iter(answer.multiple_services_credit_control), MultipleServicesCreditControl())
    part_code = found.result_code or code
    there = granted(found) if part_code == 2001 and kind != "T" else 0
    sides = [0, 0]
    for unit in mscc.used_service_unit:
        amount = unit.cc_total_octets or unit.cc_time or unit.cc_service_specific_units or 0
        sides[unit.tariff_change_usage == 1] += amount
    is_event, wanted = kind == "E", mscc.requested_service_unit
    grant = found.granted_service_unit
    return StepPart(
        service=0,
        used=there if is_event else sum(sides),
        used_after=sides[1],
        wanted=None if wanted is None else wanted.cc_service_specific_units or 0,
        granted=0 if is_event else there,
        code=part_code,
        final=found.final_unit_indication is not None,
        changes_at=(grant.tariff_time_change or 0) if grant is not None else 0,
    )
