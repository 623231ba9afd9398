"""Groups and transfers as a state machine: hypothesis chooses what people, time and crashes do, on a real Redis. In any
order, no cent is made or lost, and nobody has money that a plain account of who gave what to whom does not explain
(HOT-GRP-1, HOT-GRP-2, HOT-GRP-5).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ocs.accounts.errors import AccountError, RefusedError
from ocs.accounts.inputs import Reference
from ocs.ledger.contract.groups import GroupStep, StepKind
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.process.embedded_redis import EmbeddedRedis
from ocs.values.identities import Msisdn
from tests.ocs.accounts.group_desk import EUR, PARTITIONS, PUK, GroupDesk
from tests.ocs.ledger.books import journal
from tests.rules import rule as shows

T = TypeVar("T")
NUMBERS = 4
pick = st.integers(0, NUMBERS - 1)
amounts = st.sampled_from((1, 3 * EUR, 20 * EUR, 150 * EUR))
SETTINGS = settings(
    max_examples=20, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


class GroupMachine(RuleBasedStateMachine):
    server: EmbeddedRedis
    runner: asyncio.Runner
    ledger: RedisLedger

    def __init__(self) -> None:
        super().__init__()
        self.desk = GroupDesk(self.ledger)
        self.serial = 0
        self.paid_in = 0
        self.all: list[Msisdn] = []

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def tried(self, work: Coroutine[Any, Any, T]) -> T | AccountError:
        try:
            return self.do(work)
        except RefusedError as error:
            return error

    @initialize()
    def begin(self) -> None:
        self.before = self.do(self.desk.audited()).paid_in_micro_eur
        self.group, self.numbers = self.do(self.desk.group(NUMBERS - 1))
        self.all = list(self.numbers)
        self.paid_in = 20 * EUR * NUMBERS

    def reference(self) -> str:
        self.serial += 1
        return f"{self.group}-{self.serial}"

    @rule(sender=pick, receiver=pick, amount=amounts)
    def transfer(self, sender: int, receiver: int, amount: int) -> None:
        reference = self.reference()
        for _ in range(2):  # a repetition changes nothing
            self.tried(self.desk.transfer(self.numbers[sender], self.numbers[receiver], amount, reference))

    @rule(sender=pick, receiver=pick, amount=amounts)
    def transfer_that_is_killed(self, sender: int, receiver: int, amount: int) -> None:
        """Its process ends after the first step."""

        async def begin() -> None:
            source, target = [await self.desk.view(self.numbers[each]) for each in (sender, receiver)]
            await self.desk.ledger.begin_transfer(
                source.account_id,
                to=target.account_id,
                amount_micro_eur=amount,
                group_id=self.group,
                reference=self.reference(),
                **self.desk.when,
            )

        try:
            self.do(begin())
        except Exception as error:  # noqa: BLE001 - a LedgerError is a refusal
            assert type(error).__name__ == "LedgerError", error

    @rule(who=pick, amount=amounts, separate=st.booleans())
    def top_up(self, who: int, amount: int, separate: bool) -> None:
        reference = Reference(self.reference())
        done = self.tried(
            self.desk.accounts.top_up(
                self.numbers[who], amount_micro_eur=amount, reference=reference, separate=separate
            )
        )
        self.paid_in += 0 if isinstance(done, AccountError) else amount

    @rule(who=pick)
    def add(self, who: int) -> None:
        self.tried(self.desk.groups.add(self.group, msisdn=self.numbers[who], puk=PUK))

    @rule(who=pick)
    def add_that_is_killed(self, who: int) -> None:
        async def post() -> None:
            view = await self.desk.view(self.numbers[who])
            await self.desk.ledger.post_step(self.group, GroupStep(StepKind.JOIN, view.account_id), now=self.desk.now)

        try:
            self.do(post())
        except Exception as error:  # noqa: BLE001
            assert type(error).__name__ == "LedgerError", error

    @rule(who=pick)
    def remove(self, who: int) -> None:
        self.tried(self.desk.groups.remove(self.group, msisdn=self.numbers[who]))

    @rule(who=pick)
    def administrator(self, who: int) -> None:
        self.tried(self.desk.groups.change_administrator(self.group, msisdn=self.numbers[who]))

    @rule(who=pick, is_open=st.booleans())
    def separate(self, who: int, is_open: bool) -> None:
        self.tried(self.desk.groups.set_separate(self.numbers[who], is_open=is_open))

    @rule(who=pick, partition=st.integers(0, PARTITIONS - 1))
    def move(self, who: int, partition: int) -> None:
        self.tried(self.desk.accounts.move(self.numbers[who], partition=partition))

    @rule(who=pick)
    def end_and_begin_anew(self, who: int) -> None:
        async def replace() -> Msisdn:
            view = await self.desk.view(self.numbers[who])
            await self.desk.ledger.terminate_account(view.account_id, **self.desk.when)
            return await self.desk.opened()

        self.numbers[who] = self.do(replace())
        self.paid_in += 20 * EUR

    @rule()
    def back_office(self) -> None:
        self.do(self.desk.recover())
        self.do(self.desk.groups.tidy(self.group))

    @invariant()
    def no_cent_is_made_or_lost(self) -> None:
        if not self.all:
            return
        report = self.do(self.desk.audited())
        assert report.paid_in_micro_eur - self.before == self.paid_in
        assert report.in_transit_micro_eur >= 0

    def teardown(self) -> None:
        """After the back office nothing is under way, and each transfer has one end."""
        if not self.all:
            return
        self.do(self.desk.recover())
        assert self.do(self.desk.audited()).transfers == 0
        ends: dict[str, list[str]] = {}
        for event in self.do(journal(self.ledger)):
            if str(event["k"]).startswith("transfer_"):
                ends.setdefault(str(event["transfer"]), []).append(str(event["k"]))
        for kinds in ends.values():
            assert sorted(kinds) in (["transfer_in", "transfer_out"], ["transfer_back", "transfer_out"])


@shows("HOT-GRP-2")
@pytest.mark.long
def test_any_order_keeps_the_money() -> None:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        server = EmbeddedRedis(Path(folder), durability="everysec")
        url = server.acquire()
        wanted = LedgerSettings(durability="everysec", partitions=PARTITIONS, max_clock_skew_s=0)
        GroupMachine.runner, GroupMachine.ledger = runner, runner.run(RedisLedger.connect(url, wanted))
        try:
            run_state_machine_as_test(GroupMachine, settings=SETTINGS)
        finally:
            runner.run(GroupMachine.ledger.close())
            server.release()
