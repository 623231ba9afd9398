"""Errors say what happened and what to do (RFC 9457); limits of rate and size; what needs no key."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from ocs.api import frame
from ocs.api.limits import MAX_BUCKETS, RateLimits
from ocs.api.problems import KINDS, MEDIA_TYPE
from ocs.api.rights import Role
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.redis.client import REFUSALS
from tests.conftest import RedisServer
from tests.ocs.api.desk import OWN, Desk, desk_on
from tests.waiting import PATIENCE_S

JSON = {"Content-Type": "application/json"}
TOP_UPS = f"/v1/accounts/{OWN}/top-ups"


def test_every_refusal_of_the_ledger_has_a_kind() -> None:
    assert set(REFUSALS) - set(KINDS) - {"counter"} == set()


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b"{", 400, "not_json", "JSON"),
        (b"[]", 422, "invalid", "body"),
        (b"{}", 422, "invalid", "body.amount"),
        (b'{"amount": 12.5}', 422, "invalid", "body.amount"),
        (b'{"amount": "0"}', 422, "amount", "more than nothing"),
        (b'{"amount": "1e3"}', 422, "invalid", "body.amount"),
        (b'{"amount": "1.00", "amout": "2"}', 422, "invalid", "body.amout"),
        (b'{"amount": "1.00", "reference": "api:x"}', 422, "invalid", "api:"),
        (b'{"amount": "500.00"}', 409, "ceiling", "200 EUR"),
    ],
)
async def test_a_bad_body_is_told_what_is_wrong(desk: Desk, body: bytes, status: int, code: str, says: str) -> None:
    answer = await desk.post(TOP_UPS, content=body, headers={**JSON, "X-Request-Id": "r-7"})
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), answer.text
    assert answer.headers["Content-Type"] == MEDIA_TYPE and says in problem["detail"]
    assert problem["type"] == f"/problems/{code}" and problem["action"] and problem["request_id"] == "r-7"
    assert (await desk.client.get(problem["type"])).status_code in (200, 404)


@pytest.mark.parametrize("header", ["", "a b", "x" * 65, "ä"])
async def test_an_idempotency_key_is_needed(desk: Desk, header: str) -> None:
    sent = {"Idempotency-Key": header.encode("latin-1")} if header else {}
    answer = await desk.post(TOP_UPS, once="", json={"amount": "1.00"}, headers=sent)
    assert answer.status_code == 422 and answer.json()["code"] == "idempotency_key"


async def test_paths_and_methods_that_there_are_not(desk: Desk) -> None:
    for method, path, status, code in (
        ("GET", "/v2", 404, "no_route"),
        ("GET", f"/v1/accounts/{OWN}/", 404, "no_route"),
        ("POST", f"{TOP_UPS}/", 404, "no_route"),
        ("DELETE", TOP_UPS, 405, "method"),
        ("GET", "/v1/accounts/12x", 422, "msisdn"),
        ("POST", TOP_UPS, 415, "media_type"),
    ):
        answer = await desk.request(method, path, content=b"amount=1" if method == "POST" else b"")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["Content-Type"] == MEDIA_TYPE


async def test_a_body_has_a_limit(empty_redis: str) -> None:
    async with desk_on(empty_redis, max_body_octets=1_024) as desk:
        answer = await desk.post(TOP_UPS, json={"amount": "1.00", "reference": "x" * 2_000})
        assert answer.status_code == 413 and answer.json()["code"] == "too_large"


async def test_a_body_that_does_not_come_holds_no_connection(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "BODY_TIMEOUT_S", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"amount": '
        await asyncio.sleep(60)
        yield b'"1.00"}'

    answer = await asyncio.wait_for(desk.post(TOP_UPS, content=slow(), headers=JSON), PATIENCE_S)
    assert answer.status_code == 408 and answer.json()["code"] == "slow"


async def test_a_body_that_drips_holds_no_connection(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame, "BODY_TIMEOUT_S", 0.2)

    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b" "
            await asyncio.sleep(0.02)

    answer = await asyncio.wait_for(desk.post(TOP_UPS, content=dripping(), headers=JSON), PATIENCE_S)
    assert answer.status_code == 408 and answer.json()["code"] == "slow"


async def test_a_key_has_a_rate(empty_redis: str) -> None:
    async with desk_on(empty_redis, requests_per_s=1, burst=3) as desk:
        statuses = [(await desk.get(f"/v1/accounts/{OWN}")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = await desk.get(f"/v1/accounts/{OWN}")
        assert answer.json()["code"] == "rate" and int(answer.headers["Retry-After"]) >= 1
        assert (await desk.get(f"/v1/accounts/{OWN}", Role.SHOP)).status_code == 200, "another key's own"


def test_rates_refill_and_are_bounded() -> None:
    now = [0.0]
    limits = RateLimits(10, 2, lambda: now[0])
    assert [limits.wait_s("a"), limits.wait_s("a")] == [0, 0]
    assert limits.wait_s("a") == pytest.approx(0.1)
    now[0] = 0.1
    assert limits.wait_s("a") == 0
    for number in range(MAX_BUCKETS + 5):
        limits.wait_s(str(number))
    assert len(limits._buckets) == MAX_BUCKETS


async def test_without_redis_503_and_retry_after(own_redis: RedisServer) -> None:
    async with desk_on(own_redis.url) as desk:
        assert (await desk.client.get("/health")).json() == {"status": "ok", "ledger": True}
        own_redis.stop(kill=True)
        for answer in (
            await desk.get(f"/v1/accounts/{OWN}"),
            await desk.post(TOP_UPS, json={"amount": "1.00"}),
            await desk.client.get("/health"),
        ):
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
            assert "Traceback" not in answer.text
        assert "same Idempotency-Key" in (await desk.post(TOP_UPS, json={"amount": "1.00"})).json()["action"]


async def test_an_internal_error_is_logged_and_says_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*args: object, **more: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(type(desk.backend.accounts), "read", broken)
    with caplog.at_level(logging.ERROR):
        answer = await desk.get(f"/v1/accounts/{OWN}")
    assert answer.status_code == 500 and "secret" not in answer.text and "Traceback" not in answer.text
    assert f"internal error in request {answer.json()['request_id']} of the API" in caplog.text


async def test_a_process_that_may_not_know_the_prices_in_force_sells_nothing(desk: Desk) -> None:
    desk.app.state.container = replace(desk.container, is_current=lambda: False)
    refused = await desk.post(TOP_UPS, once="k-stale", json={"amount": "1.00"})
    assert (refused.status_code, refused.json()["code"]) == (503, "stale") and refused.headers["Retry-After"]
    assert (await desk.get(f"/v1/accounts/{OWN}")).json()["credit"] == "20.00"
    desk.app.state.container = desk.container
    assert (await desk.post(TOP_UPS, once="k-stale", json={"amount": "1.00"})).json()["credit"] == "21.00"


async def test_an_effect_whose_answer_was_lost_is_not_done_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:

        async def gone(*args: object, **more: object) -> bytes:
            raise LedgerUnavailable("cut")

        patch.setattr(type(desk.ledger), "keep_answer", gone)
        lost = await desk.post(TOP_UPS, once="k-lost", json={"amount": "1.00"})
    assert lost.status_code == 503
    again = await desk.post(TOP_UPS, once="k-lost", json={"amount": "1.00"})
    assert again.status_code == 201 and again.json()["credit"] == "21.00"
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_the_documentation_needs_no_network(desk: Desk) -> None:
    page = await desk.client.get("/docs")
    assert page.status_code == 200 and "http" not in page.text and "default-src 'self'" in str(page.headers)
    for path, least in (
        ("/docs/swagger-ui-bundle.js", 500_000),
        ("/docs/swagger-ui.css", 50_000),
        ("/docs/start.js", 1),
    ):
        asset = await desk.client.get(path)
        assert asset.status_code == 200 and len(asset.content) > least
    assert (await desk.client.get("/docs/other.js")).status_code == 404
    document = (await desk.client.get("/openapi.json")).json()
    assert document["openapi"] == "3.1.0" and document["info"]["version"] == "1.2.3"
    assert "HTTPValidationError" not in json.dumps(document)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"] and operation["security"] == [{"key": []}], path
            for status in ("401", "403", "404", "422", "429", "503"):
                expected = "application/json" if path.startswith("/tmf-api/") else MEDIA_TYPE
                assert expected in operation["responses"][status]["content"], path


@pytest.mark.parametrize(
    ("origins", "allowed"), [([], None), (["https://shop.example.net"], "https://shop.example.net")]
)
async def test_other_pages_may_call_it_only_if_they_are_named(
    empty_redis: str, origins: list[str], allowed: str | None
) -> None:
    async with desk_on(empty_redis, origins=origins) as desk:
        headers = {"Origin": "https://shop.example.net", "Access-Control-Request-Method": "POST"}
        answer = await desk.client.options(TOP_UPS, headers=headers)
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed
        other = await desk.client.options(TOP_UPS, headers={**headers, "Origin": "https://evil.example.net"})
        assert "Access-Control-Allow-Origin" not in other.headers


async def test_requests_are_counted_by_route(desk: Desk) -> None:
    await desk.get(f"/v1/accounts/{OWN}")
    await desk.get("/v1/accounts/38668299999")
    await desk.get("/nowhere")
    counters = desk.metrics.store.counters
    assert counters["ocs_api_requests", "/v1/accounts/{msisdn}", "GET", "2xx"] == 1
    assert counters["ocs_api_requests", "/v1/accounts/{msisdn}", "GET", "4xx"] == 1
    assert counters["ocs_api_requests", "none", "GET", "4xx"] == 1
