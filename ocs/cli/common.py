"""What all commands share: settings, a connection to the ledger, errors and texts.

Exit status: 0 done, 1 failed, 2 wrong call. Each error is one line on standard error.
"""

from __future__ import annotations

import getpass
import logging
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ocs.accounts.backend import Backend as Backend
from ocs.accounts.errors import InputError
from ocs.catalogue.versions import Catalogues, merge
from ocs.compose import EMBEDDED_TAKES_NO_REPLICAS, StartError, environment_of, ledger_settings, load, voucher_key
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.installation import OpenMode
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.settings.loading import CONFIG_VARIABLE, DEFAULT_CONFIG
from ocs.settings.schema import Settings
from ocs.values.actor import ACTOR
from ocs.values.money import format_eur
from ocs.values.products import BenefitShare

CONNECT_TIMEOUT_S = 3.0
"""Short, as a person waits for the command."""

COMMAND_LINE = "cli"
"""Who acts, in the events of a command."""

OPTIONS = ("reference", "partition")
"""Codes of InputError whose message begins with the name of an option."""

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
    environment = environment_of(settings)
    try:
        ledger = await RedisLedger.connect(
            url, ledger_settings(settings), clock=environment.clock, connect_timeout_s=CONNECT_TIMEOUT_S, mode=mode
        )
    except LedgerUnavailable as error:
        raise FailedError(f"{error}; nothing was done") from error
    ledger.follow_life(catalogue.life_at)
    ACTOR.set(COMMAND_LINE)
    try:
        _, stored = await ledger.catalogue_versions()
        if stored:
            catalogue.install(merge(catalogue.versions, [(each, each.compiled()) for each in stored]))
        await work(Backend(ledger, catalogue, environment, voucher_key(settings)))
    except LedgerUnavailable as error:
        if mode is OpenMode.READ:
            raise FailedError(f"{error}; nothing was changed: try again") from error
        raise FailedError(f"{error}; it is not known whether it was done: check, then repeat it") from error
    finally:
        await ledger.close()


def user() -> str:
    """Who runs the command, as the system knows it: the value of `ocs.values.actor`."""
    try:
        return f"{COMMAND_LINE}:{getpass.getuser()}"[:64]
    except (OSError, KeyError):
        return COMMAND_LINE


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
