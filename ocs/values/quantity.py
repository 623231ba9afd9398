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
