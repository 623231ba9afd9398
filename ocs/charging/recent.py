"""A bounded memory of what came last."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


class Recent(dict[K, T]):
    """The last `limit` entries put in; the oldest goes first."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def put(self, key: K, value: T) -> None:
        if len(self) >= self._limit and key not in self:
            del self[next(iter(self))]
        self[key] = value
