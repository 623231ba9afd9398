"""A worker's table of ported numbers: read before it serves, and read again when the file has changed.

A file with mistakes is not used: the table before stays. So that a worker which starts meanwhile has that one too, the
first worker keeps a copy of the last file that was good.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path

from ocs.catalogue.ported_numbers import PortedNumbers, PortedNumbersError, read_ported_numbers
from ocs.catalogue.versions import Catalogues
from ocs.compose import Paths, StartError
from ocs.telemetry.logs import reason_of
from ocs.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""How often the file is looked at."""
PAUSE_S = 0.001
"""Between two chunks of the file, for the requests of the worker."""
Signature = tuple[int, int, int]


class PortedNumbersReader:
    """`first`: the worker that logs, counts and keeps the copy for all."""

    def __init__(self, path: Path, data_dir: Path, catalogue: Catalogues, metrics: Metrics, *, first: bool) -> None:
        self._path = path
        self._copy = Paths(data_dir).ported_numbers
        self._catalogue = catalogue
        self._metrics = metrics
        self._first = first
        self._seen: Signature | None = None

    def start(self) -> None:
        """Read the file, or the copy if it has mistakes. StartError: neither can be used."""
        self._seen = _signature(self._path)
        try:
            self._use(read_ported_numbers(self._path), self._path)
        except (OSError, PortedNumbersError) as error:
            try:
                self._use(read_ported_numbers(self._copy), self._copy)
            except (OSError, PortedNumbersError):
                raise StartError(f"server.ported_numbers cannot be used: {_reason(error)}") from None
            self._refused(error)

    async def follow(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Read the file if it has changed; if it changes meanwhile, next time again."""
        signature = _signature(self._path)
        if signature == self._seen:
            return
        try:
            numbers = await asyncio.to_thread(read_ported_numbers, self._path, lambda: time.sleep(PAUSE_S))
        except (OSError, PortedNumbersError) as error:
            self._seen = signature
            self._refused(error)
            return
        if _signature(self._path) == signature:
            self._seen = signature
            self._use(numbers, self._path)

    def _use(self, numbers: PortedNumbers, path: Path) -> None:
        self._catalogue.use_ported(numbers)
        if not self._first:
            return
        self._metrics.set("ocs_ported_numbers", len(numbers))
        self._metrics.set("ocs_ported_numbers_timestamp_seconds", path.stat().st_mtime)
        self._metrics.set("ocs_ported_numbers_refused", 0)
        log.info("%d ported numbers are in use", len(numbers))
        if path != self._copy:
            self._keep()

    def _keep(self) -> None:
        """A copy of the file, with its time."""
        temporary = self._copy.with_suffix(".new")
        try:
            shutil.copy2(self._path, temporary)
            temporary.replace(self._copy)
        except OSError as error:
            log.warning("%s: no copy of the ported numbers can be kept: %s", self._copy, reason_of(error))

    def _refused(self, error: OSError | PortedNumbersError) -> None:
        if self._first:
            self._metrics.set("ocs_ported_numbers_refused", 1)
            log.error("the changed ported numbers cannot be used, those before stay: %s", _reason(error))


def _signature(path: Path) -> Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _reason(error: OSError | PortedNumbersError) -> str:
    if isinstance(error, PortedNumbersError):
        return "; ".join(error.mistakes)
    return f"{error.filename}: {error.strerror or reason_of(error)}"
