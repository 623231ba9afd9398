"""Common part of the child processes: arguments, signals, metrics snapshots, loss of the supervisor.

Each can run alone if redis.url is set: `python -m ocs.process.worker --config FILE`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop

from ocs.catalogue.problems import CatalogueError
from ocs.catalogue.versions import Catalogues
from ocs.compose import Environment, Paths, StartError, environment_of, ledger_settings, load
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.processes import die_with_parent
from ocs.settings.loading import SettingsError
from ocs.settings.schema import Settings
from ocs.settings.start_warnings import log_start_warnings
from ocs.telemetry.logs import set_up_logging
from ocs.telemetry.metrics import SNAPSHOT_EVERY_S, Metrics, snapshot_path

log = logging.getLogger(__name__)

PARENT_LOOK_S = 1.0
"""How often a child checks that its supervisor is alive; on Linux the kernel also signals its end at once."""


@dataclass(frozen=True, slots=True)
class Child:
    """What a child process works with."""

    role: str
    settings: Settings
    catalogue: Catalogues
    environment: Environment
    metrics: Metrics
    stopping: asyncio.Event
    number: int = 0
    """Number of the worker in its server, from 0. Number 0 counts and logs for all what each of them sees."""

    def when(self) -> dict[str, int]:
        """now=, month= and day= of a ledger operation."""
        return self.catalogue.when(self.environment.now())

    def report_ready(self, **facts: object) -> None:
        """Tell the supervisor, by a line on standard output, that the process is ready. Call it when all is loaded."""
        tune_garbage_collector()
        print(json.dumps({"ready": True, **facts}), flush=True)

    async def wait_stopping(self, seconds: float) -> bool:
        """Sleep until `stopping` is set, at most `seconds`. True if it is set."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
        return self.stopping.is_set()


def tune_garbage_collector() -> None:
    """Exempt all objects that exist now from garbage collection. It runs rarely (`ocs.GC_THRESHOLDS`)."""
    gc.collect()
    gc.freeze()


Body = Callable[[Child], Awaitable[None]]


def main(role: str, body: Body) -> None:
    """Run a child process until it is asked to end. Exit status 1: the settings or the ledger cannot be used."""
    parser = argparse.ArgumentParser(prog=f"python -m ocs.process.{role}")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--supervisor-pid", type=int, default=0, help="end when this process, the parent, ends")
    parser.add_argument("--number", type=int, default=0, help="which of several of its role in a server, from 0")
    arguments = parser.parse_args()
    if arguments.supervisor_pid:
        die_with_parent(signal.SIGTERM)
    try:
        settings, catalogue = load(arguments.config, serves=True)
        environment = environment_of(settings)
    except (SettingsError, CatalogueError, StartError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    if not settings.redis.url:
        print(
            "redis.url (OCS_REDIS_URL) must be set for a process that runs alone; `ocs serve` needs none",
            file=sys.stderr,
        )
        raise SystemExit(1)
    set_up_logging(level=settings.log.level, form=settings.log.format, role=role)
    if not arguments.supervisor_pid:
        log_start_warnings(arguments.config, settings)
    child = Child(role, settings, catalogue, environment, Metrics(), asyncio.Event(), arguments.number)
    try:
        uvloop.run(_run(child, body, arguments.supervisor_pid))
    except StartError as error:
        log.error("%s", error)
        print(json.dumps({"refused": str(error)}), flush=True)
        raise SystemExit(1) from None


async def _run(child: Child, body: Body, supervisor_pid: int) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, child.stopping.set)
    helpers = [loop.create_task(_keep_snapshots(child))]
    if supervisor_pid:
        helpers.append(loop.create_task(_watch_parent(child, supervisor_pid)))
    try:
        await body(child)
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        _snapshot(child)


async def _watch_parent(child: Child, supervisor_pid: int) -> None:
    while not await child.wait_stopping(PARENT_LOOK_S):
        if os.getppid() != supervisor_pid:
            log.warning("the supervisor has ended, so this process ends too")
            child.stopping.set()


async def _keep_snapshots(child: Child) -> None:
    while True:
        _snapshot(child)
        await asyncio.sleep(SNAPSHOT_EVERY_S)


def _snapshot(child: Child) -> None:
    folder = Paths(child.settings.data_dir).metrics
    try:
        folder.mkdir(parents=True, exist_ok=True)
        child.metrics.snapshot(snapshot_path(folder, child.role, os.getpid()))
    except OSError as error:
        log.warning("metrics cannot be written, /metrics shows old figures: %s", error)


@contextlib.asynccontextmanager
async def connected_ledger(child: Child) -> AsyncIterator[RedisLedger | None]:
    """The ledger, once Redis can be reached; None if the process is asked to end before. StartError: the content or the
    settings of Redis do not fit, so waiting is useless.
    """
    settings, ledger = ledger_settings(child.settings), None
    while ledger is None and not child.stopping.is_set():
        try:
            ledger = await RedisLedger.connect(
                child.settings.redis.url,
                settings,
                child.metrics,
                stopwatch=child.environment.monotonic,
                clock=child.environment.clock,
            )
        except LedgerUnavailable as error:
            log.warning("waiting for Redis: %s", error)
            await child.wait_stopping(0.5)
        except LedgerError as error:
            raise StartError(str(error)) from error
    try:
        if ledger is not None:
            ledger.follow_life(child.catalogue.life_at)
        yield ledger
    finally:
        if ledger is not None:
            await ledger.close()
