"""Recorded clients, octet by octet, at a server with the shipped settings and their `[[peer]]` entries.

Besides their credit-control requests they send their own CER, DWR and DPR if the capture has them. A client that uses
two Destination-Hosts is replayed as it is. Settings for vendors do not affect them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.faults.harness import PARTITIONS
from tests.interop.core import EUR, MAGMA, OCS, PGW, REALM, SCSCF, TERAVM, Core, data_cost
from tests.interop.test_dialects import reports_of
from tests.interop.wire import Peer, result_code
from tests.protocol import captures
from tests.waiting import wait_for

SHIPPED = Path(__file__).parents[2] / "config" / "ocs.toml"
CER, DWR, DPR = 257, 280, 282
NETWORK = {
    # What a network changes, and what lets servers of tests run beside each other.
    r"^identity = .*": f'identity = "{OCS}"',
    r"^realm = \"example.net\".*": f'realm = "{REALM}"',
    r"^realms = .*": f'realms = ["{MAGMA}"]',
    r"^hosts = .*": f'hosts = ["magma-fedgw.{MAGMA}", "tvm-vocs.{MAGMA}"]',
    r"^listen = \[.*": 'listen = ["127.0.0.1:0"]',
    r"^listen = \".*": 'listen = "127.0.0.1:0"',
    r"^partitions = .*": f"partitions = {PARTITIONS}",
    r"^# workers = .*": "workers = 1",
    r"^data_dir = .*": 'data_dir = "data"',
}
OF_MAKERS = {
    r"^service_contexts = .*": 'service_contexts = { "gprs@cmcc.com" = "data", "*@iqonline.com" = "ims", "*" = "mms" }',
    r"^tolerate_avps = .*": 'tolerate_avps = ["known", "12645:*", "10415:*"]',
}
PEERS = "".join(
    f'[[peer]]\norigin_host = "{host}"\nrealm = "{realm}"\naddresses = ["127.0.0.0/8"]\nprofile = "{profile}"\n'
    for host, realm, profile in ((PGW, REALM, "pgw"), (SCSCF, REALM, "scscf"), (TERAVM, TERAVM, "pgw"))
)


def settings(changes: dict[str, str]) -> str:
    text = SHIPPED.read_text(encoding="utf-8")
    for before, after in changes.items():
        text, found = re.subn(before, after, text, flags=re.MULTILINE)
        assert found, before
    return text + PEERS


@pytest.fixture(scope="module", params=["as shipped", "with makers' contexts and AVPs"])
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "redis").mkdir()
    redis = RedisServer(SYSTEM_REDIS, folder / "redis")
    redis.start()
    core = Core(folder / "ocs", redis.url, settings(NETWORK | (OF_MAKERS if request.param != "as shipped" else {})))
    yield core
    core.end()
    redis.stop(kill=True)
    assert " ERROR " not in core.log and "is refused" not in core.log
    core.wire.dissected(folder)


def test_the_p_gw_from_its_cer_to_its_dpr(core: Core) -> None:
    """Open5GS."""
    before = core.spent(core.recorded)
    core.pgw.disconnect()
    core.pgw.close()
    hello = captures.requests(captures.OPEN5GS, CER)[-1]

    def opened() -> Peer | None:
        peer = core.wire.dial(PGW, REALM)
        peer.send(hello)
        if result_code(peer.read()) == 2001:
            return peer
        peer.close()
        return None

    pgw = wait_for(opened)
    assert pgw is not None
    answers = [pgw.ask(frame) for frame in captures.requests(captures.OPEN5GS)]
    assert [answer.codes for answer in answers] == [(2001, 2001)] * 3
    assert core.spent(core.recorded) - before == data_cost(100_928 + 99_600 + 50_464 + 51_792)
    (goodbye,) = captures.requests(captures.OPEN5GS, DPR)
    assert pgw.ask(goodbye).code == 2001
    pgw.close()


def test_the_s_cscf_and_its_watchdogs(core: Core) -> None:
    """Kamailio."""
    (frame,) = captures.requests(captures.KAMAILIO)
    assert core.recorded and core.scscf.ask(frame).codes == (2001, 2001)
    assert [core.scscf.ask(each).code for each in captures.requests(captures.KAMAILIO, DWR)] == [2001] * 2


@captures.needs_teravm
def test_the_tester_and_its_two_destination_hosts(core: Core) -> None:
    """TeraVM: the session begins at one node and continues at another."""
    account = core.account(200 * EUR, msisdn="1234567810", imsi="999991234567810")
    requests = captures.requests(captures.TERAVM)
    peer = core.wire.connect(TERAVM, TERAVM)
    answers = [peer.ask(request) for request in requests]
    assert {code for answer in answers for code in answer.codes} == {2001}
    core.settled(account, data_cost(sum(used for frame in requests for used in reports_of(frame))))
    assert {peer.ask(each).code for each in captures.requests(captures.TERAVM, DWR)[:3]} == {2001}
