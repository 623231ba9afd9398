"""A server with all options on, and clients that make it send every kind of message."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import Any

from ocs.ledger.contract.limits import MAX_SESSIONS_PER_ACCOUNT
from protocol import commands
from protocol.avp import FAMILY_IPV4, FLAG_VENDOR, Address, encode_avp
from protocol.credit_control import (
    CreditControlRequest,
    MultipleServicesCreditControl,
    RedirectServer,
    RequestedServiceUnit,
    UsedServiceUnit,
    VendorSpecificApplicationId,
)
from protocol.header import FLAG_PROXIABLE, HEADER_OCTETS, build, parse_header
from protocol.units import OcSupportedFeatures
from tests.faults.harness import Books, Serving
from tests.interop.conftest import MSISDN, REALM, when
from tests.interop.core import EUR, MB, MB_PRICE, Account, Session
from tests.interop.wire import Answer, Peer, Wire, cer, changed, encoded, inserted, result_code
from tests.ocs.charging.ccr import DATA, IMS, SERBIA, SMS, at, messages, octets, seconds, sms_to, towards
from tests.protocol.mutator import Node
from tests.protocol.test_pipeline import CASES
from tests.waiting import PATIENCE_S

OCS, OCS_REALM = "ocs.hot.example.net", "hot.example.net"
PGW, SPARE, TLS_ONLY, LISTENING = (f"{name}.{REALM}" for name in ("pgw", "spare", "tls", "listening"))
CASES_HOST, CASES_REALM = "pgw.example.org", "example.org"
"""The peer of tests/protocol/test_pipeline.py."""
CALLED = "tel:+38631234567"
REDIRECTS = {
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "url": "https://top-up.example.net/",
    "sip": "sip:top-up@example.net",
}
RESTRICTIONS = {
    "rules": 'filters = "rules"\nfilter_rules = ["permit out ip from 192.0.2.1 to any"]',
    "names": 'filters = "filter_id"\nfilter_ids = ["walled-garden"]',
    "alone": "",
}
BURST = 40
REPORT_S = 1.0
"""Seconds between overload reports; the server checks its load more often."""
SETTINGS = f'max_in_flight = 1\nrealms = ["{CASES_REALM}"]\nhosts = ["ocs2.example.net"]\n'
WHOLE = """
final_unit = "redirect"
final_unit_of = { voice = "restrict" }
redirect_address = "https://top-up.example.net/"
filters = "rules"
filter_rules = ["permit out ip from 192.0.2.1 to any"]
cost_information = true
remaining_balance = true
low_balance_indication = true
session_failover = true
failure_handling = "retry_and_terminate"
direct_debiting_failure_handling = "continue"
announcement = 17
pools = true
"""


def peers(listening_port: int) -> str:
    """The [[peer]] and [profile] tables."""

    def peer(host: str, profile: str = "standard", more: str = "") -> str:
        return f'[[peer]]\norigin_host = "{host}"\nrealm = "{REALM}"\nprofile = "{profile}"\n{more}\n'

    profiles = {
        "whole": WHOLE,
        "last": "qos_final_unit = true",
        **{
            kind: f'final_unit = "redirect"\nredirect_address = "{address}"\nredirect_address_type = "{kind}"\n'
            "qos_final_unit = true"
            for kind, address in REDIRECTS.items()
        },
        **{
            name: f'final_unit = "restrict"\nqos_final_unit = true\n{filters}' for name, filters in RESTRICTIONS.items()
        },
    }
    entries = [
        peer(PGW, "whole", "refunds = true"),
        peer(SPARE),
        peer(TLS_ONLY, more='tls = "required"'),
        peer(LISTENING, more=f'connect = "127.0.0.1:{listening_port}"'),
        f'[[peer]]\norigin_host = "{CASES_HOST}"\nrealm = "{CASES_REALM}"\n',
        *(peer(f"{name}.{REALM}", name) for name in profiles if name != "whole"),
    ]
    return "".join(entries) + "".join(f"[profile.{name}]\n{text}\n" for name, text in profiles.items())


class Everything:
    def __init__(self, serving: Serving, books: Books, listening: socket.socket) -> None:
        self.serving, self.books, self.listening = serving, books, listening
        self.wire = Wire(serving)
        self.called = self.accept()
        self.pgw = self.wire.connect(PGW, REALM)
        self.sessions = 0
        self.rich = self.account(MSISDN, 20 * EUR)

    def account(self, msisdn: str, credit_micro_eur: int) -> Account:
        return Account(self.books.open_account(msisdn, credit_micro_eur), msisdn, "")

    def session(self, peer: Peer, account: Account, context: str = DATA, information: Any = None) -> Session:
        self.sessions += 1
        sid = f"{peer.host};{self.sessions};everything"
        return Session(peer, account, context, information or at(), sid, OCS_REALM)

    def data(self, account: Account | None = None) -> Session:
        return self.session(self.pgw, account or self.rich)

    # -- connections

    def capabilities(self) -> None:
        """CEA with and without the E bit, CER, DWA, DPA; a DWR to see whether a connection still lives."""
        for host, code, changes in (
            (f"stranger.{REALM}", 3010, {}),
            (SPARE, 5010, {"auth_application_id": [99]}),
            (SPARE, 5017, {"inband_security_id": [1]}),
            (SPARE, 5005, {"vendor_specific_application_id": [VendorSpecificApplicationId(10415)]}),
            (TLS_ONLY, 5017, {}),
            (PGW, 5012, {}),
        ):
            refused = self.wire.dial(host, REALM)
            refused.send(cer(host, REALM, **changes))
            assert result_code(refused.read()) == code
            assert ended(refused)
        refused = self.wire.dial(SPARE, REALM)
        refused.send(proxiable(cer(SPARE, REALM)))
        assert result_code(refused.read()) == 3008 and ended(refused)
        header, _ = self.pgw.told(commands.DEVICE_WATCHDOG)
        self.pgw.send(commands.encode_answer(commands.DeviceWatchdogAnswer(2001, PGW, REALM), header))
        spare = self.wire.connect(SPARE, REALM)
        watchdog = commands.encode(commands.DeviceWatchdogRequest(SPARE, REALM), hop_by_hop=7, end_to_end=7)
        for frame, code in ((watchdog, 2001), (proxiable(watchdog), 3008)):
            spare.send(frame)
            assert result_code(spare.read()) == code
        assert result_code(spare.disconnect()) == 2001
        spare.close()

    def accept(self) -> Peer:
        """The server calls a peer: CER."""
        connection, _ = self.listening.accept()
        peer = self.wire.peer(connection, LISTENING, REALM)
        frame = peer.read()
        header = parse_header(frame)
        asked = commands.decode(commands.CapabilitiesExchangeRequest, frame, header)
        assert asked.origin_host == OCS
        here = [Address(FAMILY_IPV4, "127.0.0.1")]
        answer = commands.CapabilitiesExchangeAnswer(2001, LISTENING, REALM, here, 0, "raw", auth_application_id=[4])
        peer.send(commands.encode_answer(answer, header))
        return peer

    # -- charging

    def quota(self) -> None:
        """Pools, triggers, envelopes, time beside volume, thresholds; a service that is refused beside others;
        costs.
        """
        session = self.data()
        services = [octets(MB, group=group) for group in (1, 2)]
        for service in services:
            service.requested_service_unit.cc_time = 60
        first = session.ask("I", 0, *services)
        assert first.codes == (2001, 2001, 2001)
        second = session.ask("U", 1, octets(0, MB), octets(0, group=777))
        assert second.codes == (2001, 2001, 5031)
        assert session.ask("T", 2, octets(None, MB), octets(None, 0, 2)).codes == (2001, 2001, 2001)
        talk = self.session(self.pgw, self.rich, IMS, towards(CALLED))
        assert talk.ask("I", 0, seconds(300)).seconds == 300
        assert talk.ask("T", 1, seconds(None, 5)).code == 2001
        abroad = self.session(self.pgw, self.rich, DATA, at(SERBIA))
        assert abroad.ask("I", 0, octets(MB)).code == 2001
        switched = octets()
        switched.used_service_unit = [
            UsedServiceUnit(tariff_change_usage=n, cc_total_octets=10_000 * (n + 1)) for n in (0, 1)
        ]
        assert abroad.ask("T", 1, switched).code == 2001

    def events(self) -> None:
        def event(number: int, action: int, service: MultipleServicesCreditControl) -> Answer:
            return sms.ask("E", number, service, requested_action=action)

        sms = self.session(self.pgw, self.rich, SMS, sms_to("+38631234567"))
        paid = event(0, 0, messages(2))
        token = paid.services[0].refund_information
        assert paid.codes == (2001, 2001) and token is not None
        assert event(1, 1, replace(messages(1), refund_information=token)).code == 2001
        assert event(2, 1, replace(messages(1), refund_information=b"nothing")).code == 5004
        assert event(3, 1, messages(1)).code == 5005
        assert event(4, 2, messages(1)).code == 2001
        assert event(5, 3, messages(1)).code == 2001

    def units_beside_the_result_code(self) -> None:
        """The form of RFC 8506 without Multiple-Services-Credit-Control."""
        account = self.account("38668100010", 150_000)
        peer = self.wire.connect(f"sip.{REALM}", REALM)
        plain = self.session(peer, account, IMS, towards(CALLED))
        first = plain.ask("I", 0, requested_service_unit=RequestedServiceUnit(cc_time=3600))
        assert first.cca is not None and first.cca.final_unit_indication is not None
        assert first.cca.granted_service_unit is not None and first.cca.qos_final_unit_indication is not None
        assert plain.ask("T", 1, used_service_unit=[UsedServiceUnit(cc_time=5)]).codes == (2001,)
        one = self.session(peer, account, IMS, towards(CALLED))
        wanted = RequestedServiceUnit(cc_time=60)
        assert one.ask("E", 0, requested_action=0, requested_service_unit=wanted).codes == (2001,)
        peer.close()

    def final_units(self) -> None:
        """Final units, and a refused opening, for each way of restricting."""
        poor, talker = self.account("38668100011", 0), self.account("38668100012", 150_000)
        for name in (*REDIRECTS, *RESTRICTIONS):
            peer = self.wire.connect(f"{name}.{REALM}", REALM)
            answer = self.session(peer, poor).ask("I", 0, octets(MB))
            assert answer.codes == (2001, 2001)
            (service,) = answer.services
            assert service.final_unit_indication is not None and service.validity_time == 300
            assert (service.qos_final_unit_indication is None) == (name == "rules")
            if name in REDIRECTS:
                redirect = service.final_unit_indication.redirect_server
                assert redirect == RedirectServer(list(REDIRECTS).index(name), REDIRECTS[name])
            peer.close()
        broke = self.session(self.wire.connect(SPARE, REALM), self.account("38668100015", MB_PRICE))
        assert broke.ask("I", 0, octets(MB), octets(MB, group=2)).codes == (2001, 2001, 4012)
        broke.peer.close()
        last = self.session(self.wire.connect(f"last.{REALM}", REALM), self.account("38668100013", MB_PRICE))
        (service,) = last.ask("I", 0, octets(10 * MB)).services
        assert service.final_unit_indication is not None and service.qos_final_unit_indication is not None
        last.peer.close()
        talk = self.session(self.pgw, talker, IMS, towards(CALLED))
        (service,) = talk.ask("I", 0, seconds(3600)).services
        assert service.announcement_information
        assert talk.ask("T", 1, seconds(None, 5)).code == 2001

    def asked_again(self) -> None:
        """RAR after a top-up, ASR after a block."""
        account = self.account("38668100014", MB_PRICE)
        session = self.data(account)
        assert session.ask("I", 0, octets(10 * MB)).octets == MB
        self.books.ask(lambda ledger: ledger.top_up(account.id, amount_micro_eur=EUR, reference="everything", **when()))
        header, frame = self.pgw.told(commands.RE_AUTH)
        rar = commands.decode(commands.ReAuthRequest, frame, header)
        assert (rar.session_id, rar.destination_host) == (session.sid, PGW)
        self.pgw.send(commands.encode_answer(commands.ReAuthAnswer(session.sid, 2002, PGW, REALM), header))
        assert session.ask("U", 1, octets(MB, MB)).codes == (2001, 2001)
        self.books.ask(lambda ledger: ledger.set_state(account.id, state="blocked", **when()))
        header, frame = self.pgw.told(commands.ABORT_SESSION)
        asr = commands.decode(commands.AbortSessionRequest, frame, header)
        assert (asr.session_id, asr.destination_host) == (session.sid, PGW)
        self.pgw.send(commands.encode_answer(commands.AbortSessionAnswer(session.sid, 2001, PGW, REALM), header))
        assert session.ask("T", 2, octets(None, 0)).codes == (2001, 2001)
        assert self.data(account).ask("I", 0, octets(MB)).codes == (4010,)

    # -- refusals

    def refusals(self) -> None:
        """Code, E bit, request."""

        def opening(**more: Any) -> CreditControlRequest:
            return self.data().request("I", 0, octets(MB), **more)

        broke = self.session(self.wire.connect(SPARE, REALM), self.account("38668100017", 0))
        assert broke.ask("I", 0, octets(MB)).codes == (4012,)
        broke.peer.close()
        opened = self.data()
        assert opened.ask("I", 0, octets(MB)).code == 2001
        vendor_0 = encode_avp(1, 9, 0, b"x").replace(b"\0\0\0\x09", bytes(4))
        assert vendor_0[4] == FLAG_VENDOR
        extension = encode_avp(660, 0, 0, b"38668100000") + encode_avp(661, 0, 0, b"293400000000000")
        for code, is_error, request in (
            (2001, False, inserted(opening(), proxies())),
            (3002, True, opening(destination_host="elsewhere.example.net")),
            (3003, True, opening(destination_realm="elsewhere.example.net")),
            (3005, True, opening(route_record=[f"dra.{REALM}", OCS])),
            (3009, True, inserted(opening(), vendor_0 + proxies())),
            (3007, True, build(encoded(opening())[HEADER_OCTETS:], 0xC0, 271, 3, 7, 7)),  # an Accounting-Request
            (5002, False, self.data().request("U", 1, octets(MB))),
            (5003, False, opening(origin_host="other.example.net")),
            (5004, False, changed(opening(), no_such_type)),
            (5005, False, opening(subscription_id=[])),
            (5007, False, inserted(opening(), encode_avp(659, 0, 0, extension))),
            (5012, False, opened.request("I", 1, octets(MB))),
            (5030, False, self.data(Account("", "38699999999", "")).request("I", 0, octets(MB))),
            (5031, False, self.data().request("I", 0, octets(MB, group=777))),
            (5031, False, opening(service_context_id="32299@3gpp.org")),
        ):
            answer = self.pgw.ask(request)
            assert (answer.code, answer.header.is_error) == (code, is_error)

    def cases(self) -> None:
        """The cases of tests/protocol for the pipeline, sent to a server."""
        peer = self.wire.connect(CASES_HOST, CASES_REALM)
        for name, (frame, code, failed_avp) in CASES.items():
            answer = peer.ask(frame)
            assert answer.code == code and failed_avp in answer.frame, name
        for broken, code in ((b"\2\0\0\x14", 5011), (b"\1\0\0\x15", 5015)):
            peer.send(broken + CASES["5008 Granted-Service-Unit"][0][4:])
            assert result_code(peer.read()) == code and ended(peer)
            peer = self.wire.connect(CASES_HOST, CASES_REALM)
        peer.close()

    def resources(self) -> None:
        account = self.account("38668100016", EUR)
        for _ in range(MAX_SESSIONS_PER_ACCOUNT):
            assert self.data(account).ask("I", 0, octets(1024)).code == 2001
        assert self.data(account).ask("I", 0, octets(1024)).codes == (5006,)

    def overload(self) -> None:
        """More requests than the server handles at once, from a client with RFC 7683: 3002, and 3004 if the server was
        named.
        """
        sms = self.session(self.pgw, self.rich, SMS, sms_to("+38631234567"))

        def check(number: int, **more: Any) -> bytes:
            request = sms.request("E", number, messages(1), requested_action=2, **more)
            return encoded(replace(request, oc_supported_features=OcSupportedFeatures(1)))

        def flood(first: int, host: str | None) -> set[tuple[int, bool]]:
            self.pgw.send(*(check(first + n, destination_host=host) for n in range(BURST)))
            answers = [Answer.of(self.pgw.read()) for _ in range(BURST)]
            return {(answer.code, answer.header.is_error) for answer in answers}

        assert flood(100, None) == {(2001, False), (3002, True)}
        assert flood(200, OCS) == {(2001, False), (3004, True)}
        time.sleep(REPORT_S)
        answer = self.pgw.ask(check(300))
        assert answer.cca is not None and answer.cca.oc_olr is not None
        assert (3002, True) in flood(400, None)  # now with the report

    # -- the end

    def goodbye(self) -> None:
        """The server stops: DPR on each connection."""
        stopping = threading.Thread(target=self.serving.end)
        stopping.start()
        for peer in (self.pgw, self.called):
            header, _ = peer.told(commands.DISCONNECT_PEER)
            peer.send(commands.encode_answer(commands.DisconnectPeerAnswer(2001, peer.host, REALM), header))
            assert ended(peer)
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()


def proxiable(frame: bytes) -> bytes:
    """Requests with the P bit where it is not allowed."""
    return frame[:4] + bytes([frame[4] | FLAG_PROXIABLE]) + frame[5:]


def no_such_type(node: Node) -> list[Node]:
    return [replace(node, payload=b"\0\0\0\x09") if node.code == 450 else node]


def proxies() -> bytes:
    def one(host: bytes) -> bytes:
        return encode_avp(284, 0, 0x40, encode_avp(280, 0, 0x40, host) + encode_avp(33, 0, 0x40, b"state"))

    return one(b"dra1.example.net") + one(b"dra2.example.net")


def ended(peer: Peer) -> bool:
    try:
        peer.read()
    except (EOFError, ConnectionError):
        return True
    return False
