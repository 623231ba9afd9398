"""Orders and questions by SMS or USSD (HOT-PKG-12, HOT-ACC-12): performs what `ocs.policy.keywords` decides, and words
the answer. The message itself is charged as an SMS when the network asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from ocs.accounts.balance import UnitsLeft, balance_of
from ocs.accounts.errors import RefusedError, raising_refused
from ocs.accounts.inputs import Reference
from ocs.accounts.operations import AccountAndPool, AccountOperations
from ocs.accounts.products import ProductOperations, Sold
from ocs.ledger.contract.operations import AccountLedger
from ocs.ledger.contract.views import AccountView
from ocs.policy import keywords, packs
from ocs.policy.groups import Actor, Payer, payer_of
from ocs.policy.keyword_texts import DATE_FORMATS, TEXTS, render
from ocs.policy.keywords import WINDOW_S, Action, Order, Step
from ocs.values.identities import Msisdn
from ocs.values.language import LANGUAGES
from ocs.values.money import MICRO
from ocs.values.products import Product
from ocs.values.sms_text import ussd_text
from ocs.values.use import Unit

WINDOW = "keyword"
"""Kind of the agenda's entry that ends the window of an order; its `ref` is the product."""
_MULTIPLES = (("GB", 3), ("MB", 2), ("kB", 1))


@dataclass(frozen=True, slots=True)
class Answer:
    key: str
    """Of the text; stable, programs may rely on it."""
    text: str
    product: str = ""
    """Id of the product that was ordered or asked for."""


class KeywordOperations:
    """`now` gives Unix seconds; `kilo`: octets in 1 kB."""

    def __init__(
        self,
        accounts: AccountOperations,
        products: ProductOperations,
        ledger: AccountLedger,
        sold: Sold,
        now: Callable[[], int],
        kilo: int,
    ) -> None:
        self._accounts, self._products, self._ledger = accounts, products, ledger
        self._sold, self._now, self._kilo = sold, now, kilo

    async def handle(self, msisdn: Msisdn, text: str, *, language: str = "") -> Answer:
        """Act on a text of the subscriber, and answer it; `language`: "" = that of the account. UnknownError:
        "account". A text that is repeated because its answer was lost does not buy twice.
        """
        seen = await self._accounts.read(msisdn)
        language = language or seen.view.language or LANGUAGES[0]
        wanted = keywords.read(text, self._sold.products)
        words = _Words(self._sold, self._kilo, language, seen, self._now())
        if not isinstance(wanted, Order):
            return words.question(wanted)
        product = self._sold.products[wanted.product]
        actor = Actor(msisdn=msisdn)
        payer = payer_of(actor, product.kind, seen.view)
        if payer is None:
            return words.order("refused-rights", product)
        open_ = {each.ref: each.at for each in seen.view.reminders if each.kind == WINDOW and each.at > self._now()}
        step = keywords.step(seen.view, wanted, self._sold.products, open_, self._now())
        try:
            key = await self._perform(msisdn, seen.view, product, step, open_.get(product.id, 0), actor)
        except RefusedError as error:
            refused = f"refused-{error.code}"
            key = refused if refused in TEXTS else "refused-state"
        after = await self._accounts.read(msisdn)
        return _Words(self._sold, self._kilo, language, after, self._now()).order(key, product)

    async def ussd(self, msisdn: Msisdn, text: str, *, language: str = "") -> Answer:
        """As `handle`; the answer is one USSD page, in the GSM 7-bit alphabet (HOT-ACC-12)."""
        answer = await self.handle(msisdn, text, language=language)
        return replace(answer, text=ussd_text(answer.text))

    async def _perform(
        self, msisdn: Msisdn, view: AccountView, product: Product, step: Step, window_at: int, actor: Actor
    ) -> str:
        """Returns the key of the answer."""
        if step.action is Action.OPEN_WINDOW:
            await self._set_window(view, product, self._now() + WINDOW_S)
        elif step.action is Action.CLOSE_WINDOW:
            await self._set_window(view, product, 0)
        elif step.action is Action.CANCEL:
            await self._products.cancel(msisdn, product_id=product.id, actor=actor)
        elif step.action is Action.BUY:
            # The window names the order: a repetition is the same order.
            reference = Reference(f"{WINDOW}:{product.id}:{window_at}")
            done = await self._products.buy(msisdn, product=product, reference=reference, actor=actor)
            await self._set_window(view, product, 0)
            return "armed" if done.state == "armed" else step.answer
        return step.answer

    async def _set_window(self, view: AccountView, product: Product, at: int) -> None:
        """`at`: Unix seconds at which it ends, 0 = now."""
        with raising_refused():
            await self._ledger.remind(
                view.account_id, at=at, kind=WINDOW, ref=product.id, **self._sold.when(self._now())
            )


