"""Catalogue versions: each use is charged by the version in force. A new version within a session is handled as a price
switch, and records name their version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ocs.accounts.catalogue_versions import KNOWN_TO_ALL_S, CatalogueVersions, Loaded
from ocs.accounts.errors import RefusedError
from ocs.catalogue.catalogue import CatalogueError, parse_catalogue
from ocs.ledger.contract.catalogue import Offer
from ocs.ledger.redis.ledger import RedisLedger
from ocs.settings.profile import Profile
from protocol.credit_control import MultipleServicesCreditControl, UsedServiceUnit
from tests.ocs.charging.ccr import IMS, MB, SMS, octets, seconds, sms_to, towards
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import CATALOGUE, DAY_S, EUR, World, granted
from tests.rules import rule

TEXT = CATALOGUE.read_text()
BEGINS = int(datetime(2026, 12, 1, tzinfo=ZoneInfo("Europe/Ljubljana")).timestamp())
NATIONAL = "tel:+38631234567"


def changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


NEXT = changed(
    TEXT,
    ('version = "1"', 'version = "2026-12"\nvalid_from = "2026-12-01T00:00"'),
    ("micro_eur = 6_900\n", "micro_eur = 9_000\n"),
    ("[price.sms-national]\nmicro_eur = 69_000", "[price.sms-national]\nmicro_eur = 80_000"),
)
"""Dearer data and SMS."""


def reported(before: int, after: int) -> MultipleServicesCreditControl:
    """Use before and after the price switch (Tariff-Change-Usage)."""
    sides = [UsedServiceUnit(tariff_change_usage=side, cc_total_octets=n) for side, n in enumerate((before, after))]
    return MultipleServicesCreditControl(rating_group=1, used_service_unit=sides)


@rule("HOT-RAT-1")
async def test_each_use_is_charged_by_the_version_in_force_and_its_record_names_it(world: World) -> None:
    await world.price_lists(TEXT, NEXT)
    user = await world.subscriber(10)
    world.now = BEGINS - 1
    assert await user.message(SMS, sms_to("+38631234567")) == (2001, 69_000)
    world.now = BEGINS
    assert await user.message(SMS, sms_to("+38631234567")) == (2001, 80_000)
    before, after = [event["svc"][0] for event in await user.events("charge")]
    assert (before["price"].rpartition("/")[2], after["price"].rpartition("/")[2]) == ("1", "2026-12")
    assert before["label"] == after["label"] == "sms.home.national"


async def test_a_version_loaded_during_a_grant_prices_what_is_granted_after_it_was_loaded(world: World) -> None:
    """It is loaded a second before it begins. What was granted before keeps its price, whenever it is used; the grant
    ends at its Validity-Time.
    """
    await world.price_lists(TEXT)
    user = await world.subscriber(10)
    world.now = BEGINS - 60
    running = user.data()
    opened = await running.one("I", octets(want=10 * MB))
    assert opened.granted_service_unit.tariff_time_change is None
    world.now = BEGINS - 1
    await world.price_lists(TEXT, NEXT)
    assert opened.validity_time is not None
    world.now = BEGINS - 60 + opened.validity_time
    assert world.now > BEGINS
    await running.one("U", octets(want=10 * MB, used=10 * MB))
    assert 10 * EUR - await user.credit() == 10 * 6_900
    assert await running.held() == {"1": 10 * 9_000}
    await running.take("T", octets(used=MB))
    assert 10 * EUR - await user.credit() == 10 * 6_900 + 9_000


async def test_a_restart_with_a_changed_file_leaves_open_grants_their_price(world: World) -> None:
    """Also if the version's name is the same: the id of a price has a hash of its terms."""
    await world.price_lists(TEXT)
    user = await world.subscriber(10)
    running = user.data()
    await running.one("I", octets(want=10 * MB))
    await world.price_lists(changed(TEXT, ("micro_eur = 6_900\n", "micro_eur = 9_000\n")))
    await running.one("U", octets(want=10 * MB, used=10 * MB))
    assert 10 * EUR - await user.credit() == 10 * 6_900 and await running.held() == {"1": 10 * 9_000}
    await running.take("T", octets(used=MB))
    assert 10 * EUR - await user.credit() == 10 * 6_900 + 9_000
    (charge,) = await user.events("charge")
    old, new = (each["price"] for each in charge["svc"])
    assert old != new and old.endswith("/1") and new.endswith("/1")


