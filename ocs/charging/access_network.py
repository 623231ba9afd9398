"""The serving network in Access-Network-Information (1263), which is the text of SIP's P-Access-Network-Info. Pure.

    3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=2934000010000001, 3GPP-E-UTRAN-FDD;network-provided;utran-cell-id-3gpp=2280100010000001

One text may describe several accesses, and a request may have several texts. A handset writes what it likes; what the network has
written is marked `network-provided` (RFC 7315 §4.4, RFC 7913, TS 24.229 §7.2A.4). Of accesses without a cell of a mobile network (WLAN,
fixed lines, 3GPP2, satellite) the place is not known. Reading takes time in proportion to the text's length, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Cell = tuple[str, bytes]
"""MCC and MNC digits of a cell, and the text that it was found in."""

_MARK = b"network-provided"
_PLAIN_BREAK = re.compile(rb"[,;]")
_BREAK = re.compile(rb'"(?:[^"\\]|\\.)*+("?)|[,;]', re.DOTALL)
"""A quoted string, which may be cut short, or what separates accesses (,) and their parts (;)."""
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_IDENTITY = re.compile(rb"([0-9]{3})([0-9]{2,3})[0-9a-fA-F]{4,}")


def _lengths(*cell_digits: int) -> dict[int, int]:
    """By number of digits after the MCC, how many of them are the MNC, where so many follow it."""
    return {mnc + digits: mnc for digits in cell_digits for mnc in (2, 3)}


_MNC_DIGITS = {
    b"cgi-3gpp": _lengths(8),  # LAC 4, CI 4
    b"utran-sai-3gpp": _lengths(8),  # LAC 4, SAC 4
    # LAC 4 and UTRAN cell 7, or TAC 4 and ECI 7; TAC 6 and ECI 7 at a 5G core; TAC 6 and NCI 9, or 12 as an open-source P-CSCF writes it;
    # TAC 6, NCI 9 and NID 11 of a network of its own (SNPN)
    b"utran-cell-id-3gpp": _lengths(11, 13, 15, 18, 26),
    b"tai-3gpp": _lengths(4, 6),  # TAC: the same P-CSCF, when no cell is known
}
"""By name of the part. Where the length is none of these, two digits are taken for the MNC: the country, by which most places go, is right
all the same."""
_NO_COUNTRY = "000"
"""MCC of placeholders: a cell of zeros says nothing."""


def cells(texts: Sequence[bytes]) -> tuple[Cell | None, Cell | None]:
    """The first cell that the network has provided, and the first that the handset has."""
    of_network, of_handset = None, None
    for text in texts:
        for provided, plmn in _accesses(text):
            if provided:
                of_network = of_network or (plmn, text)
            else:
                of_handset = of_handset or (plmn, text)
    return of_network, of_handset


def _accesses(text: bytes) -> Iterator[tuple[bool, str]]:
    """Of each access that has a cell: whether the network says so, and the cell's PLMN."""
    for parts in _split(text):
        provided, plmn = False, None
        for part in parts:
            name, equals, value = part.partition(b"=")
            name = name.strip().lower()
            if not equals:
                provided = provided or name == _MARK
            elif plmn is None and name in _MNC_DIGITS:
                plmn = _plmn(_MNC_DIGITS[name], value.strip())
        if plmn is not None:
            yield provided, plmn


def _split(text: bytes) -> list[list[bytes]]:
    """The accesses of a text, each in its parts."""
    if b'"' not in text:
        return [access.split(b";") for access in text.split(b",")]
    accesses: list[list[bytes]] = [[]]
    begin = 0
    for at in _breaks(text):
        accesses[-1].append(text[begin:at])
        if text[at] == b","[0]:
            accesses.append([])
        begin = at + 1
    accesses[-1].append(text[begin:])
    return accesses


def _breaks(text: bytes) -> Iterator[int]:
    """Where the separators outside of quoted strings are. A quote that nothing closes is an ordinary character."""
    for found in _BREAK.finditer(text):
        if found[1] is None:
            yield found.start()
        elif not found[1]:
            yield from (each.start() for each in _PLAIN_BREAK.finditer(text, found.start() + 1))
            return


def _plmn(mnc_digits: dict[int, int], value: bytes) -> str | None:
    """MCC and MNC of a cell, an area or a service area; None if it is none."""
    if value[:1] == b'"':
        value = _PAIR.sub(rb"\1", value).strip(b'" \t\r\n')
    found = _IDENTITY.fullmatch(value)
    if found is None:
        return None
    mcc, mnc = found[1].decode(), found[2].decode()
    if mcc == _NO_COUNTRY:
        return None
    return mcc + mnc[: mnc_digits.get(len(value) - 3, 2)]
