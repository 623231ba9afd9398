"""What [catalogue] says of accounts: order of the credit's parts, mark of low credit, announcements."""

from __future__ import annotations

import pytest

from ocs.catalogue.catalogue import parse_catalogue
from ocs.catalogue.problems import CatalogueError
from ocs.values.life import LifeTerms
from tests.ocs.rules.world import CATALOGUE, DAY_S, EUR
from tests.rules import rule

TEXT = CATALOGUE.read_text(encoding="utf-8")
ORDER = 'credit_order = ["promotional", "refundable"]'


@rule("HOT-ACC-8", "HOT-ACC-10")
def test_the_shipped_values_are_those_of_the_rules() -> None:
    assert parse_catalogue(TEXT, "it").life == LifeTerms(90 * DAY_S, 7 * DAY_S, EUR, True, 270 * DAY_S)


def test_they_may_be_changed() -> None:
    text = TEXT.replace(ORDER, 'credit_order = ["refundable", "promotional"]')
    text = text.replace('low_credit_eur = "1"', 'low_credit_eur = "2.50"').replace(
        "expiring_days = 7", "expiring_days = 0"
    )
    text = text.replace("inactive_days = 270", "inactive_days = 300").replace("active_days = 90", "active_days = 60")
    assert parse_catalogue(text, "it").life == LifeTerms(60 * DAY_S, 0, 2_500_000, False, 300 * DAY_S)


def test_what_is_announced_lies_within_the_shorter_period() -> None:
    with pytest.raises(CatalogueError) as error:
        parse_catalogue(TEXT.replace("inactive_days = 270", "inactive_days = 6"), "it")
    assert [(each.key, each.allowed) for each in error.value.problems] == [
        ("catalogue.expiring_days", "must be at most 6, the shorter period")
    ]


@pytest.mark.parametrize("order", ['["promotional"]', '["refundable", "refundable"]', "[]"])
def test_an_order_names_both_parts(order: str) -> None:
    with pytest.raises(CatalogueError) as error:
        parse_catalogue(TEXT.replace(ORDER, f"credit_order = {order}"), "it")
    assert [(each.key, each.allowed) for each in error.value.problems] == [
        ("catalogue.credit_order", "must name each of promotional, refundable once")
    ]
