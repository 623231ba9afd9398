"""`ocs account …`: provisioning and looking at one account (importing many: ocs/cli/importing.py)."""

from __future__ import annotations

from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.accounts.operations import ACTIVE
from ocs.cli import show as views
from ocs.cli.common import DEFAULT, ConfigOption, JsonOption, Office, WrongCallError, print_json, with_office
from ocs.ledger.redis.installation import Use
from ocs.values.identities import IMSI_EXAMPLE, MSISDN_EXAMPLE
from ocs.values.money import format_eur
from ocs.values.use import BARS

app = typer.Typer(help="Open, look at and change accounts.", no_args_is_help=True)

MsisdnArgument = Annotated[str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.", metavar="MSISDN")]


@app.command()
def create(
    msisdn: Annotated[str, typer.Option(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.")],
    imsi: Annotated[str, typer.Option(help=f"E.212 digits, such as {IMSI_EXAMPLE}.")],
    package: Annotated[str, typer.Option(help="Package of the catalogue; without it use is paid from credit.")] = "",
    credit: Annotated[str, typer.Option(help="Opening credit in EUR; the package's price is debited from it.")] = "0",
    config: ConfigOption = DEFAULT,
) -> None:
    """Open an active account."""
    number, subscriber, amount = inputs.msisdn(msisdn), inputs.imsi(imsi), inputs.credit(credit)

    async def work(office: Office) -> None:
        terms = inputs.package(package, office.catalogue.packages) if package else None
        view = await office.accounts.open(msisdn=number, imsi=subscriber, credit_micro_eur=amount, package=terms)
        if view.package_pending:
            print(f"opened {number}; {package} is not active: the credit does not cover its price")
        else:
            print(f"opened {number}: credit {format_eur(view.credit_micro_eur)} EUR, package {view.package or 'none'}")

    with_office(config, Use.FOUND, work)


@app.command()
def show(msisdn: MsisdnArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Credit, subscriptions, included units, counters and open sessions of an account."""
    number = inputs.msisdn(msisdn)

    async def work(office: Office) -> None:
        seen = await office.accounts.read(number)
        if json:
            print_json(views.as_json(seen.view, seen.pool))
        else:
            views.print_account(seen.view, seen.pool)

    with_office(config, Use.LOOK, work)


@app.command()
def topup(
    msisdn: MsisdnArgument,
    amount: Annotated[str, typer.Option(help="EUR, up to 6 decimals.")],
    reference: Annotated[str, typer.Option(help="Names this top-up; the same reference never credits twice.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Add credit, once per reference (HOT-TOP-1), at most up to 200 EUR (HOT-ACC-7)."""
    number, micro_eur, once = inputs.msisdn(msisdn), inputs.amount(amount), inputs.reference(reference)

    async def work(office: Office) -> None:
        after = await office.accounts.top_up(number, amount_micro_eur=micro_eur, reference=once)
        done = f"topped up by {format_eur(micro_eur)} EUR" if after.applied else f"{once} was applied before: no change"
        print(f"{number}: {done}; credit {format_eur(after.credit_micro_eur)} EUR")

    with_office(config, Use.CHANGE, work)


@app.command()
def limit(
    msisdn: MsisdnArgument,
    amount: Annotated[str, typer.Option(help="EUR a calendar month, or off.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set or switch off the spending limit (HOT-CC-1)."""
    number, micro_eur = inputs.msisdn(msisdn), inputs.limit(amount)

    async def work(office: Office) -> None:
        await office.accounts.set_limit(number, micro_eur=micro_eur)
        print(f"{number}: limit {'off' if micro_eur is None else format_eur(micro_eur) + ' EUR a month'}")

    with_office(config, Use.CHANGE, work)


@app.command("package")
def activate(
    msisdn: MsisdnArgument,
    package: Annotated[str, typer.Option(help="Package of the catalogue.")],
    reference: Annotated[str, typer.Option(help="Names this activation; the same reference never debits twice.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Activate a package now: its price is debited, its units replace the old ones (HOT-PKG-2)."""
    number, once = inputs.msisdn(msisdn), inputs.reference(reference)

    async def work(office: Office) -> None:
        terms = inputs.package(package, office.catalogue.packages)
        done = await office.accounts.activate(number, package=terms, reference=once)
        print(f"{number}: {package} {'is active' if done else 'was activated before under this reference: no change'}")

    with_office(config, Use.CHANGE, work)


@app.command()
def bars(
    msisdn: MsisdnArgument,
    bars: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(BARS)}; or none.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set what the subscriber bars (HOT-CC-5)."""
    number, wanted = inputs.msisdn(msisdn), inputs.bars(bars)

    async def work(office: Office) -> None:
        await office.accounts.set_bars(number, bars=wanted)
        print(f"{number}: bars {', '.join(wanted) or 'none'}")

    with_office(config, Use.CHANGE, work)


@app.command()
def block(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Block all but emergency calls: a lost or stolen SIM (HOT-ACC-11)."""
    number = inputs.msisdn(msisdn)

    async def work(office: Office) -> None:
        after = await office.accounts.block(number)
        print(f"{number}: {'blocked' if after.changed else 'was blocked before: no change'}")

    with_office(config, Use.CHANGE, work)


@app.command()
def unblock(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Take back a block."""
    number = inputs.msisdn(msisdn)

    async def work(office: Office) -> None:
        after = await office.accounts.unblock(number)
        now = "" if after.state == ACTIVE else f"; it is {after.state}"
        print(f"{number}: {'block taken back' if after.changed else 'was not blocked: no change'}{now}")

    with_office(config, Use.CHANGE, work)


@app.command()
def terminate(
    msisdn: MsisdnArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Credit and units are lost and cannot come back.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """End an account for ever: its sessions are aborted, its credit and units lost, its number free (HOT-ACC-6)."""
    number = inputs.msisdn(msisdn)
    if not yes:
        raise WrongCallError("this cannot be taken back: say --yes")

    async def work(office: Office) -> None:
        await office.accounts.terminate(number)
        print(f"{number}: terminated")

    with_office(config, Use.CHANGE, work)


@app.command()
def move(
    msisdn: MsisdnArgument,
    partition: Annotated[int, typer.Option(min=0, help="Where to, from 0.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Move an account to another partition, while it is charged: the same again after a crash goes on with it."""
    number = inputs.msisdn(msisdn)

    async def work(office: Office) -> None:
        moved = await office.accounts.move(number, partition=partition)
        print(
            f"{number}: " + (f"is account {moved.account_id} now" if moved.changed else "is there already: no change")
        )

    with_office(config, Use.CHANGE, work)
