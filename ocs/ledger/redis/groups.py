"""Business groups: their records, the steps that are not finished, and what an account knows of its group.
`contract.groups.GroupLedger` says what each operation does.

A group's record is a hash in the partition of its id, a hash of its own has its steps. Accounts of the group are in any
partition, so a step on both takes three calls: post it, do it on the account, finish it. Each call is atomic.
"""

from __future__ import annotations

from typing import Any

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.groups import GroupStep, GroupView, StepKind
from ocs.ledger.contract.limits import MAX_NUMBERS_PER_GROUP, MAX_PUK_TRIES
from ocs.ledger.redis import views
from ocs.ledger.redis.accounts import Accounts, when
from ocs.ledger.redis.client import REFUSALS
from ocs.ledger.redis.keys import account_id as new_id
from ocs.ledger.redis.keys import uid_of

GROUP_REFUSALS = {
    "no_group": "there is no such business group",
    "full": f"the group has {MAX_NUMBERS_PER_GROUP} numbers already",
    "busy": "another step of this number is not finished: repeat that first, or try again in a minute",
}
NUMBER = "m:"
"""Prefix of a field of the record that has the account id of a number, by its uid."""
FIELDS = frozenset(("name", "payer"))
MAX_HOPS = 8
"""Moves of an account that are followed from id to id."""


