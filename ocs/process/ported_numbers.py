"""A worker's table of ported numbers. The first worker keeps a copy of the last file that was good, for workers that
start while the file has mistakes.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from ocs.catalogue.ported_numbers import PortedNumbers, PortedNumbersError, read_ported_numbers
from ocs.catalogue.versions import Catalogues
from ocs.compose import Paths, StartError
from ocs.process.followed_file import FollowedFile, reason
from ocs.telemetry.logs import reason_of
from ocs.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

PAUSE_S = 0.001
"""Between two chunks of the file, for the requests of the worker."""


class PortedNumbersReader:
    """`first`: the worker that logs, counts and keeps the copy for all."""

    def __init__(self, path: Path, data_dir: Path, catalogue: Catalogues, metrics: Metrics, *, first: bool) -> None:
        self._path = path
        self._file = FollowedFile(
            path, read=_read_with_pauses, mistakes=PortedNumbersError, use=self._use, refuse=self._refused
        )
        self.follow, self.look = self._file.follow, self._file.look
        self._copy = Paths(data_dir).ported_numbers
        self._catalogue = catalogue
        self._metrics = metrics
        self._first = first

    def start(self) -> None:
        """Read the file, or the copy if it has mistakes. StartError: neither can be used."""
        try:
            self._file.first()
        except (OSError, PortedNumbersError) as error:
            try:
                self._use(read_ported_numbers(self._copy), self._copy)
            except (OSError, PortedNumbersError):
                raise StartError(f"server.ported_numbers cannot be used: {reason(error)}") from None
            self._refused(error)

    def _use(self, numbers: PortedNumbers, path: Path | None = None) -> None:
        """`path`: the copy; None = the file itself."""
        self._catalogue.use_ported(numbers)
        if not self._first:
            return
        self._metrics.set("ocs_ported_numbers", len(numbers))
        self._metrics.set("ocs_ported_numbers_timestamp_seconds", (path or self._path).stat().st_mtime)
        self._metrics.set("ocs_ported_numbers_refused", 0)
        log.info("%d ported numbers are in use", len(numbers))
        if path is None:
            self._keep()

    def _keep(self) -> None:
        """A copy of the file, with its time."""
        temporary = self._copy.with_suffix(".new")
        try:
            shutil.copy2(self._path, temporary)
            temporary.replace(self._copy)
        except OSError as error:
            log.warning("%s: no copy of the ported numbers can be kept: %s", self._copy, reason_of(error))

    def _refused(self, error: Exception) -> None:
        if self._first:
            self._metrics.set("ocs_ported_numbers_refused", 1)
            log.error("the changed ported numbers cannot be used, those before stay: %s", reason(error))


def _read_with_pauses(path: Path) -> PortedNumbers:
    return read_ported_numbers(path, lambda: time.sleep(PAUSE_S))
