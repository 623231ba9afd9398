"""`ocs serve`: starts and ends the private Redis and the child processes, and serves /health and /metrics.

Order of starting: check settings and catalogue, lock the data folder, bind the ports, Redis, workers, then the other
processes (`_OTHERS`). A mistake, or a port in use, stops the start before any process exists. The first worker checks
whether this node may use the ledger, so the others wait for it. Order of ending: workers (DPR, pending answers),
housekeeper (the last records), backoffice (loads them), Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import redis.asyncio
from redis.exceptions import RedisError

from ocs.compose import EMBEDDED_TAKES_NO_REPLICAS, Paths, StartError, worker_count
from ocs.process.child_supervision import ChildProcess
from ocs.process.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from ocs.settings.loading import ENVIRONMENT_PREFIX
from ocs.settings.schema import Settings, parse_listen
from ocs.telemetry.export import Snapshots
from ocs.telemetry.http_endpoints import AddressError, Health, HttpApi
from ocs.telemetry.logs import reason_of
from ocs.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

REDIS_LOOK_S = 0.5
"""How often the supervisor checks that the private Redis runs."""
REDIS_TIMEOUT_S = 1.0
_OTHERS = ("housekeeper", "backoffice")
"""Processes besides the workers, of the node with `server.housekeeper`. They end in this order, one after the other:
the backoffice loads the records that the housekeeper writes last.
"""


@dataclass(frozen=True, slots=True)
class Listening:
    """The Diameter addresses with their actual ports."""

    plain: list[str]
    tls: list[str]

    def __str__(self) -> str:
        return ", ".join((*self.plain, *(f"{address} (TLS)" for address in self.tls)))


class Supervisor:
    """One running server."""

    def __init__(self, config: Path, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._paths = Paths(settings.data_dir)
        self._metrics = Metrics()
        self._snapshots = Snapshots(self._paths.metrics, self._metrics.store)
        self._embedded: EmbeddedRedis | None = None
        self._workers: list[ChildProcess] = []
        self._others: list[ChildProcess] = []
        self._redis: redis.asyncio.Redis | None = None
        self._stopping = asyncio.Event()
        self._was_ready = False
        self._refusal = ""
        """Why the processes cannot work, so that the start has failed; "" = no such reason."""

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. StartError: the server cannot start; no process is left running."""
        with (
            self._locked_folder(),
            _reserved_ports("listen", self._settings.diameter.listen) as plain,
            _reserved_ports("listen_tls", self._settings.diameter.listen_tls) as secured,
        ):
            diameter = Listening(plain, secured)
            self._snapshots.clear()
            self._clear_peer_locks()
            api = HttpApi(self._health, self._expose)
            try:
                addresses = await self._listen(api)
                url = self._start_redis()
                for number in (signal.SIGTERM, signal.SIGINT):
                    asyncio.get_running_loop().add_signal_handler(number, self._asked_to_end)
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked_to_reload)
                self._start_children(url, diameter)
                self._describe(diameter, *addresses)
                await self._serve(diameter, *addresses)
            finally:
                await self._end(api)
        if self._refusal:
            raise StartError(self._refusal)

    # -- starting

    @contextlib.contextmanager
    def _locked_folder(self) -> Iterator[None]:
        """Lock the data folder: two servers on it would write the same records."""
        folder = self._paths.data_dir
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock: IO[str] = self._paths.lock.open("a+", encoding="ascii")
        except OSError as error:
            raise StartError(f"server.data_dir = {str(folder)!r}: cannot be written to: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StartError(
                    f"server.data_dir = {str(folder)!r}: another ocs server uses it; end that one or name another "
                    "folder"
                ) from None
            yield

    def _clear_peer_locks(self) -> None:
        """Delete the lock files and sockets of an earlier run; no process uses them."""
        for pattern in ("*.lock", "*.sock"):
            for path in self._paths.peers.glob(pattern):
                path.unlink(missing_ok=True)

    async def _listen(self, api: HttpApi) -> tuple[str, str]:
        wanted = parse_listen(self._settings.api.listen), parse_listen(self._settings.metrics.listen)
        try:
            found = await api.start(*wanted)
        except AddressError as error:
            listen = self._settings.api.listen if error.section == "api" else self._settings.metrics.listen
            raise StartError(_cannot_listen(error.section, "listen", listen, error.cause)) from error
        return _address_text(*found[0]), _address_text(*found[1])

    def _start_redis(self) -> str:
        url = self._settings.redis.url
        if not url:
            if self._settings.ledger.durability == "replicated":
                raise StartError(EMBEDDED_TAKES_NO_REPLICAS)
            self._embedded = EmbeddedRedis(self._paths.data_dir, durability=self._settings.ledger.durability)
            try:
                # In this thread, as the kernel ends the server with the thread that started it. It blocks, perhaps for
                # minutes while the AOF is loaded, so signals must interrupt it.
                with _interruptible():
                    url = self._embedded.acquire(must_own=True)
            except EmbeddedRedisError as error:
                raise StartError(str(error)) from error
            except KeyboardInterrupt:
                raise StartError("asked to end before Redis was ready") from None
            log.info("private Redis (process %s) in %s", self._embedded.pid, self._paths.data_dir / "redis")
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
        )
        return url

    def _start_children(self, url: str, diameter: Listening) -> None:
        environment = {
            **os.environ,
            "OCS_REDIS_URL": url,
            "OCS_DIAMETER_LISTEN": ",".join(diameter.plain),
            "OCS_DIAMETER_LISTEN_TLS": ",".join(diameter.tls),
        }
        arguments = ["--config", str(self._config)]
        for number in range(worker_count(self._settings)):
            own = [*arguments, "--number", str(number)]
            self._workers.append(ChildProcess("worker", own, environment, self._child_ended, self._child_refused))
        for role in _OTHERS if self._settings.server.housekeeper else ():
            self._others.append(ChildProcess(role, arguments, environment, self._child_ended, self._child_refused))
        for worker in self._workers:
            worker.start()

    def _child_ended(self, role: str, pid: int) -> None:
        self._snapshots.retire(role, pid)
        if not self._stopping.is_set():
            self._metrics.count("ocs_process_restarts", role)

    def _child_refused(self, why: str) -> bool:
        """While starting, end everything. Once the server was ready, the other processes go on, and this one is
        restarted.
        """
        if self._was_ready:
            return False
        self._refusal = why
        self._stopping.set()
        return True

    def _describe(self, diameter: Listening, api: str, metrics: str) -> None:
        """Write server.json, by which other programs find the addresses, also with port 0."""
        listening = {"diameter": diameter.plain, "diameter_tls": diameter.tls}
        facts = {"pid": os.getpid(), **listening, "api": api, "metrics": metrics}
        temporary = self._paths.description.with_suffix(".new")
        temporary.write_text(json.dumps(facts), encoding="utf-8")
        temporary.replace(self._paths.description)

    # -- serving

    async def _serve(self, diameter: Listening, api: str, metrics: str) -> None:
        watch = asyncio.create_task(self._watch_redis())
        said = asyncio.create_task(self._say_ready(diameter, api, metrics))
        try:
            await self._stopping.wait()
        finally:
            for task in (watch, said):
                task.cancel()
            await asyncio.gather(watch, said, return_exceptions=True)

    async def _say_ready(self, diameter: Listening, api: str, metrics: str) -> None:
        await self._workers[0].ready.wait()
        for child in self._others:  # after the worker's checks: a node that may not start writes no records
            child.start()
        for child in self._children():
            await child.ready.wait()
        self._was_ready = True
        log.info(
            "ready: Diameter on %s, %d worker(s), http://%s/health, http://%s/metrics",
            *(diameter, len(self._workers), api, metrics),
        )

    async def _watch_redis(self) -> None:
        """Restart the private Redis when it ends; its AOF has every acknowledged debit."""
        while True:
            await asyncio.sleep(REDIS_LOOK_S)
            if self._embedded is None:
                continue
            self._embedded.yield_rewrites()
            if self._embedded.has_ended():
                log.error("the private Redis ended unexpectedly: restarting it")
                self._metrics.count("ocs_process_restarts", "redis")
                try:
                    self._embedded.restart()
                except EmbeddedRedisError as error:
                    log.error("the private Redis does not start, trying again: %s", error)

    async def _health(self) -> Health:
        return Health(
            redis=await self._redis_answers(),
            workers=sum(worker.ready.is_set() for worker in self._workers),
            workers_wanted=len(self._workers),
            housekeeper=self._is_ready("housekeeper"),
            backoffice=self._is_ready("backoffice"),
        )

    def _is_ready(self, role: str) -> bool | None:
        """None = another node runs this process."""
        if not self._settings.server.housekeeper:
            return None
        return any(child.ready.is_set() for child in self._others if child.role == role)

    async def _redis_answers(self) -> bool:
        if self._redis is None:
            return False
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_S):
                await self._redis.execute_command("PING")  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def _expose(self) -> bytes:
        self._metrics.set("ocs_workers_up", sum(worker.ready.is_set() for worker in self._workers))
        self._metrics.set("ocs_redis_up", int(await self._redis_answers()))
        return self._snapshots.expose()

    # -- ending

    def _asked_to_end(self) -> None:
        if self._stopping.is_set():
            log.warning("second signal: ending without the pending answers")
            for child in self._children():
                child.kill()
        else:
            log.info("ending: no new requests, pending answers are still sent")
            self._stopping.set()

    def _asked_to_reload(self) -> None:
        """SIGHUP: the workers reload the certificates."""
        for worker in self._workers:
            worker.reload()

    def _children(self) -> list[ChildProcess]:
        return [*self._workers, *self._others]

    async def _end(self, api: HttpApi) -> None:
        self._stopping.set()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        for child in self._others:
            await child.stop()
        await api.close()
        if self._redis is not None:
            await self._redis.aclose()
        if self._embedded is not None:
            self._embedded.release()
        self._paths.description.unlink(missing_ok=True)
        log.info("ended")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt in the block."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = [(number, signal.signal(number, interrupt)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _reserved_ports(key: str, wanted: list[str]) -> Iterator[list[str]]:
    """The addresses of `diameter.<key>`, with their actual ports. Each stays bound here, without listening, so that no
    other program can take it while workers, which share it (SO_REUSEPORT), are restarted. StartError: one is in use.
    """
    with contextlib.ExitStack() as held:
        addresses: list[str] = []
        for text in wanted:
            host, port = parse_listen(text)
            try:
                family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
                if port:
                    with socket.socket(family) as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(address)  # without SO_REUSEPORT, so it fails if any process has the port
                keeper = held.enter_context(socket.socket(family))
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                keeper.bind(address)
            except OSError as error:
                raise StartError(_cannot_listen("diameter", key, text, error)) from error
            addresses.append(_address_text(host, keeper.getsockname()[1]))
        yield addresses


def _cannot_listen(section: str, key: str, address: str, error: OSError) -> str:
    """Message: why we cannot listen on `address`, the key that names it, and what to do."""
    reason = reason_of(error)
    if error.errno is not None and error.errno in errno.errorcode:
        reason = os.strerror(error.errno)  # shorter than asyncio's text
    elif isinstance(error, socket.gaierror):
        reason = f"no such host: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        reason += "; another process uses it: end that one, or name another address"
    elif error.errno == errno.EACCES:
        reason += "; ports below 1024 need the capability CAP_NET_BIND_SERVICE: grant it, or name another port"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason += "; this machine has no such address"
    variable = f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()
    return f"{section}.{key} = {address!r} (or {variable}): {reason}"


def _address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
