"""Prices by the source of the location: the network's has priority over the handset's, whichever AVP has it (HOT-RAT-1,
HOT-ROA-1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protocol.avp import Address
from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    ImsInformation,
    MmsInformation,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    ServiceInformation,
    SmsInformation,
    VcsInformation,
    decode_ccr,
    encode_ccr,
)
from protocol.header import parse_header
from tests.ocs.charging.ccr import CS, DATA, IMS, MB, MMS, SMS, ccr, messages, octets, seconds
from tests.ocs.rules.world import Subscriber, World

PARTY = "+38631234567"
HOME, SWISS, US = "29340", "22801", "310410"
TAI = {HOME: bytes.fromhex("8092f3041a2b"), SWISS: bytes.fromhex("8022f8101a2b"), US: bytes.fromhex("801300141a2b")}
GTP = bytes.fromhex("1822f8101a2b")
"""A location with GTP's flags instead of a type: it cannot be read."""
MSC = {HOME: bytes.fromhex("8346400100f0"), SWISS: bytes.fromhex("14970900000000"), US: bytes.fromhex("212155050000f0")}
"""Serving nodes, TBCD."""
SCCP = {HOME: "38640441000", SWISS: "41790000000", US: "12125550000"}
VISITED = {
    HOME: "ims.mnc040.mcc293.3gppnetwork.org",
    SWISS: "ims.mnc001.mcc228.3gppnetwork.org",
    US: "mnc410.mcc310",
}


def cell(plmn: str, network: bool = True) -> bytes:
    mark = ";network-provided" if network else ""
    return f"3GPP-E-UTRAN-FDD; utran-cell-id-3gpp = {plmn}00010000001{mark}".encode()


def ims(*access: bytes, **more: Any) -> ImsInformation:
    called = {"role_of_node": 0, "called_party_address": f"tel:{PARTY}"}
    return ImsInformation(**called, access_network_information=list(access), **more)


def sms(**more: Any) -> SmsInformation:
    recipient = RecipientInfo(recipient_address=[RecipientAddress(address_type=1, address_data=PARTY)])
    return SmsInformation(sm_message_type=0, recipient_info=[recipient], **more)


def use(context: str) -> ServiceInformation:
    """A request without a location."""
    if context in (IMS, CS):
        return ServiceInformation(ims_information=ims())
    if context == SMS:
        return ServiceInformation(sms_information=sms())
    if context == MMS:
        address = [RecipientAddress(address_type=1, address_data=PARTY)]
        return ServiceInformation(mms_information=MmsInformation(message_type=0, recipient_address=address))
    return ServiceInformation(ps_information=PsInformation(called_station_id="internet"))


async def ask(
    user: Subscriber, context: str, kind: str, number: int, service: Any, information: Any, sid: str, **more: Any
) -> CreditControlAnswer:
    """Encodes the request and decodes it again before it is charged."""
    request = ccr(kind, number, service, context=context, sid=sid, msisdn=user.msisdn, information=information, **more)
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=1)
    read = decode_ccr(frame, parse_header(frame))
    assert isinstance(read, CreditControlRequest)
    return await user.world.ask(read)


async def cost(world: World, context: str, information: ServiceInformation | None, **more: Any) -> int:
    """Cost in micro-EUR of 10 MB, of a call of one minute, or of one message."""
    user, sid = await world.subscriber(100), world.new_session()
    before = await user.credit()
    if context in (SMS, MMS):
        steps = [("E", messages(want=1))]
    elif context == DATA:
        steps = [("I", octets(want=10 * MB)), ("T", octets(used=10 * MB))]
    else:
        steps = [("I", seconds(want=60)), ("T", seconds(used=60))]
    for number, (kind, service) in enumerate(steps):
        answer = await ask(user, context, kind, number, service, information, sid, **more)
        assert answer.result_code == 2001
        world.now += 60
    return before - await user.credit()


async def price(world: World, context: str, plmn: str) -> int:
    """By 3GPP-SGSN-MCC-MNC in PS-Information."""
    information = use(context)
    information.ps_information = information.ps_information or PsInformation()
    information.ps_information.tgpp_sgsn_mcc_mnc = plmn
    return await cost(world, context, information)


