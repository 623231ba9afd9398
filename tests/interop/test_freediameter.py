"""freeDiameter as the relay between a client and the server, over TCP and mutual TLS: framing, routing, identifiers,
capabilities.

A relay does not look into what it passes on. Here it prints each message, and for that looks its AVPs up in its
dictionaries: it must know every one that the server sends, and find it of a size that its type allows. (It says nothing
of the commands' grammar.)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme

from ocs.ledger.audit import audit
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.redis.ledger import RedisLedger
from protocol import commands
from protocol.avp import walk
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ReAuthAnswer, ReAuthRequest
from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    MultipleServicesCreditControl,
    PsInformation,
    RequestedServiceUnit,
    ServiceInformation,
    SubscriptionId,
    UsedServiceUnit,
    decode_cca,
    encode_ccr,
)
from protocol.header import HEADER_OCTETS, parse_header
from tests.faults.harness import ROOT, Serving, open_account
from tests.interop.conftest import MSISDN, REALM, when
from tests.ocs.diameter.site import Client, cer, code_of
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_for

RELAY, PGW, OCS = f"dra.{REALM}", f"pgw.{REALM}", "ocs.hot.example.net"
EXTENSIONS = Path("/usr/lib/freeDiameter")
MB = 1024 * 1024
CONFIG = """
Identity = "{relay}";
Realm = "{realm}";
Port = {port};
SecPort = 0;
No_SCTP;
No_IPv6;
ListenOn = "127.0.0.1";
TwTimer = {watchdog_s};
TcTimer = 6;
TLS_Cred = "{folder}/relay.pem", "{folder}/relay.key";
TLS_CA = "{folder}/ca.pem";
LoadExtension = "{extensions}/dict_nasreq.fdx";
LoadExtension = "{extensions}/dict_dcca.fdx";
LoadExtension = "{extensions}/dict_dcca_3gpp.fdx";
{more}
LoadExtension = "{extensions}/acl_wl.fdx" : "{folder}/acl.conf";
LoadExtension = "{extensions}/rt_default.fdx" : "{folder}/routes.conf";
ConnectPeer = "{ocs}" {{ ConnectTo = "127.0.0.1"; Realm = "hot.example.net"; Port = {ocs_port}; {security} }};
"""
PRINTING = f'LoadExtension = "{EXTENSIONS}/dbg_msg_dumps.fdx" : "0x0082";'
"""Errors by a line, what is sent and received as a tree."""
PRINTED = re.compile(r"(RCV from|SND to) '([^']*)':\n(.*?)(?=(?:RCV from|SND to) '|\Z)", re.DOTALL)
COMMAND = re.compile(r"NOTI +'([\w-]+)'\n")
COMPLAINTS = ("not found in dictionary", "not searched in dictionary", "Invalid length", "Unsupported", "Parsing error")


class Relay:
    """freeDiameterd between the client's port and the server."""

    server: Serving

    def __init__(self, folder: Path, ocs_port: int, security: str, watchdog_s: int = 6, more: str = PRINTING) -> None:
        binary = shutil.which("freeDiameterd")
        assert binary, "the tests need freeDiameter: apt-get install freediameterd freediameter-extensions (make tools)"
        self.port, self.watchdog_s = free_port(), watchdog_s
        (folder / "acl.conf").write_text(f"ALLOW_IPSEC {PGW}\nALLOW_OLD_TLS {OCS}\n", encoding="ascii")
        (folder / "routes.conf").write_text('dr="hot.example.net" : "ocs.hot.example.net" += 50 ;\n', encoding="ascii")
        (folder / "relay.conf").write_text(
            CONFIG.format(
                relay=RELAY,
                realm=REALM,
                port=self.port,
                folder=folder,
                extensions=EXTENSIONS,
                ocs=OCS,
                ocs_port=ocs_port,
                security=security,
                watchdog_s=watchdog_s,
                more=more,
            ),
            encoding="ascii",
        )
        self.log_path = folder / "relay.log"
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            [binary, "-c", str(folder / "relay.conf"), "-d"], stdout=self._log, stderr=subprocess.STDOUT, cwd=folder
        )

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def printed(self, direction: str, peer: str) -> list[tuple[str, str]]:
        """Messages that it has received or sent: command and all of it."""
        found = [text for way, name, text in PRINTED.findall(self.log) if way.startswith(direction) and name == peer]
        return [(command[1], text) for text in found if (command := COMMAND.search(text))]

    def understood(self) -> None:
        """It has found nothing unknown or wrong in the server's messages."""
        assert self.printed("RCV", OCS)
        for command, text in self.printed("RCV", OCS):
            assert not [complaint for complaint in COMPLAINTS if complaint in text], (command, text)

    async def until(self, direction: str, command: str) -> None:
        """Waits until it has received this from the server, or sent it."""
        async with asyncio.timeout(PATIENCE_S):
            while command not in [name for name, _ in self.printed(direction, OCS)]:
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.05)

    async def ready(self) -> None:
        """Connected to the server and listening."""
        async with asyncio.timeout(PATIENCE_S):
            while "STATE_OPEN" not in self.log:
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.05)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, identity in (("relay", RELAY), ("ocs", OCS)):
        leaf = ca.issue_cert(identity)
        (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    return folder


def peers(tls: str) -> str:
    return (
        f'[[peer]]\norigin_host = "{RELAY}"\nrealm = "{REALM}"\nkind = "relay"\nrealms = ["{REALM}"]\ntls = "{tls}"\n'
    )


@contextlib.asynccontextmanager
async def connected(
    kind: str, serve: Callable[..., Serving], certificates: Path, more: str = PRINTING, *, records: bool = False
) -> AsyncIterator[Relay]:
    """The relay, connected to the server. Over TCP its watchdog is the faster one, over TLS ours."""
    if kind == "tcp":
        server = serve(peers("forbidden"), records=records)
        port = int(server.facts()["diameter"][0].rpartition(":")[2])
        relay = Relay(certificates, port, "No_TLS;", 6, more)
    else:
        port = free_port()
        tls = "".join(
            f'{key} = "{certificates}/{name}"\n' for key, name in (("certificate", "ocs.pem"), ("key", "ocs.key"))
        )
        tables = peers("required") + f'[tls]\n{tls}ca = "{certificates}/ca.pem"\n'
        server = serve(tables, f'listen_tls = ["127.0.0.1:{port}"]\nwatchdog_s = 6\n', records=records)
        relay = Relay(certificates, port, "", 30, more)
    relay.server = server
    try:
        await relay.ready()
        yield relay
    finally:
        relay.end()


@pytest.fixture(params=["tcp", "tls"])
async def relay(
    request: pytest.FixtureRequest, serve: Callable[..., Serving], certificates: Path
) -> AsyncIterator[Relay]:
    async with connected(request.param, serve, certificates) as relay:
        yield relay


@pytest.fixture
async def client(relay: Relay, account: str) -> AsyncIterator[tuple[Client, Relay]]:
    """A P-GW connected to the relay."""
    connection = Client(*await asyncio.open_connection("127.0.0.1", relay.port))
    connection.send(cer(PGW, origin_realm=REALM))
    assert code_of((await connection.read())[1]) == 2001
    yield connection, relay
    connection.writer.close()


def ccr(kind: int, number: int, used: int = 0, want: bool = True) -> CreditControlRequest:
    request = CreditControlRequest(
        f"{PGW};1;{MSISDN};{'e' if kind == 4 else 's'}",
        PGW,
        REALM,
        "hot.example.net",
        4,
        "32251@3gpp.org",
        kind,
        number,
    )
    request.subscription_id = [SubscriptionId(0, MSISDN)]
    service = MultipleServicesCreditControl(rating_group=1)
    if want:
        service.requested_service_unit = RequestedServiceUnit(cc_total_octets=MB)
    if used:
        service.used_service_unit = [UsedServiceUnit(cc_total_octets=used)]
    if kind == 4:
        request.requested_action = 0
    request.multiple_services_credit_control = [service]
    request.service_information = ServiceInformation(
        ps_information=PsInformation(tgpp_sgsn_mcc_mnc="29340", called_station_id="internet")
    )
    return request


async def ask(client: Client, request: CreditControlRequest, number: int) -> CreditControlAnswer:
    client.send(encode_ccr(request, hop_by_hop=number, end_to_end=7000 + number))
    header, frame = await client.read()
    assert (header.hop_by_hop, header.end_to_end) == (number, 7000 + number), "the relay gives our identifiers back"
    return decode_cca(frame, header)


async def test_a_session_through_the_relay(client: tuple[Client, Relay], ledger: RedisLedger, account: str) -> None:
    connection, relay = client
    requests = [ccr(1, 0), ccr(2, 1, MB), ccr(3, 2, MB, want=False), ccr(4, 0)]
    answers = [await ask(connection, request, 10 + n) for n, request in enumerate(requests)]
    assert [answer.result_code for answer in answers] == [2001] * 4
    assert all(answer.multiple_services_credit_control[0].result_code == 2001 for answer in answers)
    view = await ledger.read(account, **when())
    assert view is not None and view.spent_micro_eur == 3 * 6_900
    # What it cannot have comes back through the relay as well.
    unknown = ccr(1, 0)
    unknown.subscription_id = [SubscriptionId(0, "38699999999")]
    unknown.session_id += "x"
    assert (await ask(connection, unknown, 20)).result_code == 5030
    foreign = ccr(1, 0)
    foreign.multiple_services_credit_control[0].rating_group = 777
    foreign.session_id += "y"
    connection.send(encode_ccr(foreign, hop_by_hop=21, end_to_end=7021))
    header, frame = await connection.read()
    assert code_of(frame) == 5031
    assert any(avp.code == 279 for avp in walk(frame, HEADER_OCTETS, len(frame)))
    assert parse_header(frame) == header
    assert [name for name, _ in relay.printed("RCV", OCS)].count("Credit-Control-Answer") == 6
    relay.understood()


async def test_a_rar_an_asr_and_the_servers_goodbye(
    client: tuple[Client, Relay], ledger: RedisLedger, account: str
) -> None:
    connection, relay = client
    request = ccr(1, 0)
    assert (await ask(connection, request, 10)).result_code == 2001
    view = await ledger.read(account, **when())
    assert view is not None
    (session,) = view.sessions
    assert (session.origin_host, session.relay) == (PGW, RELAY)
    told = NoticedSession(session.session_id, session.origin_host, session.origin_realm, session.relay, session.context)
    await ledger.announce(Notice("reauthorize", "care", 0.0, account, (told,)))
    header, frame = await connection.read()
    asked = commands.decode(ReAuthRequest, frame, header)
    assert (asked.session_id, asked.destination_host, asked.origin_host) == (request.session_id, PGW, OCS)
    connection.send(commands.encode_answer(ReAuthAnswer(request.session_id, 2002, PGW, REALM), header))
    assert (await ask(connection, ccr(2, 1), 11)).result_code == 2001
    await ledger.set_state(account, state="blocked", **when())
    header, frame = await connection.read()
    stopped = commands.decode(AbortSessionRequest, frame, header)
    assert (stopped.session_id, stopped.destination_host, stopped.origin_host) == (request.session_id, PGW, OCS)
    connection.send(commands.encode_answer(AbortSessionAnswer(request.session_id, 2001, PGW, REALM), header))
    assert (await ask(connection, ccr(3, 2, want=False), 12)).result_code == 2001
    for command, result in (("RAR", 2002), ("ASR", 2001)):
        counted = f'ocs_client_answers_total{{command="{command}",result="{result}"}} 1.0'
        await asyncio.to_thread(wait_for, lambda counted=counted: counted in relay.server.metrics(), 5)
    # The server stops, DPR and DPA; then the relay has nobody to send requests to.
    await asyncio.to_thread(relay.server.end)
    await relay.until("RCV", "Disconnect-Peer-Request")
    await relay.until("SND", "Disconnect-Peer-Answer")
    assert f"Peer '{OCS}' sent a DPR with cause: REBOOTING" in relay.log
    relay.understood()
    connection.send(encode_ccr(ccr(1, 0), hop_by_hop=9, end_to_end=9))
    header, frame = await connection.read()
    assert header.is_error and code_of(frame) == 3002


async def test_the_watchdog_of_either_side_and_the_relays_goodbye(relay: Relay) -> None:
    """Both sides' watchdogs are answered, and the connection stays open."""
    ask, answer = ("SND", "RCV") if relay.watchdog_s < 30 else ("RCV", "SND")
    await relay.until(ask, "Device-Watchdog-Request")
    await relay.until(answer, "Device-Watchdog-Answer")
    relay.understood()
    assert "STATE_SUSPECT" not in relay.log
    assert f'ocs_peer_connections{{origin_host="{RELAY}"}} 1.0' in relay.server.metrics()
    # The relay stops: DPR, and it waits for the DPA.
    relay.process.terminate()
    lost = 'ocs_connections_lost_total{reason="dpr"} 1.0'
    await asyncio.to_thread(wait_for, lambda: lost in relay.server.metrics(), PATIENCE_S)
    assert [name for name, _ in relay.printed("RCV", OCS)][-1] == "Disconnect-Peer-Answer"
    relay.understood()


@pytest.mark.parametrize("kind", ["tcp", "tls"])
async def test_the_simulator_through_the_relay(
    kind: str, serve: Callable[..., Serving], certificates: Path, ledger: RedisLedger, tmp_path: Path
) -> None:
    """Its load of whole sessions, audited against the server's records at the end."""
    async with connected(kind, serve, certificates, more="", records=True) as relay:
        await load(relay, ledger, tmp_path)


async def load(relay: Relay, ledger: RedisLedger, tmp_path: Path) -> None:
    subscribers = tmp_path / "subscribers.csv"
    rows = ["msisdn,imsi,package,credit"]
    for number in range(20):
        msisdn = str(38668400000 + number)
        await open_account(ledger, msisdn, 100_000_000)
        rows.append(f"{msisdn},29340{msisdn[-10:]},,100.00")
    subscribers.write_text("\n".join(rows) + "\n", encoding="ascii")
    records = relay.server.folder / "data" / "records"
    await asyncio.to_thread(wait_for, records.is_dir, PATIENCE_S)  # the housekeeper is there
    driver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from simulator.cli import run; run()", "load", "--outstanding", "4", "--seconds", "1"),
        *("--port", str(relay.port), "--realm", REALM, "--server-realm", "hot.example.net"),
        *("--subscribers", str(subscribers), "--records", str(records)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(driver.communicate(), PATIENCE_S)
    assert driver.returncode == 0, output.decode()
    assert (await audit(ledger, **when())).ok
