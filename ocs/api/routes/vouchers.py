"""Vouchers: redeem them, forgive wrong entries, activate and block batches (HOT-TOP-2, HOT-TOP-3).

Batches are made by `ocs voucher generate`: their numbers go to a file, not over the network.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from ocs.accounts import voucher_batches
from ocs.accounts.redeeming import number
from ocs.api.call import TheCall
from ocs.api.models.common import MsisdnPath
from ocs.api.models.vouchers import (
    BATCH_PATTERN,
    Batch,
    ChangedVouchers,
    PartOfBatch,
    RedeemedVoucher,
    RedeemVoucher,
    Serial,
    Voucher,
    VoucherEntries,
    VoucherNumber,
    batch,
    entries,
    redeemed,
    voucher,
)
from ocs.api.operation_route import router as operations
from ocs.api.pages import DEFAULT_PAGE, Cursor, Limit, Page, page_of
from ocs.api.vouchers import redeem as redeem_voucher

router = operations("/v1", "vouchers")

BatchPath = Annotated[
    str, Path(alias="batch", pattern=BATCH_PATTERN, description="Name of the batch.", examples=["SPAR-1"])
]
SerialPath = Annotated[Serial, Path(description="Serial number within the batch.")]


@router.post("/accounts/{msisdn}/vouchers", operation_id="vouchers.redeem", status_code=201)
async def redeem(msisdn: MsisdnPath, body: RedeemVoucher, call: TheCall) -> RedeemedVoucher:
    """Top up by a voucher. It is redeemed once; beyond the ceiling it stays active (HOT-ACC-7). Twenty wrong entries
    block the account's vouchers until customer care lifts it.
    """
    return redeemed(await redeem_voucher(call, msisdn, body.number, separate=body.separate))


@router.get("/accounts/{msisdn}/voucher-entries", operation_id="vouchers.entries")
async def read_entries(msisdn: MsisdnPath, call: TheCall) -> VoucherEntries:
    """Wrong voucher entries of the account."""
    return entries((await call.backend.accounts.read(msisdn)).view)


@router.delete("/accounts/{msisdn}/voucher-entries", operation_id="vouchers.lift")
async def lift(msisdn: MsisdnPath, call: TheCall) -> VoucherEntries:
    """Forgive wrong entries: the account takes vouchers again."""
    await call.backend.redeeming.lift_block(msisdn)
    return entries((await call.backend.accounts.read(msisdn)).view)


@router.get("/voucher-batches", operation_id="vouchers.batches")
async def list_batches(call: TheCall, limit: Limit = DEFAULT_PAGE, cursor: Cursor = "") -> Page[Batch]:
    """Batches by name, with their vouchers by state."""
    found = sorted(await call.backend.vouchers.all(), key=lambda each: each.batch.id)
    return page_of(
        found, limit=limit, cursor=cursor, position=lambda each: each.batch.id, item=lambda each: batch(each, call)
    )


@router.get("/voucher-batches/{batch}", operation_id="vouchers.batch")
async def read_batch(batch_id: BatchPath, call: TheCall) -> Batch:
    """One batch."""
    return batch(await call.backend.vouchers.batch(batch_id), call)


@router.get("/voucher-batches/{batch}/vouchers/{serial}", operation_id="vouchers.read")
async def read_voucher(batch_id: BatchPath, serial: SerialPath, call: TheCall) -> Voucher:
    """State of a voucher, and the account that redeemed it."""
    return voucher(await call.backend.vouchers.by_serial(batch_id, serial), call)


@router.post("/voucher-batches/{batch}/activations", operation_id="vouchers.activate")
async def activate(batch_id: BatchPath, body: PartOfBatch, call: TheCall) -> ChangedVouchers:
    """The vouchers are sold: they can be redeemed from now on. Blocked ones too."""
    done = await call.backend.vouchers.activate(batch_id, _part(body))
    return ChangedVouchers(changed=done.vouchers, redeemed=done.redeemed)


@router.post("/voucher-batches/{batch}/blocks", operation_id="vouchers.block")
async def block(batch_id: BatchPath, body: PartOfBatch, call: TheCall) -> ChangedVouchers:
    """The vouchers are lost or stolen: they cannot be redeemed until they are activated again."""
    done = await call.backend.vouchers.block(batch_id, _part(body))
    return ChangedVouchers(changed=done.vouchers, redeemed=done.redeemed)


@router.post("/voucher-batches/look-ups", operation_id="vouchers.look_up")
async def look_up(body: VoucherNumber, call: TheCall) -> Voucher:
    """The voucher with a number, for customer care. It stands in the body: logs have addresses."""
    return voucher(await call.backend.vouchers.by_number(number(body.number)), call)


def _part(body: PartOfBatch) -> voucher_batches.Serials | None:
    return voucher_batches.Serials(body.serials.first, body.serials.last) if body.serials else None
