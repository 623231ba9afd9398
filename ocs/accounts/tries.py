"""What all tries of one request share, so that a repetition whose first answer was lost does and says the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson


class Tries(Protocol):
    """All tries of one request. What the first one is about to do is kept before it does it."""

    async def planned(self) -> bytes | None: ...

    async def plan(self, what: bytes) -> bytes:
        """Returns what is kept: of two tries at once, the first."""


async def begun(tries: Tries | None, facts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Facts of the moment before the first try. Without `tries` each is the first."""
    if tries is None:
        return facts()
    kept: dict[str, Any] = orjson.loads(await tries.plan(orjson.dumps(facts())))
    return kept


async def begun_before(tries: Tries | None) -> dict[str, Any] | None:
    """The same, if there was an earlier try."""
    kept = await tries.planned() if tries is not None else None
    facts: dict[str, Any] | None = None if kept is None else orjson.loads(kept)
    return facts
