"""The open loop: intended times, actual times, and a run over time."""

from __future__ import annotations

import asyncio
import time
from itertools import islice, pairwise

import pytest

from simulator.elements import SERVER_REALM, SIMULATED_REALM
from simulator.engine import Target
from simulator.grantor import Grantor
from simulator.load_processes import run_load
from simulator.load_run import LoadOptions
from simulator.pacing import Arrivals, Rate, WakeUp, intended_times
from simulator.subscribers import default_subscribers
from simulator.timeline import Pause, by_second, pauses, percentile
from tests.waiting import PATIENCE_S


def test_even_arrivals_have_equal_gaps() -> None:
    assert list(islice(intended_times(Arrivals.EVEN, Rate(4.0), 1), 4)) == [0.0, 0.25, 0.5, 0.75]


def test_poisson_arrivals_keep_the_rate_with_exponential_gaps() -> None:
    times = list(islice(intended_times(Arrivals.POISSON, Rate(1000.0), 1), 20_000))
    gaps = [after - before for before, after in pairwise(times)]
    assert times[-1] == pytest.approx(20.0, rel=0.03)
    assert sum(gap > 0.001 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.02)  # 1/e
    assert times == list(islice(intended_times(Arrivals.POISSON, Rate(1000.0), 1), 20_000))


@pytest.mark.alone
async def test_the_timer_wakes_between_milliseconds() -> None:
    woken: list[float] = []
    done = asyncio.Event()

    def wake() -> None:
        woken.append(time.perf_counter())
        if len(woken) == 20:
            done.set()
        else:
            timer.set(woken[-1] + 0.000_4, woken[-1])

    with WakeUp(wake) as timer:
        timer.set(now := time.perf_counter(), now)
        await asyncio.wait_for(done.wait(), PATIENCE_S)
    assert min(after - before for before, after in pairwise(woken)) < 0.000_9


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, each) for each in (50, 99, 100, 1)] == [50, 99, 100, 1]
    assert percentile([7.0], 50) == 7.0
    assert percentile([], 99) == 0.0


def test_seconds_are_those_of_the_intended_times() -> None:
    first, second = by_second([100, 900_000, 1_000_000], [3000, 1000, 250_000])
    assert (first.at_s, first.answers, first.p50_ms, first.max_ms) == (0, 2, 1.0, 3.0)
    assert (second.at_s, second.answers, second.max_ms) == (1, 1, 250.0)


def test_slow_answers_that_overlap_are_one_pause() -> None:
    due = [0, 10_000, 70_000, 500_000, 900_000]
    latencies = [80_000, 71_000, 60_000, 2_000, 51_000]
    late = [0, 40_000, 0, 0, 0]
    assert pauses(due, latencies, late, slow_us=50_000) == [
        Pause(at_s=0.0, lasted_ms=130.0, answers=3, worst_ms=80.0, generator_late_ms=40.0),
        Pause(at_s=0.9, lasted_ms=51.0, answers=1, worst_ms=51.0, generator_late_ms=0.0),
    ]
    assert pauses([], [], [], slow_us=50_000) == []


@pytest.mark.alone
def test_latency_counts_from_the_intended_time_when_the_server_cannot_follow(grantor: Grantor) -> None:
    """One slot and a rate far above its capacity: requests that wait for the slot are slow, or count as unsent."""
    target = Target("127.0.0.1", grantor.port, SIMULATED_REALM, SERVER_REALM)
    options = LoadOptions(target, default_subscribers(20), 0.5, outstanding=1, rate=Rate(20_000.0), slow_ms=1.0)
    outcome = run_load(options)
    result = outcome.result
    assert result.sent - len(result.latencies_us) <= 1  # the TERMINATION that clears up is not measured
    assert len(result.latencies_us) + result.unsent == pytest.approx(10_000, rel=0.2)
    assert outcome.latency.max_ms > 300  # the last was due long before it left
    found = outcome.as_json()
    assert isinstance(found["pauses"], list) and len(found["pauses"]) <= 3
    assert isinstance(found["timeline"], list) and len(found["timeline"]) == 1
