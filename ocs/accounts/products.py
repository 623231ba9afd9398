"""Buying, planning, changing and cancelling products: `ocs.policy` decides, the ledger applies the decision.

Operations raise AccountError, or LedgerUnavailable: then it is unknown whether the operation was done, and repeating it
with the same reference is safe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import orjson

from ocs.accounts.errors import RefusedError, raising_refused
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountOperations
from ocs.accounts.tries import Tries
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import AccountView, SubscriptionState, SubscriptionView
from ocs.policy import packs, tariffs
from ocs.policy.decisions import Buy, End, Follow, Plan, Refused
from ocs.policy.groups import CARE, Actor, Payer, payer_of
from ocs.values.identities import Msisdn
from ocs.values.moment import utc_text, when_of
from ocs.values.products import BenefitShare, Product

REASONS = {
    "sold": "{product} is not on sale now",
    "excluded": "{product} of the account and this product exclude each other (HOT-PKG-9)",
    "barred": "it is not sold with the tariff {product} (HOT-PKG-9)",
    "requires": "it needs another product, such as {product}",
    "tariff": "a further quantity needs a running tariff (HOT-PKG-3)",
    "kind": "{product} cannot be ordered in this way",
    "date": "an activation is planned from tomorrow up to one month ahead (HOT-PKG-11)",
    "commitment": "the commitment of {product} still runs (HOT-PKG-17)",
    "planned": "a change to the tariff {product} is planned: cancel that first (HOT-PKG-11)",
    "same": "the account has the tariff {product} already",
    "subscription": "the account does not have {product}",
    "rights": "only the administrator of the business group orders this for the number (HOT-GRP-1)",
}
"""Code of a refusal by the rules → its text."""


class Sold(Protocol):
    """The part of the catalogue that the operations need."""

    @property
    def products(self) -> Mapping[str, Product]: ...
    @property
    def time_zone(self) -> ZoneInfo: ...
    @property
    def answers(self) -> Mapping[str, Mapping[str, str]]:
        """Answers to keywords that the operator words itself: key → language → text."""

    def when(self, unix_s: int) -> dict[str, int]: ...


@dataclass(frozen=True, slots=True)
class Ordered:
    applied: bool
    """False = the reference was applied before; nothing was changed."""
    state: str
    """"active": it has begun; "armed", "planned", or "next": it follows the present one; "": it was applied before, and
    is no more."""
    at: int
    """Unix seconds at which it begins; 0 = at its first use."""
    view: AccountView | None = field(default=None, compare=False)
    """The account afterwards; None = it was not read."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    ends_at: int
    """Unix seconds."""
    shares: tuple[BenefitShare, ...]
    """What the early end of a commitment cost (HOT-REC-4)."""
    applied: bool = True
    """False = an earlier try of the request did it; nothing was changed."""


