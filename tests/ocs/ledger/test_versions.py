"""Versions of the ledger's layout: old documents are read, newer ones refused or accepted as they say, and a rolling
restart works.

The next layout is invented here: fields added to several records, one renamed. `documents` has one document per
version; `python -m tests.ocs.ledger.test_versions REDIS_URL` writes today's. Its files are never changed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from ocs.ledger import scripts
from ocs.ledger.audit import audit
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.payments import OrderKind, PaymentOrder, new_order_id
from ocs.ledger.layout import LAYOUT
from ocs.ledger.records import Field, Layout
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.scripts import ScriptError
from ocs.ledger.settings import LedgerSettings
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.money import MICRO
from ocs.values.products import AtLimit, BucketTerms, CounterTerms, Measure, PackageTerms, Window
from tests.conftest import RedisServer
from tests.ocs.ledger.books import MB, PACKAGE, WHEN, charge, empty_ledger, flush, nodes, open_account, request, service

DOCUMENTS = Path(__file__).parent / "documents"
SHARED = PackageTerms(
    "FAMILY",
    1_000_000,
    5_000,
    (BucketTerms("FAMILY.data", "octets", 90 * MB, thresholds=(80, 100)),),
    "family",
    shared=True,
    counters=(CounterTerms("abroad", Window.PERIOD, Measure.BUCKET_UNITS, MB, (80,), at_limit=AtLimit.PRICE),),
    commitment_days=300,
    benefits=(("fee", 90_000),),
)
BUCKETS = ("SMALL.data", "FAMILY.data")


def next_layout(*, readable_from: int = LAYOUT.version) -> Layout:
    """One more field for accounts, sessions, legs and buckets; the session's "cost" is renamed."""
    version = LAYOUT.version + 1
    records = dict(LAYOUT.records)
    for record, added in {"account": 7, "session": "new", "leg": (), "bucket": 0, "pool": 9}.items():
        records[record] = (*records[record], Field(f"{record}_more", added, since=version))
    records["session"] = tuple(
        dataclasses.replace(field, name="cost_so_far") if field.name == "cost" else field
        for field in records["session"]
    )
    return Layout(version, readable_from, records)


@pytest.fixture(autouse=True)
def scripts_that_know_the_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next version's scripts, which say `session.cost_so_far`."""
    real = scripts._source

    def source(part: str) -> str:
        return real(part)

    def join(part: str, layout: Layout, old: Any = scripts.join) -> str:
        if layout.version == LAYOUT.version:
            return str(old(part, layout))
        monkeypatch.setattr(scripts, "_source", lambda name: real(name).replace("session.cost", "session.cost_so_far"))
        try:
            return str(old(part, layout))
        finally:
            monkeypatch.setattr(scripts, "_source", source)

    monkeypatch.setattr(scripts, "join", join)


@asynccontextmanager
async def both(url: str, newer: Layout) -> AsyncIterator[tuple[RedisLedger, RedisLedger]]:
    """Ledgers of this version and of the next one, on one Redis."""
    settings = LedgerSettings(partitions=4, connections=1, max_clock_skew_s=0)
    async with empty_ledger(url) as old:
        new = await RedisLedger.connect(url, settings, layout=newer)
        try:
            yield old, new
        finally:
            await new.close()


def stored(ledger: RedisLedger, account_id: str) -> list[Any]:
    key = ledger._account_keys(account_id).account + account_id.encode()
    for client in nodes(ledger):
        with client:
            document = client.get(key)
    assert isinstance(document, bytes)
    row: list[Any] = msgpack.unpackb(document, strict_map_key=False, unicode_errors="surrogateescape")
    return row


async def a_session(
    ledger: RedisLedger, account_id: str, sid: str, *, number: int = 0, buckets: tuple[str, ...] = BUCKETS
) -> None:
    asked = service(used=0, want=2 * MB, buckets=buckets)
    outcome = await charge(ledger, request(account_id, "I", number, asked, sid=sid))
    assert (outcome.code, outcome.services[0].granted) == (2001, 2 * MB)


