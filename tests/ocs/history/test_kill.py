"""The loading process is killed (SIGKILL) again and again, at any moment: each record is in the database once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ocs.history.schema import ACCOUNT_MONTHS, EVENTS, TRANSACTIONS, USAGE
from tests.ocs.history.records import T0, Folder, Journal, load_all, rows, use

KILLS = int(os.environ.get("HISTORY_KILLS", "10"))
"""`make kills` has more."""
RECORDS = 240 * KILLS
BATCH_OCTETS = 8_000
"""Small batches: a process stores hundreds of them a second."""


def fill(folder: Folder, rng: random.Random) -> tuple[Counter[str], dict[str, int], int]:
    """Random records in many files. Returns used units by session, credit by account, and the number of events."""
    journal, used, events = Journal(64), Counter[str](), 0
    for number in range(RECORDS):
        if number % 500 == 0:
            folder.begin()
        account = f"{rng.randrange(64):02d}-a"
        roll = rng.random()
        if roll < 0.2:
            folder.append(journal.line(account, "topup", T0 + number, credit_in=1_000_000))
            events += 1
        elif roll < 0.3:
            folder.append(journal.line(account, "use", T0 + number, sid="x", typ="U", n=1, debit=10))
        else:
            session, units = f"s{rng.randrange(1_500)}", rng.randrange(1, 99)
            used[f"{account} {session}"] += units
            line = use(used=units, debit=7, units=[["M.voice", units]])
            folder.append(journal.charge(account, T0 + number, session, line, debit=7))
    return used, journal.credit, events


@contextmanager
def loading(url: str, folder: Folder) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.ocs.history.loading_process", url, str(folder.path), str(BATCH_OCTETS)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.long
def test_killed_at_any_moment_no_row_is_lost_or_doubled(engine: Engine, folder: Folder, url: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    used, credit, events = fill(folder, rng)
    kills, batches = 0, 0
    while kills < KILLS:
        with loading(url, folder) as process:
            assert process.stdout is not None
            said = process.stdout.read(1)
            assert said, "the process ended by itself"
            if said == b"-":
                break
            time.sleep(rng.random() * 0.02)
            process.kill()
            batches += 1 + len(process.stdout.read())
            kills += 1
    assert kills >= 0.6 * KILLS, "it was over before it was killed often"
    load_all(engine, folder)
    found = rows(engine, USAGE, "account", "session_id", "used", "bucket_units", "debit_micro_eur")
    assert {f"{row[0]} {row[1]}": row[2] for row in found} == dict(used)
    assert len(found) == len(used)
    assert all(row[3] == {"M.voice": row[2]} for row in found)
    assert len(rows(engine, TRANSACTIONS, "event_id")) == len(rows(engine, EVENTS, "event_id")) == events
    sums = ("account", "credit_in_micro_eur", "debit_micro_eur", "credit_micro_eur")
    months = rows(engine, ACCOUNT_MONTHS, *sums)
    assert {row[0]: row[1] - row[2] for row in months} == credit == {row[0]: row[3] for row in months}
