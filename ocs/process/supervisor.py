"""`ocs serve`: starts and ends the private Redis and the other processes, and serves /health and /metrics.

Order of starting: check settings and catalogue, lock the data folder, bind the ports, Redis, workers, the others. A
mistake, or a port in use, stops the start before any process exists. The first worker checks whether this node may use
the ledger, so the others wait for it. Order of ending: ENDING, then Redis.
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
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import redis.asyncio
from redis.exceptions import RedisError

from ocs.compose import EMBEDDED_TAKES_NO_REPLICAS, Paths, StartError, worker_count
from ocs.process.child_supervision import ChildProcess
from ocs.process.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from ocs.process.server_metrics import Certificates, measure_redis, measure_server
from ocs.settings.loading import ENVIRONMENT_PREFIX
from ocs.settings.schema import Settings, parse_listen
from ocs.telemetry.export import Snapshots
from ocs.telemetry.http_endpoints import Health, HttpEndpoints
from ocs.telemetry.logs import reason_of
from ocs.telemetry.metrics import Metrics
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

REDIS_LOOK_S = 0.5
"""How often the supervisor checks that the private Redis runs."""
REDIS_TIMEOUT_S = 1.0
WORKER, API, HOUSEKEEPER, BACKOFFICE = "worker", "api", "housekeeper", "backoffice"
SIMULATED_TIME_STAYS_PRIVATE = (
    "server.simulated_clock is for a private Redis: what is charged by it must not be in a ledger that others use "
    "(redis.url, OCS_REDIS_URL)"
)
ENDING = ((WORKER, API), (HOUSEKEEPER,), (BACKOFFICE,))
"""Roles in the order in which they end: those that bring in work (DPR, pending answers), what writes the last records,
what loads them.
"""


@dataclass(frozen=True, slots=True)
class Listening:
    """Addresses with their actual ports."""

    plain: list[str]
    tls: list[str]
    api: str
    """"" = the API is off."""
    metrics: str = ""

    def __str__(self) -> str:
        return ", ".join((*self.plain, *(f"{address} (TLS)" for address in self.tls)))


class Supervisor:
    """One running server."""

    def __init__(self, config: Path, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._paths = Paths(settings.data_dir)
        self._metrics = Metrics()
        measure_server(self._metrics, time.time())
        files = {"tls": settings.tls.certificate, "api": settings.api.certificate}
        self._certificates = Certificates(self._metrics, files, ThrottledLog(time.monotonic))
        self._snapshots = Snapshots(self._paths.metrics, self._metrics.store, [self._paths.reconciliation])
        self._embedded: EmbeddedRedis | None = None
        self._children: list[ChildProcess] = []
        self._redis: redis.asyncio.Redis | None = None
        self._stopping = asyncio.Event()
        self._was_ready = False
        self._refusal = ""
        """Why the processes cannot work, so that the start has failed; "" = no such reason."""

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. StartError: the server cannot start; no process is left running."""
        with (
            self._locked_folder(),
            _reserved_ports("diameter", "listen", self._settings.diameter.listen) as plain,
            _reserved_ports("diameter", "listen_tls", self._settings.diameter.listen_tls) as secured,
            _reserved_ports("api", "listen", [each for each in (self._settings.api.listen,) if each]) as api,
        ):
            listening = Listening(plain, secured, *api) if api else Listening(plain, secured, "")
            self._snapshots.clear()
            self._clear_peer_locks()
            endpoints = HttpEndpoints(self._health, self._expose)
            try:
                listening = replace(listening, metrics=await self._listen(endpoints))
                url = self._start_redis()
                for number in (signal.SIGTERM, signal.SIGINT):
                    asyncio.get_running_loop().add_signal_handler(number, self._asked_to_end)
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked_to_reload)
                self._start_children(url, listening)
                self._describe(listening)
                await self._serve(listening)
            finally:
                await self._end(endpoints)
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

    async def _listen(self, endpoints: HttpEndpoints) -> str:
        wanted = self._settings.metrics.listen
        try:
            found = await endpoints.start(parse_listen(wanted))
        except OSError as error:
            raise StartError(_cannot_listen("metrics", "listen", wanted, error)) from error
        return _address_text(*found)

    def _start_redis(self) -> str:
        url = self._settings.redis.url
        if url and self._settings.server.simulated_clock:
            raise StartError(SIMULATED_TIME_STAYS_PRIVATE)
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

    def _start_children(self, url: str, listening: Listening) -> None:
        """Start the workers; the other roles follow when the first of them is ready."""
        environment = {
            **os.environ,
            "OCS_REDIS_URL": url,
            "OCS_DIAMETER_LISTEN": ",".join(listening.plain),
            "OCS_DIAMETER_LISTEN_TLS": ",".join(listening.tls),
            "OCS_API_LISTEN": listening.api,
        }
        arguments = ["--config", str(self._config)]
        numbers = [["--number", str(number)] for number in range(worker_count(self._settings))]
        wanted = [(WORKER, number) for number in numbers] + [(role, []) for role in self._other_roles()]
        for role, more in wanted:
            child = ChildProcess(role, [*arguments, *more], environment, self._child_ended, self._child_refused)
            self._children.append(child)
        for worker in self._of(WORKER):
            worker.start()

    def _other_roles(self) -> list[str]:
        """Roles of one process each that this server runs, in the order in which they start."""
        housekeeper = self._settings.server.housekeeper
        runs = {HOUSEKEEPER: housekeeper, BACKOFFICE: housekeeper, API: bool(self._settings.api.listen)}
        return [role for role, wanted in runs.items() if wanted]

    def _of(self, *roles: str) -> list[ChildProcess]:
        return [child for child in self._children if child.role in roles]

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

    def _describe(self, listening: Listening) -> None:
        """Write server.json, by which other programs find the addresses, also with port 0."""
        addresses = {"diameter": listening.plain, "diameter_tls": listening.tls}
        facts = {"pid": os.getpid(), **addresses, "api": listening.api, "metrics": listening.metrics}
        temporary = self._paths.description.with_suffix(".new")
        temporary.write_text(json.dumps(facts), encoding="utf-8")
        temporary.replace(self._paths.description)

    # -- serving

    async def _serve(self, listening: Listening) -> None:
        watch = asyncio.create_task(self._watch_redis())
        said = asyncio.create_task(self._say_ready(listening))
        try:
            await self._stopping.wait()
        finally:
            for task in (watch, said):
                task.cancel()
            await asyncio.gather(watch, said, return_exceptions=True)

    async def _say_ready(self, listening: Listening) -> None:
        workers = self._of(WORKER)
        await workers[0].ready.wait()
        for child in self._children:  # after the worker's checks: a node that may not start writes no records
            if child.role != WORKER:
                child.start()
        for child in self._children:
            await child.ready.wait()
        self._was_ready = True
        log.info(
            "ready: Diameter on %s, %d worker(s), API on %s, http://%s/health and /metrics",
            *(listening, len(workers), listening.api or "no address", listening.metrics),
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
        workers = self._of(WORKER)
        return Health(
            redis=await self._redis_answers(),
            workers=sum(worker.ready.is_set() for worker in workers),
            workers_wanted=len(workers),
            housekeeper=self._is_ready(HOUSEKEEPER),
            backoffice=self._is_ready(BACKOFFICE),
            api=self._is_ready(API),
        )

    def _is_ready(self, role: str) -> bool | None:
        """None = this server does not run it."""
        if role not in self._other_roles():
            return None
        return any(child.ready.is_set() for child in self._of(role))

    async def _redis_answers(self) -> bool:
        if self._redis is None:
            return False
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_S):
                await self._redis.execute_command("PING")  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def _measure_redis(self) -> bool:
        """Whether Redis answers."""
        if self._redis is None:
            return False
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_S):
                measure_redis(self._metrics, await self._redis.info("all"))
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def _expose(self, open_metrics: bool) -> bytes:
        self._metrics.set("ocs_workers_up", sum(worker.ready.is_set() for worker in self._of(WORKER)))
        for role in self._other_roles():
            self._metrics.set("ocs_process_up", int(bool(self._is_ready(role))), role)
        self._metrics.set("ocs_redis_up", int(await self._measure_redis()))
        await self._certificates.measure()
        return self._snapshots.expose(open_metrics=open_metrics)

    # -- ending

    def _asked_to_end(self) -> None:
        if self._stopping.is_set():
            log.warning("second signal: ending without the pending answers")
            for child in self._children:
                child.kill()
        else:
            log.info("ending: no new requests, pending answers are still sent")
            self._stopping.set()

    def _asked_to_reload(self) -> None:
        """SIGHUP: workers and API read their certificates again."""
        for child in self._of(WORKER, API):
            child.reload()

    async def _end(self, endpoints: HttpEndpoints) -> None:
        self._stopping.set()
        for roles in ENDING:
            await asyncio.gather(*(child.stop() for child in self._of(*roles)))
        await endpoints.close()
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
def _reserved_ports(section: str, key: str, wanted: list[str]) -> Iterator[list[str]]:
    """The addresses of `<section>.<key>`, with their actual ports. Each stays bound here, without listening, so that no
    other program can take it while processes that share it (SO_REUSEPORT) are restarted. StartError: one is in use.
    """
    with contextlib.ExitStack() as held:
        addresses: list[str] = []
        for text in wanted:
            host, port = parse_listen(text)
            try:
                family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
                if port:
                    # Of two servers that start in the same moment, one gets this name (Linux; it ends with its holder).
                    name = held.enter_context(socket.socket(socket.AF_UNIX))
                    name.bind(f"\0ocs {address[0]} {port}")
                keeper = held.enter_context(socket.socket(family))
                # Bound alone, although old connections linger: fails if any process has or keeps the port.
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                keeper.bind(address)
                # From now on our processes share it, and no other server can bind it alone.
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            except OSError as error:
                raise StartError(_cannot_listen(section, key, text, error)) from error
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
