"""The section [tracing] in a worker. What traces is composed at start: without an endpoint it is not even imported."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

from ocs.charging.service import ChargingService
from ocs.compose import otlp_traces
from ocs.diameter.dispatch import Dispatcher
from ocs.diameter.server import MakeDispatcher
from ocs.ledger.contract.operations import ChargingLedger
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.child_main import Child


@dataclass(frozen=True, slots=True)
class Composition:
    """What a worker is made of."""

    ledger: ChargingLedger
    make_service: Callable[..., ChargingService] = ChargingService
    make_dispatcher: MakeDispatcher = Dispatcher


@asynccontextmanager
async def composed(child: Child, ledger: RedisLedger) -> AsyncIterator[Composition]:
    """The plain classes, or those that trace. The last spans are exported when the body has ended."""
    if not child.settings.tracing.endpoint:
        yield Composition(ledger)
        return
    from ocs.charging.traced_charging import TracedCharging, TracedLedger
    from ocs.diameter.traced_dispatch import TracedDispatcher

    environment = child.environment
    traces = otlp_traces()(
        child.settings.tracing,
        child.metrics,
        key=await ledger.equipment_key(),
        resource=_resource(child),
        clock=environment.monotonic,
        unix_clock=environment.clock,
        random=environment.rng.random,
    )
    try:
        yield Composition(
            TracedLedger(ledger, environment.monotonic),
            partial(TracedCharging, monotonic=environment.monotonic),
            partial(TracedDispatcher, traces=traces),
        )
    finally:
        traces.close()


def _resource(child: Child) -> dict[str, Any]:
    return {
        "service.name": "ocs",
        "service.version": metadata.version("ocs"),
        "service.instance.id": f"{child.settings.diameter.identity} {child.role} {child.number}",
        "process.pid": os.getpid(),
    }
