"""tshark reads a capture of every kind of message that a server sends: no malformed message, no warning."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.avp import FLAG_MANDATORY, encode_avp
from protocol.credit_control import CreditControlAnswer, encode_cca
from protocol.header import HEADER_OCTETS, Header, build
from tests.conftest import RedisServer
from tests.faults.harness import Books, Serving
from tests.interop.everything import SETTINGS, Everything, peers
from tests.interop.wire import Dissected, dissect
from tests.waiting import PATIENCE_S

NAMES = {257: "CE", 258: "RA", 271: "AC", 272: "CC", 274: "AS", 275: "ST", 280: "DW", 282: "DP"}
PARTS = {
    11: "Filter-Id",
    279: "Failed-AVP",
    281: "Error-Message",
    284: "Proxy-Info",
    417: "CC-Service-Specific-Units",
    418: "CC-Session-Failover",
    420: "CC-Time",
    421: "CC-Total-Octets",
    422: "Check-Balance-Result",
    423: "Cost-Information",
    427: "Credit-Control-Failure-Handling",
    428: "Direct-Debiting-Failure-Handling",
    430: "Final-Unit-Indication",
    431: "Granted-Service-Unit",
    434: "Redirect-Server",
    438: "Restriction-Filter-Rule",
    448: "Validity-Time",
    451: "Tariff-Time-Change",
    456: "Multiple-Services-Credit-Control",
    457: "G-S-U-Pool-Reference",
    621: "OC-Supported-Features",
    623: "OC-OLR",
    669: "QoS-Final-Unit-Indication",
    868: "Time-Quota-Threshold",
    869: "Volume-Quota-Threshold",
    871: "Quota-Holding-Time",
    881: "Quota-Consumption-Time",
    1264: "Trigger",
    1268: "Envelope-Reporting",
    2020: "Low-Balance-Indication",
    2021: "Remaining-Balance",
    2022: "Refund-Information",
    3904: "Announcement-Information",
}
"""AVPs whose presence makes an answer a kind of its own."""
REFUSED = ["Failed-AVP", "Error-Message"]
IN_SERVICES = [f"service {code}" for code in (2001, 4012, 5031)]
CCA = (2001, 4010, 4012, *range(5001, 5010), 5012, 5014, 5030, 5031)
CCA_ERRORS = (3002, 3003, 3004, 3005, 3007, 3008, 3009, 5005, 5011, 5014, 5015)
EXPECTED: dict[str, list[int | str]] = {
    "CER": [],
    "CEA": [2001, 5005, 5010, 5012, 5017, *REFUSED],
    "CEA E": [3008, 3010, "Error-Message"],
    "DWR": [],
    "DWA": [2001],
    "DWA E": [3008, "Error-Message"],
    "DPR": [],
    "DPA": [2001],
    "RAR": [],
    "ASR": [],
    "CCA": [*CCA, *IN_SERVICES, *PARTS.values()],
    "CCA E": [*CCA_ERRORS, *REFUSED, "Proxy-Info", "OC-Supported-Features", "OC-OLR"],
    # Commands that are not served.
    "ACA E": [3007, "Error-Message"],
    "STA E": [3001, "Error-Message"],
    "RAA E": [3001, "Error-Message"],
}
"""Every kind of message: command, request or answer, E bit; the Result-Codes it comes with, of the command and of
services; its parts.
"""


def kinds(found: list[Dissected]) -> dict[str, set[int | str]]:
    seen: dict[str, set[int | str]] = {}
    for one in found:
        name = NAMES[one.command] + ("R" if one.is_request else "A") + (" E" if one.is_error else "")
        words = seen.setdefault(name, set())
        words.update(one.codes[:1])
        words.update(f"service {code}" for code in one.codes[1:])
        words.update(PARTS[code] for code in one.avps & PARTS.keys())
    return seen


@pytest.fixture
def everything(serve: Callable[..., Serving], own_redis: RedisServer, whole_catalogue: None) -> Iterator[Everything]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)
        server = serve(peers(listening.getsockname()[1]), SETTINGS)
        world = Everything(server, Books(own_redis.url), listening)
        yield world
        world.wire.close()


def test_nothing_that_a_server_says_is_malformed(everything: Everything, tmp_path: Path) -> None:
    everything.capabilities()
    everything.quota()
    everything.events()
    everything.units_beside_the_result_code()
    everything.final_units()
    everything.asked_again()
    everything.refusals()
    everything.cases()
    everything.resources()
    everything.overload()
    everything.goodbye()
    assert everything.books.audit().ok
    assert " ERROR " not in (everything.serving.folder / "log").read_text(encoding="utf-8")
    found = everything.wire.dissected(tmp_path)
    assert kinds(found) == {name: set(words) for name, words in EXPECTED.items()}


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    def answer(*avps: bytes) -> bytes:
        whole = encode_cca(
            CreditControlAnswer("pgw.example.net;1;2", 2001, cc_request_type=1), head, "ocs.example.net", "net"
        )
        return build(whole[HEADER_OCTETS:] + b"".join(avps), 0x40, 272, 4, 1, 1)

    head = Header(0, 0x40, 272, 4, 1, 1)

    def told(*frames: bytes) -> list[tuple[str, ...]]:
        return [one.objections for one in dissect([list(frames)], tmp_path / "some.pcap")]

    fui = encode_avp(430, 0, FLAG_MANDATORY, encode_avp(449, 0, FLAG_MANDATORY, bytes(4)))
    qos_fui = encode_avp(669, 0, 0, encode_avp(449, 0, FLAG_MANDATORY, bytes(4)))
    assert told(answer(), answer(fui), answer(qos_fui)) == [(), (), ()]
    wrong = {
        "a length that lies": encode_avp(430, 0, FLAG_MANDATORY, encode_avp(449, 0, 0, bytes(4))[:-4] + bytes(4))[:-4],
        "a number of three octets": encode_avp(415, 0, FLAG_MANDATORY, bytes(3)),
        "an AVP that nobody knows": encode_avp(4711, 10415, 0, bytes(4)),
    }
    seen = dict(zip(wrong, told(*map(answer, wrong.values())), strict=True))
    assert all(seen.values()), seen
