"""Makes the ledger's request from a prepared CCR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ocs.charging import event_requests
from ocs.charging.members import EVENT, INITIAL, REFUND, UPDATE
from ocs.charging.prepared import Prepared, Rater
from ocs.charging.source import Source
from ocs.charging.usage_context import UsageContext
from ocs.ledger.contract.charging import ChargeRequest, ServiceCharge
from ocs.values.use import Context
from protocol.credit_control import CreditControlRequest

TCC_FACTOR = 2
"""Tcc: a session is supervised for twice its longest Validity-Time (RFC 8506 §13)."""
DEFAULT_VALIDITY_S = 3600
"""Stands for the Validity-Time of requests that get no quota."""
CHARGING_ID_OCTETS = 4
OWN_NUMBERS = 2**33
"""Our own requests have numbers from here on; those of clients have 32 bits."""
CONTEXT_NAMES = {context: context.value for context in Context}


def charge_request(
    prepared: Prepared,
    where: UsageContext,
    expected_location: str,
    source: Source,
    owner: str,
    account_id: str,
    identity: str,
    rater: Rater,
) -> ChargeRequest:
    request, terms = prepared.request, prepared.terms
    now, (month, day) = terms.now, terms.calendar(rater)
    charges, validity = [], 0
    for service in prepared.services:
        if service.charge is not None:
            charges.append(service.charge)
        if service.rated is not None and service.rated.quota.validity_s > validity:
            validity = service.rated.quota.validity_s
    host, peer = request.origin_host, source.origin_host
    relay = "" if peer == host or peer.lower() == host.lower() else peer
    charge = ChargeRequest(
        account_id,
        identity,
        request.session_id,
        host,
        CONTEXT_NAMES[where.context],
        prepared.type,
        request.cc_request_number,
        now,
        month,
        now + TCC_FACTOR * max(validity or DEFAULT_VALIDITY_S, terms.profile.restricted_validity_s),
        tuple(charges),
        request.origin_realm,
        relay,
        owner,
        request.origin_state_id or (0 if relay else source.origin_state_id),
        prepared.action,
        None,
        where.encode(),
        expected_location,
    )
    charge.day, charge.facts = day, where.facts
    if where.located and not where.by_handset:
        charge.country = terms.country_of(rater, where.serving_plmn, where.visited_number)
        charge.plmn = where.serving_plmn or ""
    if prepared.type is INITIAL and where.context is Context.DATA:
        charge.charging_id = _charging_id(request)
    charge.retransmitted, charge.end_to_end = request.header.is_retransmission, request.header.end_to_end
    if prepared.type is EVENT:
        charge.content = event_requests.content_digest(where, charges)
    if prepared.action is REFUND:
        charge.refund_of = event_requests.refunded_debit(request)
    return charge


def _charging_id(request: CreditControlRequest) -> str:
    """3GPP-Charging-Id (TS 29.061 §16.4.7): what the P-GW's own records of the bearer have; "" = it is not sent."""
    information = request.service_information
    octets = information.ps_information.tgpp_charging_id if information and information.ps_information else None
    return str(int.from_bytes(octets, "big")) if octets and len(octets) == CHARGING_ID_OCTETS else ""


def following(before: ChargeRequest, charges: Sequence[ServiceCharge]) -> ChargeRequest:
    """An update of our own that follows the client's request. No client's update has its number: it is that of the
    opening, or one beyond OWN_NUMBERS. These are not consecutive, so the ledger does not take them for the next number
    of the client.
    """
    number = before.number if before.type is INITIAL else OWN_NUMBERS + 2 * before.number
    return replace(before, type=UPDATE, number=number, services=tuple(charges), expected_location="")
