"""The diameter application of Erlang/OTP as client: a strict decoder with its own dictionary, for all our answers and
requests.

The client (erlang/client.erl) prints each of our messages with its errors: there must be none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme

from ocs.ledger.audit import audit
from ocs.ledger.redis.ledger import RedisLedger
from protocol import commands
from protocol.avp import FLAG_MANDATORY, encode_avp
from protocol.capabilities import LocalNode, make_cea, make_dwa
from protocol.frame import FrameReader
from protocol.header import FLAG_PROXIABLE, Header, build, parse_header
from tests.faults.harness import Serving, open_account
from tests.interop.conftest import REALM, when
from tests.interop.erlang.client import OCS, OCS_REALM, Said, nothing_wrong, run_client
from tests.interop.everything import WHOLE as WHOLE_PROFILE
from tests.ports import free_port
from tests.protocol.test_tshark import HERE
from tests.waiting import PATIENCE_S, wait_for

PGW, TLS_PGW = f"pgw.{REALM}", f"tls.{REALM}"
RICH, POOR, CALLER = "38668100001", "38668100002", "38668100003"
MB = 1024 * 1024
EUR = 1_000_000
MB_PRICE, MINUTE_PRICE, SMS_PRICE = 6_900, 69_000, 69_000
"""Micro-EUR, tests/data/catalogue.toml."""
COST_ABROAD = 84_961
"""Of 10 kB before and 20 kB after the switch: 84,960.9."""
MSCC = "Multiple-Services-Credit-Control"

RFC_8506_ONLY = {
    *("User-Name", "CC-Sub-Session-Id", "Acct-Multi-Session-Id", "Origin-State-Id", "Event-Timestamp", "Validity-Time"),
    *("Granted-Service-Unit", "Final-Unit-Indication", "QoS-Final-Unit-Indication", "Check-Balance-Result"),
}
"""What TS 32.299 §6.4.3 leaves out of RFC 8506's Credit-Control-Answer (within Multiple-Services-Credit-Control it has
some).
"""

PEERS = f"""
max_in_flight = 1
hosts = ["ocs2.example.net"]
[[peer]]
origin_host = "{PGW}"
realm = "{REALM}"
refunds = true
profile = "whole"
[profile.whole]
{WHOLE_PROFILE}"""
NEWER = f"""
[[peer]]
origin_host = "{{peer}}"
realm = "{REALM}"
tls = "{{tls}}"
profile = "newer"
[profile.newer]
final_unit = "restrict"
final_unit_of = {{{{ voice = "redirect" }}}}
redirect_address = "sip:top-up@example.net"
redirect_address_type = "sip"
filters = "filter_id"
filter_ids = ["walled-garden"]
qos_final_unit = true
"""
"""For clients of RFC 8506: QoS-Final-Unit-Indication too."""


@pytest.mark.usefixtures("whole_catalogue")
async def test_all_that_is_answered_and_asked_over_tcp(
    serve: Callable[..., Serving], ledger: RedisLedger, tmp_path: Path
) -> None:
    rich, poor, caller = [
        await open_account(ledger, msisdn, credit)
        for msisdn, credit in ((RICH, 20 * EUR), (POOR, MB_PRICE), (CALLER, 150_000))
    ]
    server = serve(PEERS)
    host, _, port = server.facts()["diameter"][0].rpartition(":")
    said, status = await run_client(
        *(tmp_path, "core", host, port, RICH, POOR, CALLER),
        reactions={
            "last units U, redirected": lambda: ledger.top_up(poor, amount_micro_eur=EUR, reference="R1", **when()),
            "last units U, asked for": lambda: ledger.set_state(poor, state="blocked", **when()),
        },
    )
    told = nothing_wrong(said, status)
    for what, one in told.items():
        only = {"Check-Balance-Result"} if what in ("event, balance check", "flood", "overload") else set()
        assert one.message != "CCA" or not RFC_8506_ONLY.intersection(one.names) - only, what
        assert "QoS-Final-Unit-Indication" not in str(one.avps)
    check_sessions(told)
    check_events(told)
    check_refusals(told)
    check_overload(said)
    wait_for(lambda: 'client_answers_total{command="ASR",result="2001"} 1.0' in server.metrics())
    assert 'client_answers_total{command="RAR",result="2002"} 1.0' in server.metrics()
    spent = {rich: 2 * MB_PRICE + COST_ABROAD + SMS_PRICE, poor: MB_PRICE, caller: MINUTE_PRICE}
    for account, micro_eur in spent.items():
        view = await ledger.read(account, **when())
        assert view is not None
        assert (view.spent_micro_eur, view.held_micro_eur, view.sessions) == (micro_eur, 0, ())
    assert (await audit(ledger, **when())).ok


def check_sessions(told: Mapping[str, Said]) -> None:
    first = told["data I"]
    assert first.all(MSCC, "Rating-Group") == [1, 2] and first.all(MSCC, "Result-Code") == [2001, 2001]
    assert first.all(MSCC, "Granted-Service-Unit") == [[["CC-Time", 60], ["CC-Total-Octets", MB]]] * 2
    (identifier, *more), *others = first.all(MSCC, "G-S-U-Pool-Reference")
    assert identifier[0] == "G-S-U-Pool-Identifier" and others == [[identifier, *more]], "both in one pool"
    assert more == [["CC-Unit-Type", 2], ["Unit-Value", [["Value-Digits", 1]]]]
    assert first.all(MSCC, "Trigger", "Trigger-Type") == [4, 30, 31, 61] * 2
    assert first.all(MSCC, "Envelope-Reporting") == [2, 2] and first.all(MSCC, "Quota-Holding-Time") == [600, 600]
    assert (first.one("CC-Session-Failover"), first.one("Credit-Control-Failure-Handling")) == (1, 2)
    assert first.one("Low-Balance-Indication") == 0
    balance = [["Unit-Value", [["Value-Digits", 20 * EUR - 2 * MB_PRICE], ["Exponent", -6]]], ["Currency-Code", 978]]
    assert first.one("Remaining-Balance") == balance
    update = told["data U, an unknown rating group"]
    assert update.all(MSCC, "Result-Code") == [2001, 5031] and update.result == 2001
    assert update.one("Failed-AVP", MSCC, "Rating-Group") == 777
    cost = [["Unit-Value", [["Value-Digits", 2 * MB_PRICE], ["Exponent", -6]]], ["Currency-Code", 978]]
    assert told["data T"].one("Cost-Information") == cost
    change = told["abroad I"].one(MSCC, "Granted-Service-Unit", "Tariff-Time-Change")
    assert change % 1800 == 0 and 0 <= change - when()["now"] + PATIENCE_S <= 1800 + PATIENCE_S
    assert told["abroad T"].one("Cost-Information", "Unit-Value", "Value-Digits") == COST_ABROAD
    last, redirected = told["last units I"], told["last units U, redirected"]
    rule = ["Restriction-Filter-Rule", "permit out ip from 192.0.2.1 to any"]
    server = [["Redirect-Address-Type", 2], ["Redirect-Server-Address", "https://top-up.example.net/"]]
    for one in (last, redirected):
        assert one.one(MSCC, "Final-Unit-Indication") == [["Final-Unit-Action", 1], rule, ["Redirect-Server", server]]
        assert one.one("Low-Balance-Indication") == 1
    assert last.one(MSCC, "Granted-Service-Unit", "CC-Total-Octets") == MB
    assert redirected.all(MSCC, "Granted-Service-Unit") == [] and redirected.one(MSCC, "Validity-Time") == 300
    topped_up, block = told["top-up"], told["block"]
    assert (topped_up.message, block.message) == ("RAR", "ASR")
    for one in (topped_up, block):
        assert (one.one("Session-Id"), one.one("Destination-Host")) == (f"{PGW};last", PGW)
        assert one.one("Auth-Application-Id") == 4
    assert topped_up.one("Re-Auth-Request-Type") == 0
    again = told["last units U, asked for"]
    assert again.one(MSCC, "Granted-Service-Unit", "CC-Total-Octets") == MB
    assert again.all(MSCC, "Final-Unit-Indication") == [] and told["last units T"].result == 2001
    call = told["call I"]
    assert call.one(MSCC, "Granted-Service-Unit") == [["CC-Time", 130]]
    assert call.one(MSCC, "Final-Unit-Indication") == [["Final-Unit-Action", 2], rule]
    assert call.one(MSCC, "Announcement-Information") == [["Announcement-Identifier", 17], ["Time-Indicator", 30]]
    assert call.one(MSCC, "Quota-Consumption-Time") == 20
    assert told["call T"].one("Cost-Information", "Unit-Value", "Value-Digits") == MINUTE_PRICE


def check_events(told: Mapping[str, Said]) -> None:
    debit, refund = told["event, direct debit"], told["event, refund"]
    assert debit.one(MSCC, "Granted-Service-Unit") == [["CC-Service-Specific-Units", 2]]
    assert debit.one(MSCC, "Refund-Information") and debit.one("Direct-Debiting-Failure-Handling") == 1
    assert debit.one("Cost-Information", "Unit-Value", "Value-Digits") == 2 * SMS_PRICE
    assert refund.one(MSCC, "Granted-Service-Unit") == [["CC-Service-Specific-Units", 1]] and refund.result == 2001
    wrong = told["event, refund of nothing"]
    assert wrong.result == 5004 and wrong.one("Failed-AVP", MSCC, "Refund-Information") == b"nothing".hex()
    assert told["event, balance check"].one("Check-Balance-Result") == 0
    assert told["event, price enquiry"].one("Cost-Information", "Unit-Value", "Value-Digits") == SMS_PRICE


def check_refusals(told: Mapping[str, Said]) -> None:
    """Name of the message, Result-Code, Failed-AVP."""
    expected: dict[str, tuple[str, int, list[Any]]] = {
        "event, no credit": ("CCA", 4012, []),
        "unknown subscriber": ("CCA", 5030, []),
        "no rating group is known": ("CCA", 5031, [[[MSCC, [["Rating-Group", 777]]]]]),
        "unknown service context": ("CCA", 5031, [[["Service-Context-Id", "32299@3gpp.org"]]]),
        "unknown session": ("CCA", 5002, []),
        "unknown realm": ("answer-message", 3003, []),
        "unknown host": ("answer-message", 3002, []),
        "another's Origin-Host": ("CCA", 5003, []),
        "no Service-Context-Id": ("CCA", 5005, [[["Service-Context-Id", ""]]]),
        "no CC-Request-Type": ("answer-message", 5005, [[["CC-Request-Type", "00000000"]]]),
        "no AVP like this": ("CCA", 5001, [[["10415/4711", "00000000"]]]),
        "CC-Request-Number twice": ("CCA", 5009, [[["CC-Request-Number", 0]]]),
        "Granted-Service-Unit asked for": ("CCA", 5008, [[["Granted-Service-Unit", []]]]),
        "no such Requested-Action": ("CCA", 5004, [[["Requested-Action", "00000009"]]]),
        "CC-Request-Number of five octets": ("answer-message", 5014, [[["CC-Request-Number", 0]]]),
    }
    assert {
        what: (told[what].message, told[what].result, told[what].all("Failed-AVP")) for what in expected
    } == expected


def check_overload(said: list[Said]) -> None:
    """RFC 7683: a part of the burst is refused, and an answer soon after has the report."""
    flood = [one for one in said if one.what == "flood"]
    assert {(one.message, one.result) for one in flood} == {("CCA", 2001), ("answer-message", 3002)}
    assert all(one.one("OC-Supported-Features") == [["OC-Feature-Vector", 1]] for one in flood)
    (after,) = [one for one in said if one.what == "overload"]
    names = ["OC-Sequence-Number", "OC-Report-Type", "OC-Reduction-Percentage", "OC-Validity-Duration"]
    assert [name for name, _ in after.one("OC-OLR")] == names
    assert after.one("OC-OLR", "OC-Report-Type") == 0 and after.one("OC-OLR", "OC-Reduction-Percentage") <= 90


async def test_final_units_of_a_newer_client_over_tls(
    serve: Callable[..., Serving], ledger: RedisLedger, tmp_path: Path
) -> None:
    account = await open_account(ledger, CALLER, 150_000)
    ca, port = trustme.CA(), free_port()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name, identity in (("tls", TLS_PGW), ("ocs", OCS)):
        leaf = ca.issue_cert(identity)
        (tmp_path / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
    files = {"certificate": "ocs.pem", "key": "ocs.key", "ca": "ca.pem"}
    tls = "[tls]\n" + "".join(f'{key} = "{tmp_path / name}"\n' for key, name in files.items())
    serve(NEWER.format(peer=TLS_PGW, tls="required") + tls, f'listen_tls = ["127.0.0.1:{port}"]\n')
    told = nothing_wrong(*await run_client(tmp_path, "secure", "127.0.0.1", str(port), CALLER, str(tmp_path)))
    one = told["restricted I"]
    garden = [["Final-Unit-Action", 2], ["Filter-Id", "walled-garden"]]
    assert one.one(MSCC, "Final-Unit-Indication") == one.one(MSCC, "QoS-Final-Unit-Indication") == garden
    assert 21 * MB < one.one(MSCC, "Granted-Service-Unit", "CC-Total-Octets") < 22 * MB
    view = await ledger.read(account, **when())
    assert view is not None and view.spent_micro_eur == MB_PRICE and view.sessions == ()


async def test_units_beside_the_result_code(serve: Callable[..., Serving], ledger: RedisLedger, tmp_path: Path) -> None:
    """The form of RFC 8506 without Multiple-Services-Credit-Control."""
    account = await open_account(ledger, CALLER, 150_000)
    host, _, port = serve(NEWER.format(peer=PGW, tls="forbidden")).facts()["diameter"][0].rpartition(":")
    said, status = await run_client(tmp_path, "plain", host, port, CALLER)
    told = {one.what: one for one in said}
    first = told["plain I"]
    assert first.one("Granted-Service-Unit") == [["CC-Time", 130]] and first.one("Validity-Time") == 3600
    garden, address = ["Filter-Id", "walled-garden"], "sip:top-up@example.net"
    server = ["Redirect-Server", [["Redirect-Address-Type", 3], ["Redirect-Server-Address", address]]]
    assert first.one("Final-Unit-Indication") == [["Final-Unit-Action", 1], garden, server]
    server = ["Redirect-Server-Extension", [["Redirect-Address-SIP-URI", address]]]
    assert first.one("QoS-Final-Unit-Indication") == [["Final-Unit-Action", 1], garden, server]
    assert told["plain event"].one("Granted-Service-Unit") == [["CC-Time", 60]]
    view = await ledger.read(account, **when())
    assert view is not None and view.spent_micro_eur == 2 * MINUTE_PRICE and view.sessions == ()
    nothing_wrong(said, status)


def plain(code: int, payload: bytes, vendor: int = 0, flags: int = FLAG_MANDATORY) -> bytes:
    return encode_avp(code, vendor, flags, payload)


def number(code: int, value: int, vendor: int = 0, flags: int = FLAG_MANDATORY) -> bytes:
    return plain(code, value.to_bytes(4, "big"), vendor, flags)


SESSION = plain(263, b"pgw.a1.example.net;some")
RESULT, ORIGIN = number(268, 2001), plain(264, OCS.encode()) + plain(296, OCS_REALM.encode())
REST = number(258, 4) + number(416, 1)
WHOLE = SESSION + RESULT + ORIGIN + REST + number(415, 0)
GROUP = number(432, 1)
WRONG = {
    "nothing is wrong": (WHOLE, ""),
    "an AVP that nobody knows": (WHOLE + number(4711, 0, 10415, 0), "unknown: 10415/4711"),
    "the same with the M flag": (WHOLE + number(4711, 0, 10415), "decoder: {5001"),
    "an AVP that is not in the command": (WHOLE + number(868, 1, 10415, 0), "not in the grammar: Time-Quota-Threshold"),
    "an AVP that is not in the group": (WHOLE + plain(456, GROUP + number(416, 1)), "decoder: {5001"),
    "nobody knows it in the group": (WHOLE + plain(456, GROUP + number(4711, 0, 10415, 0)), "unknown: 10415/4711"),
    "twice": (WHOLE + plain(456, GROUP + GROUP), "decoder: {5009"),
    "a required AVP is missing": (SESSION + RESULT + ORIGIN + REST, "decoder: {5005"),
    "an empty group with a required AVP": (WHOLE + plain(430, b""), "decoder: {5005"),
    "no such value": (WHOLE + plain(430, number(449, 3)), "decoder: {5004"),
    "a wrong length": (WHOLE + plain(456, plain(432, bytes(8))), "decoder: {5014"),
    "no M flag": (WHOLE + number(418, 1, flags=0), "M flag of CC-Session-Failover is false"),
    "an M flag": (WHOLE + plain(281, b"why", flags=FLAG_MANDATORY), "M flag of Error-Message is true"),
    "a group without its M flag": (WHOLE + plain(456, plain(1264, b"", 10415, 0)), "M flag of Trigger is false"),
    "no UTF-8": (WHOLE + plain(281, b"\xff\xfe", flags=0), "decoder: {5004"),
    "Session-Id is not first": (RESULT + SESSION + ORIGIN + REST + number(415, 0), "Session-Id is not the first"),
}
"""Bodies of a Credit-Control-Answer, and what the client must say of them."""


async def test_the_client_sees_what_is_wrong(tmp_path: Path) -> None:
    bodies = iter([body for body, _ in WRONG.values()])
    local = LocalNode(OCS, OCS_REALM)

    def answer(frame: bytes, header: Header) -> bytes:
        if header.command_code == 272:
            return build(next(bodies), FLAG_PROXIABLE, 272, 4, header.hop_by_hop, header.end_to_end)
        if header.command_code == 257:
            return commands.encode_answer(make_cea(local, [HERE], 2001), header)
        if header.command_code == 280:
            return commands.encode_answer(make_dwa(local), header)
        return commands.encode_answer(commands.DisconnectPeerAnswer(2001, OCS, OCS_REALM), header)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        while data := await reader.read(65_536):
            for frame in frames.feed(data):
                writer.write(answer(frame, parse_header(frame)))
        writer.close()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        said, status = await run_client(tmp_path, "some", "127.0.0.1", str(port), RICH, str(len(WRONG)))
    found = [one.problems for one in said if one.what == "some"]
    for (name, (_, complaint)), problems in zip(WRONG.items(), found, strict=True):
        assert any(complaint in each for each in problems) if complaint else not problems, (name, problems)
    assert status == 1
