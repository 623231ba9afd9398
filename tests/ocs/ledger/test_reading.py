"""Documents of the present layout are read row by row (scripts/reading.py): what comes out is what was packed."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
import redis

from ocs.ledger import scripts
from ocs.ledger.layout import LAYOUT
from ocs.ledger.scripts.reading import reader
from tests.conftest import RedisServer
from tests.ocs.ledger.test_versions import DOCUMENTS

READ = "\n".join(
    [*reader(LAYOUT), "local row = read_rows(ARGV[1], ARGV[2]) return row and cmsgpack.pack(row) or 'none'"]
)
AT = {kind: {each.name: n for n, each in enumerate(LAYOUT.records[kind])} for kind in ("account", "pool")}


def kept(kind: str, version: int = LAYOUT.version) -> list[Any]:
    saved = msgpack.unpackb((DOCUMENTS / f"v{version}.msgpack").read_bytes())
    return unpacked(saved[kind])


def unpacked(octets: bytes) -> list[Any]:
    row: list[Any] = msgpack.unpackb(octets, strict_map_key=False, unicode_errors="surrogateescape")
    return row


def packed(row: list[Any]) -> bytes:
    octets: bytes = msgpack.packb(row, use_bin_type=False, unicode_errors="surrogateescape")
    return octets


def read(url: str, kind: str, octets: bytes) -> list[Any] | None:
    """What the script reads; None: it leaves the document to `cmsgpack.unpack`."""
    with redis.Redis.from_url(url) as client:
        answer = client.eval(READ, 0, kind, octets)
    return None if answer == b"none" else unpacked(answer)


@pytest.mark.parametrize("kind", ["account", "pool"])
def test_a_document_with_everything_is_read_as_it_is(redis_7: RedisServer, kind: str) -> None:
    row = kept(kind)
    assert read(redis_7.url, kind, packed(row)) == row


@pytest.mark.parametrize("count", [0, 1, 15, 16, 300])
def test_lists_and_maps_of_any_length(redis_7: RedisServer, count: int) -> None:
    row, at = kept("account"), AT["account"]
    assert row[at["buckets"]] and row[at["counters"]]
    row[at["buckets"]] = [[n, *row[at["buckets"]][0][1:]] for n in range(count)]
    row[at["counters"]] = [[f"c{n}", *row[at["counters"]][0][1:]] for n in range(count)]
    session = next(iter(row[at["sessions"]].values()))
    row[at["sessions"]] = {f"pgw.example.net;{n}" + "x" * n: session for n in range(count)} or []
    assert read(redis_7.url, "account", packed(row)) == row
    pool, at = kept("pool"), AT["pool"]
    pool[at["buckets"]] = [[n, *pool[at["buckets"]][0][1:]] for n in range(count)]
    assert read(redis_7.url, "pool", packed(pool)) == pool


@pytest.mark.parametrize("kind", ["account", "pool"])
def test_other_versions_and_other_lengths_are_left_to_unpack(redis_7: RedisServer, kind: str) -> None:
    for version in (2, 3):
        assert read(redis_7.url, kind, packed(kept(kind, version))) is None
    row = kept(kind)
    assert read(redis_7.url, kind, packed([*row, "a field of the next version"])) is None
    assert read(redis_7.url, kind, packed(row[:-1])) is None


@pytest.mark.parametrize("kind", ["account", "pool"])
def test_what_is_cut_off_is_never_read(redis_7: RedisServer, kind: str) -> None:
    octets = packed(kept(kind))
    for length in range(0, len(octets) - 1, 7):
        try:
            assert read(redis_7.url, kind, octets[:length]) is None
        except redis.ResponseError:
            continue


def test_there_is_room_for_more_local_variables(redis_7: RedisServer) -> None:
    """Lua allows 200 in a function. Two changes that each need a few must not break each other."""
    spare = f"local {', '.join(f'spare{n}' for n in range(8))}"
    with redis.Redis.from_url(redis_7.url) as client:
        for script in scripts.load():
            client.script_load("\n".join([spare, *script.shared, script.body]))
