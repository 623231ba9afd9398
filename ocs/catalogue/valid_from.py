"""When a version of the catalogue begins: its `valid_from`, a local time of the operator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from ocs.catalogue.model import General
from ocs.catalogue.problems import CatalogueError, Problems


def begins_at(general: General, problems: Problems) -> int:
    """Unix seconds of `valid_from`, 0 if there is none. A local time that does not exist, or that occurs twice and has
    no offset, is a mistake: nobody can tell when the prices change.
    """
    if not general.valid_from:
        return 0
    zone = ZoneInfo(general.time_zone)
    try:
        said = datetime.fromisoformat(general.valid_from)
        wall = said.replace(tzinfo=None)
        offsets = sorted({wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1)})
        found = [at for at in (wall - offset for offset in offsets) if _wall_time(at, zone) == wall]
        if said.tzinfo is not None:
            found = [at for at in found if at == said.astimezone(UTC).replace(tzinfo=None)]
    except (ValueError, OverflowError):
        problems.add("catalogue.valid_from", "must be a local time, such as 2026-12-01T00:00", general.valid_from)
        raise CatalogueError(problems.found) from None
    if len(found) != 1:
        _add_no_beginning(wall, offsets, said.tzinfo is not None, general, problems)
        raise CatalogueError(problems.found)
    return int(found[0].replace(tzinfo=UTC).timestamp())


def _wall_time(utc: datetime, zone: ZoneInfo) -> datetime:
    return utc.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)


def _add_no_beginning(
    wall: datetime, offsets: Sequence[timedelta], has_offset: bool, general: General, problems: Problems
) -> None:
    zone = ZoneInfo(general.time_zone)
    texts = {wall.replace(tzinfo=timezone(each)).isoformat(timespec="minutes") for each in offsets}
    if has_offset:
        allowed = (
            f"is no local time of {general.time_zone} with that offset; the offset may be left out where it is clear"
        )
    elif _wall_time(wall - offsets[0], zone) == wall:
        allowed = f"occurs twice in {general.time_zone}: say which, {' or '.join(sorted(texts))}"
    else:
        allowed = f"does not exist in {general.time_zone}: the clock is put forward over it"
    problems.add("catalogue.valid_from", allowed, general.valid_from)
