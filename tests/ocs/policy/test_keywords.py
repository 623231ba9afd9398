"""Keywords by tables: how a text is read, every step of an order, and texts that have the same fields in both languages
(HOT-PKG-12).
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from itertools import product

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from ocs.accounts.products import REASONS
from ocs.policy.keyword_texts import TEXTS, Forms, render
from ocs.policy.keywords import QUESTIONS, TRANSITIONS, Action, Order, State, Word, read
from ocs.values.language import LANGUAGES
from tests.catalogue import fixed_catalogue
from tests.rules import rule

OFFER = fixed_catalogue().products


@rule("HOT-PKG-12", "HOT-ACC-12")
@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("SMS 200", Order("SMS-200", Word.ASK)),
        ("sms 200 da", Order("SMS-200", Word.CONFIRM)),
        ("  Sms   200\tNE ", Order("SMS-200", Word.CANCEL)),
        ("SMS 200 DÁ", Order("SMS-200", Word.CONFIRM)),
        ("SMS 200 yes", Order("SMS-200", Word.CONFIRM)),
        ("SMS 200 MESEC", Order("SMS-200-MESEC", Word.ASK)),
        ("SMS 1000 MESEC DA", Order("SMS-1000-MESEC", Word.CONFIRM)),
        ("Podatki", Order("EXTRA-DATA-5-GB", Word.ASK)),
        ("poraba k", "usage"),
        ("Porába K", "usage"),
        ("*101#", "usage"),
        ("stanje", "balance"),
        ("*100#", "balance"),
        ("SMS200", "help"),
        ("SMS 200 DA DA", "help"),
        ("DA", "help"),
        ("", "help"),
        ("SMS 300", "help"),
    ],
)
def test_how_a_text_is_read(text: str, meaning: Order | str) -> None:
    assert read(text, OFFER) == meaning


@given(st.text(max_size=400))
def test_any_text_has_an_answer(text: str) -> None:
    meaning = read(text, OFFER)
    assert meaning.product in OFFER if isinstance(meaning, Order) else meaning in TEXTS


@rule("HOT-PKG-12")
def test_every_step_is_in_the_table_and_only_a_confirmation_within_the_window_buys() -> None:
    assert set(TRANSITIONS) == set(product(State, Word))
    buys = {key for key, step in TRANSITIONS.items() if step.action is Action.BUY}
    assert buys == {(State.ASKED, Word.CONFIRM)}
    opens = {word for (_, word), step in TRANSITIONS.items() if step.action is Action.OPEN_WINDOW}
    assert opens == {Word.ASK}
    cancels = {key for key, step in TRANSITIONS.items() if step.action is Action.CANCEL}
    assert cancels == {(State.HELD, Word.CANCEL)}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def texts_of(forms: Forms) -> Iterator[str]:
    yield from [forms] if isinstance(forms, str) else forms.values()


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_has_the_same_fields_in_all_languages_and_all_plural_forms(key: str) -> None:
    languages = TEXTS[key]
    assert set(languages) == set(LANGUAGES)
    assert len({frozenset(fields(text)) for forms in languages.values() for text in texts_of(forms)}) == 1
    for language, forms in languages.items():
        if not isinstance(forms, str):
            assert set(forms) == {*Locale.parse(language).plural_form.tags, "other"}, (key, language)


def test_every_answer_has_a_text() -> None:
    for step in TRANSITIONS.values():
        assert step.answer in TEXTS
    assert set(QUESTIONS.values()) <= set(TEXTS)
    ledger = {"credit", "limit", "state"}
    not_ordered_by_sms = {"kind", "date", "commitment", "planned", "same", "subscription"}
    assert {f"refused-{code}" for code in (REASONS.keys() - not_ordered_by_sms) | ledger} <= set(TEXTS)


@pytest.mark.parametrize(
    ("count", "slovene", "english"),
    [
        (0, "0 sporočil", "0 messages"),
        (1, "1 sporočilo", "1 message"),
        (2, "2 sporočili", "2 messages"),
        (3, "3 sporočila", "3 messages"),
        (4, "4 sporočila", "4 messages"),
        (5, "5 sporočil", "5 messages"),
        (101, "101 sporočilo", "101 messages"),
        (102, "102 sporočili", "102 messages"),
        (200, "200 sporočil", "200 messages"),
    ],
)
def test_plural_forms(count: int, slovene: str, english: str) -> None:
    assert [render("messages", language, count=count) for language in ("sl", "en")] == [slovene, english]
