"""Rate limit of each key: a token bucket. The least recently used keys are forgotten, which only fills their bucket."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_BUCKETS = 10_000


class RateLimits:
    """`monotonic` gives seconds."""

    def __init__(self, requests_per_s: int, burst: int, monotonic: Callable[[], float]) -> None:
        self._rate, self._burst, self._monotonic = requests_per_s, burst, monotonic
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Key id → tokens, and when they were counted; at most MAX_BUCKETS."""

    def has_token(self, key_id: str) -> bool:
        """Whether `wait_s` would give one now."""
        tokens, at = self._buckets.get(key_id, (float(self._burst), 0.0))
        return tokens >= 1 or tokens + (self._monotonic() - at) * self._rate >= 1

    def wait_s(self, key_id: str) -> float:
        """Take a token. 0 = there was one; else seconds until there is."""
        now = self._monotonic()
        tokens, at = self._buckets.pop(key_id, (float(self._burst), now))
        tokens = min(tokens + (now - at) * self._rate, float(self._burst))
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[key_id] = (tokens - 1 if wait == 0 else tokens, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return wait
