"""A worker whose ledger grants every request at once from memory: the limit of the protocol side.

Diameter, charging and rating are the product's; only Redis is missing. `python -m benchmarks.granting_server --config
FILE` prints its address on the first line.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
from pathlib import Path

import uvloop

from ocs.charging.service import ChargingService
from ocs.compose import Environment, diameter_config, load
from ocs.diameter.server import DiameterServer
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, ServiceOutcome
from ocs.ledger.contract.operations import ChargeDone
from ocs.process.child_main import tune_garbage_collector
from ocs.process.worker import Background
from ocs.telemetry.metrics import Metrics

SUCCESS = 2001
CREDIT_MICRO_EUR = 20_000_000
_ACCOUNT = "00-0000000000000000"


class GrantingLedger:
    """A ChargingLedger without accounts: everybody has credit, nothing is remembered."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        services = tuple(
            [ServiceOutcome(each.key, SUCCESS, each.want or 0, False, "", 0, each.used, 0) for each in request.services]
        )
        # The contract forbids calling back from within `charge`.
        self._loop.call_soon(done, ChargeOutcome(SUCCESS, False, services, CREDIT_MICRO_EUR, 0))

    async def find_subscriber(self, identity: str) -> str | None:
        return _ACCOUNT

    async def find_session(self, session_id: str, owner: str) -> str | None:
        return _ACCOUNT


async def serve(config: Path) -> None:
    settings, catalogue = load(config, serves=True)
    loop, world, metrics = asyncio.get_running_loop(), Environment(), Metrics()
    background = Background()
    service = ChargingService(catalogue, GrantingLedger(loop), metrics, world.clock, background.spawn)
    server = DiameterServer(diameter_config(settings), service.handle, metrics, world.monotonic, world.rng)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await server.start()
    tune_garbage_collector()
    print(f"granting from memory on {', '.join(f'{host}:{port}' for host, port in server.listening)}", flush=True)
    await stopping.wait()
    await server.stop(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.granting_server")
    parser.add_argument("--config", type=Path, required=True)
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(serve(parser.parse_args().config))


if __name__ == "__main__":
    main()
