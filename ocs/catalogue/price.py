"""Prices as the ledger computes them: exact integers, no intermediate value at or above 2^53 (HOT-RAT-8, HOT-PKG-5).

A price list says "6,900 micro-EUR per MB, charged by the kB". `compile_price` reduces that to one fraction num/den per
unit. Redis computes in doubles, which are exact only below 2^53. So `compile_price` also checks every product that the
ledger can form, for the longest possible session. The functions here are the reference for the ledger's Lua script.

    R(T): billable units of T used units (HOT-PKG-5: rounded up per session)     billable_units
    M(c) = (c div den)·num + round((c mod den)·num / den)                         cost_micro_eur
"""

from __future__ import annotations

import hashlib
from math import gcd

from ocs.values.exact import MAX_INTEGER
from ocs.values.money import CREDIT_CEILING_MICRO_EUR
from ocs.values.use import PriceTerms, Unit

EXACT_LIMIT = MAX_INTEGER + 1
"""2^53. Doubles represent every integer below it exactly."""
MAX_SESSION_UNITS = {Unit.OCTETS: 2**44, Unit.SECONDS: 2**31, Unit.MESSAGES: 2**20, Unit.MONEY: 2**44}
"""Most units of one session: 16 TiB, 68 years, a million messages, 17 million EUR."""
MAX_MONEY_MICRO_EUR = CREDIT_CEILING_MICRO_EUR
"""Most credit an account can have: no use is priced against more."""
ROUNDINGS = ("up", "down", "half_up")
_ID_HASH_DIGITS = 6


class PriceError(ValueError):
    """The price cannot be computed exactly, or one of its values is out of range."""


def compile_price(
    name: str,
    *,
    unit: Unit,
    micro_eur: int,
    quantity: int,
    first: int = 1,
    next_: int = 1,
    flat: bool = False,
    rounding: str = "half_up",
    version: str = "",
) -> PriceTerms:
    """Terms of a price: `micro_eur` for `quantity` units, charged by one `first` step, then by whole `next_` steps.

    `flat`: `micro_eur` once per session. PriceError names the bound that the price breaks.
    """
    most = MAX_SESSION_UNITS[unit]
    for what, value, low, high in (
        ("the price", micro_eur, 0, MAX_MONEY_MICRO_EUR),
        ("the quantity", quantity, 1, most),
        ("the first step", first, 1, most),
        ("the next step", next_, 1, most),
    ):
        if not low <= value <= high:
            raise PriceError(f"{what} must be from {low} to {high} ({unit.value}), it is {value}")
    if rounding not in ROUNDINGS:
        raise PriceError(f"rounding must be one of {', '.join(ROUNDINGS)}, it is {rounding!r}")
    if flat:
        num, den, first, next_ = micro_eur, 1, 1, 1
    else:
        divisor = gcd(micro_eur, quantity)
        num, den = micro_eur // divisor, quantity // divisor
    _check_bounds(num, den, 1 if flat else most + first + next_)
    return PriceTerms(
        id=f"{name}@{_hash(num, den, first, next_, flat, rounding)}" + (f"/{version}" if version else ""),
        num=num,
        den=den,
        first=first,
        next=next_,
        flat=flat,
        rounding=rounding,
    )


def free_price(name: str, unit: Unit, version: str = "") -> PriceTerms:
    """Price 0: num = 0, den = 1, steps of one unit."""
    return compile_price(name, unit=unit, micro_eur=0, quantity=1, version=version)


def billable_units(terms: PriceTerms, raw: int) -> int:
    """R(raw): billable units of a session that used `raw` units (HOT-PKG-5)."""
    if raw <= 0:
        return 0
    if terms.flat:
        return 1
    if raw <= terms.first:
        return terms.first
    return terms.first + -(-(raw - terms.first) // terms.next) * terms.next


def cost_micro_eur(terms: PriceTerms, credit_units: int) -> int:
    """M(credit_units): cost of these billable units of one session, in whole micro-EUR."""
    blocks, rest = divmod(credit_units, terms.den)
    product = rest * terms.num
    if terms.rounding == "up":
        part = -(-product // terms.den)
    elif terms.rounding == "down":
        part = product // terms.den
    else:
        part = (2 * product + terms.den) // (2 * terms.den)
    return blocks * terms.num + part


def _check_bounds(num: int, den: int, most_units: int) -> None:
    """PriceError unless every product that the ledger forms with this price is exact."""
    for what, value in (
        ("2 · numerator · denominator", 2 * num * den),
        ("the cost of the longest session", (most_units // den + 1) * num),
        ("2 · 200 EUR · denominator", 2 * MAX_MONEY_MICRO_EUR * den),
    ):
        if value >= EXACT_LIMIT:
            raise PriceError(
                f"{num} micro-EUR per {den} units cannot be computed exactly: {what} is {value}, it must be below 2^53;"
                " state the price with fewer digits or for a smaller or rounder quantity"
            )


def _hash(num: int, den: int, first: int, next_: int, flat: bool, rounding: str) -> str:
    """Digits that differ for other terms: the ledger accumulates use per session and price id."""
    text = f"{num}/{den} {first}/{next_} {flat} {rounding}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:_ID_HASH_DIGITS]