class _Words:
    """Words answers for one account in one language."""

    def __init__(self, sold: Sold, kilo: int, language: str, seen: AccountAndPool, now: int) -> None:
        self._sold, self._kilo, self._language, self._seen, self._now = sold, kilo, language, seen, now

    def question(self, key: str) -> Answer:
        view = self._seen.view
        fields: dict[str, object] = {"credit": self._eur(view.credit_micro_eur), "date": self._date(view.active_until)}
        if key == "balance" and view.has_separate:
            key, fields["separate"] = "balance-separate", self._eur(view.separate_micro_eur)
        if key == "help":
            on_sale = [each for each in self._sold.products.values() if each.is_sold(self._now)]
            fields["keywords"] = ", ".join(each.keyword for each in on_sale if each.keyword)
        elif key == "usage":
            units = [self._left(each) for each in balance_of(view, self._seen.pool).units if each.left != 0]
            fields["units"] = ", ".join(units)
            key = key if units else "usage-none"
        return Answer(key, self._render(key, **fields))

    def order(self, key: str, product: Product) -> Answer:
        view, products = self._seen.view, self._sold.products
        refused = packs.refusal(view, product, products, self._now)
        held = packs.held(view, product.id)
        own = payer_of(Actor(msisdn=view.msisdn), product.kind, view) is Payer.SEPARATE
        other = products.get(refused.product) if refused is not None else None
        fields: dict[str, object] = {
            "product": product.name,
            "keyword": product.keyword,
            "price": self._eur(product.terms.price_micro_eur),
            "credit": self._eur(view.separate_micro_eur if own else view.credit_micro_eur),
            "date": self._date(held.ends_at if held is not None else 0),
            "other": other.name if other is not None else "",
            "minutes": self._counted("within-minutes", WINDOW_S // 60),
        }
        return Answer(key, self._render(key, **fields), product.id)

    def _left(self, units: UnitsLeft) -> str:
        product = self._sold.products.get(units.bucket.rpartition(".")[0])
        name = product.name if product is not None else units.bucket
        return self._render("of", product=name, amount=self._amount(units), date=self._date(units.expires_at))

    def _amount(self, units: UnitsLeft) -> str:
        if units.left is None:
            return self._render(f"unlimited-{units.unit}")
        if units.unit == Unit.SECONDS:
            return self._counted("seconds", units.left // 60)
        if units.unit == Unit.MESSAGES:
            return self._counted("messages", units.left)
        for multiple, power in _MULTIPLES:
            if units.left >= self._kilo**power or multiple == "kB":
                tenths = units.left * 10 // self._kilo**power  # rounded down: not more than there is
                size = self._number(Decimal(tenths) / 10, "0.#")
                return self._render("octets", size=size, multiple=multiple)
        raise AssertionError("kB is the last multiple")

    def _counted(self, key: str, count: int) -> str:
        return self._render(key, count=count)

    def _render(self, key: str, **fields: object) -> str:
        return render(key, self._language, self._sold.answers, **fields)

    def _eur(self, micro_eur: int) -> str:
        return self._number(Decimal(micro_eur // (MICRO // 100)) / 100, "0.00")  # cents, rounded down

    def _number(self, value: Decimal, form: str) -> str:
        from babel.numbers import format_decimal

        return format_decimal(value, form, locale=self._language)

    def _date(self, unix_s: int) -> str:
        from babel.dates import format_date

        day = datetime.fromtimestamp(unix_s, self._sold.time_zone).date()
        return format_date(day, DATE_FORMATS[self._language], locale=self._language)
