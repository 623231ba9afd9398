"""The catalogue of the tests: a copy of the shipped one, whose prices they state as numbers. So a price in
config/catalogue.toml may change, and only the tests of that file notice (tests/ocs/catalogue/test_shipped.py).
"""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "config" / "catalogue.toml"
CATALOGUE = Path(__file__).parent / "data" / "catalogue.toml"
