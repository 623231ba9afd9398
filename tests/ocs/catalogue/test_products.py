"""The products, and errors in the tables of products (HOT-PKG-1 to -18)."""

from __future__ import annotations

import re

import pytest

from ocs.catalogue.catalogue import Catalogue, CatalogueError, parse_catalogue
from ocs.values.products import Change, ProductKind
from ocs.values.use import Context, Direction, UseEvent
from tests.catalogue import CATALOGUE, fixed_catalogue
from tests.rules import rule

FIXED = CATALOGUE.read_text("utf-8")
MOBILE = "+38640123456"
HOME, AUSTRIA, PARTNER, OTHER_AMERICAN = "29340", "23201", "310150", "310410"
BALKAN = {"ME": "29701", "AL": "27601", "RS": "22001", "MK": "29401", "BA": "21803"}


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return fixed_catalogue()


def data(plmn: str) -> UseEvent:
    return UseEvent(Context.DATA, serving_plmn=plmn)


@rule("HOT-PKG-7", "HOT-PKG-8")
@pytest.mark.parametrize(
    ("id_", "gross", "net", "quantity", "renews", "with_tariff"),
    [
        ("SMS-200", 7_000_000, 5_740_000, 200, True, False),  # 7.00 / 1.22 = 5.737…
        ("SMS-1000", 11_000_000, 9_020_000, 1000, True, False),  # 11.00 / 1.22 = 9.016…
        ("SMS-200-MESEC", 7_000_000, 5_740_000, 200, False, True),
        ("SMS-1000-MESEC", 11_000_000, 9_020_000, 1000, False, True),
    ],
)
def test_sms_packs(
    catalogue: Catalogue, id_: str, gross: int, net: int, quantity: int, renews: bool, with_tariff: bool
) -> None:
    product = catalogue.products[id_]
    (bucket,) = product.terms.buckets
    assert (product.terms.price_micro_eur, product.net_micro_eur) == (gross, net)
    assert (bucket.quantity, bucket.priority) == (quantity, -1)
    assert (product.terms.renews, product.terms.with_tariff) == (renews, with_tariff)
    assert set(product.barred_with) == {"MAXI", "EXTRA"}


@rule("HOT-PKG-10", "HOT-ROA-6")
def test_packs_pay_at_home_only(catalogue: Catalogue) -> None:
    for context in (Context.SMS, Context.MMS):
        for plmn, pays in ((HOME, True), (AUSTRIA, False), (BALKAN["RS"], False), (PARTNER, False)):
            rated = catalogue.rate(UseEvent(context, Direction.ORIGINATING, serving_plmn=plmn, other_party=MOBILE))
            assert any(".pack-" in bucket for bucket in rated.buckets) is pays, (context, plmn)


@rule("HOT-PKG-13", "HOT-ROA-6")
def test_zone_packs_pay_in_their_area_only(catalogue: Catalogue) -> None:
    for country, plmn in BALKAN.items():
        assert catalogue.rate(data(plmn)).buckets == ("BALKAN-500-MB.balkan-data",), country
    assert catalogue.rate(data(PARTNER)).buckets == ("USA-UNLIMITED.usa-data",)
    for plmn in (HOME, AUSTRIA, OTHER_AMERICAN, "23410"):
        buckets = catalogue.rate(data(plmn)).buckets
        assert not any("USA" in bucket or "BALKAN" in bucket for bucket in buckets), plmn
    for direction in (Direction.ORIGINATING, Direction.TERMINATING):
        party = MOBILE if direction is Direction.ORIGINATING else None
        call = UseEvent(Context.IMS, direction, serving_plmn=PARTNER, other_party=party)
        assert catalogue.rate(call).buckets == ("USA-UNLIMITED.usa-voice",)
    assert catalogue.products["USA-UNLIMITED"].first_use and catalogue.products["BALKAN-500-MB"].first_use


