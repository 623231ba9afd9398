"""Where notices leave: a port takes one message and says what became of it. Another way out (an SMPP link to the SMSC)
is another class with these two methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    """The same in each attempt: a receiver that knows it already shows nothing again (HOT-NOT-2)."""
    msisdn: str
    text: str
    language: str
    """ISO 639-1."""
    notice: str
    """Its name in the catalogue."""
    expires_at: int
    """Unix seconds."""


class Taken(StrEnum):
    YES = "yes"
    NO = "no"
    """Another attempt would be refused too."""
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Answer:
    taken: Taken
    reason: str = ""
    """Short, without subscriber identities."""
    reference: str = ""
    """The receiver's name of the message."""
    after_s: float = 0.0
    """Of LATER: the receiver asks to wait so long; 0 = it does not say."""


class DeliveryPort(Protocol):
    async def send(self, message: Message) -> Answer:
        """Never raises for what a receiver or the network does; OSError of a local file is LATER too."""

    async def close(self) -> None: ...
