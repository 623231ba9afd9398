"""A payment provider for tests and the demo: debits and one-off payments by HTTP, with notifications.

    python -m simulator.payment_provider --listen 127.0.0.1:8090 --secret-file FILE --webhook-secret-file FILE \\
        --webhook-url http://127.0.0.1:8080/v1/payments/webhook

It checks the signatures of requests, knows each Idempotency-Key, and takes money once for each. `Behaviour` says what
it does wrong. Debits by the token "declined" are refused by its bank.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

PENDING, SUCCEEDED, FAILED, RETURNED = "pending", "succeeded", "failed", "returned"
TOLERANCE_S = 300


@dataclass(slots=True)
class Behaviour:
    """What it does with the next requests."""

    at_once: bool = False
    """Debits are paid in the answer; else they are pending, and `settle` ends them."""
    settles_after_s: float | None = None
    """Pending debits are paid so long after they came; None = only by `settle`. One-off payments wait for a payer."""
    fail_before: list[int] = field(default_factory=list)
    """Statuses with which the next POSTs are answered before anything is done; 0 = the connection is closed."""
    fail_after: list[int] = field(default_factory=list)
    """… after it was done: the caller does not learn it."""
    fail_looking: list[int] = field(default_factory=list)
    """… of the next GETs."""
    notifications: int = 1
    """How often each notification is sent."""
    notify_first: bool = False
    """The notification of a debit that is paid at once comes before its answer."""


@dataclass(slots=True)
class Taken:
    """A debit or payment, by its Idempotency-Key."""

    id: str
    """Ours; the caller's is the key."""
    key: str
    amount: str
    token: str
    status: str
    reason: str = ""
    redirect_url: str = ""
    return_url: str = ""

    def facts(self) -> dict[str, str]:
        told = {"id": self.id, "status": self.status, "reason": self.reason, "redirect_url": self.redirect_url}
        return {name: value for name, value in told.items() if value}


