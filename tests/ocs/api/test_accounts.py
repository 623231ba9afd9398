"""Accounts over the API: open, read, top up."""

from __future__ import annotations

import asyncio

import pytest

from ocs.api.rights import Role
from ocs.ledger.contract.errors import LedgerUnavailable
from tests.ocs.api.desk import FOREIGN, GROUP, OWN, Desk
from tests.rules import rule

JSON = {"Content-Type": "application/json"}
NEW = {"msisdn": "38668200100", "imsi": "293400000000100"}


async def test_an_account_is_opened_and_read(desk: Desk) -> None:
    opened = await desk.post("/v1/accounts", Role.SHOP, json={**NEW, "credit": "20.00", "package": "MINI"})
    assert opened.status_code == 201, opened.text
    assert opened.json()["credit"] == "13.01" and opened.json()["package"] == "MINI"
    read = await desk.get(f"/v1/accounts/{NEW['msisdn']}")
    assert read.json() == opened.json() and read.json()["state"] == "active"
    assert read.json()["active_until"].endswith(("+01:00", "+02:00"))
    again = await desk.post("/v1/accounts", json={**NEW, "imsi": "293400000000101"})
    assert again.status_code == 409 and again.json()["code"] == "exists"


@rule("HOT-ACC-2")
async def test_an_account_that_is_sold_begins_with_its_first_use(desk: Desk) -> None:
    opened = await desk.post("/v1/accounts", json={**NEW, "unused": True})
    assert opened.json()["state"] == "new" and opened.json()["active_until"] is None


async def test_the_opening_is_done_once(desk: Desk) -> None:
    body = {**NEW, "credit": "5.00"}
    first, second = await asyncio.gather(*(desk.post("/v1/accounts", once="open-1", json=body) for _ in range(2)))
    assert {first.status_code, second.status_code} <= {201, 409}
    third = await desk.post("/v1/accounts", once="open-1", json=body)
    assert third.status_code == 201 and third.json()["credit"] == "5.00"
    assert third.headers["Idempotent-Replayed"] == "true"
    opened = [each for each in await desk.events("opened") if each.body["credit_in"] == 5_000_000]
    assert len(opened) == 1


@rule("HOT-TOP-1")
async def test_a_top_up_is_done_once_and_says_who_did_it(desk: Desk) -> None:
    path, body = f"/v1/accounts/{OWN}/top-ups", {"amount": "10.00"}
    answers = await asyncio.gather(*(desk.post(path, Role.SHOP, once="t-1", json=body) for _ in range(8)))
    assert {each.status_code for each in answers} == {201}
    assert {each.text for each in answers} == {answers[0].text} and answers[0].json()["credit"] == "30.00"
    repeated = await desk.post(path, Role.SHOP, once="t-1", json=body)
    assert repeated.text == answers[0].text and repeated.headers["Idempotent-Replayed"] == "true"
    (event,) = await desk.events("topup")
    assert str(event.body["by"]).startswith("key:") and event.body["credit_in"] == 10_000_000
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "30.00"


async def test_a_repetition_after_the_answer_was_lost_changes_nothing(desk: Desk) -> None:
    """The process ended between the effect and the keeping of the answer: the ledger's reference holds."""
    path, body = f"/v1/accounts/{OWN}/top-ups", {"amount": "10.00", "reference": "SHOP-1"}
    first = await desk.post(path, once="t-1", json=body)
    second = await desk.post(path, once="t-2", json=body)
    assert "Idempotent-Replayed" not in first.headers
    assert second.status_code == 201 and second.headers["Idempotent-Replayed"] == "true"
    assert second.json() == first.json()
    other = await desk.post(path, once="t-3", json={"amount": "11.00", "reference": "SHOP-1"})
    assert other.status_code == 422 and other.json()["code"] == "reference"


async def test_one_idempotency_key_is_for_one_request(desk: Desk) -> None:
    path = f"/v1/accounts/{OWN}/top-ups"
    assert (await desk.post(path, once="t-1", json={"amount": "10.00"})).status_code == 201
    for other_path, body in ((path, {"amount": "11.00"}), (f"/v1/accounts/{FOREIGN}/top-ups", {"amount": "10.00"})):
        answer = await desk.post(other_path, once="t-1", json=body)
        assert answer.status_code == 422 and answer.json()["code"] == "idempotency_reused"
    spaced = await desk.post(path, once="t-1", content=b'{ "amount" : "10.00" }', headers=JSON)
    assert spaced.status_code == 201 and spaced.headers["Idempotent-Replayed"] == "true"
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "30.00"
    other_key = await desk.post(path, Role.SHOP, once="t-1", json={"amount": "10.00"})
    assert other_key.json()["credit"] == "40.00", "two keys never collide"


