"""What a Redis holds as a whole: layout and number of partitions, written when the ledger is first used and checked at every start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocs.ledger.contract import LedgerError

if TYPE_CHECKING:
    from ocs.ledger.redis_ledger import RedisLedger

FIRST_LAYOUT = b"{p*}:subscribers"
"""Keys of the first layout, which did not say what it was; the second's are there only beside its own description."""


async def check(ledger: RedisLedger) -> None:
    """LedgerError "installation": what Redis holds is of another layout or number of partitions."""
    found = await ledger.installed()
    wanted = {"layout": ledger.layout.version, "partitions": ledger.partitions}
    if not found:
        if await ledger.any_key(FIRST_LAYOUT):
            raise LedgerError(
                "installation",
                "Redis holds a ledger of the first layout, which this version cannot take over: start with an empty Redis or data folder"
                " (ledger.data_dir), and open the accounts anew",
            )
        found = await ledger.install(wanted)
    if found["partitions"] != wanted["partitions"]:
        raise LedgerError(
            "installation",
            f"the ledger has {found['partitions']} partitions, ledger.partitions is {wanted['partitions']}: it is fixed at installation",
        )
    if found["layout"] < wanted["layout"]:
        await ledger.install({**wanted, "readable_from": ledger.layout.readable_from})
    elif found.get("readable_from", 0) > wanted["layout"]:
        raise LedgerError(
            "installation",
            f"the ledger was written by layout {found['layout']}, which this version (layout {wanted['layout']}) cannot read: upgrade it",
        )
