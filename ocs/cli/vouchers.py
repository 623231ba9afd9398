"""`ocs voucher …`: makes, activates, blocks and redeems vouchers (HOT-TOP-2, HOT-TOP-3)."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from ocs.accounts import inputs
from ocs.accounts import voucher_batches as batches
from ocs.accounts.redeeming import number
from ocs.accounts.voucher_batches import Changed
from ocs.cli.accounts import MsisdnArgument
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    JsonOption,
    WrongCallError,
    counted,
    print_json,
    progress_bar,
    with_backend,
)
from ocs.ledger.contract.vouchers import BatchView, VoucherView
from ocs.ledger.redis.installation import OpenMode
from ocs.values.moment import utc_text
from ocs.values.money import format_eur
from ocs.values.voucher_numbers import VoucherNumber

app = typer.Typer(help="Make, activate, block and redeem vouchers.", no_args_is_help=True)

BatchArgument = Annotated[str, typer.Argument(help="Name of the batch.", metavar="BATCH")]
NumberArgument = Annotated[
    str, typer.Argument(help="16 digits; - reads them from standard input, so that no list of processes shows them.")
]
SerialsOption = Annotated[str, typer.Option(help="Only these serial numbers, such as 17 or 100-199.")]
STDIN = "-"


@app.command()
def generate(
    batch: Annotated[str, typer.Option(help="Name of the new batch.")],
    count: Annotated[int, typer.Option(help=f"Vouchers, at most {batches.MAX_VOUCHERS}.")],
    value: Annotated[str, typer.Option(help="EUR of each.")],
    file: Annotated[Path, typer.Option("--file", help="New file for the numbers; only its owner can read it.")],
    expires: Annotated[str, typer.Option(help="Last day on which they can be redeemed; without one, any day.")] = "",
    config: ConfigOption = DEFAULT,
) -> None:
    """Make vouchers. Their numbers are written to the file, once: the ledger has only hashes of them. None can be
    redeemed before it is activated.
    """
    name, wanted = batches.batch_name(batch), batches.voucher_count(count)
    micro_eur = batches.voucher_value(inputs.amount(value))

    async def work(backend: Backend) -> None:
        ends = _end_of_day(expires, backend.catalogue.time_zone) if expires else 0
        if ends and ends <= backend.environment.now():
            raise WrongCallError(f"--expires {expires}: this day is over")
        with progress_bar("generating", wanted) as progress:
            await backend.vouchers.generate(
                name=name,
                count=wanted,
                value_micro_eur=micro_eur,
                expires_at=ends,
                file=file,
                made=lambda more: progress.advance(progress.task_ids[0], more),
            )
        print(f"{name}: {counted(wanted, 'voucher')} of {format_eur(micro_eur)} EUR in {file}; activate them when sold")

    with_backend(config, OpenMode.WRITE, work)


def _end_of_day(text: str, time_zone: ZoneInfo) -> int:
    """Unix seconds of the end of a day."""
    following = inputs.day(text) + timedelta(days=1)
    return int(datetime(following.year, following.month, following.day, tzinfo=time_zone).timestamp())


@app.command()
def activate(
    batch: BatchArgument, serials: SerialsOption = "", json: JsonOption = False, config: ConfigOption = DEFAULT
) -> None:
    """Let vouchers of a batch be redeemed, also blocked ones. After a crash, the same command continues."""
    part = batches.serials(serials) if serials else None

    async def work(backend: Backend) -> None:
        _print_changed(batch, "activated", await backend.vouchers.activate(batch, part), json)

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def block(
    batch: BatchArgument, serials: SerialsOption = "", json: JsonOption = False, config: ConfigOption = DEFAULT
) -> None:
    """Let vouchers of a batch not be redeemed, such as stolen ones, until they are activated again."""
    part = batches.serials(serials) if serials else None

    async def work(backend: Backend) -> None:
        _print_changed(batch, "blocked", await backend.vouchers.block(batch, part), json)

    with_backend(config, OpenMode.WRITE, work)


def _print_changed(batch: str, done: str, changed: Changed, json: bool) -> None:
    if json:
        print_json({"batch": batch, "changed": changed.vouchers, "redeemed": changed.redeemed})
        return
    redeemed = f"; {changed.redeemed} were redeemed before" if changed.redeemed else ""
    print(f"{batch}: {counted(changed.vouchers, 'voucher')} {done}{redeemed}")


@app.command()
def discard(batch: BatchArgument, config: ConfigOption = DEFAULT) -> None:
    """Delete a batch whose making was interrupted: its numbers were never handed out."""

    async def work(backend: Backend) -> None:
        await backend.vouchers.discard(batch)
        print(f"{batch}: discarded")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def show(
    voucher: Annotated[str, typer.Argument(help="16 digits, - to read them, or BATCH/SERIAL.", metavar="VOUCHER")],
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show the state of a voucher, and which account redeemed it."""
    batch, slash, serial = voucher.partition("/")
    if slash and not (serial.isascii() and serial.isdigit()):
        raise WrongCallError(f"{voucher!r} must be the number of a voucher, or BATCH/SERIAL")
    entered = None if slash else _number(voucher)

    async def work(backend: Backend) -> None:
        if entered is None:
            found = await backend.vouchers.by_serial(batch, int(serial))
        else:
            found = await backend.vouchers.by_number(entered)
        expired = found.has_expired(backend.environment.now())
        if json:
            print_json(voucher_json(found, expired=expired))
        else:
            print(_voucher_text(found, expired=expired))

    with_backend(config, OpenMode.READ, work)


