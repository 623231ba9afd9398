"""Micro-EUR as Diameter's money AVPs: exact digits and an exponent, never a float (RFC 8506 §8.7–8.11; HOT-RAT-8)."""

from __future__ import annotations

from protocol.credit_control import CostInformation, RemainingBalance, UnitValue

MICRO = -6


def value(micro_eur: int) -> UnitValue:
    return UnitValue(value_digits=micro_eur, exponent=MICRO)


def cost(micro_eur: int, currency_code: int) -> CostInformation:
    return CostInformation(unit_value=value(micro_eur), currency_code=currency_code)


def balance(micro_eur: int, currency_code: int) -> RemainingBalance:
    return RemainingBalance(unit_value=value(micro_eur), currency_code=currency_code)