class ProductOperations:
    """`now` gives Unix seconds."""

    def __init__(self, accounts: AccountOperations, ledger: AccountLedger, sold: Sold, now: Callable[[], int]) -> None:
        self._accounts, self._ledger, self._sold, self._now = accounts, ledger, sold, now

    async def buy(self, msisdn: Msisdn, *, product: Product, reference: Reference, actor: Actor = CARE) -> Ordered:
        """Buy a product now: its price is debited, or it is armed until its first use. `actor`: who orders; a member of
        a business group pays from its separate account (HOT-GRP-5). RefusedError: a code of REASONS, "credit", "limit"
        (HOT-CC-2), "state".
        """
        view = await self._view(msisdn)
        decision = packs.buy(view, product, self._sold.products, self._now())
        return await self._order(view, product, reference, decision, actor)

    async def plan(
        self, msisdn: Msisdn, *, product: Product, on: date, reference: Reference, actor: Actor = CARE
    ) -> Ordered:
        """Plan an activation for the beginning of a day (HOT-PKG-11). RefusedError: as `buy`."""
        view, zone = await self._view(msisdn), self._sold.time_zone
        now = self._now()
        today = datetime.fromtimestamp(now, zone).date()
        at = int(datetime(on.year, on.month, on.day, tzinfo=zone).timestamp())
        decision = packs.plan(view, product, self._sold.products, now=now, today=today, on=on, at=at)
        return await self._order(view, product, reference, decision, actor)

    async def change(self, msisdn: Msisdn, *, product: Product, reference: Reference, actor: Actor = CARE) -> Ordered:
        """Change the tariff, at once or at the end of the period (HOT-PKG-6). RefusedError: as `buy`."""
        view = await self._view(msisdn)
        return await self._order(view, product, reference, tariffs.change(view, product, self._now()), actor)

    async def restart(self, msisdn: Msisdn, *, product: Product, reference: Reference, actor: Actor = CARE) -> Ordered:
        """Begin a period of a tariff now, also of the one that runs (HOT-PKG-2). RefusedError: "commitment", "planned"
        (HOT-PKG-17), "credit", "state".
        """
        view = await self._view(msisdn)
        self._payer(actor, product, view)
        refused = tariffs.restart_refuses(view, product, self._now())
        if refused is not None:
            raise _refused(refused)
        if await self._accounts.activate(msisdn, package=product.terms, reference=reference):
            return Ordered(True, "active", self._now())
        return _applied_before((await self._accounts.read(msisdn)).view, reference)

    async def cancel(
        self,
        msisdn: Msisdn,
        *,
        product_id: str,
        at_once: bool = False,
        actor: Actor = CARE,
        tries: Tries | None = None,
    ) -> Cancelled:
        """Cancel a product at the end of its period, or at once (HOT-PKG-7). An early end of a commitment is debited
        (HOT-REC-4). A member of a business group cancels what its separate account pays (HOT-GRP-5). RefusedError:
        "subscription", "credit" (it does not cover that), "rights".

        `tries`: a repetition ends no other subscription than the first try; if that has ended, it changes nothing.
        """
        view = await self._view(msisdn)
        if tries is not None and (kept := await tries.planned()) is not None:
            return await self._again(view, _decoded(kept))
        product = self._sold.products.get(product_id)
        if product is not None and self._payer(actor, product, view) is Payer.SEPARATE:
            view = replace(view, subscriptions=tuple(each for each in view.subscriptions if each.separate))
        decision = packs.cancel(view, product_id, now=self._now(), at_once=at_once)
        if isinstance(decision, Refused):
            raise _refused(decision)
        if tries is not None:
            return await self._again(view, _decoded(await tries.plan(orjson.dumps(decision))))
        await self._end(view, decision)
        return Cancelled(decision.at, decision.shares)

    async def _again(self, view: AccountView, decision: End) -> Cancelled:
        """Carry out what was decided, unless it was done."""
        held = next((each for each in view.subscriptions if each.instance == decision.instance), None)
        applied = held is not None and (decision.at_once or held.state != SubscriptionState.ENDING)
        if applied:
            try:
                await self._end(view, decision)
            except RefusedError as error:
                if error.code != "unknown":
                    raise
                applied = False  # another try was faster
        return Cancelled(decision.at, decision.shares, applied)

    async def _end(self, view: AccountView, decision: End) -> None:
        with raising_refused():
            await self._ledger.unsubscribe(
                view.account_id,
                decision.instance,
                at_once=decision.at_once,
                shares=decision.shares,
                **self._sold.when(self._now()),
            )

    @staticmethod
    def _payer(actor: Actor, product: Product, view: AccountView) -> Payer:
        """RefusedError "rights": it may not order the product for this number."""
        payer = payer_of(actor, product.kind, view)
        if payer is None:
            raise _refused(Refused("rights", product.id))
        return payer

    async def _view(self, msisdn: Msisdn) -> AccountView:
        """As of now: an order right after the end of a period is judged by what follows, as if the sweep had run."""
        view = (await self._accounts.read(msisdn)).view
        now = self._now()
        if not any(_is_due(each, now) for each in view.subscriptions):
            return view
        with raising_refused():
            await self._ledger.sweep(view.account_id, **when_of(self._sold.when(now)))
        return (await self._accounts.read(msisdn)).view

    async def _order(
        self,
        view: AccountView,
        product: Product,
        reference: Reference,
        decision: Buy | Plan | Follow | Refused,
        actor: Actor,
    ) -> Ordered:
        now, payer = self._now(), self._payer(actor, product, view)
        when = when_of(self._sold.when(now))
        if isinstance(decision, Follow):
            with raising_refused():
                await self._ledger.set_next(view.account_id, decision.instance, product=product.terms, **when)
            return Ordered(True, "next", decision.at)
        if isinstance(decision, Refused):
            if any(each.reference == reference for each in view.subscriptions):
                return _applied_before(view, reference)  # the rules refuse a second one because of it
            raise _refused(decision)
        starts_at = decision.at if isinstance(decision, Plan) else 0
        armed, seen = isinstance(decision, Buy) and decision.armed, list[AccountView]()
        with raising_refused():
            applied = await self._ledger.subscribe(
                view.account_id,
                product=product.terms,
                reference=reference,
                starts_at=starts_at,
                armed=armed,
                separate=payer is Payer.SEPARATE,
                saw=seen.append,
                **when,
            )
        after = seen[0] if seen else await self._ledger.read(view.account_id, **when)
        if not applied:
            return _applied_before(after, reference)
        state = "planned" if starts_at else "armed" if armed else "active"
        return Ordered(applied, state, starts_at or (0 if armed else now), after)


def _is_due(held: SubscriptionView, now: int) -> bool:
    """Its period has ended, or should have begun, and the sweep has not come yet."""
    due = held.starts_at if held.state is SubscriptionState.PLANNED else held.ends_at
    return 0 < due <= now and held.state not in (SubscriptionState.ARMED, SubscriptionState.UNPAID)


def _applied_before(view: AccountView | None, reference: Reference) -> Ordered:
    """What became of the order under the reference."""
    subscriptions = view.subscriptions if view is not None else ()
    held = next((each for each in subscriptions if each.reference == reference), None)
    if held is None:
        return Ordered(False, "", 0, view)
    if held.state in (SubscriptionState.PLANNED, SubscriptionState.ARMED):
        return Ordered(False, held.state.value, held.starts_at, view)
    return Ordered(False, "active", held.starts_at, view)


def _decoded(kept: bytes) -> End:
    facts = orjson.loads(kept)
    return End(**facts | {"shares": tuple(BenefitShare(**each) for each in facts["shares"])})


def _refused(decision: Refused) -> RefusedError:
    text = REASONS[decision.code].format(product=decision.product)
    return RefusedError(decision.code, text + (f"; until {utc_text(decision.until)}" if decision.until else ""))
