"""Pricing by the simulator's own code: worked examples from the shipped price list (HOT-PKG-5, HOT-RAT-8)."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from simulator.prices import Price, PriceList, PriceListError
from tests.catalogue import CATALOGUE

PRICES = PriceList.read(CATALOGUE)


@pytest.mark.parametrize(
    ("service", "place", "direction", "destination", "used", "billable", "micro_eur"),
    [
        ("data", "home", "mo", "", 0, 0, 0),
        ("data", "home", "mo", "", 1, 1024, 7),  # 6,900 / 1,024 = 6.74
        ("data", "home", "mo", "", 1024, 1024, 7),
        ("data", "eu", "mo", "", 1_048_576, 1_048_576, 6_900),
        ("data", "home", "mo", "", 1_048_577, 1_049_600, 6_907),
        ("data", "world-1", "mo", "", 10_241, 20_480, 56_641),  # 10 kB steps, 2,900,000 per MB: 56,640.625
        ("voice", "home", "mo", "national-mobile", 1, 60, 69_000),  # 60/1
        ("voice", "home", "mo", "national-mobile", 61, 61, 70_150),
        ("voice", "home", "mo", "zone2", 61, 120, 1_000_000),  # 60/60
        ("voice", "home", "mt", "", 600, 600, 0),
        ("voice", "world-1", "mt", "", 61, 120, 980_000),
        ("voice", "world-2", "mo", "emergency", 61, 61, 0),
        ("sms", "home", "mo", "zone1", 1, 1, 73_200),
        ("mms", "eu", "mo", "national-mobile", 2, 2, 500_000),
        ("portal", "home", "mo", "", 5_000_000, 5_000_000, 0),
        ("content", "world-1", "mo", "", 990_000, 990_000, 990_000),
    ],
)
def test_worked_examples(
    service: str, place: str, direction: str, destination: str, used: int, billable: int, micro_eur: int
) -> None:
    price = PRICES.rate(service, place, direction=direction, destination=destination).price
    assert price.billable(used) == billable
    assert price.cost_micro_eur(billable) == micro_eur


def test_rounding_directions_and_prices_per_call() -> None:
    def price(rounding: str, *, per_call: bool = False) -> Price:
        return Price("x", Fraction(1), 2, 1, 1, per_call, rounding)

    assert [price(way).cost_micro_eur(1) for way in ("up", "down", "half_up")] == [1, 0, 1]
    assert (price("half_up", per_call=True).billable(5_000), price("half_up", per_call=True).cost_micro_eur(1)) == (
        1,
        1,
    )


def test_quantities() -> None:
    assert [PRICES.quantity(text) for text in ("1 kB", "9 GB", "1500 min", "60 s", "1 message", "unlimited")] == [
        1024,
        9 * 1024**3,
        90_000,
        60,
        1,
        None,
    ]


def test_packages_and_buckets() -> None:
    assert PRICES.package_prices["MINI"] == 6_990_000
    assert PRICES.packages["MINI"].buckets["data"] == 9 * 1024**3
    assert PRICES.packages["MAXI"].buckets["voice"] is None
    assert PRICES.rate("voice", "home", destination="national-fixed").buckets == ("voice",)
    assert "data.home" in PRICES.paid_by_bucket("data")
    assert "data.world-1" not in PRICES.paid_by_bucket("data")


def test_a_use_without_a_price_is_reported() -> None:
    with pytest.raises(PriceListError, match="no rate for voice in moon"):
        PRICES.rate("voice", "moon", destination="zone1")
    with pytest.raises(PriceListError, match="No such file or directory: name the server"):
        PriceList.read(CATALOGUE.parent / "missing.toml")


def test_it_is_independent_of_the_server() -> None:
    """The second implementation must not share code with the first."""
    import simulator.outside_audit
    import simulator.prices
    import simulator.records

    for module in (simulator.prices, simulator.outside_audit, simulator.records):
        text = Path(module.__file__).read_text("utf-8")
        assert "import ocs" not in text
        assert "from ocs" not in text
