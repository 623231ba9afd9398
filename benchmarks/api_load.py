"""Load of the API: a mix of reads, top-ups and purchases at a rate, open loop, as JSON on standard output.

Latency counts from the intended time of a request, as for CCRs (`benchmarks.loads`). Keys take turns, so that none
exceeds its own rate.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import uvloop

from benchmarks.api_client import HttpConnection, request
from simulator.pacing import Arrivals, Rate, WakeUp, intended_times
from simulator.subscribers import default_subscribers
from simulator.timeline import percentile

CONNECTIONS = 64
"""Requests at a time; a further one waits, and its wait counts as latency."""
DRAIN_S = 10.0
TOP_UP, PRODUCT = {"amount": "5.00"}, {"product": "MMS-50-MESEC"}


@dataclass(frozen=True, slots=True)
class Operation:
    """`share`: per cent of all requests."""

    name: str
    share: int
    method: str
    path: str
    body: dict[str, str] | None = None


MIX = (
    Operation("balance", 35, "GET", "/balance"),
    Operation("usage", 20, "GET", "/usage?limit=20"),
    Operation("counters", 10, "GET", "/counters"),
    Operation("top-up", 25, "POST", "/top-ups", TOP_UP),
    Operation("purchase", 10, "POST", "/subscriptions", PRODUCT),
)


class ApiLoad:
    """Sends the mix for some seconds."""

    def __init__(self, keys: Sequence[str], accounts: int, rate: float, seed: int) -> None:
        self.latencies_us: dict[str, array[int]] = {operation.name: array("Q") for operation in MIX}
        self.statuses: Counter[str] = Counter()
        self.sent = self.answered = self.unsent = 0
        self._keys, self._rate, self._seed = keys, rate, seed
        self._numbers = [one.msisdn for one in default_subscribers(accounts)]
        self._chance = random.Random(seed)
        self._run = f"{time.time_ns():x}"
        self._idle: list[HttpConnection] = []

    async def run(self, port: int, seconds: float, arrivals: Arrivals) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(HttpConnection, "127.0.0.1", port)
            self._idle.append(connection)
        started = time.perf_counter()
        times = intended_times(arrivals, Rate(self._rate), self._seed)
        due = started + next(times)

        def send_due() -> None:
            nonlocal due
            now = time.perf_counter()
            while due <= now and self._idle:
                self._send(due)
                due = started + next(times)
            wake_up.set(due, now)

        with WakeUp(send_due) as wake_up:
            send_due()
            await asyncio.sleep(seconds)
        self.unsent = sum(1 for _ in _until(due, started, times, started + seconds))
        end = time.perf_counter() + DRAIN_S
        while self.answered < self.sent and time.perf_counter() < end:  # noqa: ASYNC110 - off the measured time
            await asyncio.sleep(0.01)
        for connection in self._idle:
            connection.close()

    def _send(self, due: float) -> None:
        connection = self._idle.pop()
        (operation,) = self._chance.choices(MIX, [each.share for each in MIX])
        self.sent += 1
        path = f"/v1/accounts/{self._chance.choice(self._numbers)}{operation.path}"
        key = self._keys[self.sent % len(self._keys)]
        body = json.dumps(operation.body).encode() if operation.body else b""
        once = f"{self._run}-{self.sent}" if operation.body else ""

        def answered(status: int) -> None:
            self.latencies_us[operation.name].append(int((time.perf_counter() - due) * 1e6))
            self.statuses[f"{operation.name} {status}"] += 1
            self.answered += 1
            if connection.is_open:
                self._idle.append(connection)

        connection.send(request(operation.method, path, key, body=body, once=once), answered)

    def as_json(self, seconds: float, cpu_s: float) -> dict[str, Any]:
        every = sorted(each for row in self.latencies_us.values() for each in row)
        return {
            "requests_per_s": round(self.answered / seconds, 1),
            "sent": self.sent,
            "unanswered": self.sent - self.answered,
            "unsent": self.unsent,
            "statuses": dict(sorted(self.statuses.items())),
            "p50_ms": percentile(every, 50) / 1000,
            "p99_ms": percentile(every, 99) / 1000,
            "p99_ms_by_operation": {
                name: percentile(sorted(row), 99) / 1000 for name, row in self.latencies_us.items()
            },
            "cpu_share": round(cpu_s / seconds, 3),
        }


def _until(due: float, started: float, times: Iterator[float], end: float) -> Iterator[float]:
    """Intended times that are left."""
    while due < end:
        yield due
        due = started + next(times)


def main(
    port: Annotated[int, typer.Option()],
    key: Annotated[list[str], typer.Option(help="Keys of the API, which take turns.")],
    rate: Annotated[float, typer.Option(min=1)] = 200.0,
    seconds: Annotated[float, typer.Option(min=0.5)] = 8.0,
    accounts: Annotated[int, typer.Option(min=1)] = 1000,
    arrivals: Annotated[Arrivals, typer.Option()] = Arrivals.POISSON,
    seed: Annotated[int, typer.Option()] = 1,
) -> None:
    """Send the mix to a running API."""
    load = ApiLoad(key, accounts, rate, seed)
    gc.collect()
    gc.freeze()
    cpu_s = time.process_time()
    uvloop.run(load.run(port, seconds, arrivals))
    print(json.dumps(load.as_json(seconds, time.process_time() - cpu_s)))


if __name__ == "__main__":
    typer.run(main)
