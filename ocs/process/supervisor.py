"""`ocs serve`: starts Redis if it is to be ours, workers and housekeeper, serves /health and /metrics, and ends them
in order.

Order of starting: settings and catalogue checked, data folder locked, ports taken, Redis, workers, housekeeper. Nothing
starts half: a mistake or a port that is taken ends it before the first process. The first worker sees whether this node
may be on the ledger at all, so the housekeeper waits for it. Order of ending: workers (they say good-bye to their peers
and drain), housekeeper (it stores the last records), Redis.
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
"""How often the supervisor looks whether Redis answers (and, when it is ours, whether it lives)."""
REDIS_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Listening:
    """The Diameter addresses with their ports."""

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
        self._housekeeper: ChildProcess | None = None
        self._redis: redis.asyncio.Redis | None = None
        self._stopping = asyncio.Event()
        self._was_ready = False
        self._refusal = ""
        """Why the processes cannot do their work: it is no use to replace them."""

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. StartError: it cannot start, and nothing runs."""
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
        """One server a data folder: two would write the same records."""
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
        """Files that workers of an earlier run have left: nobody holds them."""
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
                # On this thread, since the kernel ends the server with the thread that started it. Nothing else happens
                # meanwhile (the AOF may take minutes to load), but a signal must be heard.
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
        if self._settings.server.housekeeper:
            role = "housekeeper"
            self._housekeeper = ChildProcess(role, arguments, environment, self._child_ended, self._child_refused)
        for worker in self._workers:
            worker.start()

    def _child_ended(self, role: str, pid: int) -> None:
        self._snapshots.retire(role, pid)
        if not self._stopping.is_set():
            self._metrics.count("ocs_process_restarts", role)

    def _child_refused(self, why: str) -> bool:
        """A start that fails ends all. Once the server was ready, those that still serve go on, and the others try
        again.
        """
        if self._was_ready:
            return False
        self._refusal = why
        self._stopping.set()
        return True

    def _describe(self, diameter: Listening, api: str, metrics: str) -> None:
        """For programs that started us with port 0, or look for us."""
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
        if self._housekeeper is not None:  # the identity is ours now: a start that is refused writes no records
            self._housekeeper.start()
        for child in self._children():
            await child.ready.wait()
        self._was_ready = True
        log.info(
            "ready: Diameter on %s, %d worker(s), http://%s/health, http://%s/metrics",
            *(diameter, len(self._workers), api, metrics),
        )

    async def _watch_redis(self) -> None:
        """Our own Redis is started again when it ends; its AOF has every answered debit."""
        while True:
            await asyncio.sleep(REDIS_LOOK_S)
            if self._embedded is None:
                continue
            self._embedded.yield_rewrites()
            if self._embedded.has_ended():
                log.error("the private Redis ended unasked: starting it again")
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
            housekeeper=self._housekeeper_is_ready(),
        )

    def _housekeeper_is_ready(self) -> bool | None:
        """None = it is another node's."""
        if not self._settings.server.housekeeper:
            return None
        return self._housekeeper is not None and self._housekeeper.ready.is_set()

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
            log.warning("asked to end again: not waiting for the answers under way")
            for child in self._children():
                child.kill()
        else:
            log.info("ending: no new requests, answers under way are finished")
            self._stopping.set()

    def _asked_to_reload(self) -> None:
        """SIGHUP: workers read the certificates anew."""
        for worker in self._workers:
            worker.reload()

    def _children(self) -> list[ChildProcess]:
        return [*self._workers, *([self._housekeeper] if self._housekeeper is not None else [])]

    async def _end(self, api: HttpApi) -> None:
        self._stopping.set()
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        if self._housekeeper is not None:
            await self._housekeeper.stop()
        await api.close()
        if self._redis is not None:
            await self._redis.aclose()
        if self._embedded is not None:
            self._embedded.release()
        self._paths.description.unlink(missing_ok=True)
        log.info("ended")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM interrupt what blocks here."""

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
    """The addresses of `diameter.<key>` with their ports. Each is bound here, without listening, so that workers, which
    share it (SO_REUSEPORT), come and go while nobody else can take it. StartError names the address that is taken.
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
                        probe.bind(address)  # without SO_REUSEPORT: fails when anybody has it
                keeper = held.enter_context(socket.socket(family))
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                keeper.bind(address)
            except OSError as error:
                raise StartError(_cannot_listen("diameter", key, text, error)) from error
            addresses.append(_address_text(host, keeper.getsockname()[1]))
        yield addresses


def _cannot_listen(section: str, key: str, address: str, error: OSError) -> str:
    """What is wrong with an address of ours, by the key that names it, and what to do."""
    reason = reason_of(error)
    if error.errno is not None and error.errno in errno.errorcode:
        reason = os.strerror(error.errno)  # asyncio words it at length
    elif isinstance(error, socket.gaierror):
        reason = f"no such host: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        reason += "; another process uses it: end that one, or name another address"
    elif error.errno == errno.EACCES:
        reason += "; ports below 1024 need a right of their own (CAP_NET_BIND_SERVICE): give it, or name another port"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason += "; this machine has no such address"
    variable = f"{ENVIRONMENT_PREFIX}{section}_{key}".upper()
    return f"{section}.{key} = {address!r} (or {variable}): {reason}"


def _address_text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
