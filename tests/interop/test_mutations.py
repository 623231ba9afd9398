"""Every mutation of every kind of request, sent to a running server: each gets the pipeline's answer, and others are
served.

tests/protocol/mutator.py says what is expected. If a mutation is still understood, charging decides, and its possible
answers follow from what was mutated (CHARGED). Every answer must be complete and belong to its request.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ocs.ledger.audit import audit
from ocs.ledger.redis.ledger import RedisLedger
from protocol.avp import walk
from protocol.credit_control import (
    DIRECT_DEBITING,
    REFUND_ACCOUNT,
    CreditControlRequest,
    MultipleServicesCreditControl,
    SubscriptionId,
    decode_cca,
    decode_ccr,
    encode_ccr,
)
from protocol.header import HEADER_OCTETS, Header, parse_header
from tests.conftest import RedisServer
from tests.faults.harness import Serving
from tests.interop.conftest import when
from tests.interop.core import CONFIG, EUR, MAGMA, REALM, data_cost
from tests.interop.wire import cer, changed, result_code
from tests.ocs.charging.ccr import at, octets
from tests.ocs.diameter.site import Client
from tests.protocol.echoes import echoed, has_e_bit
from tests.protocol.mutator import Mutation, Node, mutations
from tests.protocol.requests import base, ccrs
from tests.waiting import PATIENCE_S

HONEST, OWN = f"honest.{REALM}", f"own.{REALM}"
PEERS = "".join(
    f'[[peer]]\norigin_host = "{host}"\nrealm = "{realm}"\nrefunds = true\n'
    for host, realm in ((HONEST, REALM), (OWN, REALM), ("pgw.example.net", "example.net"))
)
SUBSCRIBERS = {
    "38668100000": "293400000000000",  # of the built requests
    "447700900001": "001010000000001",  # of the recorded ones
    "38668100008": "293400000000008",  # of our own
    "38668100009": "293400000000009",  # honest
}
"""MSISDN → IMSI."""
AT_ONCE = 10
"""Messages that a connection sends before it waits for their answers; so many sessions may be open at a time."""
INITIAL, UPDATE, TERMINATION, EVENT = range(1, 5)
TAG = b"#0000000"
"""Placeholder in the Session-Id of a mutated request, replaced by a number of its own."""
NUMBER = b"####"
"""The same of CC-Request-Number."""
_identifiers = itertools.count(1)
LAST = 0x7FFFFFFF
"""Number of a session's end."""
SESSION_ID, CC_REQUEST_NUMBER, ROUTE_RECORD = 263, 415, 282


@dataclass(frozen=True)
class Kind:
    """A request that is mutated."""

    name: str
    frame: bytes
    request: CreditControlRequest

    @classmethod
    def of(cls, name: str, frame: bytes) -> Kind:
        request = decode_ccr(frame, parse_header(frame))

        def tagged(node: Node) -> list[Node]:
            if node.code == ROUTE_RECORD:
                # these come from the client itself: a request of its own that came through others is refused (5003)
                return []
            if node.code == SESSION_ID:
                return [replace(node, payload=f"{request.origin_host};{name};".encode() + TAG)]
            if node.code == CC_REQUEST_NUMBER and request.cc_request_type == UPDATE:
                return [replace(node, payload=NUMBER)]
            return [node]

        frame = changed(frame, tagged)
        return cls(name, frame, decode_ccr(frame, parse_header(frame)))

    @property
    def is_refund(self) -> bool:
        return self.request.requested_action == REFUND_ACCOUNT

    def served(self, mutation: Mutation) -> set[int]:
        """How charging answers a mutation that is understood, if it changes nothing that charging looks at."""
        if self.is_refund:
            return SERVED | NO_SUCH_DEBIT
        debits = self.request.cc_request_type == EVENT and self.request.requested_action == DIRECT_DEBITING
        return SERVED | NO_AMOUNT if debits and mutation.name.startswith(ABSENT_AMOUNT) else SERVED

    def before(self) -> bytes:
        """Opens the session that is updated or ended."""
        services = [replace(each, used_service_unit=[]) for each in self.request.multiple_services_credit_control]
        for service in services:
            service.requested_service_unit = octets(0).requested_service_unit
        return self._plain(INITIAL, 0, services)

    def after(self) -> bytes:
        """Ends the session, if it is open."""
        services = [
            replace(each, used_service_unit=[], requested_service_unit=None)
            for each in self.request.multiple_services_credit_control
        ]
        return self._plain(TERMINATION, LAST, services)

    def _plain(self, kind: int, number: int, services: list[MultipleServicesCreditControl]) -> bytes:
        request = replace(self.request, cc_request_type=kind, cc_request_number=number, termination_cause=None)
        request.multiple_services_credit_control = services
        return encode_ccr(request, hop_by_hop=0, end_to_end=0)


