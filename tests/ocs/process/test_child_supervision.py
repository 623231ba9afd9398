"""Supervision of a child process: replaced at once, later with growing pauses, and stopped on request."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from ocs.process import child_supervision
from ocs.process.child_supervision import ChildProcess
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.process.processes import command_line, is_alive
from tests.waiting import PATIENCE_S

STUBBORN = """
import json, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("no JSON"); print(json.dumps({"ready": True}), flush=True)
time.sleep(60)
"""


def child(ended: list[int], script: str | None = None) -> ChildProcess:
    made = ChildProcess("nonsense", [], os.environ, lambda role, pid: ended.append(pid))
    if script is not None:
        made._command = [sys.executable, "-c", script]
    return made


@pytest.mark.alone
async def test_a_child_that_keeps_ending_is_restarted_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_supervision, "PAUSE_STEP_S", 0.2)
    ended: list[int] = []
    place = child(ended, "raise SystemExit(3)")
    place.start()
    await asyncio.sleep(1.5)
    await place.stop()
    # Started at about 0, 0, 0.2, 0.6 and 1.4 s, plus the time of each start.
    assert 2 <= len(ended) <= 5
    assert not place.ready.is_set()


async def test_a_killed_child_is_replaced_at_once() -> None:
    ended: list[int] = []
    place = child(ended, STUBBORN)
    place.start()
    await asyncio.wait_for(place.ready.wait(), PATIENCE_S)
    first = place.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    for _ in range(1000):
        await asyncio.sleep(0.01)
        if place.pid != first and place.ready.is_set():
            break
    assert ended == [first]
    await place.stop(timeout_s=0.2)
    assert len(ended) == 2 and not is_alive(ended[1])


async def test_a_child_that_ignores_the_signal_is_killed() -> None:
    ended: list[int] = []
    place = child(ended, STUBBORN)
    place.start()
    await asyncio.wait_for(place.ready.wait(), PATIENCE_S)
    await place.stop(timeout_s=0.1)
    assert place.pid is None and len(ended) == 1
    await place.stop()


@pytest.mark.parametrize("role", ["worker", "housekeeper", "backoffice"])
def test_a_process_started_by_hand_names_missing_and_wrong_settings(role: str, tmp_path: Path) -> None:
    config = tmp_path / "ocs.toml"
    catalogue = Path(__file__).parents[3] / "config" / "catalogue.toml"
    config.write_text(
        f'[diameter]\naccept_unknown_peers = true\n[server]\ncatalogue = "{catalogue}"\n', encoding="utf-8"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
    command = [sys.executable, "-m", f"ocs.process.{role}", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, env=kept, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert "redis.url" in done.stderr
    config.write_text("nonsense = 1\n", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, env=kept, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert "nonsense: is not a setting" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("final", [True, False])
async def test_a_child_that_refuses_to_start_is_replaced_only_if_that_may_help(
    monkeypatch: pytest.MonkeyPatch, final: bool
) -> None:
    monkeypatch.setattr(child_supervision, "PAUSE_STEP_S", 0.05)
    script = 'print(\'{"refused": "no ledger"}\', flush=True); raise SystemExit(1)'
    ended: list[int] = []
    said: list[str] = []

    def refused(why: str) -> bool:
        said.append(why)
        return final

    place = ChildProcess("nonsense", [], os.environ, lambda role, pid: ended.append(pid), refused)
    place._command = [sys.executable, "-c", script]
    place.start()
    await asyncio.sleep(1.5)
    await place.stop()
    assert set(said) == {"no ledger"}
    assert len(ended) == 1 if final else len(ended) > 1


@pytest.fixture
def first_layout(tmp_path: Path) -> Iterator[str]:
    """A Redis with a ledger of the first layout."""
    server = EmbeddedRedis(tmp_path / "first", durability="everysec")
    url = server.acquire()
    with redis.Redis.from_url(url) as client:
        client.hset("{p00}:subscribers", "m38668100000", "00-0000000000000001")
    yield url
    server.release()


@pytest.mark.parametrize("role", ["worker", "housekeeper", "backoffice"])
def test_a_process_refuses_a_redis_that_it_cannot_use(role: str, tmp_path: Path, first_layout: str) -> None:
    config = tmp_path / "ocs.toml"
    catalogue = Path(__file__).parents[3] / "config" / "catalogue.toml"
    server = f'catalogue = "{catalogue}"\ndata_dir = "{tmp_path / "data"}"'
    config.write_text(f"[diameter]\naccept_unknown_peers = true\n[server]\n{server}\n", encoding="utf-8")

    def refusal() -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OCS_")}
        command = [sys.executable, "-m", f"ocs.process.{role}", "--config", str(config)]
        environment = {**kept, "OCS_REDIS_URL": first_layout}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert json.loads(done.stdout)["refused"] in done.stderr
        return done.stderr

    assert "Redis holds a ledger of the first layout" in refusal()
    with redis.Redis.from_url(first_layout) as client:
        client.flushall()
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    assert "CONFIG SET maxmemory-policy noeviction" in refusal()


def test_the_state_of_a_process() -> None:
    assert is_alive(os.getpid())
    assert command_line(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    assert not is_alive(process.pid)
    assert command_line(process.pid) == []
