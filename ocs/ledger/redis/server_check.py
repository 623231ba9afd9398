"""Checks at start that the Redis servers keep what the ledger writes.

No key may be evicted: an account would be lost, or a repetition charged again. A server with an eviction policy is
refused, even if its memory has no limit yet. A warning is logged if a server syncs less often than
`ledger.durability` requires, or does not tell (managed Redis may forbid CONFIG).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Protocol

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.redirects import address_text
from ocs.telemetry.logs import reason_of

log = logging.getLogger(__name__)

NO_EVICTION = "noeviction"
ANSWERS = "answers, hints and references that keep a repetition from being charged again"
"""Keys with a TTL (keys.py), which a volatile-* policy evicts."""


class EvictionError(LedgerError):
    """A Redis server may evict keys of the ledger. Nothing is charged until its settings are changed."""

    def __init__(self, message: str) -> None:
        super().__init__("eviction", message)


class Servers(Protocol):
    """The part of `Nodes` that is needed here."""

    def addresses(self) -> Iterable[Any]: ...

    def client(self, address: Any) -> Any: ...


async def check_servers(servers: Servers, durability: str) -> None:
    """EvictionError: a master may evict keys. Other shortcomings are logged."""
    for address in servers.addresses():
        async with servers.client(address) as client:
            await _check_eviction(client, address)
            await _check_durability(client, address, durability)


async def _check_eviction(client: Any, address: Any) -> None:
    """Uses INFO: CONFIG may be forbidden."""
    try:
        policy = (await client.info("memory"))["maxmemory_policy"]
    except Exception as error:  # noqa: BLE001 - any error only means that the policy is unknown
        log.warning(
            "Redis at %s: maxmemory-policy cannot be read, it must be noeviction: %s",
            *(address_text(address), reason_of(error)),
        )
        return
    if policy == NO_EVICTION:
        return
    at_stake = ANSWERS if policy.startswith("volatile-") else f"accounts, and {ANSWERS}"
    raise EvictionError(
        f"Redis at {address_text(address)} has maxmemory-policy {policy}: when memory is short, it would evict "
        f"{at_stake}. Run CONFIG SET maxmemory-policy {NO_EVICTION} there, and set it in redis.conf too"
    )


async def _check_durability(client: Any, address: Any, durability: str) -> None:
    wanted = "everysec" if durability == "everysec" else "always"
    try:
        found = await client.config_get("append*")
    except Exception as error:  # noqa: BLE001 - as above
        log.warning(
            "Redis at %s: appendonly and appendfsync cannot be read, they must be yes and %s: %s",
            *(address_text(address), wanted, reason_of(error)),
        )
        return
    if found.get("appendonly") != "yes" or found.get("appendfsync") not in (wanted, "always"):
        log.warning(
            "Redis at %s: has appendonly %s, appendfsync %s, but ledger.durability = %r needs appendonly yes, "
            "appendfsync %s: a power cut may lose answered requests",
            *(address_text(address), found.get("appendonly"), found.get("appendfsync"), durability, wanted),
        )
