"""CCRs at a rate, without and with requests to the API beside them: what the API costs charging.

One server as shipped, with one worker. Rounds alternate, and so does the order within a round. The API's load begins
before the CCRs and ends after them.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.loads import Load, Sample, measure_load, medians, run_load, warnings_of
from benchmarks.measure import Effort
from benchmarks.processes import Machine, this_machine, wait_quiet
from benchmarks.systems import System, charging_server, provision, run_command, wait_healthy
from benchmarks.table import TableText
from benchmarks.trees import HERE
from simulator.server_process import ServerError

CCR_RATE, API_RATE, QUICK_CCR_RATE = 5000.0, 200.0, 500.0
MAX_RATIO = 1.5
"""Of the CCR's p99 with the API's load, to that without."""
ACCOUNTS = 1000
"""Of the API's load; the CCRs are of the first half."""
KEYS = 4
"""One may send api.requests_per_s."""
AROUND_S = 1.0
"""The API's load begins so long before the CCRs (interpreters start), and ends so long after them."""
WARM_UP_S, WARM_UP_OUTSTANDING = 2.0, 16
SETTLED_LOOKS = 4
_SEEDS = count(1)
"""Each run of the API's load has other accounts and times."""
WITHOUT, WITH = "without", "with"


@dataclass(slots=True)
class BesideApi:
    """Figures of both, each round's and medians."""

    made_at: str
    machine: Machine
    effort: Effort
    rounds: dict[str, list[Sample]] = field(default_factory=lambda: {WITHOUT: [], WITH: []})
    api: list[dict[str, Any]] = field(default_factory=list)

    @property
    def medians(self) -> dict[str, Sample]:
        return {name: medians(samples) for name, samples in self.rounds.items()}

    @property
    def p99_ratio(self) -> float:
        """Of the medians."""
        both = self.medians
        return both[WITH].p99_ms / max(both[WITHOUT].p99_ms, 0.001)

    @property
    def statuses(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for one in self.api:
            total.update(one["statuses"])
        return dict(sorted(total.items()))

    def of_api(self, name: str) -> float:
        """Median of a figure of the API's load."""
        return float(statistics.median(one[name] for one in self.api))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "p99_ratio": round(self.p99_ratio, 3), "statuses": self.statuses}


def steps(effort: Effort) -> int:
    return 2 + 2 * effort.repeats


def measure_beside_api(
    folder: Path, effort: Effort, advance: Callable[[str], None], made_at: str, ccr_rate: float = CCR_RATE
) -> BesideApi:
    """`folder` is emptied first and at the end. Raises ServerError."""
    found = BesideApi(made_at, this_machine(), effort)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with charging_server(folder / "server") as system:
            advance("provisioning")
            provision(system, ACCOUNTS)
            wait_healthy(system.api_port)
            keys = [new_key(system, number) for number in range(KEYS)]
            advance("warming up")
            with _api_load(system, keys, WARM_UP_S, []):
                run_load(system, Load(WARM_UP_S, outstanding=WARM_UP_OUTSTANDING))
            wait_quiet(system.roles(), SETTLED_LOOKS)
            load = Load(effort.seconds, rate=ccr_rate, arrivals=effort.arrivals)
            for number in range(effort.repeats):
                for name in (WITHOUT, WITH) if number % 2 == 0 else (WITH, WITHOUT):
                    advance(f"round {number + 1}, {name} the API")
                    _measure(found, name, system, load, keys)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _measure(found: BesideApi, name: str, system: System, load: Load, keys: Sequence[str]) -> None:
    if name == WITHOUT:
        found.rounds[name].append(measure_load(system, load))
        return
    results: list[dict[str, Any]] = []
    sample = measure_load(system, load, lambda: _api_load(system, keys, load.seconds, results))
    others = max(sample.others_cores - results[0]["cpu_share"], 0.0)
    found.rounds[name].append(replace(sample, others_cores=others))
    found.api += results


@contextmanager
def _api_load(system: System, keys: Sequence[str], seconds: float, results: list[dict[str, Any]]) -> Iterator[None]:
    """The API's load around the block. `results` gets its figures at the end. ServerError: a request failed."""
    options = [word for key in keys for word in ("--key", key)]
    command = HERE.module(
        "benchmarks.api_load", "--port", str(system.api_port), *options, "--rate", f"{API_RATE:g}",
        "--seconds", f"{seconds + 2 * AROUND_S:g}", "--accounts", str(ACCOUNTS), "--seed", str(next(_SEEDS)),
    )  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE.root, env=HERE.environment
    ) as process:
        try:
            yield
            out, errors = process.communicate(timeout=seconds + 60)
        finally:
            if process.poll() is None:
                process.kill()
        if process.returncode:
            raise ServerError(f"the API's load ended with {process.returncode}: {errors.strip()}")
        results.append(json.loads(out))
    served = ("2", "409")  # 409: the credit does not cover a purchase
    wrong = {
        name: count for name, count in results[0]["statuses"].items() if not name.rpartition(" ")[2].startswith(served)
    }
    if wrong or results[0]["unanswered"]:
        raise ServerError(f"the API did not serve all: {wrong}, {results[0]['unanswered']} unanswered")


def new_key(system: System, number: int) -> str:
    """A key of customer care."""
    command = system.tree.ocs(
        "key", "create", "--role", "care", "--name", f"bench {number}", "--config", str(system.config)
    )
    return run_command(command, system.tree, 60.0).strip()


# -- the table


def beside_api_table(found: BesideApi) -> TableText:
    both = found.medians
    rows: list[tuple[str, ...]] = [
        _row(name, both, value, form)
        for name, value, form in (
            ("CCR/s", lambda row: row.ccr_per_s, ",.0f"),
            ("p50 ms", lambda row: row.p50_ms, ".2f"),
            ("p99 ms", lambda row: row.p99_ms, ".2f"),
            ("p99.9 ms", lambda row: row.p999_ms, ".2f"),
            ("server µs a CCR", lambda row: row.server_us, ".0f"),
        )
    ]
    rows += [_row(f"  {role} µs", both, partial(_cpu_us, role), ".0f") for role in both[WITH].cpu_us]
    rows.append(_row("generator late, p99 ms", both, lambda row: row.generator_late_ms, ".2f"))
    rows.append(_row("other programs, cores", both, lambda row: row.others_cores, ".2f"))
    for name, figure in (("requests/s", "requests_per_s"), ("p50 ms", "p50_ms"), ("p99 ms", "p99_ms")):
        rows.append((f"API: {name}", "–", f"{found.of_api(figure):,.1f}", "–"))
    effort = found.effort
    title = (
        f"{both[WITH].offered_per_s:,.0f} CCR/s, without and with {API_RATE:g} API requests/s: medians of "
        f"{effort.repeats} alternating rounds of {effort.seconds:g} s, {effort.arrivals.value} arrivals"
    )
    return title, ("CCR", WITHOUT, WITH, "ratio"), rows


def _row(
    name: str, both: Mapping[str, Sample], value: Callable[[Sample], float], form: str
) -> tuple[str, str, str, str]:
    without, with_ = value(both[WITHOUT]), value(both[WITH])
    return name, format(without, form), format(with_, form), f"{with_ / without:.2f}" if without else "–"


def _cpu_us(role: str, row: Sample) -> float:
    return row.cpu_us.get(role, 0.0)


def beside_api_warnings(found: BesideApi) -> list[str]:
    lines = warnings_of(list(found.medians.items()))
    if found.p99_ratio > MAX_RATIO:
        lines.append(f"the CCR's p99 is {found.p99_ratio:.2f} times that without the API: more than {MAX_RATIO:g}")
    return lines
