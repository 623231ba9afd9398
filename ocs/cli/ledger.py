"""`ocs ledger …`: what the ledger as a whole is, and taking its documents over to a new layout."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

import typer

from ocs.cli.common import (
    DEFAULT,
    ConfigOption,
    FailedError,
    JsonOption,
    Office,
    accounts_text,
    counted,
    print_json,
    progress_bar,
    with_office,
)
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.installation import Use

BATCH = 50
"""Accounts that are on their way at once: requests of the network come between two batches."""
DEFAULT_PER_SECOND = 2_000
MAX_SHOWN_FAILURES = 20
UNREADABLE = ("unreadable", "version")
GONE = ("unknown", "moved")
"""An account that has ended meanwhile, or lives in another partition: moving has rewritten it."""

app = typer.Typer(help="Look at the ledger as a whole, upgrade it.", no_args_is_help=True)


@app.callback()
def _ledger() -> None:
    """Look at the ledger as a whole, take it over to the layout of this version."""


@app.command()
def show(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Layout version, partitions, accounts; how many documents an upgrade would rewrite. Looks at all accounts."""

    async def work(office: Office) -> None:
        installed = await office.ledger.installed()
        facts = {
            "layout": installed["layout"],
            "partitions": installed["partitions"],
            "accounts": 0,
            "terminated": 0,
            "older": 0,
        }
        async for view in office.views():
            facts["terminated" if view.state == "terminated" else "accounts"] += 1
            facts["older"] += view.version < office.ledger.layout.version
        facts["unreadable"] = len(office.unread)
        if json:
            print_json(facts)
            return
        accounts = accounts_text(facts["accounts"], facts["terminated"], facts["unreadable"])
        print(f"layout {facts['layout']}, {counted(facts['partitions'], 'partition')}, {accounts}")
        if facts["older"]:
            print(f"of an older layout: {facts['older']}; `ocs ledger upgrade` rewrites them")
        if facts["unreadable"]:
            print("`ocs audit` names the unreadable ones")

    with_office(config, Use.LOOK, work)


@dataclass(slots=True)
class Tally:
    """What became of the accounts."""

    living: int = 0
    terminated: int = 0
    unreadable: int = 0
    upgraded: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """Of the first, at most MAX_SHOWN_FAILURES."""

    def count(self, view: AccountView) -> None:
        if view.state == "terminated":
            self.terminated += 1
        else:
            self.living += 1

    def fail(self, account_id: str, error: LedgerError) -> None:
        self.failed += 1
        self.unreadable += error.code in UNREADABLE
        if len(self.failures) < MAX_SHOWN_FAILURES:
            self.failures.append(f"account {account_id}: {error}")


@app.command()
def upgrade(
    per_second: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Accounts a second at most, as charging goes on.")
    ] = DEFAULT_PER_SECOND,
    config: ConfigOption = DEFAULT,
) -> None:
    """Rewrite each account that is of an older layout, while charging goes on; may be broken off and repeated."""

    async def work(office: Office) -> None:
        tally = Tally()
        loop = asyncio.get_running_loop()
        with progress_bar("upgrading", await office.ledger.count_accounts()) as progress:
            next_at = loop.time()
            async for batch in _batches(office):
                await asyncio.sleep(next_at - loop.time())
                next_at = max(next_at, loop.time() - 1.0) + len(batch) / per_second
                await asyncio.gather(*(_upgrade(office, each, tally) for each in batch))
                progress.advance(progress.task_ids[0], len(batch))
        _report(tally)

    with_office(config, Use.CHANGE, work)


async def _batches(office: Office) -> AsyncIterator[list[str]]:
    batch: list[str] = []
    async for account_id in office.ledger.account_ids():
        batch.append(account_id)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _upgrade(office: Office, account_id: str, tally: Tally) -> None:
    try:
        view = await office.ledger.read(account_id, **office.when())
        if view is None:
            return
        tally.count(view)
        if await office.ledger.upgrade_account(account_id, **office.when()):
            tally.upgraded += 1
    except LedgerError as error:
        if error.code not in GONE:
            tally.fail(account_id, error)


def _report(tally: Tally) -> None:
    for line in tally.failures:
        print(line, file=sys.stderr)
    if tally.failed > len(tally.failures):
        print(f"… and {tally.failed - len(tally.failures)} more", file=sys.stderr)
    accounts = accounts_text(tally.living, tally.terminated, tally.unreadable)
    print(f"{counted(tally.upgraded, 'document')} rewritten; {accounts}")
    if tally.failed:
        raise FailedError(f"{counted(tally.failed, 'account')} could not be upgraded")
