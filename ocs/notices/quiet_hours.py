"""Hours in which notices wait, in local time, over daylight saving too."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo


def end_of_quiet(at: int, begin: time, end: time, zone: ZoneInfo) -> int:
    """Unix seconds at which the quiet hours at a moment are over; the moment itself, if it is in none. Equal times:
    there are none.
    """
    local = datetime.fromtimestamp(at, zone)
    now = local.time()
    is_quiet = begin <= now < end if begin < end else begin != end and (now >= begin or now < end)
    if not is_quiet:
        return at
    day = local.date() + timedelta(days=1 if now >= end else 0)
    over = datetime.combine(day, end, zone)
    # Of a time that occurs twice, the second if the first is past.
    return max(int(over.timestamp()), at) if over.timestamp() > at else int(over.replace(fold=1).timestamp())
