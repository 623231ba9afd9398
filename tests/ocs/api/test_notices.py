"""Notices over the API: listed by account and state, sent again, receipts, language, USSD pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest
from sqlalchemy import Engine

from ocs.api.pages import encode
from ocs.api.rights import Role
from ocs.history.engine import history_engine, writing
from ocs.history.migrating import migrate
from ocs.notices import queue
from ocs.notices.queue import NewNotice, Outcome
from ocs.notices.signature import HEADER, sign
from ocs.notices.states import State
from ocs.settings.history_section import HistorySection
from ocs.values.identities import Msisdn, by_msisdn
from tests.conftest import RedisServer
from tests.ocs.api.desk import FOREIGN, OWN, Desk, desk_on
from tests.ocs.ledger.books import flush
from tests.rules import rule

SECRET = "s3cret"


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = history_engine(HistorySection(), tmp_path)
    migrate(engine)
    return engine


@pytest.fixture
async def desk(redis_7: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    flush(redis_7.url)
    async with desk_on(redis_7.url, data_dir=tmp_path) as desk:
        settings = desk.container.settings
        monkeypatch.setitem(settings.__dict__, "notices", settings.notices.model_copy(update={"secret": SECRET}))
        yield desk


async def fill(desk: Desk, engine: Engine) -> None:
    """Three notices of OWN, of which one was given up and one was sent, and one of FOREIGN."""
    now = desk.backend.environment.now()
    ids = {each: await desk.ledger.find_subscriber(by_msisdn(each)) or "" for each in (OWN, FOREIGN)}
    made = NewNotice("p00-1", "topup", ids[OWN], OWN, "sl", "Napolnjeno 1", 2, False, now - 9, now + 3600)
    notices = [replace(made, event_id=f"p00-{n}", text=f"Napolnjeno {n}", next_at=now - 9 + n) for n in (1, 2, 3)]
    notices.append(replace(made, event_id="p01-1", account=ids[FOREIGN], msisdn=FOREIGN, next_at=now))
    with writing(engine) as connection:
        queue.put(connection, [], notices, now=now, most_of_account=9, most=9)
        first, second = queue.claim(connection, owner="a", now=now, lease_s=9, limit=2)
        outcomes = [Outcome(first.id, State.GIVEN_UP, "status 500"), Outcome(second.id, State.SENT, reference="sms-7")]
        queue.finish(connection, outcomes, owner="a", now=now)


async def states(desk: Desk) -> dict[str, str]:
    items = (await desk.get("/v1/notices")).json()["items"]
    return {each["id"]: each["state"] for each in items}


async def test_an_account_that_has_just_moved_keeps_its_notices(desk: Desk, engine: Engine) -> None:
    """The database learns of the move some seconds later."""
    await fill(desk, engine)
    before = (await desk.get(f"/v1/accounts/{OWN}/notices")).json()
    for partition in range(desk.ledger.partitions):
        await desk.backend.accounts.move(Msisdn(OWN), partition=partition)
        assert (await desk.get(f"/v1/accounts/{OWN}/notices")).json() == before
    assert len(before["items"]) == 3


@rule("HOT-NOT-1")
async def test_notices_are_listed_by_account_and_state_page_by_page(desk: Desk, engine: Engine) -> None:
    await fill(desk, engine)
    assert await states(desk) == {
        "p01-1.topup": "waiting",
        "p00-3.topup": "waiting",
        "p00-2.topup": "sent",
        "p00-1.topup": "given_up",
    }
    for role in (Role.CARE, Role.MEMBER, Role.GROUP_ADMIN):
        page = (await desk.get(f"/v1/accounts/{OWN}/notices?limit=2", role)).json()
        assert [each["id"] for each in page["items"]] == ["p00-3.topup", "p00-2.topup"]
        page = (await desk.get(f"/v1/accounts/{OWN}/notices?limit=2&cursor={page['next']}", role)).json()
        assert ([each["id"] for each in page["items"]], page["next"]) == (["p00-1.topup"], None)
    (item,) = (await desk.get("/v1/notices?state=sent")).json()["items"]
    assert item == (await desk.get("/v1/notices/p00-2.topup")).json()
    assert (item["text"], item["reference"], item["attempts"], item["next_attempt"]) == (
        "Napolnjeno 2",
        "sms-7",
        1,
        None,
    )
    assert (await desk.get("/v1/notices?state=lost")).status_code == 422
    for position in ([7], [7, "x"], ["a", "p00-1.topup"], [-1, "p00-1.topup"], [2**63, "p00-1.topup"]):
        assert (await desk.get(f"/v1/notices?cursor={encode(position)}")).json()["code"] == "cursor"
    assert (await desk.get("/v1/notices/p09-9.x")).json()["code"] == "notice"


async def test_care_sends_again_what_was_given_up(desk: Desk, engine: Engine) -> None:
    await fill(desk, engine)
    answer = await desk.post("/v1/notices/p00-1.topup/retry")
    assert (answer.status_code, answer.json()["state"]) == (200, "waiting")
    again = await desk.post("/v1/notices/p00-1.topup/retry")
    assert (again.status_code, again.json()["code"]) == (409, "state")
    assert (await desk.post("/v1/notices/p00-2.topup/retry", Role.SHOP)).status_code == 403


async def test_the_language_is_that_of_notices_and_of_keywords(desk: Desk) -> None:
    path = f"/v1/accounts/{OWN}/language"
    assert (await desk.get(path)).json() == {"language": ""}
    for role, language in ((Role.MEMBER, "en"), (Role.GROUP_ADMIN, "sl"), (Role.SHOP, "en")):
        assert (await desk.put(path, role, json={"language": language})).json() == {"language": language}
    assert (await desk.put(path, json={"language": "de"})).status_code == 422
    (first, *_) = await desk.events("customer")
    assert (first.body["name"], first.body["value"]) == ("language", "en")


@rule("HOT-ACC-12")
async def test_the_balance_by_keyword_and_by_ussd(desk: Desk) -> None:
    async def ask(**body: object) -> str:
        answer: httpx.Response = await desk.post(f"/v1/accounts/{OWN}/keywords", json=body)
        return str(answer.json()["text"])

    assert (await ask(text="STANJE")).startswith("Dobroimetje: 20,00 EUR, račun je aktiven do ")
    page = await ask(text="*100#", ussd=True)
    assert page.startswith("Dobroimetje: 20,00 EUR, racun je aktiven do ") and len(page) <= 182


# -- receipts


async def receipt(desk: Desk, body: bytes, signature: str | None = None) -> httpx.Response:
    now = desk.backend.environment.now()
    headers = {HEADER: sign(SECRET, body, now) if signature is None else signature}
    return await desk.client.post("/v1/notices/receipts", content=body, headers=headers)


def body_of(id_: str, state: str = "delivered", **more: str) -> bytes:
    return orjson.dumps({"id": id_, "state": state, **more})


async def test_a_signed_receipt_says_what_became_of_a_message(desk: Desk, engine: Engine) -> None:
    await fill(desk, engine)
    for _ in range(2):
        assert (await receipt(desk, body_of("p00-2.topup"))).status_code == 204
    assert (await states(desk))["p00-2.topup"] == "delivered"
    assert (await receipt(desk, body_of("p00-3.topup"))).status_code == 204
    assert (await states(desk))["p00-3.topup"] == "waiting", "it was not sent yet"
    assert (await receipt(desk, body_of("p09-9.x"))).json()["code"] == "notice"


async def test_a_receipt_without_our_secret_changes_nothing(desk: Desk, engine: Engine) -> None:
    await fill(desk, engine)
    body, now = body_of("p00-2.topup"), desk.backend.environment.now()
    for signature in ("", sign("another", body, now), sign(SECRET, body + b" ", now), sign(SECRET, body, now - 400)):
        answer = await receipt(desk, body, signature)
        assert (answer.status_code, answer.json()["code"]) == (401, "signature")
    assert (await states(desk))["p00-2.topup"] == "sent"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", body_of("x"), body_of("p00-2.topup", "lost"), body_of("p00-2.topup", x="y")]
)
async def test_a_receipt_with_mistakes_is_refused(desk: Desk, engine: Engine, body: bytes) -> None:
    answer = await receipt(desk, body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


async def test_without_a_database_it_is_not_available(redis_7: RedisServer) -> None:
    flush(redis_7.url)
    async with desk_on(redis_7.url) as desk:
        answer = await desk.get("/v1/notices")
        assert (answer.status_code, answer.json()["code"]) == (503, "history")
