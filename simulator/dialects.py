"""Requests of each network element: one encoder per dialect, on python-diameter (TS 32.299 §6.4, §7.2).

    P-GW   32251  several MSCC with rating groups, PS-Information (serving PLMN, location, APN)
    IMS    32260  calling and called party, role of the node, CC-Time
    MSC    32276  the same for circuit-switched calls, VCS-Information with the switch's number
    SMSC   32274  immediate event charging, or INITIAL and TERMINATION around the delivery
    MMSC   32270  immediate event charging

`render(request)` patches a template; `encode(request)` encodes the whole message. Both give the same octets.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

from diameter.message.avp.grouped import (
    ImsInformation,
    MmsInformation,
    MultipleServicesCreditControl,
    OriginatorAddress,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    RequestedServiceUnit,
    ServiceInformation,
    SmsInformation,
    UsedServiceUnit,
    VcsInformation,
)
from diameter.message.commands.credit_control import CreditControlRequest

from simulator.requests import (
    CC_REQUEST_TYPES,
    REASONS_OF_THE_UNITS,
    Element,
    Kind,
    Request,
    ServicePart,
)
from simulator.templates import Field, Template, Values, compile_template, to_datetime

RELEASE_CONTEXT = {
    Element.PGW: "32251@3gpp.org",
    Element.IMS: "14.32260@3gpp.org",
    Element.MSC: "32276@3gpp.org",
    Element.SMSC: "32274@3gpp.org",
    Element.MMSC: "32270@3gpp.org",
}
"""Service-Context-Id, with and without a release prefix (TS 32.299 §7.1.12)."""
TEMPLATES_KEPT = 4096
"""Size of the template cache. Shapes are few (element × kind × place × width of a number); the limit is for faulty
scenarios.
"""
SUBSCRIPTION_E164, SUBSCRIPTION_IMSI = 0, 1
DIRECT_DEBITING = 0
APP_CREDIT_CONTROL = 4
APN = "internet"


class PartShape(NamedTuple):
    """The parts of an MSCC that cannot be patched: which AVPs it has."""

    rated: bool
    used: bool
    wanted: bool
    amount: bool
    reason: int | None


class Shape(NamedTuple):
    """The parts of a request that cannot be patched: the key of the template cache."""

    element: Element
    kind: Kind
    realm: str
    destination_realm: str
    session_id_width: int
    msisdn_width: int
    imsi_width: int
    other_width: int
    incoming: bool
    plmn: str
    switch_number: str
    parts: tuple[PartShape, ...]


def origin_host(element: Element, realm: str) -> str:
    return f"{element.value}.{realm}"


def render(request: Request, *, realm: str, destination_realm: str, hop_by_hop: int, end_to_end: int) -> bytearray:
    """The request's octets, by patching a template that python-diameter encoded."""
    template = _template(shape_of(request, realm, destination_realm))
    return template.render(values_of(request), hop_by_hop=hop_by_hop, end_to_end=end_to_end)


def encode(request: Request, *, realm: str, destination_realm: str, hop_by_hop: int, end_to_end: int) -> bytes:
    """The request's octets, encoded by python-diameter."""
    message = _build(shape_of(request, realm, destination_realm), values_of(request))
    message.header.hop_by_hop_identifier = hop_by_hop
    message.header.end_to_end_identifier = end_to_end
    return bytes(message.as_bytes())


def shape_of(request: Request, realm: str, destination_realm: str) -> Shape:
    return Shape(
        element=request.element,
        kind=request.kind,
        realm=realm,
        destination_realm=destination_realm,
        session_id_width=len(request.session_id),
        msisdn_width=len(request.subscriber.msisdn),
        imsi_width=len(request.subscriber.imsi),
        other_width=len(request.other_party),
        incoming=request.incoming,
        plmn=request.place.plmn,
        switch_number=request.place.switch_number,
        parts=tuple(_part_shape(part) for part in request.parts),
    )


def values_of(request: Request) -> dict[str, int | str]:
    """The patched fields' values."""
    values: dict[str, int | str] = {
        "session_id": request.session_id,
        "number": request.number,
        "at": request.at,
        "msisdn": request.subscriber.msisdn,
        "imsi": request.subscriber.imsi,
        "other": request.other_party,
        "charging_id": request.charging_id,
        "size": request.size_octets,
    }
    for index, part in enumerate(request.parts):
        used = part.used or 0
        values[f"rating_group{index}"] = part.rating_group or 0
        values[f"used{index}"] = used
        values[f"up{index}"] = used // 8  # a tenth or so of the traffic goes up
        values[f"down{index}"] = used - used // 8
        values[f"wanted{index}"] = part.wanted or 0
    return values


