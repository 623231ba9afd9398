"""`ocs account …`: blocks, another SIM or number, freeze, pay-out, port-out and one-off fees."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from ocs.accounts import inputs
from ocs.accounts.life import FeeResult
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
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.installation import OpenMode
from ocs.policy.life import BlockReason, By, PayOut
from ocs.values.identities import MSISDN_EXAMPLE, Msisdn
from ocs.values.money import format_eur

MsisdnArgument = Annotated[str, typer.Argument(help=f"E.164 digits, such as {MSISDN_EXAMPLE}.", metavar="MSISDN")]
ReferenceOption = Annotated[str, typer.Option(help="Id of this operation; a reference is never debited twice.")]
FeeReference = Annotated[str, typer.Option(help="Debit the fee, once under this reference; without one there is none.")]


def add_to(app: typer.Typer) -> None:
    plain: tuple[Callable[..., None], ...] = (block, unblock, freeze, unfreeze, fee)
    for command in plain:
        app.command()(command)
    named: dict[str, Callable[..., None]] = {
        "swap-sim": swap_sim,
        "change-number": change_number,
        "transfer-ownership": transfer_ownership,
        "port-out": port_out,
        "pay-out": pay_out,
    }
    for name, command in named.items():
        app.command(name)(command)


def _do(config: Any, json: bool, work: Callable[[Backend], Coroutine[Any, Any, tuple[dict[str, object], str]]]) -> None:
    async def run(backend: Backend) -> None:
        facts, text = await work(backend)
        if json:
            print_json(facts)
        else:
            print(text)

    with_backend(config, OpenMode.WRITE, run)


def _state(number: str, view: AccountView, changed: bool, done: str) -> tuple[dict[str, object], str]:
    facts: dict[str, object] = {"changed": changed, "state": view.state, "blocks": list(view.blocks)}
    left = f"; it is blocked: {', '.join(view.blocks)}" if view.blocks and done == "unblocked" else ""
    now = f"; it is {view.state}" if done == "unblocked" and view.state not in ("active", "blocked") else ""
    not_changed = "was blocked before: no change" if done == "blocked" else "was not blocked: no change"
    return facts, f"{number}: {done if changed else not_changed}{left}{now}"


def block(
    msisdn: MsisdnArgument,
    reason: Annotated[BlockReason, typer.Option(help="Why.")] = BlockReason.LOST,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Block all use but emergency calls, for a reason; several may hold at once (HOT-ACC-11)."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> tuple[dict[str, object], str]:
        before = (await backend.accounts.read(number)).view
        after = await backend.life.block(number, reason=reason)
        return _state(number, after, reason not in before.blocks, "blocked")

    _do(config, json, work)


def unblock(
    msisdn: MsisdnArgument,
    reason: Annotated[BlockReason, typer.Option(help="The reason that does not hold any more.")] = BlockReason.LOST,
    by: Annotated[By, typer.Option(help="Who lifts it.")] = By.CARE,
    reference: FeeReference = "",
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Lift one reason of a block; the account is free when the last one is lifted."""
    number, once = inputs.msisdn(msisdn), inputs.reference(reference) if reference else None

    async def work(backend: Backend) -> tuple[dict[str, object], str]:
        after = await backend.life.unblock(number, reason=reason, by=by, reference=once)
        return _state(number, after.view, after.applied, "unblocked")

    _do(config, json, work)


def _with_fee(
    config: Path, json: bool, msisdn: str, done: str, debit: Callable[[Backend, Msisdn], Awaitable[FeeResult]]
) -> None:
    """Have `debit` do something for a fee, and say what it cost. `done`: what it is called."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> tuple[dict[str, object], str]:
        paid = await debit(backend, number)
        facts: dict[str, object] = {
            "applied": paid.applied,
            "debit_micro_eur": paid.price_micro_eur if paid.applied else 0,
        }
        cost = f"{done}: {format_eur(paid.price_micro_eur)} EUR"
        return facts, f"{number}: {cost if paid.applied else 'the reference was applied before: no change'}"

    _do(config, json, work)


def freeze(
    msisdn: MsisdnArgument, reference: ReferenceOption, json: JsonOption = False, config: ConfigOption = DEFAULT
) -> None:
    """Freeze the number: its fee is debited, all use but emergency calls is blocked (HOT-REC-3)."""
    once = inputs.reference(reference)
    _with_fee(config, json, msisdn, "frozen", lambda ocs, number: ocs.life.freeze(number, reference=once))


def unfreeze(
    msisdn: MsisdnArgument, reference: ReferenceOption, json: JsonOption = False, config: ConfigOption = DEFAULT
) -> None:
    """Undo a freeze: its fee is debited, the block is lifted (HOT-REC-3)."""
    once = inputs.reference(reference)
    _with_fee(config, json, msisdn, "unfrozen", lambda ocs, number: ocs.life.unfreeze(number, reference=once))


def fee(
    msisdn: MsisdnArgument,
    fee: Annotated[str, typer.Option(help="One-off fee of the catalogue, such as CONNECTION.")],
    reference: ReferenceOption,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Debit a one-off fee of the catalogue, once per reference, in any state of the account (HOT-REC-3)."""
    once = inputs.reference(reference)
    _with_fee(config, json, msisdn, fee, lambda ocs, number: ocs.life.fee(number, fee=fee, reference=once))


