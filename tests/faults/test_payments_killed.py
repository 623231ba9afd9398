"""`ocs serve` with a payment provider: backoffice and API are killed (kill -9) again and again while use takes accounts
below their marks and the provider fails at random. Each account is debited once for each order and credited once.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ocs.ledger.audit import audit
from ocs.ledger.contract.payments import OrderState
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.payments.mandates import Mandates, new_key, provider_mandate, read_keys
from ocs.policy.payments import account_payer
from ocs.process.processes import command_line
from ocs.values.products import PackageTerms
from simulator.payment_provider import Behaviour, PaymentProvider
from tests.conftest import RedisServer
from tests.faults.client import Client, data_request
from tests.faults.harness import CONFIG, PARTITIONS, Serving
from tests.ocs.ledger.books import flush
from tests.rules import rule
from tests.waiting import wait_for

MB = 1024 * 1024
EUR = 1_000_000
MINI = 6_990_000
PACKAGE = PackageTerms("OLD-MINI", MINI, 30 * 86_400, ())
ACCOUNTS, KILLS = 24, 12
SECRET, WEBHOOK_SECRET = b"s" * 32, b"w" * 32
PAYMENTS = """
[payments]
automatic = "http"
url = "{url}"
secret_file = "secret"
webhook_secret_file = "webhook"
mandate_key_file = "key"
timeout_ms = 1000
"""


class Bank:
    """The provider, in a thread with a loop of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.provider = PaymentProvider(SECRET, WEBHOOK_SECRET, behaviour=Behaviour(settles_after_s=0.3))
        self.url = self.run(self.provider.start())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def close(self) -> None:
        self.run(self.provider.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@contextmanager
def serving(folder: Path, redis: RedisServer, bank: Bank) -> Iterator[Serving]:
    home = folder / "ocs"
    home.mkdir()
    (home / "secret").write_bytes(SECRET)
    (home / "webhook").write_text("whsec_" + base64.b64encode(WEBHOOK_SECRET).decode())
    new_key(home / "key")
    config = CONFIG.replace('[api]\nlisten = ""', '[api]\nlisten = "127.0.0.1:0"')
    server = Serving(home, redis.url, config + PAYMENTS.format(url=bank.url))
    try:
        yield server
    finally:
        server.end()


def process(server: Serving, role: str) -> int:
    """Process id, 0 while there is none."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text(encoding="ascii")
    found = (int(pid) for pid in children.split() if f"ocs.process.{role}" in " ".join(command_line(int(pid))))
    return next(found, 0)


async def with_ledger(redis: RedisServer, work: Any) -> Any:
    ledger = await RedisLedger.connect(redis.url, LedgerSettings(partitions=PARTITIONS))
    try:
        return await work(ledger)
    finally:
        await ledger.close()


def when() -> dict[str, int]:
    return {"now": int(time.time()), "month": int(time.strftime("%Y%m", time.gmtime()))}


async def opened(ledger: RedisLedger, mandates: Mandates, number: int) -> str:
    """An account with 2.05 EUR; its package, which is sold no more, has no units: credit pays."""
    msisdn = str(38668100000 + number)
    account_id = await ledger.open_account(
        msisdn=msisdn,
        imsi=str(293400000000000 + number),
        credit_micro_eur=MINI + 2_050_000,
        package=PACKAGE,
        entropy=random.getrandbits(64),
        **when(),
    )
    mandate = provider_mandate(token=f"tok-{number}", name="Ana", signed_on=date(2026, 10, 1))
    await mandates.put(account_payer(account_id), mandate)
    return account_id


def use(client: Client, number: int) -> None:
    """A data session; it costs more than 0.05 EUR."""
    msisdn, sid = str(38668100000 + number), f"pgw.example.net;7;{number}"
    assert client.ask(data_request(msisdn, sid, 1, 0, want=20 * MB)).result_code == 2001
    assert client.ask(data_request(msisdn, sid, 3, 1, used=20 * MB)).result_code == 2001


@pytest.mark.long
@rule("HOT-TOP-1", "HOT-TOP-4", "HOT-TOP-5")
def test_processes_that_are_killed_neither_debit_twice_nor_credit_twice(redis_7: RedisServer, tmp_path: Path) -> None:
    chance = random.Random(14)
    bank = Bank()
    try:
        flush(redis_7.url)  # other tests of this process have used it
        with serving(tmp_path, redis_7, bank) as server:
            address = wait_for(lambda: server.facts().get("api"))
            bank.provider.webhook_url = f"http://{address}/v1/payments/webhook"
            accounts = asyncio.run(with_ledger(redis_7, lambda ledger: prepare(ledger, tmp_path / "ocs" / "key")))
            with closing(server.connect()) as client:
                for number in range(ACCOUNTS):
                    use(client, number)
                    if number % (ACCOUNTS // KILLS) == 0:
                        disturb(bank, server, chance)
            bank.provider.behaviour.fail_before.clear()
            bank.provider.behaviour.fail_after.clear()
            wait_for(lambda: asyncio.run(with_ledger(redis_7, lambda ledger: settled(ledger, accounts))), 150)
            asyncio.run(with_ledger(redis_7, lambda ledger: check(ledger, accounts, bank.provider)))
    finally:
        bank.close()


def disturb(bank: Bank, server: Serving, chance: random.Random) -> None:
    """Let the provider fail a few times, and kill one process."""
    behaviour = bank.provider.behaviour
    behaviour.fail_before.append(chance.choice((0, 503)))
    behaviour.fail_after.append(chance.choice((0, 502)))
    time.sleep(chance.random() * 0.8)
    role = chance.choice(("backoffice", "backoffice", "api"))
    pid = wait_for(lambda: process(server, role))
    os.kill(pid, signal.SIGKILL)


async def prepare(ledger: RedisLedger, key: Path) -> list[str]:
    mandates = Mandates(ledger, read_keys(str(key)))
    accounts = []
    for number in range(ACCOUNTS):
        account_id = await opened(ledger, mandates, number)
        await ledger.set_auto_top_up(account_id, below_micro_eur=2 * EUR, **when())
        accounts.append(account_id)
    return accounts


async def settled(ledger: RedisLedger, accounts: list[str]) -> bool:
    """Each account has an order, and none is open."""
    for account_id in accounts:
        orders = await ledger.orders_of(account_id)
        if not orders or any(order.is_open for order in orders):
            return False
    return True


async def check(ledger: RedisLedger, accounts: list[str], provider: PaymentProvider) -> None:
    credited = set()
    for account_id in accounts:
        orders = await ledger.orders_of(account_id)
        states = [order.state for order in orders]
        assert states == [OrderState.CREDITED], (account_id, orders)
        credited.add(orders[0].id)
        view = await ledger.read(account_id, **when())
        assert view is not None
        assert view.paid_in_micro_eur == 2 * MINI + 2_050_000
    assert {key for key, each in provider.taken.items() if each.status == "succeeded"} == credited
    assert (await audit(ledger, **when())).ok
