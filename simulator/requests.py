"""Requests of network elements as plain values; `dialects` encodes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

REASON_THRESHOLD, REASON_QHT, REASON_FINAL, REASON_EXHAUSTED, REASON_VALIDITY, REASON_FORCED = 0, 1, 2, 3, 4, 7
REASON_RATING_CHANGE = 6
"""Reporting-Reason (TS 32.299 §7.2.175)."""
REASONS_OF_THE_UNITS = frozenset((REASON_THRESHOLD, REASON_EXHAUSTED))
"""These are in Used-Service-Unit, the others in the MSCC."""


class Element(StrEnum):
    """A kind of network element; the value is the first label of its Origin-Host."""

    PGW = "pgw"
    IMS = "ims"
    MSC = "msc"
    SMSC = "smsc"
    MMSC = "mmsc"


class Reaction(StrEnum):
    """What a session does after a RAR or ASR."""

    ASKS = "asks"
    """2002 and a CCR-U (RFC 8506 §5.5), or 2001 and a CCR-T (RFC 6733 §8.5)."""
    IGNORES = "ignores"
    """RAR is answered 2001 and nothing follows, ASR is refused with 5012, as some real clients do."""
    SILENT = "silent"
    """No answer."""


class Kind(StrEnum):
    """CC-Request-Type (RFC 8506 §8.3)."""

    INITIAL = "I"
    UPDATE = "U"
    TERMINATION = "T"
    EVENT = "E"


CC_REQUEST_TYPES = {Kind.INITIAL: 1, Kind.UPDATE: 2, Kind.TERMINATION: 3, Kind.EVENT: 4}


@dataclass(frozen=True, slots=True)
class Subscriber:
    """One line of the provisioning file."""

    msisdn: str
    imsi: str
    package: str = "MAXI"
    credit: str = "20.00"
    """EUR, as text in the provisioning file."""
    limit: str = ""
    """EUR; "" = the system's default."""


@dataclass(frozen=True, slots=True)
class Place:
    """Place of a subscriber: the serving network, and the number of its switch."""

    id: str
    """"home", "eu" or "world"."""
    plmn: str
    switch_number: str
    """E.164 digits of the serving MSC/VLR."""
    cell: int = 0x0123AB01
    """E-UTRAN cell identifier in 3GPP-User-Location-Info."""
    switch_id: str = ""
    """The catalogue's place by the switch's number alone, as circuit-switched calls and SMS tell it; "" = `id`."""
    rat: int = 6
    """3GPP-RAT-Type (TS 29.061 §16.4.7.2): 6 E-UTRAN, 51 NR, 1 UTRAN."""


@dataclass(frozen=True, slots=True)
class ServicePart:
    """One MSCC of a request. Units are octets, seconds or messages, as the element counts them."""

    rating_group: int | None
    used: int | None = None
    """None = no Used-Service-Unit."""
    wanted: int | None = None
    """None = no Requested-Service-Unit; 0 = an empty one: the server chooses the amount."""
    reason: int | None = None
    """Reporting-Reason, at the level of the standard."""
    used_after: int = 0
    """Of `used`, after the tariff change that the last answer told (Tariff-Change-Usage, TS 32.299 §6.5.2)."""
    triggers: tuple[int, ...] = ()
    """Trigger-Types that made the client report, with the reason REASON_RATING_CHANGE (TS 32.299 §7.2.236)."""


@dataclass(frozen=True, slots=True)
class Request:
    element: Element
    kind: Kind
    session_id: str
    number: int
    at: int
    """Event-Timestamp, Unix seconds."""
    subscriber: Subscriber
    place: Place
    parts: tuple[ServicePart, ...]
    other_party: str = ""
    """E.164 digits (or a short number) of the other side; "" for data."""
    incoming: bool = False
    charging_id: int = 1
    size_octets: int = 0
    """Of a multimedia message."""
    seconds: int = 0
    """Since the session's request before."""
    forwarding: int | None = None
    """Service-Mode of a call that the subscriber forwards to the other party (TS 32.299 §7.2.196A); None = no such."""
    caller: str = ""
    """Who called the subscriber, if the call is forwarded: E.164 digits."""
