"""config/catalogue.toml, the only tests of it that state a price of it: the others have a copy with fixed prices."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

from ocs.catalogue.catalogue import load_catalogue
from tests.catalogue import CATALOGUE, SHIPPED

OWN_NAME = {"catalogue.version", "catalogue.valid_from"}


def differences(own: Any, shipped: Any, path: str = "") -> Iterator[str]:
    """Keys whose values differ, but for tables that are illustrative in the copy."""
    if isinstance(own, dict) and isinstance(shipped, dict):
        if own.get("illustrative") is True:
            return
        for key in sorted(own.keys() | shipped.keys()):
            yield from differences(own.get(key), shipped.get(key), f"{path}.{key}" if path else key)
    elif own != shipped and path not in OWN_NAME:
        yield path


def test_it_loads_and_says_what_is_illustrative() -> None:
    illustrative = load_catalogue(SHIPPED).illustrative
    assert "package.GIGA-MINI.bucket.data" in illustrative
    assert "price.voice-national" in illustrative
    assert "package.5G" in illustrative
    assert not any(key.startswith("package.M") and not key.startswith("package.MMS") for key in illustrative)


def test_the_copy_of_the_tests_differs_in_illustrative_tables_only() -> None:
    """So every test on the copy holds for the shipped catalogue, but for amounts that the operator replaces."""
    own, shipped = (tomllib.loads(path.read_text("utf-8")) for path in (CATALOGUE, SHIPPED))
    found = list(differences(own, shipped))
    assert not found, f"tests/data/catalogue.toml must have what config/catalogue.toml has here: {', '.join(found)}"


def test_another_amount_of_a_rule_and_another_table_are_differences() -> None:
    own = {"price": {"a": {"micro_eur": 1}, "b": {"micro_eur": 1, "illustrative": True}}}
    assert list(differences(own, {"price": {"a": {"micro_eur": 1}, "b": {"micro_eur": 2}}})) == []
    assert list(differences(own, {"price": {"a": {"micro_eur": 2}, "b": {}, "c": {}}})) == [
        "price.a.micro_eur",
        "price.c",
    ]
