"""Numbers of vouchers: form, check digit, chance."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.values.voucher_numbers import VoucherNumber, check_digit, draw, has_check_digit, parse_voucher, voucher_id
from tests.rules import rule

numbers = st.integers(0, 10**15 - 1).map(lambda drawn: draw(lambda limit: drawn % limit))


def test_the_check_digit_is_that_of_the_standard() -> None:
    """The examples of ISO/IEC 7812-1 annex B and of card issuers."""
    assert check_digit("7992739871") == "3"
    assert has_check_digit("4111111111111111") and not has_check_digit("4111111111111112")


@given(numbers, st.integers(0, 15), st.integers(1, 9))
def test_any_wrong_digit_is_found(number: str, place: int, by: int) -> None:
    digit = str((int(number[place]) + by) % 10)
    assert not has_check_digit(number[:place] + digit + number[place + 1 :])


@given(numbers, st.integers(0, 14))
def test_two_swapped_digits_are_found_but_for_0_and_9(number: str, place: int) -> None:
    left, right = number[place], number[place + 1]
    swapped = number[:place] + right + left + number[place + 2 :]
    assert has_check_digit(swapped) == (left == right or {left, right} == {"0", "9"})


@rule("HOT-TOP-2")
@given(numbers)
def test_a_number_has_16_digits_and_is_read_in_groups_too(number: str) -> None:
    assert len(number) == 16 and number.isdigit() and has_check_digit(number)
    for blank in ("", " ", "-"):
        assert parse_voucher(f" {blank.join(number[n : n + 4] for n in range(0, 16, 4))}\n") == number


@pytest.mark.parametrize("text", ["", "123", "1" * 15, "1" * 17, "1111 1111-1111 1111", "1" * 15 + "x", "¹" * 16])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="16 digits"):
        parse_voucher(text)


def test_numbers_do_not_repeat_and_their_ids_need_the_key() -> None:
    drawn = {draw(secrets.randbelow) for _ in range(10_000)}
    assert len(drawn) == 10_000
    number = VoucherNumber(min(drawn))
    assert voucher_id(number, b"a" * 32) != voucher_id(number, b"b" * 32)
    assert number not in voucher_id(number, b"a" * 32)