@pytest.mark.parametrize(
    "access",
    [
        [cell(HOME, network=False), cell(SWISS)],
        [cell(HOME, network=False) + b", " + cell(SWISS)],
        [cell(SWISS) + b", " + cell(HOME, network=False)],
        [b"3GPP-GERAN; cgi-3gpp=228012710ABCD"],
        [b"3GPP-UTRAN-FDD;utran-sai-3gpp=2280175A482D6"],
        [b"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp = 2280100010000001"],
        [b"IEEE-802.11;i-wlan-node-id=ac3744ff01ba", cell(SWISS, network=False)],
        [cell(HOME, network=False) + b';x=", 3GPP-NR;utran-cell-id-3gpp="2280100010000001";network-provided'],
        [cell(HOME, network=False) + b';x=", ' + cell(SWISS) + b';y="z"'],
        [b"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2280100010000001\0;network-provided\0"],
        [b'IEEE-802.11;i-wlan-node-id="x, 3GPP-GERAN;cgi-3gpp=293402710ABCD;network-provided"', cell(SWISS)],
    ],
)
async def test_a_call_has_the_price_of_its_cell(world: World, access: list[bytes]) -> None:
    swiss, home = await price(world, IMS, SWISS), await price(world, IMS, HOME)
    assert swiss > home
    assert await cost(world, IMS, ServiceInformation(ims_information=ims(*access))) == swiss


PLACES = {
    "the network's cell": lambda plmn: {"ims": ims(cell(plmn))},
    "the visited network": lambda plmn: {"ims": ims(ims_visited_network_identifier=VISITED[plmn])},
    "the bearer's network": lambda plmn: {"ps": PsInformation(tgpp_sgsn_mcc_mnc=plmn)},
    "the bearer's location": lambda plmn: {"ps": PsInformation(tgpp_user_location_info=TAI[plmn])},
    "the command's network": lambda plmn: {"tgpp_sgsn_mcc_mnc": plmn},
    "the command's location": lambda plmn: {"tgpp_user_location_info": TAI[plmn]},
    "the VLR": lambda plmn: {"vcs": VcsInformation(vlr_number=MSC[plmn])},
    "the MSC": lambda plmn: {"vcs": VcsInformation(msc_address=MSC[plmn])},
    "the handset's cell": lambda plmn: {"ims": ims(cell(plmn, network=False))},
}
"""What says where a call is, the first that counts before the others."""


def call(*parts: dict[str, Any]) -> tuple[ServiceInformation, dict[str, Any]]:
    """Service-Information and other AVPs of the command, built from these parts."""
    information, more = ServiceInformation(ims_information=ims()), {}
    for part in parts:
        for name, value in part.items():
            if name == "ims" and information.ims_information is not None:
                said = information.ims_information
                said.access_network_information += value.access_network_information
                said.ims_visited_network_identifier = (
                    value.ims_visited_network_identifier or said.ims_visited_network_identifier
                )
            elif name in ("ps", "vcs"):
                field = f"{name}_information"
                known = getattr(information, field) or value
                for each in value.__slots__:
                    if getattr(value, each):
                        setattr(known, each, getattr(value, each))
                setattr(information, field, known)
            else:
                more[name] = value
    return information, more


@pytest.mark.parametrize("context", [IMS, CS])
@pytest.mark.parametrize("first", PLACES)
async def test_the_location_of_a_call_by_source(world: World, context: str, first: str) -> None:
    """Each source alone, and each beside a source of lower priority. The handset's location never overrides the
    network's.
    """
    prices = {plmn: await price(world, context, plmn) for plmn in (HOME, SWISS, US)}
    assert len(set(prices.values())) == 3
    order = list(PLACES)
    for plmn in (HOME, SWISS, US):
        information, more = call(PLACES[first](plmn))
        assert await cost(world, context, information, **more) == prices[plmn]
    for second in order[order.index(first) + 1 :]:
        for plmn, other in ((HOME, SWISS), (SWISS, HOME)):
            information, more = call(PLACES[second](other), PLACES[first](plmn))
            assert await cost(world, context, information, **more) == prices[plmn], second


@pytest.mark.parametrize("context", [DATA, IMS, CS, SMS, MMS])
@pytest.mark.parametrize("where", ["the command's network", "the command's location"])
async def test_a_location_at_command_level(world: World, context: str, where: str) -> None:
    """Without PS-Information, and beside PS-Information with an unreadable location."""
    swiss = await price(world, context, SWISS)
    assert swiss > await price(world, context, HOME)
    said: Any = PLACES[where](SWISS)
    information = use(context)
    if context == DATA:
        information, said = ServiceInformation(), {**said, "called_station_id": "internet"}
    assert await cost(world, context, information, **said) == swiss
    information.ps_information = PsInformation(called_station_id="internet", tgpp_user_location_info=GTP)
    assert await cost(world, context, information, **said) == swiss
    if context == DATA:
        assert await cost(world, context, None, **said) == swiss
    information.ps_information.tgpp_sgsn_mcc_mnc = US
    assert await cost(world, context, information, **said) == await price(world, context, US)


async def test_an_apn_at_command_level(world: World) -> None:
    portal = await cost(world, DATA, ServiceInformation(), tgpp_sgsn_mcc_mnc=HOME, called_station_id="wap")
    assert portal == await cost(
        world,
        DATA,
        ServiceInformation(ps_information=PsInformation(called_station_id="wap", tgpp_sgsn_mcc_mnc=HOME)),
    )


