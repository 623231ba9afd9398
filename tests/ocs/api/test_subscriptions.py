"""Products, balance, limits, bars, mutes and measures over the API."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from ocs.api.rights import Role
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.values.moment import when_of
from tests.ocs.api.desk import FOREIGN, OWN, Desk
from tests.rules import rule
from tests.waiting import today

HERE = f"/v1/accounts/{OWN}"


@pytest.fixture
async def mini(desk: Desk) -> Desk:
    """OWN has the tariff MINI."""
    bought = await desk.post(f"{HERE}/subscriptions/change", Role.SHOP, json={"product": "MINI"})
    assert bought.status_code == 201 and bought.json()["state"] == "active", bought.text
    return desk


@rule("HOT-ACC-12")
async def test_balance_buckets_and_counters(mini: Desk) -> None:
    found = (await mini.get(f"{HERE}/balance", Role.MEMBER)).json()
    assert found["credit"] == found["available"] == "13.01" and found["tariff"] == "MINI"
    assert {each["bucket"] for each in found["units"]} >= {"MINI.data", "MINI.sms"}
    assert (await mini.get(f"{HERE}/buckets")).json() == found["units"]
    counters = {each["id"]: each for each in (await mini.get(f"{HERE}/counters")).json()}
    assert counters["limit"]["limit"] == "100.00" and counters["limit"]["value"] == "0.00"


async def test_an_order_is_done_once_even_when_eight_try(desk: Desk) -> None:
    path, body = f"{HERE}/subscriptions", {"product": "SMS-200"}
    answers = await asyncio.gather(*(desk.post(path, once="o-1", json=body) for _ in range(8)))
    assert {each.status_code for each in answers} == {201} and len({each.text for each in answers}) == 1
    assert (await desk.get(HERE)).json()["credit"] == "13.00"
    listed = (await desk.get(f"{HERE}/subscriptions")).json()["items"]
    assert [each["product"] for each in listed] == ["SMS-200"]


@rule("HOT-PKG-9")
async def test_a_refused_order_says_why(mini: Desk) -> None:
    unknown = await mini.post(f"{HERE}/subscriptions", json={"product": "GOLD"})
    assert unknown.status_code == 422 and "MINI" in unknown.json()["detail"]
    assert (await mini.post(f"{HERE}/subscriptions", json={"product": "SMS-200"})).status_code == 201
    excluded = await mini.post(f"{HERE}/subscriptions", json={"product": "SMS-1000"})
    assert excluded.status_code == 409 and excluded.json()["code"] == "excluded"
    poor = await mini.post(f"{HERE}/subscriptions", json={"product": "TV"})
    assert poor.status_code == 409 and poor.json()["code"] == "credit" and "Top up" in poor.json()["action"]


@rule("HOT-PKG-11", "HOT-PKG-7")
async def test_plan_and_cancel(desk: Desk) -> None:
    day = (today() + timedelta(days=3)).isoformat()
    planned = await desk.post(f"{HERE}/subscriptions/plan", json={"product": "SMS-200", "on": day})
    assert planned.json()["state"] == "planned" and planned.json()["begins_at"].startswith(f"{day}T00:00:00+")
    cancelled = await desk.delete(f"{HERE}/subscriptions/SMS-200", once="c-1")
    assert cancelled.status_code == 200, cancelled.text
    other = await desk.delete(f"{HERE}/subscriptions/SMS-200?at_once=true", once="c-1")
    assert other.status_code == 422 and other.json()["code"] == "idempotency_reused"
    assert (await desk.get(f"{HERE}/subscriptions")).json() == {"items": [], "next": None}
    gone = await desk.delete(f"{HERE}/subscriptions/SMS-200")
    assert gone.status_code == 409 and gone.json()["code"] == "subscription"


async def test_a_cancellation_whose_answer_was_lost_ends_no_other_one(
    mini: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack may be bought several times; the repetition gets the answer of what was done."""
    path = f"{HERE}/subscriptions"
    assert (await mini.post(f"/v1/accounts/{OWN}/top-ups", json={"amount": "20.00"})).status_code == 201
    for _ in range(2):
        assert (await mini.post(path, json={"product": "SMS-200-MESEC"})).status_code == 201
    url = f"{path}/SMS-200-MESEC?at_once=true"
    with monkeypatch.context() as patch:

        async def gone(*args: object, **more: object) -> bytes:
            raise LedgerUnavailable("cut")

        patch.setattr(type(mini.ledger), "keep_answer", gone)
        assert (await mini.delete(url, once="c-lost")).status_code == 503
    again = await mini.delete(url, once="c-lost")
    assert again.status_code == 200 and again.headers["Idempotent-Replayed"] == "true", again.text
    left = [each["product"] for each in (await mini.get(path)).json()["items"]]
    assert sorted(left) == ["MINI", "SMS-200-MESEC"]
    assert (await mini.delete(url, once="c-other")).status_code == 200
    refused = await mini.delete(url, once="c-third")
    assert refused.status_code == 409 and refused.json()["code"] == "subscription"


