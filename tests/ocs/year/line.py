"""A subscriber's line: what the network reports and the subscriber buys goes to the charging system and onto paper."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date, datetime
from random import Random
from typing import Any

from ocs.accounts.errors import AccountError, UnknownError
from ocs.accounts.inputs import Reference
from ocs.accounts.keywords import KeywordOperations
from ocs.accounts.operations import AccountOperations
from ocs.accounts.pools import PoolOperations
from ocs.accounts.products import ProductOperations
from ocs.ledger.contract.views import AccountView
from ocs.values.identities import Imsi, Msisdn
from ocs.values.products import Product
from ocs.values.use import BarName
from protocol.credit_control import (
    REFUND_ACCOUNT,
    CreditControlAnswer,
    MultipleServicesCreditControl,
    ServiceInformation,
)
from simulator.paper_account import PaperAccount
from simulator.paper_counters import LIMIT
from simulator.paper_entries import Pool
from simulator.paper_presence import SURCHARGE, PaperPresence
from simulator.paper_products import LIFE_S, RUNNING
from simulator.price_sheet import PriceSheet, Row
from tests.ocs.charging.ccr import ccr, messages
from tests.ocs.rules.world import EUR, World
from tests.ocs.year.asked import Asked, country_of
from tests.ocs.year.clock import YearClock
from tests.ocs.year.network import Network
from tests.ocs.year.sheet import ZONE

CAP = "roaming-data"
SETTLED = (2001, 4010, 4012)
"""Result-Codes with which reported use has been charged."""


class Line:
    """One account: in the ledger, and on paper."""

    on_paper = True

    def __init__(self, world: World, clock: YearClock, sheet: PriceSheet, number: int, seed: int) -> None:
        self.world, self.clock, self.sheet = world, clock, sheet
        self.random = Random(seed * 1000 + number)
        self.number = number
        self.msisdn = Msisdn(str(38668100000 + number))
        self.imsi = Imsi(str(293400000000000 + number))
        self.desk = AccountOperations(world.ledger, world.catalogue, lambda: world.now, lambda: number + 1)
        self.shop = ProductOperations(self.desk, world.ledger, world.catalogue, lambda: world.now)
        self.account_ids: list[str] = []
        self.paper = PaperAccount(sheet, ZONE)
        self.network = Network()
        self.presence = PaperPresence()
        self.paper.limits = {LIMIT: 100 * EUR, CAP: 60 * EUR}
        self.sessions = self.requests = 0
        self.refusals: Counter[int | str] = Counter()
        """Result-Codes, and codes of orders."""
        self.orders = 0
        self.barred = self.by_care = False
        self.background = 0
        """Sessions that run while other things are done."""
        self.sharing: list[Line] = [self]
        """Lines whose accounts share a pool."""

    @property
    def account_id(self) -> str:
        return self.account_ids[-1]

    @property
    def surcharged(self) -> bool:
        """By presence (HOT-ROA-4), or by care (HOT-ROA-8)."""
        return self.by_care or self.presence.state == SURCHARGE

    @property
    def now(self) -> int:
        return self.clock.now

    # -- money and products

    async def open(self, credit: float, product: str, *, unused: bool = False) -> None:
        micro_eur, now = round(credit * EUR), self.now
        account_id = await self.desk.open_without_reading(
            msisdn=self.msisdn,
            imsi=self.imsi,
            credit_micro_eur=micro_eur,
            package=self.world.catalogue.packages[product] if product else None,
            unused=unused,
        )
        self.account_ids.append(account_id)
        self.paper.open(now, micro_eur, product, unused=unused)

    def _reference(self) -> Reference:
        self.orders += 1
        return Reference(f"{self.msisdn}-{self.orders}")

    async def top_up(self, amount: float, *, promotional: bool = False) -> bool:
        """Whether it was accepted."""
        micro_eur, now, reference = round(amount * EUR), self.now, self._reference()
        wanted = {"amount_micro_eur": micro_eur, "reference": reference, "promotional": promotional}
        try:
            assert (await self.desk.top_up(self.msisdn, **wanted)).applied
        except AccountError as error:
            self.paper.pass_time(now)
            over = self.paper.terminated or now >= self.paper.active_until + LIFE_S
            if self.on_paper:
                assert error.code in (("state", "account") if over else ("ceiling",)), error
                assert over or self.paper.credit + micro_eur > 200 * EUR
            return False
        self.paper.top_up(now, micro_eur, promotional=promotional)
        if self.random.random() < 0.1:
            assert not (await self.desk.top_up(self.msisdn, **wanted)).applied, "a repetition is applied once"
        return True

    async def buy(self, id_: str) -> str:
        """ "ok", or why it was refused."""
        product, reference, now = self._product(id_), self._reference(), self.now

        async def order() -> bool:
            return (await self.shop.buy(self.msisdn, product=product, reference=reference)).applied

        refused = await self._refused(order, id_)
        if not refused:
            self.paper.buy(now, id_, armed=product.first_use)
            if self.random.random() < 0.2:
                assert not await order(), "a repetition is applied once"
        return refused or "ok"

    async def order_by_text(self, id_: str) -> str:
        """By SMS, and by another one within five minutes (HOT-PKG-12): the key of the last answer."""
        words, product = self._texts(), self._product(id_)
        try:
            await words.handle(self.msisdn, product.keyword)
            await self.clock.until(self.now + 200)
            now = self.now
            done = await words.handle(self.msisdn, f"{product.keyword} DA")
        except UnknownError as error:
            self.paper.pass_time(self.now)
            assert self.paper.terminated or not self.on_paper, error
            return error.code
        if done.key in ("bought", "armed"):
            self.paper.buy(now, id_, armed=done.key == "armed")
        elif done.key.startswith("refused-"):
            self.paper.pass_time(now)
            if self.on_paper:
                self._expect_refusal(done.key.removeprefix("refused-"), id_, now)
        return done.key

    def _texts(self) -> KeywordOperations:
        world = self.world
        return KeywordOperations(self.desk, self.shop, world.ledger, world.catalogue, lambda: world.now, 1024)

    async def plan(self, id_: str, on: date) -> str:
        product, reference, now = self._product(id_), self._reference(), self.now
        starts = int(datetime(on.year, on.month, on.day, tzinfo=ZONE).timestamp())

        async def order() -> bool:
            return (await self.shop.plan(self.msisdn, product=product, on=on, reference=reference)).applied

        refused = await self._refused(order, id_)
        if not refused:
            self.paper.buy(now, id_, starts=starts)
        return refused or "ok"

    async def change(self, id_: str) -> str:
        """To another tariff (HOT-PKG-6)."""
        product, reference, now = self._product(id_), self._reference(), self.now

        async def order() -> bool:
            return (await self.shop.change(self.msisdn, product=product, reference=reference)).applied

        refused = await self._refused(order, id_)
        if not refused:
            self.paper.buy(now, id_)
        return refused or "ok"

    async def follow(self, id_: str) -> None:
        """Another tariff from the next period on."""
        now, view = self.now, await self.view()
        tariff = next((s for s in view.subscriptions if s.group == "package" and s.state == "active"), None)
        if tariff is not None:
            terms = self._product(id_).terms
            await self.world.ledger.set_next(self.account_id, tariff.instance, product=terms, **self.world.when)
            self.paper.follow(now, id_)

    async def cancel(self, id_: str, *, at_once: bool = False) -> str:
        now, cancelled = self.now, None

        async def order() -> bool:
            nonlocal cancelled
            cancelled = await self.shop.cancel(self.msisdn, product_id=id_, at_once=at_once)
            return True

        refused = await self._refused(order, id_)
        if not refused and (self.on_paper or self.paper.has(id_)):
            assert cancelled is not None
            shares = self.paper.cancel(now, id_, at_once=at_once)
            charged = {share.benefit: share.micro_eur for share in cancelled.shares}
            assert shares == charged or not self.on_paper, (shares, charged)
        return refused or "ok"

    def _product(self, id_: str) -> Product:
        return self.world.catalogue.products[id_]

    async def _refused(self, order: Callable[[], Awaitable[bool]], id_: str) -> str:
        """Why the order was refused, which must hold on paper too; "" = it was accepted."""
        now = self.now
        try:
            assert await order()
        except AccountError as error:
            self.paper.pass_time(now)
            if self.on_paper:
                self._expect_refusal(error.code, id_, now)
            self.refusals[error.code] += 1
            return error.code
        return ""

    def _expect_refusal(self, code: str, id_: str, now: int) -> None:
        paper, product = self.paper, self._product(id_)
        price = self.sheet.article(now, id_).price_micro_eur
        mine = {each.article.id for each in paper.subscriptions}
        used, limit = paper.counted[LIMIT, paper.month(now)], paper.limits[LIMIT]
        reasons = {
            "credit": paper.credit < price or bool(product.terms.benefits),
            "state": paper.state(now) != "active",
            "account": paper.terminated,
            "excluded": any(id_ in self._product(each).terms.excludes for each in mine)
            or bool(mine & set(product.terms.excludes)),
            "barred": bool(mine & set(product.barred_with)),
            "requires": not mine & set(product.requires),
            "tariff": not any(each.article.is_tariff and each.state in RUNNING for each in paper.subscriptions),
            "limit": limit is not None and used + price > limit,
            "same": id_ in mine,
            "planned": any(each.article.is_tariff and each.state == "planned" for each in paper.subscriptions),
            "kind": product.first_use or product.kind in ("fee", "extra"),
            "subscription": id_ not in mine,
        }
        assert reasons.get(code), f"{self.msisdn}: {id_} was refused, {code}"

    # -- settings

    async def block(self, blocked: bool) -> None:
        now = self.now
        with contextlib.suppress(AccountError):
            if blocked:
                await self.desk.block(self.msisdn)
                self.paper.block(now, "care")
            else:
                await self.desk.unblock(self.msisdn)
                self.paper.lift(now)

    async def limit(self, counter: str, eur: float | None) -> None:
        now, micro_eur = self.now, None if eur is None else round(eur * EUR)
        terms = self.world.catalogue.counters.get(counter)
        with contextlib.suppress(UnknownError):
            await self.desk.set_limit(self.msisdn, micro_eur=micro_eur, counter=terms)
            self.paper.set_limit(now, counter, micro_eur)

    async def bars(self, *bars: BarName) -> None:
        now = self.now
        with contextlib.suppress(UnknownError):
            await self.desk.set_bars(self.msisdn, bars=bars)
            self.barred = bool(bars)
        self.paper.pass_time(now)

    async def move(self) -> None:
        """To another partition of the ledger. What is due then waits."""
        with contextlib.suppress(AccountError):
            self.presence = PaperPresence()  # it is observed anew
            partition = (int(self.account_id[:2]) + 1) % self.world.ledger.partitions
            moved = await self.desk.move(self.msisdn, partition=partition)
            self.account_ids.append(moved.account_id)

    async def share(self, first: Line) -> None:
        """Use the units of that line's pool (HOT-PKG-14). Its account must be in the same partition."""
        partition, name = int(first.account_id[:2]), f"group-{first.msisdn}"
        moved = await self.desk.move(self.msisdn, partition=partition)
        if moved.changed:
            self.account_ids.append(moved.account_id)
        await self.world.ledger.open_pool(self.account_id, name, now=self.now)
        await self.world.ledger.join_pool(self.account_id, name, **self.world.when)
        first.paper.pool = first.paper.pool or Pool()
        self.paper.join(self.now, first.paper.pool)
        first.sharing.append(self)
        self.sharing = first.sharing

    async def pool_limit(self, bucket: str, units: int | None, *, common: bool = False) -> None:
        """Of this member, or of all that have none of their own (HOT-PKG-14). The pool has the bucket now."""
        pools, now = (
            PoolOperations(self.desk, self.world.ledger, self.world.catalogue, lambda: self.world.now),
            self.now,
        )
        with contextlib.suppress(AccountError):
            await pools.limit(self.msisdn, bucket=bucket, units=units, common=common)
            self.paper.pass_time(now)
            if self.paper.pool is not None:
                self.paper.pool.set_limit(None if common else self.paper, bucket, units)

    async def sweep(self) -> None:
        now = self.now
        await self.world.ledger.sweep(self.account_id, **self.world.when)
        self.paper.pass_time(now)

    async def view(self) -> AccountView:
        found = await self.world.ledger.read(self.account_id, **self.world.when)
        assert found is not None
        return found

    # -- use

    async def send(
        self,
        context: str,
        kind: str,
        number: int,
        service: MultipleServicesCreditControl,
        sid: str,
        information: ServiceInformation,
        asked: Asked,
        **more: Any,
    ) -> CreditControlAnswer:
        self.requests += 1
        request = ccr(
            kind, number, service, context=context, sid=sid, msisdn=self.msisdn, information=information, **more
        )
        now = self.now
        answer = await self.world.ask(request)
        self._renew_for_the_pool(now)
        step = self.network.note(asked, request, answer, self.msisdn, now)
        if step.code in SETTLED and not step.refund and asked.direction != "fw":
            used = sum(part.used for part in step.parts)
            ends = step.kind in ("T", "E")
            self.presence.use(now, self.paper.day(now), sid, asked.service, asked.place, used, ends=ends)
        self.paper.pass_time(now)
        if answer.result_code in SETTLED:
            self.paper.look(now)
            self.paper.arrive(now, country_of(information))
        if answer.result_code == 2001 and self.random.random() < 0.03:  # the answer was lost on its way
            assert await self.world.ask(request) == answer
        return answer

    def _renew_for_the_pool(self, now: int) -> None:
        """A member's request renews what another line shares, if its period ended in the last ten minutes."""
        for line in self.sharing:
            if line is not self and line.paper.owes_the_pool(now):
                line.paper.pass_time(now)

    def new_session(self) -> str:
        self.sessions += 1
        return f"element.example.net;{self.number};{self.sessions}"

    async def message(
        self, context: str, asked: Asked, information: ServiceInformation, *, refunded: bool = False
    ) -> int:
        """An SMS or MMS as a one-off debit; Result-Code."""
        now, sid = self.now, self.new_session()
        answer = await self.send(context, "E", 0, messages(want=1), sid, information, asked)
        rows = asked.rows(self.sheet, now, self.surcharged)
        if answer.result_code == 2001 and asked.begins_life:
            self.paper.begin(now)
        if answer.result_code in (2001, 4012):
            self.paper.ask(now, rows, 1)
        self.note(answer.result_code, rows, now, 1)
        if answer.result_code == 4012:
            self.paper.stop(now, sid, rows, refused=True)
        if answer.result_code == 2001:
            self.paper.use(now, sid, rows, 1, now)
            if refunded:
                await self._refund(context, answer, sid, information, asked)
        return answer.result_code or 0

    async def _refund(
        self, context: str, answer: CreditControlAnswer, sid: str, information: ServiceInformation, asked: Asked
    ) -> None:
        """The message was not delivered: the client takes its debit back (RFC 8506 §6.4)."""
        await self.clock.until(self.now + 60)
        back, now = messages(want=1), self.now
        back.refund_information = answer.multiple_services_credit_control[0].refund_information
        more = {"requested_action": REFUND_ACCOUNT}
        done = await self.send(context, "E", 1, back, sid, information, asked, **more)
        assert done.result_code == 2001, done
        self.paper.refund(now, sid)

    def note(self, code: int | None, rows: list[Row], now: int, units: int = 0) -> None:
        """A refusal must have its reason on paper too. `units`: what was asked for, all or nothing."""
        if code == 2001:
            return
        self.refusals[code or 0] += 1
        assert code in (4010, 4012, 5030), code
        if not self.on_paper:
            return
        if code == 4010:
            assert self.barred or self.paper.state(now) != "active", f"{self.msisdn}: 4010"
        elif code == 4012 and units and not self.background:
            assert not self.paper.could_pay(now, rows, units), f"{self.msisdn}: 4012 for {rows}"
        elif code == 5030:
            assert self.paper.terminated, f"{self.msisdn}: 5030"
