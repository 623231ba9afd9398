"""The backoffice's loading, making and sending on a real database, Redis and gateway; in a process of its own it can be
killed at a chosen step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from ocs.compose import Environment, load
from ocs.history.engine import history_engine
from ocs.history.migrating import migrate
from ocs.history.schema import NOTICE_EVENTS, NOTICES
from ocs.ledger.redis.ledger import RedisLedger
from ocs.notices import queue
from ocs.notices.port import Answer, Message
from ocs.notices.webhook_port import WebhookPort
from ocs.outbox.pump import Pump
from ocs.outbox.writer import RecordWriter
from ocs.process.back_office import loading, noticing
from ocs.process.back_office.database import Database
from ocs.process.back_office.loading import Loading
from ocs.process.back_office.noticing import NotedEvents, run_noticing
from ocs.process.child_main import Child, connected_ledger
from ocs.settings.history_section import HistorySection
from ocs.telemetry.metrics import Metrics
from tests.catalogue import CATALOGUE
from tests.waiting import PATIENCE_S

CONFIG = """
[[peer]]
origin_host = "pgw.example.net"
realm = "example.net"
[redis]
url = "{redis}"
[ledger]
partitions = 4
max_clock_skew_s = 0
[history]
url = "{history}"
[notices]
port = "{port}"
url = "{gateway}"
secret = "s3cret"
timeout_s = 5
concurrency = 2
rate_per_s = 1000
[api]
listen = "127.0.0.1:0"
[metrics]
listen = "127.0.0.1:0"
[server]
data_dir = "{folder}"
catalogue = "{catalogue}"
"""


def write_config(folder: Path, redis: str, gateway: str, *, history: str = "", catalogue: Path = CATALOGUE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "ocs.toml"
    port = "webhook" if gateway else "log"
    text = CONFIG.format(redis=redis, history=history, port=port, gateway=gateway, folder=folder, catalogue=catalogue)
    config.write_text(text, "utf-8")
    return config


async def write_records(ledger: RedisLedger, folder: Path, now: float) -> None:
    """The events of the ledger as record files, as the housekeeper writes them."""
    writer = RecordWriter(folder / "records", rotate_octets=1 << 20, rotate_s=3600, clock=lambda: now)
    writer.open()
    pump = Pump(ledger, [writer])
    await pump.begin()
    while await pump.round():
        pass
    writer.close()


def child_of(config: Path, now: Callable[[], float]) -> Child:
    settings, catalogue = load(config, serves=True, environment=Environment(clock=now))
    return Child("backoffice", settings, catalogue, Environment(clock=now), Metrics(), asyncio.Event())


def quick() -> None:
    """Short pauses. In a process of its own, as they stay."""
    noticing.PAUSE_S = loading.LOAD_EVERY_S = 0.02
    noticing.LEASE_BEYOND_S = 0


def open_work(config: Path, child: Child) -> tuple[int, int]:
    """(events whose notices are not made, notices that are not done)."""
    engine = history_engine(HistorySection(url=child.settings.history.url), child.settings.data_dir)
    migrate(engine)
    try:
        with engine.connect() as connection:
            events = queue.noted_count(connection)
            waiting = queue.waiting(connection, 2**40).states
            made = connection.scalar(select(func.count()).select_from(NOTICES)) or 0
        return (events or not made), sum(waiting.values())
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def office(child: Child, dies: Callable[[], None] = lambda: None) -> AsyncIterator[Database]:
    """The loops run within the block. `dies` is called before and after each use of the database and of the port."""
    database = Database(child)
    plain_call, plain_send = database.call, WebhookPort.send

    async def call(work: Callable[[], Any]) -> Any:
        dies()
        result = await plain_call(work)
        dies()
        return result

    async def send(self: WebhookPort, message: Message) -> Answer:
        dies()
        answer = await plain_send(self, message)
        dies()
        return answer

    database.call = call  # type: ignore[method-assign]
    WebhookPort.send = send  # type: ignore[method-assign]
    try:
        async with connected_ledger(child) as ledger, asyncio.TaskGroup() as loops:
            assert ledger is not None
            loops.create_task(Loading(child, database, [NotedEvents(child.environment.now)]).run())
            loops.create_task(run_noticing(child, database, ledger))
            yield database
            child.stopping.set()
    finally:
        WebhookPort.send = plain_send  # type: ignore[method-assign]
        database.close()


async def run_until_done(config: Path, now: Callable[[], float], die_at: int) -> int:
    """Returns the number of steps until all is sent; never, if it dies before."""
    child, steps = child_of(config, now), 0

    def dies() -> None:
        nonlocal steps
        steps += 1
        if steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with office(child, dies):
        async with asyncio.timeout(PATIENCE_S):
            while open_work(config, child) != (0, 0):  # noqa: ASYNC110 - the database says so
                await asyncio.sleep(0.05)
    return steps


def forked(config: Path, now: float, die_at: int) -> int:
    """`run_until_done` in a forked process. Returns its wait status: 0 = all is sent, 9 = it died at that step."""
    pid = os.fork()
    if pid == 0:
        try:
            quick()
            asyncio.run(run_until_done(config, lambda: now, die_at))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent sees the status
            traceback.print_exc(file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)
    return os.waitpid(pid, 0)[1]


__all__ = ["NOTICE_EVENTS", "forked", "office", "open_work", "write_config", "write_records"]
