"""Parses what people and files write into the arguments of the operations. InputError says what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NewType, TypeVar, cast

from ocs.accounts.errors import InputError
from ocs.values.identities import Imsi, Msisdn, parse_imsi, parse_msisdn
from ocs.values.money import CREDIT_CEILING_MICRO_EUR, format_eur, parse_eur
from ocs.values.products import PackageTerms
from ocs.values.use import BARS, BarName

Reference = NewType("Reference", str)
"""Idempotency key of a top-up or a purchase: each is applied once (HOT-TOP-1)."""
MAX_REFERENCE_LENGTH = 128
"""Characters. The ledger keeps every reference for more than a year."""
LIMIT_OFF = "off"
NO_BARS = "none"
T = TypeVar("T")


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
    wanted = tuple(names)
    if unknown := [name for name in wanted if name not in BARS]:
        raise InputError("bars", f"{unknown[0]!r} is no bar; there are {', '.join(BARS)}, or {NO_BARS}")
    return cast(tuple[BarName, ...], wanted)


def package(name: str, packages: Mapping[str, PackageTerms]) -> PackageTerms:
    """Terms of the package of that name. `packages`: those of the catalogue."""
    terms = packages.get(name)
    if terms is None:
        raise InputError("package", f"{name!r} is no package; the catalogue has {', '.join(sorted(packages))}")
    return terms


def _parsed(code: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise InputError(code, str(error)) from None
