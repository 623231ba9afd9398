"""Networks and numbers of the year, with what they are on the price sheet."""

from __future__ import annotations

from protocol.credit_control import (
    ImsInformation,
    MmtelInformation,
    PsInformation,
    ServiceInformation,
    SupplementaryService,
)
from tests.ocs.charging.ccr import AUSTRIA, HOME, SERBIA, USA, at, called_by, mms_to, sms_from, sms_to, towards
from tests.ocs.year.asked import Asked

CROATIA, BOSNIA, MACEDONIA, SWISS, USA_PARTNER = "21901", "21803", "29401", "22801", "310150"
PLACES = {
    HOME: "home",
    AUSTRIA: "eu",
    CROATIA: "eu",
    SERBIA: "balkan",
    BOSNIA: "balkan",
    MACEDONIA: "balkan",
    SWISS: "world-1",
    USA: "world-2",
    USA_PARTNER: "usa-partner",
}
PORTED_NUMBER = "+38640999001"
"""National by its prefix; from a day on of another network (HOT-RAT-1)."""
NUMBERS = {
    "national": ("+38631234567", "+38612345678", PORTED_NUMBER),
    "zone1": ("+436641234567",),
    "zone2": ("+381641234567", "+355672345678"),
    "zone3": ("+2348021234567",),
    "premium": ("+38690123456",),
    "premium-call": ("+38690412345",),
    "free": ("+38680123456", "1990"),
    "emergency": ("112",),
    "short": ("1919",),
    "on-net": (PORTED_NUMBER,),
}
Used = tuple[Asked, ServiceInformation]
LATE_MODES = (1, 2, 4, 5)
"""Service-Mode of calls that were routed to the phone before they were forwarded."""


def data(plmn: str) -> Used:
    return Asked("data", PLACES[plmn]), at(plmn)


def call(plmn: str, to: str, turn: int = 0) -> Used:
    number = NUMBERS[to][turn % len(NUMBERS[to])]
    return Asked("voice", PLACES[plmn], "mo", to), towards(f"tel:{number}", plmn)


def incoming(plmn: str) -> Used:
    return Asked("voice", PLACES[plmn], "mt"), called_by("tel:+38631234567", plmn)


def forwarded(plmn: str, to: str, mode: int) -> Used:
    """The leg from B, who is there, to C (HOT-RAT-7)."""
    ims = ImsInformation(
        role_of_node=2, calling_party_address=["tel:+38640111222"], called_party_address=f"tel:{NUMBERS[to][0]}"
    )
    service = SupplementaryService(mmtel_service_type=6, service_mode=mode, number_of_diversions=1)
    information = ServiceInformation(
        ims_information=ims,
        ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn),
        mmtel_information=MmtelInformation(supplementary_service=[service]),
    )
    if mode not in LATE_MODES:
        return Asked("voice", "home", "fw", to), information
    return Asked("voice", PLACES[plmn], "fw", to, incoming_too=PLACES[plmn] != "home"), information


def sms(plmn: str, to: str, turn: int = 0) -> Used:
    number = NUMBERS[to][turn % len(NUMBERS[to])]
    return Asked("sms", PLACES[plmn], "mo", to), sms_to(number, plmn)


def sms_received(plmn: str) -> Used:
    return Asked("sms", PLACES[plmn], "mt"), sms_from("+38631234567", plmn)


def mms(plmn: str, to: str, turn: int = 0) -> Used:
    number = NUMBERS[to][turn % len(NUMBERS[to])]
    return Asked("mms", PLACES[plmn], "mo", to), mms_to(number, plmn)
