"""The inverse of `ocs.catalogue.price.cost_micro_eur`, which the scripts have in Lua: the largest c' with M(c + c') −
M(c) ≤ money.
"""

from __future__ import annotations

from ocs.catalogue.price import cost_micro_eur
from ocs.values.use import PriceTerms

MAX_UNITS = 2**44
"""What a free price can afford: the most that any session can use."""


def affordable_units(terms: PriceTerms, already_units: int, micro_eur: int) -> int:
    """The most billable units that `micro_eur` still pays after `already_units` of the same session.

    Within a block of den units costs run from 0 to num, so the block is found by one division and the place in it by
    another. 0 when it pays none.
    """
    if micro_eur < 0:
        return 0
    if terms.num == 0:
        return max(MAX_UNITS - already_units, 0)
    money = cost_micro_eur(terms, already_units) + micro_eur
    blocks, rest = divmod(money, terms.num)
    if terms.rounding == "up":
        part = rest * terms.den // terms.num
    elif terms.rounding == "down":
        part = ((rest + 1) * terms.den - 1) // terms.num
    else:
        part = ((2 * rest + 1) * terms.den - 1) // (2 * terms.num)
    return blocks * terms.den + min(part, terms.den - 1) - already_units
