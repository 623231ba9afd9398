"""Notifications of the payment provider (Standard Webhooks): {"data": {"order", "status", "id", "reason"}}.

The answer 200 means that the outcome is stored. A notification that comes again changes nothing, as does one that is
older than what is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import orjson

from ocs.accounts.errors import InputError
from ocs.ledger.contract.payments import PaymentOrder
from ocs.payments.collecting import HTTP
from ocs.payments.orders import PaymentOrders
from ocs.payments.provider import Answer
from ocs.payments.signing import check_webhook
from ocs.policy.payments import Outcome

MAX_BODY_OCTETS = 64 * 1024
MAX_TEXT = 64


class WebhookReceiver:
    def __init__(self, secret: bytes, orders: PaymentOrders, now: Callable[[], int], *, tolerance_s: int) -> None:
        self._secret, self._orders, self._now, self._tolerance_s = secret, orders, now, tolerance_s

    async def receive(self, headers: Mapping[str, str], body: bytes) -> PaymentOrder:
        """`headers`: by their names in small letters. SignatureError. InputError: "body". UnknownError: "order"."""
        if len(body) > MAX_BODY_OCTETS:
            raise InputError("body", f"a notification has at most {MAX_BODY_OCTETS} octets")
        check_webhook(self._secret, headers, body, now=self._now(), tolerance_s=self._tolerance_s)
        order_id, answer = _parsed(body)
        order = await self._orders.read(order_id)
        if order.provider != HTTP:
            raise InputError("body", "the order is not one of the provider")
        return await self._orders.learn(order, answer)


def _parsed(body: bytes) -> tuple[str, Answer]:
    try:
        data = orjson.loads(body)["data"]
        told = {name: str(data.get(name, ""))[:MAX_TEXT] for name in ("id", "reason", "status")}
        return str(data["order"])[:MAX_TEXT], Answer(Outcome(told["status"]), told["id"], told["reason"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError):
        raise InputError("body", "a notification has data with order and status") from None
