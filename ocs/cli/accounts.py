"""`ocs account …`: opens, shows and changes one account. `ocs account import` is in `importing`."""

from __future__ import annotations

from typing import Annotated

import typer

from ocs.accounts import inputs
from ocs.cli import show as views
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    JsonOption,
    WrongCallError,
    early_end_text,
    print_json,
    with_backend,
)
from ocs.ledger.redis.installation import OpenMode
from ocs.values.identities import IMSI_EXAMPLE, MSISDN_EXAMPLE
from ocs.values.language import LANGUAGES
from ocs.values.money import format_eur
from ocs.values.products import LIMIT_COUNTER, CounterTerms, Measure, PackageTerms
from ocs.values.quantity import quantity_text
from ocs.values.top_ups import Channel
from ocs.values.use import BARS, Unit

app = typer.Typer(help="Open, show and change accounts.", no_args_is_help=True)

MsisdnArgument = Annotated[str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.", metavar="MSISDN")]


@app.command("open")
@app.command()
def create(
    msisdn: Annotated[str, typer.Option(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.")],
    imsi: Annotated[str, typer.Option(help=f"E.212 digits, such as {IMSI_EXAMPLE}.")],
    package: Annotated[str, typer.Option(help="Package of the catalogue; without one, credit pays all use.")] = "",
    credit: Annotated[str, typer.Option(help="Opening credit in EUR; the package's price is debited from it.")] = "0",
    unused: Annotated[
        bool, typer.Option("--unused", help="Sold, not yet used: its 90 days and its package begin with its first use.")
    ] = False,
    puk: Annotated[str, typer.Option(help="PUK1 of the SIM, 8 digits; it is stored hashed (HOT-GRP-1).")] = "",
    config: ConfigOption = DEFAULT,
) -> None:
    """Open an account: active, or not yet used (HOT-ACC-2)."""
    number, subscriber, amount = inputs.msisdn(msisdn), inputs.imsi(imsi), inputs.credit(credit)
    puk1 = inputs.puk(puk) if puk else ""

    async def work(backend: Backend) -> None:
        terms = _on_sale(backend, package) if package else None
        view = await backend.accounts.open(
            msisdn=number, imsi=subscriber, credit_micro_eur=amount, package=terms, unused=unused, puk=puk1
        )
        if unused:
            print(f"opened {number}: new, credit {format_eur(view.credit_micro_eur)} EUR, package {package or 'none'}")
        elif view.package_pending:
            print(f"opened {number}; {package} is not active: the credit does not cover its price")
        else:
            print(f"opened {number}: credit {format_eur(view.credit_micro_eur)} EUR, package {view.package or 'none'}")

    with_backend(config, OpenMode.CREATE, work)


@app.command()
def show(
    msisdn: Annotated[
        str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}; or an account id of the log.")
    ],
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show credit, subscriptions, included units, counters and open sessions of an account."""
    number = None if inputs.ACCOUNT_ID.fullmatch(msisdn) else inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        seen = await (backend.accounts.read(number) if number else backend.accounts.read_by_id(msisdn))
        if json:
            print_json(views.as_json(seen.view, seen.pool))
        else:
            views.print_account(seen.view, seen.pool)

    with_backend(config, OpenMode.READ, work)


@app.command()
def topup(
    msisdn: MsisdnArgument,
    amount: Annotated[str, typer.Option(help="EUR, up to 6 decimals.")],
    reference: Annotated[str, typer.Option(help="Id of this top-up; a reference is never credited twice.")],
    promotional: Annotated[bool, typer.Option("--promotional", help="A gift: it is never paid out.")] = False,
    separate: Annotated[bool, typer.Option("--separate", help="To the separate account (HOT-GRP-5).")] = False,
    channel: Annotated[Channel, typer.Option(help="How it was paid; care = credited by hand.")] = Channel.CARE,
    config: ConfigOption = DEFAULT,
) -> None:
    """Add credit, once per reference (HOT-TOP-1), up to a credit of 200 EUR (HOT-ACC-7)."""
    number, micro_eur, once = inputs.msisdn(msisdn), inputs.amount(amount), inputs.reference(reference)
    if channel is Channel.VOUCHER:
        raise WrongCallError("vouchers are redeemed by `ocs voucher redeem`")

    async def work(backend: Backend) -> None:
        after = await backend.accounts.top_up(
            number,
            amount_micro_eur=micro_eur,
            reference=once,
            promotional=promotional,
            channel=channel,
            separate=separate,
        )
        done = f"topped up by {format_eur(micro_eur)} EUR" if after.applied else f"{once} was applied before: no change"
        where = "separate account" if separate else "credit"
        print(f"{number}: {done}; {where} {format_eur(after.credit_micro_eur)} EUR")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def limit(
    msisdn: MsisdnArgument,
    amount: Annotated[
        str, typer.Option(help="EUR a calendar month (of other counters their own unit, such as 5GB), or off.")
    ],
    counter: Annotated[str, typer.Option(help="A counter of the catalogue, such as roaming-data.")] = LIMIT_COUNTER,
    once: Annotated[
        bool, typer.Option("--once", help="Only for the counter's present window, such as a month.")
    ] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Set the monthly spending limit (HOT-CC-1) or another counter's limit (HOT-ROA-5), or switch it off."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        terms = inputs.counter(counter, backend.catalogue.counters)
        in_force = backend.catalogue.in_force()
        unit = None if terms is None else in_force.unit_of_counter(terms.id)
        limit = inputs.counter_limit(amount, terms, unit, kilo=in_force.kilo)
        await backend.accounts.set_limit(number, micro_eur=limit, counter=terms, once=once)
        print(f"{number}: {_limit_text(limit, terms, unit, in_force.kilo)}{' until its window ends' if once else ''}")

    with_backend(config, OpenMode.WRITE, work)


def _limit_text(limit: int | None, terms: CounterTerms | None, unit: Unit | None, kilo: int) -> str:
    name = "limit" if terms is None else f"limit of {terms.id}"
    if limit is None:
        return f"{name} off"
    window = "month" if terms is None else terms.window
    if terms is None or terms.measure is Measure.MONEY:
        return f"{name} {format_eur(limit)} EUR a {window}"
    return f"{name} {limit if unit is None else quantity_text(limit, unit, kilo=kilo)} a {window}"


@app.command("package")
def activate(
    msisdn: MsisdnArgument,
    package: Annotated[str, typer.Option(help="Package of the catalogue.")],
    reference: Annotated[str, typer.Option(help="Id of this activation; a reference is never debited twice.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Activate a package now: its price is debited, its units replace those of the previous one (HOT-PKG-2)."""
    number, once = inputs.msisdn(msisdn), inputs.reference(reference)

    async def work(backend: Backend) -> None:
        terms = _on_sale(backend, package)
        done = await backend.products.restart(number, product=backend.catalogue.products[terms.id], reference=once)
        said = "is active" if done.applied else "was activated before under this reference: no change"
        print(f"{number}: {package} {said}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def bars(
    msisdn: MsisdnArgument,
    bars: Annotated[str, typer.Option(help=f"Separated by commas: {', '.join(BARS)}; or none.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set the subscriber's bars; they replace those set before (HOT-CC-5)."""
    number, wanted = inputs.msisdn(msisdn), inputs.bars(bars)

    async def work(backend: Backend) -> None:
        await backend.accounts.set_bars(number, bars=wanted)
        print(f"{number}: bars {', '.join(wanted) or 'none'}")

    with_backend(config, OpenMode.WRITE, work)


@app.command("set-language")
def set_language(
    msisdn: MsisdnArgument,
    language: Annotated[str, typer.Argument(help=" or ".join(LANGUAGES), metavar="LANGUAGE")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set the language of the texts that the subscriber gets (HOT-NOT-1)."""
    number, wanted = inputs.msisdn(msisdn), inputs.language(language)

    async def work(backend: Backend) -> None:
        await backend.accounts.set_language(number, language=wanted)
        print(f"{number}: language {wanted}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def terminate(
    msisdn: MsisdnArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm: credit and units are lost for good.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """End an account for good: sessions are aborted, credit and units are lost, the number is free (HOT-ACC-6). What
    the early end of commitments costs is debited first, as far as there is credit (HOT-REC-4).
    """
    number = inputs.msisdn(msisdn)
    if not yes:
        raise WrongCallError("this cannot be undone: confirm it with --yes")

    async def work(backend: Backend) -> None:
        ended = await backend.accounts.terminate(number)
        print(f"{number}: terminated{early_end_text(ended.shares, ended.unpaid_micro_eur)}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def move(
    msisdn: MsisdnArgument,
    partition: Annotated[int, typer.Option(min=0, help="The new partition; the first is 0.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Move an account to another partition; charging goes on meanwhile. After a crash, the same command resumes."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        moved = await backend.accounts.move(number, partition=partition)
        print(
            f"{number}: "
            + (f"is account {moved.account_id} now" if moved.changed else "was in that partition before: no change")
        )

    with_backend(config, OpenMode.WRITE, work)


def _on_sale(backend: Backend, package: str) -> PackageTerms:
    return inputs.package_on_sale(package, backend.catalogue.products, backend.catalogue.now())
