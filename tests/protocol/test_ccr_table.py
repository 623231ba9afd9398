"""RFC 8506 §10.1, TS 32.299 §6.4 and §7.1.9 by hand: how often each AVP may occur in a CCR, its flags and values.

The mutator derives its expectations from the message classes; this test checks the classes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from protocol.avp import Kind, encode_avp, walk
from protocol.credit_control import (
    _CCA,
    _CCR,
    CreditControlRequest,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    SubscriptionId,
    UsedServiceUnit,
    VendorSpecificApplicationId,
    decode_ccr,
    encode_ccr,
)
from protocol.dictionary import BY_KEY
from protocol.errors import DiameterError
from protocol.failed_avp import minimum_payload
from protocol.header import parse_header
from tests.protocol.test_pipeline import body_of, ccr, frame_of

TABLE_10_1 = Path(__file__).parents[1] / "data" / "standards" / "rfc8506-10.1.txt"
M, V = 0x40, 10415


class Row(NamedTuple):
    code: int
    vendor: int
    in_ccr: str
    """"0", "1", "0-1" or "0+"; "1*" = once, but some clients send it twice."""
    in_cca: str
    flag: str
    """"M" must be set when we send it, "m" may, "-" must not."""


COMMAND = {
    # RFC 8506 §10.1, in its order; the flags are those of §8 and of RFC 6733 §4.5
    "Acct-Multi-Session-Id": Row(50, 0, "0-1", "0-1", "M"),
    "Auth-Application-Id": Row(258, 0, "1", "1", "M"),
    "CC-Correlation-Id": Row(411, 0, "0-1", "0", "m"),
    "CC-Session-Failover": Row(418, 0, "0", "0-1", "M"),
    "CC-Request-Number": Row(415, 0, "1", "1", "M"),
    "CC-Request-Type": Row(416, 0, "1", "1", "M"),
    "CC-Sub-Session-Id": Row(419, 0, "0-1", "0-1", "M"),
    "Check-Balance-Result": Row(422, 0, "0", "0-1", "M"),
    "Cost-Information": Row(423, 0, "0", "0-1", "M"),
    "Credit-Control-Failure-Handling": Row(427, 0, "0", "0-1", "M"),
    "Destination-Host": Row(293, 0, "0-1", "0", "M"),
    "Destination-Realm": Row(283, 0, "1", "0", "M"),
    "Direct-Debiting-Failure-Handling": Row(428, 0, "0", "0-1", "M"),
    "Event-Timestamp": Row(55, 0, "0-1", "0-1", "M"),
    "Failed-AVP": Row(279, 0, "0", "0+", "M"),
    "Final-Unit-Indication": Row(430, 0, "0", "0-1", "M"),
    "QoS-Final-Unit-Indication": Row(669, 0, "0", "0-1", "m"),
    "Granted-Service-Unit": Row(431, 0, "0", "0-1", "M"),
    "Multiple-Services-Credit-Control": Row(456, 0, "0+", "0+", "M"),
    "Multiple-Services-Indicator": Row(455, 0, "0-1", "0", "M"),
    "Origin-Host": Row(264, 0, "1*", "1", "M"),
    "Origin-Realm": Row(296, 0, "1*", "1", "M"),
    "Origin-State-Id": Row(278, 0, "0-1", "0-1", "M"),
    "Proxy-Info": Row(284, 0, "0+", "0+", "M"),
    "Redirect-Host": Row(292, 0, "0", "0+", "M"),
    "Redirect-Host-Usage": Row(261, 0, "0", "0-1", "M"),
    "Redirect-Max-Cache-Time": Row(262, 0, "0", "0-1", "M"),
    "Requested-Action": Row(436, 0, "0-1", "0", "M"),
    "Requested-Service-Unit": Row(437, 0, "0-1", "0", "M"),
    "Route-Record": Row(282, 0, "0+", "0+", "M"),
    "Result-Code": Row(268, 0, "0", "1", "M"),
    "Service-Context-Id": Row(461, 0, "1", "0", "M"),
    "Service-Identifier": Row(439, 0, "0-1", "0", "M"),
    "Service-Parameter-Info": Row(440, 0, "0+", "0", "m"),
    "Session-Id": Row(263, 0, "1", "1", "M"),
    "Subscription-Id": Row(443, 0, "0+", "0", "M"),
    "Subscription-Id-Extension": Row(659, 0, "0+", "0", "m"),
    "Termination-Cause": Row(295, 0, "0-1", "0", "M"),
    "User-Equipment-Info": Row(458, 0, "0-1", "0", "m"),
    "User-Equipment-Info-Extension": Row(653, 0, "0-1", "0", "m"),
    "Used-Service-Unit": Row(446, 0, "0+", "0", "M"),
    "User-Name": Row(1, 0, "0-1", "0-1", "M"),
    "Validity-Time": Row(448, 0, "0", "0-1", "M"),
    # TS 32.299 §6.4: what 3GPP adds
    "AoC-Request-Type": Row(2055, V, "0-1", "0", "M"),
    "Service-Information": Row(873, V, "0-1", "0-1", "M"),
    "Experimental-Result": Row(297, 0, "0", "0-1", "M"),
    "Error-Message": Row(281, 0, "0", "0-1", "-"),
    "Error-Reporting-Host": Row(294, 0, "0", "0-1", "-"),
    "Low-Balance-Indication": Row(2020, V, "0", "0-1", "M"),
    "Remaining-Balance": Row(2021, V, "0", "0-1", "M"),
    "OC-Supported-Features": Row(621, 0, "0-1", "0-1", "m"),
    "OC-OLR": Row(623, 0, "0", "0-1", "m"),
    "DRMP": Row(301, 0, "0-1", "0", "m"),
}
SERVICE = {
    # TS 32.299 §7.1.9, Multiple-Services-Credit-Control
    "Requested-Service-Unit": Row(437, 0, "0-1", "0", "M"),
    "Used-Service-Unit": Row(446, 0, "0+", "0", "M"),
    "Granted-Service-Unit": Row(431, 0, "0", "0-1", "M"),
    "Tariff-Change-Usage": Row(452, 0, "0-1", "0-1", "M"),
    "Service-Identifier": Row(439, 0, "0+", "0+", "M"),
    "Rating-Group": Row(432, 0, "0-1", "0-1", "M"),
    "G-S-U-Pool-Reference": Row(457, 0, "0", "0+", "M"),
    "Validity-Time": Row(448, 0, "0", "0-1", "M"),
    "Result-Code": Row(268, 0, "0", "0-1", "M"),
    "Final-Unit-Indication": Row(430, 0, "0", "0-1", "M"),
    "QoS-Final-Unit-Indication": Row(669, 0, "0", "0-1", "m"),
    "Time-Quota-Threshold": Row(868, V, "0", "0-1", "M"),
    "Volume-Quota-Threshold": Row(869, V, "0", "0-1", "M"),
    "Unit-Quota-Threshold": Row(1226, V, "0", "0-1", "M"),
    "Quota-Holding-Time": Row(871, V, "0", "0-1", "M"),
    "Quota-Consumption-Time": Row(881, V, "0", "0-1", "M"),
    "Time-Quota-Mechanism": Row(1270, V, "0", "0-1", "M"),
    "Envelope-Reporting": Row(1268, V, "0", "0-1", "M"),
    "Envelope": Row(1266, V, "0+", "0", "M"),
    "Reporting-Reason": Row(872, V, "0+", "0", "M"),
    "Trigger": Row(1264, V, "0-1", "0-1", "M"),
    "PS-Furnish-Charging-Information": Row(865, V, "0", "0-1", "M"),
    "Refund-Information": Row(2022, V, "0-1", "0-1", "M"),
    "Service-Specific-Info": Row(1249, V, "0+", "0", "M"),
    "QoS-Information": Row(1016, V, "0-1", "0-1", "M"),
    "3GPP-RAT-Type": Row(21, V, "0-1", "0", "m"),
    "Announcement-Information": Row(3904, V, "0", "0+", "M"),
}
UNITS = {
    # RFC 8506 §8.18 and §8.19
    "CC-Time": Row(420, 0, "0-1", "0-1", "M"),
    "CC-Money": Row(413, 0, "0-1", "0-1", "M"),
    "CC-Total-Octets": Row(421, 0, "0-1", "0-1", "M"),
    "CC-Input-Octets": Row(412, 0, "0-1", "0-1", "M"),
    "CC-Output-Octets": Row(414, 0, "0-1", "0-1", "M"),
    "CC-Service-Specific-Units": Row(417, 0, "0-1", "0-1", "M"),
}
SUBSCRIBER = {
    "Subscription-Id-Type": Row(450, 0, "1", "0", "M"),
    "Subscription-Id-Data": Row(444, 0, "1", "0", "M"),
}
EQUIPMENT = {
    "User-Equipment-Info-Type": Row(459, 0, "1", "0", "m"),
    "User-Equipment-Info-Value": Row(460, 0, "1", "0", "m"),
}
CLOSED = {
    # RFC 8506 §8.3, §8.41, §8.47, §8.40, §8.27: which values there are; 5004 for any other
    "CC-Request-Type": (416, (1, 2, 3, 4)),
    "Requested-Action": (436, (0, 1, 2, 3)),
    "Subscription-Id-Type": (450, (0, 1, 2, 3, 4)),
    "Multiple-Services-Indicator": (455, (0, 1)),
    "Auth-Application-Id": (258, (4,)),
    "Acct-Application-Id": (259, (4,)),
}
OUTSIDE = (-1, 0, 1, 2, 3, 4, 5, 6, 99, 0x7FFFFFFF)
NOT_IN_OUR_ANSWERS = {"Acct-Multi-Session-Id", "Error-Reporting-Host", "Route-Record"}
"""AVPs that our CCAs do not have."""


def request(kind: int = 1) -> CreditControlRequest:
    made = ccr()
    made.cc_request_type = kind
    if kind == 4:
        made.requested_action = 0
    return made


def code_of(frame: bytes) -> tuple[int, bytes]:
    try:
        decode_ccr(frame, parse_header(frame))
    except DiameterError as error:
        return error.result_code, error.failed_avp
    return 0, b""


def sample(row: Row) -> bytes:
    """One well-formed AVP."""
    key = row.vendor << 32 | row.code
    field = _CCR.fields.get(key)
    if row.code == 284:
        payload = encode_avp(280, 0, M, b"dra.example.net") + encode_avp(33, 0, M, b"state")
    elif row.code in _GROUPS:
        payload = _GROUPS[row.code]
    elif field is not None and field.allowed:
        payload = min(field.allowed).to_bytes(4, "big")
    else:
        payload = minimum_payload(BY_KEY[key].kind)
        if BY_KEY[key].kind is Kind.IDENTITY or row.code in (263, 1):
            payload = b"host.example.org"
    return encode_avp(row.code, row.vendor, M if row.flag == "M" else 0, payload)


_GROUPS = {
    443: encode_avp(450, 0, M, bytes(4)) + encode_avp(444, 0, M, b"38668100000"),
    458: encode_avp(459, 0, 0, bytes(4)) + encode_avp(460, 0, 0, b"1"),
    653: encode_avp(658, 0, 0, b"356938035643809"),
    440: encode_avp(441, 0, 0, bytes(4)) + encode_avp(442, 0, 0, b"1"),
    659: encode_avp(660, 0, 0, b"38668100000"),
    1266: encode_avp(1269, V, M, bytes(4)),
    1270: encode_avp(1271, V, M, bytes(4)) + encode_avp(1265, V, M, bytes(4)),
    413: encode_avp(445, 0, M, encode_avp(447, 0, M, bytes(8))),
}


def split(body: bytes) -> list[bytes]:
    return [body[avp.start : (avp.stop + 3) & ~3] for avp in walk(body, 0, len(body))]


def code_at(avp: bytes) -> int:
    return int.from_bytes(avp[:4], "big")


def wrapped(place: str, avps: bytes) -> bytes:
    """A request whose group at that place contains exactly these AVPs."""
    others = [avp for avp in split(body_of(request())) if code_at(avp) not in (443, 456)]
    if place == "command":
        return frame_of(avps)
    if place == "service":
        return frame_of(b"".join(others) + encode_avp(456, 0, M, avps))
    if place == "used":
        return frame_of(b"".join(others) + encode_avp(456, 0, M, encode_avp(446, 0, M, avps)))
    if place == "wanted":
        return frame_of(b"".join(others) + encode_avp(456, 0, M, encode_avp(437, 0, M, avps)))
    return frame_of(b"".join(others) + encode_avp(443 if place == "subscriber" else 458, 0, 0, avps))


def base_of(place: str) -> list[bytes]:
    if place == "command":
        return [avp for avp in split(body_of(request())) if code_at(avp) not in (443, 456)]
    return {
        "subscriber": split(_GROUPS[443]),
        "equipment": split(_GROUPS[458]),
    }.get(place, [])


TABLES = {
    "command": COMMAND,
    "service": SERVICE,
    "used": UNITS,
    "wanted": UNITS,
    "subscriber": SUBSCRIBER,
    "equipment": EQUIPMENT,
}
ROWS = [
    pytest.param(place, name, row, id=f"{place} {name}")
    for place, table in TABLES.items()
    for name, row in table.items()
]


def test_the_table_is_the_standards() -> None:
    """Row by row, in the text of RFC 8506 §10.1 itself."""
    part = TABLE_10_1.read_text(encoding="utf-8")
    printed = {
        name: (ccr_, cca)
        for name, ccr_, cca in re.findall(r"^ +([A-Z][\w-]+) +\| (\S+) +\| (\S+) +\|$", part, re.MULTILINE)
    }
    assert len(printed) == 43
    ours = {name: (row.in_ccr.rstrip("*"), row.in_cca) for name, row in COMMAND.items() if name in printed}
    assert ours == printed


@pytest.mark.parametrize(("place", "name", "row"), ROWS)
def test_how_often_an_avp_may_come_in_a_ccr(place: str, name: str, row: Row) -> None:
    assert BY_KEY[row.vendor << 32 | row.code].name == name
    rest = [avp for avp in base_of(place) if code_at(avp) != row.code]
    instance = next((avp for avp in base_of(place) if code_at(avp) == row.code), sample(row))
    without, once, twice = (code_of(wrapped(place, b"".join([*rest, *[instance] * number])))[0] for number in (0, 1, 2))
    expected = {
        "0": (0, 5008, 5008),
        "1": (5005, 0, 5009),
        "1*": (5005, 0, 0),
        "0-1": (0, 0, 5009),
        "0+": (0, 0, 0),
    }[row.in_ccr]
    assert (without, once, twice) == expected


@pytest.mark.parametrize(("place", "name", "row"), [each for each in ROWS if each.values[2].in_ccr == "0"])
def test_what_belongs_into_answers_is_copied_into_the_refusal(place: str, name: str, row: Row) -> None:
    """RFC 6733 §7.1.5, §7.5: 5008 with the AVP, in its parent."""
    instance = sample(row)
    code, failed = code_of(wrapped(place, b"".join([*base_of(place), instance])))
    assert code == 5008
    assert failed == (instance if place == "command" else encode_avp(456, 0, M, instance))


def test_every_avp_of_the_classes_is_in_the_table() -> None:
    """AVPs that are declared but not in the tables are listed here with their source."""
    more = {
        260: "RFC 6733 §6.11, an S-CSCF names the application in it",
        259: "RFC 6733 §6.9, to look at its value",
        480: "an S-CSCF sends it",
        485: "an S-CSCF sends it",
        18: "of PS-Information: some clients have no such group",
        22: "of PS-Information: some clients have no such group",
        30: "of PS-Information: some clients have no such group",
        2022: "TS 32.299 §7.1.9, for requests without MSCC",
    }
    tabled = {row.vendor << 32 | row.code for row in COMMAND.values()}
    declared = {key for key in _CCR.fields if key & 0xFFFFFFFF not in more}
    assert declared <= tabled
    assert {key for key in _CCA.fields if key & 0xFFFFFFFF not in more} <= tabled
    service = _CCR.fields[456].group
    assert service is not None
    assert set(service.fields) == {row.vendor << 32 | row.code for row in SERVICE.values()}


@pytest.mark.parametrize("table", [COMMAND, SERVICE], ids=["command", "service"])
def test_the_answers_grammar_and_flags(table: dict[str, Row]) -> None:
    service = _CCA.fields[456].group
    assert service is not None
    codec = _CCA if table is COMMAND else service
    for name, row in table.items():
        field = codec.fields.get(row.vendor << 32 | row.code)
        if row.in_cca == "0" and table is COMMAND:
            assert field is None, name
            continue
        if field is None:
            assert name in NOT_IN_OUR_ANSWERS, name
            continue
        mandatory = {"M": True, "-": False}.get(row.flag, field.definition.mandatory)
        assert field.definition.mandatory is mandatory, name
        once = row.in_cca in ("1", "0-1") or name == "Failed-AVP"  # one, with all in it (RFC 6733 erratum 4615)
        assert field.repeated is not once or row.in_cca == "0", name


def with_value(name: str, value: int) -> bytes:
    made = request(4 if name == "Requested-Action" else 1)
    if name == "CC-Request-Type":
        made.cc_request_type = value
        made.requested_action = 0 if value == 4 else None
    elif name == "Requested-Action":
        made.requested_action = value
    elif name == "Subscription-Id-Type":
        made.subscription_id = [SubscriptionId(value, "38668100000")]
    elif name == "Multiple-Services-Indicator":
        made.multiple_services_indicator = value
    elif name == "Auth-Application-Id":
        made.auth_application_id = value & 0xFFFFFFFF
    else:
        made.acct_application_id = value & 0xFFFFFFFF
    return encode_ccr(made, hop_by_hop=1, end_to_end=2)


@pytest.mark.parametrize("name", CLOSED)
def test_the_values_of_enumerations(name: str) -> None:
    code, allowed = CLOSED[name]
    for value in OUTSIDE:
        found, failed = code_of(with_value(name, value))
        if value in allowed:
            assert found == 0, f"{name} {value}"
            continue
        bad = encode_avp(code, 0, M, (value & 0xFFFFFFFF).to_bytes(4, "big"))
        assert found == 5004, f"{name} {value}"
        assert failed == (encode_avp(443, 0, M, bad) if name == "Subscription-Id-Type" else bad)


@pytest.mark.parametrize("value", OUTSIDE)
def test_tariff_change_usage(value: int) -> None:
    """RFC 8506 §8.27: in the service and in what was used."""
    used = UsedServiceUnit(tariff_change_usage=value, cc_time=1)
    for service in (
        MultipleServicesCreditControl(tariff_change_usage=value),
        MultipleServicesCreditControl(used_service_unit=[used], requested_service_unit=RequestedServiceUnit()),
    ):
        made = request()
        made.multiple_services_credit_control = [service]
        assert code_of(encode_ccr(made, hop_by_hop=1, end_to_end=2))[0] == (0 if value in (0, 1, 2) else 5004)


# --- application ids (RFC 6733 §3: those in a message are the header's; §5.3)


@pytest.mark.parametrize(
    ("groups", "code"),
    [
        ([VendorSpecificApplicationId(10415, 4)], 0),
        ([VendorSpecificApplicationId(None, 4)], 0),
        ([VendorSpecificApplicationId(10415, None, 4)], 0),
        ([VendorSpecificApplicationId(10415, None, 3)], 5004),
        ([VendorSpecificApplicationId(10415, 5)], 5004),
        ([VendorSpecificApplicationId(10415, 4, 3)], 5009),
        ([VendorSpecificApplicationId(10415, 4, 4)], 5009),
        ([VendorSpecificApplicationId(10415)], 5005),
    ],
)
def test_vendor_specific_application_ids_beside_the_application(
    groups: list[VendorSpecificApplicationId], code: int
) -> None:
    made = request()
    made.vendor_specific_application_id = groups
    assert code_of(encode_ccr(made, hop_by_hop=1, end_to_end=2))[0] == code


@pytest.mark.parametrize("name", ["origin_host", "origin_realm", "destination_realm", "destination_host"])
def test_a_name_is_never_empty(name: str) -> None:
    """RFC 6733 §4.3.1: a DiameterIdentity is a name."""
    made = request()
    setattr(made, name, "")
    found, failed = code_of(encode_ccr(made, hop_by_hop=1, end_to_end=2))
    assert found == 5004
    assert len(failed) == 8, "its header and nothing"
