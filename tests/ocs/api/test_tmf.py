"""TMF654 and TMF635: the published forms, over the same operations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from ocs.accounts.inputs import Reference
from ocs.api.rights import Role
from ocs.history.migrating import migrate
from ocs.values.identities import Msisdn
from ocs.values.moment import when_of
from tests.ocs.accounts.voucher_desk import EUR, unknown_number
from tests.ocs.api import tmf_forms as forms
from tests.ocs.api.desk import FOREIGN, GROUP, OWN, Desk, desk_on
from tests.ocs.history.records import Folder, Journal, load_all, use
from tests.rules import rule

BALANCE, USE = "/tmf-api/prepayBalanceManagement/v4", "/tmf-api/usageManagement/v4"
DAY = 86_400
TOP_UPS = 12


@pytest.fixture
async def desk(empty_redis: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """With a history: in each of the last 12 days a top-up of 1 EUR and a call."""
    async with desk_on(empty_redis, data_dir=tmp_path) as made:
        assert made.container.history is not None
        engine = made.container.history.engine
        migrate(engine)
        now, account = made.backend.environment.now(), await made.backend.accounts.find(OWN)
        journal, folder = Journal(100), Folder(tmp_path / "records")
        for day in range(TOP_UPS, 0, -1):
            at, channel = now - day * DAY + 60, "voucher" if day % 3 == 0 else "one-off"
            folder.append(journal.line(account, "topup", at, credit_in=1_000_000, ref=f"R/{day}", channel=channel))
            line = use(debit=122_000, detail="29340 mo tel:+38641038107")
            folder.append(journal.charge(account, at + 1, f"s{day}", line, debit=122_000, started=at + 1))
        folder.begin()
        folder.append(journal.line(account, "state", now, state="a"))
        load_all(engine, folder, months=made.backend.catalogue.month_of)
        yield made


def exact(answer: httpx.Response) -> Any:
    """The body, its numbers as they are written."""
    return json.loads(answer.text, parse_float=Decimal, parse_int=int)


async def listed(desk: Desk, path: str, schema: dict[str, Any], role: Role = Role.CARE, **query: Any) -> list[Any]:
    answer = await desk.get(path, role, params=query)
    assert answer.status_code == 200, answer.text
    rows: list[Any] = exact(answer)
    for each in answer.json():
        forms.has_form(each, schema)
    assert answer.headers["X-Result-Count"] == str(len(rows))
    return rows


async def with_tariff(desk: Desk) -> None:
    """OWN has a tariff: 1500 min, 1500 SMS, 9 GB."""
    product = desk.backend.catalogue.products["MINI"]
    assert (await desk.backend.products.restart(Msisdn(OWN), product=product, reference=Reference("tariff"))).applied


# -- TMF654


async def test_buckets_are_credit_and_units(desk: Desk) -> None:
    await with_tariff(desk)
    subject = {"logicalResource.id": OWN}
    rows = await listed(desk, f"{BALANCE}/bucket", forms.BUCKET, Role.MEMBER, **subject)
    credit = rows[0]
    assert (credit["id"], credit["usageType"], credit["status"]) == (f"{OWN}.credit", "monetary", "active")
    assert credit["remainingValue"] == {"amount": Decimal("13.01"), "units": "EUR"}
    assert {each["usageType"] for each in rows} == {"monetary", "data", "voice", "sms"}
    data = [each for each in rows if each["usageType"] == "data"]
    assert {each["product"][0]["id"] for each in data} == {"MINI"} and data[0]["remainingValue"]["units"] == "octets"
    for each in rows:
        found = await desk.get(httpx.URL(each["href"]).path)
        assert exact(found) == each
    sums = await listed(desk, f"{BALANCE}/accumulatedBalance", forms.ACCUMULATED, **subject)
    money = next(each for each in sums if each["name"] == "monetary")
    assert money["totalBalance"] == credit["remainingValue"] and [each["id"] for each in money["bucket"]] == [
        credit["id"]
    ]
    one = await desk.get(httpx.URL(money["href"]).path, params={"fields": "totalBalance"})
    assert exact(one) == {name: money[name] for name in ("id", "href", "@type", "totalBalance")}


async def test_fields_filters_and_pages(desk: Desk) -> None:
    await with_tariff(desk)
    subject = {"logicalResource.id": OWN}
    rows = await listed(desk, f"{BALANCE}/bucket", forms.BUCKET, **subject)
    some = await listed(desk, f"{BALANCE}/bucket", forms.BUCKET, **subject, fields="name,usageType", limit=2, offset=1)
    assert [each["id"] for each in some] == [each["id"] for each in rows[1:3]]
    assert all(set(each) == {"id", "href", "@type", "name", "usageType"} for each in some)
    answer = await desk.get(f"{BALANCE}/bucket", params={**subject, "usageType": "voice,sms", "limit": 1})
    assert answer.headers["X-Total-Count"] == str(len([each for each in rows if each["usageType"] in ("voice", "sms")]))
    rich = await listed(desk, f"{BALANCE}/bucket", forms.BUCKET, **subject, **{"remainingValue.amount.gt": "1000000"})
    assert {each["usageType"] for each in rich} == {"data"}
    none = await listed(desk, f"{BALANCE}/bucket", forms.BUCKET, **subject, fields="none")
    assert all(set(each) == {"id", "href", "@type"} for each in none)
    for query in ({"color": "red"}, {"fields": "color"}, {"isShared.gt": "1"}, {"remainingValue.amount.gt": "x"}):
        refused = await desk.get(f"{BALANCE}/bucket", params={**subject, **query})
        assert refused.status_code == 422, query
        forms.has_form(refused.json(), forms.ERROR)


@rule("HOT-TOP-1")
async def test_a_top_up_is_made_once(desk: Desk) -> None:
    body = {
        "amount": {"amount": 10.1, "units": "EUR"},
        "bucket": {"id": f"{OWN}.credit"},
        "partyAccount": {"id": await desk.backend.accounts.find(OWN)},
        "usageType": "monetary",
    }
    made = await desk.post(f"{BALANCE}/topupBalance", Role.SHOP, once="t-1", json=body)
    assert made.status_code == 201, made.text
    forms.has_form(made.json(), forms.TOP_UP)
    assert exact(made)["amount"] == {"amount": Decimal("10.10"), "units": "EUR"}
    assert (made.json()["status"], made.json()["channel"]["id"]) == ("completed", "one-off")
    again = await desk.post(f"{BALANCE}/topupBalance", Role.SHOP, once="t-1", json=body)
    assert again.text == made.text and again.headers["Idempotent-Replayed"] == "true"
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "30.10"
    by_number = {**body, "logicalResource": [{"id": OWN}], "bucket": None, "partyAccount": None}
    assert (await desk.post(f"{BALANCE}/topupBalance", json=by_number)).status_code == 201
    event = (await desk.events("topup"))[-1].body
    assert (event["channel"], event["credit_in"]) == ("care", 10_100_000)
    trail = [each.body for each in await desk.events("api", await desk.backend.accounts.find(OWN))]
    assert ("tmf654.createTopupBalance", "shop", 201) in [(each["op"], each["role"], each["status"]) for each in trail]


async def test_a_repetition_after_the_answer_was_forgotten_says_when_it_was_done(desk: Desk, tmp_path: Path) -> None:
    """Answers are kept for a week, references for a year: then the history knows when."""
    body = {"amount": {"amount": 3, "units": "EUR"}, "logicalResource": [{"id": OWN}], "usageType": "monetary"}
    made = await desk.post(f"{BALANCE}/topupBalance", once="old", json=body)
    reference = str((await desk.events("topup"))[-1].body["ref"])
    partition, key = desk.ledger._answer_key(reference.removeprefix("api:"))
    for name in (key, key + b":plan"):
        assert await desk.ledger._ask("api", partition, b"DEL", name) == 1
    assert desk.container.history is not None
    journal, folder, account = Journal(100), Folder(tmp_path / "records"), await desk.backend.accounts.find(OWN)
    journal.roll_back(int(account.partition("-")[0]), epoch=0, sequence=1_000)  # after what is loaded
    at = desk.backend.environment.now() - 8 * DAY
    folder.append(journal.line(account, "topup", at, credit_in=3_000_000, ref=reference, channel="care"))
    load_all(desk.container.history.engine, folder, months=desk.backend.catalogue.month_of)
    again = await desk.post(f"{BALANCE}/topupBalance", once="old", json=body)
    then = desk.container.time(at)
    assert then is not None
    dates = {"requestedDate": then.isoformat(), "confirmationDate": then.isoformat()}
    assert again.json() == {**made.json(), **dates} and again.headers["Idempotent-Replayed"] == "true"
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "23.00"


@rule("HOT-TOP-2", "HOT-TOP-3")
async def test_a_voucher_tops_up(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "v.csv"
    await desk.backend.vouchers.generate(name="T", count=1, value_micro_eur=5 * EUR, expires_at=0, file=file)
    await desk.backend.vouchers.activate("T")
    number = file.read_text().splitlines()[1].split(",")[1]
    body = {"logicalResource": [{"id": OWN}], "usageType": "monetary", "voucher": number}
    made = await desk.post(f"{BALANCE}/topupBalance", Role.SHOP, json=body)
    assert (
        made.status_code == 201 and exact(made)["amount"]["amount"] == 5 and made.json()["channel"]["id"] == "voucher"
    )
    forms.has_form(made.json(), forms.TOP_UP)
    wrong = await desk.post(f"{BALANCE}/topupBalance", Role.SHOP, json={**body, "voucher": unknown_number()})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "voucher")
    forms.has_form(wrong.json(), forms.ERROR)
    assert (await desk.get(f"/v1/accounts/{OWN}/voucher-entries")).json()["wrong"] == 1


@rule("HOT-TOP-6", "HOT-GRP-5")
async def test_a_top_up_of_the_separate_account_is_listed_with_its_amount(desk: Desk, tmp_path: Path) -> None:
    assert desk.container.history is not None
    journal, folder, account = Journal(100), Folder(tmp_path / "records"), await desk.backend.accounts.find(OWN)
    journal.roll_back(int(account.partition("-")[0]), epoch=0, sequence=1_000)  # after what is loaded
    at = desk.backend.environment.now()
    folder.append(journal.line(account, "topup", at, credit_in=0, separate_in=8_000_000, ref="own", channel="care"))
    load_all(desk.container.history.engine, folder, months=desk.backend.catalogue.month_of)
    last = (await listed(desk, f"{BALANCE}/topupBalance", forms.TOP_UP, **{"logicalResource.id": OWN}))[-1]
    assert (last["amount"]["amount"], last["bucket"]["id"]) == (8, f"{OWN}.separate")


@rule("HOT-ACC-7")
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"amount": {"amount": 180.01, "units": "EUR"}}, 409, "ceiling"),
        ({"amount": {"amount": -1, "units": "EUR"}}, 422, "amount"),
        ({"amount": {"amount": 0.0000001, "units": "EUR"}}, 422, "invalid"),
        ({"amount": {"amount": 5, "units": "USD"}}, 422, "invalid"),
        ({"amount": None}, 422, "invalid"),
        ({"usageType": "data"}, 422, "invalid"),
        ({"bucket": {"id": f"{OWN}.1"}}, 422, "invalid"),
        ({"bucket": {"id": f"{FOREIGN}.credit"}}, 422, "invalid"),
        ({"partyAccount": {"id": "00-0000"}}, 422, "invalid"),
        ({"logicalResource": None}, 422, "invalid"),
        ({"logicalResource": [{"id": "38668299999"}]}, 404, "account"),
        ({"isAutoTopup": True}, 422, "invalid"),
    ],
)
async def test_what_is_refused_changes_nothing(desk: Desk, change: dict[str, Any], status: int, code: str) -> None:
    body = {"amount": {"amount": 5, "units": "EUR"}, "logicalResource": [{"id": OWN}], "usageType": "monetary"}
    answer = await desk.post(f"{BALANCE}/topupBalance", json={**body, **change})
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    forms.has_form(answer.json(), forms.ERROR)
    assert answer.json()["status"] == str(status)
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "20.00"


@rule("HOT-TOP-6")
async def test_all_top_ups_are_listed(desk: Desk) -> None:
    subject = {"logicalResource.id": OWN}
    rows = await listed(desk, f"{BALANCE}/topupBalance", forms.TOP_UP, Role.MEMBER, **subject)
    assert len(rows) == TOP_UPS and [each["confirmationDate"] for each in rows] == sorted(
        each["confirmationDate"] for each in rows
    )
    assert {str(each["amount"]["amount"]) for each in rows} == {"1.00"}
    vouchers = await listed(desk, f"{BALANCE}/topupBalance", forms.TOP_UP, **subject, **{"channel.id": "voucher"})
    assert len(vouchers) == TOP_UPS // 3
    since = {"confirmationDate.gt": rows[7]["confirmationDate"]}
    late = await listed(desk, f"{BALANCE}/topupBalance", forms.TOP_UP, **subject, **since)
    assert late == rows[8:]
    one = await desk.get(httpx.URL(rows[0]["href"]).path)
    assert exact(one) == rows[0]
    assert {each["bucket"]["id"] for each in rows} == {f"{OWN}.credit"}
    for unknown in ("xyz", "eAB5", "4pa1"):  # the second has a NUL, which PostgreSQL compares with nothing
        missing = await desk.get(f"{BALANCE}/topupBalance/{OWN}.{unknown}")
        assert (missing.status_code, missing.json()["code"]) == (404, "top_up")


async def test_customer_care_adjusts(desk: Desk) -> None:
    body = {
        "amount": {"amount": 2.5, "units": "EUR"},
        "bucket": {"id": f"{OWN}.credit"},
        "usageType": "monetary",
        "reason": "goodwill",
    }
    made = await desk.post(f"{BALANCE}/adjustBalance", json=body)
    assert made.status_code == 201 and made.json()["reason"] == "goodwill"
    forms.has_form(made.json(), forms.ADJUST)
    assert (await desk.post(f"{BALANCE}/adjustBalance", Role.SHOP, json=body)).status_code == 403
    negative = {**body, "amount": {"amount": -2.5, "units": "EUR"}}
    assert (await desk.post(f"{BALANCE}/adjustBalance", json=negative)).status_code == 422
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "22.50"


@rule("HOT-GRP-2")
async def test_a_transfer_within_a_group(desk: Desk) -> None:
    chief = "38668200010"
    account_id = await desk.open(chief)
    await desk.ledger.join_group(account_id, group_id=GROUP, role="administrator", **when_of(desk.backend.when()))
    body = {
        "amount": {"amount": 3, "units": "EUR"},
        "logicalResource": [{"id": chief}],
        "receiverLogicalResource": {"id": OWN},
        "usageType": "monetary",
        "reason": "lunch",
    }
    made = await desk.post(f"{BALANCE}/transferBalance", Role.GROUP_ADMIN, once="x", json=body)
    assert made.status_code == 201, made.text
    forms.has_form(made.json(), forms.TRANSFER)
    again = await desk.post(f"{BALANCE}/transferBalance", Role.GROUP_ADMIN, once="x", json=body)
    assert again.text == made.text
    credits = [(await desk.get(f"/v1/accounts/{each}")).json()["credit"] for each in (chief, OWN)]
    assert credits == ["17.00", "23.00"]
    for change in ({"receiverLogicalResource": {"id": FOREIGN}}, {"logicalResource": [{"id": FOREIGN}]}):
        foreign = await desk.post(f"{BALANCE}/transferBalance", Role.GROUP_ADMIN, json={**body, **change})
        assert (foreign.status_code, foreign.json()["code"]) == (404, "account")


# -- rights


@rule("HOT-GRP-1")
@pytest.mark.parametrize("role", [Role.GROUP_ADMIN, Role.MEMBER])
async def test_nothing_is_told_of_foreign_numbers(desk: Desk, role: Role) -> None:
    """A foreign number looks like one that does not exist."""
    for number in (FOREIGN, "38668299999"):
        answers = [
            await desk.get(f"{BALANCE}/bucket", role, params={"logicalResource.id": number}),
            await desk.get(f"{BALANCE}/bucket/{number}.credit", role),
            await desk.get(f"{BALANCE}/accumulatedBalance", role, params={"logicalResource.id": number}),
            await desk.get(f"{BALANCE}/accumulatedBalance/{number}.monetary", role),
            await desk.get(f"{BALANCE}/topupBalance", role, params={"logicalResource.id": number}),
            await desk.get(f"{BALANCE}/topupBalance/{number}.Ui8x", role),
            await desk.get(f"{USE}/usage", role, params={"relatedParty.id": number}),
            await desk.get(f"{USE}/usage/{number}.x", role),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (404, "account"), answer.text
            forms.has_form(answer.json(), forms.ERROR)


async def test_the_subscriber_must_be_named(desk: Desk) -> None:
    for path in (f"{BALANCE}/bucket", f"{BALANCE}/accumulatedBalance", f"{BALANCE}/topupBalance", f"{USE}/usage"):
        answer = await desk.get(path)
        assert answer.status_code == 422 and "must have one filter" in answer.json()["message"]
    for path in (f"{BALANCE}/bucket/x", f"{BALANCE}/accumulatedBalance/{OWN}.x", f"{USE}/usage/x"):
        assert (await desk.get(path)).status_code == 404


async def test_without_a_key_nothing(desk: Desk) -> None:
    answer = await desk.get(f"{USE}/usageSpecification", key="")
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    forms.has_form(answer.json(), forms.ERROR)
    assert (await desk.get(f"{USE}/usage", Role.SHOP, params={"relatedParty.id": OWN})).status_code == 403


# -- TMF635


@rule("HOT-REC-1")
async def test_usage_is_itemised_and_masked(desk: Desk) -> None:
    subject = {"relatedParty.id": OWN}
    rows = await listed(desk, f"{USE}/usage", forms.USAGE, Role.MEMBER, **subject)
    assert len(rows) == TOP_UPS and "38641038107" not in str(rows)
    first = rows[0]
    has = {each["name"]: each["value"] for each in first["usageCharacteristic"]}
    assert has["party"] == "tel:+38641038xxx" and has["direction"] == "mo"
    (rated,) = first["ratedProductUsage"]
    assert (rated["taxIncludedRatingAmount"], rated["taxRate"]) == ({"unit": "EUR", "value": Decimal("0.122")}, 22)
    assert rated["taxExcludedRatingAmount"]["value"] == Decimal("0.10")
    one = await desk.get(httpx.URL(first["href"]).path)
    assert one.status_code == 200 and exact(one) == first
    since = {"usageDate.gte": rows[-3]["usageDate"]}
    assert await listed(desk, f"{USE}/usage", forms.USAGE, **subject, **since) == rows[-3:]
    specification = await desk.get(httpx.URL(first["usageSpecification"]["href"]).path)
    forms.has_form(specification.json(), forms.SPECIFICATION)
    described = {each["name"] for each in specification.json()["specCharacteristic"]}
    assert described == set(has)


async def test_usage_specifications(desk: Desk) -> None:
    rows = await listed(desk, f"{USE}/usageSpecification", forms.SPECIFICATION, Role.SHOP, limit=2, offset=1)
    assert len(rows) == 2
    missing = await desk.get(f"{USE}/usageSpecification/fax")
    assert (missing.status_code, missing.json()["code"]) == (404, "specification")
    forms.has_form(missing.json(), forms.ERROR)
