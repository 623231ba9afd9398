"""Accounts that have a lot: a tariff whose units are in a pool, two packs, four counters.

They show what the policy costs on the hot path: `--rich` compares them with plain accounts of another checkout.
"""

from __future__ import annotations

from pathlib import Path

import tomlkit

from benchmarks.systems import LOAD_ACCOUNTS, System
from ocs.accounts.inputs import msisdn, reference
from ocs.cli.common import Backend, with_backend
from ocs.ledger.redis.installation import OpenMode
from simulator.subscribers import default_subscribers

TARIFF = "MAXI"
PACKS = ("5G", "EXTRA-DATA-5-GB")
RATE = "data.home"
"""The rate of the load."""
COUNTERS = {
    "bench-day": {"window": "day", "measure": "units"},
    "bench-month": {"window": "month", "measure": "money"},
    "bench-volume": {"window": "month", "measure": "bucket-units", "limit": "1000 GB", "thresholds": [80, 100]},
}
"""Beside the monthly limit, the rate of the load moves these."""
TOP_UP_MICRO_EUR = 50_000_000


def rich_catalogue(shipped: Path, path: Path) -> Path:
    """Writes the shipped catalogue with COUNTERS; returns `path`."""
    document = tomlkit.parse(shipped.read_text("utf-8"))
    for name, counter in COUNTERS.items():
        document["counter"].add(name, counter)
    rate = document["rate"][RATE]
    rate["counters"] = [*rate.get("counters", []), *COUNTERS]
    path.write_text(tomlkit.dumps(document), "utf-8")
    return path


def enrich(system: System) -> None:
    """Gives the accounts of the load a pool with their tariff's units, and the packs."""
    assert system.config is not None
    with_backend(system.config, OpenMode.WRITE, _enrich)


async def _enrich(backend: Backend) -> None:
    products = backend.catalogue.products
    for subscriber in default_subscribers(LOAD_ACCOUNTS):
        number = msisdn(subscriber.msisdn)
        await backend.accounts.top_up(number, amount_micro_eur=TOP_UP_MICRO_EUR, reference=reference(f"bench {number}"))
        await backend.pools.open(number, name=f"bench-{number}")
        await backend.accounts.activate(
            number, package=backend.catalogue.packages[TARIFF], reference=reference(f"tariff {number}")
        )
        for pack in PACKS:
            await backend.products.buy(number, product=products[pack], reference=reference(f"{pack} {number}"))
