"""Answers that charging gives by itself, without a charge in the ledger: refusals and price enquiries."""

from __future__ import annotations

from ocs.charging import answer as answers
from ocs.charging import event_requests
from ocs.charging.members import EVENT, INITIAL
from ocs.charging.metrics import ChargingMetrics
from ocs.charging.prepared import Prepared
from ocs.charging.recipients import MAX_RECIPIENTS
from ocs.charging.session_cache import SessionCache
from ocs.charging.session_order import SessionKey
from ocs.charging.source import Source
from ocs.charging.subscriber import has_subscriber
from ocs.charging.usage_metrics import UsageMetrics
from ocs.settings.charging import ChargingPolicy
from protocol import failed_avp
from protocol.credit_control import (
    CHECK_BALANCE,
    PRICE_ENQUIRY,
    REFUND_ACCOUNT,
    CreditControlAnswer,
    CreditControlRequest,
)
from protocol.errors import DiameterError, ResultCode


class LocalAnswers:
    """One per worker."""

    def __init__(
        self,
        metrics: ChargingMetrics,
        usage_metrics: UsageMetrics,
        sessions: SessionCache,
        policy: ChargingPolicy,
    ) -> None:
        self._metrics = metrics
        self._usage_metrics = usage_metrics
        self._sessions = sessions
        self._policy = policy

    def unknown_context(self, request: CreditControlRequest, source: Source) -> CreditControlAnswer:
        """5031: the Service-Context-Id is none of ours."""
        answer = request.answer(ResultCode.RATING_FAILED)
        answer.failed_avp = failed_avp.copy("service_context_id", request.service_context_id)
        self._metrics.blocked("unknown", "unrateable")
        self._usage_metrics.unknown_context(source.origin_host, request.service_context_id)
        return answer

    def refund_refusal(self, request: CreditControlRequest, source: Source) -> DiameterError | None:
        """Why an EVENT_REQUEST may not refund; None = it may, or is no refund."""
        if request.requested_action != REFUND_ACCOUNT:
            return None
        if not source.refunds:
            return DiameterError(ResultCode.AUTHORIZATION_REJECTED, "this peer may not give money back")
        try:
            event_requests.refunded_debit(request)
        except DiameterError as error:
            return error
        return None

    def too_many_recipients(self) -> DiameterError:
        self._metrics.blocked("unknown", "recipients")
        return DiameterError(ResultCode.RESOURCES_EXCEEDED, f"more than {MAX_RECIPIENTS} recipients in one request")

    def opening(self, prepared: Prepared, session: SessionKey) -> CreditControlAnswer | DiameterError | None:
        """The answer to a CCR-I or CCR-E, if the ledger is not needed for it; else None."""
        if prepared.wrong_recipient:
            return event_requests.wrong_recipient(prepared.wrong_recipient)
        action = prepared.request.requested_action if prepared.type is EVENT else None
        enquiry = action in (PRICE_ENQUIRY, CHECK_BALANCE)
        if prepared.unrateable or (enquiry and any(service.rated is None for service in prepared.services)):
            self._metrics.blocked("unknown", "unrateable")
            if prepared.type is INITIAL:
                self._sessions.refuse(session)
            return answers.unrateable(prepared)
        return event_requests.priced(prepared, self._policy) if action == PRICE_ENQUIRY else None

    def different_subscribers(self, prepared: Prepared, source: Source) -> DiameterError:
        """All Subscription-Ids of a request must be of one subscriber (RFC 8506 §8.46)."""
        self._metrics.blocked("unknown", "unknown")
        self._usage_metrics.unbooked(prepared, source.origin_host)
        return DiameterError(ResultCode.USER_UNKNOWN, "the Subscription-Ids belong to different subscribers")

    def unknown_subscriber(
        self, prepared: Prepared, session: SessionKey, source: Source
    ) -> CreditControlAnswer | DiameterError:
        self._metrics.blocked("unknown", "unknown")
        self._usage_metrics.unbooked(prepared, source.origin_host)
        if prepared.type is INITIAL:
            self._sessions.refuse(session)
        if has_subscriber(prepared.request):
            return prepared.request.answer(ResultCode.USER_UNKNOWN)
        missing = failed_avp.example("subscription_id")
        return DiameterError(ResultCode.MISSING_AVP, "a new session needs a Subscription-Id", failed_avp=missing)
