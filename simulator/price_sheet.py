"""A price list on paper: plain tables of prices and products, by the moment from which they are valid.

It shares no code with the server, and reads no catalogue: who writes the tables decides what is right. Amounts are in
micro-EUR, units are octets, seconds or messages, moments Unix seconds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from simulator.errors import SimulatorError
from simulator.prices import Price

MICRO = 1_000_000
SIZES = {"kB": 1024, "MB": 1024**2, "GB": 1024**3, "min": 60, "s": 1, "": 1}


class SheetError(SimulatorError):
    """The sheet has no row for a use, or a row that cannot be read."""


@dataclass(frozen=True, slots=True)
class Row:
    """The price of a use in one version of the list."""

    label: str
    version: str
    price: Price
    units: tuple[str, ...]
    """Names of the included units that pay before credit, such as "data"."""
    cap: str
    """A counter of money besides the monthly limit; "" = none."""
    beyond: Price | None = None
    """What credit pays once the fair-use volume is used up (HOT-ROA-3); None = there is no volume here."""
    always: bool = False
    """Free for everybody, such as an emergency call: no first use (HOT-ACC-2)."""


@dataclass(frozen=True, slots=True)
class Article:
    """A product in one version of the list."""

    id: str
    price_micro_eur: int
    days: int
    """Of a period; 0 = a fee, nothing stays."""
    units: Mapping[str, int | None]
    """Name → included in a period; None = unlimited."""
    marks: frozenset[str]
    """Of MARKS."""
    vat_percent: int
    benefits: Mapping[str, int] = field(default_factory=dict)
    """Given for a commitment, micro-EUR."""
    agreed_days: int = 0
    told: frozenset[str] = frozenset()
    """Units of which 80 and 100 % are told."""

    @property
    def is_tariff(self) -> bool:
        return "tariff" in self.marks

    @property
    def net_micro_eur(self) -> int:
        """To the cent (HOT-RAT-8)."""
        cents = Fraction(self.price_micro_eur * 100, (100 + self.vat_percent) * 10_000)
        return math.floor(cents + Fraction(1, 2)) * 10_000

    def volume(self, cap_micro_eur: int) -> int | None:
        """HOT-ROA-2: octets that included units may pay in the EU: 2 × net price / wholesale cap of a GB, if they are
        unlimited or cost less than the cap; None = no such bound.
        """
        octets = self.units.get("data", 0)
        dear = octets is not None and (not octets or self.net_micro_eur * SIZES["GB"] >= cap_micro_eur * octets)
        if not self.is_tariff or dear:
            return None
        return math.ceil(Fraction(2 * self.net_micro_eur * SIZES["GB"], cap_micro_eur))

    @property
    def order(self) -> int:
        """Of fees due at the same moment, the lower is paid first."""
        return next((n for n, kind in enumerate(KINDS) if kind in self.marks), len(KINDS))


KINDS = ("tariff", "option", "pack", "recurring-fee")
CONDITIONS = ("needs:", "not-with:")
"""Marks with a product: one that it needs ("tariff" = any), a tariff with which there is no period of it."""
TOLD = ("data", "usa-data", "balkan-data", "pack-sms", "pack-mms")
"""Units of which 80 and 100 % are told, if the product's are."""
MARKS = frozenset((*KINDS, "renews", "with-tariff", "voided", "counts", "shared", "told"))
"""`with-tariff`: ends with the tariff's period. `voided`: a plan of it is void when the tariff changes. `counts`: its
price counts to the monthly limit. `shared`: its units are the pool's. `told`: 80 and 100 % of its units are notices.
"""


def amount(text: str) -> int | None:
    """ "9 GB", "1500 min", "200", or "unlimited" (None)."""
    if text == "unlimited":
        return None
    number, _, unit = text.partition(" ")
    return int(number) * SIZES[unit]


class Sheet(Protocol):
    """What an account on paper asks of a price list."""

    def article(self, moment: int, id_: str) -> Article: ...

    def cap(self, moment: int) -> int:
        """Wholesale cap of a GB in the EU, micro-EUR net (HOT-ROA-2)."""


