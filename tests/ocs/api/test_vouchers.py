"""Vouchers over the API (HOT-TOP-2, HOT-TOP-3)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from ocs.api.rights import Role
from tests.ocs.accounts.voucher_desk import EUR, unknown_number
from tests.ocs.api.desk import FOREIGN, OWN, Desk
from tests.rules import rule


async def printed(desk: Desk, folder: Path, name: str, count: int = 3) -> list[str]:
    file = folder / f"{name}.csv"
    await desk.backend.vouchers.generate(name=name, count=count, value_micro_eur=10 * EUR, expires_at=0, file=file)
    return [line.split(",")[1] for line in file.read_text().splitlines()[1:]]


@rule("HOT-TOP-2")
async def test_from_the_shop_to_the_subscriber(desk: Desk, tmp_path: Path) -> None:
    numbers = await printed(desk, tmp_path, "SPAR-1")
    sold = await desk.post(
        "/v1/voucher-batches/SPAR-1/activations", Role.SHOP, json={"serials": {"first": 1, "last": 2}}
    )
    assert sold.json() == {"changed": 2, "redeemed": 0}
    path, body = f"/v1/accounts/{OWN}/vouchers", {"number": numbers[0]}
    first = await desk.post(path, Role.MEMBER, once="v-1", json=body)
    assert first.status_code == 201, first.text
    assert first.json() == {"reference": "SPAR-1/1", "amount": "10.00", "credit": "30.00"}
    again = await desk.post(path, Role.MEMBER, once="v-1", json=body)
    assert again.json() == first.json() and again.headers["Idempotent-Replayed"] == "true"
    entered_anew = await desk.post(path, Role.MEMBER, once="v-2", json=body)
    assert entered_anew.status_code == 201 and entered_anew.headers["Idempotent-Replayed"] == "true"
    other = await desk.post(f"/v1/accounts/{FOREIGN}/vouchers", json=body)
    assert (other.status_code, other.json()["code"]) == (409, "spent")
    not_sold = await desk.post(path, Role.MEMBER, json={"number": numbers[2]})
    unknown = await desk.post(path, Role.MEMBER, json={"number": unknown_number()})
    assert without_count(not_sold.json()) == without_count(unknown.json())
    found = (await desk.post("/v1/voucher-batches/look-ups", json=body)).json()
    assert (found["state"], found["serial"], found["reference"]) == ("spent", 1, "SPAR-1/1")
    assert (await desk.get("/v1/voucher-batches/SPAR-1/vouchers/3", Role.SHOP)).json()["state"] == "generated"
    assert (await desk.post("/v1/voucher-batches/SPAR-1/blocks", json={})).json() == {"changed": 2, "redeemed": 1}
    (batch,) = (await desk.get("/v1/voucher-batches", Role.READ_ONLY)).json()["items"]
    assert batch["states"] == {"blocked": 2, "spent": 1} and batch["value"] == "10.00"
    assert [each.split()[-2] for each in batch["actions"][1:]] == ["by", "by"]
    counted = {key[1]: count for key, count in desk.metrics.store.counters.items() if key[0] == "ocs_voucher_entries"}
    assert counted == {"applied": 1, "again": 1, "spent": 1, "voucher": 2}
    missing = await desk.get("/v1/voucher-batches/SPAR-2")
    assert (missing.status_code, missing.json()["code"]) == (404, "batch")


def without_count(problem: dict[str, Any]) -> dict[str, Any]:
    return {**problem, "request_id": "", "detail": problem["detail"].partition(":")[0]}


@rule("HOT-TOP-2")
async def test_sixteen_requests_at_once_redeem_it_once(desk: Desk, tmp_path: Path) -> None:
    (number,) = await printed(desk, tmp_path, "ONE", 1)
    await desk.post("/v1/voucher-batches/ONE/activations", json={})
    accounts = [str(38668210000 + n) for n in range(16)]
    for each in accounts:
        await desk.open(each, credit=0)
    answers = await asyncio.gather(
        *(desk.post(f"/v1/accounts/{each}/vouchers", Role.SHOP, json={"number": number}) for each in accounts)
    )
    assert sorted(each.status_code for each in answers) == [201, *[409] * 15]
    credits = [(await desk.get(f"/v1/accounts/{each}")).json()["credit"] for each in accounts]
    assert sorted(credits) == [*["0.00"] * 15, "10.00"]


@rule("HOT-TOP-3")
async def test_twenty_wrong_entries_block_until_care_lifts_it(desk: Desk, tmp_path: Path) -> None:
    (number,) = await printed(desk, tmp_path, "B", 1)
    await desk.post("/v1/voucher-batches/B/activations", json={})
    path, entries = f"/v1/accounts/{OWN}/vouchers", f"/v1/accounts/{OWN}/voucher-entries"
    wrong = {"number": unknown_number()}
    for _ in range(3):
        assert (await desk.post(path, Role.MEMBER, once="same", json=wrong)).json()["code"] == "voucher"
    assert (await desk.get(entries, Role.MEMBER)).json() == {"wrong": 1, "left": 19, "blocked": False}
    answers = await asyncio.gather(
        *(desk.post(path, Role.MEMBER, json={"number": unknown_number()}) for _ in range(30))
    )
    codes = [each.json()["code"] for each in answers]
    assert (codes.count("voucher"), codes.count("voucher_blocked")) == (19, 11)
    assert (await desk.post(path, Role.MEMBER, json={"number": number})).json()["code"] == "voucher_blocked"
    assert (await desk.delete(entries, Role.MEMBER)).status_code == 403
    assert (await desk.delete(entries)).json() == {"wrong": 0, "left": 20, "blocked": False}
    assert (await desk.post(path, Role.MEMBER, json={"number": number})).status_code == 201


async def test_what_is_no_number_is_a_mistake_and_no_entry(desk: Desk) -> None:
    for text in ("", "123", "x" * 16, "1" * 17):
        answer = await desk.post(f"/v1/accounts/{OWN}/vouchers", json={"number": text})
        assert answer.status_code == 422
    assert (await desk.get(f"/v1/accounts/{OWN}/voucher-entries")).json()["wrong"] == 0


@rule("HOT-ACC-7")
async def test_beyond_the_ceiling_the_voucher_stays_active(desk: Desk, tmp_path: Path) -> None:
    (number,) = await printed(desk, tmp_path, "C", 1)
    await desk.post("/v1/voucher-batches/C/activations", json={})
    await desk.open("38668220000", credit=195 * EUR)
    answer = await desk.post("/v1/accounts/38668220000/vouchers", json={"number": number})
    assert (answer.status_code, answer.json()["code"]) == (409, "ceiling")
    found = (await desk.post("/v1/voucher-batches/look-ups", json={"number": number})).json()
    assert found["state"] == "active"
