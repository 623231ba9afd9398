"""Valid requests of every kind: I, U, T and E of data, calls, SMS and MMS; from captures of real clients if there are
any.
"""

from __future__ import annotations

from functools import cache

from protocol import commands  # noqa: F401 - registers CER, DWR and DPR
from protocol.avp import encode_avp
from protocol.credit_control import (
    CreditControlRequest,
    RequestedServiceUnit,
    SubscriptionIdExtension,
    VendorSpecificApplicationId,
    encode_ccr,
)
from protocol.header import HEADER_OCTETS, build
from tests.ocs.charging.ccr import IMS, MMS, SMS, at, ccr, messages, mms_to, octets, seconds, sms_to, towards
from tests.protocol import captures


def _frame(request: CreditControlRequest) -> bytes:
    return encode_ccr(request, hop_by_hop=0x01020304, end_to_end=0x05060708)


@cache
def ccrs() -> dict[str, bytes]:
    """Name → frame. All are decoded without error."""
    initial, update, termination = captures.requests(captures.OPEN5GS)
    call = towards("tel:+38668100001")
    event_sms = ccr("E", 0, context=SMS, information=sms_to("38668100001"))
    event_sms.requested_service_unit = RequestedServiceUnit(cc_service_specific_units=1)
    extended = ccr("I", 0, octets(0), information=at())
    extended.subscription_id = []
    extended.subscription_id_extension = [SubscriptionIdExtension(subscription_id_e164="38668100000")]
    extended.vendor_specific_application_id = [VendorSpecificApplicationId(10415, 4)]
    extended.route_record = ["dra.example.net"]
    extended.proxy_info = [_proxy_info("dra1.example.net"), _proxy_info("dra2.example.net")]
    event_sms.acct_application_id = 4
    return {
        "data I (P-GW)": initial,
        "data U (P-GW)": update,
        "data T (P-GW)": termination,
        "call I (S-CSCF)": captures.requests(captures.KAMAILIO)[0],
        "call U": _frame(ccr("U", 1, seconds(60, 30), context=IMS, information=call)),
        "call T": _frame(ccr("T", 2, seconds(None, 30), context=IMS, information=call, termination_cause=1)),
        "sms E": _frame(event_sms),
        "sms I": _frame(ccr("I", 0, messages(1), context=SMS, information=sms_to("38668100001"))),
        "mms E": _frame(ccr("E", 0, messages(1), context=MMS, information=mms_to("38668100001"))),
        "data I over relays": _frame(extended),
        "sms refund": _frame(_action(1, token=b"1.00-0000000000000001.0")),
        "sms balance check": _frame(_action(2)),
        "sms price enquiry": _frame(_action(3)),
        "data U with what is not declared": _with(_frame(ccr("U", 2, octets(0, 1_000), information=at())), UNDECLARED),
    }


def _action(action: int, token: bytes | None = None) -> CreditControlRequest:
    service = messages(1)
    service.refund_information = token
    return ccr("E", 0, service, context=SMS, information=sms_to("38668100001"), requested_action=action)


def _with(frame: bytes, avps: bytes) -> bytes:
    return build(frame[HEADER_OCTETS:] + avps, frame[4], 272, 4, 0x01020304, 0x05060708)


UNDECLARED = encode_avp(12, 0, 0x40, (1_500).to_bytes(4, "big")) + b"".join(
    # PoC-Information with M, and without: then its contents are ignored.
    encode_avp(879, 10415, flags, encode_avp(883, 10415, 0x40, bytes(4)) + encode_avp(857, 10415, 0x40, b"party"))
    for flags in (0x40, 0)
)
"""AVPs of the dictionary that no class declares at the top level of a request."""


def _proxy_info(host: str) -> bytes:
    state = encode_avp(280, 0, 0x40, host.encode()) + encode_avp(33, 0, 0x40, b"state")
    return encode_avp(284, 0, 0x40, state)


@cache
def base() -> dict[str, bytes]:
    """CER, DWR and DPR of real clients."""
    return {
        "CER": captures.requests(captures.OPEN5GS, 257)[0],
        "DWR": captures.requests(captures.KAMAILIO, 280)[0],
        "DPR": captures.requests(captures.OPEN5GS, 282)[0],
    }
