"""States of a notice, and what they say."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    WAITING = "waiting"
    """For its time: the end of the quiet hours, or the next attempt."""
    SENDING = "sending"
    SENT = "sent"
    """The receiver took it."""
    DELIVERED = "delivered"
    """The receiver says that the phone has it."""
    FAILED = "failed"
    """The receiver refused it, or says that it cannot be delivered."""
    GIVEN_UP = "given_up"
    """It could not be sent in time, or not in `notices.attempts` attempts."""
    SUPPRESSED = "suppressed"
    """It is not to be sent; `Reason` says why."""


OPEN = (State.WAITING, State.SENDING)
RETRIED = (State.FAILED, State.GIVEN_UP)
"""An operator may send these again."""


class Reason(StrEnum):
    """Why a notice is not sent."""

    MUTED = "muted"
    """The subscriber does not want it."""
    EXPIRED = "expired"
    """It is too late."""
    TOO_MANY = "too many"
    """So many of the account wait already."""
    QUEUE_FULL = "queue full"
    NO_NUMBER = "no number"
    """The account has ended."""
    ROLLED_BACK = "rolled back"
    """The ledger lost the event."""
    TEXT = "text"
    """The text does not fit the event: a mistake of the catalogue."""
    OFF = "off"
    """Nothing is sent: `notices.port` is "off"."""
