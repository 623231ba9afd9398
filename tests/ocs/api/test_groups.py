"""Groups, transfers and separate accounts over the API, by keys of the administrator and of a member."""

from __future__ import annotations

from typing import Any

from ocs.api.rights import Role
from tests.ocs.api.desk import BOSS, FOREIGN, GROUP, OWN, Desk
from tests.rules import rule

ADMIN, MEMBER, CARE = Role.GROUP_ADMIN, Role.MEMBER, Role.CARE
PUK = "12345678"


def numbers(group: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["msisdn"], each["role"]) for each in group["numbers"]]


@rule("HOT-GRP-1")
async def test_the_administrator_adds_and_removes_numbers(desk: Desk) -> None:
    assert (await desk.put(f"/v1/accounts/{FOREIGN}/puk", json={"puk": PUK})).status_code == 200
    wrong = await desk.post(f"/v1/groups/{GROUP}/numbers", ADMIN, json={"msisdn": FOREIGN, "puk": "00000000"})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "puk")
    assert (await desk.get(f"/v1/accounts/{FOREIGN}", ADMIN)).status_code == 404
    added = await desk.post(f"/v1/groups/{GROUP}/numbers", ADMIN, json={"msisdn": FOREIGN, "puk": PUK})
    assert numbers(added.json()) == [(BOSS, "administrator"), (OWN, "member"), (FOREIGN, "member")]
    assert (await desk.get(f"/v1/accounts/{FOREIGN}", ADMIN)).status_code == 200
    new = {"msisdn": "38668200009", "puk": PUK, "imsi": "293400000200999", "package": "MINI"}
    assert (await desk.post(f"/v1/groups/{GROUP}/numbers", ADMIN, json=new)).status_code == 403
    assert len((await desk.post(f"/v1/groups/{GROUP}/numbers", CARE, json=new)).json()["numbers"]) == 4
    gone = await desk.delete(f"/v1/groups/{GROUP}/numbers/{FOREIGN}", ADMIN)
    assert gone.json() == {"changed": True}
    assert (await desk.get(f"/v1/accounts/{FOREIGN}", ADMIN)).status_code == 404
    boss = await desk.delete(f"/v1/groups/{GROUP}/numbers/{BOSS}", ADMIN)
    assert (boss.status_code, boss.json()["code"]) == (409, "administrator")
    for path, body in (("numbers", {"msisdn": FOREIGN, "puk": PUK}), ("pool", {})):
        assert (await desk.post(f"/v1/groups/{GROUP}/{path}", MEMBER, json=body)).status_code == 403
    other = await desk.put(f"/v1/groups/{GROUP}/administrator", ADMIN, json={"msisdn": OWN})
    assert numbers(other.json())[0] == (OWN, "administrator")
    stranger = await desk.put(f"/v1/groups/{GROUP}/administrator", ADMIN, json={"msisdn": FOREIGN})
    assert stranger.status_code == 404


@rule("HOT-GRP-1")
async def test_an_administrator_without_the_puk_learns_nothing_of_a_number(desk: Desk) -> None:
    """No account, no PUK1 known, a wrong one, one wrong too often: the answers differ by the number only."""
    with_puk, missing = "38668200031", "38668200032"
    await desk.open(with_puk)
    assert (await desk.put(f"/v1/accounts/{with_puk}/puk", json={"puk": PUK})).status_code == 200
    answers = []
    for msisdn in (FOREIGN, missing, *[with_puk] * 12):
        body = {"msisdn": msisdn, "puk": "00000000"}
        answer = (await desk.post(f"/v1/groups/{GROUP}/numbers", ADMIN, json=body)).json()
        del answer["request_id"]
        answers.append(str(answer).replace(msisdn, "N"))
    assert len(set(answers)) == 1, set(answers)
    told = await desk.post(f"/v1/groups/{GROUP}/numbers", CARE, json={"msisdn": with_puk, "puk": PUK})
    assert told.json()["code"] == "puk_blocked"


@rule("HOT-GRP-1")
async def test_groups_are_listed_and_changed(desk: Desk) -> None:
    created = await desk.post("/v1/groups", json={"name": "Druga", "administrator": FOREIGN, "payer": "M-2"})
    assert created.status_code == 201 and numbers(created.json()) == [(FOREIGN, "administrator")]
    listed = (await desk.get("/v1/groups")).json()["items"]
    assert sorted((each["name"], each["payer"], each["numbers"]) for each in listed) == [
        ("Druga", "M-2", 1),
        ("Firma", None, 2),
    ]
    changed = await desk.request("PATCH", f"/v1/groups/{GROUP}", json={"name": "Prva", "payer": "M-1"})
    assert (changed.json()["name"], changed.json()["payer"]) == ("Prva", "M-1")
    assert (await desk.get("/v1/groups", ADMIN)).status_code == 403


@rule("HOT-GRP-1", "HOT-CC-1")
async def test_the_administrator_limits_all_and_a_member_nothing(desk: Desk) -> None:
    limited = await desk.put(f"/v1/groups/{GROUP}/limit", ADMIN, json={"monthly_limit": "12.50"})
    assert {each["monthly_limit"] for each in limited.json()["numbers"]} == {"12.50"}
    assert (await desk.put(f"/v1/accounts/{OWN}/limits/limit", MEMBER, json={"limit": "99"})).status_code == 403
    shared = (await desk.post(f"/v1/groups/{GROUP}/pool", ADMIN, json={})).json()
    assert shared["pool"] == f"group-{GROUP}" and shared["unfinished"] == []


