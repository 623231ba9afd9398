"""Service contexts of vendors and operators, and their AVPs with M: through a server with settings for them, down to
the money.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from protocol import failed_avp
from protocol.avp import encode_avp
from protocol.credit_control import (
    CcMoney,
    CreditControlRequest,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    UnitValue,
)
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.interop.core import CONFIG, MB, MB_PRICE, MINUTE_PRICE, PGW, REALM, SCSCF, Core, Session
from tests.interop.spelling import DIALECTS, PGW_DIALECTS, SCSCF_DIALECTS
from tests.interop.test_dialects import located
from tests.interop.wire import Answer, Peer, changed, inserted
from tests.ocs.charging.ccr import DATA, IMS, at, messages, octets, seconds, sms_to, towards
from tests.protocol.mutator import Node

CALLED = "tel:+38631234567"
SMS_PRICE = 69_000
"""Micro-EUR at home, tests/data/catalogue.toml."""
PLAIN = "plain.localdomain"
OWN = {
    # What stands in each [[peer]].
    PGW: """
service_contexts = { "ocs@iqonline.com" = "data", "icd3@nokia.com" = "data", "*.32251@mobistar.be" = "data" }
tolerate_avps = ["12645:256", "12645:267"]
""",
    SCSCF: """
service_contexts = { "ocs@iqonline.com" = "ims", "*@nokia.com" = "sms" }
tolerate_avps = ["known"]
""",
}
MAKERS_CONFIG = (
    re.sub(r'(?<=\n)origin_host = "(.*)"\n', lambda found: found[0] + OWN.get(found[1], ""), CONFIG)
    + f"""
