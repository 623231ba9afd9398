"""A payment provider by HTTP.

    POST /debits           {id, amount, currency, token}                  Idempotency-Key: the order's id
    POST /payments         {id, amount, currency, return_url}             likewise
    GET  /debits/{id}, /payments/{id}                                     404 = not known

Answers: {id, status, reason, redirect_url}; status: pending, succeeded, failed, returned. `id` is the provider's. Every
request is signed (signing.py). Nothing is sent again here: the driver asks for the outcome first.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
import orjson

from ocs.ledger.contract.payments import OrderKind, PaymentOrder
from ocs.payments.provider import Answer, RefusedError, UncertainError
from ocs.payments.signing import request_headers
from ocs.policy.payments import Outcome
from ocs.values.money import format_eur

CURRENCY = "EUR"
MAX_ANSWER_OCTETS = 64 * 1024
MAX_WORD = 64
"""Characters that are kept of a provider's id or reason."""
MAX_URL = 2_048
IDEMPOTENCY_KEY = "Idempotency-Key"
UNCERTAIN = (401, 403, 404, 405, 408, 409, 425, 429)
"""Statuses below 500 that say nothing of the order: another is under way, too many came, or our settings are wrong."""


class ProviderMetrics(Protocol):
    def provider_call(self, operation: str, result: str, seconds: float) -> None: ...


class HttpProvider:
    """`clock` gives Unix seconds. Create it with a running event loop; `close` at the end."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        *,
        timeout_s: float,
        max_in_flight: int,
        return_url: str = "",
        clock: Callable[[], float] = time.time,
        metrics: ProviderMetrics | None = None,
    ) -> None:
        self._url, self._secret, self._return_url = url, secret, return_url
        self._clock, self._metrics = clock, metrics
        self._prefix = "/" + url.split("://", 1)[1].partition("/")[2] if "/" in url.split("://", 1)[1] else ""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=max_in_flight),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        await self._session.close()

    async def debit(self, order: PaymentOrder, token: str) -> Answer:
        return await self._create("debits", order, {"token": token})

    async def pay(self, order: PaymentOrder) -> Answer:
        return await self._create("payments", order, {"return_url": self._return_url})

    async def outcome(self, order: PaymentOrder) -> Answer | None:
        what = "debits" if order.kind is OrderKind.AUTOMATIC else "payments"
        status, body = await self._call("GET", f"/{what}/{order.id}", b"", {})
        if status == 404:
            return None
        if status != 200:
            raise UncertainError(f"the provider answered {status}")
        return _answer(body)

    async def _create(self, what: str, order: PaymentOrder, more: dict[str, Any]) -> Answer:
        amount = {"id": order.id, "amount": format_eur(order.amount_micro_eur), "currency": CURRENCY}
        body = orjson.dumps({**amount, **more})
        status, answered = await self._call("POST", f"/{what}", body, {IDEMPOTENCY_KEY: order.id})
        if status in (200, 201, 202):
            return _answer(answered)
        if 400 <= status < 500 and status not in UNCERTAIN:
            raise RefusedError(_word(_json(answered).get("reason"), "") or f"http-{status}")
        raise UncertainError(f"the provider answered {status}")

    async def _call(self, method: str, path: str, body: bytes, more: dict[str, str]) -> tuple[int, bytes]:
        headers = request_headers(self._secret, int(self._clock()), method, self._prefix + path, body) | more
        if body:
            headers["Content-Type"] = "application/json"
        began, result = time.monotonic(), "no answer"
        try:
            async with self._session.request(
                method, self._url + path, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                answered = await response.content.read(MAX_ANSWER_OCTETS)
                result = f"{response.status // 100}xx"
                return response.status, answered
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UncertainError(f"no answer of the provider: {type(error).__name__}") from None
        finally:
            if self._metrics is not None:
                self._metrics.provider_call(path.split("/")[1], result, time.monotonic() - began)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _answer(body: bytes) -> Answer:
    """UncertainError: it cannot be understood."""
    told = _json(body)
    try:
        outcome = Outcome(told.get("status", ""))
    except ValueError:
        raise UncertainError("the provider's answer has no status that we know") from None
    url = told.get("redirect_url")
    return Answer(
        outcome,
        _word(told.get("id"), ""),
        _word(told.get("reason"), ""),
        url if isinstance(url, str) and len(url) <= MAX_URL and url.startswith(("https://", "http://")) else "",
    )


def _word(value: object, otherwise: str) -> str:
    return value[:MAX_WORD] if isinstance(value, str) and value.isprintable() else otherwise
