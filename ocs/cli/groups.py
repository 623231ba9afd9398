"""`ocs group …`: business groups, their numbers, and transfers within them (HOT-GRP-1, -2, -5)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ocs.accounts import inputs
from ocs.accounts.groups import GroupState
from ocs.cli.accounts import MsisdnArgument
from ocs.cli.common import DEFAULT, Backend, ConfigOption, JsonOption, WrongCallError, counted, print_json, with_backend
from ocs.cli.history import CsvOption, aligned, times, with_history
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.installation import OpenMode
from ocs.values.moment import utc_text
from ocs.values.money import format_eur

if TYPE_CHECKING:
    from ocs.history.service import History

app = typer.Typer(help="Business groups: numbers, payer, limits, shared units, transfers.", no_args_is_help=True)

GroupArgument = Annotated[str, typer.Argument(help="Id of the group, as `create` prints it.", metavar="GROUP")]
PukOption = Annotated[str, typer.Option(help="PUK1 of the number's SIM, 8 digits.")]


@app.command()
def create(
    administrator: Annotated[str, typer.Option(help="MSISDN of the administrator.")],
    name: Annotated[str, typer.Option(help="Name of the company.")],
    payer: Annotated[str, typer.Option(help="Reference of the bank account that pays for all numbers.")] = "",
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Create a group. Repeated with the same name and number, it returns the same group."""
    number, called = inputs.msisdn(administrator), inputs.group_name(name)

    async def work(backend: Backend) -> None:
        state = await backend.groups.create(name=called, administrator=number, payer=payer)
        if json:
            print_json(group_json(state))
        else:
            print(f"group {state.group.group_id}: {called}, administrator {number}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def show(group: GroupArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show a group and its numbers. GROUP may be a number of it."""

    async def work(backend: Backend) -> None:
        state = await backend.groups.read(await group_id(backend, group))
        if json:
            print_json(group_json(state))
        else:
            _print_group(state)

    with_backend(config, OpenMode.READ, work)


@app.command("list")
def list_(json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """List all groups."""

    async def work(backend: Backend) -> None:
        found = await backend.groups.all()
        rows = [{"group": each.group_id, "name": each.name, "numbers": len(each.numbers)} for each in found]
        if json:
            print_json(rows)
        for row in [] if json else rows:
            print(f"{row['group']} {row['name']}: {row['numbers']} numbers")

    with_backend(config, OpenMode.READ, work)


@app.command()
def add(
    group: GroupArgument,
    msisdn: MsisdnArgument,
    puk: PukOption,
    imsi: Annotated[str, typer.Option(help="Of a new number: its account is opened first.")] = "",
    package: Annotated[str, typer.Option(help="Of a new number: its package.")] = "",
    config: ConfigOption = DEFAULT,
) -> None:
    """Add a number, existing or new, with its PUK1. After a crash, the same command finishes it."""
    number, puk1 = inputs.msisdn(msisdn), inputs.puk(puk)
    subscriber = inputs.imsi(imsi) if imsi else None
    if package and subscriber is None:
        raise WrongCallError("--package is of a new number: give its --imsi too")

    async def work(backend: Backend) -> None:
        name, now = await group_id(backend, group), backend.environment.now()
        terms = inputs.package_on_sale(package, backend.catalogue.products, now) if package else None
        if subscriber is not None:
            added = await backend.groups.add_new(name, msisdn=number, imsi=subscriber, puk=puk1, package=terms)
        else:
            added = await backend.groups.add(name, msisdn=number, puk=puk1)
        print(f"{number}: {'added' if added else 'is in the group already: no change'}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def remove(group: GroupArgument, msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Take a member out of the group; its account stays as it is."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        removed = await backend.groups.remove(await group_id(backend, group), msisdn=number)
        print(f"{number}: {'removed' if removed else 'is not in the group: no change'}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def administrator(group: GroupArgument, msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Make a member the administrator; the present one becomes a member."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        changed = await backend.groups.change_administrator(await group_id(backend, group), msisdn=number)
        print(f"{number}: is the administrator{'' if changed else ' already: no change'}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def payer(
    group: GroupArgument,
    reference: Annotated[str, typer.Argument(help="Of the company's bank account; off = none.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set the bank account that pays for every number of the group (HOT-GRP-4)."""
    wanted = "" if reference == inputs.LIMIT_OFF else reference

    async def work(backend: Backend) -> None:
        name = await group_id(backend, group)
        await backend.groups.set_payer(name, payer=wanted)
        print(f"group {name}: payer {wanted or 'none'}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def limit(
    group: GroupArgument,
    amount: Annotated[str, typer.Argument(help="EUR a calendar month for each number, or off.")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Set the monthly spending limit of every number at once, and of those that join later (HOT-CC-1)."""
    micro_eur = inputs.limit(amount)

    async def work(backend: Backend) -> None:
        numbers = await backend.groups.set_limit(await group_id(backend, group), micro_eur=micro_eur)
        what = "no limit" if micro_eur is None else f"{format_eur(micro_eur)} EUR a month"
        print(f"{counted(numbers, 'number')}: {what}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def share(group: GroupArgument, config: ConfigOption = DEFAULT) -> None:
    """Let all numbers share the units of shared products (HOT-PKG-14); `ocs pool limit` bounds what each may use."""

    async def work(backend: Backend) -> None:
        numbers = await backend.groups.share(await group_id(backend, group))
        print(f"{counted(numbers, 'number')}: in one pool")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def transfer(
    sender: Annotated[str, typer.Option("--from", help="MSISDN of the administrator, or of a member.")],
    to: Annotated[str, typer.Option(help="MSISDN of a member, or of the administrator.")],
    amount: Annotated[str, typer.Option(help="EUR, up to 6 decimals.")],
    reference: Annotated[str, typer.Option(help="Id of this transfer; a reference is never applied twice.")],
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Transfer credit between the administrator and a member, once per reference (HOT-GRP-2)."""
    source, target = inputs.msisdn(sender), inputs.msisdn(to)
    micro_eur, once = inputs.amount(amount), inputs.reference(reference)

    async def work(backend: Backend) -> None:
        done = await backend.transfers.transfer(source, to=target, amount_micro_eur=micro_eur, reference=once)
        if json:
            print_json(
                {
                    "applied": done.applied,
                    "credit_micro_eur": done.credit_micro_eur,
                    "received_credit_micro_eur": done.received_credit_micro_eur,
                }
            )
            return
        what = f"{format_eur(micro_eur)} EUR to {target}" if done.applied else f"{once} was applied before: no change"
        print(f"{source}: {what}; credit {format_eur(done.credit_micro_eur)} EUR")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def puk(
    msisdn: MsisdnArgument,
    puk1: Annotated[str, typer.Argument(help="8 digits; off = it is not known.", metavar="PUK1")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Store the PUK1 of a number's SIM, hashed. Wrong entries are forgotten."""
    number, wanted = inputs.msisdn(msisdn), "" if puk1 == inputs.LIMIT_OFF else inputs.puk(puk1)

    async def work(backend: Backend) -> None:
        await backend.groups.set_puk(number, puk=wanted)
        print(f"{number}: PUK1 {'stored' if wanted else 'forgotten'}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def separate(
    msisdn: MsisdnArgument,
    state: Annotated[str, typer.Argument(help="on or off.", metavar="on|off")],
    config: ConfigOption = DEFAULT,
) -> None:
    """Open or close the separate account of a member, which pays what it orders itself (HOT-GRP-5)."""
    number = inputs.msisdn(msisdn)
    if state not in ("on", inputs.LIMIT_OFF):
        raise WrongCallError(f"{state!r} must be on or off")

    async def work(backend: Backend) -> None:
        changed = await backend.groups.set_separate(number, is_open=state == "on")
        print(f"{number}: separate account {state}{'' if changed else ' already: no change'}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def statement(
    group: GroupArgument,
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Such as 2026-11; it must be over.")],
    config: ConfigOption = DEFAULT,
    csv: CsvOption = False,
) -> None:
    """Print all transactions and use of a group's numbers in a month: net, VAT and gross (HOT-GRP-3)."""
    from ocs.history.group_statement import statement_of_group
    from ocs.history.service import parse_month
    from ocs.history.tables import group_table

    async def work(backend: Backend, history: History) -> None:
        name = await group_id(backend, group)
        text = group_table(await statement_of_group(history, backend, name, parse_month(month)), times(backend))
        sys.stdout.write(text if csv else aligned(text))

    with_history(config, work)


async def group_id(backend: Backend, text: str) -> str:
    """Id of a group that is named by it or by a number of it."""
    if await backend.ledger.read_group(text) is not None:
        return text
    return await backend.groups.group_of(inputs.msisdn(text)) if text.strip("+").isdigit() else text


def group_json(state: GroupState) -> dict[str, object]:
    """The names are stable: programs rely on them."""
    group = state.group
    return {
        "group": group.group_id,
        "name": group.name,
        "payer": group.payer or None,
        "created_at": utc_text(group.created_at),
        "limit_micro_eur": group.limit if group.limit is not None and group.limit >= 0 else None,
        "pool": group.pool or None,
        "numbers": [number_json(each) for each in state.numbers],
        "unfinished": [{"step": each.kind.value, "account": each.account_id} for each in group.steps],
    }


def number_json(view: AccountView) -> dict[str, object]:
    return {
        "msisdn": view.msisdn,
        "account": view.account_id,
        "role": view.role,
        "state": view.state,
        "credit_micro_eur": view.credit_micro_eur,
        "available_micro_eur": view.credit_micro_eur - view.held_micro_eur,
        "separate_micro_eur": view.separate_micro_eur if view.has_separate else None,
        "limit_micro_eur": view.limit_micro_eur,
        "in_transit_micro_eur": sum(each.amount_micro_eur for each in view.transfers),
    }


def _print_group(state: GroupState) -> None:
    group = state.group
    print(f"group {group.group_id}: {group.name}; payer {group.payer or 'none'}; pool {group.pool or 'none'}")
    for view in state.numbers:
        own = f", separate account {format_eur(view.separate_micro_eur)} EUR" if view.has_separate else ""
        print(f"{view.msisdn}: {view.role}, {view.state}, credit {format_eur(view.credit_micro_eur)} EUR{own}")
    for step in group.steps:
        print(f"not finished: {step.kind.value} of account {step.account_id}")
