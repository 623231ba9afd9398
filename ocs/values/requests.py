"""CC-Request-Type and Requested-Action (RFC 8506 §8.3, §8.41)."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """Requested-Actions of an EVENT_REQUEST that need the account (RFC 8506 §8.41). A price enquiry needs none."""

    DEBIT = "debit"
    REFUND = "refund"
    CHECK = "check"


class RequestType(StrEnum):
    """CC-Request-Type (RFC 8506 §8.3)."""

    INITIAL = "I"
    UPDATE = "U"
    TERMINATION = "T"
    EVENT = "E"


REQUEST_TYPES = dict(enumerate(RequestType, 1))
"""By the value of the AVP."""
