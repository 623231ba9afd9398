"""`ocs explain`: what was charged and why, from the charging records of this server; and what another catalogue would
have charged, for a session or a whole month.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.catalogue.ported_numbers import read_ported_numbers
from ocs.catalogue.trace import Trace
from ocs.catalogue.versions import Catalogues, load_versions
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    load_all,
    print_json,
    with_backend,
)
from ocs.cli.ladder import Ladder
from ocs.cli.masked_rungs import masked_rung
from ocs.cli.rate import print_trace
from ocs.cli.rerating import rerate_month
from ocs.compose import Paths
from ocs.history.exports.export import units_of
from ocs.history.rerating.draft import compare_with_draft
from ocs.ledger.redis.installation import OpenMode
from ocs.outbox.explain import DIFFERENCE, explain
from ocs.outbox.ladder import ladder
from ocs.outbox.masked import masked_record
from ocs.outbox.reading import Record
from ocs.outbox.search import TooManyRecordsError, find_records, records_of_facts


def explain_command(
    name: Annotated[str, typer.Argument(help="Event id of a record, such as p47-1234, or a Session-Id.")] = "",
    draft: Annotated[
        Path | None, typer.Option(exists=True, help="A catalogue, or a folder of versions: what it would charge.")
    ] = None,
    month: Annotated[str, typer.Option(help="With --draft, in place of a record: all use of 2026-11.")] = "",
    msisdn: Annotated[str, typer.Option(help="With --month: of this number only.")] = "",
    processes: Annotated[
        int, typer.Option(min=0, max=64, help="With --month: that read at once; 0 = as many as processors.")
    ] = 1,
    records: Annotated[Path | None, typer.Option(help="Folder of records; default: that of the data folder.")] = None,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show what a record or a session charged and why, and where computing it anew gives something else."""
    if bool(name) == bool(month):
        raise WrongCallError("name a record or a session, or a month with --month")
    if month and draft is None:
        raise WrongCallError("--month needs --draft: the catalogue to compare with")
    if msisdn and not month:
        raise WrongCallError("--msisdn goes with --month; a record or session has its account")
    loaded = load_all(config)
    folder = records or Paths(loaded[0].data_dir).records
    found = _find(folder, name) if name else []
    ported = loaded[0].server.ported_numbers
    known: list[Catalogues] = []
    account = [""]

    async def look(backend: Backend) -> None:
        known.append(backend.catalogue)
        if msisdn:
            account[0] = await backend.accounts.find(inputs.msisdn(msisdn))

    with_backend(config, OpenMode.READ, look, loaded=loaded)
    (in_force,) = known
    other = None if draft is None else Catalogues(load_versions(draft), in_force.now)
    if ported:
        numbers = read_ported_numbers(Path(ported))
        for each in (in_force, other):
            if each is not None:
                each.use_ported(numbers)
    if month:
        assert other is not None
        rerate_month(folder, month, in_force, other, account[0], processes or os.cpu_count() or 1, json=json)
        return
    _show(found, name, in_force, other, records_of_facts(folder, str(found[-1]["account"])), json=json)


def _find(folder: Path, name: str) -> list[Record]:
    try:
        found = find_records(folder, name)
    except TooManyRecordsError as error:
        raise FailedError(str(error)) from None
    if not found:
        raise FailedError(f"{folder}: no record has this event id or Session-Id; older files may have been moved away")
    return found


def _show(
    found: list[Record],
    name: str,
    in_force: Catalogues,
    other: Catalogues | None,
    history: list[Record] | None,
    *,
    json: bool,
) -> None:
    only = name if found[-1]["event_id"] == name else ""
    trace = explain(found, in_force, only=only, history=history)
    rungs = [] if only else [masked_rung(each) for each in ladder(found, units_of(in_force))]
    drafted = Trace()
    if other is not None:
        drafted = compare_with_draft(found, in_force, other, only=only, history=history)
    if not json:
        trace.steps += drafted.steps
        drawn = Ladder(in_force.time_zone)
        for rung in rungs:
            drawn.draw(rung)
        if rungs:
            print()
        print_trace(trace)
        return
    told = [masked_record(each) for each in found if not only or each["event_id"] == only]
    differences = [step.as_json() for step in trace.steps if step.name == DIFFERENCE]
    steps = [each.as_json() for each in trace.steps]
    more = {"draft": [each.as_json() for each in drafted.steps]} if other is not None else {}
    if rungs:
        more["ladder"] = [each.as_json() for each in rungs]
    print_json({"records": told, "steps": steps, "differences": differences, **more})
