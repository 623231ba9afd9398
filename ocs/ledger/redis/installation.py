"""Layout and number of partitions of a ledger: written when it is created, checked at every start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from typing import Any, Protocol

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.records import Layout

DESCRIPTION = b"{p*}:ledger"
"""Pattern of the hash with layout and partitions; its hash tag depends on the number of partitions."""
FIRST_LAYOUT = b"{p*}:subscribers"
"""Pattern of a key that layout 1 has too. Layout 1 wrote no description; later layouts always do."""


class OpenMode(Enum):
    """What a client will do, and what it may write when it connects."""

    READ = "read"
    """Write nothing. There must be a ledger that this version can read."""
    WRITE = "write"
    """Write documents in our layout, and say so to other versions. There must be a ledger."""
    CREATE = "create"
    """As WRITE; an empty Redis becomes a ledger."""


class Installed(Protocol):
    """The part of the ledger that is needed here."""

    @property
    def layout(self) -> Layout: ...

    @property
    def partitions(self) -> int: ...

    async def installed(self) -> dict[str, int]: ...

    async def install(self, facts: dict[str, int]) -> dict[str, int]: ...

    def hashes(self, pattern: bytes) -> AsyncIterator[tuple[bytes, dict[bytes, Any]]]: ...


async def check(ledger: Installed, mode: OpenMode = OpenMode.CREATE) -> None:
    """LedgerError "installation": Redis holds a ledger of another layout or number of partitions, or it is empty and
    `mode` is not CREATE.
    """
    found = await ledger.installed()
    wanted = {"layout": ledger.layout.version, "partitions": ledger.partitions}
    if not found:
        await _check_empty(ledger)
        if mode is not OpenMode.CREATE:
            raise LedgerError(
                "installation", "Redis holds no ledger: is redis.url the right one? `ocs serve` makes a ledger"
            )
        found = await ledger.install(wanted)
    if found.get("readable_from", 0) > wanted["layout"]:
        raise LedgerError(
            "installation",
            f"the ledger was written by layout {found['layout']}, which this version (layout {wanted['layout']}) "
            "cannot read: upgrade it",
        )
    if found["layout"] < wanted["layout"] and mode is not OpenMode.READ:
        await ledger.install({**wanted, "readable_from": ledger.layout.readable_from})


async def _check_empty(ledger: Installed) -> None:
    """LedgerError: Redis holds a ledger of another number of partitions, or of layout 1."""
    async for _, other in ledger.hashes(DESCRIPTION):
        partitions = int(other.get(b"partitions", 0))
        raise LedgerError(
            "installation",
            f"the ledger has {partitions or 'another number of'} partitions, and ledger.partitions = "
            f"{ledger.partitions}: set the ledger's"
            " number, which is fixed at installation",
        )
    async for _, _ in ledger.hashes(FIRST_LAYOUT):
        raise LedgerError(
            "installation",
            "Redis holds a ledger of the first layout, which this version cannot take over: start with an empty "
            "Redis or data folder"
            " (server.data_dir), and open the accounts anew",
        )
