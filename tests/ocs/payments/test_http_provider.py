"""The provider by HTTP: what is sent, what is repeated, and what its silence, its errors and its notifications do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from ocs.accounts.errors import RefusedError
from ocs.ledger.contract.payments import OrderState
from ocs.payments.http_provider import HttpProvider
from ocs.payments.signing import (
    SecretError,
    SignatureError,
    check_request,
    check_webhook,
    read_secret,
    read_webhook_secret,
    request_headers,
    webhook_headers,
)
from tests.conftest import RedisServer
from tests.ocs.payments.till import EUR, SECRET, WEBHOOK_SECRET, Till, till_on
from tests.rules import rule

CREDITED, FAILED, SUBMITTED = OrderState.CREDITED, OrderState.FAILED, OrderState.SUBMITTED
MINI = 6_990_000


@pytest.fixture
async def till(redis_7: RedisServer) -> AsyncIterator[Till]:
    async with till_on(redis_7.url) as till:
        yield till


# -- uncertain answers


@rule("HOT-TOP-1")
@pytest.mark.parametrize("after", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("status", [0, 500, 502, 503, 429, 401])
async def test_an_answer_that_says_nothing_is_followed_by_a_question_and_one_debit(
    till: Till, status: int, after: bool
) -> None:
    behaviour = till.provider.behaviour
    behaviour.at_once, behaviour.notifications = True, 0
    (behaviour.fail_after if after else behaviour.fail_before).append(status)
    user = await till.user(6.99 + 1)
    await till.rounds()
    assert await till.states(user) == [OrderState.ORDERED]
    await till.rounds(600, step_s=60)
    assert await till.states(user) == [CREDITED]
    assert len(till.provider.posts) == (1 if after else 2)
    assert len(till.provider.taken) == 1
    assert await user.credit() == 1 * EUR + MINI


async def test_a_provider_that_is_down_for_long_gets_its_orders_later_and_less_and_less_often(till: Till) -> None:
    till.provider.behaviour.fail_before = [503] * 1_000
    till.provider.behaviour.notifications = 0
    user = await till.user(6.99 + 1)
    await till.rounds(6 * 3_600, step_s=60)
    assert 8 <= len(till.provider.posts) <= 13
    till.provider.behaviour.fail_before = []
    till.provider.behaviour.at_once = True
    await till.rounds(7 * 3_600, step_s=600)
    assert await till.states(user) == [CREDITED]


async def test_an_order_without_an_answer_is_given_up_and_credited_if_it_was_paid_after_all(till: Till) -> None:
    till.provider.behaviour.notifications = 0
    till.provider.behaviour.fail_before = [503] * 1_000
    user = await till.user(6.99 + 1)
    await till.rounds(12 * 86_400, step_s=3 * 3_600)
    orders = await till.orders_of(user)
    first = orders[-1]
    assert (first.state, first.reason) == (FAILED, "no-answer")
    assert len((await user.view()).auto_debits) >= 1, "it may have reached a bank: it counts"
    till.provider.behaviour.notifications = 1
    from simulator.payment_provider import Taken

    till.provider.taken[first.id] = Taken("prv_late", first.id, "6.99", "tok", "pending")
    await till.provider.settle(first.id)
    assert (await till.ledger.read_order(first.id)).state is CREDITED


# -- notifications


async def test_notifications_that_come_twice_late_or_before_the_answer_change_nothing(till: Till) -> None:
    behaviour = till.provider.behaviour
    behaviour.at_once, behaviour.notifications, behaviour.notify_first = True, 3, True
    user = await till.user(6.99 + 1)
    await till.rounds()
    assert await till.states(user) == [CREDITED]
    (order,) = await till.orders_of(user)
    await till.provider.settle(order.id, "pending")
    await till.provider.settle(order.id, "failed", "late")
    assert await till.states(user) == [CREDITED]
    assert await user.credit() == 1 * EUR + MINI
    assert len([each for each in await user.events("payment") if each["state"] == "credited"]) == 1


async def post(till: Till, headers: dict[str, str], body: bytes) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(till.provider.webhook_url, data=body, headers=headers) as response,
    ):
        return response.status


async def test_forged_changed_and_replayed_notifications_are_refused(till: Till) -> None:
    user = await till.user(6.99 + 1)
    await till.rounds()
    (order,) = await till.orders_of(user)
    body = json.dumps({"data": {"order": order.id, "status": "succeeded"}}).encode()
    headers = till.provider.signed("msg_1", body)
    forged = {**headers, "webhook-signature": f"v1,{base64.b64encode(b'x' * 32).decode()}"}
    assert await post(till, forged, body) == 401
    assert await post(till, {**headers, "webhook-id": "msg_2"}, body) == 401
    assert await post(till, headers, body.replace(b"succeeded", b"failed   ")) == 401
    assert await post(till, {}, body) == 401
    till.world.now += 301
    assert await post(till, headers, body) == 401, "it may be a replay"
    assert await till.states(user) == [SUBMITTED]
    headers = till.provider.signed("msg_3", body)
    assert await post(till, headers, body) == 200
    assert await post(till, headers, body) == 200
    assert await user.credit() == 1 * EUR + MINI
    for strange in (b"", b"[]", b'{"data": {"order": "00-1-2", "status": "succeeded"}}', b'{"data": {"order": 1}}'):
        assert await post(till, till.provider.signed("msg_4", strange), strange) == 404


# -- one-off payments


@rule("HOT-TOP-1")
async def test_a_one_off_payment_is_paid_on_the_providers_page_and_credited_once(till: Till) -> None:
    user = await till.user(9, mark=0)
    order = await till.orders.start_payment(user.account_id, amount_micro_eur=15 * EUR, reference="shop-7")
    assert order.redirect_url.startswith(f"{till.provider.url}/pay/")
    again = await till.orders.start_payment(user.account_id, amount_micro_eur=15 * EUR, reference="shop-7")
    assert (again.id, again.redirect_url) == (order.id, order.redirect_url)
    with pytest.raises(RefusedError, match="another amount"):
        await till.orders.start_payment(user.account_id, amount_micro_eur=16 * EUR, reference="shop-7")
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(order.redirect_url, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (303, "https://shop.example.net/paid")
    assert await user.credit() == 2_010_000 + 15 * EUR
    (topup,) = await user.events("topup")
    assert (topup["channel"], topup["by"]) == ("one-off", "payment")


@rule("HOT-ACC-7")
async def test_one_off_payments_cannot_exceed_200_eur_together(till: Till) -> None:
    user = await till.user(9, mark=0)
    await till.orders.start_payment(user.account_id, amount_micro_eur=150 * EUR, reference="1")
    with pytest.raises(RefusedError) as refused:
        await till.orders.start_payment(user.account_id, amount_micro_eur=50 * EUR, reference="2")
    assert refused.value.code == "ceiling"
    for n in range(7):
        await till.orders.start_payment(user.account_id, amount_micro_eur=EUR, reference=f"s{n}")
    with pytest.raises(RefusedError) as refused:
        await till.orders.start_payment(user.account_id, amount_micro_eur=EUR, reference="s8")
    assert refused.value.code == "orders"


async def test_a_one_off_payment_that_nobody_pays_ends_after_a_day(till: Till) -> None:
    user = await till.user(9, mark=0)
    await till.orders.start_payment(user.account_id, amount_micro_eur=15 * EUR, reference="shop-7")
    await till.rounds(3 * 86_400, step_s=3_600)
    assert await till.states(user) == [FAILED]
    assert await user.credit() == 2_010_000


# -- signatures and secrets


async def test_requests_are_signed_and_a_wrong_secret_is_no_failure_of_the_order(till: Till) -> None:
    user = await till.user(6.99 + 1)
    wrong = HttpProvider(
        till.provider.url, b"x" * 32, timeout_s=2, max_in_flight=1, clock=lambda: float(till.world.now)
    )
    from dataclasses import replace

    _, driver = till.drivers(till.ledger, replace(till.collecting, provider=wrong))
    try:
        await driver.look_at_all()
    finally:
        await wrong.close()
    assert till.provider.refused_signatures == 1
    assert await till.states(user) == [OrderState.ORDERED]
    await till.rounds(600)
    assert await till.states(user) == [SUBMITTED]


def test_a_signature_holds_for_its_request_and_its_time_only() -> None:
    headers = request_headers(SECRET, 1_000, "POST", "/debits", b"{}")
    check_request(SECRET, headers, "POST", "/debits", b"{}", now=1_300, tolerance_s=300)
    for method, path, body, now in (
        ("GET", "/debits", b"{}", 1_000),
        ("POST", "/payments", b"{}", 1_000),
        ("POST", "/debits", b"{ }", 1_000),
        ("POST", "/debits", b"{}", 1_301),
    ):
        with pytest.raises(SignatureError):
            check_request(SECRET, headers, method, path, body, now=now, tolerance_s=300)


def test_notifications_are_signed_as_standard_webhooks_are() -> None:
    """The example of the specification: secret, id, time, body and signature."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = webhook_headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    check_webhook(secret, headers, body, now=1_614_265_330, tolerance_s=300)
    several = {**headers, "webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}
    check_webhook(secret, several, body, now=1_614_265_330, tolerance_s=300)


@pytest.mark.parametrize("text", ["", "short\n", "é" * 30])
def test_a_file_without_a_secret_is_named_and_its_content_is_not(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    for read in (read_secret, read_webhook_secret):
        with pytest.raises(SecretError) as refused:
            read(str(path))
        assert str(path) in str(refused.value)
        assert not text.strip() or text.strip() not in str(refused.value)
    with pytest.raises(SecretError, match="cannot be read"):
        read_secret(str(tmp_path / "nothing"))


def test_webhook_secrets_are_base64(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(f"whsec_{base64.b64encode(WEBHOOK_SECRET).decode()}\n")
    assert read_webhook_secret(str(path)) == WEBHOOK_SECRET
    path.write_text("whsec_this is no base64 at all!\n")
    with pytest.raises(SecretError, match="base64"):
        read_webhook_secret(str(path))


async def test_two_drivers_at_once_debit_once(till: Till) -> None:
    """Two processes for a moment, as when a lease has just changed hands."""
    till.provider.behaviour.at_once = True
    users = [await till.user(6.99 + 1) for _ in range(5)]
    drivers = [till.drivers(till.ledger)[1] for _ in range(3)]
    await asyncio.gather(*(driver.look_at_all() for driver in drivers))
    await till.rounds(1_200)
    assert len(till.provider.taken) == 5
    for user in users:
        assert await till.states(user) == [CREDITED]
        assert await user.credit() == 1 * EUR + MINI