HOUR_S = 3600
"""validity_s of all services of the tests' catalogue."""


class Loading:
    """`ocs catalogue load` of a version that begins in 2096, as Redis's clock counts; no process runs that could
    object.
    """

    begins = int(datetime(2096, 12, 1, tzinfo=ZoneInfo("Europe/Ljubljana")).timestamp())
    text = NEXT.replace("2026-12-01T00:00", "2096-12-01T00:00")

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder = world, folder
        (folder / "files.toml").write_text(TEXT, encoding="utf-8")
        (folder / "next").write_text(self.text, encoding="utf-8")

    async def __call__(self, *, at_once: bool = False) -> Loaded:
        files, now = [parse_catalogue(TEXT, "files")], lambda: self.world.now
        loader = CatalogueVersions(self.world.ledger, self.folder, files, now, lambda: token_hex(8))
        return await loader.load(self.folder / "next", at_once=at_once, by="test")


@rule("HOT-RAT-1")
async def test_a_version_begins_when_all_grants_of_older_prices_have_ended(world: World, tmp_path: Path) -> None:
    """One grant is given before the load, one before every process knows the version, one afterwards."""
    load = Loading(world, tmp_path)
    await world.price_lists(TEXT)
    world.now = load.begins - HOUR_S - KNOWN_TO_ALL_S + 1
    user = await world.subscriber(10)
    with pytest.raises(CatalogueError, match=r"must be 2096-12-01T00:00:01\+01:00 or later: grants of the old prices"):
        await load()
    assert await world.ledger.catalogue_versions() == ("", []), "nothing was changed"
    world.now -= 1
    running, ends = user.data(), list[int]()
    for later in (0, KNOWN_TO_ALL_S):
        opened = await running.one("U" if later else "I", octets(want=10 * MB, used=MB if later else None))
        assert opened.validity_time is not None and opened.granted_service_unit.tariff_time_change is None
        ends.append(world.now + opened.validity_time)
        if not later:
            assert (await load()).old_prices_until == 0
        world.now += KNOWN_TO_ALL_S
    assert max(ends) == load.begins
    await world.price_lists(TEXT, load.text)
    following = await running.one("U", octets(want=10 * MB, used=MB))
    assert following.granted_service_unit.tariff_time_change == load.begins


async def test_a_version_that_is_forced_says_until_when_grants_keep_the_old_prices(
    world: World, tmp_path: Path
) -> None:
    load = Loading(world, tmp_path)
    world.now = load.begins - 60
    assert (await load(at_once=True)).old_prices_until == world.now + HOUR_S


async def test_a_one_off_request_has_the_price_at_its_time(world: World) -> None:
    await world.price_lists(TEXT, NEXT)
    user = await world.subscriber(10)
    world.now = BEGINS + 20
    before = await user.credit()
    await user.charged(
        SMS, "E", 0, sid=world.new_session(), information=sms_to("+38631234567"), event_timestamp=BEGINS - 5
    )
    assert before - await user.credit() == 69_000


@rule("HOT-RAT-1")
async def test_a_grant_of_volume_may_span_the_start_of_a_version(world: World) -> None:
    await world.price_lists(TEXT, NEXT)
    user = await world.subscriber(10)
    world.now = BEGINS - 600
    running = user.data()
    opened = await running.one("I", octets(want=10 * MB))
    assert opened.granted_service_unit.tariff_time_change == BEGINS
    assert await running.held() == {"1": 10 * 9_000}, "held at the dearer side"
    world.now = BEGINS + 60
    await running.take("T", reported(4 * MB, 6 * MB))
    assert 10 * EUR - await user.credit() == 4 * 6_900 + 6 * 9_000
    (record,) = await user.events("charge")
    used = {line["price"].rpartition("/")[2]: line["used"] for line in record["svc"]}
    assert used == {"1": 4 * MB, "2026-12": 6 * MB}