@rule("HOT-PKG-1", "HOT-PKG-16")
def test_kinds_of_products(catalogue: Catalogue) -> None:
    kinds = {id_: product.kind for id_, product in catalogue.products.items()}
    assert [id_ for id_, kind in kinds.items() if kind is ProductKind.TARIFF] == list(catalogue.packages)
    assert kinds["5G"] is ProductKind.OPTION
    for id_ in ("TV", "TV-RECEIVER", "ITEMISED-BILL"):
        terms = catalogue.products[id_].terms
        assert kinds[id_] is ProductKind.RECURRING_FEE and terms.renews and not terms.buckets
    for id_ in ("SIM-REPLACEMENT", "FREEZE", "UNFREEZE", "OWNERSHIP-CHANGE", "CONNECTION", "UNBLOCKING"):
        terms = catalogue.products[id_].terms
        assert kinds[id_] is ProductKind.FEE and (terms.period_s, terms.renews, terms.buckets) == (0, False, ())
    extra = catalogue.products["EXTRA-DATA-5-GB"].terms
    assert (extra.counts, extra.with_tariff, extra.renews) == (True, True, False)
    assert catalogue.products["MINI"].change is Change.NOW


@rule("HOT-PKG-17", "HOT-REC-4")
def test_a_commitment(catalogue: Catalogue) -> None:
    terms = catalogue.products["TV"].terms
    assert terms.commitment_days == 720
    assert terms.benefits == (("connection", 60_000_000), ("equipment", 48_000_000))


MISTAKES = [
    ("TV", 'period_days = 30\nbucket.x = { unit = "seconds", quantity = "1 s" }', "package.TV.bucket", "no meaning"),
    ("TV", 'change = "now"\nperiod_days = 30', "package.TV.change", "no meaning for a recurring-fee"),
    ("TV", "", "package.TV.period_days", "only a fee has no period"),
    ("FREEZE", 'sold_until = "2026-11-10"', "package.FREEZE.sold_until", "no meaning for a fee"),
    ("TV", 'sold_until = "2026-02-30"\nperiod_days = 30', "package.TV.sold_until", "must be a date"),
    (
        "TV",
        'sold_from = "2026-12-01"\nsold_until = "2026-11-30"\nperiod_days = 30',
        "package.TV.sold_until",
        "must not be before 2026-12-01",
    ),
    ("FREEZE", "period_days = 30", "package.FREEZE.period_days", "no meaning for a fee"),
    ("FREEZE", 'excludes = ["NOTHING"]', "package.FREEZE.excludes[0]", "is not a package of this catalogue"),
    ("SMS-200", 'barred_with = ["TV"]\nperiod_days = 30', "package.SMS-200.barred_with[0]", "is not a tariff"),
    (
        "SMS-200",
        "ends_with_tariff = true\nperiod_days = 30\nrecurring = true",
        "package.SMS-200.recurring",
        "must be false",
    ),
    ("SMS-200", "notice_days = 30\nperiod_days = 30", "package.SMS-200.notice_days", "must be less than period_days"),
    ("SMS-200", 'keyword = "SMS 1000"\nperiod_days = 30', "package.SMS-1000.keyword", "is that of package SMS-200"),
    ("SMS-200", 'keyword = "sms"\nperiod_days = 30', "package.SMS-200.keyword", "capital letters and digits"),
    ("MINI", "period_days = 30", "package.MINI.bucket", "a tariff has included units"),
    ("TV", 'commitment = { days = 0, benefits = { a = "1.00" } }', "package.TV.commitment.days", "greater than"),
    ("TV", "commitment = { days = 9, gift = 1 }", "package.TV.commitment.gift", "unknown; allowed here: "),
]


@pytest.mark.parametrize(("id_", "lines", "key", "allowed"), MISTAKES)
def test_errors_in_products_are_named(id_: str, lines: str, key: str, allowed: str) -> None:
    """The product's keys of the shipped file are replaced by its price and these lines."""
    found = re.search(rf"^\[package\.{id_}\].*?(?=^\[|\Z)", FIXED, re.S | re.M)
    assert found is not None
    kept = [line for line in found.group().splitlines() if line.startswith(("[", "kind", "price_eur", "net_eur"))]
    text = FIXED.replace(found.group(), "\n".join([*kept, lines, "", ""]))
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(text, "file")
    assert any(each.key.startswith(key) and allowed in str(each) for each in caught.value.problems), caught.value
