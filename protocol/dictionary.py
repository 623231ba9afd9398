"""Definitions of AVPs: code, vendor, name, type, M flag, from python-diameter's dictionary (`avp_table`) with the
corrections below.

A definition is found by its key (vendor, code) or by its attribute name: the AVP's name in lower case with "_" for "-",
and "tgpp" for a leading "3gpp". Names are those of the IETF (vendor 0) and 3GPP (vendor 10415).
"""

from __future__ import annotations

from typing import NamedTuple

from protocol.avp import Kind
from protocol.avp_table import ROWS

VENDOR_3GPP = 10415
UNDERSTOOD_VENDORS = (0, VENDOR_3GPP)
"""AVPs of these vendors in the dictionary are understood even where a command does not declare them (`*[AVP]`)."""


class Definition(NamedTuple):
    name: str
    code: int
    vendor: int
    kind: Kind
    mandatory: bool
    """Whether we set the M flag when sending; both are accepted on receipt."""

    @property
    def key(self) -> int:
        return self.vendor << 32 | self.code


class Correction(NamedTuple):
    """Differences from python-diameter's row; None keeps its value."""

    name: str | None = None
    kind: Kind | None = None
    mandatory: bool | None = None


_ID = Correction(kind=Kind.IDENTITY)
_NO_M = Correction(mandatory=False)

CORRECTIONS: dict[tuple[int, int], Correction] = {
    # DiameterIdentity (RFC 6733 §4.3.1), which python-diameter treats as OctetString.
    **dict.fromkeys([(0, 264), (0, 296), (0, 293), (0, 283), (0, 280), (0, 282), (0, 294)], _ID),
    # RFC 6733 §4.5 and RFC 8506 §8: these need not, or must not, carry the M flag.
    (0, 294): Correction(kind=Kind.IDENTITY, mandatory=False),
    **dict.fromkeys([(0, 269), (0, 267), (0, 281), (0, 458), (0, 459), (0, 460), (0, 411), (0, 440)], _NO_M),
    **dict.fromkeys([(0, 441), (0, 442)], _NO_M),
    # RFC 7683 §7: no M on any of them.
    **dict.fromkeys([(0, code) for code in range(621, 628)], _NO_M),
    # RFC 8506 §8.58: User-Equipment-Info and its extension carry no M.
    **dict.fromkeys([(0, code) for code in range(653, 659)], _NO_M),
    # Names of RFC 8506 §8 that python-diameter spells differently.
    (0, 50): Correction(name="Acct-Multi-Session-Id"),
    # 3GPP (TS 32.299 §7.2): names of the current release, and corrected types.
    (VENDOR_3GPP, 824): Correction(name="SIP-Method"),
    (VENDOR_3GPP, 830): Correction(name="User-Session-Id"),
    (VENDOR_3GPP, 872): Correction(name="Reporting-Reason"),
    (VENDOR_3GPP, 2708): Correction(kind=Kind.UTF8),
    (VENDOR_3GPP, 1263): Correction(kind=Kind.OCTETS, mandatory=True),
    (VENDOR_3GPP, 3924): Correction(kind=Kind.OCTETS, mandatory=True),
    (VENDOR_3GPP, 11): Correction(kind=Kind.OCTETS),
    **dict.fromkeys([(VENDOR_3GPP, code) for code in (2031, 2032, 2034)], Correction(kind=Kind.UNSIGNED32)),
    (VENDOR_3GPP, 2402): _ID,
    (VENDOR_3GPP, 2408): _ID,
}

CHARGING_AVPS = frozenset(
    code for first, last in ((1101, 1282), (2000, 2330), (2602, 2602), (2704, 2707)) for code in range(first, last + 1)
)
"""AVPs of TS 32.299 §7.2. All carry V and M; python-diameter omits M for many."""

ADDITIONS: tuple[Definition, ...] = (
    # RFC 8506 §8.58–8.63: not in python-diameter's dictionary.
    Definition("Subscription-Id-Extension", 659, 0, Kind.GROUPED, mandatory=False),
    Definition("Subscription-Id-E164", 660, 0, Kind.UTF8, mandatory=False),
    Definition("Subscription-Id-IMSI", 661, 0, Kind.UTF8, mandatory=False),
    Definition("Subscription-Id-SIP-URI", 662, 0, Kind.UTF8, mandatory=False),
    Definition("Subscription-Id-NAI", 663, 0, Kind.UTF8, mandatory=False),
    Definition("Subscription-Id-Private", 664, 0, Kind.UTF8, mandatory=False),
)


def attribute_name(avp_name: str) -> str:
    """The attribute name of an AVP."""
    name = avp_name.lower().replace("-", "_")
    return "t" + name[1:] if name.startswith("3gpp") else name


def _build() -> dict[int, Definition]:
    table: dict[int, Definition] = {}
    for vendor, code, name, kind_name, is_mandatory in ROWS:
        kind, mandatory = Kind[kind_name], is_mandatory or (vendor == VENDOR_3GPP and code in CHARGING_AVPS)
        if (fix := CORRECTIONS.get((vendor, code))) is not None:
            name = name if fix.name is None else fix.name
            kind = kind if fix.kind is None else fix.kind
            mandatory = mandatory if fix.mandatory is None else fix.mandatory
        table[vendor << 32 | code] = Definition(name, code, vendor, kind, mandatory)
    for definition in ADDITIONS:
        table[definition.key] = definition
    return table


BY_KEY: dict[int, Definition] = _build()
"""Key: vendor << 32 | code."""
BY_ATTRIBUTE: dict[str, Definition] = {}
for _definition in sorted(BY_KEY.values(), key=lambda row: row.vendor, reverse=True):
    if _definition.vendor in UNDERSTOOD_VENDORS:
        BY_ATTRIBUTE[attribute_name(_definition.name)] = _definition
UNDERSTOOD: frozenset[int] = frozenset(
    key for key, definition in BY_KEY.items() if definition.vendor in UNDERSTOOD_VENDORS
)


# Two AVPs have this name; the other one (RFC 4740) does not occur in credit control.
BY_ATTRIBUTE["sip_method"] = BY_KEY[VENDOR_3GPP << 32 | 824]


def definition_of(attribute: str) -> Definition:
    """The definition of an attribute name, e.g. "cc_time"; KeyError with the name if there is none."""
    return BY_ATTRIBUTE[attribute]
