"""The figures as a Markdown table, for docs/PERFORMANCE.md, and as rich tables for the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Figures, LoadFigures

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
NAMES = {
    "server": "ocs serve",
    "protocol": "no ledger",
    "python_diameter": "python-diameter",
}
COLUMNS = ("", "in the air", "CCR/s", "p50 ms", "p99 ms", "p99.9 ms", "server µs", "Redis µs", "load µs")


def print_tables(console: Console, figures: Figures) -> None:
    console.print(f"\n[bold]{figures.machine}[/]")
    for title, columns, rows in tables(figures):
        table = Table(title=title, title_justify="left")
        for index, name in enumerate(columns):
            table.add_column(name, justify="left" if index == 0 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for what, met in targets(figures):
        console.print(f"{'[green]met[/]   ' if met else '[red]missed[/]'} {what}")


def markdown(figures: Figures) -> str:
    effort = figures.effort
    lines = [
        f"Measured {figures.made_at} on {figures.machine}. Load, server and Redis share the cores.",
        f"Medians of {effort.repeats} runs of {effort.seconds:g} s each.",
    ]
    for title, columns, rows in tables(figures):
        lines += ["", f"**{title}**", "", f"| {' | '.join(columns)} |", f"|---{'|--:' * (len(columns) - 1)}|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "**Targets**", "", "| target | |", "|---|---|"]
    lines += [f"| {what} | {'met' if met else 'missed'} |" for what, met in targets(figures)]
    return "\n".join(lines)


def write_into(path: Path, figures: Figures) -> None:
    """Replace what stands between the markers of the page."""
    text = path.read_text("utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: has no lines {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n{markdown(figures)}\n{END}{tail}", "utf-8")


def tables(figures: Figures) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """(title, columns, rows of text)."""
    codec = figures.codec
    found: list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]] = [
        (
            "Codec, a real P-GW's CCR-U of 780 octets and its answer, µs",
            ("", "decode", "encode", "both"),
            [
                _codec_row("ours", codec["decode_us"], codec["encode_us"]),
                _codec_row("python-diameter", codec["python_diameter_decode_us"], codec["python_diameter_encode_us"]),
                ("times faster", "", "", f"{codec['ratio']:.1f}"),
            ],
        ),
        (
            "Requests: one worker, sessions of 1 INITIAL, 3 UPDATE, 1 TERMINATION, 500 accounts on a package; µs of CPU per CCR",
            COLUMNS,
            [
                _load_row(NAMES[system], outstanding, row)
                for system, rows in figures.load.items()
                for outstanding, row in rows.items()
            ],
        ),
    ]
    if figures.memory is not None:
        memory = figures.memory
        found.append(
            (
                "Memory in Redis",
                ("", "octets"),
                [
                    (f"an idle account ({memory.accounts:,} accounts)", f"{memory.octets_per_account:,.0f}"),
                    ("a remembered session of five requests", f"{memory.octets_per_remembered_session:,.0f}"),
                ],
            )
        )
        found.append(
            ("Import", ("", "seconds"), [(f"`ocs account import`, {memory.accounts:,} rows", f"{memory.import_s:.1f}")])
        )
    return found


def targets(figures: Figures) -> list[tuple[str, bool]]:
    """What was promised, and whether it was met in this run."""
    found = [("codec at least 15 times faster than python-diameter", figures.codec["ratio"] >= 15)]
    server = figures.load.get("server", {})
    if (at_64 := server.get(64)) is not None:
        found.append(("at least 8,000 CCR/s at 64 outstanding", at_64.ccr_per_s >= 8000))
        found.append(("p99 under 20 ms at 64 outstanding", at_64.p99_ms < 20))
        found.append(
            (
                "the load generator needs under a quarter of the server's CPU",
                at_64.generator_cpu_us * 4 < at_64.server_cpu_us,
            )
        )
    if (at_1 := server.get(1)) is not None:
        found.append(("p50 under 1 ms at 1 outstanding", at_1.p50_ms < 1))
    if figures.memory is not None:
        found.append(("at most 1.5 kB per idle account", figures.memory.octets_per_account <= 1500))
        if figures.memory.accounts >= 100_000:
            found.append(("100,000 rows imported in under a minute", figures.memory.import_s < 60))
    return found


def _codec_row(name: str, decode_us: float, encode_us: float) -> tuple[str, ...]:
    return name, f"{decode_us:.1f}", f"{encode_us:.1f}", f"{decode_us + encode_us:.1f}"


def _load_row(name: str, outstanding: int, row: LoadFigures) -> tuple[str, ...]:
    return (
        name, str(outstanding), f"{row.ccr_per_s:,.0f}", f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.p999_ms:.2f}",
        f"{row.server_cpu_us:.0f}", "–" if row.redis_cpu_us is None else f"{row.redis_cpu_us:.0f}",
        f"{row.generator_cpu_us:.0f}",
    )  # fmt: skip
