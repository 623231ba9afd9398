"""Micro-EUR and Diameter's money AVPs: digits and an exponent, never a float (RFC 8506 §8.7–8.11, HOT-RAT-8)."""

from __future__ import annotations

from ocs.settings.charging import EUR
from protocol.credit_control import CcMoney, CostInformation, RemainingBalance, UnitValue

MICRO = -6
MAX_SHIFT = 18
"""Largest power of ten that an amount is multiplied or divided by: Value-Digits has 19 digits."""


def value(micro_eur: int) -> UnitValue:
    return UnitValue(value_digits=micro_eur, exponent=MICRO)


def cost(micro_eur: int, currency_code: int) -> CostInformation:
    return CostInformation(unit_value=value(micro_eur), currency_code=currency_code)


def balance(micro_eur: int, currency_code: int) -> RemainingBalance:
    return RemainingBalance(unit_value=value(micro_eur), currency_code=currency_code)


def amount(micro_eur: int) -> CcMoney:
    return CcMoney(value(micro_eur), EUR)


def micro_eur_of(money: CcMoney | None) -> int | None:
    """CC-Money in whole micro-EUR. Without Currency-Code it is EUR.

    None = no CC-Money, another currency, a negative amount, or a fraction of a micro-EUR.
    """
    if money is None or money.currency_code not in (None, EUR):
        return None
    digits, shift = money.unit_value.value_digits, (money.unit_value.exponent or 0) - MICRO
    if digits < 0:
        return None
    if shift >= 0:
        return digits * int(10 ** min(shift, MAX_SHIFT))
    whole, rest = divmod(digits, int(10 ** min(-shift, MAX_SHIFT + 1)))
    return None if rest else whole


def rounded_millionths(money: CcMoney | None) -> int:
    """The amount in millionths of its currency, rounded down but at least 1; 0 = no amount. For metrics and logs."""
    if money is None or not money.unit_value.value_digits:
        return 0
    digits, shift = abs(money.unit_value.value_digits), (money.unit_value.exponent or 0) - MICRO
    factor = int(10 ** min(abs(shift), MAX_SHIFT))
    return max(digits * factor if shift > 0 else digits // factor, 1)
