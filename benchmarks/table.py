"""The figures as a Markdown table, for docs/PERFORMANCE.md, and as rich tables for the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.loads import MAXIMUM_AT, Sample, warnings_of
from benchmarks.measure import Figures

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
NAMES = {
    "server": "ocs serve",
    "protocol": "no ledger",
    "python_diameter": "python-diameter",
}
ROLES = ("worker", "redis", "housekeeper", "supervisor")
CLOSED = ("", "in the air", "CCR/s", "p50 ms", "p99 ms", "p99.9 ms")
OPEN = (
    "% of maximum",
    "due/s",
    "CCR/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "late ms",
    "server µs",
    "load µs",
    "of a core",
)
COSTS = ("", "in the air", "worker", "Redis", "housekeeper", "supervisor", "other", "server", "load", "AOF")
TableText = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
"""(title, columns, rows of text)."""


def print_tables(console: Console, figures: Figures) -> None:
    console.print(f"\n[bold]{figures.machine}[/]")
    for each in tables(figures):
        console.print(rich_table(each))
    for line in warnings(figures):
        console.print(f"[yellow]warning[/] {line}")
    for what, met in targets(figures):
        console.print(f"{'[green]met[/]   ' if met else '[red]missed[/]'} {what}")


def rich_table(text: TableText) -> Table:
    title, columns, rows = text
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(text: TableText) -> list[str]:
    title, columns, rows = text
    lines = ["", f"**{title}**", "", f"| {' | '.join(columns)} |", f"|---{'|--:' * (len(columns) - 1)}|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def markdown(figures: Figures) -> str:
    effort = figures.effort
    lines = [
        f"Measured {figures.made_at} on {figures.machine}. Load, server and Redis share the cores.",
        f"Medians of {effort.repeats} runs of {effort.seconds:g} s each.",
    ]
    for each in tables(figures):
        lines += markdown_table(each)
    lines += [f"\nWarning: {line}." for line in warnings(figures)]
    lines += ["", "**Targets**", "", "| target | |", "|---|---|"]
    lines += [f"| {what} | {'met' if met else 'missed'} |" for what, met in targets(figures)]
    return "\n".join(lines)


def write_into(path: Path, figures: Figures) -> None:
    """Replaces the text between the markers of the page."""
    text = path.read_text("utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: has no lines {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n{markdown(figures)}\n{END}{tail}", "utf-8")


def tables(figures: Figures) -> list[TableText]:
    closed = [(NAMES[system], level, row) for system, rows in figures.load.items() for level, row in rows.items()]
    found: list[TableText] = [
        _codec_table(figures.codec),
        (
            "Closed loop: one worker, sessions of 1 INITIAL, 3 UPDATE, 1 TERMINATION, 500 accounts on a package",
            CLOSED,
            [(name, str(level), f"{row.ccr_per_s:,.0f}", *latency(row)) for name, level, row in closed],
        ),
        (
            "µs of CPU per CCR by process (server: their sum; load: the generator), octets written to the AOF per CCR",
            COSTS,
            [(name, str(level), *costs(row)) for name, level, row in closed],
        ),
    ]
    if figures.open:
        arrivals = figures.effort.arrivals.value
        title = f"Open loop, {arrivals} arrivals: ocs serve at parts of its closed-loop maximum at {MAXIMUM_AT}"
        found.append((title, OPEN, [_open_row(percent, row) for percent, row in figures.open.items()]))
    return found + _memory_tables(figures)


def _codec_table(codec: dict[str, float]) -> TableText:
    return (
        "Codec, a real P-GW's CCR-U of 780 octets and its answer, µs",
        ("", "decode", "encode", "both"),
        [
            _codec_row("ours", codec["decode_us"], codec["encode_us"]),
            _codec_row("python-diameter", codec["python_diameter_decode_us"], codec["python_diameter_encode_us"]),
            ("times faster", "", "", f"{codec['ratio']:.1f}"),
        ],
    )


def _memory_tables(figures: Figures) -> list[TableText]:
    memory = figures.memory
    if memory is None:
        return []
    rows: list[tuple[str, ...]] = [
        (f"an idle account ({memory.accounts:,} accounts)", f"{memory.octets_per_account:,.0f}"),
        ("a finished session of five requests", f"{memory.octets_per_remembered_session:,.0f}"),
    ]
    imported: tuple[str, ...] = (f"`ocs account import`, {memory.accounts:,} rows", f"{memory.import_s:.1f}")
    return [("Memory in Redis", ("", "octets"), rows), ("Import", ("", "seconds"), [imported])]


def targets(figures: Figures) -> list[tuple[str, bool]]:
    """Targets, and whether this run met them."""
    found = [("codec at least 15 times faster than python-diameter", figures.codec["ratio"] >= 15)]
    server = figures.load.get("server", {})
    if (at_64 := server.get(64)) is not None:
        alone_us = at_64.server_us - at_64.cpu_us.get("redis", 0.0)
        found += [
            ("at least 8,000 CCR/s at 64 in the air", at_64.ccr_per_s >= 8000),
            ("p99 at most 16 ms at 64 in the air", at_64.p99_ms <= 16),
            ("goal: p99 at most 12 ms at 64 in the air", at_64.p99_ms <= 12),
            ("at most 140 µs of CPU a CCR over all processes at 64 in the air", at_64.server_us <= 140),
            ("goal: at most 110 µs of CPU a CCR over all processes at 64 in the air", at_64.server_us <= 110),
            ("the load generator needs under a quarter of the server's CPU", at_64.generator_us * 4 < alone_us),
        ]
    if (at_1 := server.get(1)) is not None:
        found.append(("p50 under 1 ms at 1 in the air", at_1.p50_ms < 1))
        found.append(("goal: p50 at most 0.45 ms at 1 in the air", at_1.p50_ms <= 0.45))
    if figures.memory is not None:
        found.append(("at most 1.5 kB per idle account", figures.memory.octets_per_account <= 1500))
        if figures.memory.accounts >= 100_000:
            found.append(("100,000 rows imported in under a minute", figures.memory.import_s < 60))
    return found


def warnings(figures: Figures) -> list[str]:
    """Reasons to distrust a figure."""
    samples = [
        (f"{NAMES[name]}, {n} in the air", row) for name, rows in figures.load.items() for n, row in rows.items()
    ]
    samples += [(f"open loop at {percent} %", row) for percent, row in figures.open.items()]
    return warnings_of(samples)


def latency(row: Sample) -> tuple[str, str, str]:
    return f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.p999_ms:.2f}"


def costs(row: Sample) -> tuple[str, ...]:
    """The columns of COSTS after the second."""
    other = sum(value for role, value in row.cpu_us.items() if role not in ROLES)
    by_role = [f"{row.cpu_us[role]:.0f}" if role in row.cpu_us else "–" for role in ROLES]
    written = "–" if row.aof_octets is None else f"{row.aof_octets:,.0f}"
    return (*by_role, f"{other:.0f}" if other else "–", f"{row.server_us:.0f}", f"{row.generator_us:.0f}", written)


def _open_row(percent: int, row: Sample) -> tuple[str, ...]:
    rates = f"{row.offered_per_s:,.0f}", f"{row.ccr_per_s:,.0f}"
    used = (
        f"{row.generator_late_ms:.2f}",
        f"{row.server_us:.0f}",
        f"{row.generator_us:.0f}",
        f"{row.generator_share:.0%}",
    )
    return (str(percent), *rates, *latency(row), *used)


def _codec_row(name: str, decode_us: float, encode_us: float) -> tuple[str, ...]:
    return name, f"{decode_us:.1f}", f"{encode_us:.1f}", f"{decode_us + encode_us:.1f}"
