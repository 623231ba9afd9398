"""A file of the operator that a process reads before it serves, and again when the file has changed. A file with
mistakes is not used: what was read before stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from ocs.telemetry.logs import reason_of

T = TypeVar("T")
LOOK_S = 5.0
"""How often the file is looked at."""
Signature = tuple[int, int, int]


class FollowedFile(Generic[T]):
    """`read` raises OSError, or `mistakes` if the file cannot be used. `use` is given what was read; `refuse` why a
    changed file is not used.
    """

    def __init__(
        self,
        path: Path,
        *,
        read: Callable[[Path], T],
        mistakes: type[Exception],
        use: Callable[[T], None],
        refuse: Callable[[Exception], None],
    ) -> None:
        self._path, self._read, self._use, self._refuse = path, read, use, refuse
        self._errors = (OSError, mistakes)
        self._seen: Signature | None = None

    def first(self) -> None:
        """Read the file in this thread. Raises what `read` raises."""
        self._seen = _signature(self._path)
        self._use(self._read(self._path))

    async def follow(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Read the file in a thread if it has changed; if it changes meanwhile, again at the next look."""
        signature = _signature(self._path)
        if signature == self._seen:
            return
        try:
            content = await asyncio.to_thread(self._read, self._path)
        except self._errors as error:
            self._seen = signature
            self._refuse(error)
            return
        if _signature(self._path) == signature:
            self._seen = signature
            self._use(content)


def reason(error: Exception) -> str:
    """Why a file cannot be used, for people."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror or reason_of(error)}"
    return str(error).replace("\n", "; ")


def _signature(path: Path) -> Signature | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
