"""Number portability from the file to the record, while charging goes on (HOT-RAT-1)."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from ocs.catalogue.ported_numbers import PortedNumbers
from ocs.catalogue.versions import Catalogues
from ocs.compose import StartError
from ocs.process.ported_numbers import PortedNumbersReader
from ocs.telemetry.metrics import Metrics
from tests.ocs.catalogue.test_ported_numbers import MOBILE
from tests.ocs.charging.ccr import SMS, sms_to
from tests.ocs.rules.world import CATALOGUE, Subscriber, World
from tests.rules import rule
from tests.waiting import PATIENCE_S

ON_NET = CATALOGUE.read_text().replace(
    '[rate."sms.home.national"]',
    """[destination.on-net]
networks = ["hot"]
illustrative = true

[rate."sms.on-net"]
service = "sms"
places = ["home"]
directions = ["mo"]
destinations = ["on-net"]
price = "free"
illustrative = true

[rate."sms.home.national"]""",
)
NATIONAL = 69_000


class Files:
    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.file, self.data = world, folder / "ported.csv", folder / "data"
        self.data.mkdir()
        self.metrics = Metrics()
        self.times = 0

    def write(self, text: str) -> None:
        """As `mv` puts it there."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        self.times += 1
        os.utime(new, (1_700_000_000 + self.times, 1_700_000_000 + self.times))
        new.replace(self.file)

    def reader(self, *, first: bool = True) -> PortedNumbersReader:
        assert isinstance(self.world.catalogue, Catalogues)
        return PortedNumbersReader(self.file, self.data, self.world.catalogue, self.metrics, first=first)

    def gauge(self, name: str) -> float:
        return self.metrics.store.gauges[name,]


@pytest.fixture
async def files(world: World, tmp_path: Path) -> Files:
    await world.price_lists(ON_NET)
    return Files(world, tmp_path)


async def price(user: Subscriber) -> int:
    user.world.now += 1  # offers are cached for a second
    code, cost = await user.message(SMS, sms_to(f"+{MOBILE}"))
    assert code == 2001
    return cost


@rule("HOT-RAT-1")
async def test_a_changed_file_is_used_without_a_stop(world: World, files: Files) -> None:
    user = await world.subscriber(5)
    files.write("number,network\n38640000000,other\n")
    reader = files.reader()
    reader.start()
    assert await price(user) == NATIONAL
    files.write(f"{MOBILE},HOT\n38640000000,other\n")
    await reader.look()
    assert await price(user) == 0
    labels = [record["svc"][0]["label"] for record in await user.events("charge")]
    assert labels == ["sms.home.national", "sms.on-net"]
    assert (files.gauge("ocs_ported_numbers"), files.gauge("ocs_ported_numbers_refused")) == (2, 0)
    assert files.gauge("ocs_ported_numbers_timestamp_seconds") == 1_700_000_002


async def test_mistakes_are_named_and_the_old_table_stays(
    world: World, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    user = await world.subscriber(5)
    files.write(f"{MOBILE},hot\n")
    reader = files.reader()
    reader.start()
    files.write(f"38640000000,other\n{MOBILE}\n")
    with caplog.at_level(logging.INFO):
        await reader.look()
        await reader.look()
    (line,) = [each.getMessage() for each in caplog.records if each.name == "ocs.process.ported_numbers"]
    assert "line 2" in line and MOBILE not in line
    assert await price(user) == 0
    assert files.gauge("ocs_ported_numbers_refused") == 1
    files.file.unlink()
    await reader.look()
    assert await price(user) == 0
    files.write("38640000000,other\n")
    await reader.look()
    assert await price(user) == NATIONAL and files.gauge("ocs_ported_numbers_refused") == 0


async def test_a_worker_that_starts_meanwhile_has_the_table_before(world: World, files: Files) -> None:
    user = await world.subscriber(5)
    files.write(f"{MOBILE},hot\n")
    files.reader().start()
    await world.price_lists(ON_NET)
    files.write("nonsense\n")
    files.reader(first=False).start()
    assert await price(user) == 0


async def test_without_any_table_it_does_not_start(world: World, files: Files) -> None:
    with pytest.raises(StartError, match=r"ported\.csv: No such file"):
        files.reader().start()
    files.write("nonsense\n")
    with pytest.raises(StartError, match="line 1"):
        files.reader().start()


async def test_a_new_version_of_the_catalogue_has_the_table(world: World, files: Files) -> None:
    user = await world.subscriber(5)
    files.write(f"{MOBILE},hot\n")
    files.reader().start()
    versions = world.catalogue
    assert isinstance(versions, Catalogues)
    versions.install(versions.versions)
    assert await price(user) == 0


async def test_it_follows_by_itself(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    used = asyncio.Event()
    monkeypatch.setattr("ocs.process.followed_file.LOOK_S", 0.01)
    files.write("38640000000,other\n")
    reader = files.reader()
    reader.start()

    def use_ported(numbers: PortedNumbers) -> None:
        if len(numbers) == 3:
            used.set()

    monkeypatch.setattr(reader._catalogue, "use_ported", use_ported)
    following = asyncio.create_task(reader.follow())
    files.write("38640000000,other\n38640000001,other\n38640000002,other\n")
    async with asyncio.timeout(PATIENCE_S):
        await used.wait()
    following.cancel()
