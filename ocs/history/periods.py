"""How long the itemised use of an account is kept: the current billing period and some past ones (HOT-REC-1)."""

from __future__ import annotations

from collections.abc import Sequence

PERIOD_S = 30 * 86_400
"""Length of a billing period (HOT-PKG-2) where an account has none: before its first tariff and after its last one."""
Period = tuple[int, int]
"""(begins_at, ends_at), in Unix seconds."""


def period_starts(periods: Sequence[Period], now: int, count: int) -> list[int]:
    """Beginnings of the current billing period and of those before it, newest first, `count` in all. `periods`: those
    that the account had, oldest first. Where they leave gaps, periods of PERIOD_S fill them.
    """
    starts: list[int] = []
    known = [each for each in periods if each[0] <= now]
    if not known:
        return [now - PERIOD_S * number for number in range(1, count + 1)]
    ended = known[-1][1]
    if ended <= now:
        since = (now - ended) // PERIOD_S
        starts += [ended + PERIOD_S * number for number in range(since, -1, -1)][:count]
    starts += [begins_at for begins_at, _ in reversed(known)][: count - len(starts)]
    while len(starts) < count:
        starts.append(starts[-1] - PERIOD_S)
    return starts


def kept_from(periods: Sequence[Period], now: int, past: int) -> int:
    """Use before this moment is erased. `past`: periods that are kept besides the current one."""
    return period_starts(periods, now, past + 1)[-1]
