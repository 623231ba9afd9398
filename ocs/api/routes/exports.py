"""Exports: charging records of a time range, as they are read (docs/RECORDS.md)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse

from ocs.accounts.errors import InputError, RefusedError
from ocs.api import trail
from ocs.api.call import Call, TheCall
from ocs.api.models.common import Time
from ocs.api.operation_route import router as operations
from ocs.history.exports.export import Wanted, export_rows, files_of, units_of
from ocs.history.exports.rows import UnitOf
from ocs.history.exports.schema import Kind
from ocs.history.exports.writers import ExportError, Format, writer_of
from ocs.outbox.reading import LATEST, Range, Source

router = operations("/v1/exports", "operations")
MAX_RANGE_S = 31 * 86_400 + 3_600
"""A calendar month with the end of summer time. `ocs export` has no limit."""
ROWS_AT_ONCE = 200
"""About 10 ms, in which no other request is answered."""


class Form(StrEnum):
    """Of the answer."""

    CSV = "csv"
    JSONL = "jsonl"


MEDIA_TYPES = {Form.CSV: "text/csv; charset=utf-8", Form.JSONL: "application/jsonl"}


@router.get(
    "",
    operation_id="exports.read",
    response_class=StreamingResponse,
    responses={200: {"content": {each: {} for each in MEDIA_TYPES.values()}, "description": "The rows."}},
)
async def read_export(
    since: Annotated[Time, Query(alias="from", description="With an offset.")],
    until: Annotated[Time, Query(alias="to", description="With an offset; not in the range.")],
    call: TheCall,
    form: Annotated[Form, Query(alias="format")] = Form.JSONL,
    kind: Kind = Kind.ALL,
) -> StreamingResponse:
    """Charging records of at most a month, from the files of this server. Other parties are masked (HOT-REC-1). If a
    file is damaged, the answer ends before its end: it has no last chunk.
    """
    wanted = Wanted(_range(since, until), kind)
    folder = call.container.settings.data_dir / "records"
    files = await asyncio.to_thread(_files, folder, wanted)
    await trail.note(call, 200, None, None)
    units = units_of(call.backend.catalogue)
    return StreamingResponse(_stream(call, files, wanted, units, form), media_type=MEDIA_TYPES[form])


def _range(since: datetime, until: datetime) -> Range:
    if since.tzinfo is None or until.tzinfo is None:
        raise InputError("from", "from and to must have an offset, such as 2026-11-30T00:00:00+01:00")
    begins, ends = int(since.timestamp()), int(until.timestamp())
    if not 0 <= begins < ends <= LATEST:
        raise InputError("to", "to must be later than from")
    if ends - begins > MAX_RANGE_S:
        raise InputError("to", "the range must be a month at most: ask for several, or use `ocs export`")
    return Range(begins, ends)


def _files(folder: Path, wanted: Wanted) -> list[Source]:
    try:
        return files_of(folder, wanted)
    except ExportError:
        raise RefusedError("records_missing", "files of records of this range were moved away") from None


async def _stream(call: Call, files: list[Source], wanted: Wanted, units: UnitOf, form: Form) -> AsyncIterator[bytes]:
    """In pieces, between which others are answered. No client holds up others by reading slowly."""
    pieces = _pieces(files, wanted, units, form)
    while True:
        async with call.container.slow:
            piece = await asyncio.to_thread(next, pieces, None)
        if piece is None:
            return
        if piece:
            yield piece


def _pieces(files: list[Source], wanted: Wanted, units: UnitOf, form: Form) -> Iterator[bytes]:
    output = io.BytesIO()
    writer = writer_of(Format(form.value), output)
    rows = export_rows(files, wanted, units)
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        for row in batch:
            writer.write(row)
        writer.finish()
        yield output.getvalue()
        output.seek(0)
        output.truncate()
    writer.finish()
    yield output.getvalue()
