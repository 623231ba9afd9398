"""Vouchers as a state machine: hypothesis chooses what people and crashes do, a plain model says what must come of it,
and a real Redis does it (HOT-TOP-1, HOT-TOP-2, HOT-TOP-3, HOT-ACC-7).
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ocs.accounts.errors import AccountError
from ocs.accounts.inputs import Reference
from ocs.accounts.voucher_batches import Serials
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.values.identities import Msisdn
from ocs.values.products import PackageTerms
from ocs.values.voucher_numbers import VoucherNumber
from tests.ocs.accounts.voucher_desk import EUR, PARTITIONS, Desk, unknown_number
from tests.rules import rule as shows

T = TypeVar("T")
CEILING = 200 * EUR
ACCOUNTS = 3
pick = st.integers(0, 11)
SETTINGS = settings(
    max_examples=25, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@dataclass
class ModelVoucher:
    number: VoucherNumber
    batch: str
    serial: int
    value: int
    expires_at: int
    state: str = "generated"
    account: int = -1
    """That has claimed or spent it."""
    decided: str = ""
    """What the account has decided on a claim that is still open: "applied", "refused", or nothing yet."""


@dataclass
class ModelAccount:
    msisdn: Msisdn
    credit: int
    wrong: int = 0
    references: int = 0


class Vouchers(RuleBasedStateMachine):
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        wanted = LedgerSettings(max_clock_skew_s=0, partitions=PARTITIONS)
        self.ledger: RedisLedger = self.run(RedisLedger.connect(self.url, wanted))
        self.desk = Desk(self.ledger, Path(self.folder.name))
        self.accounts: list[ModelAccount] = []
        self.vouchers: list[ModelVoucher] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.ledger.close())
        self.loop.close()
        self.folder.cleanup()

    async def outcome(self, work: Coroutine[Any, Any, Any]) -> str:
        try:
            done = await work
        except AccountError as error:
            return error.code
        return "applied" if done.applied else "again"

    # -- the model

    def account(self, chosen: int) -> ModelAccount:
        return self.accounts[chosen % len(self.accounts)]

    def voucher(self, chosen: int) -> ModelVoucher:
        return self.vouchers[chosen % len(self.vouchers)]

    def decide(self, voucher: ModelVoucher) -> str:
        """Step 2, for the account that has claimed the voucher."""
        account = self.accounts[voucher.account]
        if voucher.decided:
            return "again" if voucher.decided == "applied" else "given_back"
        voucher.decided = "refused"
        if account.credit + voucher.value > CEILING:
            return "ceiling"
        if account.wrong >= 20:
            return "voucher_blocked"
        account.credit += voucher.value
        voucher.decided = "applied"
        return "applied"

    def finish(self, voucher: ModelVoucher) -> str:
        """Steps 2 and 3."""
        came = self.decide(voucher)
        voucher.state, voucher.decided = ("spent" if voucher.decided == "applied" else "active"), ""
        return came

    def entered(self, who: int, voucher: ModelVoucher | None) -> str:
        account = self.accounts[who]
        if account.wrong >= 20:
            return "voucher_blocked"
        while voucher is not None and voucher.state in ("active", "claimed"):
            if voucher.state == "active":
                if self.has_expired(voucher):
                    return "expired"
                voucher.state, voucher.account = "claimed", who
            came = self.finish(voucher)
            if voucher.account == who and came != "given_back":
                return came
        if voucher is not None and voucher.state == "spent":
            return "again" if voucher.account == who else "spent"
        account.wrong += 1
        return "voucher"

    def has_expired(self, voucher: ModelVoucher) -> bool:
        return 0 < voucher.expires_at <= self.desk.now

    # -- what happens

    @initialize(credits=st.lists(st.sampled_from((0, 50, 195)), min_size=ACCOUNTS, max_size=ACCOUNTS))
    def open(self, credits: list[int]) -> None:
        for each in credits:
            self.accounts.append(ModelAccount(self.run(self.desk.opened(each * EUR)), each * EUR))
        self.print_batch(4, 10, 0)

    @rule(count=st.integers(1, 4), value=st.sampled_from((5, 10, 120)), lasts=st.sampled_from((0, 50)))
    def print_batch(self, count: int, value: int, lasts: int) -> None:
        expires = self.desk.now + lasts if lasts else 0
        batch, numbers = self.run(self.desk.printed(count, value * EUR, expires))
        self.vouchers += [
            ModelVoucher(number, batch, serial, value * EUR, expires) for serial, number in enumerate(numbers, 1)
        ]
        self.sell(len(self.vouchers) - 1, len(self.vouchers) % 3 > 0)

    @rule(chosen=pick, whole=st.booleans())
    def sell(self, chosen: int, whole: bool) -> None:
        self.set_state(self.voucher(chosen), "active", whole)

    @rule(chosen=pick, whole=st.booleans())
    def block(self, chosen: int, whole: bool) -> None:
        self.set_state(self.voucher(chosen), "blocked", whole)

    def set_state(self, one: ModelVoucher, state: str, whole: bool) -> None:
        work = self.desk.batches.activate if state == "active" else self.desk.batches.block
        changed = self.run(work(one.batch, None if whole else Serials(one.serial, one.serial)))
        part = [each for each in self.vouchers if each.batch == one.batch and (whole or each is one)]
        open_ = [each for each in part if each.state not in ("claimed", "spent")]
        assert changed.vouchers == len([each for each in open_ if each.state != state])
        assert changed.redeemed == len(part) - len(open_)
        for each in open_:
            each.state = state

    @rule(who=st.integers(0, ACCOUNTS - 1), chosen=pick)
    def redeem(self, who: int, chosen: int) -> None:
        voucher = self.voucher(chosen)
        found = self.run(self.outcome(self.desk.redeeming.redeem(self.accounts[who].msisdn, voucher.number)))
        assert found == self.entered(who, voucher)

    @rule(who=st.integers(0, ACCOUNTS - 1), times=st.integers(1, 12))
    def guess(self, who: int, times: int) -> None:
        for _ in range(times):
            found = self.run(self.outcome(self.desk.redeeming.redeem(self.accounts[who].msisdn, unknown_number())))
            assert found == self.entered(who, None)

    @rule(chosen=pick)
    def redeem_all_at_once(self, chosen: int) -> None:
        voucher = self.voucher(chosen)
        if voucher.state != "active" or self.has_expired(voucher):
            return
        able = [
            who for who, each in enumerate(self.accounts) if each.wrong < 20 and each.credit + voucher.value <= CEILING
        ]
        entries = (self.outcome(self.desk.redeeming.redeem(each.msisdn, voucher.number)) for each in self.accounts * 2)

        async def together() -> list[str]:
            return list(await asyncio.gather(*entries))

        found = self.run(together())
        winners = [n % ACCOUNTS for n, each in enumerate(found) if each == "applied"]
        assert len(winners) == (1 if able else 0), found
        assert set(winners) <= set(able)
        for who in winners:
            voucher.account, voucher.state = who, "spent"
            self.accounts[who].credit += voucher.value

    @rule(who=st.integers(0, ACCOUNTS - 1), chosen=pick, credited=st.booleans())
    def crash(self, who: int, chosen: int, credited: bool) -> None:
        """A process ends after the first or the second step of a redemption."""
        voucher, account = self.voucher(chosen), self.accounts[who]
        if voucher.state != "active" or self.has_expired(voucher) or account.wrong >= 20:
            return
        voucher.state, voucher.account = "claimed", who
        self.run(self.first_steps(account.msisdn, voucher.number, credited))
        if credited:
            self.decide(voucher)

    async def first_steps(self, msisdn: Msisdn, number: VoucherNumber, credited: bool) -> None:
        account_id = await self.desk.accounts.find(msisdn)
        id_ = (await self.desk.batches.by_number(number)).voucher_id
        claimed = (await self.ledger.claim_voucher(id_, account_id, now=self.desk.now)).voucher
        assert claimed is not None
        if credited:
            terms = {"reference": claimed.reference, "value_micro_eur": claimed.value_micro_eur}
            with contextlib.suppress(LedgerError):
                await self.ledger.credit_voucher(account_id, **terms, now=self.desk.now, month=202611)

    @precondition(lambda self: any(each.state == "claimed" for each in self.vouchers))
    @rule()
    def recover(self) -> None:
        self.desk.now += 30
        for partition in range(PARTITIONS):
            assert self.run(self.desk.redeeming.finish_open_claims(partition))[1] == 0
        for each in self.vouchers:
            if each.state == "claimed":
                self.finish(each)

    @rule(seconds=st.sampled_from((1, 50, 400)))
    def wait(self, seconds: int) -> None:
        self.desk.now += seconds

    @rule(who=st.integers(0, ACCOUNTS - 1))
    def lift(self, who: int) -> None:
        account = self.accounts[who]
        assert self.run(self.desk.redeeming.lift_block(account.msisdn)) == (account.wrong > 0)
        account.wrong = 0

    @rule(who=st.integers(0, ACCOUNTS - 1), eur=st.sampled_from((1, 60, 150)))
    def top_up(self, who: int, eur: int) -> None:
        """By customer care, blocked vouchers or not."""
        account = self.accounts[who]
        account.references += 1
        reference = Reference(f"{account.msisdn} {account.references}")
        work = self.desk.accounts.top_up(account.msisdn, amount_micro_eur=eur * EUR, reference=reference)
        fits = account.credit + eur * EUR <= CEILING
        assert self.run(self.outcome(work)) == ("applied" if fits else "ceiling")
        account.credit += eur * EUR if fits else 0

    @rule(who=st.integers(0, ACCOUNTS - 1))
    def spend(self, who: int) -> None:
        account = self.accounts[who]
        price = account.credit // 2
        if price == 0:
            return
        account.references += 1
        fee = PackageTerms("FEE", price, 0, (), renews=False)
        self.run(self.buy(account.msisdn, fee, f"{account.msisdn} {account.references}"))
        account.credit -= price

    async def buy(self, msisdn: Msisdn, fee: PackageTerms, reference: str) -> None:
        account_id = await self.desk.accounts.find(msisdn)
        when = {"now": self.desk.now, "month": 202611}
        assert await self.ledger.subscribe(account_id, product=fee, reference=reference, any_state=True, **when)

    @rule(who=st.integers(0, ACCOUNTS - 1), partition=st.integers(0, PARTITIONS - 1))
    def move(self, who: int, partition: int) -> None:
        self.run(self.desk.accounts.move(self.accounts[who].msisdn, partition=partition))

    # -- what always holds

    @invariant()
    def money_and_entries_are_right(self) -> None:
        for each in self.accounts:
            view = self.run(self.desk.accounts.read(each.msisdn)).view
            assert (view.credit_micro_eur, view.wrong_vouchers) == (each.credit, each.wrong)

    @invariant()
    def vouchers_and_their_counts_are_right(self) -> None:
        for each in self.vouchers:
            assert self.run(self.desk.batches.by_number(each.number)).state == each.state
        found = {each.batch.id: each.counts for each in self.run(self.desk.batches.all())}
        for batch in {each.batch for each in self.vouchers}:
            expected = Counter(each.state for each in self.vouchers if each.batch == batch)
            assert {state.value: count for state, count in found[batch].items() if count} == expected


@shows("HOT-TOP-2")
@shows("HOT-TOP-3")
def test_vouchers_do_what_the_model_does(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = EmbeddedRedis(tmp_path_factory.mktemp("machine"), durability="everysec")
    machine = type("OnThisRedis", (Vouchers,), {"url": server.acquire()})
    try:
        run_state_machine_as_test(machine, settings=SETTINGS)
    finally:
        server.release()
