"""Numbers of subscribers and networks: valid ones, and the ids that lead to an account."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocs.values.identities import (
    MAX_IMSI_DIGITS,
    MAX_MSISDN_DIGITS,
    PLMN_PATTERN,
    by_imsi,
    by_msisdn,
    is_digits,
    is_plmn,
    parse_imsi,
    parse_msisdn,
    parse_number_prefix,
    received_subscriber_id,
)

DIGITS = "0123456789"
ANY = st.text(alphabet=DIGITS + "+ ٣²x\n", max_size=20)


@given(ANY)
def test_what_is_provisioned_is_found_when_it_is_received(text: str) -> None:
    for parse, kind, name in ((parse_msisdn, "m", by_msisdn), (parse_imsi, "i", by_imsi)):
        try:
            number = parse(text)
        except ValueError:
            continue
        assert is_digits(number) and received_subscriber_id(kind, number) == name(number) == kind + number


@given(ANY)
def test_only_ascii_digits_are_digits(text: str) -> None:
    assert is_digits(text) == (text != "" and set(text) <= set(DIGITS))
    assert is_plmn(text) == bool(re.fullmatch(PLMN_PATTERN.strip("^$"), text, re.ASCII))


@pytest.mark.parametrize(
    ("text", "msisdn"),
    [
        ("38668100000", "38668100000"),
        (" +38668100000 ", "38668100000"),
        ("1" * MAX_MSISDN_DIGITS, "1" * MAX_MSISDN_DIGITS),
        ("12345", "12345"),
    ],
)
def test_an_msisdn(text: str, msisdn: str) -> None:
    assert parse_msisdn(text) == msisdn


@pytest.mark.parametrize(
    "text", ["", "+", "1234", "068100000", "0038668100000", "++38668100000", "386 68 100 000", "1" * 16, "3866810000x"]
)
def test_no_msisdn(text: str) -> None:
    with pytest.raises(ValueError, match="5 to 15 digits with the country code"):
        parse_msisdn(text)


def test_an_imsi() -> None:
    assert parse_imsi(" 001010000000001 ") == "001010000000001"
    assert parse_imsi("2" * MAX_IMSI_DIGITS)
    for text in ("", "29340", "2" * (MAX_IMSI_DIGITS + 1), "+293400000000001", "29340000000000٣"):
        with pytest.raises(ValueError, match="6 to 16 digits"):
            parse_imsi(text)


def test_what_is_received_is_bounded() -> None:
    assert received_subscriber_id("m", "1" * MAX_MSISDN_DIGITS) and received_subscriber_id("i", "1" * MAX_IMSI_DIGITS)
    for kind, digits in (("m", "1" * 16), ("i", "1" * 17), ("m", ""), ("m", "+386"), ("i", "٣")):
        assert received_subscriber_id(kind, digits) is None


def test_a_range_of_subscribers() -> None:
    assert (parse_number_prefix("386"), parse_number_prefix("imsi:29340")) == ("m386", "i29340")
    for text in ("", "imsi:", "+386", "1" * 16, "imsi:" + "1" * 17, "msisdn:386", "386\n"):
        with pytest.raises(ValueError, match="no prefix"):
            parse_number_prefix(text)