async def test_the_location_of_a_message_is_the_payers_serving_node(world: World) -> None:
    swiss = await price(world, SMS, SWISS)
    sent = sms(originator_sccp_address=Address(8, SCCP[SWISS]))
    assert await cost(world, SMS, ServiceInformation(sms_information=sent)) == swiss


@pytest.mark.parametrize("context", [IMS, CS])
async def test_a_handset_does_not_move_a_session(world: World, context: str) -> None:
    """The network's location in the opening stays valid if an update has the handset's cell only. A new location of the
    network moves the session.
    """
    prices = {plmn: await price(world, context, plmn) for plmn in (HOME, SWISS)}
    for plmn, handset, total in (
        (SWISS, HOME, 2 * prices[SWISS]),
        (HOME, SWISS, 2 * prices[HOME]),
        (HOME, None, prices[HOME] + prices[SWISS]),
    ):
        user, sid = await world.subscriber(100), world.new_session()
        before = await user.credit()
        opened, _ = call(PLACES["the network's cell"](plmn))
        moved, _ = call({"ims": ims(cell(handset, network=False) if handset else cell(SWISS))})
        for number, (kind, service, information) in enumerate(
            (
                ("I", seconds(want=60), opened),
                ("U", seconds(want=60, used=60), moved),
                ("T", seconds(used=60), moved),
            )
        ):
            assert (await ask(user, context, kind, number, service, information, sid)).result_code == 2001
            world.now += 60
        assert before - await user.credit() == total


JUNK = bytes.fromhex("82ffffff")
UNREADABLE: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "a cell": (
        "Access-Network-Information",
        lambda: {"ims": ims(b"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=228-01-0001-0000001;network-provided")},
    ),
    "a cell in quotes": (
        "Access-Network-Information",
        lambda: {"ims": ims(b'"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2280100010000001;network-provided"')},
    ),
    "the bearer's location": ("3GPP-User-Location-Info", lambda: {"ps": PsInformation(tgpp_user_location_info=JUNK)}),
    "the command's location": ("3GPP-User-Location-Info", lambda: {"tgpp_user_location_info": JUNK}),
    "the VLR": ("VLR-Number", lambda: {"vcs": VcsInformation(vlr_number=b"\xab\xcd")}),
    "the MSC": ("MSC-Address", lambda: {"vcs": VcsInformation(msc_address=b"\xab\xcd")}),
}
"""What the network says and nobody can read: the AVP, and how the call has it."""


@pytest.mark.parametrize("context", [IMS, CS])
@pytest.mark.parametrize("what", UNREADABLE)
async def test_an_unreadable_location_of_the_network_is_counted_and_logged(
    world: World, context: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The next source counts, default_plmn last, so calls are granted. Each request is counted; the log has one line a
    minute.
    """
    avp, part = UNREADABLE[what]
    home, swiss = await price(world, context, HOME), await price(world, context, SWISS)
    information, more = call(part())
    after = home if what != "a cell in quotes" else swiss
    assert await cost(world, context, information, **more) == after
    assert world.metrics.of("location_unreadable") == [[avp], [avp]]
    said = [each.message for each in caplog.records if "no location can be read" in each.message]
    assert said and f"the network's {avp} (" in said[0]
    for better in ("the bearer's network", "the visited network"):
        information, more = call(part(), PLACES[better](SWISS))
        assert await cost(world, context, information, **more) == swiss
    assert len(world.metrics.of("location_unreadable")) == 2, "another AVP of the network says it"
    information, more = call(part(), PLACES["the handset's cell"](SWISS))
    assert await cost(world, context, information, **more) == swiss
    assert len(world.metrics.of("location_unreadable")) == 4


async def test_an_unreadable_location_moves_no_session(world: World) -> None:
    user, sid = await world.subscriber(100), world.new_session()
    before, swiss = await user.credit(), await price(world, IMS, SWISS)
    opened, _ = call(PLACES["the network's cell"](SWISS))
    junk, _ = call(UNREADABLE["a cell"][1]())
    for number, (kind, service, information) in enumerate(
        (("I", seconds(want=60), opened), ("U", seconds(want=60, used=60), junk), ("T", seconds(used=60), junk))
    ):
        assert (await ask(user, IMS, kind, number, service, information, sid)).result_code == 2001
        world.now += 60
    assert before - await user.credit() == 2 * swiss


async def test_a_messages_serving_node_that_is_no_number(world: World) -> None:
    home = await price(world, SMS, HOME)
    for address in (Address(1, "192.0.2.1"), Address(8, "")):
        world.metrics.calls.clear()
        sent = sms(originator_sccp_address=address)
        assert await cost(world, SMS, ServiceInformation(sms_information=sent)) == home
        assert world.metrics.of("location_unreadable") == [["Originator-SCCP-Address"]]
