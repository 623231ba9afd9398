"""Outcomes with code 0: nothing was done, and `ChargeOutcome.retry` says what the caller must do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocs.ledger import scripts
from ocs.ledger.contract.charging import ChargeOutcome, Retry

SOURCES = [path.read_text("utf-8") for path in Path(scripts.__file__).parent.glob("*.lua")]


def test_every_reason_in_the_scripts_is_a_retry() -> None:
    given = {reason for source in SOURCES for reason in re.findall(r"refuse\((?:work, )?0, '(\w+)'", source)}
    assert {"moved", "place", "identity"} <= given <= {each.value for each in Retry}


@pytest.mark.parametrize("retry", Retry)
def test_an_outcome_with_code_0_says_how_to_retry(retry: Retry) -> None:
    assert ChargeOutcome(0, False, (), 0, 0, retry.value).retry is retry


def test_other_outcomes_have_no_retry() -> None:
    assert ChargeOutcome(2001, False, (), 0, 0).retry is None
    assert ChargeOutcome(5030, False, (), 0, 0, "identity").retry is None
