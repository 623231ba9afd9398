"""Prometheus and Grafana as child processes on loopback, for `ocs-sim watch` and for tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.errors import SimulatorError
from simulator.server_process import free_port

PROMETHEUS_PORT, GRAFANA_PORT = 9090, 3000
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
GRAFANA_HOME = Path("/usr/share/grafana")
"""Where the packages of Grafana put it."""
SOURCE_UID = "prometheus"
RULE_FILES = ("recording.yml", "alerts.yml")
ALERTS_PAGES = ("/alerts", "/classic/alerts")


class MonitoringError(SimulatorError):
    """Prometheus or Grafana failed."""


class ChildServer(ABC):
    """A program that serves HTTP on loopback, stopped by its process id. A context manager."""

    name = ""
    ready_path = ""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Program and arguments."""

    def environment(self) -> Mapping[str, str]:
        return os.environ

    def __enter__(self) -> Any:
        log = self.folder / f"{self.name}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only us
                env=dict(self.environment()),
            )
        try:
            self._wait_until_ready(log)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            process.kill()
            process.wait()

    def _wait_until_ready(self, log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self.url + self.ready_path, timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        tail = log.read_bytes()[-2000:].decode("utf-8", "replace").strip()
        raise MonitoringError(f"{self.name} does not start:\n{tail}")


class Prometheus(ChildServer):
    """The shipped rules and scrape settings, with other targets and, for tests, shorter intervals."""

    name = "prometheus"
    ready_path = "/-/ready"

    def __init__(self, folder: Path, rules: Path, targets: Mapping[str, int], *, every_s: int = 5) -> None:
        """`rules`: folder of the rule files. `targets`: job → port of its /metrics on loopback."""
        super().__init__(folder, free_port(PROMETHEUS_PORT))
        for name in RULE_FILES:  # Prometheus would start without it, and say nothing
            if not (rules / name).is_file():
                raise MonitoringError(f"{rules / name}: there is no such file of rules")
        settings = {
            "global": {"scrape_interval": f"{every_s}s", "evaluation_interval": f"{every_s}s"},
            "rule_files": [str(path.resolve()) for path in (rules / name for name in RULE_FILES)],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                for job, port in targets.items()
            ],
        }
        self._settings = folder / "prometheus.yml"
        self._settings.write_text(json.dumps(settings, indent=1), "utf-8")  # YAML contains JSON

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("prometheus") is not None

    def command(self) -> Sequence[str]:
        return [
            "prometheus",
            f"--config.file={self._settings}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--enable-feature=exemplar-storage",
        ]

    def alerts_page(self) -> str:
        """Address of its page of alerts. Debian's package has the older pages only."""
        for path in ALERTS_PAGES:
            try:
                with urllib.request.urlopen(self.url + path, timeout=30):
                    return self.url + path
            except urllib.error.HTTPError:
                continue
        return self.url

    def ask(self, path: str, **parameters: str) -> Any:
        """`data` of the answer of the HTTP API. MonitoringError: it is an error."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise MonitoringError(f"{parameters}: {error.read().decode('utf-8', 'replace')}") from error


class Grafana(ChildServer):
    """With the shipped dashboards, without a login."""

    name = "grafana"
    ready_path = "/api/health"

    def __init__(self, folder: Path, dashboards: Path, prometheus_url: str) -> None:
        super().__init__(folder, free_port(GRAFANA_PORT))
        self._provisioning = folder / "provisioning"
        source = {"name": "Prometheus", "uid": SOURCE_UID, "type": "prometheus", "url": prometheus_url}
        provider = {"name": "ocs", "type": "file", "options": {"path": str(dashboards.resolve())}}
        self._write("datasources", {"apiVersion": 1, "datasources": [{**source, "access": "proxy", "isDefault": True}]})
        self._write("dashboards", {"apiVersion": 1, "providers": [provider]})

    def _write(self, kind: str, content: object) -> None:
        path = self._provisioning / kind / "ocs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1), "utf-8")

    @staticmethod
    def is_installed() -> bool:
        return bool(Grafana.program()) and GRAFANA_HOME.is_dir()

    @staticmethod
    def program() -> str | None:
        return shutil.which("grafana") or shutil.which("grafana-server")

    def command(self) -> Sequence[str]:
        program = self.program() or "grafana"
        words = [program] if program.endswith("-server") else [program, "server"]
        return [*words, "--homepath", str(GRAFANA_HOME)]

    def environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "GF_SERVER_HTTP_ADDR": "127.0.0.1",
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_PATHS_DATA": str((self.folder / "grafana").resolve()),
            "GF_PATHS_PROVISIONING": str(self._provisioning.resolve()),
            "GF_AUTH_ANONYMOUS_ENABLED": "true",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        }
