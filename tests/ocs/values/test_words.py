"""Words that files write are those of the enumerations, and the numbers of the wire those of the standard."""

from __future__ import annotations

from typing import get_args

from ocs.charging.members import EVENT, INITIAL, TERMINATION, UPDATE
from ocs.values import use
from ocs.values.requests import REQUEST_TYPES
from protocol.credit_control import EVENT_REQUEST, INITIAL_REQUEST, TERMINATION_REQUEST, UPDATE_REQUEST


def test_words_of_files_are_those_of_the_enumerations() -> None:
    for words, kind in (
        (use.ContextName, use.Context),
        (use.DirectionName, use.Direction),
        (use.UnitName, use.Unit),
    ):
        assert list(get_args(words)) == [each.value for each in kind]
    assert set(get_args(use.BucketUnitName)) < set(get_args(use.UnitName))


def test_request_types_by_their_numbers() -> None:
    assert REQUEST_TYPES == {
        INITIAL_REQUEST: INITIAL,
        UPDATE_REQUEST: UPDATE,
        TERMINATION_REQUEST: TERMINATION,
        EVENT_REQUEST: EVENT,
    }
