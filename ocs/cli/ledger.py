"""`ocs ledger …`: shows the ledger as a whole, and upgrades its documents to the present layout."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated

import typer

from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    accounts_text,
    counted,
    print_json,
    progress_bar,
    with_backend,
)
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.installation import OpenMode

BATCH = 50
"""Accounts upgraded together. Redis handles the network's requests between two batches."""
DEFAULT_PER_SECOND = 2_000
MAX_SHOWN_FAILURES = 20
UNREADABLE = ("unreadable", "version")
GONE = ("unknown", "moved")
"""The account has ended meanwhile, or was moved to another partition, which rewrites it."""

app = typer.Typer(help="Show the ledger as a whole, upgrade it.", no_args_is_help=True)


@app.callback()
def _ledger() -> None:
    """Show the ledger as a whole, upgrade it to the layout of this version."""


@app.command()
def show(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show layout version, partitions, accounts, and documents that an upgrade would rewrite. Reads all accounts."""

    async def work(backend: Backend) -> None:
        installed = await backend.ledger.installed()
        facts = {
            "layout": installed["layout"],
            "partitions": installed["partitions"],
            "accounts": 0,
            "terminated": 0,
            "older": 0,
        }
        async for view in backend.views():
            facts["terminated" if view.state == "terminated" else "accounts"] += 1
            facts["older"] += view.version < backend.ledger.layout.version
        facts["unreadable"] = len(backend.unread)
        if json:
            print_json(facts)
            return
        accounts = accounts_text(facts["accounts"], facts["terminated"], facts["unreadable"])
        print(f"layout {facts['layout']}, {counted(facts['partitions'], 'partition')}, {accounts}")
        if facts["older"]:
            print(f"of an older layout: {facts['older']}; `ocs ledger upgrade` rewrites them")
        if facts["unreadable"]:
            print("`ocs audit` names the unreadable ones")

    with_backend(config, OpenMode.READ, work)


@dataclass(slots=True)
class UpgradeResult:
    """How many accounts there are, and how many were upgraded or failed."""

    living: int = 0
    terminated: int = 0
    unreadable: int = 0
    upgraded: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    """The first MAX_SHOWN_FAILURES."""

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
        int, typer.Option(min=1, max=1_000_000, help="Accounts a second at most, so that charging is not slowed down.")
    ] = DEFAULT_PER_SECOND,
    config: ConfigOption = DEFAULT,
) -> None:
    """Rewrite the accounts of an older layout while charging goes on. May be interrupted and repeated."""

    async def work(backend: Backend) -> None:
        result = UpgradeResult()
        loop = asyncio.get_running_loop()
        with progress_bar("upgrading", await backend.ledger.count_accounts()) as progress:
            next_at = loop.time()
            async for batch in _batches(backend):
                await asyncio.sleep(next_at - loop.time())
                next_at = max(next_at, loop.time() - 1.0) + len(batch) / per_second
                await asyncio.gather(*(_upgrade(backend, each, result) for each in batch))
                progress.advance(progress.task_ids[0], len(batch))
        _report(result)

    with_backend(config, OpenMode.WRITE, work)


async def _batches(backend: Backend) -> AsyncIterator[list[str]]:
    batch: list[str] = []
    async for account_id in backend.ledger.account_ids():
        batch.append(account_id)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def _upgrade(backend: Backend, account_id: str, result: UpgradeResult) -> None:
    try:
        view = await backend.ledger.read(account_id, **backend.when())
        if view is None:
            return
        result.count(view)
        if await backend.ledger.upgrade_account(account_id, **backend.when()):
            result.upgraded += 1
    except LedgerError as error:
        if error.code not in GONE:
            result.fail(account_id, error)


def _report(result: UpgradeResult) -> None:
    for line in result.failures:
        print(line, file=sys.stderr)
    if result.failed > len(result.failures):
        print(f"… and {result.failed - len(result.failures)} more", file=sys.stderr)
    accounts = accounts_text(result.living, result.terminated, result.unreadable)
    print(f"{counted(result.upgraded, 'document')} rewritten; {accounts}")
    if result.failed:
        raise FailedError(f"{counted(result.failed, 'account')} could not be upgraded")
