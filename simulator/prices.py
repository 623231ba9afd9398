"""A second implementation of the price list: reads config/catalogue.toml and computes in exact fractions.

It shares no code with the server. From what the plan knows (service, place, direction, destination class) it computes
the charge again: rounded up to the charging interval per session and price (HOT-PKG-5), included units first
(HOT-PKG-3), the rest in money, rounded once (HOT-RAT-8).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from simulator.errors import SimulatorError

FREE, FACE_VALUE = "free", "face-value"
FACTORS = {"min": 60, "minute": 60, "minutes": 60, "h": 3600, "cent": 10_000, "EUR": 1_000_000}
UNLIMITED = None


class PriceListError(SimulatorError):
    """The catalogue has no price for a use, or has an unknown form."""


@dataclass(frozen=True, slots=True)
class Price:
    """`micro_eur` for `per` units, charged by a `first` step, then whole `next` steps; per_call: once per session."""

    name: str
    micro_eur: Fraction
    per: int
    first: int
    next: int
    per_call: bool
    rounding: str

    def billable(self, used: int) -> int:
        """Billable units for `used` units of one session."""
        if used <= 0:
            return 0
        if self.per_call:
            return 1
        more = max(used - self.first, 0)
        return self.first + math.ceil(Fraction(more, self.next)) * self.next

    def cost_micro_eur(self, units: int) -> int:
        """Whole micro-EUR for billable units that no included units paid."""
        exact = self.micro_eur * units / (1 if self.per_call else self.per)
        if self.rounding == "up":
            return math.ceil(exact)
        return math.floor(exact) if self.rounding == "down" else math.floor(exact + Fraction(1, 2))


@dataclass(frozen=True, slots=True)
class Rate:
    id: str
    price: Price
    buckets: tuple[str, ...]
    always: bool


@dataclass(frozen=True, slots=True)
class Package:
    id: str
    price_micro_eur: int
    buckets: Mapping[str, int | None]
    """Name → units included; None = unlimited."""


class PriceList:
    """The parts of config/catalogue.toml that charging needs."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._kilo = int(table["catalogue"]["kilo"])
        self._rounding = str(table["catalogue"]["rounding"])
        self._rates: Mapping[str, Mapping[str, Any]] = table["rate"]
        self._prices = {name: self._read_price(name, row) for name, row in table["price"].items()}
        self._prices[FREE] = Price(FREE, Fraction(0), 1, 1, 1, False, self._rounding)
        self._prices[FACE_VALUE] = Price(FACE_VALUE, Fraction(1), 1, 1, 1, False, self._rounding)
        self.packages = {name: self._package(name, row) for name, row in table["package"].items()}
        self.most_granted = {
            name: self.quantity(row["quota"]["maximum"]) or 0
            for name, row in table["service"].items()
            if "quota" in row
        }
        """Service → the largest possible grant."""

    @classmethod
    def read(cls, path: Path) -> PriceList:
        try:
            return cls(tomllib.loads(path.read_text("utf-8")))
        except OSError as error:
            raise PriceListError(f"{path}: {error.strerror}: name the server's catalogue with --catalogue") from error
        except (tomllib.TOMLDecodeError, KeyError, ValueError) as error:
            raise PriceListError(f"{path}: cannot be read as a price list ({error!r})") from error

    @property
    def package_prices(self) -> dict[str, int]:
        """Package → micro-EUR."""
        return {name: package.price_micro_eur for name, package in self.packages.items()}

    def price_named(self, name: str) -> Price:
        if name not in self._prices:
            raise PriceListError(f"the catalogue has no price {name!r}")
        return self._prices[name]

    def rate(self, service: str, place: str, *, direction: str = "mo", destination: str = "") -> Rate:
        """The rate of a use: of the matching ones, the one that names the destination, then the place."""
        best: tuple[tuple[bool, bool], str] | None = None
        for name, row in self._rates.items():
            places, directions, destinations = row["places"], row.get("directions"), row.get("destinations")
            if (
                row["service"] != service
                or not {"*", place} & set(places)
                or (directions and direction not in directions)
            ):
                continue
            if destinations and not {"*", destination} & set(destinations):
                continue
            rank = (destination in (destinations or ()), place in places)
            if best is None or rank > best[0]:
                best = (rank, name)
        if best is None:
            raise PriceListError(
                f"the catalogue has no rate for {service} in {place}, {direction} to {destination or '-'}"
            )
        return self.rate_named(best[1])

    def rate_named(self, name: str) -> Rate:
        """A rate by its id, which is also the first part of price ids in the records."""
        if name not in self._rates:
            raise PriceListError(f"the catalogue has no rate {name!r}")
        row = self._rates[name]
        return Rate(name, self.price_named(row["price"]), tuple(row.get("buckets", ())), bool(row.get("always")))

    def paid_by_bucket(self, bucket: str) -> set[str]:
        """Rates that this bucket may pay: a debit at one of them means that the bucket was used up."""
        return {name for name, row in self._rates.items() if bucket in row.get("buckets", ())}

    def quantity(self, text: str) -> int | None:
        """ "50 MB" in octets, "60 s" and "1 min" in seconds, "1 message" in messages, "1 EUR" in micro-EUR; "unlimited"
        is None.
        """
        if text == "unlimited":
            return UNLIMITED
        amount, _, unit = text.partition(" ")
        power = {"kB": 1, "MB": 2, "GB": 3, "TB": 4}.get(unit, 0)
        factor = FACTORS.get(unit) or self._kilo**power
        value = Fraction(amount) * factor
        if value.denominator != 1:
            raise ValueError(f"{text!r} is not a whole number of units")
        return value.numerator

    def _read_price(self, name: str, row: Mapping[str, Any]) -> Price:
        per_call = str(row["per"]).endswith(" call")
        first = self.quantity(row.get("first", "1 unit")) or 1
        return Price(
            name=name,
            micro_eur=Fraction(row["micro_eur"]),
            per=1 if per_call else self.quantity(row["per"]) or 1,
            first=first,
            next=(self.quantity(row["next"]) if "next" in row else first) or 1,
            per_call=per_call,
            rounding=str(row.get("rounding", self._rounding)),
        )

    def _package(self, name: str, row: Mapping[str, Any]) -> Package:
        buckets = {bucket: self.quantity(terms["quantity"]) for bucket, terms in row.get("bucket", {}).items()}
        return Package(name, int(Decimal(row["price_eur"]) * 1_000_000), buckets)
