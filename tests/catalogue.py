"""The catalogue of the tests: a copy of the shipped one, whose prices they state as numbers. So a price in
config/catalogue.toml may change, and only the tests of that file notice (tests/ocs/catalogue/test_shipped.py).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ocs.catalogue.catalogue import Catalogue, load_catalogue
from ocs.catalogue.versions import load_versions

SHIPPED = Path(__file__).parents[1] / "config" / "catalogue.toml"
CATALOGUE = Path(__file__).parent / "data" / "catalogue.toml"


@cache
def fixed_catalogue() -> Catalogue:
    """CATALOGUE, compiled once a process."""
    return load_catalogue(CATALOGUE)


@cache
def fixed_versions() -> tuple[Catalogue, ...]:
    """The same for `Catalogues`, which changes it: it tells its versions the ported numbers."""
    return load_versions(CATALOGUE)
