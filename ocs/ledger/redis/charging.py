"""Charging on Redis: a request is one call of charge.lua or refund.lua; a callback takes its outcome.

Implements `ChargingLedger` (contract/operations.py). Three outcomes are dealt with here, by a second call: the account
is in another pool, it has moved to another partition, or units of its pool wait for their owner's next period.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any, NamedTuple

import hiredis

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, Retry
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.limits import TOMBSTONE_S
from ocs.ledger.contract.operations import ChargeDone
from ocs.ledger.redis import wire
from ocs.ledger.redis.connection import Answer
from ocs.ledger.redis.connection import command as pack_command
from ocs.ledger.redis.keys import NO_POOL, PartitionKeys, session_name
from ocs.ledger.redis.products import Products
from ocs.ledger.redis.subscriber_index import index_owner
from ocs.values.requests import Action, RequestType

log = logging.getLogger(__name__)

INITIAL, UPDATE, TERMINATION, EVENT = (
    RequestType.INITIAL,
    RequestType.UPDATE,
    RequestType.TERMINATION,
    RequestType.EVENT,
)
REFUND = Action.REFUND
_FIELD_AT_MASTER = b"redis.call('PERSIST', KEYS[1]) return redis.call('HGET', KEYS[1], ARGV[1])"
_VALUE_AT_MASTER = b"redis.call('SETRANGE', KEYS[1], 0, '') return redis.call('GET', KEYS[1])"
"""Both begin with a write that changes nothing, so a replica refuses them. A server that was the master a moment ago
lacks the newest entries; it must not say that a subscriber is unknown.
"""
MOVING_PAUSE_S = 0.02
"""Pause before a request is sent again to an account whose move is not finished."""
MAX_MOVED_KEPT = 10_000
"""New ids of moved accounts that a process remembers. Requests for the others are answered `Retry.MOVED` and sent
again.
"""


class Tried(NamedTuple):
    """What was done for a request before it is sent again."""

    looked_back: str = ""
    """Old ids of the account whose answers were fetched."""
    owners_swept: bool = False
    """The agenda of the owners of its pool's expired units has run."""


NOTHING = Tried()