# -- documents of every version


async def full_ledger(ledger: RedisLedger) -> str:
    """An account with an entry in every part of its document, in a pool with another account."""
    account_id = await open_account(ledger, package=PACKAGE)
    await ledger.open_pool(account_id, "family", now=WHEN["now"])
    await ledger.join_pool(account_id, "family", **WHEN)
    await ledger.subscribe(account_id, product=SHARED, reference="s", **WHEN)
    await ledger.limit_pool(account_id, bucket="FAMILY.data", units=9 * MB, common=True, **WHEN)
    await ledger.remind(account_id, at=WHEN["now"] + 60, kind="confirm", ref="x", **WHEN)
    other = await open_account(ledger, number=1)
    await ledger.join_group(account_id, group_id="g", role="administrator", **WHEN)
    await ledger.join_group(other, group_id="g", role="member", **WHEN)
    await ledger.set_puk(account_id, salt="00", digest="11", **WHEN)
    await ledger.set_separate(account_id, is_open=True, **WHEN)
    terms: dict[str, Any] = {"to": other, "amount_micro_eur": 10_000, "group_id": "g", "reference": "t"}
    await ledger.begin_transfer(account_id, **terms, **WHEN)
    mute = AccountMeasure(MeasureKind.MUTE, "limit:80", "by care", WHEN["now"], 0)
    await ledger.set_measure(account_id, measure=mute, **WHEN)
    await ledger.set_customer(account_id, name="language", value="sl", **WHEN)
    await ledger.set_limit(account_id, limit_micro_eur=50_000_000, counter="limit", once=True, **WHEN)
    await ledger.set_auto_top_up(account_id, below_micro_eur=150_000_000, **WHEN)
    order = PaymentOrder(new_order_id(account_id, 1), account_id, OrderKind.AUTOMATIC, MICRO)
    await ledger.order_top_up(account_id, order=order, later_s=60, **WHEN)
    for n in range(3):
        await a_session(ledger, account_id, f"pgw.example.net;{n}", buckets=BUCKETS[1:] if n == 0 else BUCKETS)
    await charge(ledger, request(account_id, "U", 1, service(used=MB, want=MB), sid="pgw.example.net;1"))
    await ledger.release_session(account_id, "pgw.example.net;2", reason="lost", **WHEN)
    return account_id


def kept() -> list[int]:
    return sorted(int(path.stem[1:]) for path in DOCUMENTS.glob("v*.msgpack"))


def fields_written(record: str, row: list[Any], found: dict[str, int]) -> None:
    """Notes the length of the shortest row of each kind of record."""
    found[record] = min(len(row), found.get(record, len(row)))
    for declared, value in zip(LAYOUT.records[record], row, strict=False):
        if not declared.record or not value:
            continue
        if declared.packed or declared.packed_one:
            octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
            value = msgpack.unpackb(octets, strict_map_key=False, unicode_errors="surrogateescape")
        if declared.each:
            value = list(value.values())
        for inner in [value] if declared.one or declared.packed_one else value:
            fields_written(declared.record, inner, found)


def records_below(record: str) -> set[str]:
    below = {each.record for each in LAYOUT.records[record] if each.record}
    return {record}.union(*(records_below(each) for each in below))


def test_the_current_layout_has_its_document() -> None:
    """With a row of every record, and all fields: it was written after the last one was added."""
    assert kept()[-1] == LAYOUT.version, "write it once: python -m tests.ocs.ledger.test_versions"
    saved = msgpack.unpackb((DOCUMENTS / f"v{LAYOUT.version}.msgpack").read_bytes())
    found: dict[str, int] = {}
    for kind in ("account", "pool"):
        row = msgpack.unpackb(saved[kind], strict_map_key=False, unicode_errors="surrogateescape")
        fields_written(kind, row, found)
    expected = {each: len(LAYOUT.records[each]) for each in records_below("account") | records_below("pool")}
    assert found == expected, "write it again: python -m tests.ocs.ledger.test_versions"


