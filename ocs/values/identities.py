"""Identities of subscribers and networks: MSISDN (E.164), IMSI and PLMN (E.212), and the ledger's subscriber id.

Numbers are checked by their form only. Test networks and machines use numbers that no public numbering plan assigns.
"""

from __future__ import annotations

import re
from typing import NewType

Msisdn = NewType("Msisdn", str)
"""E.164 digits with the country code, without +."""
Imsi = NewType("Imsi", str)
"""E.212 digits: MCC, MNC, MSIN."""
SubscriberId = NewType("SubscriberId", str)
"""Key of the ledger's subscriber index: "m" + MSISDN or "i" + IMSI."""

MAX_MSISDN_DIGITS = 15
"""ITU-T E.164 §6.1."""
MAX_IMSI_DIGITS = 16
"""ITU-T E.212 allows 15; some network elements send 16."""
MSISDN_EXAMPLE = "38668100000"
IMSI_EXAMPLE = "293400000000000"

_MSISDN = re.compile(rf"[1-9][0-9]{{4,{MAX_MSISDN_DIGITS - 1}}}", re.ASCII)
_IMSI = re.compile(rf"[0-9]{{6,{MAX_IMSI_DIGITS}}}", re.ASCII)
_MAX_DIGITS = {"m": MAX_MSISDN_DIGITS, "i": MAX_IMSI_DIGITS}
PLMN_PATTERN = r"^[0-9]{5,6}$"
"""MCC and MNC."""
NUMBER_PREFIX_PATTERN = rf"imsi:[0-9]{{1,{MAX_IMSI_DIGITS}}}|[0-9]{{1,{MAX_MSISDN_DIGITS}}}"
"""How settings write a range of subscribers: first digits of the MSISDN, or `imsi:` and first digits of the IMSI."""


def is_digits(text: str) -> bool:
    """Whether the text has one character or more, all from 0 to 9."""
    return text.isascii() and text.isdigit()


def parse_msisdn(text: str) -> Msisdn:
    """The MSISDN that a person or a file wrote, without a leading +. ValueError says what is allowed."""
    digits = text.strip().removeprefix("+")
    if not _MSISDN.fullmatch(digits):
        raise ValueError(
            f"{text!r} is no MSISDN: 5 to {MAX_MSISDN_DIGITS} digits with the country code, such as {MSISDN_EXAMPLE}"
        )
    return Msisdn(digits)


def parse_imsi(text: str) -> Imsi:
    """The IMSI that a person or a file wrote. ValueError says what is allowed."""
    digits = text.strip()
    if not _IMSI.fullmatch(digits):
        raise ValueError(f"{text!r} is no IMSI: 6 to {MAX_IMSI_DIGITS} digits, such as {IMSI_EXAMPLE}")
    return Imsi(digits)


def is_plmn(text: str) -> bool:
    """Whether the text is MCC and MNC: 5 or 6 digits."""
    return len(text) in (5, 6) and is_digits(text)


def by_msisdn(msisdn: str) -> SubscriberId:
    return SubscriberId("m" + msisdn)


def by_imsi(imsi: str) -> SubscriberId:
    return SubscriberId("i" + imsi)


def received_subscriber_id(kind: str, digits: str) -> SubscriberId | None:
    """The id of a number that a network element sent; None = it is no number. `kind`: "m" or "i".

    No minimum length is checked: a number that is too short belongs to no account.
    """
    return SubscriberId(kind + digits) if len(digits) <= _MAX_DIGITS[kind] and is_digits(digits) else None


def parse_number_prefix(text: str) -> str:
    """The prefix of the subscriber ids in a range: "386" → "m386", "imsi:29340" → "i29340". ValueError = neither."""
    if not re.fullmatch(NUMBER_PREFIX_PATTERN, text, re.ASCII):
        raise ValueError("is no prefix of a number")
    return "i" + text.removeprefix("imsi:") if text.startswith("imsi:") else "m" + text


def uid_of(account_id: str) -> str:
    """The part of an account id that stays when the account moves to another partition."""
    return account_id.partition("-")[2]
