"""Destination class of the other party (HOT-RAT-1 … -4, HOT-RAT-6).

A party as received is normalised to E.164, a short number or a name. The operator's own numbers decide first, then the
network to which a number was ported, then the operator's prefixes. The phonenumbers library knows country and kind of
all other numbers, and the emergency numbers of every country.
Finding a class takes about 100 µs, so `Destinations` caches the last results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import whitespace
from urllib.parse import unquote

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType

from ocs.catalogue.countries import NO_COUNTRY
from ocs.catalogue.ported_numbers import NONE, PortedNumbers
from ocs.values.identities import MAX_MSISDN_DIGITS, is_digits

CACHED_DESTINATIONS = 32_768
"""Size of the cache of destination classes per worker (about 400 octets each, 13 MB)."""
CACHED_PARTIES = 4096
"""Size of the cache of canonical parties per worker (about 300 octets each)."""
CACHED_COUNTRIES = 4096
"""Size of the cache of countries of E.164 numbers."""
MAX_PARTY_LENGTH = 256
"""Characters of a party that are looked at."""
PADDING = f"{whitespace}\0\u00a0"
"""Characters that some network elements add before or after a number."""
MAX_SHORT_DIGITS = 6
"""HOT-RAT-1: short numbers have at most 6 digits (116 000)."""
_MAX_COUNTRY_CODE_DIGITS = 3
_SEPARATORS = str.maketrans("", "", " -.()/\t\u00a0")
_MMS_TYPE_SUFFIX = "/type=plmn"
"""Suffix of a phone number as MMS address (OMA-TS-MMS_ENC §8)."""
KINDS = {
    "mobile": (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE),
    "fixed": (PhoneNumberType.FIXED_LINE,),
    "toll_free": (PhoneNumberType.TOLL_FREE,),
    "premium_rate": (PhoneNumberType.PREMIUM_RATE,),
    "shared_cost": (PhoneNumberType.SHARED_COST,),
    "voip": (PhoneNumberType.VOIP,),
    "personal": (PhoneNumberType.PERSONAL_NUMBER,),
    "pager": (PhoneNumberType.PAGER,),
    "uan": (PhoneNumberType.UAN,),
    "voicemail": (PhoneNumberType.VOICEMAIL,),
}
"""`kinds` of the catalogue → types of the phonenumbers library."""


@dataclass(frozen=True, slots=True)
class DestinationClass:
    """One destination class of the catalogue."""

    id: str
    numbers: Sequence[str] = ()
    prefixes: Sequence[str] = ()
    kinds: Sequence[str] = ()
    countries: Sequence[str] = ()
    networks: Sequence[str] = ()
    """Of ported numbers."""
    emergency: bool = False
    short: bool = False
    alphanumeric: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination class, and the country of the number."""

    id: str
    country: str = ""
    """"" for short numbers and names."""
    why: str = field(default="", compare=False)
    """What decided."""


@dataclass(frozen=True, slots=True)
class Party:
    """A normalised party."""

    form: str
    """"e164", "short", "name", "emergency" or "none"."""
    number: str = ""
    """E.164 digits without +, a short number, a name in lower case, or ""."""


@dataclass(slots=True)
class _Index:
    """Key → id of the destination class."""

    exact: dict[str, str] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    countries: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    emergency: str = ""
    short: str = ""
    alphanumeric: str = ""


@lru_cache(maxsize=CACHED_COUNTRIES)
def country_of_e164(digits: str) -> str | None:
    """Country of an E.164 number (digits without +). If the number is unassigned: the main country of its code."""
    try:
        number = phonenumbers.parse(f"+{digits}")
    except NumberParseException:
        return None
    main = phonenumbers.region_code_for_country_code(number.country_code or 0)
    found = phonenumbers.region_code_for_number(number) or main
    return None if found in (None, "ZZ") else str(found)


def normalise(party: str, country: str, home_country: str) -> Party:
    """Normalises tel: and SIP URIs, the prefixes +, 00 and 0, short numbers and names.

    `country` is where the number was dialled. Digits without + or 0 are international if such a number is assigned
    (messaging centres write them so), else national.
    """
    text = party.strip(PADDING)[:MAX_PARTY_LENGTH].lower().removesuffix(_MMS_TYPE_SUFFIX)
    if text.startswith("urn:service:sos"):
        return Party("emergency")
    scheme, colon, rest = text.partition(":")
    if colon and scheme in ("tel", "sip", "sips", "mailto"):
        text = rest
    user, *parameters = text.split(";")
    context = next((p[14:] for p in parameters if p.startswith("phone-context=+")), "")
    user = user.partition("@")[0]
    digits = (unquote(user) if "%" in user else user).translate(_SEPARATORS)
    plain = digits.removeprefix("+")
    if not plain:
        return Party("none")
    if not is_digits(plain):
        # An e-mail address (user@host) or the name of a commercial sender.
        return Party("name", text)
    if digits.startswith("+"):
        return _international(plain)
    if plain.startswith("00") and len(plain) > MAX_SHORT_DIGITS:
        return _international(plain[2:])
    if len(plain) <= MAX_SHORT_DIGITS:
        return Party("short", plain)
    if context:
        return _international(context.translate(_SEPARATORS)[1:] + plain.removeprefix("0"))
    return _national(plain, country, home_country)


def _international(digits: str) -> Party:
    if not is_digits(digits):
        return Party("none")
    return Party("e164", digits) if len(digits) <= MAX_MSISDN_DIGITS else Party("none")


