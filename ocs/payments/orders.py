"""Payment orders from their beginning to the credit: each step is stored before the next one begins, and may be done
again, by the loop, a notification or a person at the same time. So a crash between any two of them neither debits nor
credits twice, and nothing is lost.

What is sent to the provider has the order's id as Idempotency-Key. What is credited has a reference made of it. An
order is replaced only in the version that was read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

from ocs.accounts.errors import RefusedError, UnknownError
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.payments import (
    OrderKind,
    OrderResult,
    OrderState,
    PaymentOrder,
    new_order_id,
)
from ocs.ledger.contract.views import AccountView
from ocs.payments import provider as providers
from ocs.payments.collecting import HTTP, SEPA, Collecting, Ledger, NoMetrics, Offer, OrderMetrics, acting
from ocs.payments.mandates import Mandate
from ocs.payments.provider import Answer
from ocs.policy import payments as policy
from ocs.policy.life import BlockReason
from ocs.policy.payments import Outcome
from ocs.values.moment import DAY_S, When, when_of
from ocs.values.top_ups import Channel

FILE_DUE = 253_402_300_799
"""`due` of an order that waits for a file of the bank, or for a person."""
OWN_STEP_S = 20
"""How long a step may take before the loop repeats it."""
CREDIT_AGAIN_S = DAY_S
"""A paid order that would lift the credit above 200 EUR (HOT-ACC-7) is credited when there is room; it is tried so
often.
"""
MAX_MOVES = 4
COLLECTED_BY = {SEPA: "sepa", HTTP: "provider"}
"""Who collects → the kind of mandate that it needs."""
REFUSED = {
    "ceiling": "with it the credit would exceed 200 EUR (HOT-ACC-7)",
    "orders": "too many payments of the account are under way",
    "state": "the account has ended",
}


class PaymentOrders:
    """`now` gives Unix seconds; `rng` makes order ids and spreads retries."""

    def __init__(
        self,
        ledger: Ledger,
        offer: Offer,
        collecting: Collecting,
        now: Callable[[], int],
        rng: Random,
        metrics: OrderMetrics | None = None,
    ) -> None:
        self._ledger, self._offer, self._by = ledger, offer, collecting
        self._now, self._rng, self._metrics = now, rng, metrics or NoMetrics()

    def when(self) -> When:
        return when_of(self._offer.when(self._now()))

    # -- ordering

    async def order_top_up(self, account_id: str) -> OrderResult:
        """Order the automatic top-up of an account on the work list (HOT-TOP-4). The ledger looks again whether it is
        below its mark, and whether HOT-TOP-5 allows it. LedgerError: "state" (terminated), "moved", "unknown".
        """
        view = await self._ledger.read(account_id, **self.when())
        if view is None:
            raise LedgerError("unknown", "the account has moved or ended")
        payer = await self.payer_of(view)
        order = PaymentOrder(
            new_order_id(account_id, self._rng.getrandbits(32)),
            account_id,
            OrderKind.AUTOMATIC,
            policy.top_up_amount(view, self._offer.products),
            payer=payer,
            provider=self._by.automatic,
        )
        result = await self._ledger.order_top_up(account_id, order=order, later_s=policy.LOOK_AGAIN_S, **self.when())
        if result.word == "ok":
            self._metrics.payment_order(order.kind.value, OrderState.ORDERED.value)
        return result

    @property
    def collects(self) -> bool:
        """Whether somebody collects automatic top-ups."""
        return bool(self._by.automatic)

    async def payer_of(self, view: AccountView) -> str:
        """Whose mandate pays: the first that whoever collects can use; "" = nobody's."""
        for payer in policy.payers(view):
            if await self._usable_mandate(payer, self._by.automatic) is not None:
                return payer
        return ""

    async def _usable_mandate(self, payer: str, collected_by: str) -> Mandate | None:
        if self._by.mandates is None or not payer:
            return None
        mandate = await self._by.mandates.read(payer)
        return mandate if mandate is not None and mandate.by == COLLECTED_BY.get(collected_by) else None

    async def start_payment(self, account_id: str, *, amount_micro_eur: int, reference: str) -> PaymentOrder:
        """The order of `start`."""
        return (await self.start(account_id, amount_micro_eur=amount_micro_eur, reference=reference))[0]

    async def start(self, account_id: str, *, amount_micro_eur: int, reference: str) -> tuple[PaymentOrder, bool]:
        """Begin a one-off payment, once per reference; its subscriber pays at `redirect_url`. Returns the order, and
        whether it is new; a repetition returns it as it is now.

        RefusedError: "provider" (there is none, or it refused), "ceiling" (HOT-ACC-7), "orders", "state", "reference"
        (used with another amount).
        """
        if self._by.provider is None:
            raise RefusedError("provider", "there is no payment provider: see payments.url")
        order = PaymentOrder(
            new_order_id(account_id, self._rng.getrandbits(32)),
            account_id,
            OrderKind.ONE_OFF,
            amount_micro_eur,
            reference=reference,
            provider=HTTP,
        )
        result = await self._ledger.order_one_off(account_id, order=order, **self.when())
        if result.order is None:
            raise RefusedError(result.word, REFUSED.get(result.word, result.word))
        if result.order.amount_micro_eur != amount_micro_eur:
            raise RefusedError("reference", "this reference was used for another amount")
        if result.word == "ok":
            self._metrics.payment_order(order.kind.value, OrderState.ORDERED.value)
        is_new = result.word == "ok"
        if result.order.state is OrderState.ORDERED:
            return await self._send(result.order), is_new
        return result.order, is_new

    # -- one step

    async def advance(self, order: PaymentOrder) -> PaymentOrder:
        """Do what is to be done for the order next. UncertainError: the provider gave no certain answer; the order is
        tried again later.
        """
        if order.state is OrderState.SUCCEEDED:
            return await self._credit(order)
        if order.state is OrderState.ORDERED and order.provider != SEPA:
            return await self._send(order)
        if order.state is OrderState.SUBMITTED and order.provider == HTTP:
            return await self._ask(order)
        if order.state is OrderState.SUBMITTED and order.provider == SEPA:
            # The bank has reported no failure (payments.settled_after_days).
            return await self.learn(order, Answer(Outcome.SUCCEEDED))
        if order.state is OrderState.ORDERED:
            return await self._wait_for_file(order)
        return await self.store(replace(order, due=0), told=False) or order

    async def _wait_for_file(self, order: PaymentOrder) -> PaymentOrder:
        if why := await self.why_not(order):
            return await self.fail(order, why, released=True)
        return await self.store(replace(order, due=FILE_DUE), told=False) or order

    async def why_not(self, order: PaymentOrder) -> str:
        """Why an automatic order that nobody has sent yet cannot be sent; "" = it can."""
        if order.kind is not OrderKind.AUTOMATIC or order.tries:
            return ""
        if order.provider != self._by.automatic:
            return "nobody-collects"
        if await self.mandate_of(order) is None:
            return "no-mandate"
        account_id = await self._account_of(order)
        view = await self._ledger.read(account_id, **self.when()) if account_id else None
        if view is None or view.state == "terminated":
            return "terminated"
        if not view.package:
            return "no-package"
        return ""

    async def mandate_of(self, order: PaymentOrder) -> Mandate | None:
        """The mandate that pays now; it may be another than when it was ordered."""
        return await self._usable_mandate(order.payer, order.provider)

    async def _send(self, order: PaymentOrder) -> PaymentOrder:
        """Send the order. What was sent before without an answer is asked for first."""
        if why := await self.why_not(order):
            return await self.fail(order, why, released=True)
        if self._by.provider is None:
            return await self.fail(order, "nobody-collects", released=order.tries == 0)
        if self._is_given_up(order):
            return await self.fail(order, "no-answer", released=False)
        noted = await self.store(self._tried(order), told=False)
        if noted is None:
            return await self._ledger.read_order(order.id)
        try:
            known = await self._by.provider.outcome(noted) if order.tries else None
            return await self.learn(noted, known or await self._create(noted))
        except providers.RefusedError as error:
            return await self.fail(noted, str(error), released=True)

    async def _create(self, order: PaymentOrder) -> Answer:
        assert self._by.provider is not None
        if order.kind is OrderKind.ONE_OFF:
            return await self._by.provider.pay(order)
        mandate = await self.mandate_of(order)
        if mandate is None:
            raise providers.RefusedError("no-mandate")
        return await self._by.provider.debit(order, mandate.token)

    async def _ask(self, order: PaymentOrder) -> PaymentOrder:
        """The notification has not come: ask for the outcome."""
        if self._by.provider is None or self._is_given_up(order):
            return await self.fail(order, "no-outcome", released=False)
        noted = await self.store(self._tried(order), told=False)
        if noted is None:
            return await self._ledger.read_order(order.id)
        known = await self._by.provider.outcome(noted)
        if known is None:
            return await self.fail(noted, "unknown-to-provider", released=False)
        return noted if known.outcome is Outcome.PENDING else await self.learn(noted, known)

    def _tried(self, order: PaymentOrder) -> PaymentOrder:
        tries = order.tries + 1
        later_s = OWN_STEP_S + policy.retry_after_s(tries, self._rng.random())
        return replace(order, tries=tries, due=self._now() + later_s)

    @staticmethod
    def _is_given_up(order: PaymentOrder) -> bool:
        most = policy.MAX_ONE_OFF_TRIES if order.kind is OrderKind.ONE_OFF else policy.MAX_TRIES
        return order.tries >= most

    # -- outcomes

    async def learn(self, order: PaymentOrder, answer: Answer) -> PaymentOrder:
        """Apply what the provider or the bank says: at once if it is paid, so that the credit is there. What is old, or
        was applied before, changes nothing.
        """
        while True:
            state = policy.after(order.state, answer.outcome)
            if state is None:
                return order
            if state is OrderState.FAILED:
                return await self.fail(order, answer.reason or "refused", released=False)
            if state is OrderState.RETURNED:
                return await self._take_back(order, answer.reason)
            new = replace(
                order,
                state=state,
                reason="",
                tries=0,
                due=self._now() if state is OrderState.SUCCEEDED else self._first_look(),
                provider_id=answer.provider_id or order.provider_id,
                redirect_url=answer.redirect_url or order.redirect_url,
            )
            stored = await self.store(new)
            if stored is not None:
                return await self._credit(stored) if state is OrderState.SUCCEEDED else stored
            order = await self._ledger.read_order(order.id)

    def _first_look(self) -> int:
        return self._now() + OWN_STEP_S + policy.retry_after_s(1, self._rng.random())

    async def learn_of(self, order_id: str, answer: Answer) -> PaymentOrder:
        """`learn` of an order by its id: a notification. UnknownError: "order"."""
        return await self.learn(await self.read(order_id), answer)

    async def read(self, order_id: str) -> PaymentOrder:
        """UnknownError: "order"."""
        try:
            return await self._ledger.read_order(order_id)
        except LedgerError as error:
            raise UnknownError("order", str(error)) from None

    async def fail(self, order: PaymentOrder, reason: str, *, released: bool) -> PaymentOrder:
        """The order has failed. The account is noted first, so that a crash cannot lose its next order. `released`: no
        bank has heard of it.
        """
        while True:
            if order.state not in (OrderState.ORDERED, OrderState.SUBMITTED):
                return order
            if order.kind is OrderKind.AUTOMATIC:
                await self._at_account(order, self._note_failure(order, released))
            stored = await self.store(replace(order, state=OrderState.FAILED, reason=reason, due=0))
            if stored is not None:
                return stored
            order = await self._ledger.read_order(order.id)

    def _note_failure(self, order: PaymentOrder, released: bool) -> Callable[[str], Awaitable[object]]:
        async def note(account_id: str) -> None:
            await self._ledger.order_failed(
                account_id,
                order_id=order.id,
                released=released,
                later_s=policy.ORDER_AGAIN_S,
                most=policy.MAX_FAILED_ORDERS,
                **self.when(),
            )

        return note

    async def _credit(self, order: PaymentOrder) -> PaymentOrder:
        """Credit what is paid, once (HOT-TOP-1)."""

        async def top_up(account_id: str) -> None:
            await self._ledger.top_up(
                account_id,
                amount_micro_eur=order.amount_micro_eur,
                reference=order.credit_reference,
                channel=Channel.AUTOMATIC if order.kind is OrderKind.AUTOMATIC else Channel.ONE_OFF,
                **self.when(),
            )

        try:
            with acting(order):
                found = await self._at_account(order, top_up)
        except LedgerError as error:
            if error.code == "ceiling":
                return await self.store(replace(order, reason="ceiling", due=self._now() + CREDIT_AGAIN_S)) or order
            if error.code != "state":
                raise
            found = False
        if found:
            done = replace(order, state=OrderState.CREDITED, reason="", due=0)
        else:  # it stays listed, for a person
            done = replace(order, state=OrderState.REFUND_DUE, reason="terminated", due=FILE_DUE)
        stored = await self.store(done)
        return stored or await self._ledger.read_order(order.id)

    async def _take_back(self, order: PaymentOrder, reason: str) -> PaymentOrder:
        """The money went back to the payer's bank (R-transaction): the account gives back what it has, first."""
        taken = 0
        block = BlockReason.NON_PAYMENT.value if self._offer.blocks_returned_payments else ""
        while order.state is not OrderState.RETURNED:

            async def take_back(account_id: str, order: PaymentOrder = order) -> None:
                nonlocal taken
                taken = await self._ledger.take_back(account_id, order=order, reason=reason, block=block, **self.when())

            with acting(order):
                await self._at_account(order, take_back)
            was_paid = order.state in (OrderState.CREDITED,) or taken > 0
            owed = order.amount_micro_eur - taken if was_paid else 0
            new = replace(order, state=OrderState.RETURNED, reason=reason, owed_micro_eur=owed, due=0)
            order = await self.store(new) or await self._ledger.read_order(order.id)
        return order

    # -- shared by the steps

    async def store(self, order: PaymentOrder, *, told: bool = True) -> PaymentOrder | None:
        """Replace the order, if nobody has changed it since it was read; `told`: with an event. None = somebody has."""
        with acting(order):
            stored = await self._ledger.store_order(order, told=told, **self.when())
        if stored is not None and told:
            self._metrics.payment_order(order.kind.value, order.state.value)
        return stored

    async def _account_of(self, order: PaymentOrder) -> str | None:
        """Present id of the order's account."""
        return await self._ledger.find_account(order.account_id.partition("-")[2], order.account_id)

    async def _at_account(self, order: PaymentOrder, work: Callable[[str], Awaitable[object]]) -> bool:
        """Do `work` with the account's present id; it may move meanwhile. False = there is no such account."""
        account_id: str | None = order.account_id
        for _ in range(MAX_MOVES):
            if account_id is None:
                return False
            try:
                await work(account_id)
            except LedgerError as error:
                if error.code not in ("moved", "unknown"):
                    raise
                account_id = await self._account_of(order)
            else:
                return True
        raise LedgerError("moved", "the account moves again and again")
