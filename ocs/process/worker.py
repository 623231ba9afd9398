"""A worker process: answers Diameter requests with the ledger. It has no state but its connections, so it may be killed
at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from ocs.charging.equipment import EquipmentBar, EquipmentIds
from ocs.charging.service import ChargingService
from ocs.charging.subscriber_watch import SubscriberWatch
from ocs.compose import diameter_config
from ocs.diameter.dispatch import Handler
from ocs.diameter.node_turns import NodeTurns
from ocs.diameter.outbound import ClientRequests
from ocs.diameter.server import DiameterServer
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.notices import Notice
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.barred_equipment import BarredEquipmentReader
from ocs.process.catalogue_reader import CatalogueReader, reading_catalogue
from ocs.process.child_main import Child, connected_ledger, main
from ocs.process.node_presence import present
from ocs.process.ported_numbers import PortedNumbersReader
from ocs.process.request_tracing import Composition, composed
from ocs.process.traced_subscribers import TracedSubscribers
from ocs.telemetry.logs import describe

log = logging.getLogger(__name__)

HEARS_WITHIN_S = 2.0
"""How long to wait for the subscription to the ledger's notices before peers are accepted."""
CANCEL_AGAIN_S = 0.2
UNKNOWN_PEERS_WARNING = (
    "diameter.accept_unknown_peers = true: whoever can connect may charge any subscriber;"
    " for a laboratory only, not beside accounts of real subscribers"
)
STOP_GRACE_S = 5.0
"""Time for pending answers when the worker is asked to end; the supervisor waits longer."""


class Hearer(Protocol):
    def hear(self, notice: Notice) -> None: ...


class Hearers:
    """All that the notices are for."""

    def __init__(self, *hearers: Hearer) -> None:
        self._hearers = hearers

    def hear(self, notice: Notice) -> None:
        for each in self._hearers:
            each.hear(notice)


class Background:
    """Background tasks: holds references to them, and logs their exceptions."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[None]] = set()

    def spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("internal error in a background task, please report it: %s", describe(error))


async def work(child: Child) -> None:
    async with connected_ledger(child) as ledger:
        if ledger is not None:
            reader = CatalogueReader(child, ledger)
            async with present(child, ledger), reading_catalogue(reader), composed(child, ledger) as composition:
                await _charge(child, ledger, composition, reader.is_current)


async def _charge(child: Child, ledger: RedisLedger, composition: Composition, is_current: Callable[[], bool]) -> None:
    background = Background()
    helpers, equipment = follow_ported_numbers(child), EquipmentBar()
    helpers += follow_barred_equipment(child, equipment)
    service = composition.make_service(
        child.catalogue,
        composition.ledger,
        child.metrics,
        child.environment.clock,
        background.spawn,
        child.settings.charging.policy(),
        child.settings.diameter.answer_timeout_ms / 1_000,
        lambda session_id, origin_host: requests.ended(session_id, origin_host),
        is_current,
        equipment,
        EquipmentIds(await ledger.equipment_key()),
    )
    settings = child.settings
    turns = NodeTurns(settings.diameter.identity, ledger, background.spawn) if settings.other_hosts else None
    requests: ClientRequests
    handler: Handler = service.handle if turns is None else turns.watch(service.handle)
    server = DiameterServer(
        diameter_config(settings),
        handler,
        child.metrics,
        child.environment.monotonic,
        child.environment.rng,
        on_origin_state=lambda *restart: background.spawn(note_origin_state(child, ledger, *restart)),
        unix_clock=child.environment.clock,
        make_dispatcher=composition.make_dispatcher,
    )
    requests = ClientRequests(
        server.config,
        server,
        ledger,
        child.metrics,
        child.environment.clock,
        asyncio.get_running_loop().call_later,
        background.spawn,
        child.when,
        first=child.number == 0,
        turns=turns,
    )
    traced = _traced_subscribers(child, ledger, service, server, handler, background)
    hears = asyncio.Event()

    def subscribed() -> None:
        hears.set()
        traced.read()

    hearing = asyncio.create_task(hear(ledger, Hearers(requests, traced), subscribed))
    with contextlib.suppress(TimeoutError):  # subscribe first, so that no notice about a peer's session is missed
        await asyncio.wait_for(hears.wait(), HEARS_WITHIN_S)
    if server.config.accept_unknown_peers and child.number == 0:
        log.warning(UNKNOWN_PEERS_WARNING)
    await server.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reload_tls)
    child.report_ready()
    await child.stopping.wait()
    hearing.cancel()
    await server.stop(STOP_GRACE_S)
    for task in (hearing, *helpers):
        await _cancelled(task)


def _traced_subscribers(
    child: Child,
    ledger: RedisLedger,
    service: ChargingService,
    server: DiameterServer,
    handler: Handler,
    background: Background,
) -> TracedSubscribers:
    environment, dispatcher = child.environment, server.dispatcher
    watch = SubscriberWatch(
        service,
        ledger.publish_rung,
        handler=handler,
        watch_by=dispatcher.watch_by,
        clock=environment.clock,
        monotonic=environment.monotonic,
    )
    later = asyncio.get_running_loop().call_later
    return TracedSubscribers(watch, ledger, environment.now, background.spawn, later, first=child.number == 0)


def follow_ported_numbers(child: Child) -> list[asyncio.Task[None]]:
    """The task that reads them again; none if there are none. StartError: they cannot be used."""
    path = child.settings.server.ported_numbers
    if not path:
        return []
    reader = PortedNumbersReader(
        Path(path), child.settings.data_dir, child.catalogue, child.metrics, first=child.number == 0
    )
    reader.start()
    return [asyncio.create_task(reader.follow())]


def follow_barred_equipment(child: Child, equipment: EquipmentBar) -> list[asyncio.Task[None]]:
    """As `follow_ported_numbers`, for `server.barred_equipment`."""
    path = child.settings.server.barred_equipment
    if not path:
        return []
    reader = BarredEquipmentReader(Path(path), equipment, first=child.number == 0)
    reader.start()
    return [asyncio.create_task(reader.follow())]


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel the task until it ends: a Redis client whose connection is breaking may swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)


async def hear(ledger: RedisLedger, hearer: Hearer, subscribed: Callable[[], None]) -> None:
    """Pass the ledger's notices to `hearer`; `subscribed` is called whenever they can come (again)."""
    async for notice in ledger.notices(subscribed):
        try:
            hearer.hear(notice)
        except Exception as error:  # noqa: BLE001 - later notices must still be handled
            log.error("internal error while handling a notice of the ledger, please report it: %s", describe(error))


async def note_origin_state(child: Child, ledger: RedisLedger, origin_host: str, relay: str, state_id: int) -> None:
    """Store a client's new Origin-State-Id: it may have lost sessions, which the housekeeper releases later."""
    try:
        await ledger.note_origin_state(origin_host, state_id, relay=relay, now=child.environment.now())
    except LedgerUnavailable as error:
        log.warning(
            "peer %s: its restart could not be stored, the sessions that it lost stay until their deadlines: %s",
            *(origin_host, error),
        )


if __name__ == "__main__":
    main("worker", work)
