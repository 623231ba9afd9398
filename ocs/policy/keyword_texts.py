"""Texts that answer keywords, in Slovene and English. `render` fills in the fields. The field `count` chooses among
plural forms (CLDR plural rules, by Babel).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from string import Formatter

Forms = str | Mapping[str, str]
"""A text, or plural form → text."""

TEXTS: Mapping[str, Mapping[str, Forms]] = {
    "ask": {
        "sl": "Naročilo {product} stane {price} EUR. Za potrditev v {minutes} pošljite {keyword} DA.",
        "en": "{product} costs {price} EUR. To confirm send {keyword} DA within {minutes}.",
    },
    "bought": {
        "sl": "{product} je vključen. Cena: {price} EUR.",
        "en": "{product} is active. Price: {price} EUR.",
    },
    "armed": {
        "sl": "{product} se vključi ob prvi uporabi na svojem območju. Cena: {price} EUR.",
        "en": "{product} begins with its first use in its area. Price: {price} EUR.",
    },
    "too-late": {
        "sl": "Za {product} ni odprtega naročila. Pošljite {keyword}.",
        "en": "There is no open order of {product}. Send {keyword}.",
    },
    "dropped": {
        "sl": "Naročilo {product} je preklicano.",
        "en": "The order of {product} is dropped.",
    },
    "cancelled": {
        "sl": "{product} je odpovedan, velja do {date}.",
        "en": "{product} is cancelled and lasts until {date}.",
    },
    "ending": {
        "sl": "{product} je že odpovedan, velja do {date}.",
        "en": "{product} is cancelled already and lasts until {date}.",
    },
    "not-held": {
        "sl": "Storitve {product} nimate.",
        "en": "You do not have {product}.",
    },
    "refused-sold": {
        "sl": "{product} zdaj ni v prodaji.",
        "en": "{product} is not on sale now.",
    },
    "refused-excluded": {
        "sl": "{product} ni mogoče naročiti v istem obdobju kot {other}.",
        "en": "{product} cannot be ordered in the same period as {other}.",
    },
    "refused-barred": {
        "sl": "{product} na paketu {other} ni na voljo.",
        "en": "{product} is not available with {other}.",
    },
    "refused-requires": {
        "sl": "{product} potrebuje drugo storitev: {other}.",
        "en": "{product} needs another product: {other}.",
    },
    "refused-tariff": {
        "sl": "{product} potrebuje vključen paket.",
        "en": "{product} needs an active tariff.",
    },
    "refused-credit": {
        "sl": "Za {product} je premalo dobroimetja: {credit} EUR. Cena: {price} EUR.",
        "en": "Your credit of {credit} EUR does not cover {product}: {price} EUR.",
    },
    "refused-limit": {
        "sl": "{product} bi presegel vašo mesečno omejitev porabe.",
        "en": "{product} would exceed your monthly spending limit.",
    },
    "refused-state": {
        "sl": "Naročilo zdaj ni mogoče.",
        "en": "An order is not possible now.",
    },
    "refused-rights": {
        "sl": "{product} lahko naroči le skrbnik vaše poslovne skupine.",
        "en": "Only the administrator of your business group can order {product}.",
    },
    "balance-separate": {
        "sl": "Dobroimetje: {credit} EUR, ločeni račun: {separate} EUR. Račun je aktiven do {date}.",
        "en": "Credit: {credit} EUR, separate account: {separate} EUR. Active until {date}.",
    },
    "balance": {
        "sl": "Dobroimetje: {credit} EUR, račun je aktiven do {date}.",
        "en": "Credit: {credit} EUR, active until {date}.",
    },
    "usage": {
        "sl": "Preostalo: {units}.",
        "en": "Left: {units}.",
    },
    "usage-none": {
        "sl": "Nimate zakupljenih količin. Dobroimetje: {credit} EUR.",
        "en": "You have no included units. Credit: {credit} EUR.",
    },
    "help": {
        "sl": "Neznano sporočilo. Naročila: {keywords}. Poraba: PORABA K. Dobroimetje: STANJE.",
        "en": "Unknown message. Orders: {keywords}. Usage: PORABA K. Credit: STANJE.",
    },
    "of": {  # one bucket of "usage"
        "sl": "{product} {amount} do {date}",
        "en": "{product} {amount} until {date}",
    },
    "unlimited-messages": {"sl": "neomejeno sporočil", "en": "unlimited messages"},
    "unlimited-seconds": {"sl": "neomejeno minut", "en": "unlimited minutes"},
    "unlimited-octets": {"sl": "neomejeno podatkov", "en": "unlimited data"},
    "messages": {
        "sl": {
            "one": "{count} sporočilo",
            "two": "{count} sporočili",
            "few": "{count} sporočila",
            "other": "{count} sporočil",
        },
        "en": {"one": "{count} message", "other": "{count} messages"},
    },
    "seconds": {  # whole minutes
        "sl": {"one": "{count} minuta", "two": "{count} minuti", "few": "{count} minute", "other": "{count} minut"},
        "en": {"one": "{count} minute", "other": "{count} minutes"},
    },
    "within-minutes": {
        "sl": {"one": "{count} minuti", "two": "{count} minutah", "few": "{count} minutah", "other": "{count} minutah"},
        "en": {"one": "{count} minute", "other": "{count} minutes"},
    },
    "octets": {"sl": "{size} {multiple}", "en": "{size} {multiple}"},
}
NONE: Mapping[str, Mapping[str, str]] = {}
DATE_FORMATS = {"sl": "d. M. y", "en": "d MMM y"}


def render(key: str, language: str, own: Mapping[str, Mapping[str, str]] = NONE, /, **fields: object) -> str:
    """The text of a key; `own`: those of the operator, key → language → text, which are used if they have no mistake.
    KeyError: there is no such key, language or field.
    """
    text = TEXTS[key][language]
    if key in own and not check_answer(key, own[key][language]):
        text = own[key][language]
    if not isinstance(text, str):
        from babel import Locale

        count = fields["count"]
        assert isinstance(count, int)
        text = text[Locale.parse(language).plural_form(count)]
    return text.format(**fields)


def fields_of(key: str) -> frozenset[str]:
    """Fields of an answer that an operator may word itself. KeyError: there is no such answer."""
    text = TEXTS[key]["en"]
    if not isinstance(text, str):
        raise KeyError(key)
    return frozenset(_names(text))


@lru_cache(maxsize=256)
def check_answer(key: str, text: str) -> str:
    """What is wrong with an operator's own text; "" = nothing."""
    try:
        known = fields_of(key)
    except KeyError:
        return f"there is no such answer; there are {', '.join(sorted(_WORDED))}"
    try:
        unknown = sorted(set(_names(text)) - known)
    except ValueError as error:
        return f"is no text with fields in {{}}: {error}"
    has = f"it has {', '.join(sorted(known))}" if known else "it has none"
    return f"{', '.join(unknown)}: the answer has no such field; {has}" if unknown else ""


def _names(text: str) -> list[str]:
    """Fields of a text, with all that stands in their braces."""
    return [
        name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        for _, name, form, conversion in Formatter().parse(text)
        if name is not None
    ]


_WORDED = [key for key, texts in TEXTS.items() if isinstance(texts["en"], str)]
