"""VAT of what was charged, for the records (HOT-RAT-8).

Prices are gross. The rate of VAT is that of the catalogue version that priced the use (the price id names it), or
of the version in force when a fee was debited. A new rate of VAT comes with a version of the catalogue, so use on both
sides of its beginning has lines of its own.

net = gross · 100 / (100 + VAT), of each line, rounded half away from zero to whole micro-EUR. VAT = gross - net.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ocs.catalogue.catalogue import Catalogue
from ocs.catalogue.versions import Catalogues
from ocs.values.money import net_micro_eur

MAX_PRICES = 4_096
"""Prices whose rate of VAT is kept."""
TAXED = frozenset({"package", "share", "fee"})
"""Kinds of events whose debit, of the credit or of the separate account, is the price of something sold."""


class Vat:
    """By the versions of the catalogue that are known. A price of another version has the rate in force at its time."""

    def __init__(self, catalogues: Catalogues) -> None:
        self._catalogues = catalogues
        self._versions: Sequence[Catalogue] = ()
        self._by_name: dict[str, Catalogue] = {}
        self._percent: dict[str, int] = {}

    def of_price(self, price_id: str, unix_s: int) -> int:
        """Percent of a price `RATE@HASH/VERSION`."""
        if self._versions is not self._catalogues.versions:
            self._versions = self._catalogues.versions
            self._by_name = {each.version: each for each in self._versions}
            self._percent.clear()
        known = self._percent.get(price_id)
        if known is not None:
            return known
        label, _, rest = price_id.partition("@")
        version = self._by_name.get(rest.partition("/")[2])
        if version is None:
            return self._catalogues.at(unix_s).vat_of(label)
        if len(self._percent) >= MAX_PRICES:
            self._percent.clear()
        percent = self._percent[price_id] = version.vat_of(label)
        return percent

    def at(self, unix_s: int) -> int:
        """Percent of what is not use."""
        return self._catalogues.at(unix_s).vat_percent

    def add(self, record: dict[str, Any], kind: str, unix_s: int) -> None:
        """Adds `vat_percent` and `net_micro_eur` to what costs money or gives some back."""
        for line in record.get("services", ()):
            gross = line.get("debit_micro_eur") or line.get("credit_in_micro_eur")
            if gross:
                self._add(line, gross, self.of_price(line["price"], unix_s))
        if kind in TAXED and (gross := record.get("debit_micro_eur") or record.get("separate_out_micro_eur")):
            self._add(record, gross, self.at(unix_s))

    @staticmethod
    def _add(line: dict[str, Any], gross: int, percent: int) -> None:
        line["vat_percent"], line["net_micro_eur"] = percent, net_micro_eur(gross, percent)
