"""The serving network in Access-Network-Information (1263), which holds SIP's P-Access-Network-Info.

    3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2934000010000001,
    3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=2280100010000001

A text may describe several accesses, and a request may have several texts. The network marks its own access as
`network-provided` and appends it to what the handset sent (RFC 7315 §4.4, RFC 7913, TS 24.229 §7.2A.4). A handset may
send anything, such as a quote that is never closed. So a quote begins a quoted string only where a value begins, and
only if the next quote ends that value: an open quote of the handset cannot hide the network's access. An access without
a cell of a mobile network (WLAN, fixed line, 3GPP2, satellite) gives no location. Parsing takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Cell = tuple[str, bytes]
"""MCC and MNC digits of a cell, and the text that it was found in."""

_MARK = b"network-provided"
_BLANKS = b" \t\r\n\v\f\0"
"""Some clients send the text with a terminating NUL."""
_BREAK = re.compile(rb'=[ \t\r\n\0]*+"(?:[^"\\]|\\.)*+"[ \t\r\n\0]*+(?=[,;]|\Z)|([,;])', re.DOTALL)
"""A quoted value, which is skipped, or a separator of accesses (,) or parts (;)."""
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_IDENTITY = re.compile(rb"([0-9]{3})([0-9]{2,3})[0-9a-fA-F]{4,}")


def _lengths(*cell_digits: int) -> dict[int, int]:
    """Number of digits after the MCC → how many of them are the MNC. `cell_digits`: how many may follow the MNC."""
    return {mnc + digits: mnc for digits in cell_digits for mnc in (2, 3)}


_MNC_DIGITS = {
    b"cgi-3gpp": _lengths(8),  # LAC 4, CI 4
    b"utran-sai-3gpp": _lengths(8),  # LAC 4, SAC 4
    # 11: LAC 4 + UTRAN cell 7, or TAC 4 + ECI 7. 13: TAC 6 + ECI 7, at a 5G core. 15: TAC 6 + NCI 9.
    # 18: TAC 6 + NCI 12, from an open-source P-CSCF. 26: TAC 6 + NCI 9 + NID 11, of an SNPN.
    b"utran-cell-id-3gpp": _lengths(11, 13, 15, 18, 26),
    b"tai-3gpp": _lengths(4, 6),  # TAC, from the same P-CSCF when it knows no cell
}
"""Name of the parameter → `_lengths` of its value. With any other length two digits are taken for the MNC: the country,
which decides most prices, is right even so.
"""
_NO_COUNTRY = "000"
"""MCC of a placeholder: such a cell is ignored."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells that the texts of a request name."""

    of_network: Cell | None
    """The last one marked `network-provided`: the network appends its access to the handset's."""
    of_handset: Cell | None
    """The first one without the mark."""
    unreadable: bytes | None
    """A cell that is marked, perhaps only within quotes, and cannot be parsed; None if `of_network` is set."""


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
    """The mark stands in quotes. It does not count: an element that removes the marks of handsets may miss it."""
    plmn: str | None
    """None = the cell cannot be parsed."""
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
    """The accesses of a text, each as its parts."""
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
    """MCC and MNC of a cell, tracking area or service area; None = it cannot be parsed."""
    if value[:1] == b'"':
        value = _PAIR.sub(rb"\1", value).strip(_BLANKS + b'"')
    found = _IDENTITY.fullmatch(value)
    if found is None:
        return None
    mcc, mnc = found[1].decode(), found[2].decode()
    if mcc == _NO_COUNTRY:
        return None
    return mcc + mnc[: mnc_digits.get(len(value) - 3, 2)]
