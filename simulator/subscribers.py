"""Provisioning files: msisdn, imsi, package, credit, limit or not, as `ocs account import` reads them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from simulator.distributions import ScenarioError
from simulator.requests import Subscriber

COLUMNS = ("msisdn", "imsi", "package", "credit")
LIMIT = "limit"
"""Column of the spending limits, if a subscriber has one of its own."""
FIRST_MSISDN, FIRST_IMSI = 38668100000, 293400000000000


def write_subscribers(path: Path, subscribers: Iterable[Subscriber]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = tuple(subscribers)
    columns = (*COLUMNS, LIMIT) if any(one.limit for one in rows) else COLUMNS
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(asdict(one) for one in rows)


def read_subscribers(path: Path) -> tuple[Subscriber, ...]:
    """Raises ScenarioError if it is not such a file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = tuple(
                Subscriber(
                    row["msisdn"], row["imsi"], row.get("package") or "", row.get("credit") or "0", row.get(LIMIT) or ""
                )
                for row in csv.DictReader(lines)
            )
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: needs the columns {', '.join(COLUMNS)} ({error!r})") from error
    if not rows:
        raise ScenarioError(f"{path}: has no subscribers")
    return rows


def default_subscribers(count: int, package: str = "MAXI", credit: str = "20.00") -> tuple[Subscriber, ...]:
    """`count` consecutive numbers, as in the shipped scenarios."""
    return tuple(
        Subscriber(str(FIRST_MSISDN + index), str(FIRST_IMSI + index), package, credit) for index in range(count)
    )
