"""Round trips of every type and message, and python-diameter as the oracle in both directions."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from typing import Any

import pytest
from diameter.message import Message
from diameter.message.avp import Avp, AvpAddress, AvpGrouped, AvpTime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol import commands
from protocol.avp import FAMILY_E164, Address, Kind, decode_time, decode_value, encode_time, encode_value, walk
from protocol.compiler import Codec
from protocol.credit_control import (
    _CCA,
    _CCR,
    CreditControlRequest,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    decode_cca,
    decode_ccr,
    encode_cca,
    encode_ccr,
)
from protocol.dictionary import BY_KEY, Definition, attribute_name
from protocol.header import HEADER_OCTETS, Header, build, parse_header
from tests.protocol import captures
from tests.protocol.strategies import BASE, CCAS, CCRS, VALUES, tree

REQUEST = Header(0, 0xC0, 272, 4, 7, 8)
few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("kind", [kind for kind in VALUES if kind is not Kind.RAW], ids=lambda kind: kind.name)
def test_every_type_reads_back_what_it_wrote(kind: Kind) -> None:
    @given(VALUES[kind])
    @settings(few, max_examples=200)
    def holds(value: Any) -> None:
        payload = encode_value(kind, value)
        assert decode_value(kind, payload, 0, len(payload)) == value

    holds()


def test_time_goes_on_after_2036() -> None:
    """RFC 6733 §4.3.1: 2036-02-07 06:28:16 UTC is the count 0 of the next era."""
    rollover = int(datetime.datetime(2036, 2, 7, 6, 28, 16, tzinfo=datetime.UTC).timestamp())
    assert encode_time(rollover) == bytes(4)
    assert decode_time(0) == rollover
    assert encode_time(rollover - 1) == b"\xff\xff\xff\xff"
    assert decode_time(0xFFFFFFFF) == rollover - 1


@given(CCRS)
@few
def test_ccr_round_trip(request: CreditControlRequest) -> None:
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=2)
    read = decode_ccr(frame, parse_header(frame))
    assert read.raw == frame
    request.raw, request.header = read.raw, read.header
    assert read == request


@given(CCAS)
@few
def test_cca_round_trip(answer: Any) -> None:
    frame = encode_cca(answer, REQUEST, "ocs.example.org", "example.org")
    header = parse_header(frame)
    assert header == (len(frame), 0x40, 272, 4, 7, 8)
    assert decode_cca(frame, header) == answer


@pytest.mark.parametrize("cls", BASE, ids=lambda cls: cls.__name__)
def test_base_commands_round_trip(cls: type) -> None:
    @given(BASE[cls])
    @few
    def holds(message: Any) -> None:
        frame = commands.encode(message, hop_by_hop=1, end_to_end=2)
        assert commands.decode(cls, frame, parse_header(frame)) == message

    holds()


def their_value(avp: Avp) -> Any:
    """python-diameter's value in our types."""
    definition = BY_KEY[avp.vendor_id << 32 | avp.code]
    if isinstance(avp, AvpGrouped):
        return sorted((their_row(child) for child in avp.value), key=repr)
    if isinstance(avp, AvpTime):
        return decode_time(int.from_bytes(avp.payload, "big"))  # it knows no era after 2036
    if definition.kind is Kind.ADDRESS:
        if avp.payload[1] == FAMILY_E164:  # it leaves the family in
            return Address(FAMILY_E164, avp.payload[2:].decode())
        family, value = avp.value if isinstance(avp, AvpAddress) else (None, None)
        return Address(family, ip_address(value).compressed)  # one spelling of ::ffff:1.2.3.4
    if definition.kind is Kind.IDENTITY:
        return avp.value.decode("ascii")
    if definition.kind is Kind.UTF8:
        return avp.payload.decode()
    if definition.kind is Kind.UNSIGNED32 and isinstance(avp.value, int):
        return avp.value & 0xFFFFFFFF  # MMTel types, signed in its dictionary
    return avp.payload if definition.kind is Kind.OCTETS else avp.value


def their_row(avp: Avp) -> tuple[int, int, Any]:
    if avp.code in range(659, 665) and not avp.vendor_id:  # newer than its dictionary
        definition = BY_KEY[avp.code]
        if definition.kind is Kind.GROUPED:
            rows = [
                (raw.code, 0, avp.payload[raw.payload : raw.stop].decode())
                for raw in walk(avp.payload, 0, len(avp.payload))
            ]
            return avp.code, 0, sorted(rows, key=repr)
    return avp.code, avp.vendor_id, their_value(avp)


