"""Texts of SMS and USSD: the GSM 7-bit alphabet and the number of segments (TS 23.038 §6.2.1, TS 23.040 §9.2.3.24).

A text with a character outside the alphabet is sent in UCS-2: č is outside, so Slovene texts often are.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")
"""Characters behind an escape: two septets each."""
USSD_CHARACTERS = 182
"""Septets of a USSD string: 160 octets (TS 24.090, TS 23.038 §5)."""
MAX_SEGMENTS = 255
_SIZES = {"GSM-7": (160, 153), "UCS-2": (70, 67)}
"""Units of a message that stands alone, and of a segment of several."""
_SPELT = {"đ": "d", "Đ": "D", "€": "EUR", "–": "-", "—": "-", "„": '"', "“": '"', "”": '"', "’": "'", "…": "..."}


@dataclass(frozen=True, slots=True)
class SmsSize:
    encoding: str
    """"GSM-7" or "UCS-2"."""
    units: int
    """Septets, or 16-bit units."""
    segments: int


def is_gsm7(text: str) -> bool:
    return all(each in BASIC or each in EXTENSION for each in text)


def sms_size(text: str) -> SmsSize:
    """How the text is sent. An escaped character, and a pair of surrogates, is never split between segments."""
    if is_gsm7(text):
        encoding, widths = "GSM-7", [2 if each in EXTENSION else 1 for each in text]
    else:
        encoding, widths = "UCS-2", [2 if ord(each) > 0xFFFF else 1 for each in text]
    alone, of_several = _SIZES[encoding]
    units = sum(widths)
    if units <= alone:
        return SmsSize(encoding, units, 1)
    segments, room = 1, of_several
    for width in widths:
        if width > room:
            segments, room = segments + 1, of_several
        room -= width
    return SmsSize(encoding, units, segments)


def plain(text: str) -> str:
    """The text in the GSM 7-bit alphabet: č → c; what has no such letter becomes "?"."""
    return "".join(_plain(each) for each in text)


def _plain(character: str) -> str:
    if is_gsm7(character):
        return character
    if character in _SPELT:
        return _SPELT[character]
    if character.isspace():
        return " "
    letters = "".join(each for each in unicodedata.normalize("NFKD", character) if each in BASIC)
    return letters or "?"


def ussd_text(text: str) -> str:
    """One USSD page: plain, and cut after the last word that fits, with "..." behind it."""
    text = plain(text)
    if sms_size(text).units <= USSD_CHARACTERS:
        return text
    room, end = USSD_CHARACTERS - 3, 0
    for at, each in enumerate(text):
        room -= 2 if each in EXTENSION else 1
        if room < 0:
            break
        end = at + 1
    words = text[:end].rpartition(" ")[0] or text[:end]
    return words.rstrip(" ,;") + "..."
