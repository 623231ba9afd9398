"""Towards whom: a party as a network element writes it → E.164 or short number → destination class.

HOT-RAT-1 … -4, HOT-RAT-6. The operator's own numbers and prefixes come first; the phonenumbers library knows country
and kind of all others, and the emergency numbers of every country. Finding a class costs about 100 µs, so
`Destinations` remembers the last ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import whitespace
from urllib.parse import unquote

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType

from ocs.catalogue.countries import NO_COUNTRY
from ocs.values.identities import MAX_MSISDN_DIGITS, is_digits

DESTINATIONS_KEPT = 32_768
"""Called numbers remembered with their class in one worker (about 300 octets each, 10 MB)."""
FORMS_KEPT = 4096
"""Recipients of messages to several remembered in the form that is the same for each spelling (about 300 octets
each).
"""
COUNTRIES_KEPT = 4096
"""Serving nodes remembered with their country."""
MAX_PARTY_LENGTH = 256
"""A longer party is no number; it is not looked at."""
PADDING = f"{whitespace}\0\u00a0"
"""What some network elements write before and behind a number."""
MAX_SHORT_DIGITS = 6
"""HOT-RAT-1: short numbers have at most 6 digits (116 000)."""
_MAX_COUNTRY_CODE_DIGITS = 3
_SEPARATORS = str.maketrans("", "", " -.()/\t\u00a0")
_OF_A_NETWORK = "/type=plmn"
"""Behind a number that multimedia messages are addressed to (OMA-TS-MMS_ENC §8)."""
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
"""Kinds of number a catalogue may name."""


@dataclass(frozen=True, slots=True)
class DestinationClass:
    """One destination class of the catalogue."""

    id: str
    numbers: Sequence[str] = ()
    prefixes: Sequence[str] = ()
    kinds: Sequence[str] = ()
    countries: Sequence[str] = ()
    emergency: bool = False
    short: bool = False
    alphanumeric: bool = False


@dataclass(frozen=True, slots=True)
class Destination:
    """A class, and the country of the number ("" for short numbers and names)."""

    id: str
    country: str = ""


@dataclass(frozen=True, slots=True)
class Party:
    """A party in one form only."""

    form: str
    """"e164", "short", "name", "emergency" or "none"."""
    number: str = ""
    """E.164 digits without +, a short number, a name in small letters, or ""."""


@dataclass(slots=True)
class _Tables:
    exact: dict[str, str] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    countries: dict[str, str] = field(default_factory=dict)
    emergency: str = ""
    short: str = ""
    alphanumeric: str = ""


@lru_cache(maxsize=COUNTRIES_KEPT)
def country_of_e164(digits: str) -> str | None:
    """Country of an E.164 number (digits without +); the main country of its numbering plan when that cannot tell."""
    try:
        number = phonenumbers.parse(f"+{digits}")
    except NumberParseException:
        return None
    main = phonenumbers.region_code_for_country_code(number.country_code or 0)
    found = phonenumbers.region_code_for_number(number) or main
    return None if found in (None, "ZZ") else str(found)


def normalise(party: str, country: str, home_country: str) -> Party:
    """tel: and SIP URIs, +, 00 and 0 prefixes, short numbers, names. `country` is where the number was dialled.

    Digits with neither + nor 0 in front are international if the numbering plan knows such a number, as messaging
    centres write them, else national.
    """
    text = party.strip(PADDING)[:MAX_PARTY_LENGTH].lower().removesuffix(_OF_A_NETWORK)
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
        # The whole text names who it is: user@host of an e-mail address, the word of a commercial sender.
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
    # In no list of assigned numbers, yet written as a national one: read it as the plan at hand would.
    code = phonenumbers.country_code_for_region(country) or phonenumbers.country_code_for_region(home_country)
    return _international(f"{code}{digits.removeprefix('0')}")


def _valid(text: str, region: str | None) -> str:
    """E.164 digits of an assigned number, or ""."""
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return ""
    if not phonenumbers.is_valid_number(number):
        return ""
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)).removeprefix("+")


class Destinations:
    """The catalogue's destination classes, compiled for looking numbers up."""

    def __init__(self, classes: Sequence[DestinationClass], *, home_country: str) -> None:
        self._home = home_country
        self._home_code = str(phonenumbers.country_code_for_region(home_country))
        self._tables = _compile(classes, self._home_code)
        self._longest = max(map(len, self._tables.prefixes), default=0)
        self.find = lru_cache(maxsize=DESTINATIONS_KEPT)(self._find)
        """(party as received, country of the subscriber) → Destination, or None when no class takes it."""
        self.one_form = lru_cache(maxsize=FORMS_KEPT)(self._one_form)
        """(party as received, country of the subscriber) → text that is the same for each spelling of the party."""

    @property
    def emergency(self) -> str:
        """Id of the class of emergency numbers."""
        return self._tables.emergency

    def _find(self, party: str, country: str) -> Destination | None:
        found = normalise(party, country, self._home)
        tables = self._tables
        if found.form == "emergency":
            return Destination(tables.emergency)
        if found.form == "short":
            return self._short(found.number, country)
        if found.form == "e164":
            return self._e164(found.number)
        if found.form == "name":
            id_ = tables.exact.get(found.number) or tables.alphanumeric
            return Destination(id_) if id_ else None
        return None

    def _one_form(self, party: str, country: str) -> str:
        found = normalise(party, country, self._home)
        if found.form == "e164":
            country_of_it = country_of_e164(found.number)
            if country_of_it and self._short_in_disguise(found.number, country_of_it):
                return found.number.removeprefix(str(phonenumbers.country_code_for_region(country_of_it)))
            return f"+{found.number}"
        return found.number or party

    def _short(self, number: str, country: str) -> Destination | None:
        id_ = self._tables.exact.get(number)
        if id_ is None and phonenumbers.is_emergency_number(number, country):
            id_ = self._tables.emergency
        id_ = id_ or self._tables.short
        return Destination(id_) if id_ else None

    def _e164(self, digits: str) -> Destination | None:
        tables = self._tables
        exact = tables.exact.get(f"+{digits}")
        if exact is not None:
            return Destination(exact, self._home if digits.startswith(self._home_code) else "")
        country = country_of_e164(digits)
        where = "" if country in (None, NO_COUNTRY) else country
        short = self._short_in_disguise(digits, country)
        if short is not None:
            return short
        for length in range(min(len(digits), self._longest), 0, -1):
            by_prefix = tables.prefixes.get(digits[:length])
            if by_prefix is not None:
                return Destination(by_prefix, where or "")
        if country is None:
            return None
        by_kind = self._kind(digits) if country == self._home else None
        id_ = by_kind or tables.countries.get(country) or tables.countries.get("*")
        return Destination(id_, where or "") if id_ else None

    def _short_in_disguise(self, digits: str, country: str | None) -> Destination | None:
        """Networks also write short numbers as if they were national ones: 112 as +386112."""
        if country is None or len(digits) > MAX_SHORT_DIGITS + _MAX_COUNTRY_CODE_DIGITS:
            return None
        number = digits.removeprefix(str(phonenumbers.country_code_for_region(country)))
        id_ = self._tables.exact.get(number) if country == self._home else None
        if id_ is None and phonenumbers.is_emergency_number(number, country):
            id_ = self._tables.emergency
        return Destination(id_) if id_ else None

    def _kind(self, digits: str) -> str | None:
        return self._tables.kinds.get(phonenumbers.number_type(phonenumbers.parse(f"+{digits}")))


def _compile(classes: Sequence[DestinationClass], home_code: str) -> _Tables:
    tables = _Tables()
    for class_ in classes:
        tables.exact.update(dict.fromkeys(map(str.lower, class_.numbers), class_.id))
        tables.prefixes.update(dict.fromkeys((prefix.removeprefix("+") for prefix in class_.prefixes), class_.id))
        for kind in class_.kinds:
            tables.kinds.update(dict.fromkeys(KINDS[kind], class_.id))
        tables.countries.update(dict.fromkeys(class_.countries, class_.id))
        tables.emergency = class_.id if class_.emergency else tables.emergency
        tables.short = class_.id if class_.short else tables.short
        tables.alphanumeric = class_.id if class_.alphanumeric else tables.alphanumeric
    return tables
