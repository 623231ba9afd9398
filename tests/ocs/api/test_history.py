"""History over the API: itemised use, transactions, statements, erasure."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ocs.api.pages import encode
from ocs.api.rights import Role
from ocs.history.migrating import migrate
from tests.ocs.api.desk import OWN, Desk, desk_on
from tests.ocs.history.records import Folder, Journal, load_all, use
from tests.rules import rule

USAGE = f"/v1/accounts/{OWN}/usage"
TRANSACTIONS = f"/v1/accounts/{OWN}/transactions"
DAY = 86_400


@pytest.fixture
async def desk(empty_redis: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """With a history: in each of the last 80 days a top-up and a call; each 30 days a package."""
    async with desk_on(empty_redis, data_dir=tmp_path) as made:
        assert made.container.history is not None
        engine = made.container.history.engine
        migrate(engine)
        now, account = made.backend.environment.now(), await made.backend.accounts.find(OWN)
        journal, folder = Journal(2000), Folder(tmp_path / "records")
        for day in range(80, 0, -1):
            at = now - day * DAY + 60
            folder.append(journal.line(account, "topup", at, credit_in=1_000_000, ref=f"=R{day}", channel="shop"))
            line = use(debit=122_000, detail="29340 mo tel:+38641038107")
            folder.append(journal.charge(account, at + 1, f"s{day}", line, debit=122_000, started=at + 1))
            if day % 30 == 0:
                price: dict[str, Any] = {"debit": 610_000, "price": 610_000, "period_end": at + 30 * DAY}
                folder.append(journal.line(account, "package", at, id="MINI", ok=1, **price))
        folder.begin()
        folder.append(journal.line(account, "state", now, state="a"))
        load_all(engine, folder, months=made.backend.catalogue.month_of)
        yield made


async def every(desk: Desk, path: str, role: Role = Role.CARE, **query: Any) -> list[Any]:
    """The items of all pages."""
    found: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await desk.get(path, role, params={**query, "cursor": cursor})
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next"]
    return found


@rule("HOT-REC-1")
@pytest.mark.parametrize("role", [Role.CARE, Role.READ_ONLY, Role.GROUP_ADMIN, Role.MEMBER])
async def test_itemised_use_by_billing_period(desk: Desk, role: Role) -> None:
    current = await every(desk, USAGE, role, limit=7)
    assert [each["session"] for each in current] == [f"s{day}" for day in range(30, 0, -1)]
    before = await every(desk, USAGE, role, period=1, limit=50)
    assert [each["session"] for each in before] == [f"s{day}" for day in range(60, 30, -1)]
    first = current[0]
    assert first["party"] == "tel:+38641038xxx" and "38641038107" not in str(current)
    assert first["price"] == {"net": "0.10", "vat": "0.022", "gross": "0.122", "vat_percent": 22}
    assert first["time"].endswith(("+01:00", "+02:00"))


@pytest.mark.parametrize("path", [USAGE, TRANSACTIONS])
async def test_an_account_that_has_just_moved_keeps_its_history(desk: Desk, path: str) -> None:
    """The database learns of the move some seconds later."""
    month = f"/v1/accounts/{OWN}/statements/2026-11"
    before, statement = await every(desk, path), (await desk.get(month)).json()
    assert before
    for partition in range(desk.ledger.partitions):
        await desk.backend.accounts.move(OWN, partition=partition)
        assert await every(desk, path) == before
        assert (await desk.get(month)).json()["transactions"] == statement["transactions"]


async def test_a_shop_sees_no_itemised_use(desk: Desk) -> None:
    for path in (USAGE, TRANSACTIONS, f"/v1/accounts/{OWN}/statements/2026-11"):
        assert (await desk.get(path, Role.SHOP)).status_code == 403


@rule("HOT-TOP-6")
async def test_all_top_ups_can_be_listed(desk: Desk) -> None:
    found = await every(desk, TRANSACTIONS, Role.MEMBER, kind="topup", limit=30)
    assert [each["reference"] for each in found] == [f"=R{day}" for day in range(80, 0, -1)]
    assert {(each["channel"], each["kind"], each["price"]["gross"]) for each in found} == {("shop", "topup", "1.00")}
    assert found[0]["price"]["vat"] == "0.00", "a payment has no VAT"
    some = await every(desk, TRANSACTIONS, kind=["topup", "package"], **{"from": found[-2]["time"]})
    assert len(some) == 2
    assert len(await every(desk, TRANSACTIONS, to=found[2]["time"])) == 2


@rule("HOT-RAT-8")
async def test_a_statement_of_a_month_as_json_and_csv(desk: Desk) -> None:
    transactions = await every(desk, TRANSACTIONS, limit=200)
    months = sorted({each["time"][:7] for each in transactions})
    opening = "0.00"
    for month in months:
        found = (await desk.get(f"/v1/accounts/{OWN}/statements/{month}")).json()
        own = [each for each in transactions if each["time"].startswith(month)]
        assert found["transactions"] == own and found["opening"] == opening
        assert found["itemised"] and found["difference"] == "0.00"
        opening = found["closing"]
    path = f"/v1/accounts/{OWN}/statements/{months[-2]}"
    json = (await desk.get(path)).json()
    answer = await desk.get(path, params={"format": "csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert (rows[0]["kind"], rows[-2]["kind"]) == ("opening", "closing")
    assert (rows[0]["credit_eur"], rows[-2]["credit_eur"]) == (json["opening"], json["closing"])
    assert rows[-1]["gross_eur"] == json["sold"]["gross"] and rows[-1]["vat_eur"] == json["sold"]["vat"]
    assert next(row["reference"] for row in rows if row["kind"] == "topup").startswith("'=R"), "no formula"
    assert {row["channel"] for row in rows if row["kind"] == "topup"} == {"shop"}
    assert all(None not in row and None not in row.values() for row in rows), "each row has all columns"


async def test_itemised_use_as_csv_has_its_next_page_in_a_header(desk: Desk) -> None:
    first = await desk.get(USAGE, params={"format": "csv", "limit": 20})
    second = await desk.get(USAGE, params={"format": "csv", "limit": 20, "cursor": first.headers["X-Next-Cursor"]})
    assert "X-Next-Cursor" not in second.headers
    rows = [row for each in (first, second) for row in csv.DictReader(each.text.splitlines())]
    assert [row["session_id"] for row in rows] == [f"s{day}" for day in range(30, 0, -1)]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{USAGE}?period=4", "period"),
        (f"{USAGE}?cursor=W10", "cursor"),
        (f"{TRANSACTIONS}?cursor=IngiCg", "cursor"),
        *(
            (f"{path}?cursor={encode(position)}", "cursor")
            for path in (USAGE, TRANSACTIONS)
            for position in ([2**64 - 1, 1, "x"], [1, 2**63, "x"], [-1, 1, "x"], [True, 1, "x"], [1, 1, "x\0"])
        ),
        (f"{TRANSACTIONS}?kind=%00", "invalid"),
        (f"{TRANSACTIONS}?from=yesterday", "invalid"),
        (f"{TRANSACTIONS}?from=2026-11-30T00:00:00", "invalid"),
        (f"/v1/accounts/{OWN}/statements/2026-13", "invalid"),
    ],
)
async def test_mistakes_are_told(desk: Desk, path: str, code: str) -> None:
    answer = await desk.get(path)
    assert answer.status_code == 422 and answer.json()["code"] == code, answer.text


async def test_a_person_is_erased_by_care_and_that_is_journalled(desk: Desk) -> None:
    path = f"/v1/accounts/{OWN}/erasure"
    assert (await desk.post(path, Role.READ_ONLY, json={"reason": "x"})).status_code == 403
    answer = await desk.post(path, json={"reason": "letter of today"})
    assert answer.status_code == 200 and answer.json()["rows"] == 50 and answer.json()["file_lines"] == 80
    (event,) = await desk.events("erased")
    assert (event.body["reason"], event.body["rows"]) == ("letter of today", 50)
    assert str(event.body["by"]).startswith("key:")
    assert await every(desk, USAGE, period=1) == []
    assert len(await every(desk, USAGE, limit=200)) == 30
    assert len(await every(desk, TRANSACTIONS, limit=200)) == 82


async def test_without_its_database_the_history_is_unavailable_and_the_rest_goes_on(empty_redis: str) -> None:
    async with desk_on(empty_redis) as desk:
        answer = await desk.get(USAGE)
        assert answer.status_code == 503 and answer.json()["code"] == "history" and answer.headers["Retry-After"] == "1"
        assert (await desk.get(f"/v1/accounts/{OWN}")).status_code == 200