async def test_a_grant_ends_at_a_version_that_changes_more_than_the_price(world: World) -> None:
    """No bucket pays in the new version, so use must be rated again from its start."""
    other = changed(NEXT, ('price = "data-national"\nbuckets = ["data", "extra-data"]', 'price = "data-national"'))
    await world.price_lists(TEXT, other)
    user = await world.subscriber(20, "MINI")
    world.now = BEGINS - 600
    running = user.data()
    opened = await running.one("I", octets(want=10 * MB))
    assert (opened.validity_time, opened.granted_service_unit.tariff_time_change) == (600, None)
    world.now = BEGINS
    credit = await user.credit()
    following = await running.one("U", octets(want=10 * MB, used=10 * MB))
    assert await user.credit() == credit, "the package paid for what it had granted"
    assert granted(following) == 10 * MB and await running.held() == {"1": 10 * 9_000}
    await running.take("T", octets(used=0))


async def test_time_is_not_granted_beyond_the_start_of_a_version(world: World) -> None:
    dear = changed(NEXT, ('micro_eur = 69_000\nper = "1 min"', 'micro_eur = 120_000\nper = "1 min"'))
    await world.price_lists(TEXT, dear)
    user = await world.subscriber(10)
    world.now = BEGINS - 120
    call = user.running(IMS, towards(NATIONAL))
    opened = await call.one("I", seconds(want=600))
    assert opened.validity_time == 120
    world.now = BEGINS
    await call.one("U", seconds(want=600, used=120))
    world.now = BEGINS + 60
    await call.one("T", seconds(used=60))
    assert 10 * EUR - await user.credit() == 2 * 69_000 + 120_000


async def test_a_client_without_tariff_change_requests_again_at_the_start_of_a_version(world: World) -> None:
    await world.price_lists(TEXT, NEXT)
    world.source = Origin(profile=Profile(tariff_change=False))
    user = await world.subscriber(10)
    world.now = BEGINS - 4 * 3600
    early = await user.data().one("I", octets(want=10 * MB))
    assert early.validity_time == 3600, "the change is too far away to matter"
    world.now = BEGINS - 600
    late = await user.data().one("I", octets(want=10 * MB))
    assert (late.validity_time, late.granted_service_unit.tariff_time_change) == (600, None)


# -- packages: a running period keeps its terms, the next one has those of its first day (HOT-PKG-11)

DEAR = changed(
    NEXT, ('price_eur = "6.99"\nnet_eur = "5.73"', 'price_eur = "7.99"\nnet_eur = "6.55"'), ("9 GB", "12 GB")
)
"""MINI has another price and more data."""
GB = 1024 * MB


async def test_a_package_renews_by_the_terms_in_force_then(world: World) -> None:
    await world.price_lists(TEXT, DEAR)
    world.now = BEGINS - 10 * DAY_S
    user = await world.subscriber(20, "MINI")
    world.now = BEGINS + DAY_S
    assert (await user.left("MINI.data"), await user.credit()) == (9 * GB, 13_010_000), "the period that runs"
    world.now = BEGINS + 20 * DAY_S
    await world.sweep()
    assert (await user.left("MINI.data"), await user.credit()) == (12 * GB, 5_020_000)


async def test_a_period_that_begins_before_a_version_is_the_old_one_whenever_it_is_looked_at(world: World) -> None:
    await world.price_lists(TEXT, DEAR)
    world.now = BEGINS - 31 * DAY_S
    user = await world.subscriber(20, "MINI")
    world.now = BEGINS + DAY_S  # the period began a day before the version
    await world.sweep()
    assert (await user.left("MINI.data"), await user.credit()) == (9 * GB, 20 * EUR - 2 * 6_990_000)