class Groups(Accounts):
    """Part of `RedisLedger`."""

    async def create_group(self, group_id: str, *, name: str, administrator: str, payer: str, now: int) -> None:
        uid = uid_of(administrator)
        join = f"{StepKind.JOIN}:{uid}"
        words = (group_id, now, join, administrator, "name", name, "administrator", uid, "payer", payer)
        await self._at_group(_CREATE, group_id, *words, "created", now, "limit", "", "pool", "")

    async def read_group(self, group_id: str) -> GroupView | None:
        partition, group, steps, *_ = self._group_keys(group_id)
        flat, pending = await self._ask("group", partition, b"EVAL", _READ, 2, group, steps)
        fields = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
        if "administrator" not in fields:
            return None
        numbers = {name.removeprefix(NUMBER): value for name, value in fields.items() if name.startswith(NUMBER)}
        found = zip(pending[::2], pending[1::2], strict=True)
        unfinished = sorted(_step(name.decode(), value.decode()) for name, value in found)
        joining = {uid_of(each.account_id): each.account_id for _, each in unfinished}
        uid = fields["administrator"]
        return GroupView(
            group_id=group_id,
            name=fields["name"],
            administrator=numbers.get(uid) or joining.get(uid, ""),
            payer=fields["payer"],
            created_at=int(fields["created"]),
            limit=int(fields["limit"]) if fields["limit"] else None,
            pool=fields["pool"],
            numbers=tuple(numbers[each] for each in sorted(numbers)),
            steps=tuple(each for _, each in unfinished),
        )

    async def set_group(self, group_id: str, **fields: str) -> None:
        if wrong := fields.keys() - FIELDS:
            raise LedgerError("range", f"a group has no {wrong.pop()}")
        flat = [word for pair in fields.items() for word in pair]
        _raise_refused(await self._at_group(_SET, group_id, *flat))

    async def post_step(self, group_id: str, step: GroupStep, *, now: int) -> bool:
        uid = uid_of(step.account_id)
        words = (group_id, now, MAX_NUMBERS_PER_GROUP, step.kind.value, uid, f"{step.account_id} {step.value}")
        word = await self._at_group(_POST, group_id, *words)
        _raise_refused(word)
        return bool(word == b"ok")

    async def post_for_all(self, group_id: str, kind: StepKind, value: str, *, now: int) -> None:
        _raise_refused(await self._at_group(_POST_FOR_ALL, group_id, group_id, now, kind.value, value))

    async def finish_step(self, group_id: str, step: GroupStep, *, dropped: bool = False) -> None:
        words = (group_id, step.kind.value, uid_of(step.account_id), step.account_id, int(dropped))
        await self._at_group(_FINISH, group_id, *words)

    async def note_number(self, group_id: str, account_id: str) -> None:
        await self._at_group(_NOTE, group_id, NUMBER + uid_of(account_id), account_id)

    async def group_ids(self, partition: int) -> list[str]:
        found = await self._ask("group", partition, b"SMEMBERS", self._keys.by_partition[partition].groups)
        return sorted(each.decode() for each in found)

    async def unfinished_groups(self, partition: int, *, before: int, count: int) -> list[str]:
        key = self._keys.by_partition[partition].group_work
        found = await self._ask("group", partition, b"ZRANGEBYSCORE", key, b"-inf", before, b"LIMIT", 0, count)
        return [each.decode() for each in found]

    def _group_keys(self, group_id: str) -> tuple[int, bytes, bytes, bytes, bytes]:
        """Partition and keys: record, steps, groups of the partition, groups with steps."""
        partition = self._keys.partition_of_name("g" + group_id)
        keys, name = self._keys.by_partition[partition], group_id.encode()
        return partition, keys.group + name, keys.steps + name, keys.groups, keys.group_work

    async def _at_group(self, script: bytes, group_id: str, *words: str | int) -> Any:
        partition, *keys = self._group_keys(group_id)
        return await self._ask("group", partition, b"EVAL", script, len(keys), *keys, *words, durable=True)

    # -- accounts of groups

    async def locate(self, account_id: str) -> str | None:
        for _ in range(MAX_HOPS):
            document = await self._document(account_id)
            if document is None:
                break
            moved_to = views.moved_to(document)
            if not moved_to:
                return account_id
            if await self._document(moved_to) is None:
                return account_id  # it is being moved
            account_id = moved_to
        for partition in range(self._keys.partitions):  # the note of its move has expired
            candidate = new_id(partition, uid_of(account_id))
            document = await self._document(candidate)
            if document is not None and not views.has_left(document):
                return candidate
        return None

    async def join_group(
        self, account_id: str, *, group_id: str, role: str, now: int, month: int, day: int = 0
    ) -> bool:
        return await self._membership(account_id, "join", when(now, month, day), group=group_id, role=role)

    async def leave_group(self, account_id: str, *, group_id: str, now: int, month: int, day: int = 0) -> bool:
        return await self._membership(account_id, "leave", when(now, month, day), group=group_id)

    async def set_puk(self, account_id: str, *, salt: str, digest: str, now: int, month: int, day: int = 0) -> None:
        await self._membership(account_id, "puk", when(now, month, day), salt=salt, hash=digest)

    async def begin_puk_entry(self, account_id: str, *, now: int, month: int, day: int = 0) -> tuple[str, str]:
        arguments = {"what": "puk_try", "most": MAX_PUK_TRIES, **when(now, month, day)}
        word, salt, digest = await self._run_script("membership", account_id, arguments)
        _raise_refused(word)
        return salt.decode(), digest.decode()

    async def puk_was_right(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        await self._membership(account_id, "puk_right", when(now, month, day), most=MAX_PUK_TRIES)

    async def set_separate(self, account_id: str, *, is_open: bool, now: int, month: int, day: int = 0) -> bool:
        return await self._membership(account_id, "separate", when(now, month, day), open=int(is_open))

    async def _membership(self, account_id: str, what: str, at: dict[str, Any], **more: object) -> bool:
        word, *_ = await self._run_script("membership", account_id, {"what": what, **more, **at})
        _raise_refused(word)
        return bool(word == b"ok")


def _step(name: str, text: str) -> tuple[str, GroupStep]:
    account_id, _, value = text.partition(" ")
    return name, GroupStep(StepKind(name.partition(":")[0]), account_id, value)


def _raise_refused(word: bytes) -> None:
    code = word.decode()
    text = GROUP_REFUSALS.get(code) or REFUSALS.get(code)
    if text is not None:
        raise LedgerError(code, text)


# KEYS of each: the group's record, its steps, groups of the partition, groups with steps.
_READ = b"return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2])}"
_CREATE = b"""
if redis.call('EXISTS', KEYS[1]) == 1 then return 'again' end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4] .. ' ')
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
return 'ok'"""
_SET = b"""
if redis.call('EXISTS', KEYS[1]) == 0 then return 'no_group' end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 'ok'"""
_POST = b"""
local group, now, most, kind, uid, value = unpack(ARGV)
if redis.call('EXISTS', KEYS[1]) == 0 then return 'no_group' end
local step = kind .. ':' .. uid
local noted = redis.call('HGET', KEYS[2], step)
if noted and kind ~= 'limit' and kind ~= 'pool' then return 'again' end
local excluding = {join = true, leave = true, administrator = true}
for other in pairs(excluding) do
  local is_posted = redis.call('HEXISTS', KEYS[2], other .. ':' .. uid) == 1
  if excluding[kind] and other ~= kind and is_posted then return 'busy' end
end
if kind == 'join' and redis.call('HLEN', KEYS[1]) + redis.call('HLEN', KEYS[2]) >= tonumber(most) then return 'full' end
redis.call('HSET', KEYS[2], step, value)
redis.call('ZADD', KEYS[4], 'NX', now, group)
return 'ok'"""
_POST_FOR_ALL = b"""
local group, now, kind, value = unpack(ARGV)
if redis.call('EXISTS', KEYS[1]) == 0 then return 'no_group' end
redis.call('HSET', KEYS[1], kind, value)
local fields = redis.call('HGETALL', KEYS[1])
for n = 1, #fields, 2 do
  if string.sub(fields[n], 1, 2) == 'm:' then
    redis.call('HSET', KEYS[2], kind .. ':' .. string.sub(fields[n], 3), fields[n + 1] .. ' ' .. value)
  end
end
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('ZADD', KEYS[4], 'NX', now, group) end
return 'ok'"""
_FINISH = b"""
local group, kind, uid, account_id, dropped = unpack(ARGV)
if redis.call('HDEL', KEYS[2], kind .. ':' .. uid) == 1 then
  if dropped == '0' then
    if kind == 'join' then
      redis.call('HSET', KEYS[1], 'm:' .. uid, account_id)
      for _, next in ipairs({'limit', 'pool'}) do
        local value = redis.call('HGET', KEYS[1], next)
        if value ~= '' then redis.call('HSET', KEYS[2], next .. ':' .. uid, account_id .. ' ' .. value) end
      end
    end
    if kind == 'pool' and redis.call('HEXISTS', KEYS[1], 'm:' .. uid) == 1 then
      redis.call('HSET', KEYS[1], 'm:' .. uid, account_id)
    end
    if kind == 'leave' then redis.call('HDEL', KEYS[1], 'm:' .. uid) end
    if kind == 'administrator' then redis.call('HSET', KEYS[1], 'administrator', uid) end
  elseif kind == 'join' and redis.call('HGET', KEYS[1], 'administrator') == uid
    and redis.call('HEXISTS', KEYS[1], 'm:' .. uid) == 0 then
    redis.call('DEL', KEYS[1], KEYS[2])
    redis.call('SREM', KEYS[3], group)
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('ZREM', KEYS[4], group) end
return 'ok'"""
_NOTE = b"""
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 'ok'"""
