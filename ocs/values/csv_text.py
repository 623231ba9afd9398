"""CSV files as people make them: the delimiter is found out from the header, since spreadsheets write semicolons where
the comma is the decimal sign.
"""

from __future__ import annotations

import csv
from typing import TextIO

DELIMITERS = (",", ";", "\t")


def delimiter_of(header: str) -> str:
    """That of DELIMITERS which the header has most often; a comma if it has none."""
    return max(DELIMITERS, key=header.count)


def dict_reader(text: TextIO) -> csv.DictReader[str]:
    """Reads a seekable file from where it stands; its first line is the header. csv.Error: it is no CSV."""
    start = text.tell()
    delimiter = delimiter_of(text.readline())
    text.seek(start)
    return csv.DictReader(text, delimiter=delimiter, strict=True)


def decimal_point(amount: str, delimiter: str) -> str:
    """The amount with a point. A comma is the decimal sign where it does not separate columns."""
    return amount if delimiter == "," else amount.replace(",", ".")
