"""The use that a request describes, in each of the five contexts and in requests of real clients."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocs.charging.subscriber import identities
from ocs.charging.usage_context import UsageContext, usage_context_of
from ocs.values.service_context import context_of
from ocs.values.use import Context, Direction, UseEvent
from protocol.avp import Address
from protocol.credit_control import (
    CreditControlRequest,
    ImsInformation,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    ServiceInformation,
    SmsInformation,
    VcsInformation,
    decode_ccr,
)
from protocol.header import parse_header
from tests.ocs.charging import ccr
from tests.protocol.captures import KAMAILIO, OPEN5GS, requests

MO, MT, FW = Direction.ORIGINATING, Direction.TERMINATING, Direction.FORWARDED


def seen(context: Context, information: ServiceInformation | None) -> UsageContext:
    return usage_context_of(context, CreditControlRequest(service_information=information))


@pytest.mark.parametrize("context", list(Context))
def test_a_request_without_service_information(context: Context) -> None:
    assert seen(context, None) == UsageContext(context)
    assert seen(context, ServiceInformation()) == UsageContext(context)


# -- data (32251)


def test_data() -> None:
    assert seen(Context.DATA, ccr.at("29340", "internet")) == UsageContext(
        Context.DATA, apn="internet", serving_plmn="29340"
    )


def test_data_by_user_location_info() -> None:
    """TAI and ECGI of 293-40 (TS 29.061 §16.4.7.2), read if 3GPP-SGSN-MCC-MNC is missing."""
    location = bytes.fromhex("82 92f304 0001 92f304 00000001")
    ps = PsInformation(called_station_id="internet", tgpp_user_location_info=location)
    assert seen(Context.DATA, ServiceInformation(ps_information=ps)).serving_plmn == "29340"
    ps.tgpp_sgsn_mcc_mnc = "23201"
    assert seen(Context.DATA, ServiceInformation(ps_information=ps)).serving_plmn == "23201"


def test_data_of_an_unauthenticated_imsi_is_an_emergency() -> None:
    ps = PsInformation(called_station_id="sos", imsi_unauthenticated_flag=1)
    assert seen(Context.DATA, ServiceInformation(ps_information=ps)).emergency


# -- calls (32260, 32276)


def test_outgoing_and_incoming_call() -> None:
    out = seen(Context.IMS, ccr.towards("tel:+38631234567", "29340"))
    assert out == UsageContext(Context.IMS, MO, serving_plmn="29340", other_party="tel:+38631234567")
    back = seen(Context.IMS, ccr.called_by("tel:+38631234567", "23201"))
    assert back == UsageContext(Context.IMS, MT, serving_plmn="23201", other_party="tel:+38631234567")


def test_forwarded_leg() -> None:
    ims = ImsInformation(role_of_node=2, called_party_address="tel:+38640111222", calling_party_address=["tel:+3861"])
    found = seen(Context.IMS, ServiceInformation(ims_information=ims))
    assert (found.direction, found.other_party) == (FW, "tel:+38640111222")


@pytest.mark.parametrize(
    "ims",
    [
        ImsInformation(called_party_address="urn:service:sos.fire"),
        ImsInformation(called_party_address="URN:service:sos"),
        ImsInformation(called_party_address="tel:+38631234567", ims_emergency_indicator=1),
    ],
)
def test_emergency_marked_by_the_network(ims: ImsInformation) -> None:
    assert seen(Context.IMS, ServiceInformation(ims_information=ims)).emergency


@pytest.mark.parametrize(
    ("visited", "plmn"),
    [
        ("ims.mnc040.mcc293.3gppnetwork.org", "29340"),
        ("IMS.MNC410.MCC310.3gppnetwork.org", "310410"),
        ("mnc01.mcc232.3gppnetwork.org", "23201"),
        ("visited.example.net", None),
    ],
)
def test_the_visited_network_of_a_call(visited: str, plmn: str | None) -> None:
    ims = ImsInformation(called_party_address="tel:+38631234567", ims_visited_network_identifier=visited)
    assert seen(Context.IMS, ServiceInformation(ims_information=ims)).serving_plmn == plmn


@pytest.mark.parametrize(
    ("access", "plmn"),
    [
        (b"3GPP-E-UTRAN-FDD; utran-cell-id-3gpp=2934000010000001", "29340"),
        (b'3GPP-E-UTRAN-FDD;utran-cell-id-3gpp="31041000010000001"', "310410"),
        (b"3GPP-NR-TDD;utran-cell-id-3gpp=29340000001000000001", "29340"),
        (b"IEEE-802.11;i-wlan-node-id=ffff", None),
        (b"", None),
    ],
)
def test_the_cell_of_a_call(access: bytes, plmn: str | None) -> None:
    ims = ImsInformation(called_party_address="tel:+38631234567", access_network_information=[access])
    assert seen(Context.IMS, ServiceInformation(ims_information=ims)).serving_plmn == plmn


@pytest.mark.parametrize(
    ("octets", "number"),
    [
        (bytes.fromhex("836114325476"), "381641234567"),
        (bytes.fromhex("8361143254f6"), "38164123456"),
        (bytes.fromhex("83a1"), None),
        (b"", None),
    ],
)
def test_the_vlr_of_a_circuit_switched_call(octets: bytes, number: str | None) -> None:
    vcs = ServiceInformation(vcs_information=VcsInformation(vlr_number=octets))
    assert seen(Context.CS, vcs).visited_number == number
    msc = ServiceInformation(vcs_information=VcsInformation(msc_address=octets))
    assert seen(Context.CS, msc).visited_number == number


# -- messages (32274, 32270)


def test_sms_sent_and_received() -> None:
    sent = seen(Context.SMS, ccr.sms_to("+38631234567", None, sccp="+38640441000"))
    assert sent == UsageContext(Context.SMS, MO, visited_number="38640441000", other_party="+38631234567")
    received = seen(Context.SMS, ccr.sms_from("+38631234567", "23201"))
    assert received == UsageContext(Context.SMS, MT, serving_plmn="23201", other_party="+38631234567")


def test_the_location_of_a_received_sms() -> None:
    """The sender's node is not the location of the receiver, who pays."""
    to = [RecipientInfo(), RecipientInfo(recipient_sccp_address=Address(8, "+41790000000"))]
    sms = SmsInformation(sm_message_type=1, originator_sccp_address=Address(8, "38640441000"), recipient_info=to)
    assert seen(Context.SMS, ServiceInformation(sms_information=sms)).visited_number == "41790000000"
    sms.recipient_info = []
    assert seen(Context.SMS, ServiceInformation(sms_information=sms)).visited_number is None


