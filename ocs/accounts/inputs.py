"""Parses what people and files write into the arguments of the operations. InputError says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import NewType, TypeVar, cast
from zoneinfo import ZoneInfo

from ocs.accounts.errors import InputError
from ocs.policy.puk import PUK_PATTERN
from ocs.values.identities import Imsi, Msisdn, parse_imsi, parse_msisdn
from ocs.values.language import LANGUAGES
from ocs.values.measures import MAX_REASON_LENGTH, AccountMeasure, MeasureKind
from ocs.values.moment import DATE_PATTERN, parse_date
from ocs.values.money import CREDIT_CEILING_MICRO_EUR, format_eur, parse_eur
from ocs.values.products import LIMIT_COUNTER, CounterTerms, Measure, PackageTerms, Product, ProductKind
from ocs.values.quantity import parse_quantity, parse_units
from ocs.values.use import BARS, BarName, Unit

Reference = NewType("Reference", str)
"""Idempotency key of a top-up or a purchase: each is applied once (HOT-TOP-1)."""
MAX_REFERENCE_LENGTH = 128
"""Characters. The ledger keeps every reference for more than a year."""
ACCOUNT_ID = re.compile(r"[0-9]{2,}-[0-9a-f]{16}")
POOL_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}"
MAX_GROUP_NAME = 80
LIMIT_OFF = "off"
NO_BARS = "none"
T = TypeVar("T")


def language(text: str) -> str:
    """ISO 639-1 of a language of texts for subscribers."""
    if text not in LANGUAGES:
        raise InputError("language", f"language {text!r}: texts are in {' and '.join(LANGUAGES)}")
    return text


def msisdn(text: str) -> Msisdn:
    return _parsed("msisdn", parse_msisdn, text)


def imsi(text: str) -> Imsi:
    return _parsed("imsi", parse_imsi, text)


def amount(text: str) -> int:
    """Micro-EUR, more than 0."""
    micro_eur = _parsed("amount", parse_eur, text)
    if micro_eur <= 0:
        raise InputError("amount", f"{text!r} must be more than nothing")
    return micro_eur


def credit(text: str) -> int:
    """Micro-EUR, 0 or more."""
    micro_eur = _parsed("amount", parse_eur, text)
    if micro_eur < 0:
        raise InputError("amount", f"{text!r} must not be negative")
    return micro_eur


def opening_credit(text: str) -> int:
    """Micro-EUR, from 0 to the credit ceiling (HOT-ACC-7)."""
    micro_eur = _parsed("amount", parse_eur, text)
    if not 0 <= micro_eur <= CREDIT_CEILING_MICRO_EUR:
        raise InputError("amount", f"credit must be from 0 to {format_eur(CREDIT_CEILING_MICRO_EUR)} EUR (HOT-ACC-7)")
    return micro_eur


def limit(text: str) -> int | None:
    """Micro-EUR a calendar month; "off" → None."""
    return None if text.strip().lower() == LIMIT_OFF else credit(text)


def reference(text: str) -> Reference:
    if not 0 < len(text) <= MAX_REFERENCE_LENGTH or not text.isprintable():
        raise InputError("reference", f"reference must have 1 to {MAX_REFERENCE_LENGTH} printable characters")
    return Reference(text)


def bars(text: str) -> tuple[BarName, ...]:
    """Bars separated by commas; "none" → ()."""
    return () if text.strip() == NO_BARS else bar_names(each.strip() for each in text.split(","))


def bar_names(names: Iterable[str]) -> tuple[BarName, ...]:
    wanted = tuple(dict.fromkeys(names))
    if unknown := [name for name in wanted if name not in BARS]:
        raise InputError("bars", f"{unknown[0]!r} is no bar; there are {', '.join(BARS)}, or {NO_BARS}")
    return cast(tuple[BarName, ...], wanted)


def package(name: str, packages: Mapping[str, PackageTerms]) -> PackageTerms:
    """Terms of the package of that name. `packages`: those of the catalogue."""
    terms = packages.get(name)
    if terms is None:
        raise InputError("package", f"{name!r} is no package; the catalogue has {', '.join(sorted(packages))}")
    return terms


def counter(name: str, counters: Mapping[str, CounterTerms]) -> CounterTerms | None:
    """Terms of a counter whose limit can be set; None = the spending limit. `counters`: those of the catalogue."""
    if name == LIMIT_COUNTER:
        return None
    terms = counters.get(name)
    if terms is None:
        names = ", ".join(sorted((LIMIT_COUNTER, *counters)))
        raise InputError("counter", f"{name!r} is no counter; there are {names}")
    return terms


def counter_limit(text: str, terms: CounterTerms | None, unit: Unit | None, *, kilo: int) -> int | None:
    """Limit of a counter: EUR of one of money, else units or a quantity such as 5GB; "off" → None. `unit`: of the
    services that move it; None = they have several, and only a whole number will do.
    """
    if terms is None or terms.measure is Measure.MONEY:
        return limit(text)
    stated = text.strip()
    if stated.lower() == LIMIT_OFF:
        return None
    if stated.isascii() and stated.isdigit():
        return int(stated)
    if unit is None:
        raise InputError("limit", f"{text!r} must be a whole number of units, or {LIMIT_OFF}")
    try:
        return parse_units(stated, unit, kilo=kilo)
    except ValueError as error:
        raise InputError("limit", f"{text!r} must be {error}; or {LIMIT_OFF}") from None


def moment(text: str, time_zone: ZoneInfo) -> int:
    """Unix seconds of a date or a date and time of the operator's time zone: 2026-12-31, 2026-12-31T18:00."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError("time", f"{text!r} must be a date or a time, such as 2026-12-31 or 2026-12-31T18:00") from None
    unix_s = int((at if at.tzinfo is not None else at.replace(tzinfo=time_zone)).timestamp())
    if unix_s < 0:
        raise InputError("time", f"{text!r} must be from 1970 on")
    return unix_s


