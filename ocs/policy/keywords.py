"""Orders and questions by SMS or USSD: what a text means, and what follows (HOT-PKG-12, HOT-ACC-12).

An order has a window: the keyword of a product asks, keyword and DA within WINDOW_S confirm. The table TRANSITIONS has
every step. Pure: `ocs.accounts.keywords` performs the actions.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ocs.policy import packs
from ocs.policy.decisions import Account
from ocs.values.products import Product

WINDOW_S = 300
"""Five minutes to confirm an order (HOT-PKG-12)."""
MAX_TEXT = 160
"""Characters of a text that are read: those of one SMS."""
YES, NO = ("DA", "YES"), ("NE", "NO")
QUESTIONS = {
    "PORABA K": "usage",
    "PORABA": "usage",
    "USAGE": "usage",
    "*101#": "usage",
    "STANJE": "balance",
    "BALANCE": "balance",
    "*100#": "balance",
}
"""Texts that ask for what is left, in any state; those between * and # are USSD codes. All others get "help"."""


class Word(StrEnum):
    """What a text says of a product."""

    ASK = "ask"
    CONFIRM = "confirm"
    CANCEL = "cancel"


class State(StrEnum):
    """Of an account and a product."""

    NONE = "none"
    """The account does not have it."""
    ASKED = "asked"
    """The window to confirm is open."""
    HELD = "held"
    ENDING = "ending"
    """It is cancelled, and runs to the end of its period."""


class Action(StrEnum):
    NOTHING = "nothing"
    OPEN_WINDOW = "open-window"
    CLOSE_WINDOW = "close-window"
    BUY = "buy"
    """Then the window is closed."""
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Step:
    answer: str
    """Key of a text (`ocs.policy.keyword_texts`)."""
    action: Action = Action.NOTHING


TRANSITIONS: Mapping[tuple[State, Word], Step] = {
    (State.NONE, Word.ASK): Step("ask", Action.OPEN_WINDOW),
    (State.NONE, Word.CONFIRM): Step("too-late"),
    (State.NONE, Word.CANCEL): Step("not-held"),
    (State.ASKED, Word.ASK): Step("ask", Action.OPEN_WINDOW),
    (State.ASKED, Word.CONFIRM): Step("bought", Action.BUY),
    (State.ASKED, Word.CANCEL): Step("dropped", Action.CLOSE_WINDOW),
    # A product that may be had more than once is ordered again; whether it may is for the rules of the sale.
    (State.HELD, Word.ASK): Step("ask", Action.OPEN_WINDOW),
    (State.HELD, Word.CONFIRM): Step("too-late"),
    (State.HELD, Word.CANCEL): Step("cancelled", Action.CANCEL),
    (State.ENDING, Word.ASK): Step("ask", Action.OPEN_WINDOW),
    (State.ENDING, Word.CONFIRM): Step("too-late"),
    (State.ENDING, Word.CANCEL): Step("ending"),
}


@dataclass(frozen=True, slots=True)
class Order:
    """A text that names a product."""

    product: str
    word: Word


def normalised(text: str) -> str:
    """Capitals, one space between words, no diacritics: " sms  200 dá" → "SMS 200 DA"."""
    plain = unicodedata.normalize("NFKD", text[:MAX_TEXT])
    letters = "".join(each for each in plain if not unicodedata.combining(each))
    return re.sub(r"\s+", " ", letters).strip().upper()


def read(text: str, products: Mapping[str, Product]) -> Order | str:
    """An order, or the key of the answer to a question: "usage", "balance" or "help" (HOT-PKG-12, HOT-ACC-12)."""
    words = normalised(text)
    if words in QUESTIONS:
        return QUESTIONS[words]
    keywords = {product.keyword: id_ for id_, product in products.items() if product.keyword}
    if words in keywords:
        return Order(keywords[words], Word.ASK)
    keyword, _, last = words.rpartition(" ")
    if keyword in keywords and last in YES:
        return Order(keywords[keyword], Word.CONFIRM)
    if keyword in keywords and last in NO:
        return Order(keywords[keyword], Word.CANCEL)
    return "help"


def state_of(account: Account, product_id: str, windows: Collection[str]) -> State:
    """`windows`: products whose window is open."""
    if product_id in windows:
        return State.ASKED
    held = packs.held(account, product_id)
    if held is None:
        return State.NONE
    return State.ENDING if held.state == "ending" else State.HELD


def step(account: Account, order: Order, products: Mapping[str, Product], windows: Collection[str], now: int) -> Step:
    """What follows an order. A question is not asked if the rules of the sale refuse the product: then the answer is
    "refused-" and the code of the refusal.
    """
    found = TRANSITIONS[state_of(account, order.product, windows), order.word]
    if found.action is not Action.OPEN_WINDOW:
        return found
    refused = packs.refusal(account, products[order.product], products, now)
    return found if refused is None else Step(f"refused-{refused.code}")
