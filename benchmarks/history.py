"""How fast charging records are loaded into SQL: `python -m benchmarks.history`.

A private PostgreSQL (fsync on) and a SQLite file get the records of a busy network, by the loader that the backoffice
runs. Beside it, plain COPY writes the same rows of `usage` into a table with the same keys, from text that is ready:
what this machine's PostgreSQL can take at most.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from psycopg import Connection as PsycopgConnection
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from benchmarks.processes import children, cpu_s
from ocs.history.engine import history_engine
from ocs.history.loader import Loader
from ocs.history.migrating import migrate
from ocs.history.partitions import make_partitions
from ocs.history.rows import Projection
from ocs.history.store import copy_text
from ocs.ledger.contract.events import OutboxEvent
from ocs.outbox.files import file_name
from ocs.outbox.format import record
from ocs.settings.history_section import HistorySection
from tests.postgresql import PostgreSQL

START = 1_796_043_600
MONTH = 202611
PARTITIONS = 1_024
ACCOUNTS = 50_000
KINDS = (("data", 50), ("voice", 20), ("sms", 15), ("use", 13), ("topup", 2))
"""Events in a hundred. `use`: an update of a session that cost money."""
GOAL_ROWS_PER_S = 20_000


def write_records(folder: Path, records: int, rng: random.Random) -> None:
    """One file of records of a busy hour."""
    sequences: Counter[int] = Counter()
    kinds = rng.choices([kind for kind, _ in KINDS], [share for _, share in KINDS], k=records)
    with (folder / file_name(1, "2026-11-30T13:00:00Z")).open("wb") as output:
        for number, kind in enumerate(kinds):
            partition = rng.randrange(PARTITIONS)
            account = f"{partition:02d}-{rng.randrange(ACCOUNTS // PARTITIONS):016x}"
            sequences[partition] += 1
            body = {"t": START + number // 5_000, "a": account, "credit": 5_000_000, **_body(kind, number, rng)}
            event = OutboxEvent(partition, sequences[partition], body)
            output.write(orjson.dumps(record(event), None, orjson.OPT_APPEND_NEWLINE))


def _body(kind: str, number: int, rng: random.Random) -> dict[str, Any]:
    if kind == "topup":
        return {"k": "topup", "credit_in": 10_000_000, "ref": f"R{number}", "channel": "shop"}
    sid = f"pgw.example.net;{START};{number:010d}"
    if kind == "use":
        return {"k": "use", "sid": sid, "typ": "U", "n": 1, "debit": 6_900}
    debit = 69_000 if rng.random() < 0.2 else 0
    units = [] if debit else [[f"MAXI.{kind}", 1 + number % 600]]
    towards = "internet" if kind == "data" else f"tel:+386410{number % 100_000:05d}"
    line = {
        "key": "10" if kind == "data" else "-",
        "label": f"{kind}.home.national",
        "price": f"{kind}.home@84c132/1",
        "detail": f"29340 mo {towards}",
        "used": 1 + number % 600,
        "debit": debit,
        "units": units,
        "overrun": 0,
        "dropped": 0,
    }
    head = {"k": "charge", "sid": sid, "ctx": "data" if kind == "data" else "ims", "typ": "T", "n": 1, "svc": [line]}
    return {**head, "code": 2001, "debit": debit, "closed": True, "late": False, "started": START + number // 5_000}


@dataclass(frozen=True, slots=True)
class Measured:
    rows: int
    seconds: float
    own_cpu_s: float
    database_cpu_s: float

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds


def measured(work: Callable[[], int], server: PostgreSQL | None = None) -> Measured:
    """`work` returns the number of rows. CPU of the database: of PostgreSQL's processes."""
    clocks = time.perf_counter(), time.process_time(), database_cpu_s(server)
    rows = work()
    seconds, own, database = time.perf_counter(), time.process_time(), database_cpu_s(server)
    return Measured(rows, seconds - clocks[0], own - clocks[1], database - clocks[2])


def database_cpu_s(server: PostgreSQL | None) -> float:
    if server is None or server.process is None:
        return 0.0
    return sum(cpu_s(pid) for pid in (server.process.pid, *children(server.process.pid)))


def load(engine: Engine, folder: Path) -> int:
    """Number of rows."""
    rows: Counter[str] = Counter()

    def stored(table: str, count: int) -> None:
        rows[table] += count

    projection = Projection(lambda at: MONTH, lambda rate: False, lambda product: False)
    loader = Loader(engine, folder, projection, stored=stored)
    while loader.step():
        pass
    return rows.total()


def ready_texts(engine: Engine) -> tuple[int, list[bytes]]:
    """A table like `usage`, and its rows as text; in batches as large as the loader's."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE plain (LIKE usage INCLUDING ALL) PARTITION BY RANGE (month)"))
        bounds = f"FOR VALUES FROM ({MONTH}) TO ({MONTH + 1})"
        connection.execute(text(f"CREATE TABLE plain_{MONTH} PARTITION OF plain {bounds}"))
        make_partitions(connection, [MONTH])
        found = connection.execute(text("SELECT * FROM usage ORDER BY at, event_id")).all()
    rows = [(*row[:18], orjson.dumps(row[18]).decode(), *row[19:]) for row in found]
    return len(rows), [copy_text(rows[first : first + 8_000]) for first in range(0, len(rows), 8_000)]


def plain_copy(engine: Engine, texts: list[bytes], rows: int) -> int:
    """Number of rows."""
    for each in texts:
        with engine.begin() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, PsycopgConnection)
            with driver.cursor() as cursor, cursor.copy("COPY plain FROM STDIN") as copy:
                copy.write(each)
    return rows


def main(records: Annotated[int, typer.Option(min=1_000, help="Charging records.")] = 200_000) -> None:
    """Rows a second into SQL, against plain COPY."""
    names = "", "rows", "s", "rows/s", "µs of CPU a row: loader", "PostgreSQL"
    table = Table(*names, title=f"{records:,} charging records into SQL", title_justify="left")
    server = PostgreSQL()
    try:
        server.start()
        with tempfile.TemporaryDirectory() as path:
            folder = Path(path)
            write_records(folder, records, random.Random(1))
            engines = {
                "PostgreSQL": history_engine(HistorySection(url=server.url()), folder),
                "SQLite": history_engine(HistorySection(), folder),
            }
            speeds: dict[str, Measured] = {}
            for name, engine in engines.items():
                migrate(engine)
                its_server = server if name == "PostgreSQL" else None
                speeds[name] = measured(partial(load, engine, folder), its_server)
            rows, texts = ready_texts(engines["PostgreSQL"])
            speeds["plain COPY"] = measured(partial(plain_copy, engines["PostgreSQL"], texts, rows), server)
            for engine in engines.values():
                engine.dispose()
    finally:
        server.remove()
    for name, each in speeds.items():
        cpu = (f"{1e6 * seconds / each.rows:.0f}" for seconds in (each.own_cpu_s, each.database_cpu_s))
        table.add_row(name, f"{each.rows:,}", f"{each.seconds:.1f}", f"{each.rows_per_s:,.0f}", *cpu)
    console = Console()
    console.print(table)
    loaded, plain = (speeds[name].rows_per_s for name in ("PostgreSQL", "plain COPY"))
    console.print(f"{loaded / plain:.2f} of plain COPY; goal: {GOAL_ROWS_PER_S:,} rows/s, or half of plain COPY")


if __name__ == "__main__":
    typer.run(main)
