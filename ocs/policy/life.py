"""An account's life: which state follows, what happens to sessions, units and credit (HOT-ACC-2 to -6, -10, -11).

The ledger's scripts apply the table; a test compares both, state by state (tests/ocs/policy/test_life.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    NEW = "new"
    """Sold, not yet used (HOT-ACC-2)."""
    ACTIVE = "active"
    INACTIVE = "inactive"
    BLOCKED = "blocked"
    TERMINATED = "terminated"


class Happening(StrEnum):
    FIRST_USE = "first use"
    TOP_UP = "top-up"
    PERIOD_OVER = "90 days without a top-up"
    LIFE_OVER = "270 days more"
    BLOCK = "block"
    UNBLOCK = "the last block is lifted"
    CHANGE_SIM = "another SIM"
    CHANGE_NUMBER = "another number"
    FEE = "one-off fee"
    PAY_OUT = "pay-out"
    PORT_OUT = "port-out"
    END = "end by care"


class Sessions(StrEnum):
    KEEP = "keep"
    ASK = "ask"
    """RAR: what they may use has changed."""
    ABORT = "abort"
    """ASR to all but emergency calls (HOT-RAT-2)."""


class Kept(StrEnum):
    KEPT = "kept"
    LOST = "lost"
    PAID_OUT = "paid out"
    """Of credit: the refundable part; what is promotional is kept, or lost with the account."""


@dataclass(frozen=True, slots=True)
class Transition:
    state: State
    """Afterwards. An unblocked account may be inactive by time."""
    sessions: Sessions = Sessions.KEEP
    units: Kept = Kept.KEPT
    credit: Kept = Kept.KEPT


_NEW, _ACTIVE, _INACTIVE, _BLOCKED, _OVER = State
_H = Happening
_ABORTED = Sessions.ABORT


def _living(state: State) -> dict[tuple[State, Happening], Transition]:
    """What every account that is not terminated can do."""
    return {
        (state, _H.BLOCK): Transition(_BLOCKED, _ABORTED),
        (state, _H.CHANGE_SIM): Transition(state, _ABORTED),
        (state, _H.CHANGE_NUMBER): Transition(state, _ABORTED),
        (state, _H.FEE): Transition(state, Sessions.ASK),
        (state, _H.PORT_OUT): Transition(_OVER, _ABORTED, Kept.LOST, Kept.PAID_OUT),
        (state, _H.END): Transition(_OVER, _ABORTED, Kept.LOST, Kept.LOST),
    }


TRANSITIONS: Mapping[tuple[State, Happening], Transition] = {
    **_living(_NEW),
    **_living(_ACTIVE),
    **_living(_INACTIVE),
    **_living(_BLOCKED),
    (_NEW, _H.FIRST_USE): Transition(_ACTIVE),  # HOT-ACC-2
    (_NEW, _H.TOP_UP): Transition(_NEW, Sessions.ASK),
    (_ACTIVE, _H.TOP_UP): Transition(_ACTIVE, Sessions.ASK),  # HOT-ACC-3
    (_ACTIVE, _H.PERIOD_OVER): Transition(_INACTIVE, _ABORTED),  # HOT-ACC-4
    (_INACTIVE, _H.TOP_UP): Transition(_ACTIVE, Sessions.ASK),  # HOT-ACC-5
    (_INACTIVE, _H.LIFE_OVER): Transition(_OVER, _ABORTED, Kept.LOST, Kept.LOST),  # HOT-ACC-6
    (_INACTIVE, _H.PAY_OUT): Transition(_INACTIVE, Sessions.KEEP, Kept.KEPT, Kept.PAID_OUT),  # HOT-ACC-10
    (_BLOCKED, _H.TOP_UP): Transition(_BLOCKED, Sessions.ASK),
    (_BLOCKED, _H.LIFE_OVER): Transition(_OVER, _ABORTED, Kept.LOST, Kept.LOST),
    (_BLOCKED, _H.UNBLOCK): Transition(_ACTIVE, Sessions.ASK),  # HOT-ACC-11
}
"""What is not here is refused, or does not happen."""


def transition(state: str, happening: Happening) -> Transition | None:
    """None = the account's state does not allow it."""
    return TRANSITIONS.get((State(state), happening))


# -- blocks


class BlockReason(StrEnum):
    LOST = "lost"
    STOLEN = "stolen"
    IMEI = "imei"
    """The subscriber's equipment is barred."""
    NON_PAYMENT = "non-payment"
    FROZEN = "frozen"
    """The subscriber has frozen the number (HOT-REC-3)."""
    CARE = "care"


class By(StrEnum):
    """Who lifts a block."""

    SUBSCRIBER = "subscriber"
    CARE = "care"
    NEW_SIM = "new-sim"
    """A new SIM of the same number (HOT-ACC-11)."""


LIFTED_BY: Mapping[BlockReason, frozenset[By]] = {
    BlockReason.LOST: frozenset(By),
    BlockReason.STOLEN: frozenset((By.CARE, By.NEW_SIM)),
    BlockReason.IMEI: frozenset((By.CARE,)),
    BlockReason.NON_PAYMENT: frozenset((By.CARE,)),
    BlockReason.FROZEN: frozenset((By.SUBSCRIBER, By.CARE)),
    BlockReason.CARE: frozenset((By.CARE,)),
}


def may_lift(reason: BlockReason, by: By) -> bool:
    """HOT-ACC-11: who may lift a block for this reason."""
    return by in LIFTED_BY[reason]


# -- pay-out


class PayOut(StrEnum):
    """Why refundable credit is paid out (HOT-ACC-10)."""

    INACTIVE = "inactive"
    """The account is inactive, and not terminated yet."""
    PORT_OUT = "port-out"
    DATA_ONLY = "data-only"
    """A package with nothing but data has ended."""


_LIVING = (State.NEW, State.ACTIVE, State.INACTIVE, State.BLOCKED)


def pay_out_states(reason: PayOut, tariff_units: Iterable[str]) -> tuple[State, ...]:
    """States in which a pay-out for this reason is due (HOT-ACC-10); () = in none. `tariff_units`: units of the buckets
    of the tariff that ends.
    """
    if reason is PayOut.INACTIVE:
        return (State.INACTIVE,)
    return _LIVING if reason is PayOut.PORT_OUT or is_data_only(tariff_units) else ()


def is_data_only(units: Iterable[str]) -> bool:
    """Whether a tariff whose buckets have these units is a data-only package."""
    found = set(units)
    return bool(found) and found == {"octets"}


# -- fees


class Fee(StrEnum):
    """Ids of the catalogue's one-off fees (HOT-REC-3)."""

    CONNECTION = "CONNECTION"
    SIM_REPLACEMENT = "SIM-REPLACEMENT"
    FREEZE = "FREEZE"
    UNFREEZE = "UNFREEZE"
    OWNERSHIP_CHANGE = "OWNERSHIP-CHANGE"
    UNBLOCKING = "UNBLOCKING"
    """After non-payment."""


def fee_of_lifting(reason: BlockReason) -> Fee | None:
    """The fee for lifting a block (HOT-REC-3); None = it is free."""
    return {BlockReason.FROZEN: Fee.UNFREEZE, BlockReason.NON_PAYMENT: Fee.UNBLOCKING}.get(reason)
