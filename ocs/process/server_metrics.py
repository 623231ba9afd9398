"""What the supervisor finds out for each scrape: figures of Redis, version and start, the ends of certificates."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from cryptography import x509

from ocs.telemetry.logs import reason_of
from ocs.telemetry.metrics import Metrics
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

_FIELDS = {
    "used_memory": "ocs_redis_memory_octets",
    "maxmemory": "ocs_redis_memory_limit_octets",
    "aof_current_size": "ocs_redis_aof_octets",
    "aof_delayed_fsync": "ocs_redis_delayed_fsyncs",
    "connected_slaves": "ocs_redis_replicas",
}
_SCRIPTS = ("cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall")
US_PER_S = 1_000_000


def measure_server(metrics: Metrics, now: float) -> None:
    """Once, at the start."""
    metrics.set("ocs_start_timestamp_seconds", now)
    metrics.set("ocs_build_info", 1, metadata.version("ocs"))


def measure_redis(metrics: Metrics, info: Mapping[str, Any]) -> None:
    """`info`: the answer to INFO ALL of one Redis; of a cluster, the node that the URL names."""
    for field, name in _FIELDS.items():
        metrics.set(name, float(info.get(field, 0)))
    good = bool(info.get("aof_enabled")) and info.get("aof_last_write_status") == "ok"
    metrics.set("ocs_redis_aof_ok", int(good and info.get("aof_last_bgrewrite_status", "ok") == "ok"))
    calls = [info[name] for name in _SCRIPTS if name in info]
    metrics.set("ocs_redis_scripts", sum(each["calls"] for each in calls))
    metrics.set("ocs_redis_script_seconds", sum(each["usec"] for each in calls) / US_PER_S)
    offset = int(info.get("master_repl_offset", 0))
    lags = [offset - each["offset"] for name, each in info.items() if _is_replica(name, each)]
    metrics.set("ocs_redis_replica_lag_octets", max(lags, default=0))


def _is_replica(name: str, value: object) -> bool:
    return name.startswith("slave") and isinstance(value, dict) and "offset" in value


class Certificates:
    """When the certificates of these files end. A file is read again when it has changed."""

    def __init__(self, metrics: Metrics, files: Mapping[str, str], throttled_log: ThrottledLog) -> None:
        """`files`: table of the settings → PEM file, or "" for none."""
        self._metrics = metrics
        self._files = files
        self._seen: dict[str, int] = {}
        self._throttled_log = throttled_log

    async def measure(self) -> None:
        for section, name in self._files.items():
            if not name:
                continue
            try:
                await asyncio.to_thread(self._read, section, Path(name))
            except (OSError, ValueError) as error:
                if (more := self._throttled_log.allow(name)) is not None:
                    log.warning(
                        "%s: no certificate can be read, its end is not watched: %s%s", name, reason_of(error), more
                    )

    def _read(self, section: str, path: Path) -> None:
        changed = path.stat().st_mtime_ns
        if self._seen.get(section) != changed:
            certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
            ends = certificate.not_valid_after_utc.timestamp()
            self._metrics.set("ocs_certificate_expires_timestamp_seconds", ends, section)
            self._seen[section] = changed