def _part_shape(part: ServicePart) -> PartShape:
    return PartShape(
        part.rating_group is not None, part.used is not None, part.wanted is not None, bool(part.wanted), part.reason
    )


@lru_cache(maxsize=TEMPLATES_KEPT)
def _template(shape: Shape) -> Template:
    return compile_template(partial(_encode_shape, shape), _fields(shape))


def _encode_shape(shape: Shape, values: Values) -> bytes:
    return bytes(_build(shape, values).as_bytes())


def _fields(shape: Shape) -> tuple[Field, ...]:
    """The patchable fields and their kinds; the shape determines which occur."""
    fields = [
        Field("session_id", "text", shape.session_id_width),
        Field("number", "u32"),
        Field("at", "time"),
        Field("msisdn", "text", shape.msisdn_width),
        Field("imsi", "text", shape.imsi_width),
    ]
    if shape.other_width and shape.element is not Element.PGW:
        fields.append(Field("other", "text", shape.other_width))
    if shape.element is Element.PGW:
        fields.append(Field("charging_id", "u32"))
    if shape.element is Element.MMSC:
        fields.append(Field("size", "u32"))
    units = "u32" if shape.element in (Element.IMS, Element.MSC) else "u64"
    for index, part in enumerate(shape.parts):
        if part.rated:
            fields.append(Field(f"rating_group{index}", "u32"))
        if part.used:
            fields.append(Field(f"used{index}", units))
        if part.used and shape.element is Element.PGW:
            fields += [Field(f"up{index}", "u64"), Field(f"down{index}", "u64")]
        if part.amount:
            fields.append(Field(f"wanted{index}", units))
    return tuple(fields)


def _build(shape: Shape, values: Values) -> CreditControlRequest:
    """The request in python-diameter's classes."""
    host = origin_host(shape.element, shape.realm)
    request = CreditControlRequest()
    request.header.application_id = APP_CREDIT_CONTROL
    request.session_id = str(values["session_id"])
    request.origin_host = host.encode()
    request.origin_realm = shape.realm.encode()
    request.destination_realm = shape.destination_realm.encode()
    request.service_context_id = RELEASE_CONTEXT[shape.element]
    request.cc_request_type = CC_REQUEST_TYPES[shape.kind]
    request.cc_request_number = int(values["number"])
    request.event_timestamp = to_datetime(int(values["at"]))
    request.add_subscription_id(SUBSCRIPTION_E164, str(values["msisdn"]))
    request.add_subscription_id(SUBSCRIPTION_IMSI, str(values["imsi"]))
    if shape.kind is Kind.EVENT:
        request.requested_action = DIRECT_DEBITING
    elif shape.kind is Kind.TERMINATION:
        request.termination_cause = 1  # DIAMETER_LOGOUT
    if shape.kind is not Kind.TERMINATION:
        request.multiple_services_indicator = 1
    for index, part in enumerate(shape.parts):
        request.multiple_services_credit_control.append(_mscc(shape, part, index, values))
    request.service_information = _INFORMATION[shape.element](shape, values)
    return request


def _mscc(shape: Shape, part: PartShape, index: int, values: Values) -> Any:
    mscc: Any = MultipleServicesCreditControl()
    if part.wanted:
        mscc.requested_service_unit = RequestedServiceUnit()
        if part.amount:
            _set_units(shape.element, mscc.requested_service_unit, int(values[f"wanted{index}"]))
    if part.used:
        used = UsedServiceUnit()
        _set_units(shape.element, used, int(values[f"used{index}"]))
        if shape.element is Element.PGW:
            used.cc_input_octets = int(values[f"up{index}"])
            used.cc_output_octets = int(values[f"down{index}"])
        if part.reason in REASONS_OF_THE_UNITS:
            used.reporting_reason = part.reason
        mscc.used_service_unit = [used]
    if part.rated:
        mscc.rating_group = int(values[f"rating_group{index}"])
    if part.reason is not None and part.reason not in REASONS_OF_THE_UNITS:
        mscc.reporting_reason = [part.reason]
    return mscc


def _set_units(element: Element, units: RequestedServiceUnit | UsedServiceUnit, amount: int) -> None:
    if element is Element.PGW:
        units.cc_total_octets = amount
    elif element in (Element.IMS, Element.MSC):
        units.cc_time = amount
    else:
        units.cc_service_specific_units = amount


