"""Observations of accounts in Redis (`contract.observations`): a hash per account; an index and a position per
partition.

Fields of the hash: `since`; `state` and `at` (day); "<day>" → msgpack [at home, abroad, {service: [home, abroad]}];
"<day>@<account id>": the same, counted under an earlier id of the account.

The position is stored in the same script as what it counted, in the same slot as the outbox. So a crash, a repetition
or a ledger that went back (both go back together) neither loses nor doubles anything.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from ocs.ledger.contract.observations import FairUseStep, Rows, Sighting
from ocs.ledger.redis import wire
from ocs.ledger.redis.accounts import when
from ocs.ledger.redis.client import checked
from ocs.ledger.redis.keys import uid_of
from ocs.ledger.redis.outbox import Outbox
from ocs.values.moment import DAY_S
from ocs.values.presence import DayUse, Observation

OBSERVE = b"""
local at = redis.call('GET', KEYS[1]) or '0'
if at ~= ARGV[1] then return at end
local head = string.match(KEYS[1], '^{[^}]*}:') .. 'o:'
for _, row in ipairs(cmsgpack.unpack(ARGV[5])) do
  local id, number, at_home, abroad, use = unpack(row)
  local key, day = head .. id, string.format('%.0f', number)
  local known = redis.call('EXISTS', key) == 1
  if known or abroad == 1 then
    if not known then
      redis.call('HSET', key, 'since', day)
      redis.call('ZADD', KEYS[2], 'NX', number + 1 + tonumber(ARGV[3]), id)
    end
    local stored = redis.call('HGET', key, day)
    if stored then
      local before = cmsgpack.unpack(stored)
      at_home, abroad = math.max(at_home, before[1]), math.max(abroad, before[2])
      for service, units in pairs(before[3]) do
        local more = use[service] or {0, 0}
        use[service] = {units[1] + more[1], units[2] + more[2]}
      end
    end
    redis.call('HSET', key, day, cmsgpack.pack({at_home, abroad, use}))
    if not stored then
      for _, field in ipairs(redis.call('HKEYS', key)) do
        local old = tonumber(string.match(field, '^%d+'))
        if old and old < number - tonumber(ARGV[4]) then redis.call('HDEL', key, field) end
      end
    end
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
"""
"""KEYS 1 position 2 index. ARGV 1 expected position 2 new position 3 days of the window 4 days kept 5 msgpack rows
[account id, day, at home, abroad, use]. Result: the position now.
"""
END = b"""
if (redis.call('HGET', KEYS[1], 'state') or '') ~= '' then return 0 end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local day = tonumber(string.match(field, '^%d+'))
  if day and day >= tonumber(ARGV[1]) and cmsgpack.unpack(redis.call('HGET', KEYS[1], field))[2] == 1 then return 0 end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[2])
return 1
"""
"""KEYS 1 observation 2 index. ARGV 1 day 2 account id. Result 1 = forgotten."""


NOTE = b"""
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return end
local before = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
redis.call('HSET', KEYS[1], ARGV[1], math.max(before, tonumber(ARGV[2])))
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""
"""KEYS 1 hash. ARGV 1 field 2 day 3 most fields 4 TTL in seconds."""
MAX_SIMS = 8
"""Accounts of an equipment, and equipment of an account, that are remembered."""
KEY_OCTETS = 32
MOVED_KEPT_S = 180 * DAY_S
"""TTL of what an account that moved takes along of its equipment."""
SCAN_COUNT = 200
STATES = (b"warned", b"surcharge")


