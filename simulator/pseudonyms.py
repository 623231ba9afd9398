"""Pseudonyms of the persons in a credit-control request, by a key: equal identities stay equal, lengths stay the same.

Numbers keep their first digits, which decide about price and home (country, network, zone); the others are permuted by
a keyed Feistel network over decimal digits, as in NIST SP 800-38G. It is a bijection: two subscribers never become one.
Short numbers (emergency, services) stay. What names a person otherwise (IMEI, addresses of IP, cell, Call-ID, names)
is overwritten by keyed octets. AVPs that the dictionary does not know are zeroed.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Any

from diameter.message.avp.avp import AvpGrouped
from diameter.message.avp.dictionary import AVP_DICTIONARY, AVP_VENDOR_DICTIONARY

from simulator.wire import avps

KEPT_DIGITS = 5
"""Of an MSISDN (country, network) and of an IMSI (MCC, MNC)."""
SHORTEST = 8
"""Digits of the shortest number that belongs to a person."""
ROUNDS = 10
MIN_KEY_OCTETS = 16
CACHED = 100_000
VENDOR_3GPP = 10415
_DIGITS = re.compile(rb"\d{%d,}" % SHORTEST)
_WORD = re.compile(rb"[A-Za-z0-9]+")

NUMBERS = frozenset(
    (
        (0, 444), (0, 1), (0, 31), (VENDOR_3GPP, 1), (VENDOR_3GPP, 831), (VENDOR_3GPP, 832), (VENDOR_3GPP, 837),
        (VENDOR_3GPP, 897), (VENDOR_3GPP, 1250), (VENDOR_3GPP, 1251), (VENDOR_3GPP, 1280), (VENDOR_3GPP, 2035),
    )
)  # fmt: skip
"""(Vendor-Id, code) of texts with a number, a SIP URI or a name: Subscription-Id-Data, User-Name, Calling-Station-Id,
3GPP-IMSI, Calling-, Called-, Application-Provided-Called-Party-Address, Address-Data, Called-Asserted-Identity,
Requested-, Alternate-Charged-, Associated-Party-Address (RFC 8506, TS 32.299, TS 29.061).
"""
OPAQUE = frozenset(
    (
        (0, 263), (0, 8), (0, 97), (0, 460), (0, 654), (0, 655), (0, 656), (0, 657), (0, 658), (VENDOR_3GPP, 701),
        (VENDOR_3GPP, 830), (VENDOR_3GPP, 841), (VENDOR_3GPP, 1402), (VENDOR_3GPP, 1643),
    )
)  # fmt: skip
"""Overwritten: Session-Id, Framed-IP-Address, -IPv6-Prefix, User-Equipment-Info, MSISDN, User-Session-Id,
IMS-Charging-Identifier, IMEI, A-MSISDN.
"""
ADDRESSES = frozenset(((VENDOR_3GPP, 848), (VENDOR_3GPP, 1227), (VENDOR_3GPP, 1621)))
"""Type Address (RFC 6733 §4.3.1): two octets of family stay. Served-Party-IP-Address, PDP-Address."""
USER_LOCATION_INFO = (VENDOR_3GPP, 22)
ACCESS_NETWORK_INFORMATION = (VENDOR_3GPP, 1263)
_CELL = re.compile(rb'(cell-id-3gpp="?\d{5})(\w+)', re.IGNORECASE)
"""PLMN, then area and cell (RFC 7315 §5.4)."""


class Pseudonyms:
    """The key of one or several recordings. Raises ValueError if it is too short."""

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_OCTETS:
            raise ValueError(f"the key needs {MIN_KEY_OCTETS} octets or more, not {len(key)}")
        self._key = hashlib.blake2b(key, digest_size=32).digest()
        self.number = lru_cache(CACHED)(self._number)

    def request(self, frame: bytes) -> bytes:
        """The request with pseudonyms, as long as before. Raises WireError."""
        out = bytearray(frame)
        self._group(out, 20, len(out))
        return bytes(out)

    def text(self, text: bytes) -> bytes:
        """A number, a URI or a name."""
        if _DIGITS.search(text):
            return _DIGITS.sub(lambda found: self.number(found[0]), text)
        scheme, colon, rest = text.rpartition(b":") if text.lower().startswith((b"sip", b"tel")) else (b"", b"", text)
        user, at, host = rest.partition(b"@")
        if user.lstrip(b"+").isdigit():
            return text  # a short number
        return scheme + colon + _WORD.sub(lambda found: self._letters(found[0]), user) + at + host

    def _number(self, digits: bytes) -> bytes:
        kept, rest = digits[:KEPT_DIGITS], digits[KEPT_DIGITS:]
        half = len(rest) // 2
        left, right = rest[:half], rest[half:]
        for step in range(ROUNDS):
            mask = int.from_bytes(self._octets(b"%d %s %s" % (step, kept, right), 16), "big")
            width = len(left)
            left, right = right, b"%0*d" % (width, (int(left) + mask) % 10**width)
        return kept + left + right

    def _letters(self, word: bytes) -> bytes:
        return self._octets(word, -(-len(word) // 2)).hex().encode()[: len(word)]

    def _octets(self, value: bytes, length: int) -> bytes:
        """`length` octets that depend on the key and the value."""
        found, block = b"", 0
        while len(found) < length:
            found += hashlib.blake2b(b"%d %s" % (block, value), key=self._key, digest_size=32).digest()
            block += 1
        return found[:length]

    def _group(self, out: bytearray, start: int, end: int) -> None:
        for code, vendor, at, stop in avps(bytes(out), start, end):
            name, value = (vendor, code), bytes(out[at:stop])
            if name in NUMBERS:
                out[at:stop] = self.text(value)
            elif name in OPAQUE:
                out[at:stop] = self._letters(value)
            elif name in ADDRESSES:
                out[at + 2 : stop] = self._octets(value, max(len(value) - 2, 0))
            elif name == USER_LOCATION_INFO:
                out[at:stop] = self._location(value)
            elif name == ACCESS_NETWORK_INFORMATION:
                out[at:stop] = _CELL.sub(lambda found: found[1] + self._letters(found[2]), value)
            elif (kind := _kind(code, vendor)) is None:
                out[at:stop] = bytes(stop - at)
            elif issubclass(kind, AvpGrouped):
                self._group(out, at, stop)

    def _location(self, value: bytes) -> bytes:
        """The PLMN stays, the area and the cell do not (TS 29.061 §16.4.7.2, TS 29.274 §8.21)."""
        areas = {130: (5, 7)}.get(value[0] if value else 0, (len(value) - 1,))
        if sum(areas) != len(value) - 1:
            return value[:4] + self._octets(value, max(len(value) - 4, 0))
        found, at = value[:1], 1
        for octets in areas:
            found += value[at : at + 3] + self._octets(value[at : at + octets], max(octets - 3, 0))
            at += octets
        return found


def _kind(code: int, vendor: int) -> type | None:
    """The AVP's type; None = the dictionary does not know it."""
    entry: Any = (AVP_VENDOR_DICTIONARY.get(vendor, {}) if vendor else AVP_DICTIONARY).get(code)
    return entry["type"] if entry else None
