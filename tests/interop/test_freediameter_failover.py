"""freeDiameter with two nodes of ours behind it, one of which ends in mid-session: it sends the session's requests to
the other one, with Destination-Host as the client wrote it, and what it had sent and not heard of once more, with the T
flag (RFC 6733 §5.5.4).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from ocs.ledger.audit import audit
from ocs.ledger.redis.ledger import RedisLedger
from protocol.credit_control import CreditControlAnswer, decode_cca, encode_ccr
from tests.conftest import RedisServer
from tests.faults.harness import Serving
from tests.faults.nodes import kill_whole
from tests.interop.conftest import MSISDN, REALM, TAIL, when
from tests.interop.test_freediameter import MB, OCS, PGW, RELAY, Relay, ask, ccr
from tests.ocs.diameter.site import Client, cer, code_of
from tests.ports import free_port
from tests.waiting import PATIENCE_S

SECOND = "ocs2.hot.example.net"
PRICE_PER_MB = 6_900
CONFIG = """
[diameter]
identity = "{identity}"
realm = "hot.example.net"
listen = ["127.0.0.1:{plain}"]
listen_tls = [{listen_tls}]
hosts = ["{first}", "{second}"]
watchdog_s = 6
[[peer]]
origin_host = "{relay}"
realm = "{realm}"
kind = "relay"
realms = ["{realm}"]
tls = "{tls}"
profile = "moving"
[profile.moving]
session_failover = true
"""
TLS = """
[tls]
certificate = "{folder}/{identity}.pem"
key = "{folder}/{identity}.key"
ca = "{folder}/ca.pem"
"""


class Site:
    """Two nodes and the relay, which knows both."""

    def __init__(self, folder: Path, redis_url: str, *, over_tls: bool) -> None:
        self.folder, self.over_tls = folder, over_tls
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        for name, identity in (("relay", RELAY), (OCS, OCS), (SECOND, SECOND)):
            leaf = ca.issue_cert(identity)
            (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
            leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        self.nodes: list[Serving] = []
        self.relay: Relay | None = None
        ports = [free_port(), free_port()]
        try:
            for identity, port in zip((OCS, SECOND), ports, strict=True):
                self.nodes.append(Serving(folder / identity, redis_url, self._config(identity, port)))
            security = "" if over_tls else "No_TLS;"
            other = f'{{ ConnectTo = "127.0.0.1"; Realm = "hot.example.net"; Port = {ports[1]}; {security} }};'
            self.relay = Relay(folder, ports[0], security, 6, f'ConnectPeer = "{SECOND}" {other}')
        except BaseException:
            self.end()
            raise

    def _config(self, identity: str, port: int) -> str:
        text = CONFIG.format(
            identity=identity,
            plain=0 if self.over_tls else port,
            listen_tls=f'"127.0.0.1:{port}"' if self.over_tls else "",
            tls="required" if self.over_tls else "forbidden",
            first=OCS,
            second=SECOND,
            relay=RELAY,
            realm=REALM,
        )
        text += TLS.format(folder=self.folder, identity=identity) if self.over_tls else ""
        return text + TAIL + f"housekeeper = {str(identity == OCS).lower()}\n"

    async def ready(self) -> Relay:
        assert self.relay is not None
        async with asyncio.timeout(PATIENCE_S):
            while self.relay.log.count("STATE_OPEN") < 2:
                assert self.relay.process.poll() is None, self.relay.log
                await asyncio.sleep(0.05)
        return self.relay

    def end(self) -> None:
        if self.relay is not None:
            self.relay.end()
        for node in self.nodes:
            node.end()


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, own_redis: RedisServer) -> Iterator[Site]:
    site = Site(tmp_path, own_redis.url, over_tls=request.param == "tls")
    yield site
    site.end()


@pytest.mark.parametrize(
    ("site", "how"), [("tcp", "stop"), ("tcp", "kill"), ("tls", "kill")], indirect=["site"], ids=lambda value: value
)
async def test_freediameter_goes_on_at_the_other_node(site: Site, how: str, ledger: RedisLedger, account: str) -> None:
    relay = await site.ready()
    client = Client(*await asyncio.open_connection("127.0.0.1", relay.port))
    client.send(cer(PGW, origin_realm=REALM))
    assert code_of((await client.read())[1]) == 2001
    opened = await ask(client, ccr(1, 0), 10)
    assert (opened.result_code, opened.cc_session_failover) == (2001, 1)
    first, named = (site.nodes[0], OCS) if opened.origin_host == OCS else (site.nodes[1], SECOND)
    other = SECOND if named == OCS else OCS

    request = ccr(2, 1, MB)
    request.destination_host = named
    if how == "stop":
        await asyncio.to_thread(first.end)
        answer = await ask(client, request, 11)
    else:
        os.kill(first.worker(), signal.SIGSTOP)
        client.send(encode_ccr(request, hop_by_hop=11, end_to_end=7011))
        await asyncio.sleep(0.3)
        kill_whole(first)
        answer = await received(client)
    assert (answer.result_code, answer.origin_host) == (2001, other)
    # The client goes on with the name that it has learnt first, and has nothing more to report at its end.
    ended = ccr(3, 2, MB, want=False)
    ended.destination_host = named
    answer = await ask(client, ended, 12)
    assert (answer.result_code, answer.origin_host) == (2001, other)
    client.writer.close()
    view = await ledger.read(account, **when())
    assert view is not None
    assert (view.spent_micro_eur, view.held_micro_eur, view.sessions) == (2 * PRICE_PER_MB, 0, ()), MSISDN
    assert (await audit(ledger, **when())).ok


async def received(client: Client) -> CreditControlAnswer:
    """The answer to what was sent before."""
    header, frame = await client.read()
    assert (header.hop_by_hop, header.end_to_end) == (11, 7011)
    return decode_cca(frame, header)
