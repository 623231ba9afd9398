"""Capabilities exchange (RFC 6733 §5.3): is there anything to talk about with this peer?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from protocol.avp import FLAG_MANDATORY, Address, encode_avp
from protocol.commands import CapabilitiesExchangeAnswer, CapabilitiesExchangeRequest
from protocol.dictionary import VENDOR_3GPP
from protocol.errors import DiameterError, ResultCode

RELAY = 0xFFFFFFFF
"""A relay agent's application id: it matches everything (RFC 6733 §2.4)."""
NO_INBAND_SECURITY = 0


@dataclass(frozen=True, slots=True)
class LocalNode:
    """What we say of ourselves."""

    origin_host: str
    origin_realm: str
    product_name: str = "ocs"
    vendor_id: int = 0
    auth_applications: tuple[int, ...] = (4,)
    acct_applications: tuple[int, ...] = ()
    supported_vendors: tuple[int, ...] = (VENDOR_3GPP,)


def applications(message: CapabilitiesExchangeRequest | CapabilitiesExchangeAnswer) -> set[int]:
    """All application ids a peer advertises; the vendor in a vendor-specific id must not influence matching."""
    found = {*message.auth_application_id, *message.acct_application_id}
    for group in message.vendor_specific_application_id:
        found.update(x for x in (group.auth_application_id, group.acct_application_id) if x is not None)
    return found


def _own_identity(request: CapabilitiesExchangeRequest, local: LocalNode) -> DiameterError | None:
    """A peer with our own name is no peer, whatever the allow-list says."""
    if request.origin_host.lower() == local.origin_host.lower():
        return DiameterError(ResultCode.UNKNOWN_PEER, "this Origin-Host is our own", close=True)
    return None


def _common_application(request: CapabilitiesExchangeRequest, local: LocalNode) -> DiameterError | None:
    theirs = applications(request)
    if RELAY in theirs or theirs & {*local.auth_applications, *local.acct_applications}:
        return None
    return DiameterError(ResultCode.NO_COMMON_APPLICATION, "no application in common; offer 4", close=True)


def _application_groups(request: CapabilitiesExchangeRequest, _: LocalNode) -> DiameterError | None:
    """RFC 6733 §6.11: exactly one of the two ids; none is 5005, both are 5009."""
    for group in request.vendor_specific_application_id:
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


CHECKS: tuple[Callable[[CapabilitiesExchangeRequest, LocalNode], DiameterError | None], ...] = (
    _own_identity,
    _application_groups,
    _common_application,
)
"""In order; the first objection is the answer. Another check (5017, say) is another row."""


def check_cer(request: CapabilitiesExchangeRequest, local: LocalNode) -> DiameterError | None:
    """Why this peer's offer cannot be accepted, or None. Whether it is on the allow-list is the peer table's question."""
    for check in CHECKS:
        error = check(request, local)
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
        supported_vendor_id=list(local.supported_vendors),
        auth_application_id=list(local.auth_applications),
        acct_application_id=list(local.acct_applications),
    )


def make_cer(local: LocalNode, addresses: Iterable[Address]) -> CapabilitiesExchangeRequest:
    return CapabilitiesExchangeRequest(
        origin_host=local.origin_host,
        origin_realm=local.origin_realm,
        host_ip_address=list(addresses),
        vendor_id=local.vendor_id,
        product_name=local.product_name,
        supported_vendor_id=list(local.supported_vendors),
        auth_application_id=list(local.auth_applications),
        acct_application_id=list(local.acct_applications),
    )
