"""The API process: HTTP for care, shops, groups and subscribers (`ocs.api`), under uvicorn.

At SIGTERM it accepts no more connections, answers what is under way and ends. At SIGHUP it reads its certificate again.
`python -m ocs.process.api --config FILE` runs it alone if a Redis URL is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import uvicorn

from ocs.accounts.backend import Backend
from ocs.api.app import create
from ocs.api.container import Container
from ocs.api.limits import RateLimits
from ocs.compose import StartError, voucher_key
from ocs.history.service import history_of
from ocs.ledger.redis.ledger import RedisLedger
from ocs.notices.service import notices_of
from ocs.payments.signing import SecretError
from ocs.payments.wiring import Payments
from ocs.process.api_connections import HEAD_TIMEOUT_S, accept_tls, connections_of
from ocs.process.catalogue_reader import CatalogueReader, reading_catalogue
from ocs.process.child_main import Child, connected_ledger, main
from ocs.process.ported_numbers import PortedNumbersReader
from ocs.process.processes import take_spare_time
from ocs.settings.schema import Settings, parse_listen

log = logging.getLogger(__name__)

STOP_GRACE_S = 10
"""How long requests under way may take at the end; less than the supervisor waits."""
BACKLOG = 1024
STUCK_MS = 30_000
"""The kernel ends a connection whose client takes no octet of an answer for so long."""


class Server(uvicorn.Server):
    """Signals are handled by `ocs.process.child_main`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_api(child: Child) -> None:
    """Run until asked to end. StartError: the address cannot be used."""
    if not child.settings.api.listen:
        raise StartError('api.listen = "": there is no address for the API')
    async with connected_ledger(child) as ledger:
        if ledger is not None:
            reader = CatalogueReader(child, ledger)
            async with reading_catalogue(reader), _following_ported_numbers(child):
                payments = payments_of(child, ledger)
                try:
                    await _serve(child, container_of(child, ledger, payments, reader.is_current))
                finally:
                    await payments.close()


@contextlib.asynccontextmanager
async def _following_ported_numbers(child: Child) -> AsyncIterator[None]:
    """Prices that are asked for go by them too. StartError: they cannot be used."""
    path = child.settings.server.ported_numbers
    if not path:
        yield
        return
    reader = PortedNumbersReader(Path(path), child.settings.data_dir, child.catalogue, child.metrics, first=False)
    reader.start()
    following = asyncio.create_task(reader.follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


def payments_of(child: Child, ledger: RedisLedger) -> Payments:
    """StartError: a file with secrets cannot be used."""
    environment = child.environment
    try:
        return Payments(
            child.settings.payments,
            ledger,
            child.catalogue,
            now=environment.now,
            rng=environment.rng,
            metrics=child.metrics,
            clock=environment.clock,
        )
    except SecretError as error:
        raise StartError(str(error)) from None


def container_of(
    child: Child,
    ledger: RedisLedger,
    payments: Payments | None = None,
    is_current: Callable[[], bool] = lambda: True,
) -> Container:
    api, monotonic = child.settings.api, child.environment.monotonic
    return Container(
        backend=Backend(ledger, child.catalogue, child.environment, voucher_key(child.settings)),
        settings=child.settings,
        metrics=child.metrics,
        limits=RateLimits(api.requests_per_s, api.burst, monotonic),
        monotonic=monotonic,
        history=history_of(child.settings, ledger, child.environment.now),
        notices=notices_of(child.settings, child.catalogue, child.environment.now),
        payments=payments,
        is_current=is_current,
    )


async def _serve(child: Child, container: Container) -> None:
    app = create(container, importlib.metadata.version("ocs"))
    context = _context(child.settings)
    config = uvicorn_config(app, child.settings)
    config.load()
    server = Server(config)
    with _listening(child.settings) as listening:
        serving = asyncio.create_task(server.serve(sockets=[] if context is not None else [listening]))
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _read_certificate_again, context, child.settings)
        ends = [serving, asyncio.create_task(child.stopping.wait())]
        starting = asyncio.create_task(server.up.wait())
        await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
        if server.up.is_set():
            if context is not None:
                api = child.settings.api
                listening.listen(BACKLOG)
                ends.append(asyncio.create_task(accept_tls(listening, context, server, api.max_connections)))
            child.report_ready()
            take_spare_time()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in (starting, *ends[1:]):
            task.cancel()
        server.should_exit = True
        await serving


def uvicorn_config(app: object, settings: Settings) -> uvicorn.Config:
    api = settings.api
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="none",
        http=connections_of(api.max_connections),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=HEAD_TIMEOUT_S,
        timeout_graceful_shutdown=STOP_GRACE_S,
    )


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The port is shared with the supervisor, which keeps it while this process is restarted."""
    host, port = parse_listen(settings.api.listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_MS)
            listening.bind(address)
            yield listening
    except OSError as error:
        raise StartError(f"api.listen = {settings.api.listen!r}: {error.strerror or error}") from error


def _context(settings: Settings) -> ssl.SSLContext | None:
    """None = plain HTTP."""
    if not settings.api.certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.api.certificate, settings.api.key)
    return context


def _read_certificate_again(context: ssl.SSLContext | None, settings: Settings) -> None:
    """For new connections. A certificate that cannot be used leaves the one before in use."""
    if context is None:
        return
    try:
        context.load_cert_chain(settings.api.certificate, settings.api.key)
    except OSError as error:
        log.error("api.certificate: cannot be used, the one before stays in use: %s", error)
    else:
        log.info("api.certificate: read again")


if __name__ == "__main__":
    main("api", run_api)
