"""`ocs account …`: provisioning and looking at one account (importing many: ocs/cli/importing.py)."""

from __future__ import annotations

from typing import Annotated

import typer

from ocs.cli import show as views
from ocs.cli.common import (
    DEFAULT,
    ConfigOption,
    FailedError,
    JsonOption,
    Office,
    WrongCallError,
    imsi_of,
    msisdn_of,
    parsed,
    print_json,
    with_office,
)
from ocs.ledger.redis.installation import Use
from ocs.values.money import format_eur, parse_eur
from ocs.values.products import PackageTerms

MAX_REFERENCE_LENGTH = 128
"""Characters of a top-up's reference; every reference is kept for ever."""
BARS = ("data", "international", "international-sms", "premium", "roaming")
"""HOT-CC-5: what a subscriber can bar."""

app = typer.Typer(help="Open, look at and change accounts.", no_args_is_help=True)

MsisdnArgument = Annotated[str, typer.Argument(help="E.164 digits, such as 38668100000.", metavar="MSISDN")]


@app.command()
def create(
    msisdn: Annotated[str, typer.Option(help="E.164 digits, such as 38668100000.")],
    imsi: Annotated[str, typer.Option(help="E.212 digits, such as 293400000000000.")],
    package: Annotated[str, typer.Option(help="Package of the catalogue; without it use is paid from credit.")] = "",
    credit: Annotated[str, typer.Option(help="Opening credit in EUR; the package's price is debited from it.")] = "0",
    config: ConfigOption = DEFAULT,
) -> None:
    """Open an active account."""
    number, subscriber = parsed(msisdn_of, msisdn), parsed(imsi_of, imsi)
    amount = parsed(_not_negative, credit)

    async def work(office: Office) -> None:
        terms = _package(office, package) if package else None
        await office.ledger.open_account(
            msisdn=number,
            imsi=subscriber,
            credit_micro_eur=amount,
            package=terms,
            entropy=office.environment.entropy(),
            **office.when(),
        )
        view = await office.ledger.read(await office.account_of(number), **office.when())
        assert view is not None
        if view.package_pending:
            print(f"opened {number}; {package} is not active: the credit does not cover its price")
        else:
            print(f"opened {number}: credit {format_eur(view.credit_micro_eur)} EUR, package {view.package or 'none'}")

    with_office(config, Use.FOUND, work)


