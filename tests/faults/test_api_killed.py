"""A process of the API is killed (kill -9) before and after each command of a top-up and of a purchase. The repetition
with the same Idempotency-Key gets the first answer; the account moved once, and the audit trail says so.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from ocs.api.rights import Role
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.telemetry.metrics import Metrics
from tests.conftest import RedisServer
from tests.faults.dying_ledger import DyingLedger, killed, kills
from tests.ocs.api.desk import PARTITIONS, Desk, desk_at
from tests.rules import rule

SETTINGS = LedgerSettings(max_clock_skew_s=0, partitions=PARTITIONS)
_NUMBERS = itertools.count(38_668_300_000)


@dataclass(frozen=True)
class Case:
    path: str
    body: dict[str, str]
    operation: str
    kind: str
    """Of the event."""
    credit: str
    """Afterwards; it was 20.00."""
    commands: int


CASES = [
    Case("top-ups", {"amount": "5.00"}, "accounts.top_up", "topup", "25.00", 8),
    Case("subscriptions", {"product": "MMS-50-MESEC"}, "subscriptions.buy", "package", "15.00", 7),
]


def at_desk(url: str, work: Callable[[Desk], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        ledger = await RedisLedger.connect(url, SETTINGS)
        try:
            async with desk_at(ledger, Metrics()) as desk:
                return await work(desk)
        finally:
            await ledger.close()

    return asyncio.run(run())


@pytest.mark.long
@rule("HOT-TOP-1")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operation)
def test_the_repetition_of_a_killed_request_is_done_once(own_redis: RedisServer, case: Case) -> None:
    def send(desk: Desk) -> Coroutine[Any, Any, Any]:
        return desk.post(f"/v1/accounts/{number}/{case.path}", key=key, once=f"k-{number}", json=case.body)

    async def opened(desk: Desk) -> tuple[str, int, str]:
        account_id = await desk.open(number)
        return account_id, len(await desk.events(case.kind, account_id)), await desk.new_key(Role.CARE)

    async def until_killed(ledger: RedisLedger) -> None:
        assert isinstance(ledger, DyingLedger)
        dies_at, ledger.dies_at = ledger.dies_at, 0
        async with desk_at(ledger, Metrics()) as desk:
            for _ in range(2):  # key and account are known then
                await desk.get(f"/v1/accounts/{number}", key=key)
            ledger.asked, ledger.dies_at = 0, dies_at
            await send(desk)

    async def again(desk: Desk) -> None:
        first = await send(desk)
        assert first.status_code == 201, first.text
        second = await send(desk)
        assert second.content == first.content and second.headers["Idempotent-Replayed"] == "true"
        account = (await desk.get(f"/v1/accounts/{number}", key=key)).json()
        assert account["credit"] == case.credit
        assert len(await desk.events(case.kind, account_id)) == effects + 1
        noted = [each.body for each in await desk.events("api", account_id) if each.body["op"] == case.operation]
        assert {each["status"] for each in noted} == {201} and {each["replayed"] for each in noted} >= {1}
        if is_done:
            assert first.headers["Idempotent-Replayed"] == "true"
            assert [each for each in noted if each["after"] and not each["replayed"]], "the first one is noted"

    for dies_at, moment in kills():
        number = str(next(_NUMBERS))
        account_id, effects, key = at_desk(own_redis.url, opened)
        is_done = not killed(own_redis.url, SETTINGS, until_killed, dies_at, moment)
        at_desk(own_redis.url, again)
        if is_done:
            break
    assert dies_at > case.commands, "the steps were not reached"
