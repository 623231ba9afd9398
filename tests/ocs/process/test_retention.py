"""A worker keeps no objects of answered requests, so the garbage collector has nothing to do."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ocs import GC_THRESHOLDS
from ocs.catalogue.catalogue import load_catalogue
from ocs.compose import Environment
from ocs.diameter.dispatch import Pending, Reply
from ocs.diameter.origin_state import MAX_HOSTS, OriginStates
from ocs.process.child_main import Child
from ocs.settings.schema import Settings
from ocs.telemetry.metrics import Metrics
from ocs.values.bounded_cache import BoundedCache
from protocol.credit_control import CreditControlRequest
from tests.ocs.diameter.site import Site, ccr, code_of

ROOT = Path(__file__).parents[3]
REQUESTS = 300


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    there = Site()
    yield there
    await there.close()


def alive(kind: type) -> int:
    gc.collect()
    return sum(1 for each in gc.get_objects() if type(each) is kind)


async def test_answered_requests_are_freed_while_an_earlier_one_waits(site: Site) -> None:
    held: list[tuple[CreditControlRequest, Reply]] = []

    def handler(request: CreditControlRequest, source: object, reply: Reply) -> None:
        if request.cc_request_number == 0:
            held.append((request, reply))
        else:
            reply(request.answer(2001))

    server = await site.server(handler, answer_timeout_ms=60_000)
    client = await site.opened()
    before = alive(Pending), alive(CreditControlRequest)
    client.send(*(ccr(number) for number in range(REQUESTS)))
    for _ in range(REQUESTS - 1):
        assert code_of((await client.read())[1]) == 2001
    assert (alive(Pending), alive(CreditControlRequest)) == (before[0] + 1, before[1] + 1)
    assert server.dispatcher.in_flight == len(server.dispatcher._waiting) == 1
    request, reply = held.pop()
    reply(request.answer(2001))
    assert code_of((await client.read())[1]) == 2001
    del request, reply
    assert (alive(Pending), alive(CreditControlRequest)) == before
    assert not server.dispatcher._waiting


def test_full_caches_are_as_fast_as_empty_ones() -> None:
    def put_s(first: int) -> float:
        started = time.process_time()
        for number in range(first, first + limit):
            kept.put(number, number)
        return time.process_time() - started

    limit = 50_000
    kept: BoundedCache[int, int] = BoundedCache(limit)
    filling = put_s(0)
    assert put_s(limit) < 20 * filling + 0.05
    assert len(kept) == limit and next(iter(kept)) == limit


def test_many_clients_cost_no_more_than_few() -> None:
    states = OriginStates(lambda *restart: None)
    started = time.process_time()
    for number in range(MAX_HOSTS):
        states.seen(f"host{number}.example.org", "relay.example.org", 1)
    filling = time.process_time() - started
    started = time.process_time()
    for number in range(MAX_HOSTS, 2 * MAX_HOSTS):
        states.seen(f"host{number}.example.org", "relay.example.org", 1)
    assert time.process_time() - started < 20 * filling + 0.05


@pytest.mark.parametrize("role", ["worker", "housekeeper"])
def test_objects_loaded_at_start_are_excluded_from_collection(role: str, capsys: pytest.CaptureFixture[str]) -> None:
    thresholds, before = gc.get_threshold(), gc.get_freeze_count()
    catalogue = load_catalogue(ROOT / "config" / "catalogue.toml")
    settings = Settings.model_validate({"diameter": {"accept_unknown_peers": True}})
    try:
        Child(role, settings, catalogue, Environment(), Metrics(), asyncio.Event()).report_ready()
        assert gc.get_freeze_count() > before and gc.isenabled() and gc.get_threshold() == GC_THRESHOLDS
        assert not any(each is catalogue for each in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
    assert json.loads(capsys.readouterr().out) == {"ready": True}
