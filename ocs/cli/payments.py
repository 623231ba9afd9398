"""`ocs auto-top-up …`, `ocs mandate …`, `ocs payment …`, `ocs sepa …`: money in by debits and by a payment provider."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from ocs.accounts import inputs
from ocs.cli.accounts import MsisdnArgument
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    FailedError,
    JsonOption,
    WrongCallError,
    counted,
    load_all,
    print_json,
    with_backend,
)
from ocs.cli.groups import group_id
from ocs.ledger.contract.payments import PaymentOrder
from ocs.ledger.redis.installation import OpenMode
from ocs.payments.mandates import Mandate, new_key
from ocs.payments.operations import MandateInput, PaymentOperations, facts
from ocs.payments.signing import SecretError
from ocs.payments.wiring import Payments
from ocs.policy.payments import DEFAULT_MARK_MICRO_EUR
from ocs.values.moment import utc_text
from ocs.values.money import format_eur

auto_top_up = typer.Typer(help="Top an account up when its credit falls below a mark.", no_args_is_help=True)
mandate = typer.Typer(help="By what accounts, and groups for their numbers, are debited.", no_args_is_help=True)
payment = typer.Typer(help="Payment orders.", no_args_is_help=True)

OptionalMsisdn = Annotated[str, typer.Argument(help="E.164 digits; or use --group.", metavar="[MSISDN]")]
GroupOption = Annotated[str, typer.Option(help="Business group, or a number of it: it pays for all of its numbers.")]
Work = Callable[[Backend, PaymentOperations, Payments], Coroutine[Any, Any, None]]
STDIN = "-"


def add_to(app: typer.Typer) -> None:
    for name, each in {"auto-top-up": auto_top_up, "mandate": mandate, "payment": payment}.items():
        app.add_typer(each, name=name)


def with_payments(config: Path, mode: OpenMode, work: Work) -> None:
    """Run `work` with what [payments] names. FailedError: a file of it cannot be used."""
    loaded = load_all(config)

    async def run(backend: Backend) -> None:
        now = backend.environment.now
        try:
            payments = Payments(
                loaded[0].payments, backend.ledger, backend.catalogue, now=now, rng=random.SystemRandom()
            )
        except SecretError as error:
            raise FailedError(str(error)) from None
        operations = PaymentOperations(backend.accounts, backend.ledger, backend.catalogue, payments, now)
        try:
            await work(backend, operations, payments)
        except SecretError as error:
            raise FailedError(str(error)) from None
        finally:
            await payments.close()

    with_backend(config, mode, run, loaded=loaded)


# -- automatic top-up


@auto_top_up.command()
def on(
    msisdn: MsisdnArgument,
    below: Annotated[str, typer.Option(help="EUR below which it is topped up.")] = format_eur(DEFAULT_MARK_MICRO_EUR),
    config: ConfigOption = DEFAULT,
) -> None:
    """Switch it on, or change its mark; at once (HOT-TOP-4)."""
    number, mark = inputs.msisdn(msisdn), inputs.amount(below)

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        changed = await operations.set_auto_top_up(number, below_micro_eur=mark)
        found = await operations.auto_top_up(number)
        before = "" if changed else ", as before"
        payer = {"": "; nobody pays: add a mandate", "group": "; its group pays", "account": ""}[found.payer]
        amount = f"{format_eur(found.amount_micro_eur)} EUR"
        print(f"{number}: topped up by {amount} below {format_eur(mark)} EUR{before}{payer}")

    with_payments(config, OpenMode.WRITE, work)


@auto_top_up.command()
def off(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Switch it off, at once (HOT-TOP-5): an order that nobody has sent yet ends."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        changed = await operations.set_auto_top_up(number, below_micro_eur=0)
        print(f"{number}: automatic top-up is off{'' if changed else ', as before'}")

    with_payments(config, OpenMode.WRITE, work)


@auto_top_up.command()
def show(msisdn: MsisdnArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show whether it is on, its mark, what one of them is, and who pays."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        found = await operations.auto_top_up(number)
        view = found.view
        told = {
            "on": found.below_micro_eur > 0,
            "below_micro_eur": found.below_micro_eur,
            "amount_micro_eur": found.amount_micro_eur,
            "payer": found.payer,
            "asked": view.auto_asked,
            "failures": view.auto_failures,
            "ordered": [utc_text(at) for _, at in view.auto_debits],
        }
        if json:
            print_json(told)
            return
        print(f"below      {format_eur(found.below_micro_eur) + ' EUR' if told['on'] else 'off'}")
        print(f"amount     {format_eur(found.amount_micro_eur)} EUR")
        print(f"payer      {found.payer or 'nobody: there is no mandate'}")
        print(f"asked      {'yes' if view.auto_asked else 'no'}; {counted(view.auto_failures, 'failure')}")
        print(f"ordered    {', '.join(map(str, told['ordered'])) or 'nothing in the last ten days'}")  # type: ignore[call-overload]

    with_payments(config, OpenMode.READ, work)


# -- mandates


@mandate.command("new-key")
def new_key_command(file: Annotated[Path, typer.Argument(help="New file.")]) -> None:
    """Make a file for payments.mandate_key_file. To change the key, put a new line before the old ones."""
    try:
        new_key(file)
    except FileExistsError:
        raise WrongCallError(f"{file} exists: a key that mandates are encrypted by must not be lost") from None
    print(f"{file}: a new key; keep a copy: without it the mandates cannot be read")


def _one_of(msisdn: str, group: str) -> None:
    if bool(msisdn) == bool(group):
        raise WrongCallError("name either an MSISDN or --group")


@mandate.command()
def add(
    name: Annotated[str, typer.Option(help="Of the debtor.")],
    signed: Annotated[str, typer.Option(help="Day on which it was signed, such as 2026-12-24.")],
    msisdn: OptionalMsisdn = "",
    group: GroupOption = "",
    iban: Annotated[str, typer.Option(help="- reads it from standard input: no list of processes shows it.")] = "",
    bic: Annotated[str, typer.Option(help="Without it, that of the IBAN's bank.")] = "",
    token: Annotated[str, typer.Option(help="By which the payment provider knows the payer; - as above.")] = "",
    mandate_id: Annotated[str, typer.Option("--mandate", help="Its reference; without it, one is made.")] = "",
    config: ConfigOption = DEFAULT,
) -> None:
    """Put a mandate in place of the one before."""
    _one_of(msisdn, group)
    signed_on = inputs.day(signed)
    account, known_as = _read(iban), _read(token)

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        given = MandateInput(name, signed_on, account, bic, known_as, mandate_id)
        if group:
            put = await operations.put_group_mandate(await group_id(backend, group), given)
        else:
            put = await operations.put_mandate(await operations.payer_of(inputs.msisdn(msisdn)), given)
        print(_told(msisdn or group, put))

    with_payments(config, OpenMode.WRITE, work)


def _read(text: str) -> str:
    return sys.stdin.readline().strip() if text == STDIN else text


def _told(whose: str, found: Mandate | None) -> str:
    if found is None:
        return f"{whose}: there is no mandate"
    return f"{whose}: mandate {found.id}, {found.by}, {found.masked}, signed on {found.signed_on}"


@mandate.command("show")
def show_mandate(
    msisdn: OptionalMsisdn = "", group: GroupOption = "", json: JsonOption = False, config: ConfigOption = DEFAULT
) -> None:
    """Show a mandate; the bank account is masked."""
    _one_of(msisdn, group)

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        if group:
            payer = await operations.payer_of_group(await group_id(backend, group))
        else:
            payer = await operations.payer_of(inputs.msisdn(msisdn))
        found = await operations.mandate(payer)
        if json:
            print_json(found.facts() if found is not None else None)
        else:
            print(_told(msisdn or group, found))

    with_payments(config, OpenMode.READ, work)


@mandate.command()
def revoke(msisdn: OptionalMsisdn = "", group: GroupOption = "", config: ConfigOption = DEFAULT) -> None:
    """Revoke a mandate: nothing that was not sent yet is debited."""
    _one_of(msisdn, group)

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        if group:
            done = await operations.revoke_group_mandate(await group_id(backend, group))
        else:
            done = await operations.revoke_mandate(await operations.payer_of(inputs.msisdn(msisdn)))
        print(f"{msisdn or group}: {'the mandate is revoked' if done else 'there was no mandate'}")

    with_payments(config, OpenMode.WRITE, work)


# -- payments


@payment.command("list")
def list_payments(
    msisdn: Annotated[str, typer.Argument(help="Without one: all that are not finished.", metavar="[MSISDN]")] = "",
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """List payment orders: the last 64 of an account, or all with something to do."""
    number = inputs.msisdn(msisdn) if msisdn else None

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        found = await operations.of_account(number) if number else await operations.open_orders()
        if json:
            print_json([facts(order) for order in found])
            return
        for order in found:
            print(_line(order))
        if not found:
            print("no payment orders")

    with_payments(config, OpenMode.READ, work)


def _line(order: PaymentOrder) -> str:
    amount, owed = format_eur(order.amount_micro_eur), format_eur(order.owed_micro_eur)
    more = [order.reason, f"owed {owed} EUR" if order.owed_micro_eur else "", order.provider_id]
    told = ", ".join(each for each in more if each)
    return f"{order.id}  {utc_text(order.at)}  {order.kind:8}  {amount:>7}  {order.state:10}  {told}".rstrip()


@payment.command("show")
def show_payment(order: str, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show one payment order."""

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        found = await operations.order(order)
        if json:
            print_json(facts(found))
            return
        for name, value in facts(found).items():
            if value not in ("", 0):
                is_time, is_money = name.endswith("_at"), name.endswith("_micro_eur")
                text = utc_text(value) if is_time else f"{format_eur(value)} EUR" if is_money else value  # type: ignore[arg-type]
                print(f"{name.removesuffix('_micro_eur').removesuffix('_at'):12} {text}")

    with_payments(config, OpenMode.READ, work)


