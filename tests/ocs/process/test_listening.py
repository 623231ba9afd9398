"""Ports of `ocs serve`: one that is taken, one that two servers want, one that workers share; certificates."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from pathlib import Path

import pytest

from protocol.frame import FrameReader
from tests.ocs.diameter.certificates import Certificates
from tests.ocs.diameter.site import HOST, cer, code_of
from tests.ocs.process.served import CONFIG, Starts
from tests.ports import free_port
from tests.waiting import PATIENCE_S, wait_for


@pytest.mark.parametrize("key", ["diameter", "api", "metrics"])
def test_a_port_in_use_is_named_and_nothing_starts(tmp_path: Path, start: Starts, key: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start(tmp_path, **{f"OCS_{key.upper()}_LISTEN": address})
        assert server.process.wait(PATIENCE_S) == 1
        server.log.close()
    assert f"{key}.listen" in server.text() and address in server.text() and "Address already in use" in server.text()
    assert "Traceback" not in server.text()
    assert not (tmp_path / "data" / "redis" / "redis.log").exists()


@pytest.mark.parametrize("key", ["diameter", "api"])
def test_of_two_servers_started_together_one_gets_the_port(tmp_path: Path, start: Starts, key: str) -> None:
    """Else both would listen on it (SO_REUSEPORT), and each would get a part of the sessions of one peer."""
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    both = [start(tmp_path / name, **{f"OCS_{key.upper()}_LISTEN": address}) for name in ("one", "two")]
    wait_for(lambda: any(server.process.poll() is not None for server in both))
    refused = next(server for server in both if server.process.poll() is not None)
    (serving,) = [server for server in both if server is not refused]
    assert refused.process.wait(PATIENCE_S) == 1
    assert f"{key}.listen = '{address}'" in refused.text() and "Address already in use" in refused.text()
    serving.wait_whole()
    assert serving.end() == 0


def with_tls(folder: Path, certificates: Certificates) -> str:
    """Settings with TLS only."""
    certificate, key = certificates.server
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nca = "{folder / "ca.pem"}"\n'
    return CONFIG.replace('listen = ["127.0.0.1:0"]', 'listen = []\nlisten_tls = ["127.0.0.1:0"]', 1) + tls


def test_a_tls_port_in_use_is_named_and_nothing_starts(tmp_path: Path, start: Starts) -> None:
    config = with_tls(tmp_path, Certificates(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = start(tmp_path, config, OCS_DIAMETER_LISTEN_TLS=address)
        assert server.process.wait(PATIENCE_S) == 1
        server.log.close()
    assert f"diameter.listen_tls = '{address}'" in server.text() and "Address already in use" in server.text()
    assert "Traceback" not in server.text() and not (tmp_path / "data" / "redis" / "redis.log").exists()


def test_workers_share_the_tls_port_and_reload_certificates(tmp_path: Path, start: Starts) -> None:
    certificates = Certificates(tmp_path)
    old = certificates.client("pgw.example.net")
    server = start(tmp_path, with_tls(tmp_path, certificates))
    try:
        facts = server.wait_whole()
        assert facts["diameter"] == []
        (address,) = facts["diameter_tls"]
        assert f"{address} (TLS)" in wait_for(lambda: server.text() if "ready:" in server.text() else "")
        host, _, port = address.rpartition(":")
        for _ in range(8):  # either worker
            assert capabilities((host, int(port)), old) == 2001

        certificates.renew()
        new = certificates.client("pgw.example.net")
        old.load_verify_locations(str(tmp_path / "ca.pem"))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.text().count("TLS certificates reloaded") == 2)
        for _ in range(8):
            assert capabilities((host, int(port)), new) == 2001
            with pytest.raises((OSError, EOFError)):
                capabilities((host, int(port)), old)
        wait_for(lambda: 'ocs_connections_refused_total{reason="tls"} 8.0' in server.metrics())
    finally:
        assert server.end() == 0
    assert "Traceback" not in server.text()


def capabilities(address: tuple[str, int], context: ssl.SSLContext) -> int:
    """Result-Code of the CEA. Tries again while a worker has not yet noticed that the last connection ended."""
    end = time.monotonic() + PATIENCE_S
    while (code := capabilities_once(address, context)) == 5012 and time.monotonic() < end:
        time.sleep(0.05)
    return code


def capabilities_once(address: tuple[str, int], context: ssl.SSLContext) -> int:
    with (
        socket.create_connection(address, timeout=PATIENCE_S) as tcp,
        context.wrap_socket(tcp, server_hostname=HOST) as tls,
    ):
        tls.sendall(cer("pgw.example.net", origin_realm="example.net"))
        reader = FrameReader()
        while not (frames := reader.feed(data := tls.recv(65_536))):
            if not data:
                raise EOFError
        return code_of(frames[0])
