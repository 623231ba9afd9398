"""Mobile equipment by its IMEI, and a table of barred equipment (HOT-ACC-11).

An IMEI has 14 digits and a check digit, an IMEISV the same 14 digits and a software version (TS 23.003 §6.2): both are
compared by the first 14.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

IMEI_DIGITS = 14
MAX_BARRED = 1_000_000
"""Entries; each takes 8 octets in each worker."""
MAX_MISTAKES = 20
"""Wrong lines that are named."""
_TEXT = re.compile(r"([0-9]{14})[0-9]{0,2}", re.ASCII)
_LINE = re.compile(r"([0-9]{8})-?([0-9]{6})(?:-?[0-9]{1,2})?(?:[,;].*)?", re.ASCII)
ALLOWED = "must be an IMEI of 15 digits or an IMEISV of 16, such as 356938035643809"


def imei_digits(value: bytes) -> str:
    """First 14 digits of an IMEI or IMEISV as a network element sends it: digits as text, or TBCD in 8 octets
    (TS 29.061 §16.4.7). "" = it is neither.
    """
    try:
        found = _TEXT.fullmatch(value.decode("ascii"))
    except UnicodeDecodeError:
        found = None
    if found is None and len(value) == 8:
        digits = "".join(f"{octet & 15:x}{octet >> 4:x}" for octet in value)
        found = _TEXT.fullmatch(digits.rstrip("f"))
    return found[1] if found is not None else ""


class BarredEquipmentError(Exception):
    """The file cannot be used. `mistakes`: a text for each wrong line, without the IMEI."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes


class BarredEquipment:
    """An immutable table."""

    __slots__ = ("_sorted",)

    def __init__(self, imeis: Iterable[str] = ()) -> None:
        """`imeis`: 14 digits each."""
        self._sorted = array("Q", sorted({int(each) for each in imeis}))

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, imei: str) -> bool:
        number = int(imei)
        place = bisect_left(self._sorted, number)
        return place < len(self._sorted) and self._sorted[place] == number


NOTHING_BARRED = BarredEquipment()


def read_barred_equipment(path: Path) -> BarredEquipment:
    """Read the whole file: an IMEI or IMEISV in each line, "#" begins a comment. BarredEquipmentError, OSError."""
    imeis: list[str] = []
    mistakes: list[str] = []
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            found = _LINE.fullmatch(text)
            if found is not None:
                imeis.append(found[1] + found[2])
            elif len(mistakes) < MAX_MISTAKES:
                mistakes.append(f"{path}: line {number} {ALLOWED}")
            if len(imeis) > MAX_BARRED:
                raise BarredEquipmentError([f"{path}: has more than {MAX_BARRED} entries"])
    if mistakes:
        raise BarredEquipmentError(mistakes)
    return BarredEquipment(imeis)
