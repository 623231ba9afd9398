"""The catalogue's versions in the ledger: the versions that were loaded, who reads them, and product terms by time.

A version is loaded for all readers (workers, housekeepers, backoffices and APIs of all nodes) or for none. It is
offered; each reader compiles it and answers; it is accepted in one step, only if every reader that is there has
answered that it can use it, and only to begin ACCEPT_AHEAD_S later. A reader looks every half second. What it knows is
complete for the next ACCEPT_AHEAD_S, so a worker that could not look for READER_STALE_S does not charge until it has
looked again, and a reader that was silent for READER_GONE_S is not waited for.

Keys of partition 0: see keys.py. Redis's clock counts.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgpack
import orjson

from ocs.catalogue.versions import StoredVersion
from ocs.ledger.contract.catalogue import ACCEPT_AHEAD_S, READER_GONE_S, Accepted, CatalogueFiles, Offer
from ocs.ledger.layout import LAYOUT
from ocs.ledger.redis import wire
from ocs.ledger.redis.client import LedgerClient
from ocs.values.products import PackageTerms

PARTITIONS_AT_A_TIME = 64
"""Partitions that are written at once: charging goes on beside it."""
OFFER_S = 10
"""An offer whose loader does not ask for the answers any more lapses."""
MAX_ANSWER = 500
"""Characters of a reader's reason."""
OK = "ok"
_REVISION = b"revision"
_VERSION, _BEGINS = "v:", "b:"
"""Before the name of a version: fields of its body, and of the second at which it begins."""