async def test_a_refused_cancellation_may_be_tried_again_under_its_key(mini: Desk) -> None:
    path = f"{HERE}/subscriptions"
    assert (await mini.delete(f"{path}/MMS-50", once="c-early")).status_code == 409
    assert (await mini.post(path, json={"product": "MMS-50"})).status_code == 201
    ending = await mini.delete(f"{path}/MMS-50", once="c-early")
    assert ending.status_code == 200 and "Idempotent-Replayed" not in ending.headers


@rule("HOT-PKG-6")
async def test_change_of_the_tariff(mini: Desk) -> None:
    changed = await mini.post(f"{HERE}/subscriptions/change", json={"product": "MAXI"})
    assert changed.status_code == 201 and changed.json()["state"] in ("active", "next")
    same = await mini.post(f"{HERE}/subscriptions/change", json={"product": "TV"})
    assert same.status_code == 409 and same.json()["code"] == "kind"


async def test_pages_of_subscriptions(desk: Desk) -> None:
    await desk.post(f"{HERE}/top-ups", json={"amount": "100.00"})
    restarted = await desk.post(f"{HERE}/subscriptions/restart", json={"product": "MINI"})
    assert restarted.status_code == 201 and restarted.json()["price"] == "6.99"
    for product in ("SMS-200", "SMS-200-MESEC", "SMS-200-MESEC"):
        assert (await desk.post(f"{HERE}/subscriptions", json={"product": product})).status_code == 201
    seen, cursor = [], ""
    while cursor is not None:
        page = (await desk.get(f"{HERE}/subscriptions?limit=2&cursor={cursor}")).json()
        assert 0 < len(page["items"]) <= 2
        seen += [each["instance"] for each in page["items"]]
        cursor = page["next"]
    assert len(seen) == 4 and seen == sorted(set(seen))
    for wrong in ("xx", "e30", "MTIz"):
        answer = await desk.get(f"{HERE}/subscriptions?cursor={wrong}")
        assert answer.status_code == 422 and answer.json()["code"] == "cursor"


# -- limits and consents


@rule("HOT-CC-1", "HOT-ROA-5")
async def test_limits_are_set_switched_off_and_raised_for_a_month(desk: Desk) -> None:
    set_ = await desk.put(f"{HERE}/limits/limit", json={"limit": "30.00"})
    assert set_.json()["limit"] == "30.00" and (await desk.get(HERE)).json()["monthly_limit"] == "30.00"
    assert (await desk.put(f"{HERE}/limits/limit", json={"limit": "off"})).json()["limit"] is None
    more = await desk.put(f"{HERE}/limits/roaming-data", json={"limit": "90.00", "this_window_only": True})
    assert more.json()["limit"] == "90.00"
    assert (await desk.get(f"{HERE}/limits/roaming-data")).json()["limit"] == "90.00"
    for name, limit in (("limit", "much"), ("none", "1")):
        assert (await desk.put(f"{HERE}/limits/{name}", json={"limit": limit})).status_code == 422


