"""A worker's table of barred equipment (HOT-ACC-11)."""

from __future__ import annotations

import logging
from pathlib import Path

from ocs.charging.equipment import EquipmentBar
from ocs.compose import StartError
from ocs.process.followed_file import FollowedFile, reason
from ocs.values.equipment import BarredEquipment, BarredEquipmentError, read_barred_equipment

log = logging.getLogger(__name__)


class BarredEquipmentReader:
    """`first`: the worker that logs for all."""

    def __init__(self, path: Path, bar: EquipmentBar, *, first: bool) -> None:
        self._bar, self._first = bar, first
        self._file = FollowedFile(
            path, read=read_barred_equipment, mistakes=BarredEquipmentError, use=self._use, refuse=self._refused
        )
        self.follow, self.look = self._file.follow, self._file.look

    def start(self) -> None:
        """StartError: the file cannot be used."""
        try:
            self._file.first()
        except (OSError, BarredEquipmentError) as error:
            raise StartError(f"server.barred_equipment cannot be used: {reason(error)}") from None

    def _use(self, table: BarredEquipment) -> None:
        self._bar.table = table
        if self._first:
            log.info("%d barred IMEIs are in use", len(table))

    def _refused(self, error: Exception) -> None:
        if self._first:
            log.error("the changed list of barred equipment cannot be used, the one before stays: %s", reason(error))