@rule("HOT-PKG-11")
async def test_hot_pkg_11_a_planned_activation_has_the_price_of_its_day(world: World) -> None:
    await world.price_lists(TEXT, DEAR)
    world.now = BEGINS - 20 * DAY_S
    user = await world.subscriber(20)
    await user.buy(world.catalogue.packages["MINI"], "R1", starts_at=BEGINS + 60)
    world.now = BEGINS + 60
    await world.sweep()
    assert (await user.left("MINI.data"), await user.credit()) == (12 * GB, 20 * EUR - 7_990_000)


async def test_an_unpaid_package_begins_by_the_terms_of_the_day_on_which_it_is_paid(world: World) -> None:
    await world.price_lists(TEXT, DEAR)
    world.now = BEGINS - DAY_S
    user = await world.subscriber(1, "MINI")
    world.now = BEGINS
    await user.top_up(6, "R1")
    assert await user.credit() == 7 * EUR, "enough for the old price"
    await user.top_up(1, "R2")
    assert (await user.left("MINI.data"), await user.credit()) == (12 * GB, 10_000)


async def test_an_armed_package_begins_by_the_terms_of_the_day_of_its_first_use(world: World) -> None:
    await world.price_lists(TEXT, DEAR)
    world.now = BEGINS - DAY_S
    user = await world.subscriber(10)
    await user.buy(world.catalogue.packages["MINI"], "R1", armed=True)
    world.now = BEGINS
    await user.use_data(MB)
    assert await user.credit() == 10 * EUR - 7_990_000


async def test_a_product_that_no_version_knows_keeps_the_terms_it_was_bought_by(world: World) -> None:
    await world.price_lists(TEXT, DEAR)
    special = replace(world.catalogue.packages["MINI"], id="SPECIAL", price_micro_eur=EUR)
    user = await world.subscriber(10, special)
    world.now += 60 * DAY_S + 1
    await world.sweep()
    assert await user.credit() == 8 * EUR


class Overtaken:
    """A ledger into which another version is loaded just before this loader can offer its own."""

    def __init__(self, ledger: RedisLedger, other: Callable[[], Awaitable[object]]) -> None:
        self._ledger, self._other = ledger, other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def offer_catalogue(self, offer: Offer) -> bool:
        await self._other()
        return await self._ledger.offer_catalogue(offer)


async def test_of_two_loads_at_once_the_second_does_not_replace_what_it_has_not_seen(
    world: World, tmp_path: Path
) -> None:
    """Both have a version of one name, and no process runs that could object."""
    files = [parse_catalogue(TEXT, "files")]
    (tmp_path / "files.toml").write_text(TEXT, encoding="utf-8")
    later = NEXT.replace("2026-12-01T00:00", "2096-12-01T00:00")
    (tmp_path / "one").write_text(later, encoding="utf-8")
    (tmp_path / "two").write_text(later.replace("micro_eur = 9_000\n", "micro_eur = 9_999\n"), encoding="utf-8")

    def loader(ledger: Any) -> CatalogueVersions:
        return CatalogueVersions(ledger, tmp_path, files, lambda: world.now, lambda: token_hex(8))

    async def first() -> None:
        await loader(world.ledger).load(tmp_path / "one", at_once=False, by="one")

    with pytest.raises(RefusedError, match="another version was loaded just now"):
        await loader(Overtaken(world.ledger, first)).load(tmp_path / "two", at_once=False, by="two")
    _, stored = await world.ledger.catalogue_versions()
    assert [(each.name, each.loaded_by) for each in stored if each.begins_at > world.now] == [("2026-12", "one")]
    with pytest.raises(CatalogueError, match="there is a version of this name that says otherwise"):
        await loader(world.ledger).load(tmp_path / "two", at_once=False, by="two")