async def test_a_refused_top_up_leaves_its_idempotency_key_free(desk: Desk) -> None:
    path = f"/v1/accounts/{OWN}/top-ups"
    refused = await desk.post(path, once="t-1", json={"amount": "190.00"})
    assert refused.status_code == 409 and refused.json()["code"] == "ceiling"
    done = await desk.post(path, once="t-1", json={"amount": "100.00"})
    assert done.status_code == 201 and "Idempotent-Replayed" not in done.headers


async def test_the_trail_says_what_was_before_and_after(desk: Desk) -> None:
    account_id = await desk.backend.accounts.find(OWN)
    await desk.post(f"/v1/accounts/{OWN}/top-ups", json={"amount": "10.00"}, headers={"X-Request-Id": "r-1"})
    await desk.get(f"/v1/accounts/{OWN}")
    await desk.get(f"/v1/accounts/{OWN}", Role.MEMBER)
    changed, looked = await desk.events("api", account_id)
    assert changed.body["op"] == "accounts.top_up" and changed.body["request"] == "r-1"
    assert '"credit_micro_eur":20000000' in str(changed.body["before"])
    assert '"credit_micro_eur":30000000' in str(changed.body["after"])
    assert looked.body["op"] == "accounts.read" and looked.body["before"] == "" and looked.body["role"] == "care"


@rule("HOT-GRP-1")
async def test_an_administrator_sees_its_members_only(desk: Desk) -> None:
    assert (await desk.get(f"/v1/accounts/{OWN}", Role.GROUP_ADMIN)).json()["group"] == GROUP
    foreign = await desk.get(f"/v1/accounts/{FOREIGN}", Role.GROUP_ADMIN)
    nobody = await desk.get("/v1/accounts/38668299999", Role.GROUP_ADMIN)
    for answer, number in ((foreign, FOREIGN), (nobody, "38668299999")):
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"there is no account with MSISDN {number}"


@rule("HOT-TOP-1")
async def test_a_top_up_records_its_channel(desk: Desk) -> None:
    path = f"/v1/accounts/{OWN}/top-ups"
    for role, asked in ((Role.CARE, None), (Role.CARE, "one-off"), (Role.SHOP, None), (Role.SHOP, "care")):
        body = {"amount": "1.00"} | ({"channel": asked} if asked else {})
        assert (await desk.post(path, role, json=body)).status_code == 201
    assert [each.body["channel"] for each in await desk.events("topup")] == ["care", "one-off", "one-off", "one-off"]


async def test_changes_that_a_key_may_not_do_are_in_the_audit_trail(desk: Desk) -> None:
    body, top_up = {"product": "SMS-200"}, {"amount": "1.00"}
    assert (await desk.post(f"/v1/accounts/{FOREIGN}/subscriptions", Role.MEMBER, json=body)).status_code == 404
    assert (await desk.post(f"/v1/accounts/{OWN}/top-ups", Role.MEMBER, json=top_up)).status_code == 403
    assert (await desk.delete("/v1/groups/G2/mandate", Role.GROUP_ADMIN)).status_code == 404
    assert (await desk.get(f"/v1/accounts/{FOREIGN}", Role.MEMBER)).status_code == 404
    noted = [each.body for each in await desk.events("api") if each.body["op"] != "keys.create"]
    assert sorted((each["role"], each["op"], each["status"], each["a"]) for each in noted) == [
        ("group-admin", "group_mandates.revoke", 404, ""),
        ("member", "accounts.top_up", 403, ""),
        ("member", "subscriptions.buy", 404, ""),
    ]


async def test_an_account_that_was_opened_when_the_ledger_failed_is_found_by_the_repetition(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"msisdn": "38668700777", "imsi": "293400000700777", "credit": "3.00"}
    opening = type(desk.backend.accounts).open

    async def lost(*args: object, **more: object) -> None:
        await opening(*args, **more)
        raise LedgerUnavailable("cut")

    with monkeypatch.context() as patch:
        patch.setattr(type(desk.backend.accounts), "open", lost)
        assert (await desk.post("/v1/accounts", once="o-lost", json=body)).status_code == 503
    again = await desk.post("/v1/accounts", once="o-lost", json=body)
    assert again.status_code == 201 and again.headers["Idempotent-Replayed"] == "true", again.text
    assert again.json()["credit"] == "3.00"
