"""The serving network in Access-Network-Information (1263), which is the text of SIP's P-Access-Network-Info. Pure.

    3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2934000010000001,
    3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=2280100010000001

One text may describe several accesses, and a request may have several texts. A handset writes what it likes, quotes
that nothing closes among them; what the network has written is marked `network-provided` and stands behind it (RFC 7315
§4.4, RFC 7913, TS 24.229 §7.2A.4).
So a quote begins a string only as a parameter's value, and only if the next quote ends that value: what a handset
leaves open does not swallow the network's words. Of accesses without a cell of a mobile network (WLAN, fixed lines,
3GPP2, satellite) the place is not known. Reading takes time in proportion to the text's length, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Cell = tuple[str, bytes]
"""MCC and MNC digits of a cell, and the text that it was found in."""

_MARK = b"network-provided"
_BLANKS = b" \t\r\n\v\f\0"
"""Some clients send a text with the NUL that ends it in their memory."""
_BREAK = re.compile(rb'=[ \t\r\n\0]*+"(?:[^"\\]|\\.)*+"[ \t\r\n\0]*+(?=[,;]|\Z)|([,;])', re.DOTALL)
"""A quoted value, to be passed over, or what separates accesses (,) and their parts (;)."""
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_IDENTITY = re.compile(rb"([0-9]{3})([0-9]{2,3})[0-9a-fA-F]{4,}")


def _lengths(*cell_digits: int) -> dict[int, int]:
    """By number of digits after the MCC, how many of them are the MNC, where so many follow it."""
    return {mnc + digits: mnc for digits in cell_digits for mnc in (2, 3)}


_MNC_DIGITS = {
    b"cgi-3gpp": _lengths(8),  # LAC 4, CI 4
    b"utran-sai-3gpp": _lengths(8),  # LAC 4, SAC 4
    # LAC 4 and UTRAN cell 7, or TAC 4 and ECI 7; TAC 6 and ECI 7 at a 5G core; TAC 6 and NCI 9, or 12 as an open-source
    # P-CSCF writes it;
    # TAC 6, NCI 9 and NID 11 of a network of its own (SNPN)
    b"utran-cell-id-3gpp": _lengths(11, 13, 15, 18, 26),
    b"tai-3gpp": _lengths(4, 6),  # TAC: the same P-CSCF, when no cell is known
}
"""By name of the part. Where the length is none of these, two digits are taken for the MNC: the country, by which most
places go, is right all the same."""
_NO_COUNTRY = "000"
"""MCC of placeholders: a cell of zeros says nothing."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What the texts of a request name."""

    of_network: Cell | None
    """The last one that is marked: the network writes behind the handset."""
    of_handset: Cell | None
    """The first."""
    unreadable: bytes | None
    """Where no cell is the network's: what is marked, perhaps only within quotes, and cannot be read."""


def cells(texts: Sequence[bytes]) -> Cells:
    of_network, of_handset, unreadable = None, None, None
    for text in texts:
        for access in _split(text):
            found = _Access.read(access)
            if found is None:
                continue
            if found.marked and found.plmn is not None:
                of_network = found.plmn, text
            elif found.marked or found.marked_in_quotes:
                unreadable = unreadable or found.cell
            if not found.marked and found.plmn is not None:
                of_handset = of_handset or (found.plmn, text)
    return Cells(of_network, of_handset, None if of_network else unreadable)


@dataclass(frozen=True, slots=True)
class _Access:
    """An access that names a cell."""

    marked: bool
    marked_in_quotes: bool
    """Of a text that somebody has put into quotes as a whole. Elements that take marks from handsets may not see this
    one.
    """
    plmn: str | None
    """None = the cell cannot be read."""
    cell: bytes

    @staticmethod
    def read(parts: Sequence[bytes]) -> _Access | None:
        marked, in_quotes, plmn, cell = False, False, None, None
        for part in parts:
            name, equals, value = part.partition(b"=")
            name = name.strip(_BLANKS).lower()
            if not equals:
                marked = marked or name == _MARK
                in_quotes = in_quotes or name.strip(b'"') == _MARK
            elif plmn is None and name in _MNC_DIGITS:
                value = value.strip(_BLANKS)
                plmn, cell = _plmn(_MNC_DIGITS[name], value), cell or value
        return None if cell is None else _Access(marked, in_quotes, plmn, cell)


def _split(text: bytes) -> list[list[bytes]]:
    """The accesses of a text, each in its parts."""
    if b'"' not in text:
        return [access.split(b";") for access in text.split(b",")]
    accesses: list[list[bytes]] = [[]]
    begin = 0
    for found in _BREAK.finditer(text):
        if found[1] is None:
            continue
        accesses[-1].append(text[begin : found.start()])
        if found[1] == b",":
            accesses.append([])
        begin = found.end()
    accesses[-1].append(text[begin:])
    return accesses


def _plmn(mnc_digits: dict[int, int], value: bytes) -> str | None:
    """MCC and MNC of a cell, an area or a service area; None if it is none."""
    if value[:1] == b'"':
        value = _PAIR.sub(rb"\1", value).strip(_BLANKS + b'"')
    found = _IDENTITY.fullmatch(value)
    if found is None:
        return None
    mcc, mnc = found[1].decode(), found[2].decode()
    if mcc == _NO_COUNTRY:
        return None
    return mcc + mnc[: mnc_digits.get(len(value) - 3, 2)]
