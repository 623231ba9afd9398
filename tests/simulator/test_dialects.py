"""Patched templates equal python-diameter's encoding; each dialect has the AVPs of its element, and those that speak as
a recorded client send what it sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diameter.message._base import Message

from simulator.dialects import DialectError, Sender, ecgi, encode, load_dialect, render, tbcd
from simulator.requests import Element, Kind, Place, Request, ServicePart, Subscriber
from simulator.templates import Field, compile_template
from tests.protocol.captures import KAMAILIO, OPEN5GS, TERAVM, frames, needs_teravm

IDS = {"hop_by_hop": 7, "end_to_end": 9}
SHIPPED = sorted(path.stem for path in Path("simulator/dialects").glob("*.toml"))
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


def sender(dialect: str, **changes: Any) -> Sender:
    names = {"host": "x.sim.example.net", "realm": "sim.example.net", "server_realm": "example.net"}
    return Sender(**{**names, "dialect": load_dialect(dialect), **changes})


@pytest.mark.parametrize(("dialect", "kind"), list(itertools.product(SHIPPED, Kind)))
def test_a_patched_template_is_what_python_diameter_encodes(dialect: str, kind: Kind) -> None:
    for parts, state_id, server_host in zip(PARTS, (0, 1, 77, 78), ("", "ocs.example.net", "", "x"), strict=True):
        spoken = sender(dialect, state_id=state_id, server_host=server_host)
        wanted = request(spoken.dialect.element, kind, parts, seconds=41)
        octets = encode(wanted, spoken, **IDS)
        assert bytes(render(wanted, spoken, **IDS)) == octets
        assert octets[12:20] == bytes((0, 0, 0, 7, 0, 0, 0, 9))


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
            assert bytes(render(wanted, sender("ims"), **IDS)) == encode(wanted, sender("ims"), **IDS)


def test_each_element_says_where_and_whom() -> None:
    def information(element: Element, **changes: object) -> object:
        frame = encode(request(element, Kind.INITIAL, PARTS[0], **changes), sender(element.value), **IDS)
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
    frame = encode(request(Element.SMSC, Kind.EVENT, (ServicePart(None, wanted=1),)), sender("smsc"), **IDS)
    message = Message.from_bytes(frame)
    assert (message.cc_request_type, message.requested_action) == (4, 0)
    assert message.header.application_id == 4


def test_reporting_reasons_stand_where_the_standard_has_them() -> None:
    """TS 32.299 §7.2.175: threshold and quota exhausted in Used-Service-Unit, the others in the MSCC."""
    message = Message.from_bytes(encode(request(Element.PGW, Kind.UPDATE, PARTS[1]), sender("pgw"), **IDS))
    first, second = message.multiple_services_credit_control
    assert (first.used_service_unit[0].reporting_reason, first.reporting_reason) == (3, [])
    assert (second.used_service_unit[0].reporting_reason, second.reporting_reason) == (None, [4])


# -- as recorded


def shape(avps: Any) -> Iterator[tuple[Any, ...]]:
    """Names, flags and order of AVPs; values of numbers that say what the client is able to do."""
    for avp in avps:
        told = (
            avp.value if avp.name in ("Multiple-Services-Indicator", "Requested-Action", "AoC-Request-Type") else None
        )
        yield avp.name, avp.is_mandatory, told
        if isinstance(avp.value, list):
            yield from (("within", *each) for each in shape(avp.value))


def recorded(path: Path) -> Iterator[Any]:
    for frame in frames(path):
        message = Message.from_bytes(frame, plain_msg=True)
        if message.header.is_request and message.header.command_code == 272 and message.header.application_id == 4:
            yield message


REPLAYED = {
    "open5gs": (
        OPEN5GS,
        {
            1: ServicePart(None, wanted=1_000_000),
            2: ServicePart(None, 200, 1_000_000, 3),
            3: ServicePart(None, 9, reason=2),
        },
    ),
    "kamailio": (KAMAILIO, {1: ServicePart(100, wanted=5)}),
    "teravm": (TERAVM, {2: ServicePart(9, 2000, 1000, 3)}),
}


@pytest.mark.parametrize(
    ("dialect", "type_"),
    [
        *((dialect, type_) for dialect in ("open5gs", "kamailio") for type_ in REPLAYED[dialect][1]),
        pytest.param("teravm", 2, marks=needs_teravm),
    ],
)
def test_a_recorded_dialect_sends_what_its_client_sent(dialect: str, type_: int) -> None:
    """The same AVPs in the same order, with the same flags, at all levels."""
    path, parts = REPLAYED[dialect]
    known = {"server_host": "ocs.example.net", "state_id": 1}
    for message in recorded(path):
        if next(avp.value for avp in message.avps if avp.code == 416) == type_:
            kind = {1: Kind.INITIAL, 2: Kind.UPDATE, 3: Kind.TERMINATION}[type_]
            spoken = sender(dialect, **known)
            frame = encode(request(spoken.dialect.element, kind, (parts[type_],)), spoken, **IDS)
            assert list(shape(Message.from_bytes(frame, plain_msg=True).avps)) == list(shape(message.avps))
            return
    raise AssertionError("the capture has no such request")


def test_a_double_report_has_time_and_volume_apart_and_counts_the_volume_once() -> None:
    spoken = sender("cisco")
    frame = encode(request(Element.PGW, Kind.UPDATE, PARTS[1], seconds=30), spoken, **IDS)
    (first, second) = Message.from_bytes(frame).multiple_services_credit_control
    assert [(one.cc_time, one.cc_total_octets) for one in first.used_service_unit] == [(30, None), (None, 5_000)]
    assert [(one.cc_time, one.cc_total_octets) for one in second.used_service_unit] == [(30, None), (None, 77)]


def test_a_termination_may_repeat_the_number_of_the_update() -> None:
    numbers = {
        dialect: Message.from_bytes(
            encode(request(Element.PGW, Kind.TERMINATION, PARTS[2]), sender(dialect), **IDS)
        ).cc_request_number
        for dialect in ("pgw", "cisco")
    }
    assert numbers == {"pgw": 3, "cisco": 2}


# -- files


def test_every_dialect_says_where_it_is_known_from_and_how_it_answers() -> None:
    habits = {name: (load_dialect(name).rar, load_dialect(name).asr) for name in SHIPPED}
    assert all(len(load_dialect(name).source) > 10 for name in SHIPPED)
    assert {*Element} <= {load_dialect(name).element for name in SHIPPED}
    assert {rar.result_code for rar, _ in habits.values()} == {0, 2001, 2002}
    assert {asr.result_code for _, asr in habits.values()} == {0, 2001, 5012}


BASE = """source = "a test"\nelement = "pgw"\nunits = "octets"\nrar = { answer = 2001 }\nasr = { answer = 2001 }\n"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("service = []", "avps must be a list"),
        ('avps = [["No-Such-AVP", 1]]\nservice = []', "No-Such-AVP"),
        ('avps = [["Session-Id", "{nothing}"]]\nservice = []', "unknown field"),
        ('avps = [["Session-Id", "{session_id}", "sometimes"]]\nservice = []', "sometimes"),
        ('avps = [["Session-Id", []]]\nservice = []', "is no group"),
        ('avps = [["Subscription-Id", "x"]]\nservice = []', "must be a list"),
        ('avps = [["Session-Id"]]\nservice = []', r"must be \[name, value\]"),
        ('avps = []\nservice = []\nquirks = ["odd"]', "quirks"),
        ("avps = []\nservice = []\nother = 1", "unknown key other"),
        ('avps = []\nservice = []\n[reasons]\nlate = "final"', "reasons"),
        ("avps = [", "dialect"),
    ],
)
def test_a_mistake_in_a_file_is_told(tmp_path: Path, more: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(BASE + more)
    with pytest.raises(DialectError, match=said):
        load_dialect(str(path))


def test_a_dialect_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    avps = '["Session-Id", "{session_id}"], ["Multiple-Services-Credit-Control", "{services}"]'
    path.write_text(f'{BASE}avps = [{avps}]\nservice = [["Rating-Group", "{{rating_group}}"]]')
    frame = render(request(Element.PGW, Kind.INITIAL, PARTS[0]), sender(str(path)), **IDS)
    assert [avp.name for avp in Message.from_bytes(bytes(frame), plain_msg=True).avps] == [
        "Session-Id",
        "Multiple-Services-Credit-Control",
    ]
    with pytest.raises(DialectError, match="no dialect 'nobody'; it must be a file, or one of cisco"):
        load_dialect("nobody")


def test_a_field_that_does_not_occur_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="does not occur"):
        compile_template(lambda _: b"nothing", (Field("session_id", "text", 20),))


