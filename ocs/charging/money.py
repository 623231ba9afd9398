"""Micro-EUR as Diameter's money AVPs: exact digits and an exponent, never a float (RFC 8506 §8.7–8.11; HOT-RAT-8)."""

from __future__ import annotations

from ocs.settings.charging import EUR
from protocol.credit_control import CcMoney, CostInformation, RemainingBalance, UnitValue

MICRO = -6
MAX_SHIFT = 18
"""Digits that a factor or divisor of an amount may have: a Value-Digits has 19."""


def value(micro_eur: int) -> UnitValue:
    return UnitValue(value_digits=micro_eur, exponent=MICRO)


def cost(micro_eur: int, currency_code: int) -> CostInformation:
    return CostInformation(unit_value=value(micro_eur), currency_code=currency_code)


def balance(micro_eur: int, currency_code: int) -> RemainingBalance:
    return RemainingBalance(unit_value=value(micro_eur), currency_code=currency_code)


def amount(micro_eur: int) -> CcMoney:
    return CcMoney(value(micro_eur), EUR)


def micro_eur_of(money: CcMoney | None) -> int | None:
    """What CC-Money says in whole micro-EUR; without Currency-Code it is of EUR.

    None = nothing, another currency, less than 0, or a part of a micro-EUR.
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


def about(money: CcMoney | None) -> int:
    """Millionths of the currency that CC-Money says, whatever it is, for what is only counted: at least 1 where it says
    anything.
    """
    if money is None or not money.unit_value.value_digits:
        return 0
    digits, shift = abs(money.unit_value.value_digits), (money.unit_value.exponent or 0) - MICRO
    factor = int(10 ** min(abs(shift), MAX_SHIFT))
    return max(digits * factor if shift > 0 else digits // factor, 1)
