"""The output of `ocs explain --month`: what a draft of the catalogue would have earned in a month."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ocs.accounts.errors import InputError
from ocs.catalogue.versions import Catalogues
from ocs.cli.common import FailedError, counted, print_json
from ocs.cli.show import PIPED_COLUMNS
from ocs.history.rerating.month import Job, Month, Sum, job_of, month_range, run, shares_of
from ocs.history.rerating.shadow import LIMITS
from ocs.outbox import reading
from ocs.outbox.files import RecordsError
from ocs.outbox.reading import Range
from ocs.values.moment import utc_text
from ocs.values.money import format_eur


def rerate_month(
    folder: Path,
    month: str,
    in_force: Catalogues,
    draft: Catalogues,
    account: str,
    processes: int,
    *,
    json: bool,
) -> None:
    try:
        wanted = month_range(month, in_force)
    except ValueError:
        raise InputError("month", f"{month!r} must be a month such as 2026-11") from None
    job = job_of(folder, wanted, in_force, draft, account)
    lacks = reading.missing(list(job.files), wanted)
    if lacks:
        raise FailedError(f"{folder}: {lacks}: bring them back")
    started = time.monotonic()
    try:
        with _bar(shares_of(job, processes)) as progress:
            result = run(job, processes, lambda: progress.advance(progress.task_ids[0]))
    except RecordsError as error:
        raise FailedError(str(error)) from None
    seconds = max(time.monotonic() - started, 1e-9)
    prepared = reading.missing(list(job.files), Range(job.read_from, wanted.until))
    if json:
        print_json(_as_json(result, job, seconds, prepared))
    else:
        _print(result, job, seconds, processes, prepared)


def _bar(shares: int) -> Progress:
    """Without a thread that draws it: processes are forked meanwhile."""
    console = Console(stderr=True)
    columns = TextColumn("re-rating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    quiet = not console.is_terminal
    progress = Progress(*columns, console=console, transient=True, auto_refresh=False, disable=quiet)
    progress.add_task("re-rating", total=shares)
    return progress


def _as_json(result: Month, job: Job, seconds: float, prepared: str) -> dict[str, object]:
    """The names are stable: programs rely on them. Amounts are micro-EUR, gross."""
    return {
        "from": utc_text(job.month.since),
        "to": utc_text(job.month.until),
        "records": result.records,
        "records_per_s": round(result.records / seconds),
        "total": asdict(result.total),
        "difference": result.total.draft - result.total.in_force,
        "model_deviation": result.deviation,
        "use": [
            {"tariff": tariff, "service": service, "place": place, **asdict(total)}
            for (tariff, service, place), total in sorted(result.use.items())
        ],
        "fees": [{"product": product, **asdict(total)} for product, total in sorted(result.fees.items())],
        "left_out": [
            {"reason": reason, "count": total.uses, "recorded": total.recorded}
            for reason, total in sorted(result.left_out.items())
        ],
        "uses_with_assumed_units": result.assumed,
        "accounts": {"more": result.more, "less": result.less, "same": result.same},
        "greatest_changes": [{"account": account, "difference": change} for change, account in result.changes],
        "model": [*LIMITS, *([f"{prepared}: periods that began before are not known"] if prepared else [])],
    }


def _print(result: Month, job: Job, seconds: float, processes: int, prepared: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS, soft_wrap=True, highlight=False)
    rows = [((tariff, service, place), total) for (tariff, service, place), total in sorted(result.use.items())]
    rows += [((product, "fee", ""), total) for product, total in sorted(result.fees.items())]
    console.print(_table([*rows, (("all", "", ""), result.total)]))
    total = result.total
    console.print(
        f"the paper and the records differ by {format_eur(result.deviation)} EUR"
        f" ({_percent(result.deviation, total.recorded)} of what was recorded)"
    )
    for reason, left in sorted(result.left_out.items()):
        console.print(f"left out: {reason}: {left.uses} times, {format_eur(left.recorded)} EUR", markup=False)
    if result.assumed:
        console.print(f"{counted(result.assumed, 'use')} had units of unknown origin, which pay what they paid")
    console.print(f"accounts: {result.more} pay more, {result.less} less, {result.same} the same")
    for change, account in result.changes:
        console.print(f"  {account}: {'+' if change > 0 else ''}{format_eur(change)} EUR")
    console.print("the model:")
    for limit in LIMITS:
        console.print(f"  {limit}")
    if prepared:
        console.print(f"  {prepared}: periods that began before are not known")
    speed = f"{result.records / seconds:,.0f} records/s, {counted(processes, 'process')}"
    console.print(f"{counted(result.records, 'record')} in {seconds:.1f} s: {speed}")


def _table(rows: list[tuple[tuple[str, str, str], Sum]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("tariff", "service", "place"):
        table.add_column(name)
    for name in ("uses", "recorded EUR", "in force EUR", "draft EUR", "difference EUR", "%"):
        table.add_column(name, justify="right")
    for words, total in rows:
        change = total.draft - total.in_force
        money = [format_eur(each) for each in (total.recorded, total.in_force, total.draft, change)]
        table.add_row(*words, str(total.uses), *money, _percent(change, total.in_force))
    return table


def _percent(part: int, whole: int) -> str:
    """ "+3.1 %"; "–" = of nothing."""
    return f"{100 * part / whole:+.1f} %" if whole else "–"