@pytest.mark.parametrize("version", kept())
async def test_documents_of_every_version_are_charged(redis_url: str, version: int) -> None:
    saved = msgpack.unpackb((DOCUMENTS / f"v{version}.msgpack").read_bytes())
    async with empty_ledger(redis_url) as ledger:
        account_id = saved["account_id"]
        keys, partition = ledger._account_keys(account_id), ledger._keys.partition_of_account(account_id)
        await ledger._ask("test", partition, b"SET", keys.account + account_id.encode(), saved["account"])
        await ledger._ask("test", partition, b"SET", keys.pool + b"family", saved["pool"])
        view = await ledger.read(account_id, **WHEN)
        assert view is not None and len(view.sessions) == 3 and view.pool == "family" and len(view.subscriptions) == 2
        spent = view.spent_micro_eur
        ended = await charge(ledger, request(account_id, "T", 2, service(used=MB), sid="pgw.example.net;1"))
        assert ended.code == 2001
        view = await ledger.read(account_id, **WHEN)
        assert view is not None and view.version == LAYOUT.version and view.spent_micro_eur >= spent
        assert (await audit(ledger, **WHEN)).ok


# -- the next version


async def test_an_older_document_is_upgraded_and_a_field_may_be_renamed(redis_7: RedisServer) -> None:
    newer = next_layout()
    async with both(redis_7.url, newer) as (old, new):
        account_id = await open_account(old)
        await a_session(old, account_id, "pgw.example.net;1")
        assert stored(old, account_id)[0] == LAYOUT.version
        await charge(new, request(account_id, "U", 1, service(used=MB, want=MB)))
        row = stored(old, account_id)
        named = newer.read("account", row)
        assert (named["version"], named["account_more"]) == (newer.version, 7)
        session = named["sessions"]["pgw.example.net;1"]
        assert (session["session_more"], session["cost_so_far"]) == ("new", 6_900)


async def test_workers_of_neighbouring_versions_serve_one_ledger(redis_7: RedisServer) -> None:
    """A rolling restart: both versions serve one session in turn, and the older one keeps the newer one's fields."""
    newer = next_layout()
    async with both(redis_7.url, newer) as (old, new):
        account_id = await open_account(new)
        await a_session(new, account_id, "pgw.example.net;1")
        at = newer.index("account", "account_more")
        row = stored(old, account_id)
        row[at] = 12_345
        key = old._account_keys(account_id).account + account_id.encode()
        for client in nodes(old):
            with client:
                client.set(key, msgpack.packb(row, unicode_errors="surrogateescape"))
        for number in range(1, 9):
            worker = old if number % 2 else new
            done = await charge(worker, request(account_id, "U", number, service(used=MB, want=2 * MB)))
            assert (done.code, done.services[0].debited_micro_eur, done.session_cost_micro_eur) == (
                2001,
                6_900,
                6_900 * number,
            )
            row = stored(old, account_id)
            assert (row[0], row[at]) == (worker.layout.version, 12_345)
        await a_session(old, account_id, "pgw.example.net;2")  # a session without the new field …
        done = await charge(new, request(account_id, "T", 1, service(used=MB), sid="pgw.example.net;2"))
        assert done.code == 2001
        assert (await audit(old, **WHEN)).ok


async def test_a_document_too_new_to_read_is_refused_with_a_code(redis_7: RedisServer) -> None:
    newer = next_layout(readable_from=LAYOUT.version + 1)
    async with both(redis_7.url, newer) as (old, new):
        account_id = await open_account(new)
        told = await charge(old, request(account_id, "I", 0, service(want=MB)))
        assert (told.code, told.reason) == (0, "version")
        for work in (old.read(account_id, **WHEN), old.set_bars(account_id, bars=["data"], **WHEN)):
            with pytest.raises(LedgerError) as error:
                await work
            assert error.value.code == "version"
        # An older process does not start on such a ledger either.
        with pytest.raises(LedgerError, match="upgrade it") as error:
            await RedisLedger.connect(redis_7.url, LedgerSettings(partitions=4))
        assert error.value.code == "installation"


