"""Numbers of subscribers and networks: MSISDN (E.164), IMSI and PLMN (E.212), and what a subscriber is looked up by.

A number counts as an MSISDN by its form alone. Whether it is assigned is not asked: test networks and machines have
numbers that are in no numbering plan that we know.
"""

from __future__ import annotations

import re
from typing import NewType

Msisdn = NewType("Msisdn", str)
"""E.164 digits with the country code, without +."""
Imsi = NewType("Imsi", str)
"""E.212 digits: MCC, MNC, MSIN."""
SubscriberId = NewType("SubscriberId", str)
"""What an account is found by: "m" and its MSISDN, or "i" and its IMSI."""

MAX_MSISDN_DIGITS = 15
"""ITU-T E.164 §6.1."""
MAX_IMSI_DIGITS = 16
"""ITU-T E.212 has 15; some makers send 16."""
MSISDN_EXAMPLE = "38668100000"
IMSI_EXAMPLE = "293400000000000"

_MSISDN = re.compile(rf"[1-9][0-9]{{4,{MAX_MSISDN_DIGITS - 1}}}", re.ASCII)
_IMSI = re.compile(rf"[0-9]{{6,{MAX_IMSI_DIGITS}}}", re.ASCII)
_MAX_DIGITS = {"m": MAX_MSISDN_DIGITS, "i": MAX_IMSI_DIGITS}
PLMN_PATTERN = r"^[0-9]{5,6}$"
"""MCC and MNC."""
BEGINNING_PATTERN = rf"imsi:[0-9]{{1,{MAX_IMSI_DIGITS}}}|[0-9]{{1,{MAX_MSISDN_DIGITS}}}"
"""Of a range of subscribers in the settings: first digits of MSISDNs, or of IMSIs behind `imsi:`."""


def is_digits(text: str) -> bool:
    """Of 0 to 9 only, and not empty."""
    return text.isascii() and text.isdigit()


def parse_msisdn(text: str) -> Msisdn:
    """As people and files write it; a leading + is dropped. ValueError says what is allowed."""
    digits = text.strip().removeprefix("+")
    if not _MSISDN.fullmatch(digits):
        raise ValueError(
            f"{text!r} is no MSISDN: 5 to {MAX_MSISDN_DIGITS} digits with the country code, such as {MSISDN_EXAMPLE}"
        )
    return Msisdn(digits)


def parse_imsi(text: str) -> Imsi:
    """ValueError says what is allowed."""
    digits = text.strip()
    if not _IMSI.fullmatch(digits):
        raise ValueError(f"{text!r} is no IMSI: 6 to {MAX_IMSI_DIGITS} digits, such as {IMSI_EXAMPLE}")
    return Imsi(digits)


def is_plmn(text: str) -> bool:
    """MCC and MNC: 5 or 6 digits."""
    return len(text) in (5, 6) and is_digits(text)


def by_msisdn(msisdn: str) -> SubscriberId:
    return SubscriberId("m" + msisdn)


def by_imsi(imsi: str) -> SubscriberId:
    return SubscriberId("i" + imsi)


def as_received(kind: str, digits: str) -> SubscriberId | None:
    """Of a number that a network sends: `kind` "m" or "i". None: it is none. Shorter ones than we provision count: they
    find nobody.
    """
    return SubscriberId(kind + digits) if len(digits) <= _MAX_DIGITS[kind] and is_digits(digits) else None


def parse_beginning(text: str) -> str:
    """Of a range of subscribers: "386" → "m386", "imsi:29340" → "i29340". ValueError: it is none."""
    if not re.fullmatch(BEGINNING_PATTERN, text, re.ASCII):
        raise ValueError("is no beginning of a number")
    return "i" + text.removeprefix("imsi:") if text.startswith("imsi:") else "m" + text
