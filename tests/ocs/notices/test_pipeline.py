"""From events of the ledger to the gateway: when, in which language, to whom, and to whom not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ocs.history.engine import history_engine
from ocs.notices import queue
from ocs.outbox.lost_events import add_lost_events
from ocs.process.back_office import loading, noticing
from ocs.settings.history_section import HistorySection
from ocs.values.measures import AccountMeasure, MeasureKind
from tests.catalogue import CATALOGUE
from tests.conftest import RedisServer
from tests.ocs.charging.ccr import MB, SERBIA
from tests.ocs.notices.gateway import Gateway, serving
from tests.ocs.notices.office import child_of, office, write_config, write_records
from tests.ocs.rules.world import World, world_on
from tests.rules import rule
from tests.waiting import PATIENCE_S

NOON = int(datetime(2026, 11, 10, 12, tzinfo=ZoneInfo("Europe/Ljubljana")).timestamp())
EVENING = NOON + 10 * 3600
MORNING = NOON + 20 * 3600


@dataclass
class Site:
    world: World
    gateway: Gateway
    folder: Path
    text: str = CATALOGUE.read_text("utf-8")
    port: str = "webhook"

    async def run(self, now: int | None = None, *, with_new_events: bool = True) -> None:
        """The backoffice works until nothing is left to do at that time."""
        self.world.now = now or self.world.now
        catalogue = self.folder / "catalogue.toml"
        catalogue.write_text(self.text, "utf-8")
        if with_new_events:
            await write_records(self.world.ledger, self.folder, self.world.now)
        redis = self.world.ledger_url  # type: ignore[attr-defined]
        config = write_config(self.folder, redis, self.gateway.url, catalogue=catalogue)
        if self.port != "webhook":
            config.write_text(config.read_text().replace('port = "webhook"', f'port = "{self.port}"'))
        child = child_of(config, lambda: self.world.now)
        async with office(child), asyncio.timeout(PATIENCE_S):
            looks = 0
            while looks < 8:
                await asyncio.sleep(0.05)
                due = [row for row in self.rows() if row.state == "waiting" and row.next_at <= self.world.now]
                open_ = due + [row for row in self.rows() if row.state == "sending"]
                looks = looks + 1 if not open_ and not self.events() else 0

    def rows(self) -> list[Any]:
        return list(self._read(lambda connection: queue.listed(connection, limit=1000)))

    def events(self) -> int:
        return int(self._read(queue.noted_count))

    def states(self) -> dict[str, str]:
        return {row.name: f"{row.state}: {row.reason}".removesuffix(": ") for row in self.rows()}

    def _read(self, work: Callable[..., Any]) -> Any:
        from ocs.history.migrating import migrate

        engine = history_engine(HistorySection(url=""), self.folder)
        try:
            migrate(engine)
            with engine.connect() as connection:
                return work(connection)
        finally:
            engine.dispose()

    def shown(self) -> list[tuple[str, str]]:
        return [(each["notice"], each["text"]) for each in self.gateway.shown.values()]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noticing, "PAUSE_S", 0.02)
    monkeypatch.setattr(loading, "LOAD_EVERY_S", 0.02)


@pytest.fixture
async def site(redis_7: RedisServer, tmp_path: Path) -> AsyncIterator[Site]:
    async with _site(redis_7, tmp_path) as found:
        yield found


@asynccontextmanager
async def _site(redis: RedisServer, folder: Path) -> AsyncIterator[Site]:
    async with world_on(redis.url) as world, serving(Gateway()) as gateway:
        world.now = NOON
        world.ledger_url = redis.url  # type: ignore[attr-defined]
        yield Site(world, gateway, folder)


@rule("HOT-NOT-1", "HOT-NOT-2")
async def test_each_subscriber_is_told_in_its_language_once(site: Site) -> None:
    one, other = await site.world.subscriber(20, "MINI"), await site.world.subscriber(2)
    await site.world.ledger.set_customer(other.account_id, name="language", value="en", **site.world.when)
    assert await other.top_up(10, "R1")
    await site.run()
    await site.run()
    assert sorted((each["to"], each["text"]) for each in site.gateway.shown.values()) == [
        (one.msisdn, "Paket MINI je vključen do 10. 12. 2026. Cena: 6,99 EUR."),
        (other.msisdn, "Topped up: 10.00 EUR. Credit: 12.00 EUR, valid until 8 Feb 2027."),
    ]
    assert len(site.gateway.requests) == 2
    assert {(row.state, row.attempts, row.msisdn) for row in site.rows()} == {
        ("sent", 1, one.msisdn),
        ("sent", 1, other.msisdn),
    }


@rule("HOT-NOT-1")
async def test_in_the_evening_only_what_is_urgent_is_sent_the_rest_in_the_morning(site: Site) -> None:
    site.world.now = EVENING
    user = await site.world.subscriber(20, "MINI")
    assert await user.top_up(10, "R1")
    await site.run()
    assert [name for name, _ in site.shown()] == ["topup"]
    await site.run(MORNING - 1)
    assert [name for name, _ in site.shown()] == ["topup"]
    await site.run(MORNING)
    assert [name for name, _ in site.shown()] == ["topup", "package-started"]


@rule("HOT-NOT-1", "HOT-ROA-5")
async def test_what_is_muted_and_what_is_too_late_is_not_sent(site: Site) -> None:
    user = await site.world.subscriber(100, "MINI")
    for name in ("welcome", "roaming-data:80"):
        measure = AccountMeasure(MeasureKind.MUTE, name, "asked for", site.world.now)
        await site.world.ledger.set_measure(user.account_id, measure=measure, **site.world.when)
    counter = site.world.catalogue.counters["roaming-data"]
    await site.world.ledger.set_limit(
        user.account_id, limit_micro_eur=4_000_000, counter="roaming-data", terms=counter, **site.world.when
    )
    await user.use_data(MB, plmn=SERBIA)
    await user.use_data(MB // 4, plmn=SERBIA)
    await site.run(NOON + 24 * 3600 - 1)
    assert await user.top_up(10, "R1")
    await site.run(NOON + 48 * 3600)
    assert site.states() == {
        "package-started": "sent",
        "welcome": "suppressed: muted",
        "roaming-cap-80": "suppressed: muted",
        "topup": "suppressed: expired",
    }
    assert [name for name, _ in site.shown()] == ["package-started"]


async def test_the_number_is_that_of_the_account_and_an_account_that_ended_is_told_nothing(site: Site) -> None:
    user, gone = await site.world.subscriber(20), await site.world.subscriber(20)
    assert await user.top_up(10, "R1") and await gone.top_up(10, "R2")
    await site.world.ledger.change_msisdn(user.account_id, msisdn="38668199999", **site.world.when)
    await site.world.ledger.move_account(user.account_id, partition=2, **site.world.when)
    await site.world.ledger.terminate_account(gone.account_id, **site.world.when)
    await site.run()
    assert {each["to"] for each in site.gateway.shown.values()} == {"38668199999"}
    assert [row.reason for row in site.rows() if row.state == "suppressed"] == ["no number"]


async def test_a_gateway_that_is_down_gets_the_message_later(site: Site) -> None:
    assert await (await site.world.subscriber(2)).top_up(10, "R1")
    site.gateway.answer = lambda number, fields: (503, {"Retry-After": "30"}) if number == 1 else (200, {})
    await site.run()
    assert site.states() == {"topup": "waiting: status 503"} and site.shown() == []
    await site.run(NOON + 29)
    assert len(site.gateway.requests) == 1
    await site.run(NOON + 30)
    assert site.states() == {"topup": "sent"} and len(site.gateway.requests) == 2


async def test_a_refused_message_is_not_sent_again(site: Site) -> None:
    assert await (await site.world.subscriber(2)).top_up(10, "R1")
    site.gateway.answer = lambda number, fields: (400, {})
    await site.run()
    await site.run(NOON + 3600)
    assert site.states() == {"topup": "failed: status 400"} and len(site.gateway.requests) == 1


@rule("HOT-NOT-2")
async def test_no_notice_of_an_event_that_the_ledger_lost(site: Site) -> None:
    """The housekeeper says which; before that, the ledger's counter is behind the event."""
    site.world.now = EVENING
    users = [await site.world.subscriber(20, "MINI") for _ in range(2)]
    await site.run()
    assert {row.state for row in site.rows()} == {"waiting"}
    (lost,) = [row for row in site.rows() if row.account == users[0].account_id]
    add_lost_events(site.folder / "lost-events.jsonl", [lost.event_id], EVENING)
    (behind,) = [row for row in site.rows() if row.account == users[1].account_id]
    partition = int(behind.event_id[1:].partition("-")[0])
    ledger = site.world.ledger
    await ledger._ask("outbox", partition, b"SET", ledger._keys.by_partition[partition].sequence, 0, durable=True)
    await site.run(MORNING, with_new_events=False)
    assert {(row.state, row.reason) for row in site.rows()} == {("suppressed", "rolled back")}
    assert site.shown() == []


async def test_nothing_is_sent_when_the_port_is_off(site: Site) -> None:
    site.port = "off"
    assert await (await site.world.subscriber(2)).top_up(10, "R1")
    await site.run()
    assert site.states() == {"topup": "suppressed: off"} and site.gateway.requests == []


async def test_a_text_with_a_mistake_stops_no_other_work(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.text = site.text.replace("Račun je napolnjen: {{ amount|eur }}", "{{ nothing.at.all }}")
    assert await (await site.world.subscriber(2)).top_up(10, "R1")
    await site.world.subscriber(20, "MINI")
    await site.run()
    assert site.states() == {"package-started": "sent"}
    assert "no notice of an event topup is made: its text cannot be used" in caplog.text