class PriceSheet:
    """Versions of the price list: (name, valid from, prices, products, VAT percent). `cap_micro_eur`: the wholesale cap
    of a GB in the EU.
    """

    def __init__(self, versions: Sequence[tuple[str, int, str, str, int]], cap_micro_eur: int) -> None:
        self._begins = [begins for _, begins, *_ in versions]
        self._rows = [_rows(prices, name) for name, _, prices, *_ in versions]
        self.articles = [_articles(products, vat) for *_, products, vat in versions]
        self._cap_micro_eur = cap_micro_eur
        self._vat = {name: vat for name, *_, vat in versions}
        self._names = [name for name, *_ in versions]

    def cap(self, _moment: int) -> int:
        return self._cap_micro_eur

    def _at(self, moment: int) -> int:
        return max(bisect_right(self._begins, moment) - 1, 0)

    def row(self, moment: int, service: str, place: str, direction: str = "", to: str = "") -> Row:
        """The row of a use: `to` is a destination of the sheet, "" for data and incoming use."""
        rows = self._rows[self._at(moment)]
        for key in ((service, place, direction, to), (service, "*", direction, to), (service, place, direction, "*")):
            if key in rows:
                return rows[key]
        raise SheetError(f"no row for {service} in {place}, {direction or '-'} to {to or '-'}")

    def net(self, gross: int, moment: int, version: str = "") -> tuple[int, int]:
        """(VAT percent, net micro-EUR) of an amount: of a use by the version that priced it, else by the day."""
        percent = self._vat[version or self._names[self._at(moment)]]
        return percent, math.floor(Fraction(gross * 100, 100 + percent) + Fraction(1, 2))

    def rows(self) -> list[Row]:
        """Of all versions."""
        return [row for rows in self._rows for row in rows.values()]

    def article(self, moment: int, id_: str) -> Article:
        return self.articles[self._at(moment)][id_]


def _table(text: str) -> list[list[str]]:
    lines = (line.strip() for line in text.splitlines())
    return [[cell.strip() for cell in line.split("|")] for line in lines if line and not line.startswith("#")]


def _rows(text: str, version: str) -> dict[tuple[str, str, str, str], Row]:
    """label | places | directions | destinations | micro-EUR / units | first/next | units that pay | cap | beyond."""
    found = {}
    for label, places, directions, destinations, money, steps, units, cap, beyond in _table(text):
        price_beyond = _price(label, beyond, steps) if beyond else None
        row = Row(label, version, _price(label, money, steps), tuple(units.split()), cap, price_beyond)
        service = label.partition(".")[0]
        for place in places.split():
            for direction in directions.split() or [""]:
                for to in destinations.split() or [""]:
                    if (service, place, direction, to) in found:
                        raise SheetError(f"{label}: a second row for {service} in {place}, {direction} to {to}")
                    found[service, place, direction, to] = row
    return found


def _price(label: str, money: str, steps: str) -> Price:
    if money == "free":
        return Price(label, Fraction(0), 1, 1, 1, False, "half_up")
    micro_eur, _, per = (part.strip() for part in money.partition("/"))
    if per == "call":
        return Price(label, Fraction(micro_eur), 1, 1, 1, True, "half_up")
    first, _, following = steps.partition("/")
    return Price(label, Fraction(micro_eur), amount(per) or 1, int(first), int(following), False, "half_up")


def _articles(text: str, vat_percent: int) -> dict[str, Article]:
    """product | EUR | days | name = quantity, … | marks | benefit = EUR, …; days agreed."""
    found = {}
    for id_, eur, days, units, marks, commitment in _table(text):
        included = dict(_pairs(units))
        benefits, _, agreed = commitment.partition(";")
        words = set(marks.split())
        if unknown := {each for each in words - MARKS if not each.startswith(CONDITIONS)}:
            raise SheetError(f"{id_}: {sorted(unknown)} are no marks")
        found[id_] = Article(
            id=id_,
            price_micro_eur=int(Decimal(eur) * MICRO),
            days=int(days),
            units={name: amount(quantity) for name, quantity in included.items()},
            marks=frozenset(marks.split()),
            vat_percent=vat_percent,
            benefits={name: int(Decimal(value) * MICRO) for name, value in _pairs(benefits)},
            agreed_days=int(agreed or 0),
            told=frozenset(included.keys() & set(TOLD)) if "told" in words else frozenset(),
        )
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return [(name.strip(), value.strip()) for name, _, value in pairs]