def _national(digits: str, country: str, home_country: str) -> Party:
    trunk = digits.startswith("0")
    if not trunk and _valid(f"+{digits}", None):
        return Party("e164", digits)
    for region in dict.fromkeys((country, home_country)):
        found = _valid(digits, region)
        if found:
            return Party("e164", found)
    if not trunk and len(digits) > 9:
        return _international(digits)
    # An unassigned national number: complete it with the country code of the place.
    code = phonenumbers.country_code_for_region(country) or phonenumbers.country_code_for_region(home_country)
    return _international(f"{code}{digits.removeprefix('0')}")


def _valid(text: str, region: str | None) -> str:
    """E.164 digits if the number is assigned, else ""."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)).removeprefix("+")


class Destinations:
    """Finds the destination class of a party."""

    def __init__(self, classes: Sequence[DestinationClass], *, home_country: str) -> None:
        self._home = home_country
        self._home_code = str(phonenumbers.country_code_for_region(home_country))
        self._index = _compile(classes)
        self._ported = NONE
        self._longest_prefix = max(map(len, self._index.prefixes), default=0)
        self.find = lru_cache(maxsize=CACHED_DESTINATIONS)(self._find)
        """(party as received, country of the subscriber) → Destination; None when no class matches."""
        self.canonical_party = lru_cache(maxsize=CACHED_PARTIES)(self._canonical_party)
        """(party as received, country of the subscriber) → the party in one canonical spelling."""

    def use_ported(self, numbers: PortedNumbers) -> None:
        """From now on these numbers are ported."""
        self._ported = numbers
        self.find.cache_clear()

    @property
    def networks(self) -> Mapping[str, str]:
        """Network of ported numbers → id of its class."""
        return self._index.networks

    @property
    def emergency(self) -> str:
        """Id of the class of emergency numbers."""
        return self._index.emergency

    def _find(self, party: str, country: str) -> Destination | None:
        found = normalise(party, country, self._home)
        if found.form == "emergency":
            return Destination(self._index.emergency, "", "the request calls it an emergency")
        if found.form == "short":
            return self._short(found.number, country)
        if found.form == "e164":
            return self._e164(found.number)
        if found.form == "name":
            id_ = self._index.exact.get(found.number) or self._index.alphanumeric
            return Destination(id_, "", "a name") if id_ else None
        return None

    def _canonical_party(self, party: str, country: str) -> str:
        found = normalise(party, country, self._home)
        if found.form == "e164":
            its_country = country_of_e164(found.number)
            if its_country and self._short_with_country_code(found.number, its_country):
                return found.number.removeprefix(str(phonenumbers.country_code_for_region(its_country)))
            return f"+{found.number}"
        return found.number or party

    def _short(self, number: str, country: str) -> Destination | None:
        id_, why = self._index.exact.get(number), "it names the number"
        if id_ is None and phonenumbers.is_emergency_number(number, country):
            id_, why = self._index.emergency, f"an emergency number in {country}"
        if id_ is None:
            id_, why = self._index.short, "a short number"
        return Destination(id_, "", why) if id_ else None

    def _e164(self, digits: str) -> Destination | None:
        index = self._index
        exact = index.exact.get(f"+{digits}")
        if exact is not None:
            return Destination(exact, self._home if digits.startswith(self._home_code) else "", "it names the number")
        country = country_of_e164(digits)
        where = "" if country in (None, NO_COUNTRY) else country
        short = self._short_with_country_code(digits, country)
        if short is not None:
            return short
        network = self._ported.network_of(digits)
        ported = index.networks.get(network) if network is not None else None
        if ported is not None:
            return Destination(ported, where or "", f"ported to {network}")
        for length in range(min(len(digits), self._longest_prefix), 0, -1):
            by_prefix = index.prefixes.get(digits[:length])
            if by_prefix is not None:
                return Destination(by_prefix, where or "", f"prefix +{digits[:length]}")
        if country is None:
            return None
        by_kind = self._kind(digits) if country == self._home else None
        id_ = by_kind or index.countries.get(country) or index.countries.get("*")
        why = f"its kind, of {country}" if by_kind else f"a number of {country}"
        return Destination(id_, where or "", why) if id_ else None

    def _short_with_country_code(self, digits: str, country: str | None) -> Destination | None:
        """Class of a short number that the network wrote with a country code: 112 as +386112."""
        if country is None or len(digits) > MAX_SHORT_DIGITS + _MAX_COUNTRY_CODE_DIGITS:
            return None
        number = digits.removeprefix(str(phonenumbers.country_code_for_region(country)))
        id_ = self._index.exact.get(number) if country == self._home else None
        if id_ is None and phonenumbers.is_emergency_number(number, country):
            id_ = self._index.emergency
        return Destination(id_, "", f"a short number of {country}") if id_ else None

    def _kind(self, digits: str) -> str | None:
        """Class of the number's kind."""
        return self._index.kinds.get(phonenumbers.number_type(phonenumbers.parse(f"+{digits}")))


def _compile(classes: Sequence[DestinationClass]) -> _Index:
    index = _Index()
    for class_ in classes:
        index.exact.update(dict.fromkeys(map(str.lower, class_.numbers), class_.id))
        index.prefixes.update(dict.fromkeys((prefix.removeprefix("+") for prefix in class_.prefixes), class_.id))
        for kind in class_.kinds:
            index.kinds.update(dict.fromkeys(KINDS[kind], class_.id))
        index.networks.update(dict.fromkeys(map(str.lower, class_.networks), class_.id))
        index.countries.update(dict.fromkeys(class_.countries, class_.id))
        index.emergency = class_.id if class_.emergency else index.emergency
        index.short = class_.id if class_.short else index.short
        index.alphanumeric = class_.id if class_.alphanumeric else index.alphanumeric
    return index
