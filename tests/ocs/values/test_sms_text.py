"""Alphabet, segments and USSD pages (3GPP TS 23.038 §6.2.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.values.sms_text import BASIC, EXTENSION, USSD_CHARACTERS, is_gsm7, plain, sms_size, ussd_text


def test_the_alphabet_has_128_places() -> None:
    """127 characters and the escape (TS 23.038 §6.2.1); ten more behind it (§6.2.1.1)."""
    assert (len(BASIC), len(EXTENSION), BASIC & EXTENSION) == (127, 10, frozenset())


@pytest.mark.parametrize(
    ("text", "encoding", "units", "segments"),
    [
        ("", "GSM-7", 0, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("a" * 152 + "€" * 5, "GSM-7", 162, 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),  # the escape does not end a segment
        ("č" * 70, "UCS-2", 70, 1),
        ("č" + "a" * 70, "UCS-2", 71, 2),
        ("č" * 134, "UCS-2", 134, 2),
        ("č" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
        ("Dobroimetje: 12 EUR", "GSM-7", 19, 1),
    ],
)
def test_sizes(text: str, encoding: str, units: int, segments: int) -> None:
    size = sms_size(text)
    assert (size.encoding, size.units, size.segments) == (encoding, units, segments)


def test_plain_slovene() -> None:
    assert plain("Čmrlj šviga, žabe đžć – „10 €“… 中") == 'Cmrlj sviga, zabe dzc - "10 €"... ?'


@given(st.text(max_size=400))
def test_plain_text_is_always_of_the_alphabet_and_a_page_always_fits(text: str) -> None:
    assert is_gsm7(plain(text))
    page = ussd_text(text)
    assert is_gsm7(page) and sms_size(page).units <= USSD_CHARACTERS


def test_a_page_ends_with_a_whole_word() -> None:
    page = ussd_text(" ".join(["beseda,"] * 40))
    assert page.endswith("beseda...") and len(page) <= USSD_CHARACTERS
