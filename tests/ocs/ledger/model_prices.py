"""The inverse of `ocs.catalogue.price.cost_micro_eur`; the scripts have it in Lua.

It gives the largest c' with M(c + c') − M(c) ≤ money.
"""

from __future__ import annotations

from ocs.catalogue.price import cost_micro_eur
from ocs.values.use import PriceTerms

MAX_UNITS = 2**44
"""What a free price can afford: the most that any session can use."""


def affordable_units(terms: PriceTerms, already_units: int, micro_eur: int) -> int:
    """The most billable units that `micro_eur` pays after `already_units` of the same session; 0 = none.

    Costs within a block of den units run from 0 to num. One division finds the block, a second the place in it.
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
