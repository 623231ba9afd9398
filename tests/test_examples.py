"""examples/ works: each file is read by its program, and the clients get their answers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme
import yaml

from ocs.catalogue.catalogue import Catalogue, load_catalogue
from ocs.catalogue.price import billable_units, cost_micro_eur
from ocs.settings.loading import load_settings
from ocs.values.use import Context, Direction, UseEvent
from protocol.credit_control import SubscriptionId
from tests.conftest import RedisServer
from tests.faults.harness import CHARGING_ONLY, ROOT, Serving
from tests.interop.conftest import TAIL as TAIL_WITH_RECORDS
from tests.ocs.diameter.site import Client, ccr, cer, code_of
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_for

EXAMPLES = ROOT / "examples"
TAIL = TAIL_WITH_RECORDS + CHARGING_ONLY
MSISDN, IMSI = "38668100000", "293400000000000"
NOON, NIGHT = 1_796_040_000, 1_796_085_000
"""2026-11-30 at 13:00 and 2026-12-01 at 01:30, Vienna."""


@pytest.fixture
def serve(tmp_path: Path, own_redis: RedisServer) -> Iterator[Callable[[Path], Serving]]:
    """`serve(file)` starts `ocs serve` with these settings, on free ports of its own."""
    started: list[Serving] = []

    def start(settings: Path) -> Serving:
        text = settings.read_text("utf-8")
        for line in text.splitlines():
            if line.startswith("listen = "):
                text = text.replace(line, 'listen = ["127.0.0.1:0"]')
        started.append(Serving(tmp_path / "ocs", own_redis.url, text + TAIL))
        return started[-1]

    yield start
    for server in started:
        server.end()


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/ocs.toml")), ids=lambda file: file.parent.name)
def test_settings_are_accepted_as_they_stand(file: Path) -> None:
    assert load_settings(file, {}).peer


def test_the_peer(tmp_path: Path, own_redis: RedisServer) -> None:
    text = (ROOT / "config" / "ocs.toml").read_text("utf-8").split("# Profiles: ")[0]
    server = Serving(tmp_path / "ocs", own_redis.url, text.replace('"127.0.0.1:3868"', '"127.0.0.1:0"') + TAIL)
    try:
        opened = server.command("account", "create", "--msisdn", MSISDN, "--imsi", IMSI, "--credit", "10")
        assert opened.returncode == 0, opened.stderr
        command = [sys.executable, str(EXAMPLES / "peer.py"), server.facts()["diameter"][0], MSISDN]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (done.returncode, done.stdout) == (0, "2001 52428800\n2001 52428800\n2001 nothing\n"), done.stderr
        shown = server.command("account", "show", MSISDN, "--json").stdout
        assert '"spent_micro_eur": 9872' in shown, "1,465 kB at 6,900 micro-EUR a MB"
    finally:
        server.end()


# -- freeDiameter reads the files of both: Open5GS has it inside


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "freediameter"
    folder.mkdir()
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf = ca.issue_cert("dra.operator.example", "smf.localdomain")
    (folder / "relay.pem").write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    leaf.private_key_pem.write_to_path(str(folder / "relay.key"))
    return folder


class FreeDiameter:
    def __init__(self, folder: Path, config: str) -> None:
        binary = shutil.which("freeDiameterd")
        assert binary, "the tests need freeDiameter: apt-get install freediameterd freediameter-extensions (make tools)"
        (folder / "freediameter.conf").write_text(config, "ascii")
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [binary, "-c", "freediameter.conf", "-d"], cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )

    def opened(self, peer: str) -> bool:
        text = self.log.read_text("utf-8", "replace")
        assert self.process.poll() is None, text
        return any("STATE_OPEN" in line and peer in line for line in text.splitlines())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def changed(file: Path, *pairs: tuple[str, str]) -> str:
    text = file.read_text("utf-8")
    for old, new in pairs:
        assert old in text, f"{file.name}: {old}"
        text = text.replace(old, new)
    return text


def test_open5gs_connects(serve: Callable[[Path], Serving], certificates: Path) -> None:
    server = serve(EXAMPLES / "open5gs" / "ocs.toml")
    port = server.facts()["diameter"][0].rpartition(":")[2]
    config = changed(
        EXAMPLES / "open5gs" / "smf.conf",
        ("NoRelay;", ""),  # the application Gy is the SMF's own; what has none may connect as a relay
        ('LoadExtension = "', 'LoadExtension = "/usr/lib/freeDiameter/'),
        ("/etc/open5gs/tls/smf.crt", "relay.pem"),
        ("/etc/open5gs/tls/smf.key", "relay.key"),
        ("/etc/open5gs/tls/ca.crt", "ca.pem"),
        ('ConnectTo = "127.0.0.10"; Port = 3868;', f'ConnectTo = "127.0.0.1"; Port = {port};'),
        ("SecPort = 0;", f"SecPort = 0;\nPort = {free_port()};"),
    )
    smf = FreeDiameter(certificates, config)
    try:
        wait_for(lambda: smf.opened("ocs.localdomain"))
    finally:
        smf.end()
    changes = yaml.safe_load((EXAMPLES / "open5gs" / "smf.yaml").read_text("utf-8"))
    assert changes["smf"]["ctf"]["enabled"] is True


async def test_freediameter_relays(serve: Callable[[Path], Serving], certificates: Path) -> None:
    server = serve(EXAMPLES / "freediameter" / "ocs.toml")
    port, own = server.facts()["diameter"][0].rpartition(":")[2], free_port()
    for name in ("acl.conf", "routes.conf"):
        shutil.copy(EXAMPLES / "freediameter" / name, certificates)
    config = changed(
        EXAMPLES / "freediameter" / "relay.conf",
        ("Port = 3868;", f"Port = {port};"),
        ("Port = 3869;", f"Port = {own};"),
    )
    relay = FreeDiameter(certificates, config)
    closing = AsyncExitStack()
    try:
        await asyncio.to_thread(wait_for, lambda: relay.opened("ocs.example.net"))
        name = "pgw.operator.example"
        client = Client(*await asyncio.open_connection("127.0.0.1", own))
        closing.push_async_callback(client.writer.wait_closed)
        closing.callback(client.writer.close)
        client.send(cer(name, origin_realm="operator.example"))
        assert code_of((await client.read())[1]) == 2001
        who, realms = (
            [SubscriptionId(0, MSISDN)],
            {"origin_realm": "operator.example", "destination_realm": "example.net"},
        )
        asked = ccr(session=f"{name};1;1", host=name, subscription_id=who, **realms)
        client.send(asked)
        assert code_of((await client.read())[1]) == 5030, "the server says that it does not know the subscriber"
    finally:
        await closing.aclose()
        relay.end()


# -- the catalogue


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(EXAMPLES / "catalogue" / "operator.toml")


def cost(catalogue: Catalogue, used: int, event: UseEvent) -> int:
    price = catalogue.rate(event).price
    return cost_micro_eur(price, billable_units(price, used))


def call(party: str, plmn: str = "23299", direction: Direction = Direction.ORIGINATING) -> UseEvent:
    return UseEvent(Context.IMS, direction=direction, serving_plmn=plmn, other_party=party)


def test_the_catalogue_of_another_operator(catalogue: Catalogue) -> None:
    assert set(catalogue.packages) == {"START", "PLUS"}
    assert cost(catalogue, 31, call("+436641234567")) == 90_000, "30/30: a minute"
    assert cost(catalogue, 61, call("+38640123456")) == 2 * 490_000
    assert cost(catalogue, 1, call("+436641234567", "29340")) == 45_000, "in the EU as at home"
    assert cost(catalogue, 60, call("+436641234567", "22005", Direction.TERMINATING)) == 490_000
    assert catalogue.rate(call("tel:144")).always
    for when, price in ((NOON, 10_000), (NIGHT, 5_000)):
        assert cost(catalogue, 1_000_000, UseEvent(Context.DATA, serving_plmn="23299", at=when)) == price
