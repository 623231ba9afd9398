"""Base of the ledger's operations: sends commands and scripts to the node of their partition, checks answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis

from ocs.ledger import scripts
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.limits import (
    MAX_OPEN_ORDERS_PER_ACCOUNT,
    MAX_SUBSCRIPTIONS_PER_ACCOUNT,
    MAX_TRANSFERS_PER_ACCOUNT,
    MAX_WRONG_VOUCHERS,
)
from ocs.ledger.contract.operations import Saw
from ocs.ledger.layout import LAYOUT
from ocs.ledger.records import Layout
from ocs.ledger.redis import views, wire
from ocs.ledger.redis.connection import Answer, Request, resolve
from ocs.ledger.redis.connection import command as pack_command
from ocs.ledger.redis.keys import NO_POOL, Keys, PartitionKeys
from ocs.ledger.redis.nodes import Nodes
from ocs.ledger.redis.script_call import ScriptCalls
from ocs.ledger.settings import LedgerSettings
from ocs.values.actor import ACTOR
from ocs.values.life import DEFAULT_LIFE, LifeTerms
from ocs.values.measures import MAX_MEASURES_PER_ACCOUNT

REFUSALS = {
    "exists": "the number or the IMSI belongs to an account already",
    "opening": "an account with this number or IMSI is being opened now: try again in a minute",
    "ceiling": "the credit would exceed 200 EUR (HOT-ACC-7)",
    "nothing": "there is no refundable credit that is not held",
    "leaving": "an earlier change of number or SIM is not finished: repeat it first",
    "state": "the account's state does not allow it (`ocs account show` tells the state)",
    "orders": f"{MAX_OPEN_ORDERS_PER_ACCOUNT} payments of the account are under way: wait for them",
    "credit": "the credit does not cover the price",
    "limit": "the monthly spending limit leaves no room for the price (HOT-CC-2)",
    "subscriptions": f"the account has {MAX_SUBSCRIPTIONS_PER_ACCOUNT} products already",
    "excluded": "a subscription of the account and the product exclude each other (HOT-PKG-9)",
    "barred": "it is not sold with the tariff of the account (HOT-PKG-9)",
    "requires": "it needs another product, which the account does not have",
    "tariff": "a further quantity needs a running tariff (HOT-PKG-3)",
    "instance": "the account has no such subscription",
    "counter": "the account has no such counter",
    "measures": f"the account has {MAX_MEASURES_PER_ACCOUNT} measures already: lift one first",
    "sessions": "the account holds units of its pool: end its sessions first",
    "pool_unknown": "there is no such pool in the account's partition",
    "no_pool": "the account is in no pool",
    "pooled": "the account is in a pool: take it out first",
    "grouped": "the number is in another business group: it must leave that first",
    "no_puk": "the PUK1 of the number's SIM is not known: care must set it",
    "puk": "the PUK1 is not that of the number's SIM",
    "puk_blocked": "the PUK1 was wrong too often: care, or a new SIM, must set it anew",
    "separate": "the separate account has credit, which is not the group's: the number must leave the group first",
    "no_separate": "the number has no separate account (HOT-GRP-5)",
    "group": "credit is transferred between the administrator and a member of one business group only (HOT-GRP-2)",
    "funds": "the credit that is not held, and may be transferred, does not cover the amount",
    "transfers": f"{MAX_TRANSFERS_PER_ACCOUNT} transfers of the account are not finished: try again in a minute",
    "unknown": "there is no such account",
    "reference": "this reference was used for another account or amount, or for other credit",
    "voucher_blocked": f"{MAX_WRONG_VOUCHERS} wrong voucher entries: customer care must lift the block (HOT-TOP-3)",
    "given_back": "the voucher's claim was refused before",
    "api_keys": "there are as many keys of the API as may be: revoke those that nobody needs (`ocs key list`)",
    "clock": "this machine's clock differs from that of Redis: synchronise both by NTP",
    "unreadable": "the account's document cannot be read (`ocs audit` names all such accounts)",
    "version": "a newer version wrote the account's document, and this one cannot read it: upgrade",
}
MAX_POOLS_KEPT = 100_000
"""Accounts whose pool a process remembers. A request for another is answered `Retry.POOL` once and sent again."""
MAX_POOL_CHANGES = 4
"""How often a script may answer that the account is in another pool, before the operation fails."""


class MovedError(LedgerError):
    """The account lives in another partition, under another id."""

    def __init__(self, account_id: str) -> None:
        super().__init__("moved", f"the account has moved: it is {account_id} now")
        self.account_id = account_id


class LedgerClient:
    """`clock` gives Unix seconds for the time of notices only."""

    def __init__(
        self,
        nodes: Nodes,
        keys: Keys,
        settings: LedgerSettings,
        clock: Callable[[], float] = time.time,
        layout: Layout = LAYOUT,
        calls: ScriptCalls | None = None,
    ) -> None:
        self._nodes = nodes
        self._keys = keys
        self._settings = settings
        self._clock = clock
        self._layout = layout
        self._timeout_s = settings.timeout_ms / 1000
        self._replicas = settings.replicas if settings.durability == "replicated" else 0
        self._calls = calls or ScriptCalls(scripts.load(layout), int(clock()))
        self._loop = asyncio.get_running_loop()
        self._pools: dict[str, str] = {}
        self._life_at: Callable[[int], LifeTerms] = lambda now: DEFAULT_LIFE
        self._life_terms: LifeTerms | None = None
        self._life_record: list[Any] = []
        self._life_packed = b""

    def follow_life(self, life_at: Callable[[int], LifeTerms]) -> None:
        """From now on operations go by the terms that are in force at their Unix second."""
        self._life_at = life_at

    def _life(self, now: int) -> list[Any]:
        """The `life` record of the terms in force."""
        terms = self._life_at(now)
        if terms is not self._life_terms:
            self._life_terms, self._life_record = terms, wire.life(terms)
            self._life_packed = wire.pack(self._life_record)
        return self._life_record

    def _packed_life(self, now: int) -> bytes:
        self._life(now)
        return self._life_packed

    def _account_keys(self, account_id: str) -> PartitionKeys:
        try:
            return self._keys.by_partition[self._keys.partition_of_account(account_id)]
        except ValueError:
            raise LedgerError("unknown", REFUSALS["unknown"]) from None

    def _remember_pool(self, account_id: str, pool: str) -> None:
        self._pools.pop(account_id, None)
        if pool:
            if len(self._pools) >= MAX_POOLS_KEPT:
                self._pools.pop(next(iter(self._pools)))
            self._pools[account_id] = pool

    def mark_dirty(self, partition: int) -> None:
        """Say that the partition's outbox has events. Does nothing here (outbox.py)."""

    async def carry_observation(self, account_id: str, to: str) -> None:
        """The account moves to another id: copy what is observed of it. Does nothing here (observations.py)."""

    async def _script(
        self,
        name: str,
        account_id: str,
        arguments: dict[str, Any],
        own: bytes = b"",
        more: Sequence[bytes] = (),
        saw: Saw | None = None,
    ) -> bytes:
        """Run a script whose result is one word. LedgerError: the word is in REFUSALS. `saw`: for scripts that know
        `look`.
        """
        if saw is None:
            return _word(await self._run_script(name, account_id, arguments, own, more))
        answer = await self._run_script(name, account_id, {**arguments, "look": True}, own, more)
        if not isinstance(answer, list):
            return _word(answer)
        word, document = answer
        at = {name: arguments[name] for name in ("now", "month", "day")}
        with contextlib.suppress(LedgerError):  # the operation is done: who asks for the account again is told why
            if document and (view := views.account_view(account_id, document, **at)) is not None:
                saw(view)
        return _word(word)

    async def _run_script(
        self, name: str, account_id: str, arguments: dict[str, Any], own: bytes = b"", more: Sequence[bytes] = ()
    ) -> Any:
        """Run a script on one account; returns its result. KEYS: 1 to 4 as in charge.lua, `own`, the account's pool,
        `more`. ARGV: the account id and `arguments`.

        MovedError: the account has another id. LedgerUnavailable: no answer in time.
        """
        keys = self._account_keys(account_id)
        partition = self._keys.partition_of_account(account_id)
        account, life = keys.account + account_id.encode(), self._life(arguments["now"])
        for _ in range(MAX_POOL_CHANGES):
            pool = self._pools.get(account_id, "")
            common = {"pool": pool, "life": life, "max_skew_s": self._settings.max_clock_skew_s, "by": ACTOR.get()}
            body = wire.pack({**arguments, **common})
            pool_key = keys.pool + (pool or NO_POOL).encode()
            all_keys = (account, keys.outbox, keys.sequence, keys.due, own or account, pool_key, *more)
            command = (*self._calls.prefix(name), len(all_keys), *all_keys, account_id.encode(), body)
            answer = await self._ask(name, partition, *command, order_key=hash(account_id), durable=True)
            word = answer[0] if isinstance(answer, list) else answer
            if isinstance(word, bytes) and word.startswith(b"pool "):
                self._remember_pool(account_id, word[5:].decode())
                continue
            if isinstance(word, bytes) and word.startswith(b"moved "):
                raise MovedError(word[6:].decode())
            self.mark_dirty(partition)
            return answer
        raise LedgerUnavailable("the account's pool changed several times during the operation")

    async def _ask(
        self, operation: str, partition: int, *command: bytes | str | int, order_key: int = 0, durable: bool = False
    ) -> Any:
        return checked(await self._asked(operation, partition, command, order_key=order_key, durable=durable))

    def _asked(
        self,
        operation: str,
        partition: int,
        command: tuple[bytes | str | int, ...],
        *,
        order_key: int = 0,
        durable: bool = False,
    ) -> asyncio.Future[Answer]:
        """Send a command. Those sent before the event loop's next turn leave together."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        packed = pack_command(command)
        expires = self._loop.time() + self._timeout_s
        self._send(packed, partial(resolve, future), operation, partition, order_key, expires, durable=durable)
        return future

    def _send(
        self,
        command: bytes,
        callback: Any,
        operation: str,
        partition: int,
        order_key: int,
        expires: float,
        durable: bool = True,
    ) -> None:
        wait_for = self._replicas if durable else 0
        self._nodes.route(Request(command, callback, operation, expires, partition, order_key, wait_for))


def _word(answer: bytes) -> bytes:
    word = answer.decode()
    if word in REFUSALS:
        raise LedgerError(word, REFUSALS[word])
    return answer


def checked(answer: Answer) -> Any:
    if isinstance(answer, LedgerUnavailable):
        raise answer
    if isinstance(answer, hiredis.ReplyError):
        raise LedgerUnavailable(f"Redis refused: {answer}")
    return answer
