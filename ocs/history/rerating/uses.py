"""The uses of a charging record: what the network reported, without what it cost.

A use is what one service used towards one party from one place since the session's last record. Its lines are legs of
it (a surcharge, the incoming leg of a forwarded call) and prices that followed each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from ocs.outbox.explain import event_of
from ocs.outbox.legs import IsSecond, direction_of
from ocs.outbox.reading import Record, unix_s
from ocs.values.use import UseEvent

Line = dict[str, Any]


@dataclass(slots=True)
class Use:
    key: str
    event: UseEvent
    """Without facts; `at` is the session's beginning."""
    used: int
    late: bool
    """Of a forwarded call: it was routed to the phone first."""
    label: str
    """The rate that the record names first."""
    overrun: int
    """Billable units that nothing could pay, of the first leg."""
    charged: int
    """Micro-EUR from credit, of all legs."""
    bucket_units: dict[str, int] = field(default_factory=dict)
    """Of all legs."""


def uses_of(record: Record, is_second: IsSecond) -> Iterator[Use | int]:
    """Of a `charge` or `expired`. An int instead of a use: micro-EUR of lines that say too little to rate them."""
    lines = record.get("services", ())
    for (_, detail), group in groupby(lines, key=lambda line: (line["key"], line.get("detail", ""))):
        yield _use(record, list(group), direction_of(str(detail)), is_second)


def _use(record: Record, lines: list[Line], direction: str, is_second: IsSecond) -> Use | int:
    charged: int = sum(line.get("debit_micro_eur", 0) for line in lines)
    first = [line for line in lines if not is_second(line["label"], direction)]
    event = event_of(record, first[0]) if first else None
    if event is None:
        return charged
    buckets: dict[str, int] = {}
    for line in lines:
        for bucket, units in line.get("bucket_units", {}).items():
            buckets[bucket] = buckets.get(bucket, 0) + units
    return Use(
        key=str(first[0]["key"]),
        event=event,
        used=sum(line["used"] for line in first),
        late=len(first) < len(lines) and direction == "fw",
        label=str(first[0]["label"]),
        overrun=sum(line.get("overrun_units", 0) for line in first),
        charged=charged,
        bucket_units=buckets,
    )


def started_at(record: Record) -> int:
    """Unix seconds when the session began; of a one-off request, its time."""
    return unix_s(str(record.get("started") or record["time"]))
