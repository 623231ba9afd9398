"""A process that uses the catalogue follows the versions that are loaded into the ledger (`ocs catalogue load`).

It takes them before it serves, answers for each that is offered whether it can use it, and takes what was accepted.
`is_current` is false once it could not look for READER_STALE_S: a version that it does not know may be in force soon
(ocs/ledger/redis/catalogue.py says why all of them or none have one).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.problems import CatalogueError
from ocs.catalogue.versions import StoredVersion, merge, versions_digest
from ocs.compose import StartError, check_services
from ocs.ledger.contract.catalogue import ACCEPT_AHEAD_S, READER_STALE_S, CatalogueFiles, CatalogueLedger, Offer
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.process.child_main import Child
from ocs.settings.loading import SettingsError
from ocs.telemetry.logs import describe
from ocs.telemetry.throttled_log import ThrottledLog

log = logging.getLogger(__name__)

LOOK_S = 0.5
LOOK_AGAIN_S = 0.1
"""After a look that failed: what was not current charges again as soon as Redis is back."""
OK = "ok"
MEASURES = "housekeeper"
"""Role of the one process that tells the version in force."""
CHARGES = "worker"
"""Role of the processes whose counts are by service."""
UNUSABLE = "the versions of the catalogue in Redis cannot be used, nothing is charged: %s%s"
Changed = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """What most readers do when the versions have changed."""


class CatalogueReader:
    """`changed` is awaited when the versions are taken first and whenever they have changed; LedgerUnavailable repeats
    it.
    """

    def __init__(self, child: Child, ledger: CatalogueLedger, changed: Changed = _nothing) -> None:
        self._child = child
        self._ledger = ledger
        self._changed = changed
        self.name = f"{child.settings.diameter.identity} {child.role} {child.number} (process {os.getpid()})"
        self._files: Sequence[Catalogue] = child.catalogue.versions
        self._noted = CatalogueFiles(
            versions_digest(self._files),
            tuple(each.version for each in self._files),
            child.catalogue.longest_grant_s,
        )
        self._compiled: dict[str, Catalogue] = {}
        """By content; those that were known or offered last, MAX_VERSIONS and one."""
        self._revision: str | None = None
        self._answered = ""
        self._looked_at = float("-inf")
        self._throttled_log = ThrottledLog(child.environment.monotonic)

    def is_current(self) -> bool:
        """Every version that comes into force within the next seconds is known."""
        return self._child.environment.monotonic() - self._looked_at < READER_STALE_S

    async def join(self) -> None:
        """Take the versions in Redis. StartError: they cannot be used."""
        while not self._child.stopping.is_set():
            try:
                await self._look()
                await self._compare_files()
            except LedgerUnavailable as error:
                log.warning("waiting for Redis: %s", error)
                await self._child.wait_stopping(LOOK_S)
            except (CatalogueError, SettingsError) as error:
                raise StartError(f"the versions of the catalogue in Redis cannot be used: {error}") from error
            else:
                return

    async def follow(self) -> None:
        """For ever. What cannot be used is said, and the process stays behind: it is no longer current."""
        pause_s = LOOK_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = LOOK_AGAIN_S
            try:
                await self._look()
                pause_s = LOOK_S
            except LedgerUnavailable:
                continue
            except (CatalogueError, SettingsError) as error:
                if (more := self._throttled_log.allow("catalogue")) is not None:
                    log.error(UNUSABLE, error, more)
            except Exception as error:  # noqa: BLE001 - who ends here would charge nothing any more
                log.error("internal error at the catalogue's versions, please report it: %s", describe(error))

    async def leave(self) -> None:
        with contextlib.suppress(LedgerUnavailable):
            await self._ledger.leave_catalogue(self.name)

    async def _compare_files(self) -> None:
        """Of the processes that start together, the first says it."""
        before = await self._ledger.exchange_catalogue_files(self._noted)
        if before is None or before.digest == self._noted.digest:
            return
        catalogue = self._child.catalogue
        last = datetime.fromtimestamp(catalogue.now() + before.longest_grant_s, catalogue.time_zone)
        now, then = (", ".join(each.versions) for each in (self._noted, before))
        log.warning(
            "the catalogue's file says something else than at the last start (now version %s, then %s): what was"
            " granted before keeps its price, until %s at most",
            *(now, then, last.isoformat()),
        )

    async def _look(self) -> None:
        asked_at = self._child.environment.monotonic()
        revision, offer = await self._ledger.look_at_catalogue(self.name)
        if revision != self._revision:
            await self._take()
        if offer and offer != self._answered:
            await self._answer(offer)
        if self._child.role == MEASURES:
            self._measure()
        self._looked_at = asked_at

    def _measure(self) -> None:
        """One process of the server does: gauges of all processes are added up."""
        now = self._child.environment.now()
        begun = [each.begins_at for each in self._child.catalogue.versions if each.begins_at <= now]
        self._child.metrics.set("ocs_catalogue_timestamp_seconds", max(begun, default=0))

    async def _take(self) -> None:
        revision, stored = await self._ledger.catalogue_versions()
        versions = await self._merged(stored)
        known = {(each.version, each.begins_at) for each in self._child.catalogue.versions}
        self._child.catalogue.install(versions)
        if self._child.role == CHARGES:
            for version in versions:
                self._child.metrics.offer(version.service_units())
        if self._child.number == 0:
            for version in versions:
                if (version.version, version.begins_at) not in known:
                    log.info("catalogue version %s is in force from %s on", version.version, _moment(version))
        await self._changed()
        self._revision = revision

    async def _merged(self, stored: Sequence[StoredVersion]) -> tuple[Catalogue, ...]:
        compiled: dict[str, Catalogue] = {}
        for each in stored:
            known = self._compiled.get(each.digest)
            compiled[each.digest] = await asyncio.to_thread(each.compiled) if known is None else known
        versions = merge(self._files, ((each, compiled[each.digest]) for each in stored))
        for version in versions:
            check_services(Path("the settings"), self._child.settings, version)
        self._compiled = compiled
        return versions

    async def _answer(self, offer_id: str) -> None:
        offer = await self._ledger.catalogue_offer()
        if offer is None or offer.id != offer_id:
            return
        said = await self._judgement(offer)
        await self._ledger.answer_offer(offer_id, self.name, said)
        self._answered = offer_id

    async def _judgement(self, offer: Offer) -> str:
        """OK, or why this process cannot use it."""
        _, stored = await self._ledger.catalogue_versions()
        begins_at = offer.version.begins_at or self._child.environment.now() + ACCEPT_AHEAD_S
        try:
            await self._merged([*stored, replace(offer.version, begins_at=begins_at)])
        except (CatalogueError, SettingsError) as error:
            return str(error)
        return OK


def _moment(version: Catalogue) -> str:
    if not version.begins_at:
        return "the beginning"
    return datetime.fromtimestamp(version.begins_at, version.time_zone).isoformat()


@contextlib.asynccontextmanager
async def reading_catalogue(reader: CatalogueReader) -> AsyncIterator[None]:
    """The versions are taken before the body begins, and followed while it runs."""
    await reader.join()
    following = asyncio.create_task(reader.follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await reader.leave()
