"""Files of charging records for tests: as the pump writes them, from the events of a world, or by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from ocs.outbox import files
from ocs.outbox.vat import Vat
from ocs.outbox.writer import RecordWriter
from ocs.values.moment import utc_text
from tests.ocs.ledger.books import outbox_read
from tests.ocs.rules.test_rate_foretells import versions
from tests.ocs.rules.world import World

PAGE = 5_000


async def write_records(world: World, folder: Path, *, rotate_octets: int = 1 << 26) -> None:
    """The records of all that has happened, in files of at most about `rotate_octets`."""
    vat = Vat(versions(world))
    writer = RecordWriter(folder, rotate_octets=rotate_octets, rotate_s=10**6, clock=lambda: float(world.now), vat=vat)
    writer.open()
    for partition in range(world.ledger.partitions):
        after = 0
        while events := await outbox_read(world.ledger, partition, after=after, count=PAGE):
            writer.store(events)
            after = events[-1].sequence
    writer.close()


def write_file(folder: Path, number: int, began: int, *records: dict[str, Any]) -> Path:
    """One file that began at a Unix time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / files.file_name(number, utc_text(began))
    path.write_bytes(b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in records))
    return path
