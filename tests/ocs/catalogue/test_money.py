"""Money is exact: HOT-RAT-8."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.values.money import (
    MAX_MICRO_EUR,
    format_eur,
    gross_micro_eur,
    net_micro_eur,
    parse_eur,
    round_to_cent,
)
from tests.rules import rule

AMOUNTS = st.integers(-MAX_MICRO_EUR, MAX_MICRO_EUR)


@rule("HOT-RAT-8")
@given(AMOUNTS)
def test_hot_rat_8_what_is_printed_reads_back_the_same(micro_eur: int) -> None:
    assert parse_eur(format_eur(micro_eur)) == micro_eur


@rule("HOT-RAT-8")
@given(AMOUNTS)
def test_hot_rat_8_net_is_the_gross_amount_without_its_vat(micro_eur: int) -> None:
    assert abs(Fraction(micro_eur * 100, 122) - net_micro_eur(micro_eur)) <= Fraction(1, 2)


@rule("HOT-RAT-8")
@given(st.integers(0, 10**12))
def test_hot_rat_8_net_of_gross_of_net_is_the_net(micro_eur: int) -> None:
    assert net_micro_eur(gross_micro_eur(micro_eur)) == micro_eur


@rule("HOT-RAT-8")
@pytest.mark.parametrize(
    ("text", "micro_eur", "printed"),
    [
        ("20.00", 20_000_000, "20.00"),
        ("20", 20_000_000, "20.00"),
        ("0.000001", 1, "0.000001"),
        ("0.0069", 6_900, "0.0069"),
        ("-0.50", -500_000, "-0.50"),
        ("+1.5", 1_500_000, "1.50"),
        (" 6.99 ", 6_990_000, "6.99"),
    ],
)
def test_hot_rat_8_amounts_as_people_write_them(text: str, micro_eur: int, printed: str) -> None:
    assert parse_eur(text) == micro_eur
    assert format_eur(micro_eur) == printed


@rule("HOT-RAT-8")
@pytest.mark.parametrize(
    "text", ["", "abc", "1,50", "1.", ".5", "1.0000001", "1e3", "0x10", "1 000", "--1", "٣", "nan", "1\n2"]
)
def test_hot_rat_8_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="at most 6 decimals"):
        parse_eur(text)


@rule("HOT-RAT-8")
def test_hot_rat_8_an_amount_beyond_the_ledgers_range_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_eur("9999999999.00")


@rule("HOT-PKG-1")
@pytest.mark.parametrize(("gross", "net"), [("6.99", "5.73"), ("9.99", "8.19"), ("13.99", "11.47"), ("14.99", "12.29")])
def test_hot_pkg_1_listed_net_prices_follow_from_gross_and_22_percent_vat(gross: str, net: str) -> None:
    assert format_eur(round_to_cent(net_micro_eur(parse_eur(gross)))) == net
