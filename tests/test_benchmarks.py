"""The benchmark: its tables, its page, what it reads of processes, and a short run with a real server."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks.against import AFTER, BEFORE, Comparison, comparison_table, ratio_row
from benchmarks.aof import aof_files, octets_written
from benchmarks.api_client import HttpConnection, request
from benchmarks.api_cost import Cost, best, cost_table
from benchmarks.api_load import MIX
from benchmarks.beside_api import BesideApi, beside_api_table, beside_api_warnings, measure_beside_api
from benchmarks.history import load, measured, write_records
from benchmarks.loads import Load, Sample, generator_warning, measure_load, medians, server_warning
from benchmarks.measure import QUICK, Figures, MemoryFigures
from benchmarks.processes import Machine, children, cpu_s, memory_octets, role_of, this_machine
from benchmarks.sampling import Sampler
from benchmarks.soak import Soak
from benchmarks.soak_plot import draw
from benchmarks.soak_rules import Growth, RedisEvent, after_warm_up, cause, findings, growth
from benchmarks.systems import LOAD_ACCOUNTS, charging_server, granting_server, provision, run_command
from benchmarks.table import BEGIN, END, markdown, targets, warnings, write_into
from benchmarks.trees import HERE, Tree
from ocs.history.engine import history_engine
from ocs.history.migrating import migrate
from ocs.settings.history_section import HistorySection
from simulator.pacing import Arrivals
from simulator.timeline import Pause, Second
from tests.waiting import PATIENCE_S

MACHINE = Machine(cores=2, cpu="a processor", system="Linux 6", python="3.11.2", redis="7.0")


def sample(ccr_per_s: float = 9000.0, p50_ms: float = 6.0, p99_ms: float = 12.0, **more: float | None) -> Sample:
    cpu_us = {"supervisor": 0.2, "worker": 60.0, "redis": 40.0, "housekeeper": 8.0}
    found = Sample(
        offered_per_s=0.0, ccr_per_s=ccr_per_s, p50_ms=p50_ms, p99_ms=p99_ms, p999_ms=25.0, max_ms=31.0,
        cpu_us=cpu_us, aof_octets=994.4, generator_us=9.0, generator_share=0.1, generator_late_ms=0.1,
    )  # fmt: skip
    return replace(found, **more)


@pytest.fixture
def figures() -> Figures:
    codec = {
        "decode_us": 30.0,
        "encode_us": 5.0,
        "python_diameter_decode_us": 600.0,
        "python_diameter_encode_us": 200.0,
        "ratio": 22.9,
    }
    without = sample(12_000.0, 4.0, 8.0, cpu_us={"worker": 60.0}, aof_octets=None)
    return Figures(
        "2026-11-22T17:00:00Z",
        MACHINE,
        QUICK,
        codec,
        {"server": {1: sample(1500.0, 0.4, 1.2), 64: sample()}, "protocol": {64: without}},
        {50: sample(4490.0, 2.0, 9.0, offered_per_s=4500.0)},
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
    assert "| ocs serve | 64 | 9,000 | 6.00 | 12.00 | 25.00 |" in text
    assert "| ocs serve | 64 | 60 | 40 | 8 | 0 | – | 108 | 9 | 994 |" in text
    assert "| no ledger | 64 | 60 | – | – | – | – | 60 | 9 | – |" in text
    assert "| 50 | 4,500 | 4,490 | 2.00 | 9.00 | 25.00 | 0.10 | 108 | 9 | 10% |" in text
    assert "2 cores of a processor" in text and "poisson arrivals" in text
    page.write_text("no markers", "utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        write_into(page, figures)


def test_targets_are_judged_by_the_figures(figures: Figures) -> None:
    assert all(met for _, met in targets(figures))
    figures.load["server"][64] = replace(sample(), ccr_per_s=7999.0)
    assert [what for what, met in targets(figures) if not met] == ["at least 8,000 CCR/s at 64 in the air"]
    assert "| missed |" in markdown(figures)
    figures.load["server"][64] = replace(sample(), cpu_us={"worker": 80.0, "redis": 50.0, "api": 11.0})
    assert sum("µs of CPU a CCR" in what for what, met in targets(figures) if not met) == 2


def test_a_generator_or_server_at_its_limit_is_said(figures: Figures) -> None:
    assert warnings(figures) == []
    assert "used 95% of a core" in str(generator_warning("x", sample(generator_share=0.95)))
    assert "late itself" in str(generator_warning("x", sample(generator_late_ms=4.0)))
    assert generator_warning("x", sample(p99_ms=1.0, generator_late_ms=0.9)) is None  # too little to matter
    assert "7 requests were due" in str(server_warning("x", sample(unsent=7)))
    figures.open[50] = sample(unsent=7)
    assert len(warnings(figures)) == 1
    figures.load["server"][1] = sample(others_cores=0.7)
    assert "up to 0.7 cores (ocs serve, 1 in the air), over 0.2 in 1 of 4 rows" in warnings(figures)[1]
    assert "Warning: open loop at 50 %" in markdown(figures)


def test_figures_become_json_with_text_keys(figures: Figures) -> None:
    found = figures.as_json()
    assert found["load"]["server"]["64"]["ccr_per_s"] == 9000.0
    assert found["open"]["50"]["offered_per_s"] == 4500.0
    assert found["memory"]["octets_per_account"] == 530.4


def test_medians_are_of_each_figure_by_itself() -> None:
    found = medians([sample(1.0, p99_ms=9.0), sample(2.0, p99_ms=7.0, aof_octets=None), sample(6.0, p99_ms=8.0)])
    assert (found.ccr_per_s, found.p99_ms, found.runs) == (2.0, 8.0, 3)
    assert found.aof_octets == 994.4 and found.cpu_us["worker"] == 60.0
    assert medians([sample(aof_octets=None)]).aof_octets is None


def test_before_and_after_stand_side_by_side_with_their_ratio() -> None:
    before, after = sample(8000.0), replace(sample(10_000.0), cpu_us={"worker": 30.0, "redis": 40.0, "history": 5.0})
    comparison = Comparison("now", MACHINE, QUICK, {BEFORE: "abc", AFTER: "def+"})
    comparison.samples = {
        "64": {BEFORE: before, AFTER: after},
        "25 %": {name: sample(1999.0, offered_per_s=2000.0) for name in (BEFORE, AFTER)},
    }
    _, columns, rows = comparison_table(comparison)
    assert columns == ("", "before abc", "after def+", "ratio")
    assert ("64 in the air: CCR/s", "8,000", "10,000", "1.25") in rows
    assert ("64 in the air:   worker µs", "60", "30", "0.50") in rows
    assert ("64 in the air:   history µs", "–", "5", "–") in rows
    assert ("open loop, 2,000/s (25 %): p99 ms", "12.00", "12.00", "1.00") in rows
    assert ratio_row(0.0, 3.0, ".0f") == ("0", "3", "–")


def test_octets_of_the_aof_are_its_growth_unless_it_was_rewritten(tmp_path: Path) -> None:
    folder = tmp_path / "redis" / "appendonlydir"
    folder.mkdir(parents=True)
    (folder / "a.1.base.aof").write_bytes(b"x" * 10)
    grows = folder / "a.1.incr.aof"
    grows.write_bytes(b"")
    before = aof_files(tmp_path)
    grows.write_bytes(b"y" * 700)
    assert octets_written(before, aof_files(tmp_path)) == 700
    grows.rename(folder / "a.2.incr.aof")
    assert octets_written(before, aof_files(tmp_path)) is None
    assert octets_written({}, {}) is None


def test_processor_time_memory_and_machine_are_read() -> None:
    assert cpu_s(os.getpid()) > 0
    assert memory_octets(os.getpid()) > 1_000_000
    assert memory_octets(2**30) == 0
    assert os.getpid() in children(os.getppid())
    assert this_machine().cores >= 1
    assert this_machine().redis


def test_processes_are_known_by_their_command_line() -> None:
    assert role_of(["/usr/bin/python", "-m", "ocs.process.worker", "--config", "x"]) == "worker"
    assert role_of(["python", "-m", "ocs.process.housekeeper"]) == "housekeeper"
    assert role_of(["redis-server unixsocket:/x/redis.sock"]) == "redis"
    assert role_of([]) == "other"


def test_a_sampler_knows_what_was_last_seen_by_a_time() -> None:
    with Sampler(60, lambda: 1) as sampler:
        pass
    sampler.samples = [(10.0, 1), (11.0, 2), (12.0, 3)]
    assert [sampler.last_before(at) for at in (9.0, 11.5, 99.0)] == [1, 2, 3]


def test_a_tree_runs_its_own_packages_whatever_is_installed(tmp_path: Path) -> None:
    (tmp_path / "ocs").mkdir()
    (tmp_path / "ocs" / "__init__.py").write_text("", "utf-8")
    (tmp_path / "ocs" / "entry.py").write_text("import sys\ndef go():\n    print(__file__, sys.argv[1:])\n", "utf-8")
    with pytest.raises(ValueError, match="has no command ocs"):
        Tree(tmp_path).ocs("account")
    (tmp_path / "pyproject.toml").write_text('[project]\nscripts.ocs = "ocs.entry:go"\n', "utf-8")
    said = run_command(Tree(tmp_path).ocs("account", "import"), Tree(tmp_path), 30)
    assert said.strip() == f"{tmp_path / 'ocs' / 'entry.py'} ['account', 'import']"
    assert Tree(tmp_path).commit == tmp_path.name and HERE.commit


MB = 1_000_000


def test_memory_is_flat_when_its_last_third_is_about_its_first() -> None:
    times = [float(second) for second in range(600)]
    warming = [(at, 200 * MB - int(max(120 - at, 0)) * MB) for at in times]  # grows in the warm-up only
    assert growth(warming, 0.0, 600.0) == Growth(200 * MB, 200 * MB)
    leaking = [(at, 60 * MB + int(at * 4000 * 5)) for at in times]  # 5 octets a CCR at 4,000 CCR/s
    found = growth(leaking, 0.0, 600.0)
    assert found.octets == pytest.approx(5.2 * MB, rel=0.02) and not found.is_flat
    assert Growth(60 * MB, 64 * MB).is_flat and not Growth(60 * MB, 65 * MB).is_flat  # 4 MiB
    assert Growth(400 * MB, 411 * MB).is_flat and not Growth(400 * MB, 413 * MB).is_flat  # 3 %
    spike = [(at, 900 * MB if at == 590 else 60 * MB) for at in times]
    assert growth(spike, 0.0, 600.0).is_flat
    with pytest.raises(ValueError, match="too few"):
        growth([(1.0, MB)], 0.0, 1.0)


def test_a_pause_has_the_cause_that_is_known() -> None:
    pause = Pause(at_s=100.25, lasted_ms=80.0, answers=9, worst_ms=80.0, generator_late_ms=1.0)
    events = [RedisEvent("aof-fsync-always", 1100, 63), RedisEvent("fork", 1102, 20), RedisEvent("command", 1098, 11)]
    assert cause(pause, 1000.0, events) == "Redis aof-fsync-always 63 ms"
    assert cause(pause, 1000.0, events[1:]) == "unknown"
    assert cause(replace(pause, generator_late_ms=70.0), 1000.0, []).startswith(
        "the generator itself was late by 70 ms"
    )


def test_a_soak_holds_or_says_what_is_broken() -> None:
    early = Pause(at_s=3.0, lasted_ms=60.0, answers=2, worst_ms=55.0, generator_late_ms=0.0)
    soak = Soak("abc", 600.0, 4000.0, Arrivals.POISSON, 50.0, growth={"worker": Growth(60 * MB, 61 * MB)})
    soak.pauses = [early]  # in the warm-up
    assert soak.judge() == []
    soak.pauses.append(replace(early, at_s=230.0))
    soak.growth["redis"] = Growth(20 * MB, 30 * MB)
    soak.unsent, soak.replaced = 3, ["worker"]
    assert soak.judge() == [
        "memory of redis grew by 10.0 MB, 4.2 MB are allowed",
        "2 answers in 1 pauses over 50 ms, the worst 55 ms",
        "3 requests were due and never sent: the server did not keep up",
        "worker was replaced",
    ]
    assert after_warm_up(soak.pauses, 600.0) == soak.pauses[1:]
    assert findings(memory={}, pauses=[], slow_ms=50.0, unsent=0, replaced=[]) == []


def test_a_soak_becomes_a_picture(tmp_path: Path) -> None:
    draw(
        tmp_path / "soak.png",
        title="a soak",
        memory={"worker": [(0.0, 60 * MB), (1.0, 60 * MB)], "generator": [(0.0, MB), (1.0, 2 * MB)]},
        timeline=[Second(0, 10, 1.0, 2.0, 3.0), Second(1, 10, 1.0, 2.0, 60.0)],
        found=[Pause(1.2, 60.0, 1, 60.0, 0.0)],
        seconds=2.0,
        slow_ms=50.0,
    )
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_the_server_without_ledger_serves_the_load(tmp_path: Path) -> None:
    with granting_server(tmp_path / "protocol") as system:
        found = measure_load(system, Load(0.3, outstanding=4))
    assert found.ccr_per_s > 0 and found.p50_ms > 0
    assert found.cpu_us.keys() == {"worker"} and found.aof_octets is None


@pytest.mark.alone
def test_a_whole_server_is_measured_closed_and_open(tmp_path: Path) -> None:
    with charging_server(tmp_path / "server") as system:
        provision(system, LOAD_ACCOUNTS)
        assert system.roles().keys() == {"supervisor", "worker", "housekeeper", "backoffice", "redis", "api"}
        closed = measure_load(system, Load(0.5, outstanding=16))
        opened = measure_load(system, Load(0.5, rate=200.0))
    assert closed.ccr_per_s > 0 and closed.offered_per_s == 0.0
    assert closed.aof_octets is not None and closed.aof_octets > 50
    assert closed.cpu_us["worker"] > 0 and closed.cpu_us["redis"] > 0
    assert opened.offered_per_s == 200.0 and opened.ccr_per_s == pytest.approx(200, rel=0.4)


def test_the_records_of_the_history_benchmark_are_loaded(tmp_path: Path) -> None:
    write_records(tmp_path, 3_000, random.Random(2))
    engine = history_engine(HistorySection(), tmp_path)
    migrate(engine)
    found = measured(partial(load, engine, tmp_path))
    engine.dispose()
    assert found.rows > 3_000 and found.seconds > 0 and found.own_cpu_s > 0


# -- the API beside charging


def test_the_p99_beside_the_api_is_compared_with_that_without() -> None:
    """Of the medians of the rounds; more than MAX_RATIO is a warning."""
    statuses = {"balance 200": 60, "purchase 409": 1}
    api = {"statuses": statuses, "requests_per_s": 200.0, "p50_ms": 4.0, "p99_ms": 30.0}
    found = BesideApi("now", MACHINE, QUICK, api=[api, api])
    for p99_ms in (9.0, 10.0, 40.0):
        found.rounds["without"].append(sample(p99_ms=p99_ms, offered_per_s=5000.0))
        found.rounds["with"].append(sample(p99_ms=p99_ms * 1.4, offered_per_s=5000.0))
    assert found.p99_ratio == pytest.approx(1.4)
    assert found.statuses == {"balance 200": 120, "purchase 409": 2}
    title, _, rows = beside_api_table(found)
    assert title.startswith("5,000 CCR/s, without and with 200 API requests/s: medians of 1 alternating rounds")
    assert ("p99 ms", "10.00", "14.00", "1.40") in rows and ("API: p99 ms", "–", "30.0", "–") in rows
    assert beside_api_warnings(found) == []
    found.rounds["with"] = [sample(p99_ms=16.0)]
    assert any("1.60 times that without the API" in line for line in beside_api_warnings(found))


def test_answers_come_in_pieces_and_the_connection_is_kept() -> None:
    """Statuses in the order of the requests; 0 when the server closes."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for status, body in (("200 OK", b"{}"), ("409 Conflict", b"{" + b" " * 100_000 + b"}")):
            await reader.readuntil(b"\r\n\r\n")
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            for piece in (head[:20], head[20:], body[:1], body[1:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def asked() -> list[int]:
        server = await asyncio.start_server(served, "127.0.0.1", 0)
        loop, statuses = asyncio.get_running_loop(), []
        async with server:
            port = server.sockets[0].getsockname()[1]
            _, connection = await loop.create_connection(HttpConnection, "127.0.0.1", port)
            for _ in range(3):
                answer = loop.create_future()
                connection.send(request("GET", "/v1/x", "key"), answer.set_result)
                statuses.append(await asyncio.wait_for(answer, PATIENCE_S))
            assert not connection.is_open
        return statuses

    assert asyncio.run(asked()) == [200, 409, 0]


@pytest.mark.alone
def test_charging_is_measured_without_and_beside_the_api(tmp_path: Path) -> None:
    """Each operation of the mix is served; the API's process is seen working only beside its load."""
    found = measure_beside_api(tmp_path / "bench", replace(QUICK, seconds=1.0), lambda _: None, "now", 100.0)
    operations = {name.rpartition(" ")[0] for name in found.statuses}
    assert operations == {operation.name for operation in MIX}
    both = found.medians
    assert both["with"].cpu_us["api"] > 5 * both["without"].cpu_us["api"]
    assert found.of_api("requests_per_s") > 0 and both["with"].ccr_per_s > 0


def test_the_cost_of_a_request_is_that_of_the_best_round_by_its_share() -> None:
    def cost(operation: str, us: float) -> Cost:
        return Cost(operation, {"200": 10}, {"api": us, "redis": us / 10}, 2.0, 30.0, 300)

    found = [best([cost(each.name, 1000.0), cost(each.name, 800.0)]) for each in MIX]
    title, head, rows = cost_table(found, "1234567")
    assert title and len(rows) == len(MIX) + 1 and all(len(row) == len(head) for row in rows)
    assert rows[0][:3] == (MIX[0].name, "800", "80")
    assert rows[-1][:3] == ("the mix", "800", "80")