_REPLACE = b"""
redis.call('DEL', KEYS[1])
if #ARGV > 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
"""
_LOOK = b"""
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[2])
return {redis.call('HGET', KEYS[1], 'revision') or '', redis.call('HGET', KEYS[3], 'id') or ''}
"""
_OFFER = b"""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'body', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('DEL', KEYS[2])
return 1
"""
_ANSWER = b"""
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
_ACCEPT = b"""
local now = tonumber(redis.call('TIME')[1])
local id, begins, ahead, gone, name, body = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
if redis.call('HGET', KEYS[2], 'id') ~= id then return {'lapsed'} end
if begins == 0 then begins = now + ahead elseif begins < now + ahead then return {'late'} end
local missing = {'readers'}
for _, reader in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. now - gone, '+inf')) do
  local said = redis.call('HGET', KEYS[3], reader) or ''
  if said ~= id .. ' ok' then
    local mine = string.sub(said, 1, #id + 1) == id .. ' '
    missing[#missing + 1], missing[#missing + 2] = reader, mine and string.sub(said, #id + 2) or ''
  end
end
if #missing > 1 then
  redis.call('EXPIRE', KEYS[2], ARGV[7])
  redis.call('EXPIRE', KEYS[3], ARGV[7])
  return missing
end
begins = string.format('%.0f', begins)
redis.call('HSET', KEYS[1], 'v:' .. name, body, 'b:' .. name, begins, 'revision', id)
for n = 8, #ARGV, 3 do
  if ARGV[n + 1] == '' then
    redis.call('HDEL', KEYS[1], 'v:' .. ARGV[n], 'b:' .. ARGV[n])
  else
    redis.call('HSET', KEYS[1], 'v:' .. ARGV[n], ARGV[n + 1], 'b:' .. ARGV[n], ARGV[n + 2])
  end
end
redis.call('DEL', KEYS[2], KEYS[3])
return {'ok', begins, #redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. now - gone, '+inf')}
"""
_WITHDRAW = b"""
if redis.call('HGET', KEYS[1], 'id') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end
"""


class CatalogueStore(LedgerClient):
    """Part of `RedisLedger`; implements `CatalogueLedger`."""

    # -- product terms

    async def set_terms(self, products: Mapping[str, Sequence[tuple[int, PackageTerms]]]) -> None:
        words: list[bytes | str | int] = []
        for id_, versions in products.items():
            rows = [LAYOUT.new("dated_terms", since=since, terms=wire.package(terms)) for since, terms in versions]
            words += [id_, wire.pack(rows)]
        partitions = range(self._keys.partitions)
        for start in range(0, len(partitions), PARTITIONS_AT_A_TIME):
            some = partitions[start : start + PARTITIONS_AT_A_TIME]
            await asyncio.gather(*(self._set_terms(partition, words) for partition in some))

    async def _set_terms(self, partition: int, words: Sequence[bytes | str | int]) -> None:
        key = self._keys.by_partition[partition].terms
        await self._ask("terms", partition, b"EVAL", _REPLACE, 1, key, *words, durable=True)

    # -- readers

    async def look_at_catalogue(self, reader: str) -> tuple[str, str]:
        keys = self._keys.catalogue, self._keys.catalogue_readers, self._keys.catalogue_offer
        revision, offer = await self._on_catalogue(_LOOK, keys, reader, READER_GONE_S)
        return revision.decode(), offer.decode()

    async def leave_catalogue(self, reader: str) -> None:
        await self._ask("catalogue", 0, b"ZREM", self._keys.catalogue_readers, reader)

    async def exchange_catalogue_files(self, files: CatalogueFiles) -> CatalogueFiles | None:
        said = orjson.dumps(asdict(files))
        before = await self._ask("catalogue", 0, b"SET", self._keys.catalogue_files, said, b"GET", durable=True)
        try:
            known = orjson.loads(before) if before else None
            return None if known is None else CatalogueFiles(**{**known, "versions": tuple(known["versions"])})
        except (ValueError, TypeError, KeyError):  # another release has written it
            return None

    async def catalogue_versions(self) -> tuple[str, list[StoredVersion]]:
        flat = await self._ask("catalogue", 0, b"HGETALL", self._keys.catalogue)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        revision = fields.pop(_REVISION, b"").decode()
        found = []
        for field, body in fields.items():
            name = field.decode()
            if name.startswith(_VERSION):
                name = name.removeprefix(_VERSION)
                found.append(_unpacked(name, body, int(fields[(_BEGINS + name).encode()])))
        return revision, sorted(found, key=lambda each: each.begins_at)

    async def catalogue_offer(self) -> Offer | None:
        found = await self._ask("catalogue", 0, b"HMGET", self._keys.catalogue_offer, b"id", b"body")
        if not found[0]:
            return None
        name, begins_at, body = msgpack.unpackb(found[1])
        return Offer(found[0].decode(), _unpacked(name, body, begins_at))

    async def answer_offer(self, offer_id: str, reader: str, answer: str) -> None:
        said = f"{offer_id} {answer[:MAX_ANSWER]}"
        await self._on_catalogue(_ANSWER, (self._keys.catalogue_answers,), reader, said, OFFER_S)

    # -- loaders

    async def offer_catalogue(self, offer: Offer) -> bool:
        version = offer.version
        body = msgpack.packb((version.name, version.begins_at, _packed(version)))
        keys = self._keys.catalogue_offer, self._keys.catalogue_answers
        return bool(await self._on_catalogue(_OFFER, keys, offer.id, body, OFFER_S))

    async def accept_offer(
        self, offer: Offer, *, beside: Sequence[StoredVersion] = (), dropped: Sequence[str] = ()
    ) -> Accepted:
        keys = self._keys
        version = offer.version
        more: list[bytes | str | int] = []
        for each in beside:
            more += [each.name, _packed(each), each.begins_at]
        for name in dropped:
            more += [name, b"", b""]
        word, *rest = await self._on_catalogue(
            _ACCEPT,
            (keys.catalogue, keys.catalogue_offer, keys.catalogue_answers, keys.catalogue_readers),
            *(offer.id, version.begins_at, ACCEPT_AHEAD_S, READER_GONE_S, version.name, _packed(version), OFFER_S),
            *more,
        )
        if word == b"ok":
            return Accepted("ok", begins_at=int(rest[0]), readers=int(rest[1]))
        names = [each.decode() for each in rest]
        return Accepted(word.decode(), missing=dict(zip(names[::2], names[1::2], strict=True)))

    async def withdraw_offer(self, offer_id: str) -> None:
        await self._on_catalogue(_WITHDRAW, (self._keys.catalogue_offer, self._keys.catalogue_answers), offer_id)

    async def _on_catalogue(self, script: bytes, keys: Sequence[bytes], *words: bytes | str | int) -> Any:
        durable = script is _ACCEPT
        return await self._ask("catalogue", 0, b"EVAL", script, len(keys), *keys, *words, durable=durable)


def _packed(version: StoredVersion) -> bytes:
    text = zlib.compress(version.text.encode())
    packed: bytes = msgpack.packb((text, version.loaded_at, version.loaded_by, version.digest))
    return packed


def _unpacked(name: str, body: bytes, begins_at: int) -> StoredVersion:
    text, loaded_at, loaded_by, digest = msgpack.unpackb(body)
    return StoredVersion(name, zlib.decompress(text).decode(), begins_at, loaded_at, loaded_by, digest)