def transfer_ownership(
    msisdn: MsisdnArgument, reference: ReferenceOption, json: JsonOption = False, config: ConfigOption = DEFAULT
) -> None:
    """Debit the fee for another owner of the number (HOT-REC-3)."""
    once = inputs.reference(reference)
    _with_fee(
        config,
        json,
        msisdn,
        "ownership changed",
        lambda ocs, number: ocs.life.transfer_ownership(number, reference=once),
    )


def swap_sim(
    msisdn: MsisdnArgument,
    imsi: Annotated[str, typer.Option(help="IMSI of the new SIM.")],
    reference: FeeReference = "",
    puk: Annotated[str, typer.Option(help="PUK1 of the new SIM, 8 digits; without it none is known.")] = "",
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """A new SIM for the number: credit and products stay, a block for loss or theft is lifted (HOT-ACC-11). After a
    crash, the same command finishes it.
    """
    number, subscriber = inputs.msisdn(msisdn), inputs.imsi(imsi)
    once, puk1 = inputs.reference(reference) if reference else None, inputs.puk(puk) if puk else ""

    async def work(backend: Backend) -> tuple[dict[str, object], str]:
        changed = (await backend.life.swap_sim(number, imsi=subscriber, reference=once)).applied
        if puk1:
            await backend.groups.set_puk(number, puk=puk1)
        return {"changed": changed}, f"{number}: {'has the new SIM' if changed else 'has this SIM already: no change'}"

    _do(config, json, work)


def change_number(
    msisdn: MsisdnArgument,
    new: Annotated[str, typer.Option("--to", help="The new number.")],
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Give the account another number. After a crash, the same command finishes it."""
    number, to = inputs.msisdn(msisdn), inputs.msisdn(new)

    async def work(backend: Backend) -> tuple[dict[str, object], str]:
        changed = await backend.life.change_number(number, new=to)
        return {"changed": changed}, f"{number}: {f'is {to} now' if changed else f'was {to} already: no change'}"

    _do(config, json, work)


def port_out(
    msisdn: MsisdnArgument,
    reference: Annotated[str, typer.Option(help="Id of the pay-out of refundable credit.")],
    yes: Annotated[bool, typer.Option("--yes", help="Confirm: the account ends for good.")] = False,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """The number goes to another operator: refundable credit is paid out, the account ends (HOT-ACC-10)."""
    number, once = inputs.msisdn(msisdn), inputs.reference(reference)
    if not yes:
        raise WrongCallError("this cannot be undone: confirm it with --yes")

    async def work(backend: Backend) -> tuple[dict[str, object], str]:
        ended = await backend.life.port_out(number, reference=once)
        paid = ended.paid_out_micro_eur
        facts: dict[str, object] = {
            "refunded_micro_eur": paid,
            "shares_micro_eur": sum([each.micro_eur for each in ended.shares]),
            "unpaid_micro_eur": ended.unpaid_micro_eur,
        }
        costs = early_end_text(ended.shares, ended.unpaid_micro_eur)
        return facts, f"{number}: ported out; {format_eur(paid)} EUR are paid out{costs}"

    _do(config, json, work)


def pay_out(
    msisdn: MsisdnArgument,
    reference: ReferenceOption,
    reason: Annotated[PayOut, typer.Option(help="inactive, or data-only: the tariff ends with it.")] = PayOut.INACTIVE,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Pay the refundable credit out, once per reference, where it is due (HOT-ACC-10)."""
    number, once = inputs.msisdn(msisdn), inputs.reference(reference)
    if reason is PayOut.PORT_OUT:
        raise WrongCallError("the command port-out pays out and ends the account in one step")

    async def work(backend: Backend) -> tuple[dict[str, object], str]:
        amount = (await backend.life.pay_out(number, reason=reason, reference=once)).micro_eur
        done = f"{format_eur(amount)} EUR are paid out" if amount else f"{once} was applied before: no change"
        return {"refunded_micro_eur": amount}, f"{number}: {done}"

    _do(config, json, work)
