"""Exports the charging records of a time range: streaming, in the order in which they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ocs.catalogue.model import RateTable, ServiceTable
from ocs.catalogue.versions import Catalogues
from ocs.history.exports.rows import Row, UnitOf, rows
from ocs.history.exports.schema import Kind
from ocs.history.exports.writers import ExportError, Format, new_file, writer_of
from ocs.outbox import reading
from ocs.outbox.reading import Range, Source
from ocs.values.use import Context, Unit

_UNITS = {
    Context.DATA: Unit.OCTETS,
    Context.IMS: Unit.SECONDS,
    Context.CS: Unit.SECONDS,
    Context.SMS: Unit.MESSAGES,
    Context.MMS: Unit.MESSAGES,
    Context.CONTENT: Unit.MONEY,
}
"""Of a rate that no known version of the catalogue has."""


@dataclass(frozen=True, slots=True)
class Wanted:
    range: Range
    kind: Kind = Kind.ALL
    full: bool = False
    """Other parties and equipment as they are, else masked (HOT-REC-1)."""


@dataclass(slots=True)
class Exported:
    records: int = 0
    rows: int = 0


def units_of(catalogues: Catalogues) -> UnitOf:
    """The unit of a rate's service."""
    units: dict[str, str] = {}
    for version in catalogues.versions:
        services = version.tables.of("service", ServiceTable)
        for label, rate in version.tables.of("rate", RateTable).items():
            units[label] = services[rate.service].unit

    def unit_of(label: str, context: str) -> str:
        rate = next((version.rate_of(label) for version in catalogues.versions), label)
        known = units.get(label) or units.get(rate)
        return known or (_UNITS[Context(context)].value if context in set(Context) else "")

    return unit_of


def files_of(folder: Path, wanted: Wanted, *, gaps: bool = False) -> list[Source]:
    """ExportError: files of the range are missing, unless `gaps` are allowed."""
    files = reading.sources(folder, wanted.range)
    lacks = reading.missing(files, wanted.range)
    if lacks and not gaps:
        raise ExportError(f"{folder}: {lacks}: bring them back, or export what there is with --allow-gaps")
    return files


def export_rows(
    files: list[Source],
    wanted: Wanted,
    unit_of: UnitOf,
    advanced: Callable[[int], None] = lambda octets: None,
    done: Exported | None = None,
) -> Iterator[Row]:
    """`done` counts what was yielded. RecordsError: a line is damaged."""
    done = done or Exported()
    for record in reading.read(files, wanted.range, advanced):
        before = done.rows
        for row in rows(record, wanted.kind, unit_of, full=wanted.full):
            done.rows += 1
            yield row
        done.records += done.rows > before


def export(
    files: list[Source],
    wanted: Wanted,
    unit_of: UnitOf,
    *,
    form: Format,
    output: str,
    advanced: Callable[[int], None] = lambda octets: None,
) -> Exported:
    """Writes the file `output`, "-" = standard output. ExportError, RecordsError, OSError: there is no new file."""
    done = Exported()
    with new_file(output) as binary, closing(writer_of(form, binary)) as writer:
        for row in export_rows(files, wanted, unit_of, advanced, done):
            writer.write(row)
        writer.finish()
    return done