[[peer]]
origin_host = "{PLAIN}"
realm = "{REALM}"
[charging.service_contexts]
"gprs@cmcc.com" = "data"
"*@huawei.com" = "data"
"Moscow@*" = "mms"
"content@*" = "content"
"*@mobistar.be" = "ims"
"Comverse.DCI" = "sms"
"""
)
D, I, S = "data", "ims", "sms"  # noqa: E741
MAKERS: dict[str, dict[str, str | None]] = {
    # What it is by each peer.
    "gprs@cmcc.com": {PGW: D, SCSCF: D, PLAIN: D},
    "GPRS@CMCC.COM": {PGW: D, SCSCF: D, PLAIN: D},
    "ocs@iqonline.com": {PGW: D, SCSCF: I, PLAIN: None},
    "icd3@nokia.com": {PGW: D, SCSCF: S, PLAIN: None},
    "Moscow@huawei.com": {PGW: D, SCSCF: D, PLAIN: D},
    "6.32251@mobistar.be": {PGW: D, SCSCF: I, PLAIN: I},
    "voice@mobistar.be": {PGW: I, SCSCF: I, PLAIN: I},
    "Comverse.DCI": {PGW: S, SCSCF: S, PLAIN: S},
    "32251@x.32274@3gpp.org": {PGW: None, SCSCF: None, PLAIN: None},
    "ext.01.001.8.32260@3gpp.org": {PGW: I, SCSCF: I, PLAIN: I},
    "32251@3gpp.org": {PGW: D, SCSCF: D, PLAIN: D},
    "32251@example.org": {PGW: None, SCSCF: None, PLAIN: None},
}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("makers")
    (folder / "redis").mkdir()
    redis = RedisServer(SYSTEM_REDIS, folder / "redis")
    redis.start()
    core = Core(folder / "ocs", redis.url, MAKERS_CONFIG)
    core.wire.connect(PLAIN, REALM)
    yield core
    core.end()
    redis.stop(kill=True)
    assert " ERROR " not in core.log
    core.wire.dissected(folder)


def peer_of(core: Core, host: str) -> Peer:
    return next(peer for peer in core.wire.peers if peer.host == host)


def played(session: Session, context: str) -> list[Answer]:
    """A session of data or of a call, or a message."""
    if context == S:
        return [session.ask("E", 0, messages(1), requested_action=0)]
    unit, step = (octets, MB) if context == D else (seconds, 60)
    return [
        session.ask("I", 0, unit(step)),
        session.ask("U", 1, unit(step, step)),
        session.ask("T", 2, unit(None, step)),
    ]


INFORMATION = {D: at(), I: towards(CALLED), S: sms_to("38631234567")}
COST = {D: 2 * MB_PRICE, I: 2 * MINUTE_PRICE, S: SMS_PRICE}


@pytest.mark.parametrize("host", [PGW, SCSCF, PLAIN])
@pytest.mark.parametrize("text", MAKERS)
def test_each_vendors_context_for_each_peer(core: Core, text: str, host: str) -> None:
    meant = MAKERS[text][host]
    session = Session(peer_of(core, host), core.account(), text, INFORMATION[meant or D])
    answers = played(session, meant) if meant else [session.ask("I", 0, octets(MB))]
    if meant is None:
        (answer,) = answers
        assert answer.codes == (5031,) and answer.cca is not None
        assert answer.cca.failed_avp == failed_avp.copy("service_context_id", text)
        core.settled(session.account, 0)
        return
    assert {code for answer in answers for code in answer.codes} == {2001}
    core.settled(session.account, COST[meant])


@pytest.mark.parametrize(("text", "label"), [("Moscow@zte.com.cn", "mms"), ("32251@x.32274@3gpp.org", "other")])
def test_a_context_is_counted_as_it_is_charged(core: Core, text: str, label: str) -> None:
    Session(core.pgw, core.account(), text, at()).ask("T", 1, messages(None, 0))
    core.is_counted("ocs_requests", 1, command="CCR", context=label, type="T")


def test_a_context_that_is_none_of_ours_is_said_once(core: Core) -> None:
    session = Session(core.pgw, core.account(), "new\n@maker.example" + "x" * 100, at())
    for number in range(3):
        assert session.ask("I", number, octets(MB)).codes == (5031,)
    said = [line for line in core.log.splitlines() if f"peer {PGW}: service context " in line]
    assert len(said) == 1 and "5031" in said[0] and "service_contexts" in said[0]


@pytest.mark.parametrize(("text", "code"), [("content@maker.example", 2001), ("gprs@cmcc.com", 5031)])
@pytest.mark.parametrize("host", [PGW, SCSCF, PLAIN])
def test_what_a_maker_charges_as_money(core: Core, host: str, text: str, code: int) -> None:
    """CC-Money is debited if the service is charged in money, and not otherwise."""
    session = Session(peer_of(core, host), core.account(), text, at())
    price = RequestedServiceUnit(cc_money=CcMoney(UnitValue(99, -2), 978))
    service = MultipleServicesCreditControl(requested_service_unit=price)
    assert session.ask("E", 0, service, requested_action=0).code == code
    core.settled(session.account, 990_000 if code == 2001 else 0)


# -- AVPs with M

CONTEXT_TYPE = encode_avp(256, 12645, 0x40, b"\0\0\0\1")
USER_LOCATION = encode_avp(267, 12645, 0x40, bytes.fromhex("0022f380"))
OF_OTHERS = {
    "Vodafone's": CONTEXT_TYPE + USER_LOCATION,
    "Cisco's": encode_avp(131_177, 9, 0x40, b""),
    "nobody's": encode_avp(1, 99_999, 0x40, b""),
}
CODES = {
    PGW: {"Vodafone's": 2001, "Cisco's": 5001, "nobody's": 5001},
    SCSCF: {"Vodafone's": 2001, "Cisco's": 2001, "nobody's": 5001},
    PLAIN: dict.fromkeys(OF_OTHERS, 5001),
}
PS_INFORMATION, SERVICES = 874, 456


def within(code: int, avps: bytes) -> Any:
    """At the end of that group."""

    def change(node: Node) -> list[Node]:
        if node.code != code or node.children is None:
            return [node]
        return [replace(node, children=None, payload=b"".join(each.octets() for each in node.children) + avps)]

    return lambda request: changed(request, change)


PLACES = {
    "top": lambda avps: lambda request: inserted(request, avps),
    "PS-Information": lambda avps: within(PS_INFORMATION, avps),
    "Multiple-Services-Credit-Control": lambda avps: within(SERVICES, avps),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("whose", OF_OTHERS)
@pytest.mark.parametrize("host", CODES)
def test_every_peers_tolerance(core: Core, host: str, whose: str, place: str) -> None:
    session = Session(peer_of(core, host), core.account(), DATA, at())
    spell = PLACES[place](OF_OTHERS[whose])

    def ask(kind: str, number: int, *services: Any) -> Answer:
        request: CreditControlRequest = session.request(kind, number, *services)
        return session.peer.ask(spell(request))

    expected = CODES[host][whose]
    answers = [ask("I", 0, octets(MB)), ask("U", 1, octets(MB, MB)), ask("T", 2, octets(None, MB))]
    assert [answer.code for answer in answers] == [expected] * 3
    core.settled(session.account, 2 * MB_PRICE if expected == 2001 else 0)


# -- with all the other ways in which clients differ


@pytest.mark.parametrize("name", [*PGW_DIALECTS, *DIALECTS])
def test_a_p_gw_with_a_makers_context_and_avps(core: Core, name: str) -> None:
    spell = (PGW_DIALECTS | DIALECTS)[name]
    session = Session(core.pgw, core.account(), "gprs@cmcc.com", located())
    steps = (("I", 0, octets(MB)), ("U", 1, octets(MB, MB)), ("T", 2, octets(None, MB)))
    frames = [inserted(spell(session.request(*step)), CONTEXT_TYPE + USER_LOCATION) for step in steps]
    assert [core.pgw.ask(frame).codes for frame in frames] == [(2001, 2001)] * 3
    core.settled(session.account, 2 * MB_PRICE)


@pytest.mark.parametrize("name", SCSCF_DIALECTS)
def test_an_s_cscf_with_a_makers_context_and_avps(core: Core, name: str) -> None:
    session = Session(core.scscf, core.account(), "ocs@iqonline.com", towards(CALLED))
    steps = (("I", 0, seconds(60)), ("U", 1, seconds(60, 60)), ("T", 2, seconds(None, 60)))
    frames = [inserted(SCSCF_DIALECTS[name](session.request(*step)), CONTEXT_TYPE + USER_LOCATION) for step in steps]
    assert [core.scscf.ask(frame).codes for frame in frames] == [(2001, 2001)] * 3
    core.settled(session.account, 2 * MINUTE_PRICE)


def test_3gpps_contexts_beside_makers(core: Core) -> None:
    session = Session(core.pgw, core.account(), f"8.{DATA}", at())
    calling = replace(session, context=IMS, information=towards(CALLED), sid=session.sid + ";call")
    answers = [*played(session, D), *played(calling, I)]
    assert {code for answer in answers for code in answer.codes} == {2001}
    core.settled(session.account, COST[D] + COST[I])
