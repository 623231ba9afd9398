"""Number portability: the network of each ported number decides its destination class, before its prefix does
(HOT-RAT-1).

A CSV file has a line `number,network` for each ported number: E.164 digits, with or without +, and the operator's name
of the network. It is read whole or not at all. A number takes 8 octets: 3 million take 24 MB in each worker.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from heapq import merge
from pathlib import Path
from typing import BinaryIO

MAX_NUMBERS = 3_000_000
MAX_NETWORKS = 255
"""A number and its network share 64 bits; 15 digits need 50."""
MAX_LINE_OCTETS = 256
MAX_MISTAKES = 20
"""Wrong lines that are named; more are counted."""
CHUNK = 20_000
"""Numbers that are sorted at a time, about 5 ms; between two chunks other threads run."""
NETWORK_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$"
_NETWORK_BITS = 8
_LINE = re.compile(rb"\+?([1-9][0-9]{4,14})[,;]([A-Za-z0-9][A-Za-z0-9._-]{0,31})")
_HEADER = re.compile(rb"[a-z_ ]+[,;][a-z_ ]+", re.IGNORECASE)
ALLOWED = "must be a number with country code and a network, such as 38640111222,a1"


class PortedNumbersError(Exception):
    """The file cannot be used. One line for each mistake, with file and line, without numbers of subscribers."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class PortedNumbers:
    """An immutable table of numbers and their networks."""

    __slots__ = ("_packed", "networks")

    def __init__(self, packed: array[int] | None = None, networks: tuple[str, ...] = ()) -> None:
        """`packed`: ascending; each has the number, and in its lowest bits the index of the network."""
        self._packed = array("Q") if packed is None else packed
        self.networks = networks

    def __len__(self) -> int:
        return len(self._packed)

    def network_of(self, digits: str) -> str | None:
        """Network of an E.164 number (digits without +), in small letters; None = it is not ported."""
        packed = self._packed
        if not packed:
            return None
        number = int(digits) << _NETWORK_BITS
        place = bisect_left(packed, number)
        if place == len(packed) or packed[place] >> _NETWORK_BITS != number >> _NETWORK_BITS:
            return None
        return self.networks[packed[place] & (1 << _NETWORK_BITS) - 1]

    def count(self) -> dict[str, int]:
        """Numbers of each network."""
        found = Counter(each & (1 << _NETWORK_BITS) - 1 for each in self._packed)
        return {network: found[index] for index, network in enumerate(self.networks)}


def read_ported_numbers(path: Path, pause: Callable[[], None] = lambda: None) -> PortedNumbers:
    """Reads and checks the whole file. `pause` is called after each chunk. PortedNumbersError, OSError."""
    reading = _Reading(path)
    with path.open("rb") as file:
        for _ in iter(lambda: reading.chunk(file), False):
            pause()
    if not reading.mistakes:
        reading.merge(pause)
    if reading.mistakes:
        raise PortedNumbersError(reading.told())
    return PortedNumbers(reading.packed, tuple(reading.networks))


class _Reading:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.networks: dict[str, int] = {}
        self.mistakes: list[str] = []
        self.more_mistakes = 0
        self.packed = array("Q")
        self._chunks: list[array[int]] = []
        self._line = 0
        self._numbers = 0

    def told(self) -> list[str]:
        return [*self.mistakes, *([f"{self.path}: {self.more_mistakes} more"] if self.more_mistakes else [])]

    def chunk(self, file: BinaryIO) -> bool:
        """Reads CHUNK lines; False at the end of the file."""
        read: list[int] = []
        for line in iter(lambda: file.readline(MAX_LINE_OCTETS), b""):
            self._line += 1
            text = line.strip()
            found = _LINE.fullmatch(text)
            if found is None:
                if text and not text.startswith(b"#") and not (self._line == 1 and _HEADER.fullmatch(text)):
                    self._mistake(ALLOWED)
                continue
            network = self._network(found[2].decode().lower())
            read.append(int(found[1]) << _NETWORK_BITS | network)
            if len(read) == CHUNK:
                break
        self._numbers += len(read)
        if self._numbers > MAX_NUMBERS:
            self._mistake(f"is one too many: at most {MAX_NUMBERS} numbers")
            return False
        self._chunks.append(array("Q", sorted(read)))
        return len(read) == CHUNK

    def _network(self, name: str) -> int:
        known = self.networks.get(name)
        if known is None:
            if len(self.networks) >= MAX_NETWORKS:
                self._mistake(f"names one network too many: at most {MAX_NETWORKS}")
                return 0
            known = self.networks[name] = len(self.networks)
        return known

    def _mistake(self, what: str) -> None:
        if len(self.mistakes) < MAX_MISTAKES:
            self.mistakes.append(f"{self.path}, line {self._line}: {what}")
        else:
            self.more_mistakes += 1

    def merge(self, pause: Callable[[], None]) -> None:
        """One ascending array. A number that occurs twice must have the same network."""
        packed, twice = self.packed, 0
        before = -1
        for count, each in enumerate(merge(*self._chunks)):
            if each >> _NETWORK_BITS == before >> _NETWORK_BITS:
                twice += each != before
                continue
            packed.append(each)
            before = each
            if count % CHUNK == 0:
                pause()
        self._chunks.clear()
        if twice:
            numbers = "number has" if twice == 1 else "numbers have"
            self.mistakes.append(f"{self.path}: {twice} {numbers} two networks; `ocs numbers check` names their lines")


def lines_with_two_networks(path: Path) -> list[str]:
    """Of a file with such numbers: each line that contradicts an earlier one, at most MAX_MISTAKES."""
    seen: dict[bytes, tuple[bytes, int]] = {}
    found = []
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            match = _LINE.fullmatch(line.strip())
            if match is None:
                continue
            network, first = seen.setdefault(match[1], (match[2].lower(), number))
            if network != match[2].lower():
                found.append(f"{path}, line {number}: the number has another network than in line {first}")
            if len(found) == MAX_MISTAKES:
                break
    return found


NONE = PortedNumbers()
