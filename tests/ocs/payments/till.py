"""A subscriber's account, the payment provider of the simulator, and what drives payment orders between them, with one
clock that the test sets.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from functools import partial
from typing import Any

from aiohttp import web
from cryptography.fernet import Fernet, MultiFernet

from ocs.accounts.errors import AccountError
from ocs.catalogue.versions import Catalogues
from ocs.ledger.contract.payments import OrderState, PaymentOrder
from ocs.payments.collecting import Collecting
from ocs.payments.driver import PaymentDriver
from ocs.payments.http_provider import HttpProvider
from ocs.payments.mandates import Mandates, provider_mandate, sepa_mandate
from ocs.payments.orders import PaymentOrders
from ocs.payments.signing import SignatureError
from ocs.payments.webhook import WebhookReceiver
from ocs.policy.payments import account_payer
from simulator.payment_provider import PaymentProvider
from tests.catalogue import CATALOGUE
from tests.ocs.rules.world import Subscriber, World, world_on

SECRET, WEBHOOK_SECRET = b"s" * 32, b"w" * 32
IBAN = "SI56192001234567892"
EUR = 1_000_000
DAY_S = 86_400


class NoMetrics:
    def set(self, name: str, value: float, *labels: str) -> None:
        pass

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        pass

    def provider_call(self, operation: str, result: str, seconds: float) -> None:
        pass

    def payment_order(self, kind: str, state: str) -> None:
        pass


class Till:
    def __init__(self, world: World, provider: PaymentProvider, http: HttpProvider, automatic: str) -> None:
        self.world, self.provider, self.http = world, provider, http
        self.ledger: Any = world.ledger
        self.mandates = Mandates(self.ledger, MultiFernet([Fernet(Fernet.generate_key())]))
        self.collecting = Collecting(automatic, http, self.mandates)
        self.orders, self.driver = self.drivers(self.ledger)
        self.receiver = WebhookReceiver(WEBHOOK_SECRET, self.orders, lambda: world.now, tolerance_s=300)

    def drivers(self, ledger: Any, collecting: Collecting | None = None) -> tuple[PaymentOrders, PaymentDriver]:
        """New ones, as of a process that has started again. `ledger`, `collecting`: those that fail in a test."""
        assert isinstance(self.world.catalogue, Catalogues)
        orders = PaymentOrders(
            ledger, self.world.catalogue, collecting or self.collecting, lambda: self.world.now, random.Random()
        )
        driver = PaymentDriver(
            ledger,
            orders,
            partitions=self.ledger.partitions,
            now=lambda: self.world.now,
            stopwatch=lambda: float(self.world.now),
            metrics=NoMetrics(),
            together=4,
        )
        return orders, driver

    async def user(
        self, credit: float, package: str | None = "MINI", *, mark: float = 2, token: str = "tok"
    ) -> Subscriber:
        """An account with an automatic top-up, paid by the provider's `token`, or by a SEPA mandate ("sepa")."""
        user = await self.world.subscriber(credit, package)
        signed_on = date(2026, 10, 1)
        if token == "sepa":
            mandate = sepa_mandate(iban=IBAN, name="Ana Žagar", signed_on=signed_on)
            await self.mandates.put(account_payer(user.account_id), mandate)
        elif token:
            mandate = provider_mandate(token=token, name="Ana Žagar", signed_on=signed_on)
            await self.mandates.put(account_payer(user.account_id), mandate)
        if mark:
            await self.switch(user, mark)
        return user

    async def switch(self, user: Subscriber, mark: float) -> bool:
        return bool(
            await self.ledger.set_auto_top_up(user.account_id, below_micro_eur=round(mark * EUR), **self.world.when)
        )

    async def rounds(self, seconds: int = 0, *, step_s: int = 600) -> None:
        """Drive all orders, again after each `step_s` until so many seconds have passed."""
        await self.driver.look_at_all()
        while seconds > 0:
            self.world.now += min(step_s, seconds)
            seconds -= step_s
            await self.driver.look_at_all()

    async def orders_of(self, user: Subscriber) -> list[PaymentOrder]:
        return list(await self.ledger.orders_of(user.account_id))

    async def states(self, user: Subscriber) -> list[OrderState]:
        """Of the account's orders, the newest first."""
        return [order.state for order in await self.orders_of(user)]


async def _webhook(till: Till, request: web.Request) -> web.Response:
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        order = await till.receiver.receive(headers, await request.read())
    except SignatureError:
        return web.Response(status=401)
    except AccountError:
        return web.Response(status=404)
    return web.json_response({"state": order.state.value})


@asynccontextmanager
async def till_on(url: str, *, automatic: str = "http", **settings: Any) -> AsyncIterator[Till]:
    async with world_on(url, **settings) as world:
        await world.price_lists(CATALOGUE.read_text())
        provider = PaymentProvider(SECRET, WEBHOOK_SECRET, clock=lambda: float(world.now))
        http = HttpProvider(
            await provider.start(),
            SECRET,
            timeout_s=2.0,
            max_in_flight=4,
            return_url="https://shop.example.net/paid",
            clock=lambda: float(world.now),
            metrics=NoMetrics(),
        )
        runner = None
        try:
            till = Till(world, provider, http, automatic)
            app = web.Application()
            app.add_routes([web.post("/webhook", partial(_webhook, till))])
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            provider.webhook_url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
            yield till
        finally:
            await http.close()
            await provider.close()
            if runner is not None:
                await runner.cleanup()
