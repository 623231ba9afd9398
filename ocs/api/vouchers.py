"""Voucher numbers entered over the API: redeemed, and counted, so that guessing is seen (HOT-TOP-3)."""

from __future__ import annotations

from ocs.accounts.errors import RefusedError
from ocs.accounts.redeeming import Redeemed, number
from ocs.api.call import Call
from ocs.values.identities import Msisdn

RESULTS = frozenset({"voucher", "voucher_blocked", "spent", "expired", "ceiling", "state", "no_separate", "busy"})
"""Refusals that are counted by their code; any other is "other"."""


async def redeem(call: Call, msisdn: Msisdn, text: str, *, separate: bool = False) -> Redeemed:
    """Redeem the voucher; an entry that is repeated with its Idempotency-Key counts once. RefusedError, InputError."""
    entry = f"{call.key.id}:{call.idempotency_key}"
    try:
        done = await call.backend.redeeming.redeem(msisdn, number(text), entry=entry, separate=separate)
    except RefusedError as error:
        _count(call, error.code if error.code in RESULTS else "other")
        raise
    _count(call, "applied" if done.applied else "again")
    call.applied(done.applied)
    return done


def _count(call: Call, result: str) -> None:
    call.container.metrics.count("ocs_voucher_entries", result)