def their_tree(frame: bytes, skip: frozenset[int] = frozenset({279, 284})) -> list[tuple[int, int, Any]]:
    message = Message.from_bytes(frame, plain_msg=True)
    return sorted((their_row(avp) for avp in message.avps if avp.code not in skip), key=repr)


@given(CCRS)
@few
def test_python_diameter_reads_our_ccr(request: CreditControlRequest) -> None:
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=2)
    assert their_tree(frame) == tree(_CCR, request)


@given(CCAS)
@few
def test_python_diameter_reads_our_cca(answer: Any) -> None:
    frame = encode_cca(answer, REQUEST, "ocs.example.org", "example.org")
    assert their_tree(frame) == tree(_CCA, answer)


@pytest.mark.parametrize("cls", BASE, ids=lambda cls: cls.__name__)
def test_python_diameter_reads_our_base_commands(cls: type) -> None:
    @given(BASE[cls])
    @few
    def holds(message: Any) -> None:
        frame = commands.encode(message, hop_by_hop=1, end_to_end=2)
        assert their_tree(frame) == tree(commands._FORMS[cls].codec, message)

    holds()


def built_by_them(codec: Codec[Any], message: Any) -> list[Avp]:
    """The same message put together with python-diameter's AVPs."""
    avps: list[Avp] = []
    for field in codec.fields.values():
        value = getattr(message, field.attribute)
        for one in value if field.repeated else [value]:
            if one is None or field.kind is Kind.RAW or (field.group is None and field.kind is Kind.GROUPED):
                continue
            avps.append(their_avp(field.definition, field.group, one))
    return avps


def their_avp(definition: Definition, group: Codec[Any] | None, value: Any) -> Any:
    avp: Any = Avp.new(definition.code, definition.vendor, is_mandatory=definition.mandatory)
    if group is not None:
        avp.payload = b"".join(child.as_bytes() for child in built_by_them(group, value))
    elif definition.kind in (Kind.TIME, Kind.ADDRESS, Kind.UTF8, Kind.IDENTITY, Kind.OCTETS):
        avp.payload = encode_value(definition.kind, value)
    elif definition.kind is Kind.UNSIGNED32:
        avp.payload = value.to_bytes(4, "big")
    else:
        avp.value = value
    return avp


@given(CCRS)
@few
def test_what_python_diameter_writes_we_read(request: CreditControlRequest) -> None:
    request.proxy_info, request.subscription_id_extension = [], []  # not in its dictionary
    body = b"".join(avp.as_bytes() for avp in built_by_them(_CCR, request))
    frame = build(body, 0xC0, 272, 4, 1, 2)
    read = decode_ccr(frame, parse_header(frame))
    request.raw, request.header = read.raw, read.header
    assert read == request


@given(st.permutations(range(9)))
@settings(max_examples=30, deadline=None)
def test_the_order_of_avps_does_not_matter(order: list[int]) -> None:
    frame = captures.requests(captures.OPEN5GS)[0]
    avps = [frame[avp.start : (avp.stop + 3) & ~3] for avp in walk(frame, HEADER_OCTETS, len(frame))]
    shuffled = avps[:1] + [avps[1 + index] for index in order if index + 1 < len(avps)] + avps[10:]
    mixed = frame[:20] + b"".join(shuffled)
    first, second = decode_ccr(frame, parse_header(frame)), decode_ccr(mixed, parse_header(mixed))
    second.raw = first.raw
    assert sorted(map(repr, second.subscription_id)) == sorted(map(repr, first.subscription_id))
    second.subscription_id = first.subscription_id
    assert first == second


def test_an_empty_group_is_an_object_and_an_absent_one_is_none() -> None:
    service = MultipleServicesCreditControl(rating_group=1, requested_service_unit=RequestedServiceUnit())
    request = CreditControlRequest("s;1", "a.b", "b", "c", 4, "32251@3gpp.org", 1, 0)
    request.multiple_services_credit_control = [service]
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=2)
    read = decode_ccr(frame, parse_header(frame)).multiple_services_credit_control[0]
    assert read.requested_service_unit == RequestedServiceUnit()
    assert read.granted_service_unit is None
    assert read.used_service_unit == []


def test_every_attribute_is_named_after_its_avp() -> None:
    forms: list[Codec[Any]] = [_CCR, _CCA, *(form.codec for form in commands._FORMS.values())]
    for form in forms:
        for field in form.fields.values():
            assert attribute_name(field.definition.name) == field.attribute
