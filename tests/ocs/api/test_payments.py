"""Automatic top-ups, mandates and payments over the API; the provider's notifications."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ocs.api.rights import Role
from ocs.payments.mandates import new_key
from ocs.payments.wiring import Payments
from ocs.settings.payments_section import PaymentsSection
from simulator.payment_provider import PaymentProvider
from tests.conftest import RedisServer
from tests.ocs.api.desk import FOREIGN, GROUP, OWN, Desk, desk_on
from tests.ocs.ledger.books import flush
from tests.ocs.payments.till import IBAN
from tests.rules import rule

SECRET = b"s" * 32
WEBHOOK = "whsec_" + "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3"
MANDATE = {"name": "Ana Žagar", "signed_on": "2026-10-01", "iban": IBAN}


@asynccontextmanager
async def paying(url: str, folder: Path) -> AsyncIterator[tuple[Desk, PaymentProvider]]:
    flush(url)
    async with desk_on(url) as desk:
        provider = PaymentProvider(SECRET, b"www" * 8)
        (folder / "secret").write_bytes(SECRET)
        (folder / "webhook").write_text(WEBHOOK)
        new_key(folder / "mandates")
        section = PaymentsSection(
            automatic="http",
            url=await provider.start(),
            secret_file=str(folder / "secret"),
            webhook_secret_file=str(folder / "webhook"),
            mandate_key_file=str(folder / "mandates"),
        )
        environment = desk.backend.environment
        payments = Payments(section, desk.ledger, desk.backend.catalogue, now=environment.now, rng=random.Random(7))
        desk.app.state.container = replace(desk.container, payments=payments)
        try:
            yield desk, provider
        finally:
            await payments.close()
            await provider.close()


@pytest.fixture
async def both(redis_7: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[Desk, PaymentProvider]]:
    async with paying(redis_7.url, tmp_path) as found:
        yield found


Both = tuple[Desk, PaymentProvider]


async def notify(desk: Desk, provider: PaymentProvider, order: str, status: str, **changed: str) -> Any:
    body = json.dumps({"data": {"order": order, "status": status}}).encode()
    headers = {**provider.signed("msg_1", body), **changed}
    return await desk.client.post("/v1/payments/webhook", content=body, headers=headers)


@rule("HOT-TOP-4", "HOT-TOP-5")
async def test_the_automatic_top_up_is_switched_and_shown(both: Both) -> None:
    desk, _ = both
    path = f"/v1/accounts/{FOREIGN}/auto-top-up"
    assert (await desk.get(path)).json() == {
        "on": False, "below": None, "amount": "0.00", "payer": "", "failures": 0, "ordered": []
    }  # fmt: skip
    answer = await desk.put(path, json={})
    assert (answer.status_code, answer.json()["below"]) == (200, "2.00"), "the mark is 2 EUR unless it is said"
    assert (await desk.put(path, json={"below": "5"})).json()["below"] == "5.00"
    assert (await desk.delete(path)).json()["on"] is False
    for wrong in ("0", "200", "-1", "x"):
        assert (await desk.put(path, json={"below": wrong})).status_code == 422
    (event,) = [each for each in await desk.events("auto_top_up") if each.body["state"] == "off"]
    assert str(event.body["by"]).startswith("key:")


@rule("HOT-GRP-1", "HOT-GRP-4")
async def test_a_member_of_a_group_does_not_change_who_pays_and_its_administrator_does(both: Both) -> None:
    desk, _ = both
    for method, path in (
        ("put", f"/v1/accounts/{OWN}/auto-top-up"),
        ("put", f"/v1/accounts/{OWN}/mandate"),
        ("delete", f"/v1/accounts/{OWN}/mandate"),
        ("put", f"/v1/groups/{GROUP}/mandate"),
    ):
        body = {} if method == "delete" else {"json": {}}
        assert (await desk.request(method.upper(), path, Role.MEMBER, **body)).status_code == 403
    assert (await desk.get(f"/v1/accounts/{OWN}/auto-top-up", Role.MEMBER)).status_code == 200
    path = f"/v1/groups/{GROUP}/mandate"
    answer = await desk.put(path, Role.GROUP_ADMIN, json=MANDATE)
    assert answer.json()["mandate"]["account"] == "SI56…892"
    assert (await desk.get(f"/v1/accounts/{OWN}/auto-top-up")).json()["payer"] == "", "the provider takes no IBANs"
    token = {"name": "Firma", "signed_on": "2026-10-01", "token": "firm-0001"}
    assert (await desk.put(path, Role.GROUP_ADMIN, json=token)).json()["mandate"]["account"] == "…0001"
    assert (await desk.get(f"/v1/accounts/{OWN}/auto-top-up")).json()["payer"] == "group"
    assert (await desk.get("/v1/groups/G2/mandate", Role.GROUP_ADMIN)).status_code == 404
    assert (await desk.delete(f"/v1/groups/{GROUP}/mandate", Role.GROUP_ADMIN)).json() == {"revoked": True}
    assert (await desk.delete(f"/v1/groups/{GROUP}/mandate", Role.GROUP_ADMIN)).json() == {"revoked": False}


@pytest.mark.parametrize("days", [0, 1])
async def test_a_mandate_is_not_signed_in_the_future(both: Both, days: int) -> None:
    """A bank refuses debits of such a mandate."""
    desk, _ = both
    today = datetime.fromtimestamp(desk.backend.environment.now(), desk.backend.catalogue.time_zone).date()
    body = {**MANDATE, "signed_on": (today + timedelta(days=days)).isoformat()}
    answer = await desk.put(f"/v1/accounts/{FOREIGN}/mandate", json=body)
    assert (answer.status_code, answer.json().get("code")) == ((422, "signed_on") if days else (200, None))


async def test_an_iban_is_never_answered_nor_kept_in_the_trail(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    desk, _ = both
    path = f"/v1/accounts/{FOREIGN}/mandate"
    texts = [(await desk.put(path, json=MANDATE)).text, (await desk.get(path)).text]
    texts.append((await desk.put(path, json={**MANDATE, "iban": IBAN[:-1] + "3"})).text)
    texts.append((await desk.put(path, json={**MANDATE, "name": ""})).text)
    texts += [str(each.body) for each in await desk.events("api")]
    assert len(texts) >= 6
    assert not any(IBAN[:-1] in text for text in (*texts, caplog.text))
    assert (await desk.put(path, json={**MANDATE, "token": "t"})).json()["code"] == "iban"


@rule("HOT-TOP-1")
async def test_a_payment_is_begun_once_paid_at_the_provider_and_credited_by_its_notification(both: Both) -> None:
    desk, provider = both
    path = f"/v1/accounts/{FOREIGN}/payments"
    first = await desk.post(path, Role.SHOP, json={"amount": "15.00"}, once="k-1")
    assert first.status_code == 201, first.text
    told = first.json()
    assert (told["state"], told["amount"], told["kind"]) == ("submitted", "15.00", "one-off")
    assert told["redirect_url"].startswith(provider.url)
    again = await desk.post(path, Role.SHOP, json={"amount": "15.00"}, once="k-1")
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (told, "true")
    assert (await desk.post(path, Role.SHOP, json={"amount": "16.00"}, once="k-1")).status_code == 422
    assert len(provider.taken) == 1
    answer = await notify(desk, provider, told["order"], "succeeded")
    assert (answer.status_code, answer.json()) == (200, {"order": told["order"], "state": "credited"})
    assert (await notify(desk, provider, told["order"], "succeeded")).status_code == 200
    assert (await desk.get(f"/v1/accounts/{FOREIGN}")).json()["credit"] == "35.00"
    listed = (await desk.get(path)).json()["items"]
    assert [(each["order"], each["state"]) for each in listed] == [(told["order"], "credited")]
    assert (await desk.get(f"/v1/payments/{told['order']}")).json()["state"] == "credited"
    assert (await desk.post(f"/v1/payments/{told['order']}/retry")).json()["code"] == "ended"
    assert (await desk.post(path, Role.SHOP, json={"amount": "170.00"})).json()["code"] == "ceiling"
    assert (await desk.post(path, Role.SHOP, json={"amount": "1.001"})).json()["code"] == "amount"


async def test_a_payment_without_an_answer_of_the_provider_is_repeated_with_the_same_key(both: Both) -> None:
    desk, provider = both
    provider.behaviour.fail_after = [502]
    path = f"/v1/accounts/{FOREIGN}/payments"
    refused = await desk.post(path, json={"amount": "15.00"}, once="k-1")
    assert (refused.status_code, refused.json()["code"]) == (409, "provider")
    done = await desk.post(path, json={"amount": "15.00"}, once="k-1")
    assert done.status_code == 201
    assert done.json()["redirect_url"]
    assert len(provider.taken) == 1


@pytest.mark.parametrize("changed", [{"webhook-id": "x"}, {"webhook-timestamp": "1"}, {"webhook-signature": "v1,x"}])
async def test_a_notification_that_is_not_signed_is_refused(both: Both, changed: dict[str, str]) -> None:
    desk, provider = both
    order = (await desk.post(f"/v1/accounts/{FOREIGN}/payments", json={"amount": "15.00"})).json()["order"]
    answer = await notify(desk, provider, order, "succeeded", **changed)
    assert (answer.status_code, answer.json()["code"]) == (401, "signature")
    assert (await notify(desk, provider, "00-1-1", "succeeded")).status_code == 404
    assert (await desk.get(f"/v1/accounts/{FOREIGN}")).json()["credit"] == "20.00"


async def test_without_a_provider_the_api_says_so(redis_7: RedisServer) -> None:
    flush(redis_7.url)
    async with desk_on(redis_7.url) as desk:
        answer = await desk.post(f"/v1/accounts/{FOREIGN}/payments", json={"amount": "15.00"})
        assert (answer.status_code, answer.json()["code"]) == (409, "payments")
        assert (await desk.put(f"/v1/accounts/{FOREIGN}/mandate", json=MANDATE)).json()["code"] == "payments"
        assert (await desk.put(f"/v1/accounts/{FOREIGN}/auto-top-up", json={})).json()["code"] == "payments"
        assert (await desk.delete(f"/v1/accounts/{FOREIGN}/auto-top-up")).status_code == 200
        assert (await desk.client.post("/v1/payments/webhook", content=b"{}")).status_code == 404
