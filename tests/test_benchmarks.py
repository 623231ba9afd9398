"""The benchmark's own parts: its tables, its place in the page, and the server without ledger, which must answer like the real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.measure import QUICK, Figures, LoadFigures, MemoryFigures
from benchmarks.processes import Machine, children, cpu_s, this_machine
from benchmarks.systems import granting_server, run_load
from benchmarks.table import BEGIN, END, markdown, targets, write_into

ROOT = Path(__file__).parents[1]


@pytest.fixture
def figures() -> Figures:
    machine = Machine(cores=2, cpu="a processor", system="Linux 6", python="3.11.2", redis="7.0")
    at_64 = LoadFigures(9000.0, 6.0, 19.0, 25.0, 90.0, 60.0, 15.0, [])
    at_1 = LoadFigures(1500.0, 0.6, 1.2, 2.0, 150.0, 100.0, 40.0, [])
    codec = {
        "decode_us": 30.0,
        "encode_us": 5.0,
        "python_diameter_decode_us": 600.0,
        "python_diameter_encode_us": 200.0,
        "ratio": 22.9,
    }
    without = LoadFigures(12000.0, 4.0, 8.0, 9.0, 60.0, None, 15.0, [])
    return Figures(
        "2026-11-22T17:00:00Z",
        machine,
        QUICK,
        codec,
        {"server": {1: at_1, 64: at_64}, "protocol": {64: without}},
        MemoryFigures(100_000, 530.4, 41.0, 328.0),
    )


def test_the_tables_stand_between_the_markers_and_nothing_else_changes(figures: Figures, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    write_into(page, figures)
    write_into(page, figures)
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{BEGIN}\n") and text.endswith(f"{END}\nafter\n")
    assert "old" not in text and text.count(BEGIN) == 1
    assert "| ocs serve | 64 | 9,000 | 6.00 | 19.00 | 25.00 | 90 | 60 | 15 |" in text
    assert "| no ledger | 64 | 12,000 | 4.00 | 8.00 | 9.00 | 60 | – | 15 |" in text
    assert "2 cores of a processor" in text
    page.write_text("no markers", "utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        write_into(page, figures)


def test_targets_are_judged_by_the_figures(figures: Figures) -> None:
    assert len(targets(figures)) == 7
    assert all(met for _, met in targets(figures))
    figures.load["server"][64].ccr_per_s = 7999.0
    assert [what for what, met in targets(figures) if not met] == ["at least 8,000 CCR/s at 64 outstanding"]
    assert "| missed |" in markdown(figures)


def test_figures_become_json_with_text_keys(figures: Figures) -> None:
    load = figures.as_json()["load"]
    assert load["server"]["64"]["ccr_per_s"] == 9000.0
    assert figures.as_json()["memory"]["octets_per_account"] == 530.4


def test_processor_time_and_machine_are_read() -> None:
    assert cpu_s(os.getpid()) > 0
    assert os.getpid() in children(os.getppid())
    assert this_machine().cores >= 1
    assert this_machine().redis


def test_the_server_without_ledger_serves_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # it is started as a module of the working copy
    with granting_server(tmp_path / "protocol", ROOT / "config" / "catalogue.toml") as system:
        result = run_load(system, outstanding=4, seconds=0.3)
    assert result["answered"] > 0
    assert result["service_result_codes"].keys() <= {"2001"}