# -- Service-Information, by element


def _serving(shape: Shape) -> PsInformation:
    """The serving network. IMS and MMS nodes may give it in PS-Information."""
    return PsInformation(tgpp_sgsn_mcc_mnc=shape.plmn, tgpp_user_location_info=ecgi(shape.plmn))


def _pgw(shape: Shape, values: Values) -> ServiceInformation:
    information: Any = _serving(shape)
    information.tgpp_charging_id = int(values["charging_id"]).to_bytes(4, "big")
    information.tgpp_pdp_type = 0
    information.pdp_address = ["10.45.0.2"]
    information.sgsn_address = "127.0.0.3"
    information.ggsn_address = "127.0.0.4"
    information.tgpp_imsi_mcc_mnc = "29340"
    information.tgpp_ggsn_mcc_mnc = "29340"
    information.called_station_id = APN
    information.tgpp_charging_characteristics = "0800"
    information.tgpp_rat_type = b"\x06"
    return ServiceInformation(ps_information=information)


def _call(shape: Shape, values: Values) -> ImsInformation:
    """Calling and called party. Event-Type is omitted: the library would encode the IETF's SIP-Method (393) instead of
    3GPP's (824).
    """
    own, other = f"tel:+{values['msisdn']}", _tel(str(values["other"]))
    calling, called = (other, own) if shape.incoming else (own, other)
    return ImsInformation(
        role_of_node=1 if shape.incoming else 0,
        node_functionality=0,
        user_session_id=f"{values['session_id']}@ims",
        calling_party_address=[calling],
        called_party_address=called,
    )


def _ims(shape: Shape, values: Values) -> ServiceInformation:
    call = _call(shape, values)
    call.ims_visited_network_identifier = f"ims.mnc{shape.plmn[3:].zfill(3)}.mcc{shape.plmn[:3]}.3gppnetwork.org"
    return ServiceInformation(ps_information=_serving(shape), ims_information=call)


def _msc(shape: Shape, values: Values) -> ServiceInformation:
    call = _call(shape, values)
    call.node_functionality = 6  # AS: the IN proxy in front of the switch
    switch = tbcd(shape.switch_number)
    return ServiceInformation(
        ims_information=call, vcs_information=VcsInformation(msc_address=switch, vlr_number=switch)
    )


def _smsc(shape: Shape, values: Values) -> ServiceInformation:
    recipient = RecipientInfo(
        recipient_address=[RecipientAddress(address_type=1, address_data=str(values["other"]))],
    )
    return ServiceInformation(
        sms_information=SmsInformation(
            sms_node=3,
            originator_sccp_address=shape.switch_number,
            smsc_address="38640441000",
            data_coding_scheme=0,
            sm_message_type=0,
            number_of_messages_sent=1,
            recipient_info=[recipient],
        )
    )


def _mmsc(shape: Shape, values: Values) -> ServiceInformation:
    return ServiceInformation(
        ps_information=_serving(shape),
        mms_information=MmsInformation(
            originator_address=OriginatorAddress(address_type=1, address_data=str(values["msisdn"])),
            recipient_address=[RecipientAddress(address_type=1, address_data=str(values["other"]))],
            message_type=1,
            message_size=int(values["size"]),
        ),
    )


_INFORMATION = {Element.PGW: _pgw, Element.IMS: _ims, Element.MSC: _msc, Element.SMSC: _smsc, Element.MMSC: _mmsc}


def _tel(number: str) -> str:
    """A tel URI: global numbers with a plus, short ones (112, 1918) as dialled."""
    return f"tel:{number}" if len(number) < 7 else f"tel:+{number}"


def tbcd(digits: str) -> bytes:
    """Telephony BCD: low nibble first, F fills (TS 29.002 §17.7.8)."""
    padded = digits + "F" * (len(digits) % 2)
    return bytes(int(padded[at + 1] + padded[at], 16) for at in range(0, len(padded), 2))


def ecgi(plmn: str) -> bytes:
    """3GPP-User-Location-Info with an ECGI in this network (TS 29.061 §16.4.7.2, type 129)."""
    mcc, mnc = plmn[:3], plmn[3:]
    third = mnc[2] if len(mnc) == 3 else "F"
    coded = bytes(int(pair, 16) for pair in (mcc[1] + mcc[0], third + mcc[2], mnc[1] + mnc[0]))
    return b"\x81" + coded + (0x0123AB01).to_bytes(4, "big")
