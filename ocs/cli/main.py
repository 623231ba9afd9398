"""The `ocs` command."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from ocs.accounts.errors import AccountError, InputError
from ocs.catalogue.catalogue import CatalogueError
from ocs.catalogue.ported_numbers import PortedNumbersError, read_ported_numbers
from ocs.cli import (
    accounts,
    catalogue,
    fair_use,
    groups,
    history,
    importing,
    imports,
    keys,
    keywords,
    ledger,
    life,
    measures,
    notices,
    numbers,
    payments,
    pools,
    products,
    sepa,
    tools,
    vouchers,
)
from ocs.cli.common import DEFAULT, ConfigOption, FailedError, WrongCallError, counted, input_text, load_all
from ocs.cli.explain import explain_command
from ocs.cli.export import export_command
from ocs.cli.init import init
from ocs.cli.notices import check_texts
from ocs.cli.rate import rate
from ocs.cli.reconcile import reconcile_command
from ocs.cli.trace import trace_command
from ocs.compose import StartError, check_tracing
from ocs.ledger.contract.errors import LedgerError
from ocs.payments.signing import SecretError
from ocs.payments.wiring import secrets_of
from ocs.process.embedded_redis import EmbeddedRedisError
from ocs.settings.loading import SettingsError
from ocs.settings.start_warnings import log_start_warnings, start_warnings
from ocs.telemetry.logs import reason_of, set_up_logging

app = typer.Typer(
    name="ocs",
    help="Real-time online charging for prepaid mobile operators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(accounts.app, name="account")
accounts.app.command("import")(importing.import_accounts)
life.add_to(accounts.app)
app.add_typer(numbers.app, name="numbers")
app.add_typer(tools.sessions, name="session")
app.add_typer(measures.app, name="measure")
app.add_typer(fair_use.app, name="fair-use")
app.add_typer(history.app, name="history")
app.command("statement")(history.statement)
app.command("erase")(history.erase)
app.add_typer(ledger.app, name="ledger")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(products.app, name="product")
app.add_typer(pools.app, name="pool")
app.add_typer(groups.app, name="group")
app.add_typer(vouchers.app, name="voucher")
app.add_typer(imports.app, name="import")
app.add_typer(notices.app, name="notice")
app.add_typer(keys.app, name="key")
payments.add_to(app)
app.add_typer(sepa.app, name="sepa")
app.command("balance")(products.balance)
app.command("keyword")(keywords.keyword)
app.command("audit")(tools.audit_command)
app.command("decode")(tools.decode)
app.command("init")(init)
app.command("rate")(rate)
app.command("explain")(explain_command)
app.command("trace")(trace_command)
app.command("export")(export_command)
app.command("reconcile")(reconcile_command)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"ocs {metadata.version('ocs')}")
        raise typer.Exit


@app.callback()
def _ocs(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Exit status: 0 done, 1 failed, 2 wrong call."""


@app.command()
def serve(config: ConfigOption = DEFAULT) -> None:
    """Run the charging server until SIGTERM or Ctrl-C."""
    from ocs.process.supervisor import Supervisor

    settings, _ = load_all(config, serves=True)
    check_tracing(settings)
    set_up_logging(level=settings.log.level, form=settings.log.format, role="serve")
    log_start_warnings(config, settings)
    asyncio.run(Supervisor(config, settings).run())


@app.command()
def check(config: ConfigOption = DEFAULT) -> None:
    """Check settings and catalogue as `serve` does, without starting anything."""
    settings, catalogue = load_all(config, serves=True)
    for warning in start_warnings(settings, os.environ):
        print(f"ocs: warning: {warning}", file=sys.stderr)
    secrets_of(settings.payments)
    check_tracing(settings)
    print(f"{config}: no mistakes; {counted(len(settings.peer), 'peer')}")
    if settings.server.ported_numbers:
        numbers_in_use = read_ported_numbers(Path(settings.server.ported_numbers))
        print(f"{settings.server.ported_numbers}: no mistakes; {counted(len(numbers_in_use), 'number')}")
    packages, services = counted(len(catalogue.packages), "package"), counted(len(catalogue.services), "service")
    texts = check_texts((settings.server.catalogue, version) for version in catalogue.versions)
    print(f"{settings.server.catalogue}: no mistakes; {packages}, {services}, {counted(texts, 'notice')}")


def run() -> None:
    """Entry point of the `ocs` script. An error is a line on standard error and an exit status, never a stack trace."""
    sys.exit(_status())


def _status() -> int:
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except WrongCallError as error:
        return _print_error(error, 2)
    except InputError as error:
        return _print_error(input_text(error), 2)
    except (
        FailedError,
        SecretError,
        AccountError,
        LedgerError,
        StartError,
        EmbeddedRedisError,
        SettingsError,
        CatalogueError,
        PortedNumbersError,
    ) as error:
        return _print_error(error, 1)
    except BrokenPipeError:
        # The reader of our output (head, less) has closed it. Nothing can be printed any more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _print_error("interrupted", 1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        return _print_error(f"{place}{error.strerror or reason_of(error)}", 1)
    except Exception as error:  # noqa: BLE001 - no stack trace for the user
        return _print_error(f"internal error, please report it: {type(error).__name__}: {error}", 1)
    return 0


def _print_error(error: object, status: int) -> int:
    for line in str(error).splitlines():
        print(f"ocs: {line}", file=sys.stderr)
    return status
