"""A steady mix of what clients ask for. Each lane has accounts of its own and does one thing after the other, so that
its books say what each account must have.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from decimal import Decimal
from typing import Any

from tests.faults.kills.books import DATA_ABROAD_PER_320_KB, DATA_HOME_PER_MB, EUR, MB, MINI, Account, Books
from tests.faults.kills.client import Api, Line

SERBIA = "22003"
PUK = "12345678"
PORTION = 320 * 1024
LOW, HIGH, FULL = 20 * EUR, 90 * EUR, 140 * EUR
"""Credit below which only money comes in, above which none does, above which it only goes out."""
VOUCHER = 10 * EUR
PACKS = {"SMS-200": 7_000_000, "MMS-50": 5_000_000}
PAUSE_S = 0.15
"""Between two operations of a lane."""
CREDITED_S = 600
"""Longest wait for an automatic top-up: an outcome that was not told is asked for after 30 s, then after a minute, …"""
_references = itertools.count(1)


def eur(micro_eur: int) -> str:
    return f"{micro_eur // EUR}.{micro_eur % EUR // 10_000:02}"


class Lane:
    """An administrator and two members of a business group."""

    def __init__(self, number: int, api: Api, line: Line, books: Books, vouchers: list[str], seed: int) -> None:
        self.number, self.api, self.line, self.books, self.vouchers = number, api, line, books, vouchers
        self.random = random.Random(f"{seed}-{number}")
        self.accounts: list[Account] = []
        self.sessions = itertools.count(1)

    async def prepare(self) -> None:
        for each in range(3):
            msisdn = f"3866810{self.number:02}{each:02}"
            body = {"msisdn": msisdn, "imsi": "2934000" + msisdn[-8:], "credit": "50.00", "puk": PUK}
            await self._must("POST", "/accounts", body, key=f"open-{msisdn}")
            # A long run spends more than the monthly limit: the books know neither its notices nor its refusals.
            await self._must("PUT", f"/accounts/{msisdn}/limits/limit", {"limit": "off"}, key=f"limit-{msisdn}")
            self.accounts.append(self.books.open(msisdn, 50 * EUR))
        administrator, *members = (each.msisdn for each in self.accounts)
        name = {"name": f"Firma {self.number}", "administrator": administrator}
        group = (await self._must("POST", "/groups", name, key=f"group-{self.number}"))["group"]
        for msisdn in members:
            await self._must("POST", f"/groups/{group}/numbers", {"msisdn": msisdn, "puk": PUK}, key=f"add-{msisdn}")

    async def _must(self, method: str, path: str, body: dict[str, Any] | None, key: str = "") -> dict[str, Any]:
        status, found = await self.api.call(method, path, body, key)
        assert status in (200, 201), (method, path, status, found)
        return found

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            account = self.random.choice(self.accounts)
            if account.credit < LOW:
                work = self.random.choice((self.top_up, self.voucher))
            elif account.credit > HIGH:
                work = self.random.choice((self.use, self.buy, self.transfer))
            else:
                kinds = (self.top_up, self.top_up_twice, self.voucher, self.voucher_race, self.use, self.use, self.buy)
                work = self.random.choice((*kinds, self.transfer, self.transfer))
            await work(account)
            await asyncio.sleep(PAUSE_S)

    # -- operations

    def _reference(self) -> str:
        return f"k{next(_references)}"

    def _answered(self, kind: str, status: int, found: dict[str, Any], *refusals: str) -> bool:
        """Whether it was done. `refusals`: codes that are to be expected."""
        if status in (200, 201):
            self.books.done[kind] += 1
            return True
        code = str(found.get("code"))
        self.books.refused[f"{kind}: {code}"] += 1
        if code not in refusals:
            self.books.faults.append(f"{kind} was answered {status} {found}")
        return False

    async def top_up(self, account: Account) -> None:
        await self._top_up(account, 1)

    async def top_up_twice(self, account: Account) -> None:
        """Two requests at once, with one key."""
        await self._top_up(account, 2)

    async def _top_up(self, account: Account, times: int) -> None:
        amount, key = self.random.randrange(1, 1000) * 10_000, self._reference()
        body: dict[str, Any] = {"amount": eur(amount)}
        if self.random.random() < 0.5:
            body["reference"] = f"shop-{key}"
        path = f"/accounts/{account.msisdn}/top-ups"
        answers = await asyncio.gather(*(self.api.call("POST", path, body, key) for _ in range(times)))
        done = [found for status, found in answers if self._answered("top-up", status, found)]
        if done:
            account.move(done[0]["reference"], amount, "topup")
        if len({found.get("reference") for found in done}) > 1 or 0 < len(done) < times:
            self.books.faults.append(f"one key, answers {answers}")

    async def voucher(self, account: Account) -> None:
        if not self.vouchers:
            await self.top_up(account)
            return
        number = self.vouchers.pop()
        await self._redeem(account, number)
        if self.books.vouchers[number] != 1:
            self.books.faults.append("a voucher that nobody had redeemed was refused")

    async def voucher_race(self, account: Account) -> None:
        """Two numbers enter one voucher at once."""
        if not self.vouchers:
            await self.top_up(account)
            return
        number = self.vouchers.pop()
        other = self.random.choice([each for each in self.accounts if each is not account])
        await asyncio.gather(self._redeem(account, number, "spent"), self._redeem(other, number, "spent"))
        if self.books.vouchers[number] != 1:
            self.books.faults.append(f"a voucher was redeemed {self.books.vouchers[number]} times")

    async def _redeem(self, account: Account, number: str, *refusals: str) -> None:
        path = f"/accounts/{account.msisdn}/vouchers"
        status, found = await self.api.call("POST", path, {"number": number}, self._reference())
        if self._answered("voucher", status, found, *refusals):
            account.move(found["reference"], VOUCHER, "topup")
            self.books.vouchers[number] += 1

    async def buy(self, account: Account) -> None:
        """Buy a pack and cancel it at once."""
        product, price = self.random.choice([*PACKS.items()])
        path = f"/accounts/{account.msisdn}/subscriptions"
        status, found = await self.api.call("POST", path, {"product": product}, self._reference())
        if self._answered("purchase", status, found):
            account.buy(price)
        status, found = await self.api.call("DELETE", f"{path}/{product}?at_once=true", None, self._reference())
        self._answered("cancel", status, found, "subscription")  # a repetition finds it cancelled

    async def transfer(self, account: Account) -> None:
        """Between the administrator and a member, either way; one in eight is of more than there is."""
        administrator, *members = self.accounts
        to = self.random.choice(members) if account is administrator else administrator
        if to.credit > FULL:
            await self.use(account)
            return
        too_much = self.random.random() < 1 / 8
        amount = account.credit // 10_000 * 10_000 + EUR if too_much else self.random.randrange(1, 1000) * 10_000
        amount = amount if too_much else min(amount, account.credit // 2 // 10_000 * 10_000)
        path, key = f"/accounts/{account.msisdn}/transfers", self._reference()
        status, found = await self.api.call("POST", path, {"to": to.msisdn, "amount": eur(amount)}, key)
        if self._answered("transfer", status, found, *(["funds"] if too_much else [])):
            if too_much:
                self.books.faults.append("more was transferred than there was")
            account.move(found["reference"], -amount)
            to.move("from " + found["reference"], amount, "transfer-received")

    async def use(self, account: Account) -> None:
        """A session of two reports."""
        session = f"lane{self.number};{next(self.sessions)};kills"
        first, second = self.random.randrange(1, 40), self.random.randrange(1, 40)
        await self._charged(account, session, 1, 0, want=40 * MB)
        await self._charged(account, session, 2, 1, used=first * MB, want=40 * MB)
        await self._charged(account, session, 3, 2, used=second * MB)
        account.use(session, (first + second) * DATA_HOME_PER_MB)
        self.books.done["session"] += 1

    async def _charged(self, account: Account, session: str, kind: int, number: int, **what: Any) -> None:
        answer = await self.line.ask(self.line.request(account.msisdn, session, kind, number, **what))
        codes = [answer.result_code, *(each.result_code for each in answer.multiple_services_credit_control)]
        if any(code not in (2001, None) for code in codes):
            self.books.faults.append(f"CCR {kind} {number} of {session} was answered {codes}")


class AutoTopUps(Lane):
    """New accounts that go below their mark twice. Each is topped up twice by the provider."""

    async def prepare(self) -> None:
        pass

    async def run(self, stop: asyncio.Event, every_s: float = 4.0, at_a_time: int = 8) -> None:
        tasks = set[asyncio.Task[None]]()
        for number in itertools.count():
            if stop.is_set():
                break
            tasks.add(asyncio.create_task(self.subscriber(f"38668{self.number:02}{number:04}")))
            await asyncio.sleep(every_s)
            tasks = {each for each in tasks if not each.done() or each.result()}
            while len(tasks) >= at_a_time:
                _, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*tasks)

    async def subscriber(self, msisdn: str) -> None:
        body = {"msisdn": msisdn, "imsi": "2934000" + msisdn[-8:], "package": "MINI", "credit": "9.04"}
        await self._must("POST", "/accounts", body, key=f"open-{msisdn}")
        account = self.books.open(msisdn, 9_040_000 - MINI)
        account.notices["package-started"] += 1
        mandate = {"name": "Ana Novak", "signed_on": "2026-10-01", "token": f"tok-{msisdn}"}
        await self._must("PUT", f"/accounts/{msisdn}/mandate", mandate, key=f"mandate-{msisdn}")
        await self._must("PUT", f"/accounts/{msisdn}/auto-top-up", {"below": "2.00"}, key=f"auto-{msisdn}")
        for number, portions in enumerate(((1,), (4, 4))):
            session = f"lane{self.number};{msisdn};{number}"
            await self._charged(account, session, 1, 0, want=MB, plmn=SERBIA)
            for request, each in enumerate(portions, start=1):
                kind = 3 if request == len(portions) else 2
                await self._charged(account, session, kind, request, used=each * PORTION, want=2 * MB, plmn=SERBIA)
            account.use(session, sum(portions) * DATA_ABROAD_PER_320_KB)
            self.books.done["session"] += 1
            account.orders += 1
            account.credit += MINI
            account.notices["topup"] += 1
            await self._credited(account)
            self.books.done["automatic top-up"] += 1
        account.notices.update({"welcome": 1, "low-credit": 1})

    async def _credited(self, account: Account) -> None:
        """Waits until the provider's money is there."""
        for _ in range(CREDITED_S):
            found = await self._must("GET", f"/accounts/{account.msisdn}/balance", None)
            if Decimal(found["credit"]) * EUR == account.credit:
                return
            await asyncio.sleep(1)
        self.books.faults.append(f"no automatic top-up of {account.msisdn} in {CREDITED_S} s: {found}")
