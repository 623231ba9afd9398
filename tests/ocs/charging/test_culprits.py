"""Failed-AVP of a 5031: a copy of each AVP from which the unrateable value was read (RFC 6733 §7.5)."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.charging.prepare import prepare
from ocs.charging.prepared import Terms
from ocs.charging.unrateable import unrateable_avp
from ocs.charging.usage_context import UsageContext, usage_context_of
from ocs.values.use import Context
from protocol import failed_avp
from protocol.avp import Address, walk
from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    ImsInformation,
    MmsInformation,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    RequestedServiceUnit,
    ServiceInformation,
    SmsInformation,
    VcsInformation,
    decode_cca,
    decode_ccr,
    encode_cca,
    encode_ccr,
)
from protocol.dictionary import BY_KEY
from protocol.header import parse_header
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import CS, DATA, IMS, IMSI, MMS, MSISDN, SMS, ccr, messages, octets, seconds
from tests.ocs.charging.fake_ledger import NOW, FakeLedger
from tests.ocs.charging.worker import ACCOUNT, Worker

PARTY, NO_ACCOUNT = "tel:+38631234567", "tel:+999123456"
UNITS = {DATA: octets, IMS: seconds, CS: seconds, SMS: messages, MMS: messages}
SERVICE = "service_information"
NOWHERE = "001001"
"""A network of no country."""
TAI = bytes.fromhex("8000110000010001")
"""Of the same network."""
NUMBER = bytes.fromhex("99991032547698")
"""TBCD of a number of no country."""


@pytest.fixture
def worker() -> Worker:
    ledger = FakeLedger()
    ledger.open(ACCOUNT, MSISDN, IMSI)
    return Worker(ledger, _CATALOGUE)


_CATALOGUE: Catalogue = fixed_catalogue()


def use(context: str, party: str | None = PARTY) -> ServiceInformation:
    """A request without a location, and without a called party if none is given."""
    address = [RecipientAddress(address_type=1, address_data=party)] if party else []
    return ServiceInformation(
        ps_information=PsInformation(called_station_id="internet"),
        ims_information=ImsInformation(role_of_node=0, called_party_address=party) if context in (IMS, CS) else None,
        sms_information=SmsInformation(sm_message_type=0, recipient_info=[RecipientInfo(recipient_address=address)])
        if context == SMS
        else None,
        mms_information=MmsInformation(message_type=0, recipient_address=address) if context == MMS else None,
        vcs_information=VcsInformation() if context == CS else None,
    )


CELL = f"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp={NOWHERE}00010000001"
LOCATIONS: dict[str, tuple[tuple[str, ...], Any]] = {
    "the network's cell": ((SERVICE, "ims_information", "access_network_information"), f"{CELL};network-provided"),
    "visited network": ((SERVICE, "ims_information", "ims_visited_network_identifier"), "ims.mnc001.mcc002.example"),
    "bearer's network": ((SERVICE, "ps_information", "tgpp_sgsn_mcc_mnc"), NOWHERE),
    "no digits": ((SERVICE, "ps_information", "tgpp_sgsn_mcc_mnc"), "2934x"),
    "bearer's location": ((SERVICE, "ps_information", "tgpp_user_location_info"), TAI),
    "command's network": (("tgpp_sgsn_mcc_mnc",), NOWHERE),
    "command's location": (("tgpp_user_location_info",), TAI),
    "VLR": ((SERVICE, "vcs_information", "vlr_number"), NUMBER),
    "MSC": ((SERVICE, "vcs_information", "msc_address"), NUMBER),
    "SCCP": ((SERVICE, "sms_information", "originator_sccp_address"), Address(8, "999123456")),
    "the handset's cell": ((SERVICE, "ims_information", "access_network_information"), CELL),
}
"""Sources of the place in their order: path of the AVP, and a value of no place."""
GROUPS = {
    "ims_information": (IMS, CS),
    "vcs_information": (CS,),
    "sms_information": (SMS,),
    "ps_information": (DATA, IMS, CS, SMS, MMS),
}
CASES = [
    (context, name)
    for name, (path, _) in LOCATIONS.items()
    for context in (GROUPS[path[1]] if len(path) > 1 else (DATA, IMS, CS, SMS, MMS))
]


def put(request: CreditControlRequest, path: tuple[str, ...], value: Any) -> bytes:
    """Sets the AVP; returns its copy within its groups."""
    *parents, name = path
    group: Any = request
    for each in parents:
        group = getattr(group, each)
    if name == "access_network_information":
        value = value.encode()
        getattr(group, name).append(value)
    else:
        setattr(group, name, value)
    return failed_avp.copy(name, value, *parents)


def asking(context: str, information: ServiceInformation | None, level: str, kind: str = "") -> CreditControlRequest:
    """An opening, or an event for messages; the units in an MSCC or at command level."""
    kind = kind or ("E" if context in (SMS, MMS) else "I")
    services = [UNITS[context](want=60)] if level == "mscc" else []
    request = ccr(kind, 0, *services, context=context, information=information)
    if level == "command":
        request.requested_service_unit = RequestedServiceUnit(cc_time=60)
    return request


async def refused(worker: Worker, request: CreditControlRequest) -> bytes:
    """Failed-AVP of the 5031 answer, after encoding and decoding."""
    frame = encode_ccr(request, hop_by_hop=1, end_to_end=1)
    header = parse_header(frame)
    answer = await worker.answer(decode_ccr(frame, header))
    octets = encode_cca(answer, header, "ocs.example.net", "example.net")
    read = decode_cca(octets, parse_header(octets))
    assert isinstance(read, CreditControlAnswer) and read.result_code == 5031
    assert leaf(read.failed_avp) in frame, "it is a copy, octet by octet"
    return read.failed_avp


def leaf(avps: bytes) -> bytes:
    """The innermost AVP, with its header."""
    (avp,) = walk(avps, 0, len(avps))
    if BY_KEY[avp.vendor << 32 | avp.code].kind.name != "GROUPED":
        return avps
    return leaf(avps[avp.payload : avp.stop])


@pytest.mark.parametrize("level", ["mscc", "command"])
@pytest.mark.parametrize(("context", "name"), CASES)
async def test_the_location_that_was_read(worker: Worker, context: str, name: str, level: str) -> None:
    request = asking(context, use(context), level)
    copy = put(request, *LOCATIONS[name])
    assert await refused(worker, request) == copy


@pytest.mark.parametrize(
    ("context", "first", "second"),
    [
        (context, first, second)
        for context in (DATA, IMS, CS, SMS, MMS)
        for first, second in combinations([name for each, name in CASES if each == context and name != "no digits"], 2)
    ],
)
async def test_the_location_with_priority_is_in_failed_avp(
    worker: Worker, context: str, first: str, second: str
) -> None:
    request = asking(context, use(context), "mscc")
    put(request, *LOCATIONS[second])
    copy = put(request, *LOCATIONS[first])
    assert await refused(worker, request) == copy


PARTIES = {
    IMS: (SERVICE, "ims_information", "called_party_address"),
    CS: (SERVICE, "ims_information", "called_party_address"),
    SMS: (SERVICE, "sms_information", "recipient_info", "recipient_address", "address_data"),
    MMS: (SERVICE, "mms_information", "recipient_address", "address_data"),
}


@pytest.mark.parametrize("level", ["mscc", "command"])
@pytest.mark.parametrize("context", PARTIES)
async def test_an_invalid_or_missing_called_party(worker: Worker, context: str, level: str) -> None:
    *parents, name = PARTIES[context]
    found = await refused(worker, asking(context, use(context, NO_ACCOUNT), level))
    assert found == failed_avp.copy(name, NO_ACCOUNT, *parents)
    missing = failed_avp.example(name, *parents)
    for information in (use(context, None), ServiceInformation(), None):
        frame = asking(context, information, level)
        answer = await worker.answer(frame)
        assert (answer.result_code, answer.failed_avp) == (5031, missing)


async def test_an_unknown_service_is_in_failed_avp(worker: Worker) -> None:
    request = ccr("I", 0, octets(want=60, group=777), information=use(DATA))
    assert await refused(worker, request) == failed_avp.copy("rating_group", 777, "multiple_services_credit_control")


@pytest.mark.parametrize("context", [DATA, IMS])
async def test_an_update_with_an_unknown_network(worker: Worker, context: str) -> None:
    opening = asking(context, use(context), "mscc")
    put(opening, (SERVICE, "ps_information", "tgpp_sgsn_mcc_mnc"), "29340")
    assert (await worker.answer(opening)).result_code == 2001
    update = asking(context, use(context), "mscc", "U")
    update.cc_request_number = 1
    copy = put(update, ("tgpp_sgsn_mcc_mnc",), NOWHERE)
    answer = await worker.answer(update)
    assert [each.result_code for each in answer.multiple_services_credit_control] == [5031]
    assert (answer.result_code, answer.failed_avp) == (2001, copy)


def test_a_cell_without_effect_is_not_in_failed_avp() -> None:
    """The update has the handset's cell only, which moves no session; Failed-AVP has the session's location."""
    update = asking(IMS, use(IMS), "mscc", "U")
    cell = put(update, *LOCATIONS["the handset's cell"])
    where = usage_context_of(Context.IMS, update)
    (asked,) = prepare(update, where, _CATALOGUE, Terms(NOW)).services
    assert asked.failed_avp == cell
    where.completed(UsageContext(Context.IMS, serving_plmn="22801"))
    remembered = failed_avp.copy("tgpp_sgsn_mcc_mnc", "22801", SERVICE, "ps_information")
    assert unrateable_avp("serving_plmn", update, where, asked) == remembered
