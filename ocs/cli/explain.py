"""`ocs explain`: what was charged and why, from the charging records of this server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ocs.catalogue.ported_numbers import read_ported_numbers
from ocs.cli.common import DEFAULT, Backend, ConfigOption, FailedError, JsonOption, print_json, with_backend
from ocs.cli.rate import print_trace
from ocs.compose import Paths
from ocs.ledger.redis.installation import OpenMode
from ocs.outbox.explain import DIFFERENCE, explain
from ocs.outbox.search import TooManyRecordsError, find_records
from ocs.settings.loading import load_settings


def explain_command(
    name: Annotated[str, typer.Argument(help="Event id of a record, such as p47-1234, or a Session-Id.")],
    records: Annotated[Path | None, typer.Option(help="Folder of records; default: that of the data folder.")] = None,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show what a record or a session charged and why, and where computing it anew gives something else."""
    settings = load_settings(config, serves=False)
    folder = records or Paths(settings.data_dir).records
    try:
        found = find_records(folder, name)
    except TooManyRecordsError as error:
        raise FailedError(str(error)) from None
    if not found:
        raise FailedError(f"{folder}: no record has this event id or Session-Id; older files may have been moved away")
    ported = settings.server.ported_numbers

    async def work(backend: Backend) -> None:
        if ported:
            backend.catalogue.use_ported(read_ported_numbers(Path(ported)))
        only = name if found[-1]["event_id"] == name else ""
        trace = explain(found, backend.catalogue, only=only)
        differences = [step.as_json() for step in trace.steps if step.name == DIFFERENCE]
        if json:
            told = [each for each in found if not only or each["event_id"] == only]
            print_json({"records": told, "steps": [each.as_json() for each in trace.steps], "differences": differences})
        else:
            print_trace(trace)

    with_backend(config, OpenMode.READ, work)
