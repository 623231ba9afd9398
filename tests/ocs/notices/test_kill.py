"""HOT-NOT-2: each notice is shown once though the process that makes and sends it is killed (SIGKILL) at any step."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from tests.catalogue import fixed_catalogue
from tests.conftest import RedisServer
from tests.ocs.charging.ccr import MB, SERBIA, towards
from tests.ocs.ledger.books import flush
from tests.ocs.notices.gateway import serve_alone
from tests.ocs.notices.office import child_of, forked, open_work, write_config, write_records
from tests.ocs.rules.world import World, world_on
from tests.rules import rule
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
KILLS = int(os.environ.get("NOTICE_KILLS", "6"))
"""`make kills` has more."""
EXPECTED = Counter({"low-credit": 1, "topup": 3, "welcome": 1, "package-started": 1})


@contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """The URL of a gateway in a process of its own, which shows each key once. Forked, as one that is started anew
    imports for half a second.
    """
    told, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            sys.stdout = os.fdopen(tells, "w")
            asyncio.run(serve_alone(folder / "shown", 0))
        finally:
            os._exit(1)
    os.close(tells)
    try:
        with os.fdopen(told) as said:
            yield said.readline().strip()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def shown(folder: Path) -> list[dict[str, str]]:
    path = folder / "shown"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


async def traffic(url: str, folder: Path, now: int) -> None:
    """A low credit, three top-ups, a package and an arrival, from the CCR to the record files."""
    async with world_on(url) as world:
        world.now = now
        user = await world.subscriber(1.03)
        await user.call(60, towards("tel:+38631234567"))
        for number in range(3):
            assert await user.top_up(10 + number, f"R{number}")
        await user.use_data(MB, plmn=SERBIA)
        await world.subscriber(20, "MINI")
        await write_records(world.ledger, folder, now)


@pytest.mark.long
@rule("HOT-NOT-2")
def test_killed_at_each_step_each_notice_is_shown_once(redis_7: RedisServer, tmp_path: Path) -> None:
    """A run that is killed at step 1, then one at step 2, …, each with a new database; then one that ends."""
    now = 1_795_000_000
    asyncio.run(traffic(redis_7.url, tmp_path / "first", now))
    step, status, repeated = 0, 9, 0
    while status == 9:
        step += 1
        folder = tmp_path / f"step{step}"
        shutil.copytree(tmp_path / "first" / "records", folder / "records")
        with gateway(folder) as url:
            config = write_config(folder, redis_7.url, url)
            status = forked(config, now, die_at=step)
            assert status in (0, 9), "it died of something else"
            assert forked(config, now + 15, die_at=0) == 0
        found = shown(folder)
        assert Counter(each["notice"] for each in found) == EXPECTED, f"killed at step {step}"
        assert len({(each["to"], each["text"]) for each in found}) == len(found)
        requests = (folder / "shown.requests").read_text().splitlines()
        repeated += len(requests) > len(found)
    assert step > 25, "it was killed at each of its steps"
    assert repeated > 1, "some kills came between the message and its outcome"


@pytest.mark.long
@rule("HOT-NOT-2")
def test_the_backoffice_is_killed_at_any_moment(redis_7: RedisServer, tmp_path: Path) -> None:
    """Real processes: events go on while the backoffice is killed again and again."""
    rng = random.Random(seed := random.randrange(1 << 30))
    print(f"seed {seed}")
    sent = 0
    flush(redis_7.url)
    with gateway(tmp_path) as url:
        config = write_config(tmp_path, redis_7.url, url)
        for number in range(KILLS):
            sent += asyncio.run(top_ups(redis_7.url, tmp_path, number))
            with backoffice(config, tmp_path) as process:
                assert process.stdout is not None and process.stdout.readline(), "it did not start"
                time.sleep(rng.random() * 1.2)
                process.send_signal(signal.SIGKILL)
        with backoffice(config, tmp_path):
            child = child_of(config, time.time)
            end = time.monotonic() + PATIENCE_S
            while (left := open_work(config, child)) != (0, 0):
                assert time.monotonic() < end, left
                time.sleep(0.2)
    found = shown(tmp_path)
    assert len(found) == sent and len({each["id"] for each in found}) == sent
    assert len({(each["to"], each["text"]) for each in found}) == sent, "each text is another one"


async def top_ups(url: str, folder: Path, number: int) -> int:
    """Six top-ups of different amounts, of two accounts. Returns how many."""
    ledger = await RedisLedger.connect(url, LedgerSettings(partitions=4, max_clock_skew_s=0))
    try:
        world = World(ledger, fixed_catalogue())
        world.now, world._accounts = int(time.time()), 2 * number
        for _ in range(2):
            user = await world.subscriber(2 + number)
            for amount in range(3):
                assert await user.top_up(10 + amount, f"{user.msisdn}-{amount}")
        await write_records(ledger, folder, time.time())
    finally:
        await ledger.close()
    return 6


@contextmanager
def backoffice(config: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ocs.process.backoffice", "--config", str(config)]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
