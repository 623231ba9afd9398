"""The port "log": appends messages to a file, one JSON line each, synced. For trials, and for programs that follow it.

A message is in the file once, also if the process was killed after writing it: its id is found again at start.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import orjson

from ocs.notices.port import Answer, Message, Taken
from ocs.values.bounded_cache import BoundedCache

ROTATE_OCTETS = 64 * 1024 * 1024
"""Then the file is renamed to `….1`, in place of the one before."""
REMEMBERED = 100_000
"""Ids that are known. An id is sent again within minutes of its first attempt, or never."""


class LogPort:
    def __init__(self, path: Path, *, rotate_octets: int = ROTATE_OCTETS) -> None:
        self._path = path
        self._older = path.with_name(path.name + ".1")
        self._rotate_octets = rotate_octets
        self._known: BoundedCache[str, bool] = BoundedCache(REMEMBERED)
        self._opened = False
        self._writing = asyncio.Lock()

    async def send(self, message: Message) -> Answer:
        async with self._writing:
            try:
                await asyncio.to_thread(self._append, message)
            except OSError as error:
                return Answer(Taken.LATER, f"{self._path.name}: {error.strerror}")
        return Answer(Taken.YES)

    async def close(self) -> None:
        """Nothing is left open."""

    def _append(self, message: Message) -> None:
        if not self._opened:
            self._open()
        if self._known.get(message.id):
            return
        fields = {"id": message.id, "to": message.msisdn, "text": message.text}
        line = orjson.dumps({**fields, "language": message.language, "notice": message.notice}) + b"\n"
        if self._path.exists() and self._path.stat().st_size + len(line) > self._rotate_octets:
            self._path.replace(self._older)
        before = self._path.stat().st_size if self._path.exists() else 0
        with open(self._path, "ab", opener=_private) as file:
            try:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self._path, before)
                raise
        self._known.put(message.id, True)

    def _open(self) -> None:
        """Read the ids; cut off a line that a crash left incomplete."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self._older, self._path):
            if not path.exists():
                continue
            valid = 0
            with path.open("rb") as lines:
                for line in lines:
                    id_ = _id(line)
                    if id_ is None:
                        break
                    valid += len(line)
                    self._known.put(id_, True)
            if valid < path.stat().st_size:
                os.truncate(path, valid)
        self._opened = True


def _private(path: str, flags: int) -> int:
    """Numbers and texts are for nobody else."""
    return os.open(path, flags, 0o600)


def _id(line: bytes) -> str | None:
    """None: the line is incomplete."""
    try:
        return str(orjson.loads(line)["id"]) if line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError):
        return None