class Exchange(NamedTuple):
    """One mutation, with requests that open and end its session if it may be understood; b"" = none."""

    before: bytes
    mutation: Mutation
    after: bytes


def exchanges(kind: Kind, numbers: Iterator[int]) -> Iterator[Exchange]:
    """All updates belong to one session; other requests have a session each."""
    for mutation in mutations(kind.frame):
        number = next(numbers)
        alone = kind.request.cc_request_type != UPDATE
        lives, session = alone and 0 in mutation.expected, number if alone else 0
        failed = mutation.failed and named(mutation.failed, session, number)
        sent = mutation._replace(frame=tagged(mutation.frame, session, number), failed=failed)
        before = kind.before() if lives and kind.request.cc_request_type == TERMINATION else b""
        after = kind.after() if lives and kind.request.cc_request_type != EVENT else b""
        yield Exchange(tagged(before, number), sent, tagged(after, number))


def tagged(frame: bytes, session: int, number: int = 0) -> bytes:
    """With identifiers of its own."""
    frame = named(frame, session, number)
    return frame and frame[:12] + next(_identifiers).to_bytes(4, "big") * 2 + frame[20:]


def named(octets: bytes, session: int, number: int) -> bytes:
    return octets.replace(TAG, b"#%07d" % session).replace(NUMBER, number.to_bytes(4, "big"))


# -- the verdict

LABEL = re.compile(r"\[\d+\]")
ROUTED = {"Destination-Host", "Destination-Realm", "Route-Record"}
ROUTING = {3002, 3003, 3005}
"""Routing is checked before values."""
SERVED = {2001}
NO_SUCH_DEBIT = {5004, 5005}
"""A refund without a debit, or with an unknown one."""
ABSENT_AMOUNT = "absent Multiple-Services-Credit-Control"
NO_AMOUNT = {5031}
"""A debit of data or of a call needs an amount."""
MEANINGLESS = {"with P", "with reserved bits", "with the other M"}
"""Kinds of mutation that change nothing if they are understood."""
CHARGED = {
    "Session-Id": {5002},
    "Origin-Host": {5003},
    "Origin-Realm": {5003},
    "Service-Context-Id": {5031},
    "Subscription-Id": {5005, 5030},
    "Subscription-Id-Extension": {5005, 5030},
    "Service-Information": {5031},
}
"""What charging may say, beside 2001, when a mutation of this AVP (or within it) is understood: it is another session,
client, service, subscriber or use, or none."""


def objections(mutation: Mutation, answer: bytes, served: set[int]) -> list[str]:
    """Errors of an answer."""
    found = []
    head, asked, code = parse_header(answer), parse_header(mutation.frame), result_code(answer)
    avps = list(walk(answer, HEADER_OCTETS, len(answer)))
    codes = [avp.code for avp in avps]
    if head.is_request or head.command_code != 272 or head.is_proxiable != asked.is_proxiable or codes.count(268) != 1:
        found.append("no answer to this request")
    if {283, 293} & set(codes):
        found.append("an answer has no destination")
    if head.is_error != has_e_bit(asked, code, echoed(mutation.frame)[0]):
        found.append(f"the E bit is {head.is_error}")
    if not head.is_error and decode_cca(answer, head).result_code != code:
        found.append("no Credit-Control-Answer")
    if code not in (expected := expectation(mutation, CHARGED, served)):
        found.append(f"{code} is not of {sorted(expected)}")
    elif mutation.failed is not None and code in mutation.expected:
        failed = b"".join(answer[avp.payload : avp.stop] for avp in avps if avp.code == 279)
        if failed != mutation.failed:
            found.append("Failed-AVP is not what was wrong")
    return found