class Observations(Outbox):
    """Part of `RedisLedger`."""

    async def observed_position(self, partition: int) -> int:
        return int(await self._ask("observe", partition, b"GET", self._keys.by_partition[partition].observed) or 0)

    async def observe(
        self, partition: int, *, expected: int, position: int, rows: Rows, window_days: int, kept_days: int
    ) -> int:
        keys = self._keys.by_partition[partition]
        packed = [
            [account_id, day, int(found.at_home), int(found.abroad), {name: [*use] for name, use in found.use.items()}]
            for account_id, days in rows.items()
            for day, found in days.items()
        ]
        command = (b"EVAL", OBSERVE, 2, keys.observed, keys.abroad, expected, position, window_days, kept_days)
        return int(await self._ask("observe", partition, *command, wire.pack(packed), durable=True))

    async def equipment_key(self) -> bytes:
        """Key of the pseudonyms of equipment: made once for the installation."""
        key = self._keys.equipment_key
        await self._ask("installation", 0, b"SET", key, secrets.token_bytes(KEY_OCTETS), b"NX", durable=True)
        found: bytes = await self._ask("installation", 0, b"GET", key)
        return found

    async def note_equipment(self, sightings: Iterable[Sighting], *, kept_days: int) -> None:
        for equipment, account_id, day in sightings:
            of_equipment, of_account = self._sims_key(equipment), self._equipment_key(account_id)
            for (partition, key), field in ((of_equipment, uid_of(account_id)), (of_account, equipment)):
                more = (1, key, field.encode(), day, MAX_SIMS, kept_days * DAY_S)
                await self._ask("observe", partition, b"EVAL", NOTE, *more, durable=True)

    def _sims_key(self, equipment: str) -> tuple[int, bytes]:
        partition = self._keys.partition_of_name(equipment)
        return partition, self._keys.by_partition[partition].sims + equipment.encode()

    def _equipment_key(self, account_id: str) -> tuple[int, bytes]:
        return (
            self._keys.partition_of_account(account_id),
            self._account_keys(account_id).sims + b"a" + account_id.encode(),
        )

    async def _equipment(self, account_id: str) -> tuple[tuple[int, ...], ...]:
        """`Observation.equipment`."""
        names = (await self._ask("observation", *_get(*self._equipment_key(account_id))))[::2]
        found = [await self._ask("observation", *_get(*self._sims_key(name.decode()))) for name in names]
        return tuple(tuple(int(day) for day in flat[1::2]) for flat in found)

    async def observation(self, account_id: str) -> Observation | None:
        partition, key = self._observation_key(account_id)
        flat = await self._ask("observation", partition, b"HGETALL", key)
        if not flat:
            return None
        days: dict[int, DayUse] = {}
        texts: dict[str, str] = {}
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            number = name.partition(b"@")[0]
            if number.isdigit():
                days[int(number)] = days.get(int(number), DayUse()).merged(_day(value))
            else:
                texts[name.decode()] = value.decode()
        equipment = await self._equipment(account_id)
        return Observation(int(texts["since"]), days, texts.get("state", ""), int(texts.get("at", 0)), equipment)

    async def observations_due(self, partitions: Sequence[int], *, day: int, count: int) -> list[list[str]]:
        asked = [
            self._post(
                *("observation", each, b"ZRANGEBYSCORE", self._keys.by_partition[each].abroad),
                *(b"-inf", day, b"LIMIT", 0, count),
            )
            for each in partitions
        ]
        return [[account_id.decode() for account_id in checked(await future)] for future in asked]

    async def observations_overdue(self, partitions: Sequence[int], *, day: int) -> list[int]:
        asked = [
            self._post(
                *("observation", each, b"ZCOUNT", self._keys.by_partition[each].abroad),
                *(b"-inf", f"({day}"),
            )
            for each in partitions
        ]
        return [int(checked(await future)) for future in asked]

    async def observed_accounts(self, partition: int) -> AsyncIterator[str]:
        cursor, index = b"0", self._keys.by_partition[partition].abroad
        while True:
            cursor, found = await self._ask("observation", partition, b"ZSCAN", index, cursor, b"COUNT", SCAN_COUNT)
            for account_id in found[::2]:
                yield account_id.decode()
            if cursor == b"0":
                return

    async def observe_again(self, account_id: str, *, day: int) -> None:
        partition = self._keys.partition_of_account(account_id)
        index = self._keys.by_partition[partition].abroad
        await self._ask("observation", partition, b"ZADD", index, b"XX", day, account_id.encode(), durable=True)

    async def end_observation(self, account_id: str, *, before_day: int) -> bool:
        partition, key = self._observation_key(account_id)
        index = self._keys.by_partition[partition].abroad
        command = (b"EVAL", END, 2, key, index, before_day, account_id.encode())
        return int(await self._ask("observation", partition, *command, durable=True)) == 1

    async def carry_observation(self, account_id: str, to: str) -> None:
        partition, key = self._observation_key(account_id)
        target, new_key = self._observation_key(to)
        (_, had), (_, has) = self._equipment_key(account_id), self._equipment_key(to)
        seen = await self._ask("observation", partition, b"HGETALL", had)
        if seen:
            await self._ask("observation", target, b"HSET", has, *seen, durable=True)
            await self._ask("observation", target, b"EXPIRE", has, MOVED_KEPT_S, durable=True)
        flat = await self._ask("observation", partition, b"HGETALL", key)
        if not flat:
            return
        # What the target has is of an earlier stay in that partition, and came along with the account.
        await self._ask("observation", target, b"UNLINK", new_key, durable=True)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            field = name + b"@" + account_id.encode() if name.isdigit() else name
            await self._ask("observation", target, b"HSET", new_key, field, value, durable=True)
        old, new = (self._keys.by_partition[each] for each in (partition, target))
        state = dict(zip(flat[::2], flat[1::2], strict=True)).get(b"state")
        for each in STATES:
            await self._ask("observation", target, b"SREM", new.fair_use + each, to.encode(), durable=True)
        if state:
            await self._ask("observation", target, b"SADD", new.fair_use + state, to.encode(), durable=True)
        day = await self._ask("observation", partition, b"ZSCORE", old.abroad, account_id.encode())
        if day is not None:
            await self._ask("observation", target, b"ZADD", new.abroad, day, to.encode(), durable=True)

    async def drop_observation(self, account_id: str) -> None:
        partition, key = self._observation_key(account_id)
        keys, name = self._keys.by_partition[partition], account_id.encode()
        for state in STATES:
            await self._ask("observation", partition, b"SREM", keys.fair_use + state, name, durable=True)
        await self._ask("observation", partition, b"ZREM", keys.abroad, name, durable=True)
        await self._ask("observation", partition, b"UNLINK", key, self._equipment_key(account_id)[1], durable=True)

    async def fair_use_states(self, partitions: Sequence[int]) -> list[dict[str, int]]:
        asked = [
            [
                self._post("observation", each, b"ZCARD", self._keys.by_partition[each].abroad),
                *(
                    self._post("observation", each, b"SCARD", self._keys.by_partition[each].fair_use + state)
                    for state in STATES
                ),
            ]
            for each in partitions
        ]
        found = []
        for futures in asked:
            observed, *counts = [int(checked(await future)) for future in futures]
            found.append({"observed": observed, **{s.decode(): n for s, n in zip(STATES, counts, strict=True)}})
        return found

    async def step_fair_use(self, account_id: str, *, step: FairUseStep, now: int, month: int, day: int = 0) -> bool:
        _, key = self._observation_key(account_id)
        measure = step.measure
        arguments: dict[str, Any] = {
            "what": "fair_use",
            "value": wire.measure(measure) if measure is not None else False,
            "kind": measure.kind.value if measure is not None else "",
            "ref": measure.name if measure is not None else "",
            "reason": measure.reason if measure is not None else "",
            "before": step.before,
            "state": step.state,
            "state_day": step.day,
            "facts": dict(step.facts),
            "asked_at": self._clock(),
            **when(now, month, day),
        }
        return await self._script("change", account_id, arguments, key) == b"ok"

    def _observation_key(self, account_id: str) -> tuple[int, bytes]:
        return (
            self._keys.partition_of_account(account_id),
            self._account_keys(account_id).observations + account_id.encode(),
        )


def _get(partition: int, key: bytes) -> tuple[int, bytes, bytes]:
    return partition, b"HGETALL", key


def _day(packed: bytes) -> DayUse:
    at_home, abroad, use = wire.unpack(packed)
    return DayUse(bool(at_home), bool(abroad), {name: (home, away) for name, (home, away) in dict(use).items()})
