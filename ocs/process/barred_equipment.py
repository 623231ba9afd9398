"""A worker's table of barred equipment: read before it serves, and read again when the file has changed. A file with
mistakes is not used: the table before stays.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ocs.charging.equipment import EquipmentBar
from ocs.compose import StartError
from ocs.telemetry.logs import reason_of
from ocs.values.equipment import BarredEquipmentError, read_barred_equipment

log = logging.getLogger(__name__)

LOOK_S = 5.0
"""How often the file is looked at."""
Signature = tuple[int, int, int]


class BarredEquipmentReader:
    """`first`: the worker that logs for all."""

    def __init__(self, path: Path, bar: EquipmentBar, *, first: bool) -> None:
        self._path, self._bar, self._first = path, bar, first
        self._seen: Signature | None = None

    def start(self) -> None:
        """StartError: the file cannot be used."""
        self._seen = _signature(self._path)
        try:
            self._bar.table = read_barred_equipment(self._path)
        except (OSError, BarredEquipmentError) as error:
            raise StartError(f"server.barred_equipment cannot be used: {_reason(error)}") from None
        self._told()

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
            table = await asyncio.to_thread(read_barred_equipment, self._path)
        except (OSError, BarredEquipmentError) as error:
            self._seen = signature
            if self._first:
                log.error(
                    "the changed list of barred equipment cannot be used, the one before stays: %s", _reason(error)
                )
            return
        if _signature(self._path) == signature:
            self._seen, self._bar.table = signature, table
            self._told()

    def _told(self) -> None:
        if self._first:
            log.info("%d barred IMEIs are in use", len(self._bar.table))


def _signature(path: Path) -> Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _reason(error: OSError | BarredEquipmentError) -> str:
    if isinstance(error, BarredEquipmentError):
        return str(error)
    return f"{error.filename}: {error.strerror or reason_of(error)}"