@rule("HOT-GRP-2")
async def test_credit_is_transferred_between_administrator_and_member_once(desk: Desk) -> None:
    body = {"to": OWN, "amount": "5.00"}
    done = await desk.post(f"/v1/accounts/{BOSS}/transfers", ADMIN, once="t1", json=body)
    assert (done.status_code, done.json()["credit"]) == (201, "15.00")
    again = await desk.post(f"/v1/accounts/{BOSS}/transfers", ADMIN, once="t1", json=body)
    assert again.headers["Idempotent-Replayed"] == "true" and again.json() == done.json()
    back = await desk.post(f"/v1/accounts/{OWN}/transfers", ADMIN, json={"to": BOSS, "amount": "25.00"})
    assert (back.status_code, back.json()["credit"]) == (201, "0.00")
    assert (await desk.get(f"/v1/accounts/{BOSS}", ADMIN)).json()["credit"] == "40.00"
    for sender, to, amount, role, expected in (
        (OWN, BOSS, "1.00", ADMIN, (409, "funds")),
        (BOSS, FOREIGN, "1.00", CARE, (409, "group")),
        (BOSS, FOREIGN, "1.00", ADMIN, (404, "account")),
        (BOSS, OWN, "1.00", MEMBER, (403, "forbidden")),
        (BOSS, OWN, "0", ADMIN, (422, "amount")),
    ):
        answer = await desk.post(f"/v1/accounts/{sender}/transfers", role, json={"to": to, "amount": amount})
        assert (answer.status_code, answer.json()["code"]) == expected
    full = await desk.post(f"/v1/accounts/{OWN}/top-ups", CARE, json={"amount": "200.00"})
    assert full.status_code == 201
    refused = await desk.post(f"/v1/accounts/{BOSS}/transfers", ADMIN, once="t9", json={"to": OWN, "amount": "1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "ceiling")
    assert (await desk.get(f"/v1/accounts/{BOSS}", ADMIN)).json()["credit"] == "40.00"
    books = (await desk.backend.ledger.read_group(GROUP)) is not None
    assert books


@rule("HOT-GRP-5")
async def test_what_a_member_orders_itself_is_paid_by_its_separate_account(desk: Desk) -> None:
    order = {"product": "SMS-200"}
    path = f"/v1/accounts/{OWN}/subscriptions"
    assert (await desk.post(path, MEMBER, json=order)).status_code == 403, "it has no separate account"
    assert (await desk.put(f"/v1/accounts/{OWN}/separate", MEMBER, json={"open": True})).status_code == 403
    opened = await desk.put(f"/v1/accounts/{OWN}/separate", ADMIN, json={"open": True})
    assert opened.json() == {"open": True, "credit": "0.00"}
    poor = await desk.post(path, MEMBER, json=order)
    assert (poor.status_code, poor.json()["code"]) == (409, "credit")
    paid = await desk.post(f"/v1/accounts/{OWN}/separate/top-ups", CARE, json={"amount": "10.00"})
    assert paid.json()["credit"] == "10.00"
    assert (await desk.post(path, MEMBER, json=order)).status_code == 201
    balance = (await desk.get(f"/v1/accounts/{OWN}/balance", MEMBER)).json()
    assert (balance["credit"], balance["separate"]) == ("20.00", "3.00")
    tariff = await desk.post(f"{path}/change", MEMBER, json={"product": "MINI"})
    assert tariff.status_code == 403, "packages are the administrator's"
    assert (await desk.post(f"{path}/change", ADMIN, json={"product": "MINI"})).status_code == 201
    balance = (await desk.get(f"/v1/accounts/{OWN}/balance", MEMBER)).json()
    assert (balance["credit"], balance["separate"]) == ("13.01", "3.00")
    closed = await desk.put(f"/v1/accounts/{OWN}/separate", ADMIN, json={"open": False})
    assert (closed.status_code, closed.json()["code"]) == (409, "separate")
    assert (await desk.delete(f"{path}/SMS-200", MEMBER)).status_code == 200


async def test_the_reference_of_a_transfer_is_taken_from_nobody(desk: Desk) -> None:
    """An administrator who guesses a shop's order numbers does not stop its top-ups."""
    body = {"to": OWN, "amount": "0.01", "reference": "SHOP-1"}
    assert (await desk.post(f"/v1/accounts/{BOSS}/transfers", ADMIN, json=body)).status_code == 201
    top_up = {"amount": "1.00", "reference": "SHOP-1"}
    done = await desk.post(f"/v1/accounts/{FOREIGN}/top-ups", Role.SHOP, json=top_up)
    assert done.status_code == 201 and done.json()["credit"] == "21.00"
    again = await desk.post(f"/v1/accounts/{BOSS}/transfers", ADMIN, json=body)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await desk.post(f"/v1/accounts/{BOSS}/transfers", ADMIN, json={**body, "amount": "0.02"})
    assert other.status_code == 422 and other.json()["code"] == "reference"
    assert (await desk.get(f"/v1/accounts/{BOSS}")).json()["credit"] == "19.99"