async def test_accounts_are_upgraded_while_charging_goes_on(redis_7: RedisServer) -> None:
    newer = next_layout()
    async with both(redis_7.url, newer) as (old, new):
        ids = [await open_account(old, n) for n in range(20)]
        first = await full_pool(old, ids)
        done = 0

        async def traffic() -> None:
            nonlocal done
            for number in range(40):
                account_id = ids[number % len(ids)]
                await a_session(new if number % 2 else old, account_id, f"pgw.example.net;{number}")
                done += 1

        busy = asyncio.create_task(traffic())
        upgraded = sum([await new.upgrade_account(account_id, **WHEN) for account_id in ids])
        await busy
        assert done == 40 and 0 < upgraded <= 20
        for account_id in ids:
            await new.upgrade_account(account_id, **WHEN)
            assert stored(old, account_id)[0] == newer.version
            assert not await new.upgrade_account(account_id, **WHEN)
        view = await new.read_pool(first, "family")
        assert view is not None
        assert (await audit(old, **WHEN)).ok


async def full_pool(ledger: RedisLedger, ids: list[str]) -> str:
    await ledger.open_pool(ids[0], "family", now=WHEN["now"])
    await ledger.join_pool(ids[0], "family", **WHEN)
    return ids[0]


# -- the installation


async def test_the_first_layout_is_refused(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url) as ledger:
        for client in nodes(ledger):
            with client:
                client.flushall()
                client.hset("{p00}:subscribers", "m38668100000", "00-de1ebe9e203dfefd")
        with pytest.raises(LedgerError, match="first layout") as error:
            await RedisLedger.connect(redis_7.url, LedgerSettings(partitions=4))
        assert error.value.code == "installation"
    flush(redis_7.url)


async def test_the_number_of_partitions_is_fixed_at_installation(redis_7: RedisServer) -> None:
    async with empty_ledger(redis_7.url):
        with pytest.raises(LedgerError, match=r"the ledger has 4 partitions, and ledger.partitions = 64"):
            await RedisLedger.connect(redis_7.url, LedgerSettings(partitions=64))


# -- the scripts and the layout


def test_an_unknown_field_in_a_script_is_an_error_when_scripts_are_assembled() -> None:
    records = {**LAYOUT.records, "tally": tuple(f for f in LAYOUT.records["tally"] if f.name != "overrun")}
    with pytest.raises(ScriptError, match=r"tallies.lua:\d+: tally has no field 'overrun'; it has key, label"):
        scripts.load(Layout(LAYOUT.version, LAYOUT.readable_from, records))


def test_no_lua_function_is_longer_than_sixty_lines() -> None:
    for path in Path(scripts.__file__).parent.glob("*.lua"):
        begun = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.startswith(("local function ", "function ")):
                begun = number
            elif line == "end" and begun is not None:
                assert number - begun < 60, f"{path.name}:{begun}"
                begun = None


def test_the_scripts_return_outcomes_in_field_order() -> None:
    from ocs.ledger.contract.charging import ChargeOutcome, ServiceOutcome

    for record, kind in (("service_outcome", ServiceOutcome), ("outcome", ChargeOutcome)):
        assert [field.name for field in LAYOUT.records[record]] == [field.name for field in dataclasses.fields(kind)]


async def _write() -> None:
    """Writes the document of the current layout."""
    async with empty_ledger(sys.argv[1]) as ledger:
        account_id = await full_ledger(ledger)
        keys, partition = ledger._account_keys(account_id), ledger._keys.partition_of_account(account_id)
        saved = {
            "account_id": account_id,
            "account": await ledger._ask("test", partition, b"GET", keys.account + account_id.encode()),
            "pool": await ledger._ask("test", partition, b"GET", keys.pool + b"family"),
        }
        (DOCUMENTS / f"v{LAYOUT.version}.msgpack").write_bytes(msgpack.packb(saved))


if __name__ == "__main__":
    asyncio.run(_write())
