"""Filters of notice texts: amounts, dates and plural forms in the language of the subscriber (CLDR, by Babel)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_decimal

from ocs.catalogue.countries import NO_COUNTRY
from ocs.values.money import MICRO

MULTIPLES = (("GB", 3), ("MB", 2), ("kB", 1))
DATE_FORMATS = {"sl": "d. M. y", "en": "d MMM y"}
FORMS = {"sl": ("one", "two", "few", "other"), "en": ("one", "other")}
"""Plural forms in the order in which `plural` takes them."""
FREE = {"sl": "brezplačno", "en": "free"}
NOWHERE = {"sl": "Ladja, letalo ali satelit", "en": "the network of a ship, an aircraft or a satellite"}
SHORT_COUNTRIES: Mapping[str, Mapping[str, str]] = {
    "sl": {"HK": "Hongkong", "MO": "Makav"},
    "en": {"HK": "Hong Kong", "MO": "Macao"},
}
"""In place of CLDR's names, which say whose special administrative region it is, in up to 59 characters."""
UNITS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sl": {
        "messages": ("sporočilo", "sporočili", "sporočila", "sporočil"),
        "seconds": ("minuta", "minuti", "minute", "minut"),
    },
    "en": {"messages": ("message", "messages"), "seconds": ("minute", "minutes")},
}
PriceFraction = tuple[int, int, bool]
"""Micro-EUR per unit: numerator, denominator, whether it is a price per call."""


class Words:
    """`kilo`: octets in 1 kB."""

    def __init__(self, language: str, zone: ZoneInfo, kilo: int) -> None:
        self._language, self._zone, self._kilo = language, zone, kilo
        self._locale = Locale.parse(language)

    @property
    def filters(self) -> dict[str, Callable[..., str]]:
        return {
            "eur": self.eur,
            "data": self.data,
            "amount": self.amount,
            "date": self.date,
            "time": self.time,
            "plural": self.plural,
            "per_minute": self.per_minute,
            "per_message": self.per_message,
            "per_mb": self.per_mb,
            "country": self.country,
        }

    def eur(self, micro_eur: int) -> str:
        """12,30 EUR: whole cents, rounded down. An amount below a cent keeps its decimals."""
        if 0 < micro_eur < MICRO // 100:
            return self._money(Decimal(micro_eur) / MICRO)
        return self._money(Decimal(micro_eur // (MICRO // 100)) / 100)

    def data(self, octets: int) -> str:
        """1,5 GB: one decimal, rounded down."""
        for multiple, power in MULTIPLES:
            if octets >= self._kilo**power or multiple == "kB":
                tenths = octets * 10 // self._kilo**power
                return f"{self._number(Decimal(tenths) / 10, '0.#')} {multiple}"
        raise AssertionError("kB is the last multiple")

    def amount(self, value: int, unit: str) -> str:
        """By unit: 1,5 GB; 3 minute; 2 sporočili; 12,30 EUR. Seconds are told in whole minutes, rounded down."""
        if unit == "money":
            return self.eur(value)
        if unit == "octets":
            return self.data(value)
        count = value // 60 if unit == "seconds" else value
        return self.plural(count, *UNITS[self._language][unit])

    def date(self, moment: int | date) -> str:
        """31. 12. 2026: of a time, the day in the operator's time zone."""
        day = moment if isinstance(moment, date) else datetime.fromtimestamp(moment, self._zone).date()
        return format_date(day, DATE_FORMATS[self._language], locale=self._locale)

    def time(self, moment: int) -> str:
        """14:05"""
        return format_time(datetime.fromtimestamp(moment, self._zone), "HH:mm", locale=self._locale)

    def plural(self, count: int, *forms: str) -> str:
        """The number and its form: 2 sporočili. ValueError: the language has another number of forms."""
        names = FORMS[self._language]
        if len(forms) != len(names):
            raise ValueError(f"plural needs {len(names)} forms ({', '.join(names)}), it has {len(forms)}")
        return f"{count} {dict(zip(names, forms, strict=True))[self._locale.plural_form(count)]}"

    def per_minute(self, price: PriceFraction) -> str:
        """0,99 EUR/min; 0,50 EUR; brezplačno"""
        return self._price(price, 60, "/min")

    def per_message(self, price: PriceFraction) -> str:
        return self._price(price, 1, "")

    def per_mb(self, price: PriceFraction) -> str:
        return self._price(price, self._kilo**2, "/MB")

    def country(self, code: str) -> str:
        """Nemčija; the code, if CLDR has no name for it. 001 is a network of no country."""
        if code == NO_COUNTRY:
            return NOWHERE[self._language]
        short = SHORT_COUNTRIES[self._language].get(code)
        return short or str(self._locale.territories.get(code, code))

    def _price(self, price: PriceFraction, quantity: int, per: str) -> str:
        numerator, denominator, flat = price
        if not numerator:
            return FREE[self._language]
        if flat:
            return self._money(Decimal(numerator) / denominator / MICRO)
        return self._money(Decimal(numerator) * quantity / denominator / MICRO) + per

    def _money(self, eur: Decimal) -> str:
        return f"{self._number(eur, '0.00####')} EUR"

    def _number(self, value: Decimal, form: str) -> str:
        return format_decimal(value, form, locale=self._locale)