class PaymentProvider:
    """`clock` gives Unix seconds. `taken` has what it took money for, by key."""

    def __init__(
        self,
        secret: bytes,
        webhook_secret: bytes,
        webhook_url: str = "",
        behaviour: Behaviour | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secret, self._webhook_secret, self._clock = secret, webhook_secret, clock
        self.webhook_url = webhook_url
        self.behaviour = behaviour or Behaviour()
        self.taken: dict[str, Taken] = {}
        self.posts: list[str] = []
        """Keys of the POSTs that came."""
        self.refused_signatures = 0
        self.notified: list[tuple[dict[str, str], bytes]] = []
        """Headers and body of each notification, as sent last."""
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    # -- start and end

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Returns the URL."""
        app = web.Application()
        app.add_routes(
            [
                web.post("/debits", self._debit),
                web.post("/payments", self._payment),
                web.get("/debits/{key}", self._look),
                web.get("/payments/{key}", self._look),
                web.get("/pay/{id}", self._page),
                web.post("/pay/{id}", self._pay),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        bound = self._runner.addresses[0]
        self.url = f"http://{host}:{bound[1]}"
        return self.url

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- requests

    async def _debit(self, request: web.Request) -> web.StreamResponse:
        return await self._create(request, self._take_debit)

    async def _payment(self, request: web.Request) -> web.StreamResponse:
        return await self._create(request, self._take_payment)

    async def _create(self, request: web.Request, take: Callable[[str, dict[str, Any]], Taken]) -> web.StreamResponse:
        body = await request.read()
        if refusal := self._unsigned(request, body):
            return refusal
        key = request.headers.get("Idempotency-Key", "")
        self.posts.append(key)
        if self.behaviour.fail_before:
            return self._failure(request, self.behaviour.fail_before.pop(0))
        asked = json.loads(body)
        if not key or asked.get("id") != key or asked.get("currency") != "EUR":
            return web.json_response({"reason": "bad-request"}, status=400)
        known = self.taken.get(key)
        if known is None:
            known = self.taken[key] = take(key, asked)
            if known.status in (SUCCEEDED, FAILED):
                if self.behaviour.notify_first:
                    await self.notify(known)
                else:
                    self._later(self.notify(known))
            elif self.behaviour.settles_after_s is not None and not known.redirect_url:
                self._later(self._settle_later(key, self.behaviour.settles_after_s))
        elif known.amount != asked["amount"]:
            return web.json_response({"reason": "key-reused"}, status=422)
        if self.behaviour.fail_after:
            return self._failure(request, self.behaviour.fail_after.pop(0))
        return web.json_response(known.facts(), status=201)

    def _take_debit(self, key: str, asked: dict[str, Any]) -> Taken:
        declined = asked.get("token") == "declined"
        status = FAILED if declined else SUCCEEDED if self.behaviour.at_once else PENDING
        return Taken(_new_id(), key, asked["amount"], asked["token"], status, "AM04" if declined else "")

    def _take_payment(self, key: str, asked: dict[str, Any]) -> Taken:
        taken = Taken(_new_id(), key, asked["amount"], "", PENDING, return_url=asked.get("return_url", ""))
        taken.redirect_url = f"{self.url}/pay/{taken.id}"
        return taken

    async def _look(self, request: web.Request) -> web.StreamResponse:
        if refusal := self._unsigned(request, b""):
            return refusal
        if self.behaviour.fail_looking:
            return self._failure(request, self.behaviour.fail_looking.pop(0))
        known = self.taken.get(request.match_info["key"])
        if known is None:
            return web.json_response({"reason": "unknown"}, status=404)
        return web.json_response(known.facts())

    def _failure(self, request: web.Request, status: int) -> web.StreamResponse:
        if status:
            return web.json_response({"reason": "out-of-order"}, status=status)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)

    def _unsigned(self, request: web.Request, body: bytes) -> web.Response | None:
        at = request.headers.get("OCS-Timestamp", "")
        signed = b".".join((at.encode(), f"{request.method} {request.path}".encode(), body))
        expected = "v1=" + hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
        given = request.headers.get("OCS-Signature", "")
        if at.isdigit() and abs(int(at) - self._clock()) <= TOLERANCE_S and hmac.compare_digest(given, expected):
            return None
        self.refused_signatures += 1
        return web.json_response({"reason": "signature"}, status=401)

    # -- the page on which somebody pays

    async def _page(self, request: web.Request) -> web.StreamResponse:
        taken = self._by_id(request.match_info["id"])
        text = f"<h1>{taken.amount} EUR</h1><form method=post><button>Pay</button></form>"
        return web.Response(text=text, content_type="text/html")

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        taken = self._by_id(request.match_info["id"])
        await self.settle(taken.key)
        if taken.return_url:
            raise web.HTTPSeeOther(taken.return_url)
        return web.Response(text="paid")

    def _by_id(self, id_: str) -> Taken:
        found = next((each for each in self.taken.values() if each.id == id_), None)
        if found is None:
            raise web.HTTPNotFound
        return found

    # -- outcomes

    async def settle(self, key: str, status: str = SUCCEEDED, reason: str = "") -> None:
        """End a pending debit or payment, or return one that was paid, and notify of it."""
        taken = self.taken[key]
        taken.status, taken.reason = status, reason
        await self.notify(taken)

    async def _settle_later(self, key: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.taken[key].status == PENDING:
            await self.settle(key)

    async def notify(self, taken: Taken) -> None:
        """Send the notification as often as `behaviour.notifications` says; one that nobody takes is lost."""
        body = json.dumps({"type": "payment.updated", "data": {"order": taken.key, **taken.facts()}}).encode()
        message_id = f"msg_{secrets.token_hex(8)}"
        for _ in range(self.behaviour.notifications):
            headers = self.signed(message_id, body)
            self.notified.append((headers, body))
            if self.webhook_url and self._session is not None:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with self._session.post(self.webhook_url, data=body, headers=headers) as response:
                        await response.read()

    def signed(self, message_id: str, body: bytes) -> dict[str, str]:
        """Headers of a notification (Standard Webhooks)."""
        at = str(int(self._clock()))
        signed = f"{message_id}.{at}.".encode() + body
        digest = base64.b64encode(hmac.new(self._webhook_secret, signed, hashlib.sha256).digest()).decode()
        return {
            "webhook-id": message_id,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{digest}",
            "Content-Type": "application/json",
        }

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _new_id() -> str:
    return f"prv_{secrets.token_hex(6)}"


def _secret(path: Path) -> bytes:
    return path.read_text(encoding="ascii").splitlines()[0].strip().encode()


async def _serve(arguments: argparse.Namespace) -> None:
    webhook_secret = base64.b64decode(_secret(arguments.webhook_secret_file).decode().removeprefix("whsec_"))
    host, _, port = arguments.listen.rpartition(":")
    behaviour = Behaviour(settles_after_s=arguments.settles_after)
    provider = PaymentProvider(_secret(arguments.secret_file), webhook_secret, arguments.webhook_url, behaviour)
    print(f"payment provider at {await provider.start(host, int(port))}", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await provider.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulator.payment_provider", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8090")
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--webhook-secret-file", type=Path, required=True)
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--settles-after", type=float, default=1.0, help="seconds after which a debit is paid")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
