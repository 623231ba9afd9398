"""Automatic top-ups, payment orders and mandates on Redis. `contract.payments.PaymentLedger` says what each operation
does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.payments import (
    OrderKind,
    OrderResult,
    OrderState,
    PaymentOrder,
    UnknownOrderError,
    account_of,
)
from ocs.ledger.layout import LAYOUT
from ocs.ledger.redis import views, wire
from ocs.ledger.redis.accounts import REFERENCE_KEEP_S, when
from ocs.ledger.redis.client import REFUSALS, LedgerClient
from ocs.ledger.redis.keys import account_id as id_in
from ocs.ledger.redis.keys import uid_of
from ocs.values.moment import DAY_S

MOST_DEBITS = 2
DEBIT_WINDOW_S = 10 * DAY_S
"""HOT-TOP-5: at most MOST_DEBITS automatic SEPA top-ups in any DEBIT_WINDOW_S, a rolling window of 10 times 24 hours.
It counts orders from the moment of ordering, in the script that orders. One that is known never to have reached a bank
does not count; one that the bank refused does.
"""
MESSAGE_KEEP_S = 60 * DAY_S
"""How long it is known which orders a SEPA message has: banks refuse whole messages until some days after the day of
collection.
"""
ORDERS_AT_ONCE = 1_000
"""Of one command of Redis."""
ANSWERED = ("ok", "again", "open", "enough", "off", "limit", "inactive", "ceiling", "orders")
REPLACE = b"""
local stored = redis.call('GET', KEYS[1]) or ''
if stored ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""
"""KEYS 1 mandate. ARGV 1 what is stored 2 what shall be; "" = nothing. Result 1 = replaced."""
FIELDS = {
    "account_id": "account",
    "amount_micro_eur": "amount",
    "redirect_url": "redirect",
    "changed_at": "changed",
    "owed_micro_eur": "owed",
    "collect_on": "collect",
}
"""Names of PaymentOrder whose field of the layout has another."""


def order_row(order: PaymentOrder) -> list[Any]:
    values = {FIELDS.get(name, name): getattr(order, name) for name in PaymentOrder.__slots__}
    return LAYOUT.new("order", **values | {"kind": order.kind.value, "state": order.state.value})


def order_of(packed: bytes) -> PaymentOrder:
    named = LAYOUT.read("order", views.unpack(packed))
    values = {name: named[FIELDS.get(name, name)] for name in PaymentOrder.__slots__}
    return PaymentOrder(**values | {"kind": OrderKind(named["kind"]), "state": OrderState(named["state"])})


