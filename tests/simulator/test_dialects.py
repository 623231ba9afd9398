"""Patched templates equal python-diameter's encoding; each dialect has the AVPs of its element."""

from __future__ import annotations

import itertools

import pytest
from diameter.message._base import Message

from simulator.dialects import ecgi, encode, render, tbcd
from simulator.requests import Element, Kind, Place, Request, ServicePart, Subscriber
from simulator.templates import Field, compile_template

IDS = {"realm": "sim.example.net", "destination_realm": "example.net", "hop_by_hop": 7, "end_to_end": 9}
PARTS = (
    (ServicePart(100, wanted=0),),
    (ServicePart(100, used=5_000, wanted=0, reason=3), ServicePart(900, used=77, wanted=1_000, reason=4)),
    (ServicePart(None, used=1, reason=2),),
    (),
)


def request(element: Element, kind: Kind, parts: tuple[ServicePart, ...], **changes: object) -> Request:
    values: dict[str, object] = {
        "session_id": "x.sim.example.net;0000000001;0000000002",
        "number": 3,
        "at": 1_790_000_000,
        "subscriber": Subscriber("38668100001", "293400000000001"),
        "place": Place("home", "29340", "38640000001"),
        "other_party": "38641222333",
        "charging_id": 77,
        "size_octets": 30_000,
        **changes,
    }
    return Request(element=element, kind=kind, parts=parts, **values)


@pytest.mark.parametrize(("element", "kind"), list(itertools.product(Element, Kind)))
def test_a_patched_template_is_what_python_diameter_encodes(element: Element, kind: Kind) -> None:
    for parts in PARTS:
        wanted = request(element, kind, parts)
        assert bytes(render(wanted, **IDS)) == encode(wanted, **IDS)


def test_other_values_in_the_same_template() -> None:
    for other, plmn, incoming in (
        ("112", "29340", False),
        ("381631234567", "22001", True),
        ("15551234567", "310260", False),
    ):
        for number in (0, 1, 99_999):
            wanted = request(
                Element.IMS,
                Kind.UPDATE,
                PARTS[0],
                other_party=other,
                place=Place("world-1", plmn, "381630000001"),
                incoming=incoming,
                number=number,
            )
            assert bytes(render(wanted, **IDS)) == encode(wanted, **IDS)


def test_each_element_says_where_and_whom() -> None:
    def information(element: Element, **changes: object) -> object:
        frame = encode(request(element, Kind.INITIAL, PARTS[0], **changes), **IDS)
        return Message.from_bytes(frame).service_information

    data = information(Element.PGW).ps_information  # type: ignore[attr-defined]
    assert (data.tgpp_sgsn_mcc_mnc, data.called_station_id) == ("29340", "internet")
    call = information(Element.IMS).ims_information  # type: ignore[attr-defined]
    assert (call.role_of_node, call.calling_party_address, call.called_party_address) == (
        0,
        ["tel:+38668100001"],
        "tel:+38641222333",
    )
    incoming = information(Element.MSC, incoming=True)
    assert incoming.ims_information.role_of_node == 1  # type: ignore[attr-defined]
    assert incoming.ims_information.called_party_address == "tel:+38668100001"  # type: ignore[attr-defined]
    assert incoming.vcs_information.vlr_number == bytes.fromhex("8346000000f1")  # type: ignore[attr-defined]
    message = information(Element.SMSC).sms_information  # type: ignore[attr-defined]
    assert message.originator_sccp_address == (8, "38640000001")
    assert message.recipient_info[0].recipient_address[0].address_data == "38641222333"
    assert information(Element.MMSC).mms_information.message_size == 30_000  # type: ignore[attr-defined]


def test_an_event_asks_for_direct_debiting() -> None:
    frame = encode(request(Element.SMSC, Kind.EVENT, (ServicePart(None, wanted=1),)), **IDS)
    message = Message.from_bytes(frame)
    assert (message.cc_request_type, message.requested_action) == (4, 0)
    assert message.header.application_id == 4


def test_reporting_reasons_stand_where_the_standard_has_them() -> None:
    """TS 32.299 §7.2.175: threshold and quota exhausted in Used-Service-Unit, the others in the MSCC."""
    message = Message.from_bytes(encode(request(Element.PGW, Kind.UPDATE, PARTS[1]), **IDS))
    first, second = message.multiple_services_credit_control
    assert (first.used_service_unit[0].reporting_reason, first.reporting_reason) == (3, [])
    assert (second.used_service_unit[0].reporting_reason, second.reporting_reason) == (None, [4])


def test_a_field_that_does_not_occur_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="does not occur"):
        compile_template(lambda _: b"nothing", (Field("session_id", "text", 20),))


def test_telephony_bcd_and_cell() -> None:
    assert tbcd("386123") == bytes.fromhex("831632")
    assert ecgi("29340").hex() == "8192f3040123ab01"
    assert ecgi("310260").hex() == "811300620123ab01"
