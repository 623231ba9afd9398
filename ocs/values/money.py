"""Money is a whole number of micro-EUR, never a binary float (HOT-RAT-8).

People write EUR with up to 6 decimals ("20.00", "0.006738"): each such amount is a whole number of micro-EUR.
"""

from __future__ import annotations

import re

from ocs.values.exact import MAX_INTEGER

MICRO = 1_000_000
"""Micro-EUR in 1 EUR."""
CENT = MICRO // 100
"""Micro-EUR in 1 cent."""
MAX_MICRO_EUR = MAX_INTEGER
"""About 9 billion EUR."""
CREDIT_CEILING_MICRO_EUR = 200 * MICRO
"""HOT-ACC-7: the credit after a top-up may not exceed 200 EUR."""
VAT_PERCENT = 22
"""HOT-RAT-8: Slovenia's general rate. The catalogue sets the rate in force."""
PRICE_PATTERN = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
"""Amounts of a catalogue. `parse_eur` accepts all of them."""
_EUR = re.compile(r"([+-]?)([0-9]{1,10})(?:\.([0-9]{1,6}))?", re.ASCII)


def parse_eur(text: str) -> int:
    """ "20.00" → 20000000. ValueError says what an amount looks like."""
    found = _EUR.fullmatch(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is not an amount in EUR: digits, then at most 6 decimals after a point, such as 20.00"
        )
    sign, whole, decimals = found.groups()
    micro_eur = int(whole) * MICRO + int((decimals or "").ljust(6, "0"))
    if micro_eur > MAX_MICRO_EUR:
        raise ValueError(f"{text!r} is too large: at most {format_eur(MAX_MICRO_EUR)} EUR")
    return -micro_eur if sign == "-" else micro_eur


def format_eur(micro_eur: int) -> str:
    """20000000 → "20.00". At least 2 decimals, and as many as the amount needs: it parses back to the same amount."""
    whole, decimals = divmod(abs(micro_eur), MICRO)
    digits = f"{decimals:06d}"
    return f"{'-' if micro_eur < 0 else ''}{whole}.{digits[:2]}{digits[2:].rstrip('0')}"


def net_micro_eur(gross_micro_eur: int, vat_percent: int = VAT_PERCENT) -> int:
    """A gross amount without its VAT, rounded half away from zero to whole micro-EUR."""
    return _round_half_away(gross_micro_eur * 100, 100 + vat_percent)


def gross_micro_eur(net_micro_eur: int, vat_percent: int = VAT_PERCENT) -> int:
    """A net amount with its VAT, rounded half away from zero to whole micro-EUR."""
    return _round_half_away(net_micro_eur * (100 + vat_percent), 100)


def round_to_cent(micro_eur: int) -> int:
    """The amount rounded half away from zero to whole cents, as price lists and statements print it; in micro-EUR."""
    return _round_half_away(micro_eur, CENT) * CENT


def share_to_cent(micro_eur: int, part: int, whole: int) -> int:
    """`part` of `whole` of an amount, rounded once, half away from zero, to whole cents; in micro-EUR."""
    return _round_half_away(micro_eur * part, whole * CENT) * CENT


def _round_half_away(numerator: int, denominator: int) -> int:
    quotient = (2 * abs(numerator) + denominator) // (2 * denominator)
    return -quotient if numerator < 0 else quotient
