"""Numbers of vouchers (HOT-TOP-2): 16 digits, the last one a check digit by Luhn (ISO/IEC 7812-1 annex B)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import NewType

VoucherNumber = NewType("VoucherNumber", str)
"""16 digits. Whoever has it has the money: it is never logged and never stored."""
DIGITS = 16
_GROUPED = re.compile(r"[0-9]{4}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}", re.ASCII)


def parse_voucher(text: str) -> VoucherNumber:
    """16 digits, or four groups of four with blanks or hyphens. The check digit may be wrong. ValueError: else."""
    if not _GROUPED.fullmatch(text.strip()):
        raise ValueError(f"a voucher's number has {DIGITS} digits")
    return VoucherNumber(re.sub(r"\D", "", text))


def check_digit(digits: str) -> str:
    """The digit that makes `digits` and it a number by Luhn."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def has_check_digit(number: str) -> bool:
    return check_digit(number[:-1]) == number[-1]


def draw(below: Callable[[int], int]) -> VoucherNumber:
    """A number that cannot be guessed: one of 10^15. `below`: a secure random whole number below its argument."""
    digits = f"{below(10 ** (DIGITS - 1)):0{DIGITS - 1}d}"
    return VoucherNumber(digits + check_digit(digits))


def voucher_id(number: VoucherNumber, key: bytes) -> str:
    """HMAC-SHA256 of the number, in hexadecimal digits: the ledger's name of the voucher."""
    return hmac.new(key, number.encode(), hashlib.sha256).hexdigest()
