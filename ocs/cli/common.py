"""What all commands share: settings, a connection to the ledger, errors and texts.

Exit status: 0 done, 1 failed, 2 wrong call. Each error is one line on standard error.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ocs.accounts.errors import InputError
from ocs.accounts.keywords import KeywordOperations
from ocs.accounts.life import LifeOperations
from ocs.accounts.operations import AccountOperations
from ocs.accounts.pools import PoolOperations
from ocs.accounts.products import ProductOperations
from ocs.accounts.redeeming import RedeemOperations
from ocs.accounts.sessions import SessionOperations
from ocs.accounts.voucher_batches import BatchOperations
from ocs.catalogue.versions import Catalogues, merge
from ocs.compose import EMBEDDED_TAKES_NO_REPLICAS, Environment, StartError, ledger_settings, load, voucher_key
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.installation import OpenMode
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.settings.loading import CONFIG_VARIABLE, DEFAULT_CONFIG
from ocs.settings.schema import Settings
from ocs.values.money import format_eur
from ocs.values.products import BenefitShare

CONNECT_TIMEOUT_S = 3.0
"""Short, as a person waits for the command."""

OPTIONS = ("reference", "partition")
"""Codes of InputError whose message begins with the name of an option."""

READ_BATCH = 200
"""Accounts read together when all accounts are read."""

ConfigOption = Annotated[
    Path,
    typer.Option("--config", help="Settings file.", envvar=CONFIG_VARIABLE),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DEFAULT = DEFAULT_CONFIG


class FailedError(Exception):
    """The command failed: exit status 1."""


class WrongCallError(Exception):
    """The arguments are wrong: exit status 2."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Ledger, catalogue, clock and random source of one command."""

    ledger: RedisLedger
    catalogue: Catalogues
    environment: Environment
    voucher_key: bytes | None = field(default=None, repr=False)
    """The operator's key of vouchers; None = the ledger has its own."""
    unread: list[str] = field(default_factory=list)
    """Accounts that `views` could not read, each with the reason."""

    @property
    def accounts(self) -> AccountOperations:
        return AccountOperations(self.ledger, self.catalogue, self.environment.now, self.environment.entropy)

    @property
    def products(self) -> ProductOperations:
        return ProductOperations(self.accounts, self.ledger, self.catalogue, self.environment.now)

    @property
    def keywords(self) -> KeywordOperations:
        general = self.catalogue.in_force().tables.general
        assert general is not None
        now = self.environment.now
        return KeywordOperations(self.accounts, self.products, self.ledger, self.catalogue, now, general.kilo)

    @property
    def pools(self) -> PoolOperations:
        return PoolOperations(self.accounts, self.ledger, self.catalogue, self.environment.now)

    @property
    def life(self) -> LifeOperations:
        return LifeOperations(self.accounts, self.ledger, self.catalogue, self.environment.now)

    @property
    def sessions(self) -> SessionOperations:
        return SessionOperations(self.accounts, self.ledger, self.environment.clock)

    @property
    def redeeming(self) -> RedeemOperations:
        now, entropy = self.environment.now, self.environment.entropy
        return RedeemOperations(self.accounts, self.ledger, self.catalogue, now, entropy, self.voucher_key)

    @property
    def vouchers(self) -> BatchOperations:
        return BatchOperations(self.ledger, self.environment.now, self.environment.below, self.voucher_key)

    def when(self) -> dict[str, int]:
        """The arguments `now` (Unix seconds), `month` and `day` of the ledger's operations."""
        return self.catalogue.when(self.environment.now())

    async def views(self) -> AsyncIterator[AccountView]:
        """All accounts, in any order. Those that cannot be read are added to `unread`."""
        batch: list[str] = []
        async for account_id in self.ledger.account_ids():
            batch.append(account_id)
            if len(batch) == READ_BATCH:
                for view in await self._read(batch):
                    yield view
                batch = []
        for view in await self._read(batch):
            yield view

    async def _read(self, account_ids: Sequence[str]) -> list[AccountView]:
        when = self.when()
        found = await asyncio.gather(*(self._read_one(each, when) for each in account_ids))
        return [view for view in found if view is not None]

    async def _read_one(self, account_id: str, when: dict[str, int]) -> AccountView | None:
        try:
            return await self.ledger.read(account_id, **when)
        except LedgerError as error:
            self.unread.append(f"account {account_id}: {error}")
            return None