def voucher_json(found: VoucherView, *, expired: bool) -> dict[str, object]:
    return {
        "batch": found.batch,
        "serial": found.serial,
        "state": "expired" if expired else found.state.value,
        "value_micro_eur": found.value_micro_eur,
        "expires_at": utc_text(found.expires_at) if found.expires_at else None,
        "changed_at": utc_text(found.changed_at),
        "account": found.account_id or None,
        "reference": found.reference if found.claim else None,
    }


def _voucher_text(found: VoucherView, *, expired: bool) -> str:
    until = f", redeemable until {utc_text(found.expires_at)}" if found.expires_at else ""
    account = f", account {found.account_id}" if found.account_id else ""
    state = "expired" if expired else found.state
    return (
        f"{found.batch}/{found.serial}: {format_eur(found.value_micro_eur)} EUR, {state} since "
        f"{utc_text(found.changed_at)}{account}{until}"
    )


@app.command("list-batches")
def list_batches(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """List the batches: how many vouchers are in which state, and what was done to them."""

    async def work(backend: Backend) -> None:
        found = await backend.vouchers.all()
        if json:
            print_json([batch_json(each) for each in found])
            return
        for each in found:
            print(_batch_text(each))

    with_backend(config, OpenMode.READ, work)


def batch_json(view: BatchView) -> dict[str, object]:
    states = {state.value: count for state, count in sorted(view.counts.items()) if count}
    facts = asdict(view.batch)
    facts["expires_at"] = utc_text(view.batch.expires_at) if view.batch.expires_at else None
    facts["made_at"] = utc_text(view.batch.made_at)
    return {**facts, "states": states}


def _batch_text(view: BatchView) -> str:
    batch = view.batch
    states = ", ".join(f"{count} {state}" for state, count in sorted(view.counts.items()) if count)
    until = f", until {utc_text(batch.expires_at)}" if batch.expires_at else ""
    unfinished = "" if batch.complete else "; its making was interrupted: discard it"
    head = f"{batch.id}: {counted(batch.count, 'voucher')} of {format_eur(batch.value_micro_eur)} EUR{until}"
    return "\n".join((f"{head}: {states or 'none'}{unfinished}", *(f"  {action}" for action in batch.actions)))


@app.command()
def redeem(
    msisdn: MsisdnArgument,
    voucher: NumberArgument,
    separate: Annotated[bool, typer.Option("--separate", help="Into the separate account of the number.")] = False,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Top up by a voucher. Twenty wrong numbers, and the account takes none until care lifts it (HOT-TOP-3)."""
    to, entered = inputs.msisdn(msisdn), _number(voucher)

    async def work(backend: Backend) -> None:
        done = await backend.redeeming.redeem(to, entered, separate=separate)
        if json:
            print_json({"msisdn": to, **asdict(done)})
            return
        what = f"topped up by {format_eur(done.value_micro_eur)} EUR" if done.applied else "redeemed before: no change"
        print(f"{to}: voucher {done.reference} {what}; credit {format_eur(done.credit_micro_eur)} EUR")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def lift(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Forgive wrong entries of an account, so that it takes vouchers again (HOT-TOP-3)."""
    to = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        lifted = await backend.redeeming.lift_block(to)
        print(f"{to}: {'takes vouchers again' if lifted else 'has no wrong entries: no change'}")

    with_backend(config, OpenMode.WRITE, work)


def _number(text: str) -> VoucherNumber:
    return number(sys.stdin.readline() if text == STDIN else text)
