"""`ocs product …`: what is sold, and what an account buys; `ocs balance`: what an account has left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from ocs.accounts import inputs
from ocs.accounts.balance import Balance, balance_of
from ocs.accounts.products import Cancelled, Ordered
from ocs.cli.accounts import MsisdnArgument
from ocs.cli.common import (
    DEFAULT,
    Backend,
    ConfigOption,
    JsonOption,
    early_end_text,
    load_all,
    print_json,
    with_backend,
)
from ocs.cli.show import units_text
from ocs.ledger.redis.installation import OpenMode
from ocs.values.identities import Msisdn
from ocs.values.moment import DAY_S, utc_text
from ocs.values.money import format_eur
from ocs.values.products import Product

app = typer.Typer(help="List, buy, plan, change and cancel products.", no_args_is_help=True)

ProductArgument = Annotated[str, typer.Argument(help="Id or name of a product of the catalogue.", metavar="PRODUCT")]
ReferenceOption = Annotated[str, typer.Option(help="Id of this order; a reference is never debited twice.")]


@app.command("list")
def list_products(
    every: Annotated[bool, typer.Option("--all", help="Also what is not on sale now.")] = False,
    json: JsonOption = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """List the products that are on sale, of the catalogue that is in force."""
    _, catalogue = load_all(config)
    found = [each for each in catalogue.products.values() if every or each.is_sold(catalogue.now())]
    if json:
        print_json([product_json(each) for each in found])
        return
    table = Table(Column("product", no_wrap=True), "kind", "price", "days", "units", "orders by SMS")
    for each in found:
        terms = each.terms
        units = ", ".join(f"{_quantity_text(b.quantity, b.unit)} {b.id.rpartition('.')[2]}" for b in terms.buckets)
        days = str(terms.period_s // DAY_S) if terms.period_s else ""
        table.add_row(each.id, each.kind, format_eur(terms.price_micro_eur), days, units, each.keyword)
    Console().print(table)


@app.command()
def show(product: ProductArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show what a product costs, has and excludes."""
    _, catalogue = load_all(config)
    found = product_json(inputs.product(product, catalogue.products))
    if json:
        print_json(found)
        return
    for name, value in found.items():
        if value not in (None, "", [], False):
            print(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")


def _order(
    config: Path, msisdn: str, product: str, order: Callable[[Backend, Msisdn, Product], Awaitable[Ordered]]
) -> None:
    """Have `order` order the product for the number, and say what became of it."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        wanted = inputs.product(product, backend.catalogue.products)
        print(f"{number}: {ordered_text(wanted, await order(backend, number, wanted))}")

    with_backend(config, OpenMode.WRITE, work)


@app.command()
def buy(
    msisdn: MsisdnArgument, product: ProductArgument, reference: ReferenceOption, config: ConfigOption = DEFAULT
) -> None:
    """Buy a product now, or arm it until its first use (HOT-PKG-7, -8, -13)."""
    once = inputs.reference(reference)
    _order(
        config, msisdn, product, lambda ocs, number, wanted: ocs.products.buy(number, product=wanted, reference=once)
    )


@app.command()
def plan(
    msisdn: MsisdnArgument,
    product: ProductArgument,
    on: Annotated[str, typer.Option(help="Day, such as 2026-12-24: from tomorrow up to one month ahead.")],
    reference: ReferenceOption,
    config: ConfigOption = DEFAULT,
) -> None:
    """Plan an activation; the price is that of its day (HOT-PKG-11)."""
    once, day = inputs.reference(reference), inputs.day(on)
    _order(
        config,
        msisdn,
        product,
        lambda ocs, number, wanted: ocs.products.plan(number, product=wanted, on=day, reference=once),
    )


@app.command()
def change(
    msisdn: MsisdnArgument, product: ProductArgument, reference: ReferenceOption, config: ConfigOption = DEFAULT
) -> None:
    """Change the tariff, at once or at the end of the period, as the tariff says (HOT-PKG-6)."""
    once = inputs.reference(reference)
    _order(
        config, msisdn, product, lambda ocs, number, wanted: ocs.products.change(number, product=wanted, reference=once)
    )


@app.command()
def cancel(
    msisdn: MsisdnArgument,
    product: ProductArgument,
    at_once: Annotated[bool, typer.Option("--at-once", help="Now, with the loss of its units.")] = False,
    config: ConfigOption = DEFAULT,
) -> None:
    """Cancel a product at the end of its period (HOT-PKG-7). The early end of a commitment is debited (HOT-REC-4)."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        wanted = inputs.product(product, backend.catalogue.products)
        done = await backend.products.cancel(number, product_id=wanted.id, at_once=at_once)
        print(f"{number}: {cancelled_text(wanted, done)}")

    with_backend(config, OpenMode.WRITE, work)


def balance(msisdn: MsisdnArgument, json: JsonOption = False, config: ConfigOption = DEFAULT) -> None:
    """Show credit, active period and what is left of the included units (HOT-ACC-12)."""
    number = inputs.msisdn(msisdn)

    async def work(backend: Backend) -> None:
        seen = await backend.accounts.read(number)
        found = balance_of(seen.view, seen.pool)
        if json:
            print_json(balance_json(found))
        else:
            print_balance(found)

    with_backend(config, OpenMode.READ, work)


# -- texts


def _quantity_text(units: int | None, unit: str) -> str:
    return "unlimited" if units is None else units_text(units, unit)


def product_json(product: Product) -> dict[str, object]:
    """The names are stable: programs rely on them."""
    terms = product.terms
    return {
        "product": product.id,
        "name": product.name,
        "kind": product.kind.value,
        "price_micro_eur": terms.price_micro_eur,
        "net_micro_eur": product.net_micro_eur,
        "period_days": terms.period_s // DAY_S or None,
        "recurring": terms.renews,
        "units": [f"{each.id}: {_quantity_text(each.quantity, each.unit)}" for each in terms.buckets],
        "sold_from": utc_text(product.sold_from) if product.sold_from else None,
        "sold_until": utc_text(product.sold_until) if product.sold_until else None,
        "change": product.change.value if product.kind == "tariff" else None,
        "first_use": product.first_use,
        "counts_to_limit": terms.counts,
        "excludes": list(terms.excludes),
        "barred_with": list(product.barred_with),
        "requires": list(product.requires),
        "commitment_days": terms.commitment_days or None,
        "benefits": [f"{name}: {format_eur(amount)} EUR" for name, amount in terms.benefits],
        "keyword": product.keyword or None,
    }


def ordered_text(product: Product, done: Ordered) -> str:
    if not done.applied:
        return f"{product.id} was ordered before under this reference: no change"
    if done.state == "armed":
        return f"{product.id} begins with its first use"
    if done.state == "active":
        what = "is paid" if not product.terms.period_s else "is active"
        return f"{product.id} {what}: {format_eur(product.terms.price_micro_eur)} EUR"
    return f"{product.id} begins at {utc_text(done.at)}"


def cancelled_text(product: Product, done: Cancelled) -> str:
    return f"{product.id} ends at {utc_text(done.ends_at)}{early_end_text(done.shares)}"


def balance_json(found: Balance) -> dict[str, object]:
    """The names are stable: programs rely on them."""
    return {
        "credit_micro_eur": found.credit_micro_eur,
        "available_micro_eur": found.available_micro_eur,
        "state": found.state,
        "active_until": utc_text(found.active_until),
        "tariff": found.tariff or None,
        "separate_micro_eur": found.separate_micro_eur,
        "units": [
            {
                "bucket": each.bucket,
                "unit": each.unit,
                "left": each.left,
                "expires_at": utc_text(each.expires_at),
                "shared": each.shared,
            }
            for each in found.units
        ],
    }


def print_balance(found: Balance) -> None:
    tariff, until = found.tariff or "none", utc_text(found.active_until)
    print(f"credit {format_eur(found.credit_micro_eur)} EUR, {found.state} until {until}; tariff {tariff}")
    if found.separate_micro_eur is not None:
        print(f"separate account {format_eur(found.separate_micro_eur)} EUR")
    for each in found.units:
        shared = " (shared)" if each.shared else ""
        print(f"{each.bucket}{shared}: {_quantity_text(each.left, each.unit)} until {utc_text(each.expires_at)}")
