"""What the supervisor measures at a scrape: figures of Redis, ends of certificates."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from ocs.process.server_metrics import Certificates, measure_redis, measure_server
from ocs.telemetry.metrics import Metrics
from ocs.telemetry.throttled_log import ThrottledLog

INFO = {
    "used_memory": 5_000_000,
    "maxmemory": 8_000_000,
    "aof_enabled": 1,
    "aof_current_size": 700,
    "aof_delayed_fsync": 3,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "connected_slaves": 2,
    "master_repl_offset": 1_000,
    "slave0": {"ip": "10.0.0.1", "offset": 990},
    "slave1": {"ip": "10.0.0.2", "offset": 700},
    "slave_expires_tracked_keys": 0,
    "cmdstat_evalsha": {"calls": 10, "usec": 2_500},
    "cmdstat_eval": {"calls": 2, "usec": 500},
}


def measured(**other: object) -> dict[str, float]:
    metrics = Metrics()
    measure_redis(metrics, INFO | other)
    return {key[0].removeprefix("ocs_redis_"): value for key, value in metrics.store.gauges.items()}


def test_the_figures_of_redis() -> None:
    assert measured() == {
        "memory_octets": 5_000_000,
        "memory_limit_octets": 8_000_000,
        "aof_octets": 700,
        "aof_ok": 1,
        "delayed_fsyncs": 3,
        "scripts": 12,
        "script_seconds": 0.003,
        "replicas": 2,
        "replica_lag_octets": 300,
    }


@pytest.mark.parametrize(
    "other", [{"aof_enabled": 0}, {"aof_last_write_status": "err"}, {"aof_last_bgrewrite_status": "err"}]
)
def test_an_append_only_file_that_is_not_written_is_told(other: dict[str, object]) -> None:
    assert measured(**other)["aof_ok"] == 0


def test_start_and_version_are_told() -> None:
    metrics = Metrics()
    measure_server(metrics, 1_800_000_000)
    assert metrics.store.gauges["ocs_start_timestamp_seconds",] == 1_800_000_000
    assert [value for key, value in metrics.store.gauges.items() if key[0] == "ocs_build_info"] == [1]


async def test_the_end_of_a_certificate_follows_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics, path = Metrics(), tmp_path / "ocs.pem"
    watch = Certificates(metrics, {"tls": str(path), "api": ""}, ThrottledLog(lambda: 0.0))
    with caplog.at_level(logging.WARNING):
        await watch.measure()
        await watch.measure()
    assert caplog.text.count("no certificate can be read") == 1
    key = "ocs_certificate_expires_timestamp_seconds", "tls"
    assert key not in metrics.store.gauges
    for _ in range(2):
        issued = trustme.CA().issue_cert("ocs.example.net").cert_chain_pems[0].bytes()
        path.write_bytes(issued)
        await watch.measure()
        ends = x509.load_pem_x509_certificate(issued).not_valid_after_utc.timestamp()
        assert metrics.store.gauges[key] == ends
