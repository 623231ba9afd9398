"""Inputs of the operations on accounts: accepted values, and refusals with code and text before the ledger is asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ocs.accounts import inputs
from ocs.accounts.errors import InputError
from ocs.values.products import PackageTerms
from ocs.values.use import BARS

MINI = PackageTerms("MINI", 6_990_000, 86_400, ())


def test_what_is_taken() -> None:
    assert inputs.msisdn("+38668100000") == "38668100000"
    assert inputs.imsi("293400000000001") == "293400000000001"
    assert (inputs.amount("0.000001"), inputs.credit("0"), inputs.opening_credit("200")) == (1, 0, 200_000_000)
    assert (inputs.limit("50.00"), inputs.limit("0"), inputs.limit(" OFF ")) == (50_000_000, 0, None)
    assert inputs.reference("r" * inputs.MAX_REFERENCE_LENGTH)
    assert inputs.bars("data, roaming") == ("data", "roaming") and inputs.bars("none") == ()
    assert inputs.bar_names(BARS) == BARS
    assert inputs.package("MINI", {"MINI": MINI}) is MINI


@pytest.mark.parametrize(
    ("read", "text", "code", "words"),
    [
        (inputs.msisdn, "068100000", "msisdn", "country code"),
        (inputs.imsi, "29340", "imsi", "6 to 16 digits"),
        (inputs.amount, "0", "amount", "more than nothing"),
        (inputs.amount, "-5", "amount", "more than nothing"),
        (inputs.amount, "1,50", "amount", "6 decimals"),
        (inputs.amount, "1e3", "amount", "6 decimals"),
        (inputs.credit, "-0.01", "amount", "negative"),
        (inputs.opening_credit, "200.000001", "amount", "200.00 EUR"),
        (inputs.opening_credit, "-1", "amount", "200.00 EUR"),
        (inputs.limit, "none", "amount", "amount in EUR"),
        (inputs.limit, "-1", "amount", "negative"),
        (inputs.reference, "", "reference", "1 to 128"),
        (inputs.reference, "r" * 129, "reference", "1 to 128"),
        (inputs.reference, "a\tb", "reference", "printable"),
        (inputs.bars, "data,everything", "bars", "'everything' is no bar"),
        (inputs.bars, "", "bars", "is no bar"),
    ],
)
def test_what_is_refused(read: Callable[[str], object], text: str, code: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(text)
    assert caught.value.code == code


def test_a_package_that_there_is_not() -> None:
    with pytest.raises(InputError, match="'HUGE' is no package; the catalogue has MINI"):
        inputs.package("HUGE", {"MINI": MINI})
