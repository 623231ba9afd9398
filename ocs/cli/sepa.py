"""`ocs sepa …`: files of SEPA direct debits, and the bank's reports."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    counted,
    print_json,
)
from ocs.cli.payments import with_payments
from ocs.ledger.redis.installation import OpenMode
from ocs.payments.operations import PaymentOperations
from ocs.payments.sepa.export import new_message_id
from ocs.payments.sepa.reports import MAX_OCTETS, Imported, apply_report, read_report
from ocs.payments.wiring import Payments
from ocs.values.money import format_eur

app = typer.Typer(help="Files of SEPA direct debits.", no_args_is_help=True)


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="New file for the bank.")],
    again: Annotated[str, typer.Option(help="Id of a message whose file was lost: it is made again.")] = "",
    config: ConfigOption = DEFAULT,
) -> None:
    """Write the debits that wait to a pain.008 file. Each is in one message only: send each file to the bank once."""
    if file.exists():
        raise WrongCallError(f"{file} exists")

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        exporting = payments.sepa_export()
        message_id = again or new_message_id(backend.environment.now())
        if not again:
            print(f"message {message_id}; if the file is lost: --again {message_id}", file=sys.stderr)
            await exporting.submit(message_id)
        message = await exporting.message(message_id)
        if not message.count:
            print(f"{message_id}: no debits; no file is written")
            return
        _write(file, message.xml)
        total = format_eur(message.micro_eur)
        print(f"{file}: {counted(message.count, 'debit')}, {total} EUR, collected on {message.collect_on}")

    with_payments(config, OpenMode.WRITE, work)


def _write(file: Path, octets: bytes) -> None:
    """Whole or not at all, for its owner only: it has bank accounts."""
    temporary = file.with_name(f".{file.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
        written.write(octets)
        written.flush()
        os.fsync(written.fileno())
    temporary.replace(file)


@app.command("import")
def import_report(
    file: Annotated[Path, typer.Argument(help="Of the bank: pain.002, camt.054 or camt.053.")],
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Apply what the bank reports: debits that were paid, refused or returned. The same file again changes nothing.
    Exit status 1 if the amount of an order is another one.
    """
    try:
        with file.open("rb") as opened:
            reported = read_report(opened.read(MAX_OCTETS + 1))
    except OSError as error:
        raise FailedError(f"{file} cannot be read: {error.strerror}") from None

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        done = await apply_report(payments.orders, reported, payments.sepa_export().orders_of)
        if json:
            print_json(_summary(done))
        else:
            for name, value in _summary(done).items():
                print(f"{name:10} {', '.join(value) if isinstance(value, list) else value}".rstrip())
        if done.different:
            raise FailedError(f"{file}: {counted(len(done.different), 'order')} not changed: the amount is another one")

    with_payments(config, OpenMode.WRITE, work)


def _summary(done: Imported) -> dict[str, Any]:
    """`unknown`: payments of others, which a report of an account has too."""
    return {
        **dict(sorted(done.changed.items())),
        "unchanged": done.unchanged,
        "unknown": len(done.unknown),
        "different": done.different,
    }
