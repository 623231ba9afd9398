"""Counts charged requests, and counts and logs use that nobody is charged for."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ocs.charging.final_units import indicated_action, is_indicated
from ocs.charging.members import CHECK, EVENT, MONEY, REFUND, SECONDS
from ocs.charging.metrics import ChargingMetrics
from ocs.charging.prepared import Prepared, Service, results
from ocs.charging.usage_context import UsageContext
from ocs.ledger.contract.charging import ChargeOutcome, ServiceOutcome
from ocs.settings.charging import EUR
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.money import format_eur
from protocol.credit_control import CreditControlRequest
from protocol.errors import ResultCode

log = logging.getLogger(__name__)

SUCCESS, UNKNOWN_SESSION_ID = int(ResultCode.SUCCESS), int(ResultCode.UNKNOWN_SESSION_ID)
SHOWN = 64
"""Characters of a Service-Context-Id that are logged."""
IMPOSSIBLE, NO_SESSION = "more than can have been used", "in a session that is not open, or not this peer's"


class UsageMetrics:
    """One per worker. `peer`: Origin-Host of the connection."""

    def __init__(self, metrics: ChargingMetrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._throttled_log = ThrottledLog(clock)

    def count(self, prepared: Prepared, peer: str, outcome: ChargeOutcome) -> None:
        metrics = self._metrics
        if outcome.duplicate:
            metrics.duplicate(prepared.type.value)
            return
        if outcome.reused:
            metrics.session_id_reused()
        if outcome.late:
            metrics.late(prepared.type.value)
        if prepared.action is CHECK:
            return
        if outcome.code == UNKNOWN_SESSION_ID and not outcome.services:
            self.unbooked(prepared, peer)
        else:
            self._in_other_units(prepared, peer)
        for service, result in zip(prepared.services, results(prepared, outcome), strict=True):
            if prepared.action is REFUND:
                if result is not None:
                    metrics.refunded(service.name, -result.debited_micro_eur)
            elif service.rated is None:
                metrics.blocked("unknown", "unrateable")
                metrics.mscc_result("unknown", int(ResultCode.RATING_FAILED))
            elif result is not None and not _unpaid(prepared, service, result):
                self._service(prepared, service, result, peer)

    def _service(self, prepared: Prepared, service: Service, result: ServiceOutcome, peer: str) -> None:
        assert service.rated is not None and service.charge is not None
        metrics, name, unit = self._metrics, service.rated.service, service.rated.unit
        metrics.charged(
            name,
            unit,
            result.code,
            service.charge.reported - result.dropped,
            result.granted,
            result.debited_micro_eur,
            result.debited_units,
        )
        if result.overrun_units:
            metrics.overrun(name, unit, result.overrun_units)
        if result.dropped:
            self._dropped(peer, name, unit, result.dropped, IMPOSSIBLE)
        if service.absurd_time_s:
            self._dropped(peer, name, SECONDS, service.absurd_time_s, IMPOSSIBLE)
        if is_indicated(prepared.type, result):
            action = indicated_action(prepared.terms.profile, service.rated, result)
            metrics.final_unit(name, action.value)
        if result.restricted:
            metrics.restricted(name)
        elif result.code != SUCCESS:
            metrics.blocked(name, result.reason or "credit")

    def unbooked(self, prepared: Prepared, peer: str) -> None:
        """Use was reported for a session that is not open, or not this peer's. Counted for reconciliation."""
        self._in_other_units(prepared, peer)
        for service in prepared.services:
            if service.charge is not None and service.charge.reported:
                unit = service.rated.unit if service.rated else prepared.unit
                self._dropped(peer, service.name, unit.value, service.charge.reported, NO_SESSION)

    def unknown_context(self, peer: str, service_context_id: str) -> None:
        if (more := self._throttled_log.allow((peer, "context"))) is not None:
            shown = ascii(service_context_id[:SHOWN])
            log.warning(
                "peer %s: service context %s is refused (5031): no setting service_contexts names it%s",
                peer,
                shown,
                more,
            )

    def unreadable_location(self, peer: str, where: UsageContext) -> None:
        """`where`: completed from the session's."""
        assert where.unreadable_location is not None
        avp, shown = where.unreadable_location
        self._metrics.location_unreadable(avp)
        if (more := self._throttled_log.allow((peer, avp))) is not None:
            log.warning(
                "peer %s: no location can be read in the network's %s (%s): %s decides the price%s",
                *(peer, avp, shown, _what_decides(where), more),
            )

    def _in_other_units(self, prepared: Prepared, peer: str) -> None:
        for service in prepared.services:
            if service.other_units:
                self._other_units(service, peer, prepared.request)

    def _other_units(self, service: Service, peer: str, request: CreditControlRequest) -> None:
        for unit, amount in service.other_units:
            self._metrics.other_units(service.name, unit.value, amount)
        if (more := self._throttled_log.allow((peer, "units"))) is not None:
            currency = _currency(request)
            reported = ", ".join(_amount(amount, unit, currency) for unit, amount in service.other_units)
            log.warning(
                "peer %s reported %s of %s and nothing in the unit that it is charged by: not charged%s",
                peer, reported, service.name, more,
            )  # fmt: skip

    def _dropped(self, peer: str, service: str, unit: str, amount: int, why: str) -> None:
        self._metrics.dropped(service, unit, amount)
        if (more := self._throttled_log.allow(peer)) is not None:
            log.warning("peer %s reported %s of %s %s: not charged%s", peer, _amount(amount, unit), service, why, more)


def _amount(amount: int, unit: str, currency: str = "EUR") -> str:
    """ "1.00 EUR", "60 seconds"."""
    return f"{format_eur(amount)} {currency}" if unit == MONEY else f"{amount} {unit}"


def _currency(request: CreditControlRequest) -> str:
    """Currency of the money that a request reports; EUR if it names none (RFC 8506 §8.11)."""
    reports = list(request.used_service_unit)
    for mscc in request.multiple_services_credit_control:
        reports += mscc.used_service_unit
    codes = {report.cc_money.currency_code or EUR for report in reports if report.cc_money is not None}
    return "EUR" if codes <= {EUR} else f"of currency {', '.join(map(str, sorted(codes)))} (ISO 4217)"


def _what_decides(where: UsageContext) -> str:
    if where.by_handset:
        return "the cell that the handset names, or the session's location,"
    return "the session's location" if where.located else "default_plmn"


def _unpaid(prepared: Prepared, service: Service, result: ServiceOutcome) -> bool:
    """Whether a part of an event is unpaid only because another part was refused: all are paid, or none."""
    wanted = service.charge is not None and service.charge.want
    return prepared.type is EVENT and result.code == SUCCESS and bool(wanted) and not result.granted