@app.command()
def show(msisdn: MsisdnArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Credit, subscriptions, included units, counters and open sessions of an account."""
    number = parsed(msisdn_of, msisdn)

    async def work(office: Office) -> None:
        view = await office.ledger.read(await office.account_of(number), **office.when())
        if view is None:
            raise FailedError(f"there is no account with MSISDN {number}")
        pool = await office.ledger.read_pool(view.account_id, view.pool) if view.pool else None
        if json:
            print_json(views.as_json(view, pool))
        else:
            views.print_account(view, pool)

    with_office(config, Use.LOOK, work)


@app.command()
def topup(
    msisdn: MsisdnArgument,
    amount: Annotated[str, typer.Option(help="EUR, up to 6 decimals.")],
    reference: Annotated[str, typer.Option(help="Names this top-up; the same reference never credits twice.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Add credit, once per reference (HOT-TOP-1), at most up to 200 EUR (HOT-ACC-7)."""
    number, micro_eur = parsed(msisdn_of, msisdn), parsed(_positive, amount)
    if not 0 < len(reference) <= MAX_REFERENCE_LENGTH or not reference.isprintable():
        raise WrongCallError(f"--reference must have 1 to {MAX_REFERENCE_LENGTH} printable characters")

    async def work(office: Office) -> None:
        account_id = await office.account_of(number)
        applied = await office.ledger.top_up(
            account_id, amount_micro_eur=micro_eur, reference=reference, **office.when()
        )
        view = await office.ledger.read(account_id, **office.when())
        assert view is not None
        done = f"topped up by {format_eur(micro_eur)} EUR" if applied else f"{reference} was applied before: no change"
        print(f"{number}: {done}; credit {format_eur(view.credit_micro_eur)} EUR")

    with_office(config, Use.CHANGE, work)


@app.command()
def limit(
    msisdn: MsisdnArgument,
    amount: Annotated[str, typer.Option(help="EUR a calendar month, or off.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set or switch off the spending limit (HOT-CC-1)."""
    number = parsed(msisdn_of, msisdn)
    micro_eur = None if amount.strip().lower() == "off" else parsed(_not_negative, amount)

    async def work(office: Office) -> None:
        account_id = await office.account_of(number)
        when = office.when()
        await office.ledger.set_limit(
            account_id, limit_micro_eur=micro_eur, now=when["now"], month=when["month"], day=when["day"]
        )
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
    number = parsed(msisdn_of, msisdn)
    if not 0 < len(reference) <= MAX_REFERENCE_LENGTH or not reference.isprintable():
        raise WrongCallError(f"--reference must have 1 to {MAX_REFERENCE_LENGTH} printable characters")

    async def work(office: Office) -> None:
        terms = _package(office, package)
        account_id = await office.account_of(number)
        done = await office.ledger.activate_package(account_id, package=terms, reference=reference, **office.when())
        print(f"{number}: {package} {'is active' if done else 'was activated before under this reference: no change'}")

    with_office(config, Use.CHANGE, work)


@app.command()
def bars(
    msisdn: MsisdnArgument,
    bars: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(BARS)}; or none.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set what the subscriber bars (HOT-CC-5)."""
    number = parsed(msisdn_of, msisdn)
    wanted = [] if bars.strip() == "none" else [bar.strip() for bar in bars.split(",")]
    if unknown := [bar for bar in wanted if bar not in BARS]:
        raise WrongCallError(f"{unknown[0]!r} is no bar; there are {', '.join(BARS)}, or none")

    async def work(office: Office) -> None:
        await office.ledger.set_bars(await office.account_of(number), bars=wanted, **office.when())
        print(f"{number}: bars {', '.join(wanted) or 'none'}")

    with_office(config, Use.CHANGE, work)


@app.command()
def block(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Block all but emergency calls: a lost or stolen SIM (HOT-ACC-11)."""
    _set_state(msisdn, "blocked", ("blocked", "was blocked before: no change"), config)


@app.command()
def unblock(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Take back a block."""
    _set_state(msisdn, "active", ("block taken back", "was not blocked: no change"), config)


@app.command()
def terminate(
    msisdn: MsisdnArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Credit and units are lost and cannot come back.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """End an account for ever: its sessions are aborted, its credit and units lost, its number free (HOT-ACC-6)."""
    number = parsed(msisdn_of, msisdn)
    if not yes:
        raise WrongCallError("this cannot be taken back: say --yes")

    async def work(office: Office) -> None:
        await office.ledger.terminate_account(await office.account_of(number), **office.when())
        print(f"{number}: terminated")

    with_office(config, Use.CHANGE, work)


@app.command()
def move(
    msisdn: MsisdnArgument,
    partition: Annotated[int, typer.Option(min=0, help="Where to, from 0.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Move an account to another partition, while it is charged: the same again after a crash goes on with it."""
    number = parsed(msisdn_of, msisdn)

    async def work(office: Office) -> None:
        if partition >= office.ledger.partitions:
            raise WrongCallError(f"--partition {partition}: the ledger's are 0 to {office.ledger.partitions - 1}")
        account_id = await office.account_of(number)
        moved = await office.ledger.move_account(account_id, partition=partition, **office.when())
        print(f"{number}: " + (f"is account {moved} now" if moved != account_id else "is there already: no change"))

    with_office(config, Use.CHANGE, work)


def _set_state(msisdn: str, state: str, words: tuple[str, str], config: ConfigOption) -> None:
    """`words`: what is said when it was done, and when there was nothing to do."""
    number = parsed(msisdn_of, msisdn)

    async def work(office: Office) -> None:
        account_id = await office.account_of(number)
        before = await office.ledger.read(account_id, **office.when())
        await office.ledger.set_state(account_id, state=state, **office.when())
        was_so = before is not None and (before.state == "blocked") == (state == "blocked")
        after = await office.ledger.read(account_id, **office.when())
        now = f"; it is {after.state}" if after is not None and after.state != state else ""
        print(f"{number}: {words[was_so]}{now}")

    with_office(config, Use.CHANGE, work)


def _package(office: Office, name: str) -> PackageTerms:
    terms = office.catalogue.packages.get(name)
    if terms is None:
        raise WrongCallError(
            f"{name!r} is no package; the catalogue has {', '.join(sorted(office.catalogue.packages))}"
        )
    return terms


def _not_negative(text: str) -> int:
    micro_eur = parse_eur(text)
    if micro_eur < 0:
        raise ValueError(f"{text!r} must not be negative")
    return micro_eur


def _positive(text: str) -> int:
    micro_eur = parse_eur(text)
    if micro_eur <= 0:
        raise ValueError(f"{text!r} must be more than nothing")
    return micro_eur
