"""The demo's traffic, reconciled: the host's file is the network's own view, so there is no difference; and each fault
that is put into the file is found, and nothing else.
"""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from simulator.demo import WHOLESALE
from simulator.server_process import ServerError, ocs
from simulator.wholesale import COLUMNS
from tests.simulator.played_demo import Demo

Row = dict[str, str]


@pytest.fixture
def demo(demo_played: Demo) -> Path:
    return demo_played.folder


def rows_of(path: Path) -> list[Row]:
    with path.open(newline="") as text:
        return list(csv.DictReader(text))


def reconciled(demo: Path, rows: list[Row], name: str) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Outcome → sessions, and the differences."""
    path = demo / f"{name}.csv"
    with path.open("w", newline="") as text:
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    found = demo / f"{name}-found.csv"
    found.unlink(missing_ok=True)
    try:
        out = ocs(["reconcile", str(path), "--json", "--csv", str(found)], demo / "ocs.toml")
    except ServerError as error:  # exit status 1: there are differences
        assert "difference" in str(error)
        out = ""
    counts = Counter(row["outcome"] for row in rows_of(found))
    if out:
        counts["matched"] = sum(row["count"] for row in json.loads(out)["outcomes"] if row["outcome"] == "matched")
    return counts, rows_of(found)


DISPUTED = ("different", "missing_here", "missing_there", "duplicate")


@pytest.mark.long
@pytest.mark.parametrize("without", [(), ("session_id",), ("session_id", "charging_id")], ids=len)
def test_the_demo_has_no_difference(demo: Path, without: tuple[str, ...]) -> None:
    """By Session-Id; by charging id, as the host's files have it; by subscriber and time alone."""
    rows = rows_of(demo / WHOLESALE)
    assert len(rows) > 50 and {row["service"] for row in rows} == {"data", "voice", "sms", "mms"}
    for row in rows:
        row.update(dict.fromkeys(without, ""))
    counts, differences = reconciled(demo, rows, f"whole-{len(without)}")
    assert not [row for row in differences if row["outcome"] in DISPUTED]
    assert counts["matched"] > 50
    assert counts["matched"] + counts["open"] == len(rows)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_exactly_the_faults_are_found(demo: Path, seed: int) -> None:
    chance = random.Random(seed)
    rows = rows_of(demo / WHOLESALE)
    _, sound = reconciled(demo, rows, f"sound-{seed}")
    never = {row["line"] for row in sound}
    ended = [row for number, row in enumerate(rows, start=2) if str(number) not in never]
    lost, doubled, changed, *strange = chance.sample(ended, 5)
    wanted = Counter(missing_there=1, duplicate=1, different=1, missing_here=2)
    changed["units"] = str(int(changed["units"]) * 3 + 10**7)
    faulty = [row for row in rows if row is not lost]
    faulty.insert(faulty.index(doubled) + 1, dict(doubled))
    for row in strange:
        start = f"{row['start'][:11]}{(int(row['start'][11:13]) + 12) % 24:02d}{row['start'][13:]}"
        ids = {"record_id": "X" + row["record_id"], "session_id": "", "charging_id": "9" + row["charging_id"]}
        faulty.append({**row, **ids, "start": start, "end": start})
    counts, differences = reconciled(demo, faulty, f"faulty-{seed}")
    found = Counter(row["outcome"] for row in differences if row["outcome"] in DISPUTED)
    assert found == wanted, differences
    assert counts["open"] == len(never)
    by_outcome = {row["outcome"]: row for row in differences}
    assert by_outcome["missing_there"]["session_id"] == lost["session_id"]
    assert by_outcome["different"]["session_id"] == changed["session_id"]
    assert by_outcome["duplicate"]["line"] == str(faulty.index(doubled) + 3)
