"""Call forwarding: what B pays for the leg to C, when A calls B who forwards to C (HOT-RAT-7).

Early forwarding: the home network diverts the call, and B's phone abroad is not reached. Late forwarding: the call was
routed to B's phone first. Only late forwarding of a phone abroad has a leg there and back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from enum import IntEnum

from ocs.catalogue.place import HOME
from ocs.values.use import Direction, RatedUse, UseEvent


class Diversion(IntEnum):
    """Service-Mode of communication diversion (TS 32.299 §7.2.196A)."""

    UNKNOWN = -1
    """The request does not say, or has a mode of its vendor."""
    CFU = 0
    CFB = 1
    CFNR = 2
    CFNL = 3
    CD = 4
    CFNRC = 5


EARLY = frozenset((Diversion.CFU, Diversion.CFNL, Diversion.UNKNOWN))
"""Unconditional, and not logged in (the phone is off): decided in the home network. Unknown: the cheaper assumption."""


_MODES = {mode.value: mode for mode in Diversion}


def diversion(service_mode: int | None) -> Diversion:
    """The diversion that Service-Mode names; None = the request does not say."""
    return Diversion.UNKNOWN if service_mode is None else _MODES.get(service_mode, Diversion.UNKNOWN)


def is_late(mode: Diversion, early: Collection[int] = EARLY) -> bool:
    """Whether the call was routed to B's phone before it was forwarded. `early`: the modes that the home network
    diverts itself.
    """
    return mode not in early


def legs(event: UseEvent, rate: Callable[[UseEvent], RatedUse], *, late: bool) -> tuple[RatedUse, ...]:
    """HOT-RAT-7: the rates at which B pays the forwarded leg `event`, one or two at once.

    Early forwarding is a call from home, wherever B is. Late forwarding is a call from where B is; abroad, B also pays
    the incoming call there. What is always free (HOT-RAT-2, -3) has one leg.
    """
    onward = rate(event if late else replace(event, at_home=True))
    if not late or onward.place == HOME or onward.always:
        return (onward,)
    return together(onward, rate(replace(event, direction=Direction.TERMINATING)))


def with_surcharges(legs: Sequence[RatedUse]) -> tuple[RatedUse, ...]:
    """The legs, and the surcharge of each that has one (HOT-ROA-4, HOT-ROA-7)."""
    surcharges = [leg.surcharge for leg in legs if leg.surcharge is not None]
    return together(*legs, *surcharges) if surcharges else tuple(legs)


def together(*legs: RatedUse) -> tuple[RatedUse, ...]:
    """Legs of one grant. The first one has what limits the grant: the bars of all, the next change of any price, the
    next end of any rate.
    """
    switch_at = min((leg.switch_at for leg in legs if leg.switch_at), default=0)
    switching = [leg for leg in legs if switch_at and leg.switch_at == switch_at]
    ends = any(leg.price_after is None for leg in switching)
    bars = tuple(dict.fromkeys(bar for leg in legs for bar in leg.bars))
    ends_at = min((leg.ends_at for leg in legs if leg.ends_at), default=0)
    after = [leg.price_after if leg in switching and not ends else None for leg in legs]
    if switching and not ends:
        # A leg that keeps its price while another one's changes.
        after = [price or leg.price for price, leg in zip(after, legs, strict=True)]
    first, *rest = (
        replace(leg, switch_at=switch_at, price_after=price) for leg, price in zip(legs, after, strict=True)
    )
    return (replace(first, bars=bars, ends_at=ends_at), *rest)
