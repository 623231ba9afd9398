"""Sessions, keywords, peers, audit, explanations, catalogue and prices over the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ocs.api.rights import Role
from ocs.ledger.contract.notices import Notice
from ocs.telemetry.metrics import Metrics, snapshot_path
from tests.catalogue import CATALOGUE
from tests.ocs.api.desk import FOREIGN, OWN, Desk, desk_on
from tests.ocs.api.sessions import begin
from tests.rules import rule
from tests.waiting import PATIENCE_S

HERE, THERE = f"/v1/accounts/{OWN}", f"/v1/accounts/{FOREIGN}"
"""The second is in no group."""


@pytest.fixture
async def home(empty_redis: str, tmp_path: Path) -> AsyncIterator[tuple[Desk, Path]]:
    """A desk with a data folder of its own, and the folder."""
    async with desk_on(empty_redis, data_dir=tmp_path, peers=["pgw.example.net", "ims.example.net"]) as desk:
        yield desk, tmp_path


async def test_sessions_are_looked_at_asked_and_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await desk.get(f"{HERE}/sessions")).json() == []
    none = await desk.post(f"{HERE}/sessions/ask", json={})
    assert none.status_code == 404 and none.json()["code"] == "session"

    await begin(desk, OWN, "pgw.example.net;1;2")
    (session,) = (await desk.get(f"{HERE}/sessions", Role.READ_ONLY)).json()
    assert session["session_id"] == "pgw.example.net;1;2" and session["services"][0]["credit"] != "0.00"
    heard: list[Notice] = []

    async def listen() -> None:
        async for notice in desk.ledger.notices(ready.set):
            heard.append(notice)
            return

    for action, said in (("ask", "reauthorize"), ("end", "abort")):
        ready, heard[:] = asyncio.Event(), []
        listening = asyncio.create_task(listen())
        await asyncio.wait_for(ready.wait(), PATIENCE_S)
        told = await desk.post(f"{HERE}/sessions/{action}", json={"session_id": session["session_id"]})
        assert told.json() == {"sessions": ["pgw.example.net;1;2"], "exempt": 0}
        await asyncio.wait_for(listening, PATIENCE_S)
        assert heard[0].kind == said


@rule("HOT-PKG-12")
async def test_a_keyword_asks_and_buys(desk: Desk) -> None:
    asked = (await desk.post(f"{THERE}/keywords", json={"text": "SMS 200"})).json()
    assert asked["product"] == "SMS-200" and "DA" in asked["text"]
    assert (await desk.post(f"{THERE}/keywords", json={"text": "SMS 200 DA"})).status_code == 200
    assert (await desk.get(f"{THERE}/subscriptions")).json()["items"][0]["product"] == "SMS-200"
    english = await desk.post(f"{THERE}/keywords", json={"text": "STANJE", "language": "en"})
    assert "credit" in english.json()["text"].lower()
    assert (await desk.post(f"{THERE}/keywords", json={"text": "x", "language": "xx"})).status_code == 422


async def test_peers_are_those_of_the_settings_and_of_the_workers(home: tuple[Desk, Path]) -> None:
    desk, folder = home
    (folder / "metrics").mkdir()
    for number, host in ((1, "pgw.example.net"), (2, "stranger.example.net")):
        metrics = Metrics()
        metrics.peer_state(host, "r_open")
        metrics.snapshot(snapshot_path(folder / "metrics", "worker", number))
    peers = {each["origin_host"]: each for each in (await desk.get("/v1/peers", Role.READ_ONLY)).json()["items"]}
    assert {name: each["state"] for name, each in peers.items()} == {
        "ims.example.net": "down",
        "pgw.example.net": "open",
        "stranger.example.net": "open",
    }
    assert peers["pgw.example.net"]["realm"] == "example.net" and peers["stranger.example.net"]["realm"] is None


async def test_the_last_audit_and_that_of_an_account(home: tuple[Desk, Path]) -> None:
    desk, folder = home
    assert (await desk.get("/v1/audit")).json()["passed_at"] is None
    (folder / "metrics").mkdir()
    metrics = Metrics()
    metrics.set("ocs_audit_passed_timestamp_seconds", 1_795_000_000)
    metrics.set("ocs_accounts", 7)
    metrics.snapshot(snapshot_path(folder / "metrics", "housekeeper", 1))
    last = (await desk.get("/v1/audit", Role.READ_ONLY)).json()
    assert last["accounts"] == 7 and last["passed_at"].startswith("2026-11-18T")
    account = (await desk.get(f"{HERE}/audit")).json()
    assert account["ok"] and account["paid_in"] == account["credit"] == "20.00" and account["violations"] == []


async def test_a_charge_is_explained_from_the_records(home: tuple[Desk, Path]) -> None:
    desk, folder = home
    account_id = await desk.backend.accounts.find(OWN)
    (folder / "records").mkdir()
    record = {"event_id": "p00-1", "kind": "topup", "time": "2026-11-30T16:00:00Z", "account": account_id}
    line = json.dumps({**record, "reference": "R1"}, separators=(",", ":"))
    (folder / "records" / "records-000001-20261130T160000Z.jsonl").write_text(line + "\n")
    found = (await desk.get("/v1/explanations?name=p00-1")).json()
    assert found["records"][0]["reference"] == "R1" and found["steps"][0]["step"] == "record"
    assert (await desk.get("/v1/explanations?name=p00-2")).status_code == 404
    noted = [each.body["op"] for each in await desk.events("api", account_id)]
    assert noted == ["explanations.read"], "it is a look at a subscriber's data"


# -- catalogue


async def test_versions_drafts_and_differences(desk: Desk) -> None:
    (version,) = (await desk.get("/v1/catalogue/versions")).json()
    assert version["in_force"] and version["loaded_by"] is None
    text = CATALOGUE.read_text(encoding="utf-8")
    checked = (await desk.post("/v1/catalogue/check", json={"catalogue": text})).json()
    assert checked["ok"] and checked["version"] == version["version"]
    wrong = (await desk.post("/v1/catalogue/check", json={"catalogue": "[catalogue]\nfoo = 1\n"})).json()
    assert not wrong["ok"] and any("foo" in each["key"] for each in wrong["problems"])
    draft = text.replace('price_eur = "6.99"', 'price_eur = "7.99"').replace('net_eur = "5.73"', 'net_eur = "6.55"')
    assert draft != text
    changes = (await desk.post("/v1/catalogue/compare", json={"draft": draft})).json()
    assert any("MINI" in each["key"] and each["percent"] for each in changes)
    for body in ({}, {"draft": draft, "with_version": "1"}, {"draft": "x"}):
        assert (await desk.post("/v1/catalogue/compare", json=body)).status_code == 422
    assert (await desk.post("/v1/catalogue/compare", json={"with_version": "none"})).status_code == 404


@pytest.mark.parametrize("role", [Role.SHOP, Role.MEMBER])
async def test_a_use_is_rated_before_it_happens(desk: Desk, role: Role) -> None:
    body: dict[str, Any] = {"msisdn": OWN, "service": "sms", "to": "+38631234567"}
    rated = (await desk.post("/v1/rate", role, json=body)).json()
    assert rated["granted"] == 1 and rated["credit"] != "0.00" and rated["refused"] is None
    assert {"place", "rate", "price", "sum"} <= {each["step"] for each in rated["steps"]}
    included = await desk.post("/v1/rate", role, json={"products": ["MINI"], "service": "sms", "to": "+38631234567"})
    assert included.json()["bucket_units"] == {"MINI.sms": 1}
    for wrong in ({"service": "telepathy"}, {"amount": "many"}, {"msisdn": OWN, "products": ["MINI"]}):
        assert (await desk.post("/v1/rate", role, json=wrong)).status_code == 422


async def test_a_price_for_a_foreign_account_is_not_told(desk: Desk) -> None:
    for role in (Role.MEMBER, Role.GROUP_ADMIN):
        answer = await desk.post("/v1/rate", role, json={"msisdn": FOREIGN})
        assert answer.status_code == 404 and answer.json()["code"] == "account"
