"""Exports, and explanations under a draft, over the API."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import orjson
import pytest
from starlette.types import Message

from ocs.api.rights import Role
from ocs.history.exports.schema import NAMES
from tests.catalogue import CATALOGUE
from tests.ocs.api.desk import OWN, Desk, desk_on
from tests.ocs.cli.test_explain import LINE, SMS
from tests.ocs.history.record_files import write_file
from tests.ocs.history.test_exports import FIVE, T0
from tests.rules import rule
from tests.waiting import PATIENCE_S

OCTOBER = {"from": "2026-10-31T00:00:00+01:00", "to": "2026-11-01T00:00:00+01:00"}


@pytest.fixture
async def home(empty_redis: str, tmp_path: Path) -> AsyncIterator[tuple[Desk, Path]]:
    """A desk with records of its own, and their folder."""
    async with desk_on(empty_redis, data_dir=tmp_path) as desk:
        write_file(tmp_path / "records", 1, T0, *FIVE)
        yield desk, tmp_path / "records"


@rule("HOT-REC-1", "HOT-REC-2")
async def test_an_export_is_streamed_and_masked(home: tuple[Desk, Path]) -> None:
    desk, _ = home
    answer = await desk.get("/v1/exports", Role.READ_ONLY, params=OCTOBER)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/jsonl"
    rows = [orjson.loads(line) for line in answer.content.splitlines()]
    assert [(row["event_id"], row["line"]) for row in rows][:4] == [
        ("p01-1", 0), ("p01-2", 0), ("p01-3", 0), ("p01-3", 1)
    ]  # fmt: skip
    assert rows[3]["other_party"] == "+38631234xxx" and b"+38631234567" not in answer.content
    (noted,) = [
        each.body["op"]
        for each in await desk.events("api")
        if each.body["status"] == 200 and each.body["op"] != "keys.create"
    ]
    assert noted == "exports.read"


async def test_money_as_csv(home: tuple[Desk, Path]) -> None:
    desk, _ = home
    answer = await desk.get("/v1/exports", params={**OCTOBER, "format": "csv", "kind": "money"})
    table = list(csv.reader(answer.text.splitlines()))
    assert table[0] == list(NAMES) and [row[0] for row in table[1:]] == ["p01-1", "p01-2", "p01-3", "p01-4"]


async def test_more_rows_than_one_piece(home: tuple[Desk, Path]) -> None:
    desk, folder = home
    write_file(folder, 1, T0, *({**FIVE[0], "event_id": f"p01-{n}"} for n in range(1_000)))
    answer = await desk.get("/v1/exports", params={**OCTOBER, "format": "csv"})
    table = list(csv.reader(answer.text.splitlines()))
    assert [row[0] for row in table] == ["event_id", *(f"p01-{n}" for n in range(1_000))]


async def test_a_client_that_reads_slowly_holds_up_nobody(home: tuple[Desk, Path]) -> None:
    desk, folder = home
    write_file(folder, 1, T0, *({**FIVE[0], "event_id": f"p01-{n}"} for n in range(1_000)))
    begun, stuck = asyncio.Event(), asyncio.Event()
    sent = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if not sent:
            await stuck.wait()
        return sent.pop()

    async def send(message: Message) -> None:
        if message.get("body"):
            begun.set()
            await stuck.wait()

    key = desk.keys[Role.READ_ONLY].encode()
    scope = {
        "type": "http", "method": "GET", "path": "/v1/exports", "query_string": urlencode(OCTOBER).encode(),
        "headers": [(b"authorization", b"Bearer " + key)],
    }  # fmt: skip
    reading = asyncio.create_task(desk.app(scope, receive, send))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    other = await asyncio.wait_for(desk.get("/v1/exports", params={**OCTOBER, "kind": "money"}), PATIENCE_S)
    assert other.status_code == 200 and other.content
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"to": "2026-10-30T00:00:00+01:00"}, "to must be later than from"),
        ({"to": "2026-12-30T00:00:00+01:00"}, "a month at most"),
        ({"from": "2026-10-31T00:00:00"}, "must have an offset"),
        ({"kind": "everything"}, ""),
        ({"format": "parquet"}, ""),
    ],
)
async def test_a_wrong_range_or_form(home: tuple[Desk, Path], more: dict[str, str], said: str) -> None:
    answer = await home[0].get("/v1/exports", params={**OCTOBER, **more})
    assert answer.status_code == 422 and said in answer.text


async def test_missing_files_are_told(home: tuple[Desk, Path]) -> None:
    desk, folder = home
    for path in folder.iterdir():
        path.rename(folder / "records-000003-20261031T090000Z.jsonl")
    answer = await desk.get("/v1/exports", params=OCTOBER)
    assert answer.status_code == 409 and answer.json()["code"] == "records_missing"


@rule("HOT-REC-1")
async def test_a_charge_under_a_draft(home: tuple[Desk, Path]) -> None:
    """An SMS cost 0.069 EUR and would cost 0.10 EUR."""
    desk, folder = home
    account = await desk.backend.accounts.find(OWN)
    known = next(each for each in desk.backend.catalogue.in_force().prices if each.startswith("sms.home.national@"))
    services = [{**LINE, "price": known, "debit_micro_eur": 69_000}]
    write_file(folder, 1, T0, {**SMS, "account": account, "services": services})
    text = CATALOGUE.read_text("utf-8")
    draft = text.replace("[price.sms-national]\nmicro_eur = 69_000", "[price.sms-national]\nmicro_eur = 100_000")
    assert draft != text
    answer = await desk.post("/v1/explanations/draft", Role.READ_ONLY, json={"name": "p00-2", "catalogue": draft})
    found = answer.json()
    assert answer.status_code == 200, found
    assert found["draft"][-1]["micro_eur"] == 100_000 and found["differences"] == []
    assert "+38631234xxx" in json.dumps(found) and "+38631234567" not in json.dumps(found)
    plain = (await desk.get("/v1/explanations?name=p00-2")).json()
    assert plain["draft"] == [] and "+38631234567" not in json.dumps(plain)
    wrong = await desk.post("/v1/explanations/draft", json={"name": "p00-2", "catalogue": "x"})
    assert wrong.status_code == 422 and wrong.json()["code"] == "invalid"
    none = await desk.post("/v1/explanations/draft", json={"name": "p00-9", "catalogue": draft})
    assert none.status_code == 404
