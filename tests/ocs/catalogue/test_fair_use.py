"""The fair-use volume of each tariff and year (HOT-ROA-2), worked out by hand."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ocs.catalogue.catalogue import Catalogue, CatalogueError, parse_catalogue
from ocs.catalogue.fair_use import fair_use_volume, is_open_bundle, volume_octets
from ocs.catalogue.versions import Catalogues
from tests.ocs.catalogue.test_catalogue_file import FIXED
from tests.rules import rule

GB = 1024**3
CENT = 10_000


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Ljubljana")).timestamp())


@pytest.fixture(scope="module")
def shipped() -> Catalogue:
    return parse_catalogue(FIXED, "shipped")


@rule("HOT-ROA-2")
@pytest.mark.parametrize(
    ("net", "included_gb", "cap", "hundredths"),
    [
        pytest.param(819, 150, 110, 1489, id="MAXI: 8.19 / 150 = 0.05 EUR a GB; 2 × 8.19 / 1.10 = 14.89 GB"),
        pytest.param(573, 9, 110, None, id="MINI: 0.637 EUR a GB; 9 GB are below 2 × 5.73 / 1.10 = 10.42"),
        pytest.param(573, 9, 130, 881, id="MINI in 2025: 2 × 5.73 / 1.30 = 8.81 GB are below its 9 GB"),
        pytest.param(1229, None, 110, 2234, id="GIGA UNLIMITED: 2 × 12.29 / 1.10 = 22.34 GB"),
        pytest.param(819, 150, 100, 1638, id="MAXI in 2027: 2 × 8.19 / 1.00 = 16.38 GB"),
        pytest.param(1147, 300, 155, 1480, id="EXTRA in 2024: 2 × 11.47 / 1.55 = 14.80 GB"),
        pytest.param(1100, 10, 110, None, id="1.10 EUR a GB is not under the cap of 1.10"),
        pytest.param(1099, 10, 110, None, id="1.099 EUR a GB is under it, and 10 GB are below 19.98"),
        pytest.param(573, 0, 110, None, id="no data is included"),
    ],
)
def test_volume_by_hand(net: int, included_gb: int | None, cap: int, hundredths: int | None) -> None:
    """Net price and cap in cents, the volume in hundredths of a GB, cut off."""
    included = None if included_gb is None else included_gb * GB
    volume = fair_use_volume(net * CENT, included, cap * CENT, GB)
    assert (None if volume is None else volume * 100 // GB) == hundredths


def test_a_price_at_the_cap_is_no_open_bundle() -> None:
    assert not is_open_bundle(1100 * CENT, 10 * GB, 110 * CENT, GB)
    assert is_open_bundle(1100 * CENT - 1, 10 * GB, 110 * CENT, GB)


def test_the_volume_is_rounded_up_to_an_octet() -> None:
    """2 × 8.19 × 2^30 / 1.10 = 15,988,991,888.98 octets."""
    assert volume_octets(819 * CENT, 110 * CENT, GB) == 15_988_991_889
    assert volume_octets(110 * CENT, 110 * CENT, GB) == 2 * GB, "nothing to round"


@rule("HOT-ROA-2")
@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2022-06-30T23:59", {}),
        ("2025-12-31T23:59", {"MINI": 881, "MAXI": 1260, "EXTRA": 1764, "GIGA-MINI": 881, "GIGA-UNLIMITED": 1890}),
        ("2026-01-01T00:00", {"MAXI": 1489, "EXTRA": 2085, "GIGA-MINI": 1041, "GIGA-UNLIMITED": 2234}),
        ("2026-12-31T23:59", {"MAXI": 1489, "EXTRA": 2085, "GIGA-MINI": 1041, "GIGA-UNLIMITED": 2234}),
        ("2027-01-01T00:00", {"MAXI": 1638, "EXTRA": 2294, "GIGA-MINI": 1146, "GIGA-UNLIMITED": 2458}),
    ],
)
def test_a_period_has_the_volume_of_the_year_in_which_it_begins(
    shipped: Catalogue, moment: str, expected: dict[str, int]
) -> None:
    """The year begins at midnight in Ljubljana."""
    limits = {
        id_: next((each.limit for each in terms.counters if each.id == "eu-data"), None)
        for id_, terms in shipped.sold_at(at(moment)).packages.items()
    }
    assert {id_: limit * 100 // GB for id_, limit in limits.items() if limit is not None} == expected


def test_what_is_sold_now_and_the_terms_of_later_periods(shipped: Catalogue) -> None:
    now = at("2026-11-10T12:00")
    versions = Catalogues([shipped], lambda: now)
    (counter,) = versions.packages["MAXI"].counters
    assert versions.products["MAXI"].terms is versions.packages["MAXI"]
    begins = [(since, terms.counters[0].limit) for since, terms in versions.product_terms()["MAXI"] if terms.counters]
    assert begins == [
        (at("2025-01-01T00:00"), 13_529_146_983),
        (at("2026-01-01T00:00"), counter.limit),
        (at("2027-01-01T00:00"), 17_587_891_078),
    ]
    assert [since for since, _ in versions.product_terms()["5G"]] == [0], "an option has no volume"


def test_a_limit_that_the_catalogue_states_stays() -> None:
    text = FIXED.replace("[package.MAXI]\n", '[package.MAXI]\ncounter.eu-data = { limit = "20 GB" }\n')
    terms = parse_catalogue(text, "text").sold_at(at("2026-11-10T12:00")).packages["MAXI"]
    assert [(each.id, each.limit) for each in terms.counters] == [("eu-data", 20 * GB)]


@pytest.mark.parametrize(
    ("old", "new", "key", "allowed"),
    [
        ('counter = "eu-data"\ncaps', 'counter = "no"\ncaps', "fair_use.counter", "must be a counter with window"),
        ('surcharge = "fair-use-surcharge"\nwindow', 'surcharge = "x"\nwindow', "fair_use.surcharge", "must be a word"),
        ('eur_per_gb = "2.00"', 'eur_per_gb = "0.00"', "fair_use.caps[0].eur_per_gb", "must be more than 0"),
        ('"2022-07-01"', '"2022-02-30"', "fair_use.caps[0].from", "must be a date"),
        ('"2022-07-01"', '"2023-02-01"', "fair_use.caps", "must be in the order of their dates"),
        ("window_days = 120", "window_days = 90", "fair_use.window_days", "must be greater than or equal to 120"),
        ("notice_days = 14", "notice_days = 7", "fair_use.notice_days", "must be greater than or equal to 14"),
        ('surcharge = "sms-eu-surcharge"', 'surcharge = "data-eu-beyond"', "surcharge", "must be a price in messages"),
        ('surcharge = "sms-eu-surcharge"', 'surcharge = "none"', "surcharge", "is not a price of this catalogue"),
    ],
)
def test_a_mistake_is_named(old: str, new: str, key: str, allowed: str) -> None:
    assert old in FIXED
    with pytest.raises(CatalogueError) as raised:
        parse_catalogue(FIXED.replace(old, new, 1), "text")
    assert [(each.key, each.allowed) for each in raised.value.problems if key in each.key and allowed in each.allowed]


def test_a_catalogue_needs_no_fair_use() -> None:
    head, rest = FIXED.split("[fair_use]\n")
    catalogue = parse_catalogue(head + rest[rest.index("# ----") :], "text")
    assert catalogue.fair_use is None
    assert catalogue.sold_at(at("2026-11-10T12:00")) is catalogue.sold
