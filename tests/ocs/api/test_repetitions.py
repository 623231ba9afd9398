"""Every operation with an Idempotency-Key, repeated after its first answer was lost: it is done once, and answered as
the first time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from ocs.api.keys import ApiKeys
from ocs.api.limits import RateLimits
from ocs.api.rights import OPERATIONS, Role
from ocs.ledger.contract.errors import LedgerUnavailable
from tests.ocs.api.desk import BOSS, FOREIGN, GROUP, OWN, Desk
from tests.ocs.api.test_vouchers import printed

HERE = f"/v1/accounts/{OWN}"
BALANCE = "/tmf-api/prepayBalanceManagement/v4"
ELSEWHERE = {"payments.start"}
"""Tested with a payment provider (test_payments.py)."""

LATER_S = 2

Prepare = Callable[[Desk, Path], Awaitable[dict[str, Any]]]
"""Makes the account ready; returns what the body has besides."""


@dataclass(frozen=True)
class Row:
    """A request of the operation."""

    path: str
    body: dict[str, Any] | None = None
    method: str = "POST"
    prepare: Prepare | None = None


def done(method: str, path: str, body: dict[str, Any]) -> Prepare:
    """Prepared by another request."""

    async def prepare(desk: Desk, folder: Path) -> dict[str, Any]:
        answer = await desk.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return {}

    return prepare


async def voucher(desk: Desk, folder: Path) -> dict[str, Any]:
    numbers = await printed(desk, folder, "B1")
    assert (await desk.post("/v1/voucher-batches/B1/activations", json={})).status_code == 200
    return {"number": numbers[0]}


async def day(desk: Desk, folder: Path) -> dict[str, Any]:
    return {"on": (datetime.now(desk.backend.catalogue.time_zone) + timedelta(days=3)).date().isoformat()}


async def committed(desk: Desk, folder: Path) -> dict[str, Any]:
    """An end now costs more than the credit covers (HOT-REC-4)."""
    return await done("POST", f"{HERE}/subscriptions", {"product": "TV"})(desk, folder)


tariff = done("POST", f"{HERE}/subscriptions/change", {"product": "MINI"})


MONEY = {"amount": {"amount": 2.5, "units": "EUR"}, "usageType": "monetary", "reason": "test"}
ROWS: dict[str, list[Row]] = {
    "accounts.open": [Row("/v1/accounts", {"msisdn": "38668200099", "imsi": "293400000000999", "credit": "5.00"})],
    "accounts.top_up": [Row(f"{HERE}/top-ups", {"amount": "1.00"})],
    "vouchers.redeem": [Row(f"{HERE}/vouchers", {}, prepare=voucher)],
    "subscriptions.buy": [
        Row(f"{HERE}/subscriptions", {"product": "MMS-50-MESEC"}),
        Row(f"{HERE}/subscriptions", {"product": "SMS-200"}),
    ],
    "subscriptions.plan": [Row(f"{HERE}/subscriptions/plan", {"product": "SMS-200"}, prepare=day)],
    "subscriptions.change": [
        Row(f"{HERE}/subscriptions/change", {"product": "MINI"}),
        Row(f"{HERE}/subscriptions/change", {"product": "MAXI"}, prepare=tariff),
    ],
    "subscriptions.restart": [
        Row(f"{HERE}/subscriptions/restart", {"product": "MINI"}),
        Row(f"{HERE}/subscriptions/restart", {"product": "MINI"}, prepare=tariff),
    ],
    "subscriptions.cancel": [
        Row(f"{HERE}/subscriptions/MMS-50-MESEC?at_once={at_once}", None, "DELETE", bought)
        for at_once in ("true", "false")
        for bought in [done("POST", f"{HERE}/subscriptions", {"product": "MMS-50-MESEC"})]
    ],
    "blocks.lift": [
        Row(f"{HERE}/blocks/care/lift", {}, prepare=done("POST", f"{HERE}/blocks", {"reason": "care"})),
        Row(f"{HERE}/blocks/lost/lift", {"fee": True}, prepare=done("POST", f"{HERE}/blocks", {"reason": "lost"})),
    ],
    "life.freeze": [Row(f"{HERE}/freeze", {})],
    "life.unfreeze": [Row(f"{HERE}/unfreeze", {}, prepare=done("POST", f"{HERE}/freeze", {}))],
    "life.fee": [Row(f"{HERE}/fees", {"fee": "CONNECTION"})],
    "life.transfer_ownership": [Row(f"{HERE}/owner", {})],
    "life.swap_sim": [
        Row(f"{HERE}/sim", {"imsi": "293400000000777"}),
        Row(f"{HERE}/sim", {"imsi": "293400000000777", "fee": True}),
    ],
    "life.pay_out": [
        Row(
            f"{HERE}/pay-out",
            {"reason": "data-only"},
            prepare=done("POST", f"{HERE}/subscriptions/change", {"product": "GIGA-MINI"}),
        )
    ],
    "life.port_out": [
        Row(f"{HERE}/port-out", {"confirm_msisdn": OWN}),
        Row(f"{HERE}/port-out", {"confirm_msisdn": OWN, "reference": "P-1"}, prepare=committed),
    ],
    "life.end": [
        Row(f"{HERE}/end", {"confirm_msisdn": OWN}),
        Row(f"{HERE}/end", {"confirm_msisdn": OWN}, prepare=committed),
        Row(f"{HERE}/end", {"confirm_msisdn": OWN}, prepare=tariff),
    ],
    "transfers.make": [Row(f"/v1/accounts/{BOSS}/transfers", {"to": OWN, "amount": "1.00"})],
    "separate.top_up": [
        Row(f"{HERE}/separate/top-ups", {"amount": "1.00"}, prepare=done("PUT", f"{HERE}/separate", {"open": True}))
    ],
    "tmf654.createTopupBalance": [Row(f"{BALANCE}/topupBalance", {**MONEY, "logicalResource": [{"id": OWN}]})],
    "tmf654.createAdjustBalance": [Row(f"{BALANCE}/adjustBalance", {**MONEY, "bucket": {"id": f"{OWN}.credit"}})],
    "tmf654.createTransferBalance": [
        Row(
            f"{BALANCE}/transferBalance",
            {**MONEY, "logicalResource": [{"id": BOSS}], "receiverLogicalResource": {"id": OWN}},
        )
    ],
}
CASES = [pytest.param(name, row, id=f"{name}-{n}") for name, rows in ROWS.items() for n, row in enumerate(rows)]


def test_every_operation_with_a_key_is_repeated() -> None:
    assert {name for name, each in OPERATIONS.items() if each.once} == {*ROWS, *ELSEWHERE}


@contextmanager
def losing(desk: Desk) -> Iterator[list[bytes]]:
    """Answers are lost after the operation: nothing is kept. Collects what would have been."""
    lost: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:

        async def gone(self: object, name: str, fingerprint: str, answer: bytes) -> bytes:
            lost.append(answer)
            raise LedgerUnavailable("cut")

        patch.setattr(type(desk.ledger), "keep_answer", gone)
        yield lost


async def sent(desk: Desk, row: Row, more: dict[str, Any], once: str) -> httpx.Response:
    body = {} if row.body is None else {"json": {**row.body, **more}}
    return await desk.request(row.method, row.path, once=once, **body)


@pytest.mark.parametrize(("name", "row"), CASES)
async def test_a_repetition_after_a_lost_answer_is_answered_as_the_first(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, row: Row
) -> None:
    more = {} if row.prepare is None else await row.prepare(desk, tmp_path)
    with losing(desk) as lost:
        assert (await sent(desk, row, more, "lost")).status_code == 503
    head, _, first = lost[0].partition(b"\n")
    money, now = await credit(desk), type(desk.backend.environment).now
    monkeypatch.setattr(type(desk.backend.environment), "now", lambda self: now(self) + LATER_S)
    again = await sent(desk, row, more, "lost")
    assert again.status_code == orjson.loads(head)["status"], again.text
    assert again.json() == orjson.loads(first)
    assert again.headers["Idempotent-Replayed"] == "true"
    third = await sent(desk, row, more, "lost")
    assert (third.status_code, third.json()) == (again.status_code, again.json())
    assert third.headers["Idempotent-Replayed"] == "true"
    assert await credit(desk) == money


async def credit(desk: Desk) -> list[Any]:
    """Of all numbers; None = it has no account now."""
    found = [await desk.get(f"/v1/accounts/{each}") for each in (OWN, FOREIGN, BOSS)]
    return [each.json().get("credit") for each in found]


async def test_the_end_is_repeated_for_nobody_who_has_the_number_since(desk: Desk) -> None:
    row, before = Row(f"{HERE}/end", {"confirm_msisdn": OWN}), await desk.backend.accounts.find(OWN)
    with losing(desk):
        assert (await sent(desk, row, {}, "lost")).status_code == 503
    after = await desk.open(OWN, credit=7_000_000)
    again = await sent(desk, row, {}, "lost")
    assert again.status_code == 200 and again.headers["Idempotent-Replayed"] == "true"
    assert (await desk.get(HERE)).json()["credit"] == "7.00"
    ends = [each.body for each in await desk.events("api") if each.body["op"] == "life.end"]
    assert [each["a"] for each in ends] == [before, before] and after != before


REFUSED = {"role": 403, "number": 404, "foreign": 404, "revoked": 401, "rate": 429}


@pytest.mark.parametrize("why", REFUSED)
async def test_who_may_not_begins_nothing(desk: Desk, why: str) -> None:
    """A key in use begins its repetition with the first look; what is refused then leaves its Idempotency-Key free."""
    role = {"role": Role.READ_ONLY, "foreign": Role.GROUP_ADMIN}.get(why, Role.CARE)
    key = await desk.new_key(role, GROUP if why == "foreign" else "")
    assert (await desk.get(f"{HERE}/balance", key=key)).status_code == 200
    if why == "rate":
        limits = RateLimits(1, 1, lambda: 0.0)
        limits.wait_s(key.split("_")[1])
        desk.app.state.container = replace(desk.container, limits=limits)
    if why == "revoked":
        assert await ApiKeys(desk.ledger, desk.backend.environment.now).revoke(key.split("_")[1])
    number = {"number": "38668209999", "foreign": FOREIGN}.get(why, OWN)
    path, body = f"/v1/accounts/{number}/subscriptions", {"product": "MMS-50-MESEC"}
    refused = await desk.post(path, key=key, once="k", json=body)
    assert refused.status_code == REFUSED[why], refused.text
    assert [each async for each, _ in desk.ledger._scan(b"{p*}:k:*")] == []


async def test_a_refusal_does_not_free_what_another_request_has_begun(desk: Desk) -> None:
    done = await desk.post(f"{HERE}/top-ups", once="k-ended", json={"amount": "1.00"})
    assert done.status_code == 201
    other = await desk.post(f"/v1/accounts/{FOREIGN}/top-ups", once="k-ended", json={"amount": "1.00"})
    assert other.status_code == 422 and other.json()["code"] == "idempotency_reused"
    unknown = await desk.post("/v1/accounts/38668209999/top-ups", once="k-ended", json={"amount": "1.00"})
    assert unknown.status_code == 422
    again = await desk.post(f"{HERE}/top-ups", once="k-ended", json={"amount": "1.00"})
    assert (again.status_code, again.json()) == (201, done.json())
    assert again.headers["Idempotent-Replayed"] == "true"
