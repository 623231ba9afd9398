"""Two runs side by side, from the JSON of real load runs and of runs made up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulator.comparison import ComparisonError, Figure, compare_runs
from simulator.grantor import Grantor
from tests.waiting import PATIENCE_S


def command(*words: str) -> subprocess.CompletedProcess[str]:
    code = "from simulator.cli import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), "utf-8")
    return path


@pytest.mark.parametrize(
    ("figure", "tolerance", "worse"),
    [
        (Figure("p99_ms", 10.0, 10.9, -1), 0.1, False),
        (Figure("p99_ms", 10.0, 11.1, -1), 0.1, True),
        (Figure("p99_ms", 10.0, 5.0, -1), 0.0, False),
        (Figure("ccr_per_s", 100.0, 89.0, 1), 0.1, True),
        (Figure("ccr_per_s", 100.0, 150.0, 1), 0.1, False),
        (Figure("unanswered", 0.0, 1.0, -1), 5.0, True),
        (Figure("sessions", 100.0, 1.0, 0), 0.0, False),
        (Figure("p99_ms", None, 1.0, -1), 0.0, False),
    ],
)
def test_what_is_worse(figure: Figure, tolerance: float, worse: bool) -> None:
    assert figure.is_worse(tolerance) is worse


def test_codes_that_one_run_has_alone_are_shown(tmp_path: Path) -> None:
    before = written(tmp_path / "a.json", {"ccr_per_s": 100.0, "result_codes": {"2001": 50}})
    after = written(tmp_path / "b.json", {"ccr_per_s": 110.0, "result_codes": {"2001": 45, "3004": 5}})
    found = {one.name: (one.before, one.after) for one in compare_runs(before, after).figures}
    assert found == {"ccr_per_s": (100, 110), "result_codes 2001": (50, 45), "result_codes 3004": (0, 5)}


@pytest.mark.parametrize(
    ("change", "worse"),
    [
        ({"result_codes": {"2001": 45, "5012": 5}}, ["result_codes 5012"]),
        ({"service_result_codes": {"2001": 45, "5031": 5}}, ["service_result_codes 5031"]),
        ({"result_codes": {"2001": 45, "4012": 5}}, []),  # credit at zero is an answer as good as another
        ({"ok": False}, ["ok"]),
    ],
)
def test_new_errors_are_worse(tmp_path: Path, change: dict[str, Any], worse: list[str]) -> None:
    """A release that refuses quickly must not pass."""
    run: dict[str, Any] = {"ok": True, "ccr_per_s": 100.0, "result_codes": {"2001": 50}}
    before, after = written(tmp_path / "a.json", run), written(tmp_path / "b.json", {**run, **change})
    assert [one.name for one in compare_runs(before, after).worse(0.1)] == worse
    assert not compare_runs(after, before).worse(0.1)


def test_a_search_is_compared_by_its_rate_and_stairs_by_their_steps(tmp_path: Path) -> None:
    probes = [{"rate": 200.0, "fails": "", "histogram": "x"}, {"rate": 400.0, "fails": "p99", "histogram": "y"}]
    searches = [written(tmp_path / f"{rate}.json", {"rate": rate, "probes": probes}) for rate in (200.0, 150.0)]
    search = compare_runs(*searches)
    assert [one.name for one in search.worse(0.1)] == ["rate"]
    assert search.histograms == ("x", "x")
    steps = [written(tmp_path / f"s{p99}.json", {"steps": [{"rate": 20.0, "p99_ms": p99}]}) for p99 in (1.0, 2.0)]
    assert [one.name for one in compare_runs(*steps).worse(0.5)] == ["20/s p99_ms"]


@pytest.mark.parametrize("content", ["[]", "{}", "not JSON"])
def test_a_file_that_is_no_run(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ComparisonError, match=r"a\.json"):
        compare_runs(tmp_path / "a.json", tmp_path / "a.json")


def test_different_kinds_are_refused(tmp_path: Path) -> None:
    load, played = written(tmp_path / "a", {"ccr_per_s": 1}), written(tmp_path / "b", {"compared": 1})
    with pytest.raises(ComparisonError, match=r"of load, .* of replay"):
        compare_runs(load, played)


def test_two_load_runs_by_the_command(grantor: Grantor, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        done = command("load", "--outstanding", "2", "--seconds", "0.3", "--port", str(grantor.port), "--json")
        (tmp_path / name).write_text(done.stdout)
    files, page = (str(tmp_path / "a.json"), str(tmp_path / "b.json")), tmp_path / "c.html"
    done = command("compare", *files, "--report", str(page))
    assert done.returncode == 0, done.stderr
    assert "p99_ms" in done.stdout
    assert page.read_text().count("<svg") == 1
    better = json.loads((tmp_path / "a.json").read_text()) | {"ccr_per_s": 1e9}
    (tmp_path / "a.json").write_text(json.dumps(better))
    done = command("compare", *files, "--tolerance", "10", "--json")
    assert done.returncode == 1
    assert "ccr_per_s" in json.loads(done.stdout)["worse"]
