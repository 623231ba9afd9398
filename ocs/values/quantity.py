"""Quantities as the catalogue writes them: "50 MB", "1500 min", "1 message", "1 call", "5 EUR"."""

from __future__ import annotations

import re

from ocs.values.money import CENT, MICRO
from ocs.values.use import Unit

_QUANTITY = re.compile(r"([0-9]{1,15}) ([A-Za-z]+)", re.ASCII)
_OCTET_POWERS = {"B": 0, "kB": 1, "MB": 2, "GB": 3, "TB": 4}
_SECONDS = {"s": 1, "min": 60, "h": 3600}
_MESSAGES = {"message": 1, "messages": 1}
_MONEY = {"cent": CENT, "EUR": MICRO}
ALLOWED = {
    Unit.OCTETS: "a whole number and B, kB, MB, GB or TB, such as 50 MB",
    Unit.SECONDS: "a whole number and s, min or h, such as 300 s",
    Unit.MESSAGES: "a whole number of messages, such as 1 message",
    Unit.MONEY: "a whole number and cent or EUR, such as 5 EUR",
}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAMES = {Unit.SECONDS: "s", Unit.MESSAGES: "messages", Unit.MONEY: "micro-EUR"}
PER_CALL = "1 call"
"""Quantity of a price per session, whatever its duration."""


def parse_quantity(text: str, unit: Unit, *, kilo: int) -> int:
    """ "50 MB" → its number of octets; likewise for the other units. `kilo`: octets in 1 kB, 1000 or 1024.

    ValueError says what is allowed.
    """
    found = _QUANTITY.fullmatch(text)
    if found is not None:
        factors = unit_factors(unit, kilo=kilo)
        number, name = found.groups()
        if name in factors and int(number) > 0:
            return int(number) * factors[name]
    raise ValueError(ALLOWED[unit])


def parse_units(text: str, unit: Unit, *, kilo: int) -> int:
    """A whole number of units, or a quantity with or without its blank: "125", "2 min", "5GB". More than 0.

    ValueError says what is allowed.
    """
    text = text.strip()
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return int(text)
    digits = text.rstrip(_LETTERS).rstrip()
    return parse_quantity(f"{digits} {text[len(digits) :].strip()}", unit, kilo=kilo)


def quantity_text(amount: int, unit: Unit, *, kilo: int) -> str:
    """The exact amount for people: "5 MB", "1.5 MB (1,572,865 octets)", "180 s", "2 messages"."""
    if unit is not Unit.OCTETS:
        return f"{amount} {_NAMES[unit]}"
    factors = unit_factors(unit, kilo=kilo)
    name = max((each for each in factors if factors[each] <= abs(amount)), key=factors.__getitem__, default="B")
    if name == "B":
        return f"{amount} octets"
    whole, rest = divmod(amount, factors[name])
    return f"{whole} {name}" if not rest else f"{amount / factors[name]:.1f} {name} ({amount:,} octets)"


def unit_factors(unit: Unit, *, kilo: int) -> dict[str, int]:
    """Name of each multiple → how many of the unit it is: {"s": 1, "min": 60, "h": 3600}."""
    if unit is Unit.OCTETS:
        return {name: int(kilo**power) for name, power in _OCTET_POWERS.items()}
    return {Unit.SECONDS: _SECONDS, Unit.MESSAGES: _MESSAGES, Unit.MONEY: _MONEY}[unit]


def unit_of(text: str) -> Unit | None:
    """The unit of a quantity; None = unknown. A call is counted in seconds."""
    name = text.rpartition(" ")[2]
    if text == PER_CALL or name in _SECONDS:
        return Unit.SECONDS
    if name in _OCTET_POWERS:
        return Unit.OCTETS
    if name in _MONEY:
        return Unit.MONEY
    return Unit.MESSAGES if name in _MESSAGES else None