def load_all(config: Path, *, serves: bool = False) -> tuple[Settings, Catalogues]:
    """Settings and catalogue of `config`. WrongCallError: the file does not exist."""
    if config.is_dir():
        raise WrongCallError(f"{config} is a folder: name a settings file in it with --config or OCS_CONFIG")
    if not config.exists():
        raise WrongCallError(
            f"there is no settings file {config}: name yours with --config or OCS_CONFIG, or write a new one with "
            "`ocs init`"
        )
    return load(config, serves=serves)


def with_backend(
    config: Path,
    mode: OpenMode,
    work: Callable[[Backend], Coroutine[Any, Any, None]],
    *,
    loaded: tuple[Settings, Catalogues] | None = None,
) -> None:
    """Load the settings, connect to the ledger and run `work`. A private Redis that is not running is started, and
    stopped afterwards. `loaded`: what `load_all` has made of `config` already.
    """
    logging.basicConfig(level=logging.ERROR, format="ocs: %(message)s")
    settings, catalogue = loaded or load_all(config)
    with _redis_url(settings, mode) as url:
        uvloop.run(_run(url, settings, catalogue, mode, work))


@contextmanager
def _redis_url(settings: Settings, mode: OpenMode) -> Iterator[str]:
    """Must run outside the event loop, so that Ctrl-C interrupts the wait, and in the main thread: the kernel ends
    the private Redis when the thread that started it ends.
    """
    if settings.redis.url:
        yield settings.redis.url
        return
    if settings.ledger.durability == "replicated":
        raise StartError(EMBEDDED_TAKES_NO_REPLICAS)
    embedded = EmbeddedRedis(settings.data_dir, durability=settings.ledger.durability)
    if mode is not OpenMode.CREATE and not embedded.has_data:
        raise FailedError(
            f"there is no ledger in {embedded.folder} (server.data_dir): check the settings; "
            "`ocs serve` and `ocs account create` create a ledger"
        )
    try:
        yield embedded.acquire()
    finally:
        embedded.release()


async def _run(
    url: str,
    settings: Settings,
    catalogue: Catalogues,
    mode: OpenMode,
    work: Callable[[Backend], Coroutine[Any, Any, None]],
) -> None:
    try:
        ledger = await RedisLedger.connect(
            url, ledger_settings(settings), connect_timeout_s=CONNECT_TIMEOUT_S, mode=mode
        )
    except LedgerUnavailable as error:
        raise FailedError(f"{error}; nothing was done") from error
    ledger.follow_life(catalogue.life_at)
    try:
        _, stored = await ledger.catalogue_versions()
        if stored:
            catalogue.install(merge(catalogue.versions, [(each, each.compiled()) for each in stored]))
        await work(Backend(ledger, catalogue, Environment(), voucher_key(settings)))
    except LedgerUnavailable as error:
        if mode is OpenMode.READ:
            raise FailedError(f"{error}; nothing was changed: try again") from error
        raise FailedError(f"{error}; it is not known whether it was done: check, then repeat it") from error
    finally:
        await ledger.close()


def input_text(error: InputError) -> str:
    """The message, an option with its dashes."""
    return f"--{error}" if error.code in OPTIONS else str(error)


def progress_bar(what: str, total: int) -> Progress:
    """A progress bar of one task, on standard error."""
    progress = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )
    progress.add_task(what, total=total)
    return progress


def counted(number: int, what: str) -> str:
    """ "1 account", "2 accounts", "2 processes"."""
    ending = "es" if what.endswith("s") else "s"
    return f"{number} {what}{'' if number == 1 else ending}"


def early_end_text(shares: Sequence[BenefitShare], unpaid_micro_eur: int = 0) -> str:
    """What the early end of commitments costs (HOT-REC-4), to be put after a sentence; "" = nothing."""
    costs = [
        f"{each.benefit} {format_eur(each.micro_eur)} EUR ({each.days_left} of {each.days_agreed} days)"
        for each in shares
    ]
    unpaid = f"; {format_eur(unpaid_micro_eur)} EUR of it is unpaid" if unpaid_micro_eur else ""
    return f"; early end: {', '.join(costs)}{unpaid}" if costs else ""


def accounts_text(living: int, terminated: int, unreadable: int) -> str:
    """ "3 accounts (and 1 terminated, 2 unreadable)"."""
    others = [f"{n} {word}" for n, word in ((terminated, "terminated"), (unreadable, "unreadable")) if n]
    return counted(living, "account") + (f" (and {', '.join(others)})" if others else "")


def print_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