def expectation(mutation: Mutation, charged: Mapping[str, set[int]], served: set[int]) -> set[int]:
    """Result-Codes, one of which must be the answer's."""
    kind, _, label = mutation.name.rpartition(" ")
    outermost = LABEL.sub("", label).partition("/")[0]
    expected = set(mutation.expected) - {0}
    if 0 in mutation.expected:  # it is understood, or may be
        expected |= served
        if kind not in MEANINGLESS:
            expected |= charged.get(outermost, set())
    if kind.endswith("its neighbour:"):  # which may be anything
        expected |= ROUTING.union(*charged.values()) if 0 in mutation.expected else ROUTING
    elif outermost in ROUTED and kind not in MEANINGLESS:
        expected |= ROUTING
    return expected


# -- the test


class Hostile:
    """One connection, and the errors of its answers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.codes: Counter[int] = Counter()
        self.wrong: list[tuple[str, str, list[str]]] = []

    async def send(self, kinds: list[Kind]) -> None:
        for kind in kinds:
            shared = kind.request.cc_request_type == UPDATE
            if shared:
                await self._ask([tagged(kind.before(), 0)])
            waiting = list(exchanges(kind, itertools.count(1)))
            for start in range(0, len(waiting), AT_ONCE):
                some = waiting[start : start + AT_ONCE]
                await self._ask([each.before for each in some if each.before])
                answers = await self._ask([each.mutation.frame for each in some])
                for each, answer in zip(some, answers, strict=True):
                    self._judge(kind, each.mutation, answer)
                await self._ask([each.after for each in some if each.after])
            if shared:
                await self._ask([tagged(kind.after(), 0)])

    async def _ask(self, frames: list[bytes]) -> list[bytes]:
        """All at once; the answers in the order of what was asked."""
        self.client.send(*frames)
        answers: dict[int, bytes] = {}
        for _ in frames:
            header, frame = await self.client.read()
            assert header.hop_by_hop == header.end_to_end and header.hop_by_hop not in answers
            answers[header.hop_by_hop] = frame
        return [answers[parse_header(frame).hop_by_hop] for frame in frames]

    def _judge(self, kind: Kind, mutation: Mutation, answer: bytes) -> None:
        self.codes[result_code(answer)] += 1
        complaints = objections(mutation, answer, kind.served(mutation))
        if complaints:
            self.wrong.append((kind.name, mutation.name, complaints))


async def connected(server: Serving, host: str, realm: str) -> Client:
    client = await dialled(server)
    client.send(cer(host, realm))
    assert result_code((await client.read())[1]) == 2001
    return client


async def dialled(server: Serving) -> Client:
    address, _, port = server.facts()["diameter"][0].rpartition(":")
    return Client(*await asyncio.open_connection(address, int(port)))


@pytest.fixture
async def server(tmp_path: Path, own_redis: RedisServer, ledger: RedisLedger) -> AsyncIterator[Serving]:
    for msisdn, imsi in SUBSCRIBERS.items():
        who: dict[str, Any] = {"msisdn": msisdn, "imsi": imsi, "entropy": int(msisdn)}
        await ledger.open_account(credit_micro_eur=200 * EUR, package=None, **who, **when())
    server = Serving(tmp_path / "ocs", own_redis.url, CONFIG.replace(f'["{MAGMA}"]', '["example.net"]') + PEERS)
    yield server
    server.end()
    assert " ERROR " not in (server.folder / "log").read_text(encoding="utf-8"), "no internal fault"


async def served(server: Serving, over: asyncio.Event) -> tuple[int, float]:
    """An honest client's session: number of updates, and the slowest one's time."""
    client, number, slowest = await connected(server, HONEST, REALM), 0, 0.0
    while not over.is_set():
        began = time.monotonic()
        request = own_request(2 if number else 1, HONEST, "38668100009", number)
        client.send(encode_ccr(request, hop_by_hop=number, end_to_end=number))
        header, frame = await client.read()
        assert header.hop_by_hop == number and decode_cca(frame, header).result_code == 2001
        number, slowest = number + 1, max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.02)
    client.writer.close()
    return number - 1, slowest


def own_request(kind: int, host: str, msisdn: str, number: int) -> CreditControlRequest:
    request = CreditControlRequest(f"{host};1", host, REALM, REALM, 4, "32251@3gpp.org", kind, number)
    request.subscription_id = [SubscriptionId(0, msisdn)]
    wanted, used = None if kind == TERMINATION else 1000, 1000 if kind in (UPDATE, TERMINATION) else None
    request.multiple_services_credit_control = [octets(wanted, used)]
    request.service_information = at()
    if kind == EVENT:
        request.requested_action = 0
    return request


def kinds() -> list[Kind]:
    """Of requests that would be served: recorded, built, and our own."""
    own = {
        f"own {kind}": encode_ccr(own_request(kind, OWN, "38668100008", kind), hop_by_hop=0, end_to_end=0)
        for kind in range(1, 5)
    }
    return [Kind.of(name, frame) for name, frame in {**ccrs(), **own}.items()]


async def test_every_mutation_gets_its_answer_and_others_are_served(server: Serving, ledger: RedisLedger) -> None:
    by_origin: dict[tuple[str, str], list[Kind]] = {}
    for kind in kinds():
        by_origin.setdefault((kind.request.origin_host, kind.request.origin_realm), []).append(kind)
    hostile = [(Hostile(await connected(server, *origin)), some) for origin, some in by_origin.items()]
    over = asyncio.Event()
    honest = asyncio.create_task(served(server, over))
    await asyncio.gather(*(one.send(some) for one, some in hostile))
    over.set()
    updates, slowest = await honest
    wrong = [complaint for one, _ in hostile for complaint in one.wrong]
    assert wrong == [], "\n".join(map(str, wrong[:200]))
    codes = sum((one.codes for one, _ in hostile), Counter[int]())
    assert sum(codes.values()) == sum(len(list(mutations(kind.frame))) for kind in kinds()) > 7_500
    assert {2001, 3002, 3003, 3008, 3009, 5001, 5002, 5003, 5004, 5005, 5009, 5014, 5030, 5031} == set(codes), codes
    for one, _ in hostile:
        one.client.writer.close()
    print(
        f"{sum(codes.values())} mutations; beside them {updates} updates of an honest client, {slowest:.3f} s at most"
    )
    assert updates > 50 and slowest < 10, "Tx, RFC 8506 §13"
    account = await ledger.find_subscriber("m38668100009")
    assert account is not None
    view = await ledger.read(account, **when())
    assert view is not None and view.spent_micro_eur == data_cost(updates * 1000)
    assert (await audit(ledger, **when())).ok


OFFERED = {
    "Origin-Host": {3010},
    "Origin-Realm": {3010},
    "Auth-Application-Id": {5010},
    "Vendor-Specific-Application-Id": {5005, 5010},
    "Inband-Security-Id": {5017},
}
"""What may be said to a CER that is understood, beside 2001."""


async def offered(server: Serving, frame: bytes) -> tuple[Client, Header, bytes]:
    """The answer to a CER, once the server has seen the end of the connection before."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            client = await dialled(server)
            client.send(frame)
            header, answer = await client.read()
            if result_code(answer) != 5012:
                return client, header, answer
            client.writer.close()
            await asyncio.sleep(0.01)


async def test_every_mutation_of_what_peers_say_of_themselves(server: Serving) -> None:
    """CER, DWR and DPR, each on its own connection, since most end it."""
    codes: Counter[int] = Counter()
    for name, frame in base().items():
        for mutation in mutations(frame):
            if name == "CER":
                client, header, answer = await offered(server, mutation.frame)
            else:
                client, _, opened = await offered(server, base()["CER"])
                assert result_code(opened) == 2001
                client.send(mutation.frame)
                header, answer = await client.read()
            code = result_code(answer)
            codes[code] += 1
            assert header[2:] == parse_header(mutation.frame)[2:], mutation.name
            assert code in expectation(mutation, OFFERED, SERVED), (name, mutation.name, code)
            assert header.is_error == (code // 1000 == 3), (name, mutation.name)
            if name == "CER" and code != 2001:
                assert await client.ended()
            elif name != "DPR" or code != 2001:
                client.send(base()["DPR"])
                assert result_code((await client.read())[1]) == 2001
            client.writer.close()
    assert sum(codes.values()) > 300 and {2001, 3009, 3010, 5001, 5004, 5005, 5009, 5014} <= set(codes), codes
