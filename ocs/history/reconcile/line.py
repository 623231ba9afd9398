"""A line of the host's usage file: one use, or a part of one, as the host measured it."""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN_AMOUNT = 0


@dataclass(frozen=True, slots=True)
class Line:
    number: int
    """Of the file, from 1; of TAP the number of the call event."""
    msisdn: str
    imsi: str
    service: str
    """"data", "voice", "sms" or "mms"."""
    start: int
    """Unix seconds."""
    end: int
    """Unix seconds; as `start` if the file does not say it."""
    units: int
    """Octets, seconds or messages."""
    amount_micro_eur: int = UNKNOWN_AMOUNT
    """What the host bills for it."""
    session: str = ""
    """Session-Id of Gy or Ro, if the file has it."""
    charging: str = ""
    """Charging id: parts of one use have the same."""
    record: str = ""
    """The host's own id of the line."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read. Why, without the subscriber's numbers."""

    number: int
    reason: str


class WholesaleFileError(Exception):
    """The file is not what the settings say; the message names file and reason."""