def test_telephony_bcd_and_cell() -> None:
    assert tbcd("386123") == bytes.fromhex("831632")
    assert ecgi("29340").hex() == "8192f3040123ab01"
    assert ecgi("310260").hex() == "811300620123ab01"


def test_a_gateway_says_what_made_it_report_and_where_its_subscriber_is_now() -> None:
    """Reporting-Reason 6 with the Trigger-Types, 3GPP-RAT-Type and the cell (TS 32.299 §6.5.4, §7.2.175, §7.2.236)."""
    place = Place("eu", "21910", "385910000001", cell=0x0ABCDEF, rat=51)
    part = ServicePart(100, used=5_000, wanted=0, reason=6, triggers=(30, 31))
    moved = request(Element.PGW, Kind.UPDATE, (part,), place=place)
    octets = encode(moved, sender("pgw"), **IDS)
    assert bytes(render(moved, sender("pgw"), **IDS)) == octets
    found: Any = Message.from_bytes(octets)
    (mscc,) = found.multiple_services_credit_control
    assert (mscc.reporting_reason, mscc.trigger.trigger_type) == ([6], [30, 31])
    ps = found.service_information.ps_information
    assert ps.tgpp_rat_type == b"\x33"
    assert ps.tgpp_user_location_info == ecgi("21910", 0x0ABCDEF)


