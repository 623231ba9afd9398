"""Capabilities exchange (RFC 6733 §5.3), as responder and as initiator.

The peer table decides whether a peer is known (3010); `refusal` builds the CEA for that too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from protocol.answers import shortened
from protocol.avp import FLAG_MANDATORY, Address, encode_avp
from protocol.commands import (
    CapabilitiesExchangeAnswer,
    CapabilitiesExchangeRequest,
    DeviceWatchdogAnswer,
    DeviceWatchdogRequest,
    encode_answer,
)
from protocol.dictionary import VENDOR_3GPP
from protocol.errors import DiameterError, ResultCode
from protocol.header import Header
from protocol.units import VendorSpecificApplicationId

RELAY = 0xFFFFFFFF
"""Application-Id of a relay agent: it matches every application (RFC 6733 §2.4)."""
NO_INBAND_SECURITY = 0
"""Inband-Security-Id (§6.10). 1 (TLS after the CEA) is not supported: TLS starts before the CER or not at all."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """The local node, as advertised in CER and CEA."""

    origin_host: str
    origin_realm: str
    product_name: str = "ocs"
    vendor_id: int = 0
    auth_applications: tuple[int, ...] = (4,)
    acct_applications: tuple[int, ...] = ()
    supported_vendors: tuple[int, ...] = (VENDOR_3GPP,)
    vendor_auth_applications: tuple[tuple[int, int], ...] = ((VENDOR_3GPP, 4),)
    """(Vendor-Id, Auth-Application-Id) also advertised as Vendor-Specific-Application-Id: some clients read only that.
    """
    origin_state_id: int | None = None
    """Rises at each start that has lost state (§8.16); None = not sent."""


def applications(message: CapabilitiesExchangeRequest | CapabilitiesExchangeAnswer) -> set[int]:
    """All application ids that a peer advertises. The vendor in Vendor-Specific-Application-Id is ignored."""
    found = {*message.auth_application_id, *message.acct_application_id}
    for group in message.vendor_specific_application_id:
        found.update(x for x in (group.auth_application_id, group.acct_application_id) if x is not None)
    return found


Offer = CapabilitiesExchangeRequest | CapabilitiesExchangeAnswer


def _own_identity(offer: Offer, local: LocalNode) -> DiameterError | None:
    """Refuses a peer with our own Origin-Host."""
    if offer.origin_host.lower() == local.origin_host.lower():
        return DiameterError(ResultCode.UNKNOWN_PEER, "this Origin-Host is our own", close=True)
    return None


def _common_application(offer: Offer, local: LocalNode) -> DiameterError | None:
    theirs = applications(offer)
    ours = {*local.auth_applications, *local.acct_applications, *(auth for _, auth in local.vendor_auth_applications)}
    if RELAY in theirs or theirs & ours:
        return None
    return DiameterError(ResultCode.NO_COMMON_APPLICATION, "no application in common; offer 4", close=True)


def _common_security(offer: Offer, _: LocalNode) -> DiameterError | None:
    """§5.3, §6.10: without Inband-Security-Id there is no security; if it is present, NO_INBAND_SECURITY must be
    offered.
    """
    if not offer.inband_security_id or NO_INBAND_SECURITY in offer.inband_security_id:
        return None
    reason = "no inband security in common; offer 0 (TLS is begun before the CER)"
    return DiameterError(ResultCode.NO_COMMON_SECURITY, reason, close=True)


def _application_groups(offer: Offer, _: LocalNode) -> DiameterError | None:
    """RFC 6733 §6.11: exactly one of the two application ids; none is 5005, both are 5009."""
    for group in offer.vendor_specific_application_id:
        if group.auth_application_id is None and group.acct_application_id is None:
            inner = encode_avp(258, 0, FLAG_MANDATORY, bytes(4))
            return DiameterError(
                ResultCode.MISSING_AVP,
                "Vendor-Specific-Application-Id names no application",
                failed_avp=encode_avp(260, 0, FLAG_MANDATORY, inner),
                close=True,
            )
        if group.auth_application_id is not None and group.acct_application_id is not None:
            inner = encode_avp(259, 0, FLAG_MANDATORY, group.acct_application_id.to_bytes(4, "big"))
            return DiameterError(
                ResultCode.AVP_OCCURS_TOO_MANY_TIMES,
                "Vendor-Specific-Application-Id names two applications",
                failed_avp=encode_avp(260, 0, FLAG_MANDATORY, inner),
                close=True,
            )
    return None


CHECKS: tuple[Callable[[Offer, LocalNode], DiameterError | None], ...] = (
    _own_identity,
    _application_groups,
    _common_application,
    _common_security,
)
"""In order; the first error found is answered."""


def check_cer(request: CapabilitiesExchangeRequest, local: LocalNode) -> DiameterError | None:
    """Error of a CER, or None. Whether the peer is known is checked by the peer table."""
    return _objection(request, local)


def check_cea(answer: CapabilitiesExchangeAnswer, local: LocalNode, expected_host: str = "") -> DiameterError | None:
    """Error of the CEA to our CER, or None. The connection is then closed: a CEA is not answered (§5.3, §5.6).

    `expected_host`: the Origin-Host that we meant to reach; any other is refused.
    """
    if answer.result_code != ResultCode.SUCCESS:
        reason = f"the peer refused our CER with {answer.result_code}"
        return DiameterError(answer.result_code, reason, close=True)
    if expected_host and answer.origin_host.lower() != expected_host.lower():
        return DiameterError(ResultCode.UNKNOWN_PEER, "the peer that answered is not the one we called", close=True)
    return _objection(answer, local)


def _objection(offer: Offer, local: LocalNode) -> DiameterError | None:
    for check in CHECKS:
        error = check(offer, local)
        if error is not None:
            return error
    return None


def make_cea(local: LocalNode, addresses: Iterable[Address], result_code: int) -> CapabilitiesExchangeAnswer:
    """Advertises everything we support (RFC 6733 §5.3.2)."""
    return CapabilitiesExchangeAnswer(
        result_code=result_code,
        origin_host=local.origin_host,
        origin_realm=local.origin_realm,
        host_ip_address=list(addresses),
        vendor_id=local.vendor_id,
        product_name=local.product_name,
        origin_state_id=local.origin_state_id,
        supported_vendor_id=list(local.supported_vendors),
        auth_application_id=list(local.auth_applications),
        acct_application_id=list(local.acct_applications),
        vendor_specific_application_id=_vendor_specific(local),
    )


def refusal(request: Header, local: LocalNode, addresses: Iterable[Address], error: DiameterError) -> bytes:
    """A whole CEA with the error and all AVPs that a CEA requires; with the E bit for 3xxx (§7.1.3)."""
    answer = make_cea(local, addresses, error.result_code)
    answer.error_message = shortened(error.message) or None
    answer.failed_avp = error.failed_avp
    return encode_answer(answer, request, error=error.protocol_error)


def make_cer(local: LocalNode, addresses: Iterable[Address]) -> CapabilitiesExchangeRequest:
    return CapabilitiesExchangeRequest(
        origin_host=local.origin_host,
        origin_realm=local.origin_realm,
        host_ip_address=list(addresses),
        vendor_id=local.vendor_id,
        product_name=local.product_name,
        origin_state_id=local.origin_state_id,
        supported_vendor_id=list(local.supported_vendors),
        auth_application_id=list(local.auth_applications),
        acct_application_id=list(local.acct_applications),
        vendor_specific_application_id=_vendor_specific(local),
    )


def _vendor_specific(local: LocalNode) -> list[VendorSpecificApplicationId]:
    return [VendorSpecificApplicationId(vendor, auth) for vendor, auth in local.vendor_auth_applications]


def make_dwr(local: LocalNode) -> DeviceWatchdogRequest:
    return DeviceWatchdogRequest(local.origin_host, local.origin_realm, local.origin_state_id)


def make_dwa(local: LocalNode) -> DeviceWatchdogAnswer:
    return DeviceWatchdogAnswer(
        int(ResultCode.SUCCESS), local.origin_host, local.origin_realm, origin_state_id=local.origin_state_id
    )
