"""Shared by the ledger's tests: a ledger on an empty Redis, prices, packages, and short ways to write requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis

from ocs.catalogue.price import compile_price
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceCharge
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.events import OutboxEvent
from ocs.ledger.redis.journal import FIELDS, REFUND_FIELDS, SERVICE_FIELDS
from ocs.ledger.redis.ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.values.products import BucketTerms, PackageTerms
from ocs.values.requests import RequestType
from ocs.values.use import Unit

NOW, MONTH = 1_795_000_000, 202611
WHEN = {"now": NOW, "month": MONTH}
MB = 1024 * 1024
DATA = compile_price("data", unit=Unit.OCTETS, micro_eur=6_900, quantity=MB, first=1024, next_=1024)
VOICE = compile_price("voice", unit=Unit.SECONDS, micro_eur=60_000, quantity=60, first=60, next_=1)
SMS = compile_price("sms", unit=Unit.MESSAGES, micro_eur=70_000, quantity=1)
PACKAGE = PackageTerms("SMALL", 3_000_000, 5_000, (BucketTerms("SMALL.data", "octets", 20 * MB),))
MSISDN, IMSI = "38668100000", "293400000000000"
EUR = 1_000_000


@asynccontextmanager
async def empty_ledger(url: str, **settings: Any) -> AsyncIterator[RedisLedger]:
    kept = {"partitions": 4, "connections": 2, "max_clock_skew_s": 0, **settings}
    flush(url)
    ledger = await RedisLedger.connect(url, LedgerSettings(**kept))
    try:
        yield ledger
    finally:
        await ledger.close()


def flush(url: str) -> None:
    """Empties a Redis, or every master of a cluster."""
    with redis.Redis.from_url(url) as client:
        try:
            ports = [int(master[1]) for _, _, master, *_ in client.execute_command("CLUSTER SLOTS")]
        except redis.ResponseError:
            client.flushall()
            return
    for port in set(ports):
        with redis.Redis(port=port) as client:
            client.flushall()


def nodes(ledger: RedisLedger) -> list[redis.Redis]:
    """A plain client of each node, to inspect the keys."""
    addresses = [address for address in ledger._nodes.addresses() if not isinstance(address, str)]
    return [redis.Redis(host=host, port=port) for host, port in addresses]


def keys_of(ledger: RedisLedger) -> dict[bytes, int]:
    """Every key with its time to live (-1 = none)."""
    found: dict[bytes, int] = {}
    for client in nodes(ledger):
        with client:
            found.update((key, int(client.ttl(key))) for key in client.scan_iter(count=1000))
    return found


async def open_account(ledger: RedisLedger, number: int = 0, credit: int = 20 * EUR, **more: Any) -> str:
    rest = {"package": None, "entropy": number + 1, **WHEN, **more}
    return await ledger.open_account(
        msisdn=str(int(MSISDN) + number), imsi=str(int(IMSI) + number), credit_micro_eur=credit, **rest
    )


def service(used: int = 0, want: int | None = None, *, key: str = "1", price: Any = DATA, **more: Any) -> ServiceCharge:
    rest: dict[str, Any] = {"buckets": (), "minimum": 1, "detail": "29340 mo internet", **more}
    return ServiceCharge(key=key, label=price.id, price=price, used=used, want=want, **rest)


def request(
    account_id: str, kind: str, number: int, *services: ServiceCharge, sid: str = "pgw.example.net;1", **more: Any
) -> ChargeRequest:
    rest: dict[str, Any] = {"identity": "", "deadline": NOW + 7200, **WHEN, **more}
    return ChargeRequest(
        account_id=account_id,
        session_id=sid,
        origin_host="pgw.example.net",
        context="data",
        type=RequestType(kind),
        number=number,
        services=services,
        **rest,
    )


async def attempt(ledger: RedisLedger, asked: ChargeRequest) -> ChargeOutcome | LedgerUnavailable:
    future: asyncio.Future[ChargeOutcome | LedgerUnavailable] = asyncio.get_running_loop().create_future()
    ledger.charge(asked, future.set_result)
    return await future


async def charge(ledger: RedisLedger, asked: ChargeRequest) -> ChargeOutcome:
    outcome = await attempt(ledger, asked)
    assert isinstance(outcome, ChargeOutcome), outcome
    return outcome


async def outbox_read(ledger: RedisLedger, partition: int, *, after: int, count: int) -> list[OutboxEvent]:
    """Events of a partition with sequence > `after`, with the fields that `ocs.ledger.redis.journal` describes."""
    (entries,) = await ledger.outbox_entries([(partition, after + 1)], count=count)
    events = [ledger.outbox_event(partition, entry) for entry in entries]
    for event in events:
        body: dict[str, Any] = event.body
        assert set(body) <= {"k", "t", "a", "by", *FIELDS[body["k"]]}, body
        parts = REFUND_FIELDS if body["k"] == "refund" else SERVICE_FIELDS
        assert all(set(part) <= set(parts) for part in body.get("svc", ())), body
    return events


async def journal(ledger: RedisLedger) -> list[dict[str, Any]]:
    """All events still in the outbox, by partition."""
    found: list[dict[str, Any]] = []
    for partition in range(ledger.partitions):
        found += [event.body for event in await outbox_read(ledger, partition, after=0, count=10_000)]
    return found