@rule("HOT-CC-5", "HOT-ROA-5")
async def test_bars_and_mutes(desk: Desk) -> None:
    assert (await desk.put(f"{HERE}/bars", json={"bars": ["roaming", "data"]})).json() == {"bars": ["data", "roaming"]}
    assert (await desk.get(f"{HERE}/bars", Role.MEMBER)).json() == {"bars": ["data", "roaming"]}
    assert (await desk.put(f"{HERE}/bars", json={"bars": []})).json() == {"bars": []}
    wrong = await desk.put(f"{HERE}/bars", json={"bars": ["sky"]})
    assert wrong.status_code == 422 and "roaming" in wrong.json()["detail"]
    assert (await desk.put(f"{HERE}/mutes/roaming-data:80")).json() == {"muted": ["roaming-data:80"]}
    assert (await desk.get(f"{HERE}/mutes")).json() == {"muted": ["roaming-data:80"]}
    assert (await desk.delete(f"{HERE}/mutes/roaming-data:80")).json() == {"muted": []}
    assert (await desk.put(f"{HERE}/mutes/none")).status_code == 422


@rule("HOT-ROA-8")
async def test_measures_of_care(desk: Desk) -> None:
    until = (datetime.now().astimezone() + timedelta(days=1)).isoformat()
    path = f"{HERE}/measures/bar/roaming"
    (put,) = (await desk.put(path, json={"reason": "resale", "until": until})).json()
    assert put["reason"] == "resale" and put["begun"] and datetime.fromisoformat(put["until"]).tzinfo is not None
    assert (await desk.get(f"{HERE}/measures", Role.READ_ONLY)).json() == [put]
    past = await desk.put(path, json={"reason": "resale", "until": "2020-01-01T00:00:00Z"})
    assert past.status_code == 422 and past.json()["code"] == "until"
    assert (await desk.delete(path)).json() == {"lifted": True}
    assert (await desk.delete(path)).json() == {"lifted": False}
    assert (await desk.put(f"{HERE}/measures/rope/x", json={"reason": "r"})).status_code == 422


# -- products


async def test_products_are_listed_by_pages_and_read(desk: Desk) -> None:
    names, cursor = [], ""
    while cursor is not None:
        page = (await desk.get(f"/v1/products?limit=7&cursor={cursor}", Role.MEMBER)).json()
        names += [each["id"] for each in page["items"]]
        cursor = page["next"]
    assert names == sorted(names) and {"MINI", "MAXI", "SMS-200"} <= set(names)
    mini = (await desk.get("/v1/products/MINI")).json()
    assert (mini["price"], mini["net"], mini["period_days"], mini["kind"]) == ("6.99", "5.73", 30, "tariff")
    assert (await desk.get("/v1/products/GOLD")).status_code == 404


# -- rights of members


@rule("HOT-GRP-1", "HOT-GRP-5")
async def test_a_member_orders_only_what_it_pays(desk: Desk) -> None:
    body = {"product": "SMS-200"}
    assert (await desk.post(f"{HERE}/subscriptions", Role.MEMBER, json=body)).status_code == 403
    assert (await desk.put(f"{HERE}/limits/limit", Role.MEMBER, json={"limit": "1.00"})).status_code == 403
    alone = await desk.new_key(Role.MEMBER, FOREIGN)
    assert (await desk.post(f"/v1/accounts/{FOREIGN}/subscriptions", key=alone, json=body)).status_code == 201
    when = when_of(desk.backend.when())
    await desk.ledger.set_separate(await desk.backend.accounts.find(OWN), is_open=True, **when)
    assert (await desk.put(f"{HERE}/limits/limit", Role.MEMBER, json={"limit": "1.00"})).status_code == 403
    poor = await desk.post(f"{HERE}/subscriptions", Role.MEMBER, json=body)
    assert poor.status_code == 409 and poor.json()["code"] == "credit", "the company's credit does not pay it"
    topped_up = await desk.post(f"{HERE}/top-ups", json={"amount": "10.00", "separate": True})
    assert topped_up.json()["credit"] == "10.00"
    assert (await desk.post(f"{HERE}/subscriptions", Role.MEMBER, json=body)).status_code == 201
    tariff = await desk.post(f"{HERE}/subscriptions", Role.MEMBER, json={"product": "MINI"})
    assert tariff.status_code in (403, 409)
    found = (await desk.get(f"{HERE}/balance", Role.MEMBER)).json()
    assert (found["credit"], found["separate"]) == ("20.00", "3.00")
    administrator = await desk.put(f"{HERE}/limits/limit", Role.GROUP_ADMIN, json={"limit": "1.00"})
    assert administrator.status_code == 200
