"""Each setting has one default: the schema's equals that of the class that uses it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from ocs.compose import diameter_config, ledger_settings
from ocs.ledger.settings import LedgerSettings
from ocs.settings.charging import DEFAULT_POLICY
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.settings.loading import load_settings
from ocs.settings.peers import BUILT_IN_PROFILES
from ocs.settings.profile import STANDARD
from ocs.settings.schema import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """As little as can be said."""
    path = tmp_path / "ocs.toml"
    path.write_text('[[peer]]\norigin_host = "pgw.example.net"\nrealm = "example.net"\n', encoding="utf-8")
    return load_settings(path, {})


def differing(left: object, right: object, but: set[str]) -> dict[str, tuple[object, object]]:
    names = {each.name for each in fields(left)} - but
    pairs = {name: (getattr(left, name), getattr(right, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def test_of_the_diameter_side(settings: Settings) -> None:
    made = diameter_config(settings)
    plain = DiameterConfig("ocs.example.net", "example.net")
    assert differing(made, plain, {"peers", "locks"}) == {}


def test_of_a_peer(settings: Settings) -> None:
    (made,) = diameter_config(settings).peers
    assert differing(made, PeerConfig("pgw.example.net", "example.net"), {"tls"}) == {}


def test_of_the_ledger(settings: Settings) -> None:
    assert ledger_settings(settings) == LedgerSettings()


def test_of_charging(settings: Settings) -> None:
    assert settings.charging.policy() == DEFAULT_POLICY
    assert BUILT_IN_PROFILES["standard"].profile("standard") == STANDARD
