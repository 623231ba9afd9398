"""Vouchers in Redis: a hash for each, and an index and counts of its batch, in the partition of its id.
`contract.vouchers` says what each operation does.

Fields of a voucher: `s` state, `m` value in micro-EUR, `e` when it expires, `b` batch, `n` serial number, `a` account
of its last claim, `c` number of that claim, `t` when its state changed,
`p` 1 = the claim is for the separate account of the number.

A voucher is forgotten REFERENCE_KEEP_S after it was spent, or expired: the references of its claims are kept as long.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import msgpack

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.vouchers import Batch, BatchView, Claim, ClaimAnswer, NewVoucher, VoucherState, VoucherView
from ocs.ledger.redis import views, wire
from ocs.ledger.redis.accounts import REFERENCE_KEEP_S, when
from ocs.ledger.redis.client import REFUSALS, LedgerClient, MovedError
from ocs.ledger.redis.keys import account_id as new_id
from ocs.ledger.redis.keys import uid_of
from ocs.values.top_ups import Channel

KEY_OCTETS = 32
FROM_FILE = b"file:"
SCAN_COUNT = 1000
DELETED_TOGETHER = 500
MAX_MOVES = 8
"""How often an account may move while a voucher is credited."""

ADD = b"""
local counts, index, head = KEYS[1], KEYS[2], string.match(KEYS[1], '^{[^}]*}:') .. 'v:'
local batch, value, expires, now, keep = unpack(ARGV, 1, 5)
local taken = {}
for n = 6, #ARGV, 2 do
  local id, serial = ARGV[n], ARGV[n + 1]
  local key = head .. id
  local owner = redis.call('HMGET', key, 'b', 'n')
  if not owner[1] then
    redis.call('HSET', key, 's', 'generated', 'm', value, 'e', expires, 'b', batch, 'n', serial, 't', now)
    if expires ~= '0' then redis.call('EXPIREAT', key, expires + keep) end
    redis.call('HSET', index, serial, id)
    redis.call('HINCRBY', counts, batch .. ' generated', 1)
  elseif owner[1] ~= batch or owner[2] ~= serial then
    taken[#taken + 1] = id
  end
end
return taken
"""
"""KEYS 1 counts 2 index of the batch. ARGV 1 batch 2 value 3 expires 4 now 5 seconds kept after the end 6 … id and
serial number of each. Result: ids that another voucher has."""
SET_STATE = b"""
local counts, head = KEYS[1], string.match(KEYS[1], '^{[^}]*}:') .. 'v:'
local batch, to, now = unpack(ARGV, 1, 3)
local changed, redeemed = 0, 0
for n = 4, #ARGV do
  local key = head .. ARGV[n]
  local state = redis.call('HGET', key, 's')
  if state == 'claimed' or state == 'spent' then
    redeemed = redeemed + 1
  elseif state and state ~= to then
    redis.call('HSET', key, 's', to, 't', now)
    redis.call('HINCRBY', counts, batch .. ' ' .. state, -1)
    redis.call('HINCRBY', counts, batch .. ' ' .. to, 1)
    changed = changed + 1
  end
end
return {changed, redeemed}
"""
"""KEYS 1 counts. ARGV 1 batch 2 new state 3 now 4 … voucher ids. Result: {changed, redeemed before}."""
CLAIM = b"""
local voucher, claims, counts = unpack(KEYS)
local now, account, id, separate = unpack(ARGV)
local state, expires, batch = unpack(redis.call('HMGET', voucher, 's', 'e', 'b'))
if not state or state == 'generated' or state == 'blocked' then return {'unknown', {}} end
if state == 'active' then
  if expires ~= '0' and tonumber(now) >= tonumber(expires) then return {'expired', redis.call('HGETALL', voucher)} end
  state = 'claimed'
  redis.call('HSET', voucher, 's', state, 'a', account, 't', now, 'p', separate)
  redis.call('HINCRBY', voucher, 'c', 1)
  redis.call('ZADD', claims, now, id)
  redis.call('HINCRBY', counts, batch .. ' active', -1)
  redis.call('HINCRBY', counts, batch .. ' claimed', 1)
end
return {state, redis.call('HGETALL', voucher)}
"""
"""KEYS 1 voucher 2 open claims 3 counts. ARGV 1 now 2 account id 3 voucher id 4 separate. Result: {a `ClaimAnswer`,
voucher}."""
SETTLE = b"""
local voucher, claims, counts = unpack(KEYS)
local claim, to, now, id, keep = unpack(ARGV)
local state, number, batch = unpack(redis.call('HMGET', voucher, 's', 'c', 'b'))
if state ~= 'claimed' or number ~= claim then return 0 end
redis.call('HSET', voucher, 's', to, 't', now)
redis.call('ZREM', claims, id)
redis.call('HINCRBY', counts, batch .. ' claimed', -1)
redis.call('HINCRBY', counts, batch .. ' ' .. to, 1)
if to == 'spent' then redis.call('EXPIRE', voucher, keep) end
return 1
"""
"""KEYS as CLAIM. ARGV 1 number of the claim 2 new state 3 now 4 voucher id 5 seconds that a spent one is kept. Result
0 = the claim was settled before."""
REPLACE = b"""
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
"""KEYS 1 batches. ARGV 1 batch 2 value now 3 new value. Result 0 = it has another value."""


class Vouchers(LedgerClient):
    """Part of `RedisLedger`."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._voucher_key_known = b""

    async def voucher_key(self, from_file: bytes | None) -> bytes:
        if not self._voucher_key_known:
            self._voucher_key_known = await self._read_voucher_key(from_file)
        return self._voucher_key_known

    async def _read_voucher_key(self, from_file: bytes | None) -> bytes:
        key = self._keys.voucher_key
        own = FROM_FILE + _check(from_file) if from_file is not None else secrets.token_bytes(KEY_OCTETS)
        found: bytes = await self._ask("installation", 0, b"GET", key)
        if not found:
            await self._ask("installation", 0, b"SET", key, own, b"NX", durable=True)
            found = await self._ask("installation", 0, b"GET", key)
        if from_file is not None and found == own:
            return from_file
        if from_file is None and not found.startswith(FROM_FILE):
            return found
        raise LedgerError(
            "voucher_key",
            "the vouchers of this ledger were made with another key: set vouchers.key_file to the file of then"
            if found.startswith(FROM_FILE)
            else "the vouchers of this ledger were made with the ledger's own key: leave vouchers.key_file empty",
        )

    # -- batches

    async def create_batch(self, batch: Batch) -> bool:
        name, value = batch.id.encode(), _packed(batch)
        return bool(await self._ask("voucher", 0, b"HSETNX", self._keys.voucher_batches, name, value, durable=True))

    async def replace_batch(self, old: Batch, new: Batch) -> bool:
        command = (b"EVAL", REPLACE, 1, self._keys.voucher_batches, old.id.encode(), _packed(old), _packed(new))
        return bool(await self._ask("voucher", 0, *command, durable=True))

    async def voucher_batch(self, batch_id: str) -> Batch | None:
        packed = await self._ask("voucher", 0, b"HGET", self._keys.voucher_batches, batch_id.encode())
        return _batch(packed) if packed else None

    async def batches(self) -> list[BatchView]:
        flat = await self._ask("voucher", 0, b"HGETALL", self._keys.voucher_batches)
        found = [_batch(value) for value in flat[1::2]]
        counts: dict[str, dict[VoucherState, int]] = {each.id: {} for each in found}
        questions = (
            self._ask("voucher", partition, b"HGETALL", keys.voucher_counts)
            for partition, keys in enumerate(self._keys.by_partition)
        )
        for counted in await asyncio.gather(*questions):
            for name, number in _pairs(counted):
                batch, _, state = name.decode().rpartition(" ")
                if batch in counts:
                    total = counts[batch]
                    total[VoucherState(state)] = total.get(VoucherState(state), 0) + int(number)
        return [BatchView(each, counts[each.id]) for each in sorted(found, key=lambda each: (each.made_at, each.id))]

    async def delete_batch(self, batch: Batch) -> None:
        assert not batch.complete
        for partition, keys in enumerate(self._keys.by_partition):
            ids = [each.voucher_id for each in await self.voucher_ids(batch.id, partition)]
            for begin in range(0, len(ids), DELETED_TOGETHER):
                doomed = [keys.vouchers + each.encode() for each in ids[begin : begin + DELETED_TOGETHER]]
                await self._ask("voucher", partition, b"UNLINK", *doomed, durable=True)
            names = [f"{batch.id} {state}" for state in VoucherState]
            await self._ask("voucher", partition, b"HDEL", keys.voucher_counts, *names, durable=True)
            await self._ask("voucher", partition, b"UNLINK", keys.batches + batch.id.encode(), durable=True)
        await self._ask("voucher", 0, b"HDEL", self._keys.voucher_batches, batch.id.encode(), durable=True)

    # -- vouchers

    def partition_of_voucher(self, voucher_id: str) -> int:
        return self._keys.partition_of_name(voucher_id)

    async def add_vouchers(self, batch: Batch, vouchers: Sequence[NewVoucher], *, now: int) -> list[NewVoucher]:
        partition = self._partition_of([each.voucher_id for each in vouchers])
        keys = self._keys.by_partition[partition]
        all_keys = (keys.voucher_counts, keys.batches + batch.id.encode())
        terms = (batch.id, batch.value_micro_eur, batch.expires_at, now, REFERENCE_KEEP_S)
        each_one = (word for each in vouchers for word in (each.voucher_id, each.serial))
        command = (b"EVAL", ADD, 2, *all_keys, *terms, *each_one)
        taken = {each.decode() for each in await self._ask("voucher", partition, *command, durable=True)}
        return [each for each in vouchers if each.voucher_id in taken]

    def _partition_of(self, voucher_ids: Sequence[str]) -> int:
        """Of vouchers that must be of one."""
        partition = self.partition_of_voucher(voucher_ids[0])
        assert all(self.partition_of_voucher(each) == partition for each in voucher_ids)
        return partition

    async def voucher(self, voucher_id: str) -> VoucherView | None:
        partition, key = self._voucher_key(voucher_id)
        flat = await self._ask("voucher", partition, b"HGETALL", key)
        return _voucher(voucher_id, flat) if flat else None

    async def voucher_ids(self, batch: str, partition: int) -> list[NewVoucher]:
        key, cursor = self._keys.by_partition[partition].batches + batch.encode(), b"0"
        found: list[NewVoucher] = []
        while True:
            cursor, page = await self._ask("voucher", partition, b"HSCAN", key, cursor, b"COUNT", SCAN_COUNT)
            found += [NewVoucher(voucher_id.decode(), int(serial)) for serial, voucher_id in _pairs(page)]
            if cursor == b"0":
                return found

    async def voucher_of_serial(self, batch: str, serial: int, partition: int) -> VoucherView | None:
        index = self._keys.by_partition[partition].batches + batch.encode()
        voucher_id = await self._ask("voucher", partition, b"HGET", index, serial)
        return await self.voucher(voucher_id.decode()) if voucher_id else None

    async def set_voucher_state(
        self, vouchers: Sequence[str], *, batch: str, state: VoucherState, now: int
    ) -> tuple[int, int]:
        assert state in (VoucherState.ACTIVE, VoucherState.BLOCKED)
        partition = self._partition_of(vouchers)
        command = (b"EVAL", SET_STATE, 1, self._keys.by_partition[partition].voucher_counts, batch, state, now)
        changed, redeemed = await self._ask("voucher", partition, *command, *vouchers, durable=True)
        return int(changed), int(redeemed)

    # -- redeeming

    async def claim_voucher(self, voucher_id: str, account_id: str, *, now: int, separate: bool = False) -> Claim:
        answer, flat = await self._at_voucher(CLAIM, voucher_id, now, account_id, voucher_id, int(separate))
        return Claim(ClaimAnswer(answer.decode()), _voucher(voucher_id, flat) if flat else None)

    async def credit_voucher(
        self,
        account_id: str,
        *,
        reference: str,
        value_micro_eur: int,
        now: int,
        month: int,
        day: int = 0,
        separate: bool = False,
    ) -> bool:
        arguments = {
            "separate": separate,
            "amount": wire.amount("value", value_micro_eur, least=1),
            "channel": Channel.VOUCHER.value,
            "reference": reference,
            "promotional": False,
            "asked_at": self._clock(),
            **_at(account_id, now, month, day),
        }
        for _ in range(MAX_MOVES):
            this_month, *before = self._account_keys(account_id).reference_months(month)
            try:
                return await self._script("top_up", account_id, arguments, this_month, before) == b"ok"
            except MovedError as moved:
                account_id = moved.account_id
            except LedgerError as error:
                found = await self._find_moved(account_id) if error.code == "unknown" else None
                if found is None:
                    raise
                account_id = found
        raise LedgerError("moved", "the account is being moved: try again")

    async def settle_voucher(self, voucher: VoucherView, *, spent: bool, now: int) -> None:
        state = VoucherState.SPENT if spent else VoucherState.ACTIVE
        await self._at_voucher(
            SETTLE, voucher.voucher_id, voucher.claim, state, now, voucher.voucher_id, REFERENCE_KEEP_S
        )

    async def open_claims(self, partition: int, *, before: int, skip: int = 0, count: int) -> list[str]:
        claims = self._keys.by_partition[partition].voucher_claims
        limits = (b"-inf", f"({before}", b"LIMIT", skip, count)
        found = await self._ask("voucher", partition, b"ZRANGEBYSCORE", claims, *limits)
        return [each.decode() for each in found]

    async def _find_moved(self, account_id: str) -> str | None:
        """Id of the account after a move that is forgotten; None = it exists no more."""
        uid = uid_of(account_id)
        for partition, keys in enumerate(self._keys.by_partition):
            found = new_id(partition, uid)
            document = await self._ask("read", partition, b"GET", keys.account + found.encode())
            if document and not views.moved_to(document):
                return found
        return None

    # -- wrong entries

    async def wrong_voucher(self, account_id: str, *, entry: str, now: int, month: int, day: int = 0) -> int:
        return (await self._entry(account_id, "wrong", entry, now, month, day))[1]

    async def may_enter_voucher(self, account_id: str, *, now: int, month: int, day: int = 0) -> None:
        await self._entry(account_id, "ask", "", now, month, day)

    async def lift_voucher_block(self, account_id: str, *, now: int, month: int, day: int = 0) -> bool:
        return (await self._entry(account_id, "lift", "", now, month, day))[0] == b"ok"

    async def _entry(self, account_id: str, what: str, entry: str, now: int, month: int, day: int) -> tuple[bytes, int]:
        arguments = {"what": what, "entry": entry, **_at(account_id, now, month, day)}
        this_month, *before = self._account_keys(account_id).reference_months(month)
        word, wrong = await self._run_script("voucher_entry", account_id, arguments, this_month, before)
        if word.decode() in REFUSALS:
            raise LedgerError(word.decode(), REFUSALS[word.decode()])
        return word, int(wrong)

    # -- keys

    def _voucher_key(self, voucher_id: str) -> tuple[int, bytes]:
        partition = self.partition_of_voucher(voucher_id)
        return partition, self._keys.by_partition[partition].vouchers + voucher_id.encode()

    async def _at_voucher(self, script: bytes, voucher_id: str, *arguments: str | int) -> Any:
        partition, key = self._voucher_key(voucher_id)
        keys = self._keys.by_partition[partition]
        all_keys = (key, keys.voucher_claims, keys.voucher_counts)
        return await self._ask("voucher", partition, b"EVAL", script, 3, *all_keys, *arguments, durable=True)


def _at(account_id: str, now: int, month: int, day: int) -> dict[str, Any]:
    return {"uid": uid_of(account_id), "keep_s": REFERENCE_KEEP_S, **when(now, month, day)}


def _check(key: bytes) -> bytes:
    """Tells the operator's key from others, and does not reveal it."""
    return hmac.new(key, b"ocs voucher key", hashlib.sha256).hexdigest().encode()


def _pairs(flat: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)


def _voucher(voucher_id: str, flat: Sequence[bytes]) -> VoucherView:
    fields = {name.decode(): value.decode() for name, value in _pairs(flat)}
    return VoucherView(
        voucher_id=voucher_id,
        batch=fields["b"],
        serial=int(fields["n"]),
        state=VoucherState(fields["s"]),
        value_micro_eur=int(fields["m"]),
        expires_at=int(fields["e"]),
        changed_at=int(fields["t"]),
        account_id=fields.get("a", ""),
        claim=int(fields.get("c", 0)),
        separate=fields.get("p") == "1",
    )


def _packed(batch: Batch) -> bytes:
    packed: bytes = msgpack.packb(asdict(batch))
    return packed


def _batch(packed: bytes) -> Batch:
    fields = msgpack.unpackb(packed)
    return Batch(**{**fields, "actions": tuple(fields["actions"])})
