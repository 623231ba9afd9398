"""Requests of real peers, from the octets on the socket through the server and Redis to the octets of the answer, and
their cost.

One server, one connection of a P-GW and one of an S-CSCF for all tests; each test has its own subscriber and sessions.
At the end of the module, tshark reads everything that the server has sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from protocol.avp import Address
from protocol.credit_control import (
    PsInformation,
    ServiceInformation,
    SubscriptionId,
    UsedServiceUnit,
    decode_ccr,
)
from protocol.header import parse_header
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.interop.core import (
    EUR,
    KB,
    MB,
    MB_PRICE,
    MINUTE_PRICE,
    OCS,
    TERAVM,
    Core,
    Session,
    data_cost,
)
from tests.interop.spelling import (
    DIALECTS,
    IMS_CONTEXT,
    PGW_DIALECTS,
    SCSCF_DIALECTS,
    Spell,
    as_kamailio,
    no_rating_group,
    origins_twice,
)
from tests.interop.wire import Answer, changed, encoded, without_p
from tests.ocs.charging.ccr import DATA, IMS, at, octets, seconds, towards
from tests.protocol import captures
from tests.protocol.mutator import Node

CALLED = "tel:+38631234567"
DESTINATION_HOST = 293
MINUTE_PRICE_GB = 500_000
"""Zone 2; the recorded number is written without +."""
DEFAULT_GRANT = 50 * MB
"""Of service.data, tests/data/catalogue.toml."""


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("dialects")
    (folder / "redis").mkdir()
    redis = RedisServer(SYSTEM_REDIS, folder / "redis")
    redis.start()
    core = Core(folder / "ocs", redis.url)
    yield core
    core.end()
    redis.stop(kill=True)
    assert " ERROR " not in core.log
    core.wire.dissected(folder)


@pytest.fixture
def gy(core: Core) -> Session:
    return Session(core.pgw, core.account(), DATA, at())


@pytest.fixture
def ro(core: Core) -> Session:
    return Session(core.scscf, core.account(), IMS, towards(CALLED))


def whole(session: Session, spell: Spell, unit: Callable[..., Any], step: int) -> list[Answer]:
    """A session of one service: `step` granted, used and granted again, used; each request as changed by `spell`."""
    return [
        session.peer.ask(spell(session.request(kind, number, unit(want, used))))
        for kind, number, want, used in (("I", 0, step, None), ("U", 1, step, step), ("T", 2, None, step))
    ]


# -- P-GW


@pytest.mark.parametrize("spell", PGW_DIALECTS.values(), ids=PGW_DIALECTS)
def test_a_p_gw(core: Core, gy: Session, spell: Spell) -> None:
    answers = whole(gy, spell, octets, MB)
    assert [answer.codes for answer in answers] == [(2001, 2001)] * 3
    assert [answer.octets for answer in answers] == [MB, MB, None]
    group = None if spell is no_rating_group else 1
    assert [answer.services[0].rating_group for answer in answers] == [group] * 3
    core.settled(gy.account, 2 * MB_PRICE)


def test_two_services_though_multiple_services_are_not_supported(core: Core, gy: Session) -> None:
    first = gy.ask("I", 0, octets(MB), octets(MB, group=2), multiple_services_indicator=0)
    assert first.codes == (2001, 2001, 2001)
    assert [each.rating_group for each in first.services] == [1, 2]
    assert gy.ask("T", 1, octets(None, MB), octets(None, MB, 2)).codes == (2001, 2001, 2001)
    core.settled(gy.account, 2 * MB_PRICE)


def test_the_time_of_day_as_the_first_time_beside_octets(core: Core, gy: Session) -> None:
    before = core.counted("ocs_dropped_units", service="data", unit="seconds")
    now = int(time.time())
    assert gy.ask("I", 0, octets(MB)).codes == (2001, 2001)
    service = octets(MB)
    service.used_service_unit = [UsedServiceUnit(cc_time=now, cc_input_octets=1000, cc_output_octets=MB - 1000)]
    assert gy.ask("U", 1, service).codes == (2001, 2001)
    service = octets()
    service.used_service_unit = [UsedServiceUnit(cc_time=3, cc_total_octets=MB)]
    assert gy.ask("T", 2, service).codes == (2001, 2001)
    core.settled(gy.account, 2 * MB_PRICE)
    core.is_counted("ocs_dropped_units", before + now, service="data", unit="seconds")
    said = f"peer {gy.peer.host} reported {now} seconds of data more than can have been used: not charged"
    assert core.log.count(said) == 1
    assert gy.account.msisdn not in core.log and gy.account.imsi not in core.log


def test_the_time_of_day_as_the_first_time_of_a_call(core: Core, ro: Session) -> None:
    before = core.counted("ocs_dropped_units", service="voice", unit="seconds")
    began = time.monotonic()
    assert ro.ask("I", 0, seconds(300)).seconds == 300
    time.sleep(1.2)
    now = int(time.time())
    update = ro.ask("U", 1, seconds(300, now))
    elapsed = time.monotonic() - began
    assert update.codes == (2001, 2001) and update.seconds == 300
    assert ro.ask("T", 2, seconds(None, 1)).codes == (2001, 2001)
    charged, dropped = core.report(ro)
    assert charged + dropped == now + 1  # what the update and the termination reported
    assert 0 < charged - 1 <= elapsed + 1  # the ledger's clock has whole seconds
    core.settled(ro.account, MINUTE_PRICE)  # its first step, whatever of it was used
    core.is_counted("ocs_dropped_units", before + dropped, service="voice", unit="seconds")
    said = f"peer {ro.peer.host} reported {dropped} seconds of voice more than can have been used: not charged"
    assert core.log.count(said) == 1
    assert ro.account.msisdn not in core.log and ro.account.imsi not in core.log


@pytest.mark.parametrize("credit", [20 * EUR, MB_PRICE], ids=["paid", "nothing left"])
def test_a_grant_is_overrun_by_a_packet(core: Core, gy: Session, credit: int) -> None:
    before = core.counted("ocs_overrun_units", service="data", unit="octets")
    gy.account = core.account(credit)
    first = gy.ask("I", 0, octets(MB + (credit == MB_PRICE)))
    assert first.codes == (2001, 2001) and first.octets == MB
    assert (first.services[0].final_unit_indication is not None) == (credit == MB_PRICE)
    last = gy.ask("T", 1, octets(None, MB + 1500))
    assert last.codes == (2001, 2001)
    core.settled(gy.account, min(data_cost(MB + 1500), credit))
    # The credit pays for as much as it would be rounded down for.
    unpaid = 2 * KB - MB // (2 * MB_PRICE) if credit == MB_PRICE else 0
    core.is_counted("ocs_overrun_units", before + unpaid, service="data", unit="octets")


# -- S-CSCF


@pytest.mark.parametrize("spell", SCSCF_DIALECTS.values(), ids=SCSCF_DIALECTS)
def test_an_s_cscf(core: Core, ro: Session, spell: Spell) -> None:
    """Its grants are CC-Time, with a Result-Code beside them."""
    answers = whole(ro, spell, seconds, 90)
    assert [answer.codes for answer in answers] == [(2001, 2001)] * 3
    assert [answer.seconds for answer in answers] == [90, 90, None]
    core.settled(ro.account, 3 * MINUTE_PRICE)


REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "no credit": (4012, {}),
    "blocked": (4010, {}),
    "no called party": (5031, {"service_information": ServiceInformation()}),
    "unknown rating group": (5031, {}),
    "unknown subscriber": (5030, {"subscription_id": [SubscriptionId(0, "38699999999")]}),
}


@pytest.mark.parametrize("spell", [lambda request: request, as_kamailio], ids=["plain", "all of it"])
@pytest.mark.parametrize("why", REFUSED)
def test_a_termination_after_a_refused_opening(core: Core, ro: Session, why: str, spell: Spell) -> None:
    """Whatever the reason, it is answered 2001."""
    code, more = REFUSED[why]
    if why == "no credit":
        ro.account = core.account(0)
    elif why == "blocked":
        core.block(ro.account)
    group = 777 if why == "unknown rating group" else None
    first = ro.peer.ask(spell(ro.request("I", 0, seconds(60, group=group), **more)))
    assert first.codes == (code,)
    last = ro.peer.ask(spell(ro.request("T", 1, seconds(None, 0, group), **more)))
    assert last.codes == (2001, 2001)
    core.settled(ro.account, 0)


# -- anybody


def located() -> ServiceInformation:
    """With the AVPs that 3GPP has from RADIUS."""
    where = PsInformation(
        tgpp_charging_id=b"\0\0\0\1",
        tgpp_pdp_type=0,
        sgsn_address=[Address(1, "192.0.2.1")],
        called_station_id="internet",
        tgpp_selection_mode="0",
        tgpp_charging_characteristics="0800",
        tgpp_sgsn_mcc_mnc="29340",
        tgpp_nsapi=b"\5",
        tgpp_ms_timezone=b"\x40\1",
        tgpp_user_location_info=bytes.fromhex("82923904" + "000192390400000101"),
        tgpp_rat_type=b"\6",
    )
    return ServiceInformation(ps_information=where)


@pytest.mark.parametrize("spell", DIALECTS.values(), ids=DIALECTS)
def test_anybody(core: Core, gy: Session, spell: Spell) -> None:
    gy.information = located()
    answers = whole(gy, spell, octets, MB)
    assert [answer.codes for answer in answers] == [(2001, 2001)] * 3
    assert [answer.octets for answer in answers] == [MB, MB, None]
    assert {answer.header.is_proxiable for answer in answers} == {spell is not without_p}
    core.settled(gy.account, 2 * MB_PRICE)


def test_an_empty_requested_service_unit(core: Core, gy: Session, ro: Session) -> None:
    """The server chooses the amount."""
    assert gy.ask("I", 0, octets(0)).octets == DEFAULT_GRANT
    again = gy.ask("U", 1, octets(0, MB))
    assert again.codes == (2001, 2001) and again.octets == DEFAULT_GRANT
    assert gy.ask("T", 2, octets(None, 0)).codes == (2001, 2001)
    core.settled(gy.account, MB_PRICE)
    assert ro.ask("I", 0, seconds(0)).seconds == 300
    assert ro.ask("T", 1, seconds(None, 60)).codes == (2001, 2001)
    core.settled(ro.account, MINUTE_PRICE)


def test_gy_and_ro_on_one_connection(core: Core, gy: Session) -> None:
    calling = Session(gy.peer, gy.account, IMS_CONTEXT, towards(CALLED))
    assert gy.ask("I", 0, octets(MB)).octets == MB
    assert calling.ask("I", 0, seconds(60)).seconds == 60
    assert gy.ask("U", 1, octets(MB, MB)).octets == MB
    assert calling.ask("T", 1, seconds(None, 60)).codes == (2001, 2001)
    assert gy.ask("T", 2, octets(None, MB)).codes == (2001, 2001)
    core.settled(gy.account, 2 * MB_PRICE + MINUTE_PRICE)


def test_more_than_64_updates(core: Core, gy: Session) -> None:
    """The answers of the last 64 are remembered, and a repetition costs nothing."""
    updates = 140
    assert gy.ask("I", 0, octets(MB)).codes == (2001, 2001)
    requests = [encoded(gy.request("U", number, octets(MB, 16 * KB))) for number in range(1, updates + 1)]
    answers = [gy.peer.ask(request) for request in requests]
    assert {answer.codes for answer in answers} == {(2001, 2001)} and {answer.octets for answer in answers} == {MB}
    assert gy.peer.ask(requests[-1]).frame == answers[-1].frame
    assert gy.ask("T", updates + 1, octets(None, 0)).codes == (2001, 2001)
    core.settled(gy.account, data_cost(updates * 16 * KB))


# -- recorded clients


def test_the_p_gw_as_recorded(core: Core) -> None:
    before = core.spent(core.recorded)
    answers = [core.pgw.ask(frame) for frame in captures.requests(captures.OPEN5GS)]
    assert [answer.codes for answer in answers] == [(2001, 2001)] * 3
    assert [answer.octets for answer in answers] == [1_000_000, 1_000_000, None]
    core.settled(core.recorded, before + data_cost(100_928 + 99_600 + 50_464 + 51_792))


def test_the_s_cscf_as_recorded(core: Core) -> None:
    """Only its opening is; the end is made of it."""
    before = core.spent(core.recorded)
    (frame,) = captures.requests(captures.KAMAILIO)
    first = core.scscf.ask(frame)
    assert first.codes == (2001, 2001) and first.seconds == 5
    assert (first.services[0].rating_group, first.services[0].service_identifier) == (100, [1000])
    last = decode_ccr(frame, parse_header(frame))
    last.cc_request_type, last.cc_request_number = 3, 1
    last.multiple_services_credit_control[0].requested_service_unit = None
    last.multiple_services_credit_control[0].used_service_unit = [UsedServiceUnit(cc_time=5)]
    assert core.scscf.ask(origins_twice(last)).codes == (2001, 2001)
    core.settled(core.recorded, before + MINUTE_PRICE_GB)


@captures.needs_teravm
def test_the_tester_as_recorded(core: Core) -> None:
    """TeraVM, whose Destination-Host is another server's."""
    account = core.account(200 * EUR, msisdn="1234567810", imsi="999991234567810")

    def to_us(node: Node) -> list[Node]:
        return [replace(node, payload=OCS.encode()) if node.code == DESTINATION_HOST else node]

    requests = [changed(frame, to_us) for frame in captures.requests(captures.TERAVM)]
    peer = core.wire.connect(TERAVM, TERAVM)
    answers = [peer.ask(request) for request in requests]
    assert [len(answer.services) for answer in answers] == [4, *[1] * 12, 4]
    assert {code for answer in answers for code in answer.codes} == {2001}
    wanted = [200_000] * 4 + [1000] * 3 + [2000, 2000, 1500, 1500] + [2000] * 4 + [1500]
    granted = [each.granted_service_unit for answer in answers[:-1] for each in answer.services]
    assert [grant and grant.cc_total_octets for grant in granted] == wanted
    used = [report for frame in requests for report in reports_of(frame)]
    core.settled(account, data_cost(sum(used)))


def reports_of(frame: bytes) -> list[int]:
    services = decode_ccr(frame, parse_header(frame)).multiple_services_credit_control
    return [report.cc_total_octets or 0 for service in services for report in service.used_service_unit]
