"""Legs of a forwarded call (HOT-RAT-7): a table of B's location, how the call was forwarded, and to whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ocs.policy.forwarding import EARLY, Diversion, diversion, is_late, legs, together
from ocs.values.use import Context, Direction, RatedUse, UseEvent
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import AUSTRIA, HOME, SERBIA, USA
from tests.rules import rule

FIXED = fixed_catalogue()
MOBILE, GERMANY, BOSNIA = "+38631234567", "+4915112345678", "+38761123456"
AT_HOME, IN_EU, TO_ZONE1 = "voice.home.national", "voice.eu.eu", "voice.home.zone1"
IN = "voice.incoming"


def forwarded(plmn: str | None, to: str) -> UseEvent:
    return UseEvent(Context.IMS, Direction.FORWARDED, serving_plmn=plmn, other_party=to)


@rule("HOT-RAT-7")
@pytest.mark.parametrize(
    ("plmn", "late", "to", "expected"),
    [
        (HOME, False, MOBILE, [AT_HOME]),  # (a), (b)
        (HOME, True, MOBILE, [AT_HOME]),  # CFB at home
        (None, True, MOBILE, [AT_HOME]),  # no AVP says that B is abroad
        (AUSTRIA, False, MOBILE, [AT_HOME]),  # (c)
        (SERBIA, False, MOBILE, [AT_HOME]),
        ("99999", False, MOBILE, [AT_HOME]),  # B's network does not matter, even an unknown one
        (AUSTRIA, True, MOBILE, [IN_EU, IN]),  # (d)
        (SERBIA, True, MOBILE, ["voice.world-1.out", "voice.world-1.in"]),
        (USA, True, MOBILE, ["voice.world-2.out", "voice.world-2.in"]),
        (AUSTRIA, False, GERMANY, [TO_ZONE1]),
        (SERBIA, False, BOSNIA, ["voice.zone2"]),
        (AUSTRIA, True, BOSNIA, ["voice.zone2", IN]),
        (SERBIA, False, "112", ["voice.emergency"]),
        (SERBIA, True, "112", ["voice.emergency"]),  # HOT-RAT-2: no leg with a price
        (AUSTRIA, True, "+38680123456", ["voice.free"]),
    ],
)
def test_the_legs(plmn: str | None, late: bool, to: str, expected: list[str]) -> None:
    assert [leg.label for leg in legs(forwarded(plmn, to), FIXED.rate, late=late)] == expected


@rule("HOT-RAT-7")
@pytest.mark.parametrize(
    ("mode", "late"),
    [(None, False), (0, False), (1, True), (2, True), (3, False), (4, True), (5, True), (6, False), (1024, False)],
)
def test_which_diversions_are_late(mode: int | None, late: bool) -> None:
    assert is_late(diversion(mode)) == late


def test_an_operator_may_say_otherwise() -> None:
    assert not is_late(Diversion.CFNRC, {*EARLY, Diversion.CFNRC})
    assert is_late(Diversion.UNKNOWN, {Diversion.CFU})


@rule("HOT-CC-5")
@pytest.mark.parametrize(
    ("plmn", "late", "to", "bars"),
    [
        (HOME, False, MOBILE, {"forwarding"}),
        (SERBIA, False, MOBILE, {"forwarding"}),
        (SERBIA, True, MOBILE, {"forwarding", "roaming"}),
        (HOME, False, GERMANY, {"forwarding", "international"}),
        ("26201", False, GERMANY, {"forwarding", "international"}),
        ("26201", True, GERMANY, {"forwarding", "international", "roaming"}),
        (HOME, False, "+38690123456", {"forwarding", "premium"}),
    ],
)
def test_bars(plmn: str, late: bool, to: str, bars: set[str]) -> None:
    """A number abroad is abroad for the leg, even if B is in that country: the call comes from home."""
    assert set(legs(forwarded(plmn, to), FIXED.rate, late=late)[0].bars) == bars


# -- a grant ends, or changes its price, with the first of its legs


ONE, OTHER = (FIXED.rate(forwarded(plmn, MOBILE)) for plmn in (SERBIA, USA))


def changing(rated: RatedUse, at: int, to: RatedUse | None) -> RatedUse:
    return replace(rated, switch_at=at, price_after=None if to is None else to.price)


@pytest.mark.parametrize(
    ("one", "other", "at", "after"),
    [
        (ONE, OTHER, 0, (None, None)),
        (changing(ONE, 50, OTHER), OTHER, 50, (OTHER, OTHER)),
        (ONE, changing(OTHER, 60, ONE), 60, (ONE, ONE)),
        (changing(ONE, 50, OTHER), changing(OTHER, 60, ONE), 50, (OTHER, OTHER)),
        (changing(ONE, 60, OTHER), changing(OTHER, 60, ONE), 60, (OTHER, ONE)),
        (changing(ONE, 60, OTHER), changing(OTHER, 60, None), 60, (None, None)),
        (changing(ONE, 70, OTHER), changing(OTHER, 60, None), 60, (None, None)),
    ],
)
def test_the_next_change_of_any_leg(
    one: RatedUse, other: RatedUse, at: int, after: tuple[RatedUse | None, RatedUse | None]
) -> None:
    found = together(one, other)
    assert [leg.switch_at for leg in found] == [at, at]
    assert [leg.price_after for leg in found] == [each and each.price for each in after]


def test_the_next_end_of_any_leg() -> None:
    assert together(ONE, replace(OTHER, ends_at=70))[0].ends_at == 70
    assert together(replace(ONE, ends_at=60), replace(OTHER, ends_at=70))[0].ends_at == 60
