"""What a Redis holds as a whole: layout and number of partitions, written when the ledger is first used and checked at
every start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from typing import Any, Protocol

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.layout import Layout

DESCRIPTION = b"{p*}:ledger"
"""What a ledger says of itself; its place depends on the number of partitions."""
FIRST_LAYOUT = b"{p*}:subscribers"
"""Keys of the first layout, which did not say what it was; the second's are there only beside its own description."""


class Use(Enum):
    """What a client wants of the ledger, and so what it may write when it connects."""

    LOOK = "look"
    """Nothing: what is there must be a ledger that this version can read."""
    CHANGE = "change"
    """Documents in our layout go in from now on: other versions are told. There must be a ledger."""
    FOUND = "found"
    """Where Redis is empty, a ledger is founded."""


class Installed(Protocol):
    """What can be asked of a ledger as a whole."""

    @property
    def layout(self) -> Layout: ...

    @property
    def partitions(self) -> int: ...

    async def installed(self) -> dict[str, int]: ...

    async def install(self, facts: dict[str, int]) -> dict[str, int]: ...

    def hashes(self, pattern: bytes) -> AsyncIterator[tuple[bytes, dict[bytes, Any]]]: ...


async def check(ledger: Installed, use: Use = Use.FOUND) -> None:
    """LedgerError "installation": what Redis holds is of another layout or number of partitions, or nothing and `use`
    founds nothing.
    """
    found = await ledger.installed()
    wanted = {"layout": ledger.layout.version, "partitions": ledger.partitions}
    if not found:
        await _check_empty(ledger)
        if use is not Use.FOUND:
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
    if found["layout"] < wanted["layout"] and use is not Use.LOOK:
        await ledger.install({**wanted, "readable_from": ledger.layout.readable_from})


async def _check_empty(ledger: Installed) -> None:
    """Nothing says that it is a ledger of our number of partitions: is it one of another?"""
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
