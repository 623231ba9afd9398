"""What use costs abroad, for the welcome notice (HOT-NOT-1; Regulation (EU) 2022/612, Article 13)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import phonenumbers

from ocs.catalogue.catalogue import Catalogue
from ocs.notices.words import PriceFraction
from ocs.values.use import Context, Direction, Unit, Unrateable, UseEvent


def place_of(catalogue: Catalogue, plmn: str) -> str:
    """Id of the place of a serving network; "" = none has it."""
    try:
        return catalogue.place_at(plmn or None, None)
    except Unrateable:
        return ""


def roaming_prices(catalogue: Catalogue, plmn: str, facts: str, at: int) -> dict[str, PriceFraction | None]:
    """Prices in that network: of a call and an SMS to a mobile number of the home country, of a call received, and of
    data. None: it is not offered there.
    """
    home = _mobile_number(catalogue.tables.general.home_country if catalogue.tables.general else "")
    uses = {
        "call": (Context.IMS, Direction.ORIGINATING, home, Unit.SECONDS),
        "received": (Context.IMS, Direction.TERMINATING, home, Unit.SECONDS),
        "sms": (Context.SMS, Direction.ORIGINATING, home, Unit.MESSAGES),
        "data": (Context.DATA, Direction.ORIGINATING, None, Unit.OCTETS),
    }
    found: dict[str, PriceFraction | None] = {}
    for name, (context, direction, party, unit) in uses.items():
        event = UseEvent(context, direction, serving_plmn=plmn, other_party=party, at=at, facts=facts)
        found[name] = _price(catalogue, event, unit)
    return found


def _price(catalogue: Catalogue, event: UseEvent, unit: Unit) -> PriceFraction | None:
    try:
        rated = catalogue.rate(event)
    except Unrateable:
        return None
    price = rated.price
    return (price.num, price.den, price.flat) if rated.unit is unit else None


@lru_cache(maxsize=8)
def _mobile_number(country: str) -> str:
    number = phonenumbers.example_number_for_type(country, phonenumbers.PhoneNumberType.MOBILE)
    return "" if number is None else phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


SAMPLES: Mapping[str, tuple[PriceFraction | None, ...]] = {
    "call": ((990_000, 60, False), (500_000, 1, True), None),
    "received": ((490_000, 60, False), (0, 1, False), None),
    "sms": ((290_000, 1, False), (0, 1, False), None),
    "data": ((6_900, 1024 * 1024, False), (0, 1, False), None),
}
"""Prices as they may be, by which texts are checked."""