class Charging(Products):
    """Part of `RedisLedger`."""

    retried_here = frozenset((Retry.POOL, Retry.MOVED, Retry.LOOK_BACK, Retry.OWNERS))
    """Retry reasons that the caller of `charge` never sees."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._tasks: set[asyncio.Task[None]] = set()
        """At most one for each request that is charged again."""
        self._moved: dict[str, str] = {}
        """Old account id → new one."""

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        if request.type is INITIAL:
            self._set_hint(request)
        self._charge(request, done, self._loop.time() + self._timeout_s, NOTHING)

    def _charge(self, request: ChargeRequest, done: ChargeDone, expires: float, tried: Tried) -> None:
        if self._moved:
            request.account_id = self._moved.get(request.account_id, request.account_id)
        if self._pools and not request.pool:
            request.pool = self._pools.get(request.account_id, "")
        account_id = request.account_id.encode()
        partition = self._keys.partition_of_account(request.account_id)
        keys = self._keys.by_partition[partition]
        name = account_id + b" " + session_name(request.session_id, request.session_owner)
        all_keys: list[bytes] = [keys.account + account_id, keys.outbox, keys.sequence, keys.due]
        if request.action is REFUND:
            life = self._life(request.now)
            script, body = "refund", [wire.refund(request, self._settings, life, tried.looked_back)]
            all_keys += (
                keys.events + name,
                keys.pool + (request.pool or NO_POOL).encode(),
                self._debit_key(request, keys),
            )
        else:
            script, body = "charge", wire.charge(request, self._settings, self._packed_life(request.now), *tried)
            all_keys.append((keys.events if request.type is EVENT else keys.answers) + name)
            if request.pool:
                all_keys.append(keys.pool + request.pool.encode())
        command = pack_command((*self._calls.prefix(script), len(all_keys), *all_keys, account_id, *body))
        callback = partial(self._charged, request, done, expires, tried)
        self._send(command, callback, script, partition, hash(request.account_id), expires)

    def _debit_key(self, request: ChargeRequest, keys: PartitionKeys) -> bytes:
        """Key of the answers of the debit that a refund names."""
        debit = session_name(wire.refunded_debit(request)[0], request.session_owner)
        return keys.events + request.account_id.encode() + b" " + debit

    def _charged(self, request: ChargeRequest, done: ChargeDone, expires: float, tried: Tried, answer: Answer) -> None:
        if isinstance(answer, LedgerUnavailable):
            done(answer)
        elif isinstance(answer, hiredis.ReplyError):
            log.error("Redis refused the charge script, the request is answered 3002 or 3004: %s", answer)
            done(LedgerUnavailable("Redis refused the charge script"))
        else:
            outcome = wire.outcome(answer)
            flags = answer[0]
            if flags:
                if flags & wire.JOURNALLED:
                    self.mark_dirty(self._keys.partition_of_account(request.account_id))
                if flags & wire.PROLONGED and request.type is UPDATE:
                    self._set_hint(request)
            if request.type is TERMINATION and outcome.code == 2001:
                self._shorten_hint(request)
            if outcome.retry in self.retried_here:
                self._start(self._charge_again(request, done, expires, tried, outcome))
            else:
                done(outcome)

    async def _charge_again(
        self, request: ChargeRequest, done: ChargeDone, expires: float, tried: Tried, outcome: ChargeOutcome
    ) -> None:
        """Send the request again with the right pool or account id, or after what it needs was done."""
        try:
            if self._loop.time() >= expires:
                raise LedgerUnavailable("the account is being moved")
            if outcome.retry is Retry.POOL:
                self._remember_pool(request.account_id, outcome.place)
                request.pool = outcome.place
            elif outcome.retry is Retry.MOVED:
                await self._follow(request, outcome.place)
            elif outcome.retry is Retry.OWNERS:
                tried = tried._replace(owners_swept=True)
                await self._sweep_owners(request, outcome.place)
            else:
                tried = tried._replace(looked_back=outcome.place)
                await self._look_back(request, outcome.place)
        except LedgerUnavailable as error:
            done(error)
        else:
            self._charge(request, done, expires, tried)

    async def _sweep_owners(self, request: ChargeRequest, owners: str) -> None:
        """Run the agenda of accounts whose units of the pool have expired: their next period begins, or does not."""
        for owner in owners.split():
            with contextlib.suppress(LedgerError):  # the request is then charged by what is there
                await self.sweep(owner, now=request.now, month=request.month, day=request.day)

    async def _follow(self, request: ChargeRequest, target: str) -> None:
        """Remember the account's new id, if its document is there already."""
        if await self._document(target) is None:
            await asyncio.sleep(MOVING_PAUSE_S)
            return
        if len(self._moved) >= MAX_MOVED_KEPT:
            self._moved.pop(next(iter(self._moved)))
        self._moved[request.account_id] = target
        self._moved.pop(target, None)  # it moved back to an id of before

    async def _look_back(self, request: ChargeRequest, old_ids: str) -> None:
        """Move the answers that this request may have had under the account's old ids."""
        owner = request.session_owner
        names = {session_name(request.session_id, owner)}
        if request.action is Action.REFUND:
            names.add(session_name(wire.refunded_debit(request)[0], owner))
        for old_id in old_ids.split():
            for name in names:
                await self._move_hash(
                    self._answers_place(old_id, request, name), self._answers_place(request.account_id, request, name)
                )

    def _answers_place(self, account_id: str, request: ChargeRequest, name: bytes) -> tuple[int, bytes]:
        """Partition and key of the answers to a request."""
        keys = self._account_keys(account_id)
        prefix = keys.events if request.type is RequestType.EVENT else keys.answers
        return self._keys.partition_of_account(account_id), prefix + account_id.encode() + b" " + name

    # -- which account a session belongs to

    def _set_hint(self, request: ChargeRequest) -> None:
        """Write the hint (keys.py): the session's account, for workers that do not know it."""
        live_s = (max(request.deadline - request.now, 0) + self._settings.remember_sessions_s) * 5 // 4 + 1
        self._send_hint(request, b"SET", request.account_id, b"EX", live_s)

    def _shorten_hint(self, request: ChargeRequest) -> None:
        """The session has ended: let the hint expire with its answers."""
        self._send_hint(request, b"EXPIRE", max(self._settings.remember_sessions_s, TOMBSTONE_S))

    def _send_hint(self, request: ChargeRequest, word: bytes, *rest: bytes | str | int) -> None:
        name = session_name(request.session_id, request.session_owner)
        partition = self._keys.partition_of_session(name)
        command = pack_command((word, self._keys.by_partition[partition].hints + name, *rest))
        expires = self._loop.time() + self._timeout_s
        self._send(command, _ignored, "hint", partition, 0, expires, durable=False)

    async def find_subscriber(self, identity: str) -> str | None:
        partition, name = self._keys.partition_of_name(identity), identity.encode()
        key = self._keys.by_partition[partition].subscribers
        answer = await self._ask("find", partition, b"HGET", key, name)
        if not answer:
            answer = await self._ask("find", partition, b"EVAL", _FIELD_AT_MASTER, 1, key, name)
        return index_owner(answer) if answer else None

    async def find_session(self, session_id: str, owner: str) -> str | None:
        name = session_name(session_id, owner)
        partition = self._keys.partition_of_session(name)
        key = self._keys.by_partition[partition].hints + name
        answer = await self._ask("find_session", partition, b"GET", key)
        if not answer:
            answer = await self._ask("find_session", partition, b"EVAL", _VALUE_AT_MASTER, 1, key)
        return answer.decode() if answer else None

    def _start(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _ignored(_: Answer) -> None:
    """Hints may be lost: the next request without a subscriber then costs a look-up."""
