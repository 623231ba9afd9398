"""Few operations at a time: the ledger answers CCRs too."""

from __future__ import annotations

import asyncio

import pytest

from ocs.api import turns as turns_module
from ocs.api.turns import WAITS_ELSEWHERE, Turns
from ocs.ledger.redis.api import Api
from tests.ocs.api.desk import OWN, Desk
from tests.waiting import PATIENCE_S

TOP_UPS = f"/v1/accounts/{OWN}/top-ups"


async def test_further_operations_wait_for_their_turn_and_the_late_ones_are_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "MAX_AT_ONCE", 2)
    desk.app.state.turns = Turns()
    under_way, most, go_on, begin = 0, 0, asyncio.Event(), Api.begin_answer

    async def begun(self: Api, name: str, fingerprint: str) -> object:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await go_on.wait()
        under_way -= 1
        return await begin(self, name, fingerprint)

    with monkeypatch.context() as patch:
        patch.setattr(Api, "begin_answer", begun)
        asked = [asyncio.create_task(desk.post(TOP_UPS, json={"amount": "1.00"})) for _ in range(6)]
        while under_way < 2:  # noqa: ASYNC110 - no event says that a request waits
            await asyncio.sleep(0.01)
        patch.setattr(turns_module, "MAX_WAIT_S", 0.05)
        late = await asyncio.wait_for(desk.get(f"/v1/accounts/{OWN}"), PATIENCE_S)
        assert (late.status_code, late.json()["code"], late.headers["Retry-After"]) == (503, "overloaded", "1")
        go_on.set()
        answers = await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_S)
    assert most == 2
    assert [each.status_code for each in answers] == [201] * 6
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "26.00"


def test_what_waits_elsewhere_is_known() -> None:
    assert {"usage.list", "exports.read", "payments.start", "tmf635.listUsage"} <= WAITS_ELSEWHERE
    assert not {"accounts.top_up", "balance.read", "life.end"} & WAITS_ELSEWHERE