def test_sms_oddities() -> None:
    """No recipient, an empty one before the real one, an SCCP address that is no number."""
    assert seen(Context.SMS, ServiceInformation(sms_information=SmsInformation())).other_party is None
    two = [RecipientInfo(), RecipientInfo(recipient_address=[RecipientAddress(address_data="+38631234567")])]
    sms = SmsInformation(recipient_info=two, originator_sccp_address=Address(1, "192.0.2.1"))
    found = seen(Context.SMS, ServiceInformation(sms_information=sms))
    assert (found.other_party, found.visited_number) == ("+38631234567", None)
    nobody = SmsInformation(sm_message_type=1)
    assert seen(Context.SMS, ServiceInformation(sms_information=nobody)) == UsageContext(Context.SMS, MT)


def test_mms_sent_and_received() -> None:
    sent = seen(Context.MMS, ccr.mms_to("+38631234567"))
    assert sent == UsageContext(Context.MMS, MO, serving_plmn="29340", other_party="+38631234567")
    received = seen(Context.MMS, ccr.mms_from("+38631234567"))
    assert received == UsageContext(Context.MMS, MT, serving_plmn="29340", other_party="+38631234567")


# -- rating event and record detail


def test_event_and_detail() -> None:
    where = UsageContext(Context.DATA, apn="internet", serving_plmn="29340")
    assert where.event(1, 2) == UseEvent(
        Context.DATA, rating_group=1, service_identifier=2, apn="internet", serving_plmn="29340"
    )
    assert where.detail() == "29340 mo internet"
    assert UsageContext(Context.IMS, MT, other_party="tel:+3861").detail() == " mt tel:+3861"
    assert UsageContext(Context.SMS, visited_number="38640").detail() == "38640 mo"


# -- real clients


def captured(path: Path) -> list[CreditControlRequest]:
    return [decode_ccr(frame, parse_header(frame)) for frame in requests(path)]


def test_open5gs() -> None:
    """A P-GW's data session: opening, update, termination."""
    found = captured(OPEN5GS)
    assert {request.cc_request_type for request in found} == {1, 2, 3}
    for request in found:
        context = context_of(request.service_context_id)
        assert context is Context.DATA
        assert usage_context_of(context, request) == UsageContext(context, apn="internet", serving_plmn="00101")
        assert identities(request) == ["m447700900001", "i001010000000001"]


def test_kamailio() -> None:
    """An S-CSCF's call; the cell in P-Access-Network-Info has the network."""
    found = captured(KAMAILIO)
    assert found
    for request in found:
        context = context_of(request.service_context_id)
        assert context is Context.IMS
        assert usage_context_of(context, request) == UsageContext(
            context, MO, serving_plmn="00101", other_party="sip:447700900002@localdomain"
        )
        assert identities(request) == ["m447700900001"]