def test_use_before_and_after_a_tariff_change_is_told_apart() -> None:
    """Two Used-Service-Units with Tariff-Change-Usage 0 and 1 (RFC 8506 §8.19, §8.27)."""
    part = ServicePart(100, used=5_000, wanted=0, reason=3, used_after=1_800)
    changed = request(Element.PGW, Kind.UPDATE, (part,))
    octets = encode(changed, sender("pgw"), **IDS)
    assert bytes(render(changed, sender("pgw"), **IDS)) == octets
    found: Any = Message.from_bytes(octets)
    units = found.multiple_services_credit_control[0].used_service_unit
    assert [(each.tariff_change_usage, each.cc_total_octets) for each in units] == [(0, 3_200), (1, 1_800)]
    assert units[0].cc_input_octets + units[0].cc_output_octets == 3_200


@pytest.mark.parametrize("element", [Element.IMS, Element.MSC])
def test_a_forwarded_leg_says_who_called_whom_and_who_forwards(element: Element) -> None:
    """TS 32.260, TS 32.299 §7.2.168, §7.2.196A: Role-Of-Node 2, the three parties, and how it was forwarded."""
    own = {"forwarding": 5, "caller": "38640111222", "other_party": "38668100002"}
    leg = request(element, Kind.INITIAL, PARTS[0], **own)
    octets = encode(leg, sender(element.value), **IDS)
    assert bytes(render(leg, sender(element.value), **IDS)) == octets
    found: Any = Message.from_bytes(octets)
    ims = found.service_information.ims_information
    assert ims.role_of_node == 2
    assert (ims.calling_party_address, ims.called_party_address) == (["tel:+38640111222"], "tel:+38668100002")
    assert ims.requested_party_address == ["tel:+38668100001"]
    (service,) = found.service_information.mmtel_information.supplementary_service
    assert (service.mmtel_service_type, service.service_mode, service.number_of_diversions) == (6, 5, 1)
