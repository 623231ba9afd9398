"""Transfers within a business group, separate accounts, PUK1 (HOT-GRP-1, HOT-GRP-2, HOT-GRP-5)."""

from __future__ import annotations

from ocs.accounts import inputs
from ocs.api.call import TheCall
from ocs.api.models import groups as models
from ocs.api.models.common import MsisdnPath
from ocs.api.models.groups import (
    Changed,
    Puk,
    Separate,
    SeparateState,
    ToppedUpSeparate,
    TopUpSeparate,
    Transfer,
    Transferred,
)
from ocs.api.operation_route import router as operations
from ocs.values.money import format_eur

router = operations("/v1/accounts/{msisdn}", "transfers")


@router.post("/transfers", operation_id="transfers.make", status_code=201)
async def transfer(msisdn: MsisdnPath, body: Transfer, call: TheCall) -> Transferred:
    """Transfer credit of this number to another of its business group, once: from the administrator to a member, or
    back (HOT-GRP-2). If the receiver cannot take it, the sender has its money back.
    """
    await call.may_see(body.to)
    amount, reference = inputs.amount(body.amount), call.reference(body.reference)
    done = await call.backend.transfers.transfer(msisdn, to=body.to, amount_micro_eur=amount, reference=reference)
    call.applied(done.applied)
    return Transferred(reference=reference, amount=format_eur(amount), credit=format_eur(done.credit_micro_eur))


@router.put("/puk", operation_id="puk.set")
async def set_puk(msisdn: MsisdnPath, body: Puk, call: TheCall) -> Changed:
    """Store the PUK1 of the number's SIM, hashed. Wrong entries are forgotten."""
    await call.backend.groups.set_puk(msisdn, puk=inputs.puk(body.puk) if body.puk is not None else "")
    return Changed(changed=True)


@router.get("/separate", operation_id="separate.read")
async def read_separate(msisdn: MsisdnPath, call: TheCall) -> Separate:
    """The separate account of the number, which pays what a member orders itself (HOT-GRP-5)."""
    return models.separate((await call.backend.accounts.read(msisdn)).view)


@router.put("/separate", operation_id="separate.set")
async def set_separate(msisdn: MsisdnPath, body: SeparateState, call: TheCall) -> Separate:
    """Open or close the separate account. With credit it can be closed only when the number has left its group."""
    await call.backend.groups.set_separate(msisdn, is_open=body.open)
    return await read_separate(msisdn, call)


@router.post("/separate/top-ups", operation_id="separate.top_up", status_code=201)
async def top_up_separate(msisdn: MsisdnPath, body: TopUpSeparate, call: TheCall) -> ToppedUpSeparate:
    """Pay into the separate account, once."""
    amount, reference = inputs.amount(body.amount), call.reference(body.reference)
    done = await call.backend.accounts.top_up(msisdn, amount_micro_eur=amount, reference=reference, separate=True)
    call.applied(done.applied)
    return ToppedUpSeparate(reference=reference, amount=format_eur(amount), credit=format_eur(done.credit_micro_eur))
