"""Credit-Control-Requests as real peers send them: by our encoder, and by editing its octets where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from protocol.avp import FLAG_MANDATORY, FLAG_PRIVATE, encode_avp
from protocol.credit_control import (
    CreditControlRequest,
    SubscriptionId,
    UsedServiceUnit,
    VendorSpecificApplicationId,
)
from tests.interop.core import OCS
from tests.interop.wire import changed, inserted, without_p
from tests.protocol.mutator import Node

IMS_CONTEXT = "ext.01.001.8.32260@3gpp.org"
ORIGIN_HOST, ORIGIN_REALM = 264, 296
ACCOUNTING = (
    encode_avp(480, 0, FLAG_MANDATORY, b"\0\0\0\2")  # Accounting-Record-Type
    + encode_avp(485, 0, FLAG_MANDATORY, b"\0\0\0\0")  # Accounting-Record-Number
)
RADIUS_DERIVED = range(1, 31)
"""Codes of vendor 10415 that TS 29.061 takes from RADIUS."""
TGPP = 10415

Spell = Callable[[CreditControlRequest], CreditControlRequest | bytes]
"""The request as the peer would have sent it."""


# P-GW


def no_rating_group(request: CreditControlRequest) -> CreditControlRequest:
    request.multiple_services_credit_control[0].rating_group = None
    return request


def input_and_output(request: CreditControlRequest) -> CreditControlRequest:
    for report in request.multiple_services_credit_control[0].used_service_unit:
        total, report.cc_total_octets = report.cc_total_octets or 0, None
        report.cc_input_octets, report.cc_output_octets = 1000, total - 1000
    return request


def destination_host(request: CreditControlRequest) -> CreditControlRequest:
    return replace(request, destination_host=OCS if request.cc_request_type > 1 else None)


PGW_DIALECTS: dict[str, Spell] = {
    "one service without Rating-Group": no_rating_group,
    "Multiple-Services-Indicator 0": lambda request: replace(request, multiple_services_indicator=0),
    "Requested-Action 0 in a session": lambda request: replace(request, requested_action=0),
    "input and output octets without total": input_and_output,
    "Destination-Host from the first update on": destination_host,
}


# S-CSCF


def _twice(node: Node) -> list[Node]:
    return [node, node] if node.code in (ORIGIN_HOST, ORIGIN_REALM) else [node]


def origins_twice(request: CreditControlRequest | bytes) -> bytes:
    return changed(request, _twice)


def only_vendor_specific(request: CreditControlRequest) -> bytes:
    request.vendor_specific_application_id = [VendorSpecificApplicationId(TGPP, 4)]
    return changed(request, lambda node: [] if node.code == 258 and node.codec.make is CreditControlRequest else [node])


def sip_uri(request: CreditControlRequest) -> CreditControlRequest:
    uri = f"sip:{request.subscription_id[0].subscription_id_data}@ims.example.net"
    return replace(request, subscription_id=[SubscriptionId(2, uri)])


def sip_uri_again(request: CreditControlRequest) -> CreditControlRequest:
    request = sip_uri(request)
    assert request.service_information is not None
    return replace(
        request, service_information=replace(request.service_information, subscription_id=request.subscription_id)
    )


def only_in_service_information(request: CreditControlRequest) -> CreditControlRequest:
    return replace(sip_uri_again(request), subscription_id=[])


def with_accounting(request: CreditControlRequest | bytes) -> bytes:
    return inserted(request, ACCOUNTING)


def as_kamailio(request: CreditControlRequest) -> bytes:
    """All of it."""
    request = replace(sip_uri_again(request), service_context_id=IMS_CONTEXT, destination_host=OCS)
    return with_accounting(origins_twice(only_vendor_specific(request)))


SCSCF_DIALECTS: dict[str, Spell] = {
    "Origin-Host and Origin-Realm twice": origins_twice,
    "the application only in Vendor-Specific-Application-Id": only_vendor_specific,
    "accounting AVPs": with_accounting,
    "a SIP URI as subscriber": sip_uri,
    "a SIP URI, again in Service-Information": sip_uri_again,
    "a SIP URI in Service-Information only": only_in_service_information,
    "a context with extension, MNC, MCC and release": lambda each: replace(each, service_context_id=IMS_CONTEXT),
    "all of it": as_kamailio,
}


# anybody


def p_on_every_avp(request: CreditControlRequest) -> bytes:
    return changed(request, lambda node: [replace(node, flags=node.flags | FLAG_PRIVATE)])


def m_of_radius_derived(is_set: bool) -> Spell:
    def flags(node: Node) -> list[Node]:
        if node.vendor == TGPP and node.code in RADIUS_DERIVED:
            seen.add(node.code)
            bits = node.flags | FLAG_MANDATORY if is_set else node.flags & ~FLAG_MANDATORY
            return [replace(node, flags=bits)]
        return [node]

    seen: set[int] = set()

    def spelt(request: CreditControlRequest) -> bytes:
        frame = changed(request, flags)
        assert seen == {2, 3, 10, 12, 13, 18, 21, 22, 23}
        return frame

    return spelt


def termination_with_the_last_number(request: CreditControlRequest) -> CreditControlRequest:
    return replace(request, cc_request_number=min(request.cc_request_number, 1))


def time_and_volume_apart(request: CreditControlRequest) -> CreditControlRequest:
    reports = request.multiple_services_credit_control[0].used_service_unit
    if reports:
        reports.insert(0, UsedServiceUnit(cc_time=2))
    return request


DIALECTS: dict[str, Spell] = {
    "P bit on every AVP": p_on_every_avp,
    "M bit on AVPs from RADIUS": m_of_radius_derived(True),
    "no M bit on AVPs from RADIUS": m_of_radius_derived(False),
    "no P bit in the header": without_p,
    "the last update's number in the termination": termination_with_the_last_number,
    "time and volume in separate reports": time_and_volume_apart,
}
