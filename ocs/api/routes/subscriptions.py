"""Subscriptions: buy, plan, change, cancel; balance, units and counters of an account."""

from __future__ import annotations

from ocs.accounts import inputs
from ocs.accounts.balance import balance_of
from ocs.api.call import Call, TheCall
from ocs.api.models import subscriptions as models
from ocs.api.models.common import MsisdnPath
from ocs.api.models.subscriptions import (
    BalanceOut,
    Bucket,
    CancelDone,
    Counter,
    Order,
    OrderDone,
    PlannedOrder,
    Subscription,
)
from ocs.api.operation_route import router as operations
from ocs.api.pages import Cursor, Limit, Page, page_of
from ocs.values.products import Product

router = operations("/v1/accounts/{msisdn}", "subscriptions")


def _product(name: str, call: Call) -> Product:
    return inputs.product(name, call.backend.catalogue.products)


@router.get("/subscriptions", operation_id="subscriptions.list")
async def list_subscriptions(
    msisdn: MsisdnPath, call: TheCall, limit: Limit = 50, cursor: Cursor = ""
) -> Page[Subscription]:
    """Products of the account: those that run, are planned, armed, or wait for their fee."""
    view = (await call.backend.accounts.read(msisdn)).view
    rows = sorted(view.subscriptions, key=lambda each: each.instance)
    return page_of(
        rows,
        limit=limit,
        cursor=cursor,
        position=lambda each: f"{each.instance:010d}",
        item=lambda each: models.subscription(each, call),
    )


@router.post("/subscriptions", operation_id="subscriptions.buy", status_code=201)
async def buy(msisdn: MsisdnPath, body: Order, call: TheCall) -> OrderDone:
    """Buy a product now: its price is debited, or it is armed until its first use (HOT-PKG-7, -8, -13)."""
    wanted, reference = _product(body.product, call), call.reference(body.reference)
    done = await call.backend.products.buy(msisdn, product=wanted, reference=reference, actor=call.actor)
    return models.ordered(wanted, reference, done, call)


@router.post("/subscriptions/plan", operation_id="subscriptions.plan", status_code=201)
async def plan(msisdn: MsisdnPath, body: PlannedOrder, call: TheCall) -> OrderDone:
    """Plan an activation up to one month ahead; its price is that of its day (HOT-PKG-11)."""
    wanted, reference = _product(body.product, call), call.reference(body.reference)
    done = await call.backend.products.plan(msisdn, product=wanted, on=body.on, reference=reference, actor=call.actor)
    return models.ordered(wanted, reference, done, call)


@router.post("/subscriptions/change", operation_id="subscriptions.change", status_code=201)
async def change(msisdn: MsisdnPath, body: Order, call: TheCall) -> OrderDone:
    """Change the tariff: at once, or at the end of the period, as the tariff says (HOT-PKG-6)."""
    wanted, reference = _product(body.product, call), call.reference(body.reference)
    done = await call.backend.products.change(msisdn, product=wanted, reference=reference, actor=call.actor)
    return models.ordered(wanted, reference, done, call)


@router.post("/subscriptions/restart", operation_id="subscriptions.restart", status_code=201)
async def restart(msisdn: MsisdnPath, body: Order, call: TheCall) -> OrderDone:
    """Begin a period of a tariff now, also of the one that runs: it is paid, and its units are new (HOT-PKG-2)."""
    wanted, reference = _product(body.product, call), call.reference(body.reference)
    done = await call.backend.products.restart(msisdn, product=wanted, reference=reference, actor=call.actor)
    return models.ordered(wanted, reference, done, call)


@router.delete("/subscriptions/{product}", operation_id="subscriptions.cancel")
async def cancel(msisdn: MsisdnPath, product: str, call: TheCall, at_once: bool = False) -> CancelDone:
    """Cancel a product at the end of its period, or at once with the loss of its units (HOT-PKG-7). The early end of a
    commitment is debited (HOT-REC-4).
    """
    wanted = _product(product, call)
    done = await call.backend.products.cancel(
        msisdn, product_id=wanted.id, at_once=at_once, actor=call.actor, tries=call.repetition
    )
    call.applied(done.applied)
    return models.cancelled(wanted.id, done, call)


@router.get("/balance", operation_id="balance.read")
async def read_balance(msisdn: MsisdnPath, call: TheCall) -> BalanceOut:
    """Credit, active period, and what is left of the included units (HOT-ACC-12)."""
    seen = await call.backend.accounts.read(msisdn)
    return models.balance(balance_of(seen.view, seen.pool), call)


@router.get("/buckets", operation_id="buckets.list")
async def list_buckets(msisdn: MsisdnPath, call: TheCall) -> list[Bucket]:
    """Included units, in the order in which they are used; those of the pool too."""
    seen = await call.backend.accounts.read(msisdn)
    return models.balance(balance_of(seen.view, seen.pool), call).units


@router.get("/counters", operation_id="counters.list")
async def list_counters(msisdn: MsisdnPath, call: TheCall) -> list[Counter]:
    """Counters with their limits: spending, roaming cap, fair-use volumes."""
    view, terms = (await call.backend.accounts.read(msisdn)).view, call.backend.catalogue.counters
    return [models.counter(each, terms.get(each.id)) for each in view.counters]
