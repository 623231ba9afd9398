"""Place of use: home, EU or a roaming zone, by the serving network (HOT-RAT-1, HOT-ROA-1).

The serving PLMN decides (3GPP-SGSN-MCC-MNC, else the PLMN in 3GPP-User-Location-Info), else the E.164 address of the
serving MSC or VLR, else `default_plmn` of the catalogue. TS 29.061 §16.4.7.2, ITU-T E.212.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ocs.catalogue.countries import MCC_COUNTRY
from ocs.catalogue.destination import country_of_e164
from ocs.values.identities import is_digits, is_plmn
from ocs.values.use import Unrateable

HOME = "home"
EU = "eu"
ANY_OTHER = "*"
"""In a list of countries: all countries that no other list names."""
_MAX_CACHED_PLMNS = 4096
"""Limit of the cache of places by serving network. About 1,500 networks exist."""

_DOMAIN = re.compile(r"mnc([0-9]{2,3})\.mcc([0-9]{3})", re.IGNORECASE)

_ULI_PLMNS = {
    # Geographic Location Type: (offset of the PLMN, least octets of the value). Of two PLMNs, the cell's.
    0: (1, 4),  # CGI
    1: (1, 4),  # SAI
    2: (1, 4),  # RAI, with or without the padding octet
    128: (1, 4),  # TAI
    129: (1, 4),  # ECGI
    130: (6, 9),  # TAI and ECGI
    131: (1, 4),  # eNodeB id
    132: (6, 9),  # TAI and eNodeB id
    133: (1, 4),  # extended eNodeB id
    134: (6, 9),  # TAI and extended eNodeB id
    135: (1, 4),  # NCGI
    136: (1, 4),  # 5GS TAI
    137: (7, 10),  # 5GS TAI and NCGI
    138: (1, 4),  # NG-RAN node id
    139: (7, 10),  # 5GS TAI and NG-RAN node id
}


def plmn_from_user_location_info(octets: bytes) -> str | None:
    """MCC and MNC digits of 3GPP-User-Location-Info, e.g. "29340"; None if type or digits are invalid.

    The cell's PLMN is preferred to the area's. A value truncated after the area gives the area's.
    """
    if not octets or octets[0] not in _ULI_PLMNS:
        return None
    start, least = _ULI_PLMNS[octets[0]]
    if len(octets) >= least:
        found = _plmn(octets[start : start + 3])
        if found is not None:
            return found
    return _plmn(octets[1:4]) if start > 1 else None


def plmns_of_domain(name: str) -> tuple[str, ...]:
    """MCC and MNC digits in a domain such as "ims.mnc040.mcc293.3gppnetwork.org", the likelier first; () if none.

    A two-digit MNC is padded with a leading 0 (TS 23.003 §13.2): 040 may be MNC 40 or MNC 040.
    """
    found = _DOMAIN.search(name)
    if found is None:
        return ()
    mnc, mcc = found.groups()
    if len(mnc) == 2:
        return mcc + mnc, f"{mcc}0{mnc}"
    return (mcc + mnc[1:], mcc + mnc) if mnc[0] == "0" else (mcc + mnc,)


def _plmn(octets: bytes) -> str | None:
    """Three octets of swapped BCD digits: MCC2 MCC1, MNC3 MCC3, MNC2 MNC1; MNC3 = F for a two-digit MNC."""
    if len(octets) != 3:
        return None
    a, b, c = octets
    digits = [a & 15, a >> 4, b & 15, c & 15, c >> 4]
    if b >> 4 != 15:
        digits.append(b >> 4)
    if max(digits) > 9:
        return None
    return "".join(map(str, digits))


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the catalogue and the country in which the subscriber is."""

    id: str
    country: str
    why: str = field(default="", compare=False)
    """What it was found by."""


class Places:
    """Finds the place of a use. Pure, except for a bounded cache of serving networks."""

    __slots__ = ("_by_country", "_by_plmn", "_default", "_home", "_home_plmns", "_named_plmns", "_rest")

    def __init__(
        self,
        *,
        by_country: Mapping[str, str],
        home_country: str,
        home_plmns: frozenset[str],
        default_plmn: str,
        by_plmn: Mapping[str, str] | None = None,
    ) -> None:
        """`by_country`: country → place id; "*" = all other countries. `by_plmn`: serving network → place id, with
        priority over its country (partner networks, HOT-PKG-13).
        """
        self._by_country = dict(by_country)
        self._named_plmns = dict(by_plmn or {})
        self._rest = by_country.get(ANY_OTHER)
        self._home = Place(HOME, home_country, "a home network")
        self._home_plmns = home_plmns
        self._by_plmn: dict[str, Place] = {}
        self._default = self._of_plmn(default_plmn)

    @property
    def default(self) -> Place:
        return self._default

    @property
    def home(self) -> Place:
        return self._home

    def find(self, serving_plmn: str | None, visited_number: str | None) -> Place:
        """Place of use. Unrateable when the country is unknown or no place has it."""
        if serving_plmn:
            return self._by_plmn.get(serving_plmn) or self._of_plmn(serving_plmn)
        if visited_number:
            return self._of_number(visited_number)
        return self._default

    def _of_plmn(self, plmn: str) -> Place:
        place = self._look_up(plmn)
        if len(self._by_plmn) >= _MAX_CACHED_PLMNS:
            self._by_plmn.clear()
        self._by_plmn[plmn] = place
        return place

    def _look_up(self, plmn: str) -> Place:
        if plmn in self._home_plmns:
            return self._home
        if not is_plmn(plmn):
            raise Unrateable("serving_plmn", f"serving network {plmn[:16]!r} is not 5 or 6 digits of MCC and MNC")
        country = MCC_COUNTRY.get(plmn[:3])
        if country is None:
            raise Unrateable("serving_plmn", f"serving network {plmn} has an unknown mobile country code")
        named = self._named_plmns.get(plmn)
        return (
            Place(named, country, f"it names network {plmn}")
            if named is not None
            else self._of_country(country, "serving_plmn", plmn)
        )

    def _of_number(self, number: str) -> Place:
        digits = number.removeprefix("+")
        country = country_of_e164(digits) if is_digits(digits) else None
        if country is None:
            raise Unrateable("visited_number", f"serving node {number[:24]!r} is not a number of a known country")
        return self._of_country(country, "visited_number", number)

    def _of_country(self, country: str, field: str, value: str) -> Place:
        place = self._by_country.get(country, self._rest)
        if place is None:
            raise Unrateable(field, f"the catalogue has no place for country {country} ({value})")
        by = f"the serving network {value}" if field == "serving_plmn" else f"the serving node {value}"
        return Place(place, country, f"{country}, the country of {by}")