class Payments(LedgerClient):
    """Part of `RedisLedger`."""

    # -- automatic top-up and orders of an account

    async def set_auto_top_up(
        self, account_id: str, *, below_micro_eur: int, now: int, month: int, day: int = 0
    ) -> bool:
        below = wire.amount("mark", below_micro_eur)
        word, _ = await self._auto(account_id, {"what": "set", "below": below, **when(now, month, day)})
        return word == "ok"

    async def order_top_up(
        self, account_id: str, *, order: PaymentOrder, later_s: int, now: int, month: int, day: int = 0
    ) -> OrderResult:
        limits = {"most": MOST_DEBITS, "window_s": DEBIT_WINDOW_S, "later_s": later_s}
        return await self._order(account_id, {"what": "order", **limits}, order, when(now, month, day))

    async def order_one_off(
        self, account_id: str, *, order: PaymentOrder, now: int, month: int, day: int = 0
    ) -> OrderResult:
        return await self._order(account_id, {"what": "one_off"}, order, when(now, month, day))

    async def _order(
        self, account_id: str, arguments: dict[str, Any], order: PaymentOrder, at: dict[str, Any]
    ) -> OrderResult:
        wire.amount("amount", order.amount_micro_eur)
        word, packed = await self._auto(account_id, {**arguments, "order": order_row(order), **at})
        return OrderResult(word, order_of(packed) if packed else None)

    async def order_failed(
        self,
        account_id: str,
        *,
        order_id: str,
        released: bool,
        later_s: int,
        most: int,
        now: int,
        month: int,
        day: int = 0,
    ) -> bool:
        arguments = {
            "what": "failed",
            "order_id": order_id,
            "release": int(released),
            "later_s": later_s,
            "final": most,
        }
        word, _ = await self._auto(account_id, {**arguments, **when(now, month, day)})
        return word == "ok"

    async def take_back(
        self, account_id: str, *, order: PaymentOrder, reason: str, block: str, now: int, month: int, day: int = 0
    ) -> int:
        arguments = {
            "what": "returned",
            "order_id": order.id,
            "amount": order.amount_micro_eur,
            "credited": int(order.state is OrderState.CREDITED),
            "reference": order.credit_reference,
            "reason": reason,
            "block": block,
            "uid": uid_of(account_id),
            **when(now, month, day),
        }
        _, taken = await self._auto(account_id, arguments)
        return int(taken)

    async def _auto(self, account_id: str, arguments: dict[str, Any]) -> tuple[str, Any]:
        keys = self._account_keys(account_id)
        own = keys.orders_of + uid_of(account_id).encode()
        more = (keys.topups, keys.orders, *keys.reference_months(arguments["month"]))
        arguments = {**arguments, "keep_s": REFERENCE_KEEP_S, "asked_at": self._clock()}
        answer, value = await self._run_script("auto_top_up", account_id, arguments, own, more)
        word = answer.decode()
        if word not in ANSWERED:
            raise LedgerError(word, REFUSALS.get(word, word))
        return word, value

    # -- orders

    async def store_order(
        self, order: PaymentOrder, *, told: bool, now: int, month: int, day: int = 0
    ) -> PaymentOrder | None:
        account_id = account_of(order.id)
        keys = self._account_keys(account_id)
        own = keys.orders_of + uid_of(account_id).encode()
        arguments = {"order": order_row(order), "tell": told, "keep_s": REFERENCE_KEEP_S, **when(now, month, day)}
        answer, packed = await self._run_script("payment", account_id, arguments, own, (keys.orders,))
        word = answer.decode()
        if word == "unknown":
            raise UnknownOrderError(order.id)
        if word not in ANSWERED:
            raise LedgerError(word, REFUSALS.get(word, word))
        return order_of(packed) if word == "ok" else None

    async def read_order(self, order_id: str) -> PaymentOrder:
        try:
            account_id = account_of(order_id)
            partition = self._keys.partition_of_account(account_id)
        except ValueError:
            raise UnknownOrderError(order_id) from None
        own = self._keys.by_partition[partition].orders_of + uid_of(account_id).encode()
        packed = await self._ask("payment", partition, b"HGET", own, order_id)
        if packed is None:
            raise UnknownOrderError(order_id)
        return order_of(packed)

    async def orders_of(self, account_id: str) -> list[PaymentOrder]:
        own = self._account_keys(account_id).orders_of + uid_of(account_id).encode()
        packed = await self._ask("payment", self._keys.partition_of_account(account_id), b"HVALS", own)
        return sorted(map(order_of, packed), key=lambda order: (order.at, order.id), reverse=True)

    def _message_key(self, message_id: str) -> tuple[int, bytes]:
        partition = self._keys.partition_of_name(message_id)
        return partition, self._keys.by_partition[partition].messages + message_id.encode()

    async def put_in_message(self, message_id: str, order_ids: Sequence[str]) -> None:
        partition, key = self._message_key(message_id)
        for first in range(0, len(order_ids), ORDERS_AT_ONCE):
            some = order_ids[first : first + ORDERS_AT_ONCE]
            await self._ask("payment", partition, b"SADD", key, *some, durable=True)
        await self._ask("payment", partition, b"EXPIRE", key, MESSAGE_KEEP_S, durable=True)

    async def orders_in_message(self, message_id: str) -> list[PaymentOrder]:
        partition, key = self._message_key(message_id)
        found, cursor = set[str](), b"0"
        while True:
            cursor, some = await self._ask("payment", partition, b"SSCAN", key, cursor, b"COUNT", ORDERS_AT_ONCE)
            found.update(each.decode() for each in some)
            if int(cursor) == 0:
                break
        orders = []
        for order_id in found:
            with contextlib.suppress(UnknownOrderError):
                orders.append(await self.read_order(order_id))
        return sorted(orders, key=lambda order: (order.at, order.id))

    async def find_account(self, uid: str, hint: str) -> str | None:
        """Its old partition knows where it is for a day; then each partition is asked."""
        first = self._keys.partition_of_account(hint)
        others = (each for each in range(self._keys.partitions) if each != first)
        for partition in (first, *others):
            account_id = id_in(partition, uid)
            with contextlib.suppress(LedgerError):
                key = self._keys.by_partition[partition].account + account_id.encode()
                document = await self._ask("read", partition, b"GET", key)
                if document is not None:
                    return views.moved_to(document) or account_id
        return None

    async def asked_accounts(self, partition: int, *, now: int, count: int) -> list[str]:
        return await self._first_of(partition, self._keys.by_partition[partition].topups, now, count)

    async def due_orders(self, partition: int, *, now: int, count: int) -> list[str]:
        return await self._first_of(partition, self._keys.by_partition[partition].orders, now, count)

    async def _first_of(self, partition: int, key: bytes, now: int, count: int) -> list[str]:
        found = await self._ask("payment", partition, b"ZRANGEBYSCORE", key, b"-inf", now, b"LIMIT", 0, count)
        return [each.decode() for each in found]

    async def payments_due(self, partition: int, *, now: int) -> tuple[int, int]:
        keys, count, since = self._keys.by_partition[partition], 0, []
        for key in (keys.topups, keys.orders):
            if due := await self._ask("payment", partition, b"ZCOUNT", key, b"-inf", now):
                count += int(due)
                first = await self._ask("payment", partition, b"ZRANGE", key, 0, 0, b"WITHSCORES")
                since += [int(float(score)) for score in first[1:]]  # none: another process has done it meanwhile
        return count, min(since, default=0)

    async def ask_again(self, account_id: str, *, now: int) -> None:
        keys, partition = self._account_keys(account_id), self._keys.partition_of_account(account_id)
        await self._ask("payment", partition, b"ZADD", keys.topups, now, account_id, durable=True)

    async def forget_work(self, partition: int, name: str) -> None:
        keys = self._keys.by_partition[partition]
        for key in (keys.topups, keys.orders):
            await self._ask("payment", partition, b"ZREM", key, name, durable=True)

    # -- mandates

    def _mandate_key(self, payer: str) -> tuple[int, bytes]:
        partition = self._keys.partition_of_name(payer)
        return partition, self._keys.by_partition[partition].mandates + payer.encode()

    async def read_mandate(self, payer: str) -> bytes | None:
        partition, key = self._mandate_key(payer)
        found: bytes | None = await self._ask("mandate", partition, b"GET", key)
        return found

    async def write_mandate(self, payer: str, *, new: bytes | None, old: bytes | None) -> bool:
        partition, key = self._mandate_key(payer)
        answer = await self._ask("mandate", partition, b"EVAL", REPLACE, 1, key, old or b"", new or b"", durable=True)
        return bool(answer == 1)