@payment.command("order")
def order_now(msisdn: MsisdnArgument, config: ConfigOption = DEFAULT) -> None:
    """Order the automatic top-up of an account below its mark now, without waiting for the backoffice."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        result = await operations.order_now(number)
        print(f"{number}: {WORDS.get(result.word, result.word)}{f': {result.order.id}' if result.order else ''}")

    with_payments(config, OpenMode.WRITE, work)


WORDS = {
    "ok": "ordered",
    "open": "one is under way",
    "enough": "the credit is at the mark",
    "off": "the automatic top-up is off",
    "limit": "two were ordered in the last ten days (HOT-TOP-5)",
    "inactive": "the account is not active",
    "ceiling": "the credit would exceed 200 EUR (HOT-ACC-7)",
    "orders": "too many payments are under way",
}


@payment.command()
def retry(order: str, config: ConfigOption = DEFAULT) -> None:
    """Take an open order up now. For one that has failed: order anew, if the account is below its mark."""

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        found = await operations.retry(order)
        what = "is taken up now" if found.is_open else "stays failed; its account is looked at now"
        print(f"{found.id}: {what}")

    with_payments(config, OpenMode.WRITE, work)


@payment.command("paid-back")
def paid_back(order: str, config: ConfigOption = DEFAULT) -> None:
    """Note that a payment of an account that has ended (refund-due) was paid back by hand."""

    async def work(backend: Backend, operations: PaymentOperations, payments: Payments) -> None:
        print(f"{(await operations.paid_back(order)).id}: paid back")

    with_payments(config, OpenMode.WRITE, work)
