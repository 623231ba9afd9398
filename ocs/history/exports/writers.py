"""Writes the rows of an export as CSV, JSON lines or Parquet. The file gets its name when it is complete.

The rows are written to a hidden file beside it, synced, and linked to the name, which must be free. A crash leaves the
hidden file only, and no half file that somebody could take for a whole one.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from ocs.history.exports.rows import Row
from ocs.history.exports.schema import COLUMNS, NAMES, Type
from ocs.outbox.files import sync_folder
from ocs.outbox.reading import unix_s

STANDARD_OUTPUT = "-"
ROWS_OF_A_GROUP = 50_000
"""Rows that Parquet keeps in memory (about 40 MB) and compresses together."""
OCTETS_AT_ONCE = 1024 * 1024
"""Octets (of CSV: characters) that are joined before they are written."""


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class ExportError(Exception):
    """The export cannot be made; the message says why, and what to do."""


class Writer(Protocol):
    def write(self, row: Row) -> None: ...

    def finish(self) -> None:
        """Writes what is left, and the end of the format."""

    def close(self) -> None:
        """Ends the use of the output, whatever has been written."""


def writer_of(form: Format, output: BinaryIO) -> Writer:
    """ExportError: the library of the format is not installed."""
    writers: dict[Format, Callable[[BinaryIO], Writer]] = {
        Format.CSV: CsvWriter,
        Format.JSONL: JsonLinesWriter,
        Format.PARQUET: ParquetWriter,
    }
    return writers[form](output)


class CsvWriter:
    """RFC 4180 with a header line, UTF-8, LF. An absent value is an empty cell; a truth is 1 or 0."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._text = io.StringIO()
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow(NAMES)

    def write(self, row: Row) -> None:
        self._csv.writerow([_csv_value(row[name]) for name in NAMES])
        if self._text.tell() >= OCTETS_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        self._output.write(self._text.getvalue().encode())
        self._text.seek(0)
        self._text.truncate()

    def close(self) -> None:
        self._text.close()


def _csv_value(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value[:1] in _FORMULA:
        return f"'{value}"
    return value


_FORMULA = ("=", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins so for a formula. (A number of a subscriber may begin with +.)"""


class JsonLinesWriter:
    """One object a line; absent values are left out."""

    def __init__(self, output: BinaryIO) -> None:
        self._output = output
        self._lines = bytearray()

    def write(self, row: Row) -> None:
        present = {name: value for name, value in row.items() if value is not None}
        self._lines += orjson.dumps(present, option=orjson.OPT_APPEND_NEWLINE)
        if len(self._lines) >= OCTETS_AT_ONCE:
            self.finish()

    def finish(self) -> None:
        self._output.write(self._lines)
        self._lines.clear()

    def close(self) -> None:
        self._lines.clear()


class ParquetWriter:
    """Apache Parquet, compressed by zstd, in groups of ROWS_OF_A_GROUP."""

    def __init__(self, output: BinaryIO) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise ExportError(
                "Parquet needs the package pyarrow, which is not installed: pip install 'ocs[parquet]', "
                "or choose --format csv or jsonl"
            ) from None
        types = {
            Type.TEXT: pyarrow.string(),
            Type.INTEGER: pyarrow.int64(),
            Type.TIME: pyarrow.timestamp("s", tz="UTC"),
            Type.BOOLEAN: pyarrow.bool_(),
        }
        self._schema = pyarrow.schema([pyarrow.field(each.name, types[each.type]) for each in COLUMNS])
        self._table: Any = pyarrow.Table
        self._file = pyarrow.parquet.ParquetWriter(output, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        for name in _TIMES:
            if row[name] is not None:
                row[name] = unix_s(row[name])
        self._rows.append(row)
        if len(self._rows) >= ROWS_OF_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()

    def finish(self) -> None:
        self._flush()

    def close(self) -> None:
        """Writes the end of the format too: without it the library would write it when the file is closed."""
        self._file.close()


_TIMES = tuple(each.name for each in COLUMNS if each.type is Type.TIME)


@contextmanager
def new_file(name: str) -> Iterator[BinaryIO]:
    """A file to write that gets its name when the block ends without an error; "-" is standard output.

    FileExistsError: a file has the name already, or got it meanwhile.
    """
    if name == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.exists() or path.is_symlink():
        raise ExportError(f"{path} exists already: name a new file, or move it away")
    hidden = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with hidden.open("xb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        _give_name(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)
    sync_folder(path.parent)


def _give_name(hidden: Path, path: Path) -> None:
    """By a link, which fails if the name was taken meanwhile; a rename would replace the file."""
    try:
        os.link(hidden, path)
    except FileExistsError:
        raise ExportError(f"{path} was made by somebody else meanwhile: nothing was written to it") from None
