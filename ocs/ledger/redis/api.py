"""Keys of the API, the answers that it keeps for repetitions, its audit trail. `contract.api_keys.ApiLedger` says what
each operation does.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Mapping
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import orjson

from ocs.ledger.contract.api_keys import MAX_API_KEYS, ApiKey, KeptAnswer, Look
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis import wire
from ocs.ledger.redis.client import REFUSALS, LedgerClient, checked
from ocs.ledger.redis.request import Answer
from ocs.ledger.redis.subscriber_index import index_owner
from ocs.values.actor import ACTOR
from ocs.values.moment import DAY_S

ANSWER_KEEP_S = 7 * DAY_S
"""How long the answer to a request with an Idempotency-Key is kept. Its reference is kept for far longer: a later
repetition changes nothing either, and is answered with what holds then."""
_KEEP = b"""
local kept = redis.call('GET', KEYS[1])
if kept and kept ~= ARGV[1] then return kept end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return ARGV[2]
"""
"""KEYS 1 the answer. ARGV 1 what is kept of a request without an answer, 2 the answer, 3 TTL. Result: what is kept."""
_DROP = b"""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end
return 1
"""
"""KEYS 1 the answer, 2 its plan. ARGV 1 what is kept of a request without an answer."""
_SPLIT = b"\n"
_PLAN = b":plan"
"""End of the key of what a request is about to do."""


class Api(LedgerClient):
    """Part of `RedisLedger`."""

    # -- keys

    async def add_api_key(self, key: ApiKey, *, now: int) -> None:
        if await self._ask("api", 0, b"HLEN", self._keys.api_keys) >= MAX_API_KEYS:
            await self._make_room(now)
        await self._put_api_key(key)

    async def _make_room(self, now: int) -> None:
        for each in await self.api_keys():
            if each.revoked_at or 0 < each.expires_at <= now:
                await self._ask("api", 0, b"HDEL", self._keys.api_keys, each.id, durable=True)
                await self._ask("api", 0, b"HDEL", self._keys.api_keys_used, each.id)
                return
        raise LedgerError("api_keys", REFUSALS["api_keys"])

    async def _put_api_key(self, key: ApiKey) -> None:
        await self._ask("api", 0, b"HSET", self._keys.api_keys, key.id, orjson.dumps(asdict(key)), durable=True)

    async def api_key(self, key_id: str) -> ApiKey | None:
        return _api_key(await self._ask("api", 0, b"HGET", self._keys.api_keys, key_id))

    async def look(
        self, key_id: str, identity: str = "", guess: str = "", begin: tuple[str, str] | None = None
    ) -> Look:
        asked, begun = [self._asked("api", 0, (b"HGET", self._keys.api_keys, key_id))], None
        if begin is not None:
            begun = self._sent_beginning(*begin)
        if identity:
            partition = self._keys.partition_of_name(identity)
            index = self._keys.by_partition[partition].subscribers
            asked.append(self._asked("find", partition, (b"HGET", index, identity)))
        if guess:
            account = self._account_keys(guess).account + guess.encode()
            asked.append(self._asked("read", self._keys.partition_of_account(guess), (b"GET", account)))
        key, *found = [checked(await each) for each in asked]
        kept = await self._begun(begin[0], begun) if begin is not None and begun is not None else None
        account_id = index_owner(found[0]) if found and found[0] else None
        return Look(_api_key(key), account_id, found[1] if guess and account_id == guess else None, kept)

    async def api_keys(self) -> list[ApiKey]:
        stored = await self._ask("api", 0, b"HVALS", self._keys.api_keys)
        flat = await self._ask("api", 0, b"HGETALL", self._keys.api_keys_used)
        used = {name.decode(): int(day) for name, day in zip(flat[::2], flat[1::2], strict=True)}
        keys = [ApiKey(**orjson.loads(each)) for each in stored]
        dated = [replace(each, used_day=used.get(each.id, 0)) for each in keys]
        return sorted(dated, key=lambda each: (each.created_at, each.id))

    async def revoke_api_key(self, key_id: str, *, now: int) -> bool:
        key = await self.api_key(key_id)
        if key is None or key.revoked_at:
            return False
        await self._put_api_key(replace(key, revoked_at=now))
        return True

    async def note_api_key_used(self, key_id: str, *, day: int) -> None:
        await self._ask("api", 0, b"HSET", self._keys.api_keys_used, key_id, day)

    # -- answers for repetitions

    async def begin_answer(self, name: str, fingerprint: str) -> KeptAnswer | None:
        return await self._begun(name, self._sent_beginning(name, fingerprint))

    def _sent_beginning(self, name: str, fingerprint: str) -> asyncio.Future[Answer]:
        partition, key = self._answer_key(name)
        return self._asked("api", partition, (b"SET", key, fingerprint, b"NX", b"EX", ANSWER_KEEP_S), durable=True)

    async def _begun(self, name: str, answer: asyncio.Future[Answer]) -> KeptAnswer | None:
        if checked(await answer):
            return None
        partition, key = self._answer_key(name)
        kept = await self._ask("api", partition, b"GET", key)
        return _kept(kept) if kept else None

    async def keep_answer(self, name: str, fingerprint: str, answer: bytes) -> bytes:
        partition, key = self._answer_key(name)
        value = fingerprint.encode() + _SPLIT + answer
        command = (b"EVAL", _KEEP, 1, key, fingerprint, value, ANSWER_KEEP_S)
        kept = _kept(await self._ask("api", partition, *command, durable=True))
        return answer if kept.answer is None else kept.answer

    async def plan_answer(self, name: str, plan: bytes) -> bytes:
        partition, key = self._answer_key(name)
        command = (b"SET", key + _PLAN, plan, b"NX", b"EX", ANSWER_KEEP_S)
        if await self._ask("api", partition, *command, durable=True):
            return plan
        return await self.planned_answer(name) or plan

    async def planned_answer(self, name: str) -> bytes | None:
        partition, key = self._answer_key(name)
        found: bytes | None = await self._ask("api", partition, b"GET", key + _PLAN)
        return found

    async def drop_answer(self, name: str, fingerprint: str) -> None:
        partition, key = self._answer_key(name)
        await self._ask("api", partition, b"EVAL", _DROP, 2, key, key + _PLAN, fingerprint, durable=True)

    def _answer_key(self, name: str) -> tuple[int, bytes]:
        partition = self._keys.partition_of_name(name)
        digest = hashlib.sha256(name.encode()).hexdigest().encode()
        return partition, self._keys.by_partition[partition].api_answers + digest

    # -- audit trail

    def note_api_call(self, account_id: str, *, now: int, event: Mapping[str, object]) -> Awaitable[None]:
        return self.note_event("api", account_id, now=now, event=event)

    def note_event(self, kind: str, account_id: str, *, now: int, event: Mapping[str, object]) -> Awaitable[None]:
        partition = self._keys.partition_of_account(account_id) if account_id else 0
        keys = self._keys.by_partition[partition]
        arguments: dict[str, Any] = {"event": {"k": kind, **event}, "now": now, "by": ACTOR.get()}
        account = keys.account + account_id.encode()
        command = (*self._calls.prefix("note"), 4, account, keys.outbox, keys.sequence, keys.due)
        body = wire.pack(arguments)
        words = (*command, account_id, body)
        return self._noted(partition, self._asked("note", partition, words, order_key=hash(account_id), durable=True))

    async def _noted(self, partition: int, answer: asyncio.Future[Answer]) -> None:
        checked(await answer)
        self.mark_dirty(partition)


def _api_key(stored: bytes | None) -> ApiKey | None:
    return _decoded_key(stored) if stored else None


@lru_cache(maxsize=MAX_API_KEYS)
def _decoded_key(stored: bytes) -> ApiKey:
    return ApiKey(**orjson.loads(stored))


def _kept(value: bytes) -> KeptAnswer:
    fingerprint, split, answer = value.partition(_SPLIT)
    return KeptAnswer(fingerprint.decode(), answer if split else None)
