"""HOT-ROA-4 by tables: observed days → what to do, worked out by hand."""

from __future__ import annotations

import pytest

from ocs.policy.fair_use import NEXT, Action, Decision, State, Why, decide, is_over, next_look, shares
from ocs.values.presence import DayUse, Observation, PresenceLimits
from tests.rules import rule

LIMITS = PresenceLimits(window_days=120, share_percent=50, notice_days=14, silent_days=60)
TODAY = 20_000
HOME = DayUse(at_home=True, use={"data": (100, 0)})
ABROAD = DayUse(abroad=True, use={"data": (0, 100)})
BOTH = DayUse(at_home=True, abroad=True, use={"data": (1, 99)})


def days(*runs: tuple[int, DayUse | None], until: int = TODAY) -> dict[int, DayUse]:
    """Runs of like days, the last of which ends yesterday."""
    number = until - sum(count for count, _ in runs)
    found = {}
    for count, day in runs:
        for each in range(number, number + count):
            if day is not None:
                found[each] = day
        number += count
    return found


def observed(
    *runs: tuple[int, DayUse | None], state: str = "", since_days: int = 200, state_days: int = 0
) -> Observation:
    return Observation(TODAY - since_days, days(*runs), state, TODAY - state_days)


def decided(found: Observation) -> Decision:
    return decide(found, TODAY, LIMITS)


@rule("HOT-ROA-4")
@pytest.mark.parametrize(
    ("runs", "action", "why"),
    [
        pytest.param([(59, HOME), (61, ABROAD)], Action.WARN, (Why.PRESENCE,), id="61 of 120 days: 50.8 %"),
        pytest.param([(60, HOME), (60, ABROAD)], Action.NONE, (), id="60 of 120 days: 50 %, not more"),
        pytest.param([(61, HOME), (59, ABROAD)], Action.NONE, (), id="59 of 120 days"),
        pytest.param([(106, ABROAD), (14, HOME)], Action.NONE, (Why.PRESENCE,), id="home for two weeks"),
        pytest.param([(106, ABROAD), (8, HOME), (6, ABROAD)], Action.NONE, (Why.PRESENCE,), id="8 of 14 days at home"),
        pytest.param([(106, ABROAD), (6, HOME), (8, ABROAD)], Action.WARN, (Why.PRESENCE,), id="6 of 14 days at home"),
        pytest.param([(120, BOTH)], Action.NONE, (), id="every day over the border and back: at home each day"),
        pytest.param([(60, None), (60, ABROAD)], Action.WARN, (Why.PRESENCE, Why.SILENCE), id="silent 60 days"),
        pytest.param([(61, None), (1, HOME), (58, ABROAD)], Action.WARN, (Why.PRESENCE,), id="silent, then at home"),
        pytest.param([(59, None), (61, ABROAD)], Action.WARN, (Why.PRESENCE,), id="silent 59 days"),
        pytest.param([(120, None)], Action.NONE, (), id="no use at all"),
    ],
)
def test_the_window_of_four_months(runs: list[tuple[int, DayUse | None]], action: Action, why: tuple[Why, ...]) -> None:
    decision = decided(observed(*runs))
    assert (decision.action, decision.why) == (action, why)
    assert decision.state == (State.WARNED if action is Action.WARN else State.NONE)
    assert decision.deadline == (TODAY + 14 if action is Action.WARN else 0)


def test_presence_abroad_without_most_of_the_use_abroad_is_no_pattern() -> None:
    """61 of 120 days, and 61 × 50 = 3,050 of 8,950 octets abroad; voice: 61 of 120 seconds."""
    away = DayUse(abroad=True, use={"data": (0, 50)})
    assert decided(observed((59, HOME), (61, away))).action is Action.NONE
    at_home, calls = DayUse(at_home=True, use={"data": (100, 0), "voice": (1, 0)}), {"data": (0, 50), "voice": (0, 1)}
    found = decided(observed((59, at_home), (61, DayUse(abroad=True, use=calls))))
    assert found.action is Action.WARN
    assert (found.window.home_days, found.window.abroad_days, found.window.percent) == (59, 61, 50)
    assert found.window.use == {"data": (5_900, 3_050), "voice": (59, 61)}


@rule("HOT-ROA-4")
@pytest.mark.parametrize(
    ("since_days", "action"),
    [
        pytest.param(121, Action.WARN, id="the first day abroad and 120 whole days"),
        pytest.param(120, Action.NONE, id="119 whole days"),
    ],
)
def test_nothing_is_decided_before_four_months_are_observed(since_days: int, action: Action) -> None:
    found = observed((121, ABROAD), since_days=since_days)
    assert decided(found).action is action
    assert next_look(found, found.since, LIMITS) == found.since + 121
    assert next_look(found, found.since + 121, LIMITS) == found.since + 122


@rule("HOT-ROA-4")
@pytest.mark.parametrize(
    ("state", "state_days", "runs", "action", "after"),
    [
        pytest.param("warned", 13, [(120, ABROAD)], Action.NONE, State.WARNED, id="a day before the two weeks end"),
        pytest.param("warned", 14, [(120, ABROAD)], Action.SURCHARGE, State.SURCHARGE, id="nothing has changed"),
        pytest.param("warned", 14, [(106, ABROAD), (14, HOME)], Action.STOP, State.NONE, id="came home"),
        pytest.param(
            "warned", 14, [(106, ABROAD), (7, ABROAD), (7, HOME)], Action.STOP, State.NONE, id="7 of 14 days abroad"
        ),
        pytest.param(
            "warned", 14, [(106, ABROAD), (8, ABROAD), (6, HOME)], Action.SURCHARGE, State.SURCHARGE, id="8 of 14"
        ),
        pytest.param("warned", 14, [(106, ABROAD), (14, None)], Action.STOP, State.NONE, id="no use any more"),
        pytest.param("warned", 40, [(120, ABROAD)], Action.SURCHARGE, State.SURCHARGE, id="evaluated late"),
        pytest.param("surcharge", 1, [(120, ABROAD)], Action.NONE, State.SURCHARGE, id="goes on"),
        pytest.param("surcharge", 30, [(112, ABROAD), (8, HOME)], Action.STOP, State.NONE, id="8 of 14 days at home"),
        pytest.param("surcharge", 30, [(115, ABROAD), (5, HOME)], Action.NONE, State.SURCHARGE, id="5 of 14"),
    ],
)
def test_two_weeks_the_surcharge_and_its_end(
    state: str, state_days: int, runs: list[tuple[int, DayUse | None]], action: Action, after: State
) -> None:
    decision = decided(observed(*runs, state=state, state_days=state_days))
    assert (decision.action, decision.state) == (action, after)


def test_the_table_has_every_state() -> None:
    assert set(NEXT) == {(state, holds) for state in State for holds in (True, False)}


def test_today_does_not_count_as_it_is_not_over() -> None:
    found = Observation(TODAY - 200, {**days((120, HOME)), TODAY: ABROAD})
    assert shares(found.days, TODAY - 120, TODAY).abroad_days == 0
    assert decided(found).recent.home_days == 14


@pytest.mark.parametrize(
    ("runs", "state", "over"),
    [
        ([(1, ABROAD), (120, HOME)], "", True),
        ([(1, ABROAD), (119, HOME)], "", False),
        ([(120, None)], "", True),
        ([(120, None)], "surcharge", False),
    ],
)
def test_an_account_is_forgotten_when_its_days_abroad_have_left_the_window(
    runs: list[tuple[int, DayUse | None]], state: str, over: bool
) -> None:
    assert is_over(observed(*runs, state=state), TODAY, LIMITS) == over
