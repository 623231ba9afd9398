"""tshark as the second oracle: every kind of message that we encode, without a malformed or error note."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from protocol import commands
from protocol.answers import error_answer
from protocol.avp import FAMILY_E164, FAMILY_IPV4, FAMILY_IPV6, Address, walk
from protocol.capabilities import LocalNode, make_cea, make_cer, refusal
from protocol.credit_control import (
    CcMoney,
    CostInformation,
    CreditControlRequest,
    FinalUnitIndication,
    GrantedServiceUnit,
    ImsInformation,
    MmsInformation,
    MultipleServicesCreditControl,
    OriginatorAddress,
    PsInformation,
    QosInformation,
    RecipientAddress,
    RecipientInfo,
    RedirectServer,
    RemainingBalance,
    RequestedServiceUnit,
    ServiceInformation,
    SmsInformation,
    SubscriptionId,
    Trigger,
    UnitValue,
    UsedServiceUnit,
    VcsInformation,
    encode_cca,
    encode_ccr,
)
from protocol.errors import DiameterError
from protocol.failed_avp import example
from protocol.header import HEADER_OCTETS, build, parse_header
from tests.protocol.mutator import mutations
from tests.protocol.strategies import CCRS
from tests.protocol.test_mutator import REQUESTS, check_answer, error_of_mutation
from tests.protocol.test_pipeline import CASES, error_of
from tests.waiting import PATIENCE_S

assert shutil.which("tshark"), "these tests need tshark: apt-get install tshark (make test does it)"
ERROR_SEVERITY = 0x00800000
LOOKED_AT = 1_500
"""Answers to mutations that tshark reads: a sample that takes about a second."""
LOCAL = LocalNode("ocs.example.org", "example.org", origin_state_id=7)
HERE = Address(FAMILY_IPV4, "10.0.0.1")


def notes(frames: list[bytes], folder: Path) -> list[str]:
    """tshark's notes; it must have read every message."""
    path = folder / "messages.pcap"
    packets = [
        Ether() / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=3868, dport=3868, seq=1, flags="PA") / frame
        for frame in frames
    ]
    for number, packet in enumerate(packets):  # streams of their own, so that sequence numbers do not matter
        packet[TCP].sport = 20_000 + number
    wrpcap(str(path), packets)
    base = ["tshark", "-n", "-r", str(path)]
    wrong = f"_ws.malformed || _ws.expert.severity >= {ERROR_SEVERITY}"
    fields = ["-T", "fields", "-e", "frame.number", "-e", "diameter.cmd.code", "-e", "_ws.expert.message"]
    seen = subprocess.run(
        [*base, "-Y", "diameter"], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout
    assert seen.count("\n") == len(frames)
    found = subprocess.run(
        [*base, "-Y", wrong, *fields], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    ).stdout
    return found.splitlines()


def service() -> MultipleServicesCreditControl:
    money = UnitValue(12_345, -2)
    return MultipleServicesCreditControl(
        granted_service_unit=GrantedServiceUnit(1_900_000_000, 60, CcMoney(money, 978), 10, 4, 6, 1),
        service_identifier=[1, 2],
        rating_group=100,
        validity_time=3_600,
        result_code=2001,
        final_unit_indication=FinalUnitIndication(
            1, [b"permit in ip from any to 10.1.1.1 80"], ["filter"], RedirectServer(2, "http://topup.example.org/")
        ),
        time_quota_threshold=10,
        volume_quota_threshold=1_000,
        unit_quota_threshold=1,
        quota_holding_time=600,
        quota_consumption_time=10,
        trigger=Trigger([4, 30]),
        refund_information=b"token",
        qos_information=QosInformation(9, apn_aggregate_max_bitrate_ul=1, apn_aggregate_max_bitrate_dl=2),
    )


def information() -> ServiceInformation:
    plain = Address(FAMILY_IPV4, "10.45.0.2")
    return ServiceInformation(
        subscription_id=[SubscriptionId(1, "293400000000000")],
        ps_information=PsInformation(
            tgpp_charging_id=b"\0\0\0\1",
            tgpp_pdp_type=0,
            pdp_address=[plain, Address(FAMILY_IPV6, "2001:db8::1")],
            sgsn_address=[plain],
            tgpp_sgsn_mcc_mnc="29340",
            called_station_id="internet",
            tgpp_ms_timezone=b"\x40\x01",
            tgpp_user_location_info=bytes.fromhex("8262f2101a2b62f2100123ab01"),
            tgpp_rat_type=b"\6",
        ),
        ims_information=ImsInformation(
            role_of_node=2,
            node_functionality=6,
            user_session_id="call",
            calling_party_address=["tel:+38668100000"],
            called_party_address="sip:+38668100001@ims.example.org",
            cause_code=-1,
            access_network_information=[b"3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2934000010000101"],
        ),
        sms_information=SmsInformation(
            sms_node=3,
            originator_sccp_address=Address(FAMILY_E164, "38640000000"),
            smsc_address=plain,
            sm_message_type=0,
            recipient_info=[RecipientInfo(recipient_address=[RecipientAddress(1, "38668100001")])],
        ),
        mms_information=MmsInformation(
            originator_address=OriginatorAddress(1, "38668100000"), message_type=1, message_size=100_000
        ),
        vcs_information=VcsInformation(msc_address=b"\x83\x66\x04", vlr_number=b"\x83\x66\x04"),
    )


def request() -> CreditControlRequest:
    used = UsedServiceUnit(0, 1, 60, None, 30, 10, 20, 1)
    asked = MultipleServicesCreditControl(
        rating_group=100, requested_service_unit=RequestedServiceUnit(), used_service_unit=[used], reporting_reason=[3]
    )
    return CreditControlRequest(
        "pgw.example.org;1;2", "pgw.example.org", "example.org", "example.org", 4, "32251@3gpp.org", 2, 1,
        event_timestamp=1_790_000_000, subscription_id=[SubscriptionId(0, "38668100000")],
        multiple_services_credit_control=[asked], service_information=information(),
    )  # fmt: skip


def every_kind() -> dict[str, bytes]:
    ids = {"hop_by_hop": 1, "end_to_end": 2}
    cer = commands.encode(make_cer(LOCAL, [Address(FAMILY_IPV4, "10.0.0.1")]), **ids)
    names = ("ocs.example.org", "example.org")
    ccr = encode_ccr(request(), **ids)
    answer = request().answer(2001)
    answer.multiple_services_credit_control = [service()]
    answer.cost_information = CostInformation(UnitValue(5, -1), 978, "EUR")
    answer.remaining_balance = RemainingBalance(UnitValue(500), 978)
    answer.low_balance_indication = 0
    answer.cc_session_failover = answer.credit_control_failure_handling = answer.direct_debiting_failure_handling = 1
    refused = request().answer(5031)
    refused.failed_avp = example("rating_group", "multiple_services_credit_control")
    session = ("s;1;2", *names, "example.org", "pgw.example.org", 4)
    return {
        "CER": cer,
        "CEA": commands.encode_answer(make_cea(LOCAL, [Address(FAMILY_IPV6, "::1")], 2001), parse_header(cer)),
        "CEA 3010": refusal(parse_header(cer), LOCAL, [HERE], DiameterError(3010, "unknown")),
        "CEA 5010": refusal(parse_header(cer), LOCAL, [HERE], DiameterError(5010, "none")),
        "CEA 5012": error_answer(cer, parse_header(cer), DiameterError(5012, "again"), *names),
        "DWR": commands.encode(commands.DeviceWatchdogRequest(*names, 7), **ids),
        "DWA": commands.encode(commands.DeviceWatchdogAnswer(2001, *names), **ids),
        "DPR": commands.encode(commands.DisconnectPeerRequest(*names, 0), **ids),
        "DPA": commands.encode(commands.DisconnectPeerAnswer(2001, *names), **ids),
        "RAR": commands.encode(commands.ReAuthRequest(*session, 0, rating_group=100), **ids, application_id=4),
        "RAA": commands.encode(commands.ReAuthAnswer("s;1;2", 2002, *names), **ids, application_id=4),
        "ASR": commands.encode(commands.AbortSessionRequest(*session), **ids, application_id=4),
        "ASA": commands.encode(commands.AbortSessionAnswer("s;1;2", 2001, *names), **ids, application_id=4),
        "CCR": ccr,
        "CCA": encode_cca(answer, parse_header(ccr), *names),
        "CCA 5031": encode_cca(refused, parse_header(ccr), *names),
    }


def test_every_kind_of_message(tmp_path: Path) -> None:
    assert notes(list(every_kind().values()), tmp_path) == []


def test_every_error_answer(tmp_path: Path) -> None:
    answers = [
        error_answer(frame, parse_header(frame), error_of(frame), "ocs.example.org", "example.org")
        for name, (frame, _, _) in CASES.items()
        if not name.startswith("3007")  # the Gx dissector would expect other AVPs
    ]
    # Failed-AVP has a copy of the wrong AVP; only the answer around it must be valid.
    objections = notes(answers, tmp_path)
    assert [line for line in objections if "alformed" in line] == []


READABLE = {
    "subscription_id_data": "293400000000000",
    **dict.fromkeys(("tgpp_imsi_mcc_mnc", "tgpp_ggsn_mcc_mnc", "tgpp_sgsn_mcc_mnc"), "29340"),
    "tgpp_user_location_info": bytes.fromhex("0062f21012345678"),
}
"""Values that tshark parses, and rejects if they are not a number or a location."""


def make_readable(group: Any) -> None:
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if field.name in READABLE and value is not None:
            setattr(group, field.name, READABLE[field.name])
        for each in value if isinstance(value, list) else [value]:
            if dataclasses.is_dataclass(each):
                make_readable(each)


def test_drawn_requests(tmp_path: Path) -> None:
    drawn: list[bytes] = []

    @given(CCRS)
    @settings(max_examples=40, database=None, deadline=None, phases=[Phase.generate])
    def collect(message: CreditControlRequest) -> None:
        make_readable(message)
        drawn.append(encode_ccr(message, hop_by_hop=1, end_to_end=2))

    collect()
    objections = notes(drawn, tmp_path)
    assert [line for line in objections if "alformed" in line] == []


def test_answers_to_every_mutation(tmp_path: Path) -> None:
    answers: dict[bytes, str] = {}
    for frame in REQUESTS.values():
        for mutation in mutations(frame):
            error = error_of_mutation(mutation)
            if error is not None:
                answers.setdefault(check_answer(mutation.frame, error), mutation.name)
    step = max(1, len(answers) // LOOKED_AT)
    objections = notes(list(answers)[::step], tmp_path)
    chosen = list(answers)[::step]
    # Failed-AVP has a copy of the wrong AVP, which tshark parses; the answer around it must be valid.
    objected = [chosen[int(line.split("\t")[0]) - 1] for line in objections if "alformed" in line]
    assert len(objected) < len(chosen) / 50
    if objected:
        assert notes([without_failed_avp(answer) for answer in objected], tmp_path) == []


def without_failed_avp(answer: bytes) -> bytes:
    head = parse_header(answer)
    kept = [avp for avp in walk(answer, HEADER_OCTETS, len(answer)) if avp.code != 279]
    body = b"".join(answer[avp.start : (avp.stop + 3) & ~3] for avp in kept)
    return build(body, head.flags, head.command_code, head.application_id, *head[4:])
