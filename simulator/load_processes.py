"""A load run in one process or several. Each process has its own connections, subscribers and share of the load.

Linux: time.perf_counter is the same clock in all processes, so that they start together and each request has its
intended time.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from operator import attrgetter

import uvloop

from simulator.elements import load_hosts
from simulator.errors import SimulatorError
from simulator.identifiers import new_run
from simulator.interruption import Stop, interruptible
from simulator.load_counts import Counts, ProcessesSource, Teller
from simulator.load_progress import LoadProgress
from simulator.load_run import DRAIN_S, LoadOptions, LoadOutcome, load_in_this_process
from simulator.loadgen import LoadResult
from simulator.stats import Latencies, summarise

MAX_PROCESSES = 32
CONNECT_TIMEOUT_S = 60.0
"""For the start of a process and its capabilities exchanges."""
START_AFTER_S = 0.1
"""From the moment when all processes are connected to the first request."""
END_TIMEOUT_S = 30.0
"""After the last answer: summaries, DPR, and the transfer of the samples."""


class LoadProcessError(SimulatorError):
    """A process of the load generator failed."""


def run_load(options: LoadOptions) -> LoadOutcome:
    """Raises PeerError, LoadProcessError, ValueError."""
    if options.processes > 1:
        source = ProcessesSource(options.processes)
        if options.metrics is not None:
            options.metrics.intended_per_s = options.rate.start if options.rate else 0.0
            options.metrics.begin(source)
        return _run_processes(divided(options), source, options.progress)

    async def at_once(stop: Stop) -> float:
        running.enter_context(interruptible(stop))
        return 0.0

    with contextlib.ExitStack() as running:
        return uvloop.run(load_in_this_process(options, at_once))


def divided(options: LoadOptions) -> list[LoadOptions]:
    """The options of each process. Raises ValueError."""
    count = options.processes
    if not 1 <= count <= MAX_PROCESSES:
        raise ValueError(f"1 to {MAX_PROCESSES} processes, not {count}")
    if len(options.subscribers) < count or (options.rate is None and options.outstanding < count):
        raise ValueError(f"{count} processes need as many subscribers and outstanding requests")
    hosts = load_hosts(max(options.peers, count), options.target.realm)
    run = options.run or new_run()
    return [
        replace(
            options,
            processes=1,
            metrics=None,
            progress=None,
            hosts=hosts[index::count],
            subscribers=options.subscribers[index::count],
            outstanding=len(range(index, options.outstanding, count)) or 1,
            rate=options.rate.part(count) if options.rate else None,
            run=run + index,
            seed=options.seed * MAX_PROCESSES + index,
            first=index / count,
        )
        for index in range(count)
    ]


def merged(outcomes: Sequence[LoadOutcome]) -> LoadOutcome:
    """One outcome of several that ran at the same time."""
    results = [outcome.result for outcome in outcomes]
    result = LoadResult(
        latencies_us=_joined(each.latencies_us for each in results),
        codes=_added(each.codes for each in results),
        texts={code: text for each in results for code, text in each.texts.items()},
        lost=any(each.lost for each in results),
        interrupted=any(each.interrupted for each in results),
        service_codes=_added(each.service_codes for each in results),
        used_by_session={name: used for each in results for name, used in each.used_by_session.items()},
        unended=set().union(*(each.unended for each in results)),
        started_at=min(each.started_at for each in results),
        late_us=_joined(each.late_us for each in results),
        due_us=_joined(each.due_us for each in results),
        sent_late_us=_joined(each.sent_late_us for each in results),
    )
    for name in ("sent", "answered", "measured", "sessions_started", "sessions_finished", "octets_reported", "unsent"):
        setattr(result, name, sum(map(attrgetter(name), results)))
    cpu_us = sum(outcome.cpu_us_per_request * outcome.result.sent for outcome in outcomes)
    return LoadOutcome(
        result=result,
        latency=summarise(Latencies(result.latencies_us)),
        seconds=max(outcome.seconds for outcome in outcomes),
        cpu_us_per_request=cpu_us / max(result.sent, 1),
        cpu_share=max(outcome.cpu_share for outcome in outcomes),
        slow_ms=outcomes[0].slow_ms,
        processes=len(outcomes),
    )


def _joined(parts: Iterable[array[int]]) -> array[int]:
    whole = array("Q")
    for part in parts:
        whole.extend(part)
    return whole


def _added(parts: Iterable[dict[int, int]]) -> dict[int, int]:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def _run_processes(parts: Sequence[LoadOptions], source: ProcessesSource, progress: LoadProgress | None) -> LoadOutcome:
    spawn = multiprocessing.get_context("spawn")
    running: list[tuple[SpawnProcess, Connection]] = []
    try:
        for part in parts:
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_child, args=(theirs, part), daemon=True)
            process.start()
            theirs.close()
            running.append((process, ours))
        pipes = [pipe for _, pipe in running]
        for pipe in pipes:
            _receive(pipe, CONNECT_TIMEOUT_S)
        start_at = time.perf_counter() + START_AFTER_S
        for pipe in pipes:
            pipe.send(start_at)
        if progress is not None:
            progress.begin()

        def stop() -> None:
            for pipe in pipes:
                with contextlib.suppress(OSError):  # it has ended already
                    pipe.send(None)

        with interruptible(stop):
            outcomes = _outcomes(pipes, parts[0].seconds + DRAIN_S + END_TIMEOUT_S, source, progress)
    finally:
        if progress is not None:
            progress.end()
        for process, pipe in running:
            pipe.close()
            process.terminate()
            process.join()
    return merged(outcomes)


def _outcomes(
    pipes: Sequence[Connection], timeout_s: float, source: ProcessesSource, progress: LoadProgress | None
) -> list[LoadOutcome]:
    """Of each process, in their order. What they tell meanwhile goes to `source`."""
    found: dict[int, LoadOutcome] = {}
    end = time.monotonic() + timeout_s
    while len(found) < len(pipes):
        open_ones = [pipe for index, pipe in enumerate(pipes) if index not in found]
        ready = wait(open_ones, max(end - time.monotonic(), 0.0))
        if not ready:
            raise LoadProcessError(_silent(timeout_s))
        for index, pipe in enumerate(pipes):
            if pipe not in ready:
                continue
            told = _receive(pipe, 0.0)
            if isinstance(told, Counts):
                source.take(index, told)
                if progress is not None:
                    progress.tell(source)
            elif told is not None:
                found[index] = told
    return [found[index] for index in range(len(pipes))]


def _silent(timeout_s: float) -> str:
    return f"a process of the load generator said nothing for {timeout_s:g} s"


def _receive(pipe: Connection, timeout_s: float) -> LoadOutcome | Counts | None:
    """The process's outcome, its counts, or None once it is connected. Raises what it failed with."""
    try:
        if not pipe.poll(timeout_s):
            raise LoadProcessError(_silent(timeout_s))
        found = pipe.recv()
    except EOFError:
        raise LoadProcessError("a process of the load generator ended early") from None
    if isinstance(found, Exception):
        raise found
    assert found is None or isinstance(found, (LoadOutcome, Counts))
    return found


def _child(pipe: Connection, options: LoadOptions) -> None:
    """A process: connects, says so, waits for the start, runs, sends the outcome. Anything more from the parent, or its
    end, ends the run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us

    async def ready(stop: Stop) -> float:
        pipe.send(None)
        loop = asyncio.get_running_loop()
        start_at = float(await loop.run_in_executor(None, pipe.recv))

        def told() -> None:
            loop.remove_reader(pipe.fileno())
            stop()

        loop.add_reader(pipe.fileno(), told)
        return start_at

    teller = Teller(pipe.send)
    try:
        outcome = uvloop.run(load_in_this_process(replace(options, metrics=teller), ready))
        teller.tell()
        pipe.send(outcome)
    except (SimulatorError, OSError, ValueError) as error:
        pipe.send(error)
    except EOFError:
        return  # the parent has given up