def package_on_sale(name: str, products: Mapping[str, Product], at: int) -> PackageTerms:
    """Terms of the tariff of that name. InputError: there is none, or it is not on sale at `at`, Unix seconds."""
    terms = package(name, {id_: each.terms for id_, each in products.items() if each.kind is ProductKind.TARIFF})
    if not products[name].is_sold(at):
        raise InputError("package", f"{name!r} is not on sale now")
    return terms


def measure_kind(text: str) -> MeasureKind:
    try:
        return MeasureKind(text)
    except ValueError:
        raise InputError("kind", f"{text!r} is no kind of measure; there are {', '.join(MeasureKind)}") from None


def measure_name(kind: MeasureKind, name: str, names: Iterable[str]) -> str:
    known = sorted(names)
    if name not in known:
        raise InputError("name", f"{name!r} cannot be the name of a {kind}; there are {', '.join(known) or 'none'}")
    return name


def measure(kind: MeasureKind, name: str, reason: str, since: int, until: int, names: Iterable[str]) -> AccountMeasure:
    """`names`: what a measure of this kind can have as a name. `until` 0 = no end."""
    measure_name(kind, name, names)
    if not 0 < len(reason) <= MAX_REASON_LENGTH or not reason.isprintable():
        raise InputError("reason", f"reason must have 1 to {MAX_REASON_LENGTH} printable characters")
    if until and until <= since:
        raise InputError("until", "the end must be later than the beginning")
    return AccountMeasure(kind, name, reason, since, until)


def product(name: str, products: Mapping[str, Product]) -> Product:
    """The product with that id or name, whatever the case."""
    wanted = name.strip().casefold()
    for each in products.values():
        if wanted in (each.id.casefold(), each.name.casefold()):
            return each
    raise InputError("product", f"{name!r} is no product; the catalogue has {', '.join(sorted(products))}")


def pool_name(text: str) -> str:
    if not re.fullmatch(POOL_NAME, text):
        raise InputError("pool", f"{text!r} must have 1 to 48 letters, digits, points, - and _")
    return text


def quantity(text: str, unit: Unit, *, kilo: int) -> int:
    """Units of a quantity such as "2 GB"."""
    try:
        return parse_quantity(text, unit, kilo=kilo)
    except ValueError as error:
        raise InputError("quantity", f"{text!r} must be {error}") from None


def puk(text: str) -> str:
    """PUK1 of a SIM."""
    digits = text.strip()
    if not re.fullmatch(PUK_PATTERN, digits, re.ASCII):
        raise InputError("puk", "a PUK1 has 8 digits")
    return digits


def group_name(text: str) -> str:
    if not 0 < len(text.strip()) <= MAX_GROUP_NAME or not text.isprintable():
        raise InputError("name", f"a group's name has 1 to {MAX_GROUP_NAME} printable characters")
    return text.strip()


def day(text: str) -> date:
    """A day such as 2026-12-24."""
    if not re.match(DATE_PATTERN, text):
        raise InputError("date", f"{text!r} is no date such as 2026-12-24")
    return _parsed("date", parse_date, text)


def _parsed(code: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(code, str(error)) from None
