"""An account's life: blocks, another SIM or number, freeze, pay-out, port-out, fees, end."""

from __future__ import annotations

from ocs.accounts.errors import InputError
from ocs.accounts.life import FeeResult
from ocs.accounts.operations import Ended as AccountEnded
from ocs.api.call import Call, TheCall
from ocs.api.models.common import MsisdnPath
from ocs.api.models.life import (
    Block,
    Blocked,
    Changed,
    End,
    Ended,
    FeeOrder,
    FeePaid,
    Lift,
    NewNumber,
    NewSim,
    Once,
    PaidOut,
    PayOutOrder,
    PortOut,
)
from ocs.api.models.subscriptions import shares
from ocs.api.operation_route import router as operations
from ocs.api.problems import ProblemError
from ocs.api.rights import Role
from ocs.ledger.contract.views import AccountView
from ocs.policy.life import BlockReason, By, Fee, PayOut
from ocs.values.identities import Msisdn
from ocs.values.money import format_eur

router = operations("/v1/accounts/{msisdn}", "life")
SUBSCRIBERS_REASONS = (BlockReason.LOST, BlockReason.STOLEN)
"""For which a subscriber or its group's administrator may block. Freezing has its fee."""


def _blocked(view: AccountView) -> Blocked:
    return Blocked(state=view.state, blocks=list(view.blocks))


@router.post("/blocks", operation_id="blocks.set")
async def block(msisdn: MsisdnPath, body: Block, call: TheCall) -> Blocked:
    """Block all use but emergency calls, for one more reason (HOT-ACC-11). Running sessions are aborted."""
    if call.role is not Role.CARE and body.reason not in SUBSCRIBERS_REASONS:
        raise ProblemError("forbidden", f"{call.role} may block for {', '.join(SUBSCRIBERS_REASONS)}")
    return _blocked(await call.backend.life.block(msisdn, reason=body.reason))


@router.post("/blocks/{reason}/lift", operation_id="blocks.lift")
async def unblock(msisdn: MsisdnPath, reason: BlockReason, body: Lift, call: TheCall) -> Blocked:
    """Lift a reason of a block; the account is free when the last one is lifted (HOT-ACC-11, HOT-REC-3)."""
    by = By.CARE if call.role is Role.CARE else By.SUBSCRIBER
    reference = call.reference(body.reference) if body.fee else None
    done = await call.backend.life.unblock(msisdn, reason=reason, by=by, reference=reference)
    call.applied(done.applied or not call.repeated)
    return _blocked(done.view)


def _paid(fee: str, reference: str, done: FeeResult, call: Call) -> FeePaid:
    call.applied(done.applied)
    return FeePaid(fee=fee, reference=reference, amount=format_eur(done.price_micro_eur))


@router.post("/freeze", operation_id="life.freeze")
async def freeze(msisdn: MsisdnPath, body: Once, call: TheCall) -> FeePaid:
    """Freeze the number: its fee is debited, all use but emergency calls is blocked (HOT-REC-3)."""
    reference = call.reference(body.reference)
    return _paid(Fee.FREEZE, reference, await call.backend.life.freeze(msisdn, reference=reference), call)


@router.post("/unfreeze", operation_id="life.unfreeze")
async def unfreeze(msisdn: MsisdnPath, body: Once, call: TheCall) -> FeePaid:
    """Undo a freeze: its fee is debited, the block is lifted (HOT-REC-3)."""
    reference = call.reference(body.reference)
    return _paid(Fee.UNFREEZE, reference, await call.backend.life.unfreeze(msisdn, reference=reference), call)


@router.post("/fees", operation_id="life.fee")
async def fee(msisdn: MsisdnPath, body: FeeOrder, call: TheCall) -> FeePaid:
    """Debit a one-off fee of the catalogue, in any state of the account (HOT-REC-3)."""
    reference = call.reference(body.reference)
    done = await call.backend.life.fee(msisdn, fee=body.fee, reference=reference)
    return _paid(body.fee, reference, done, call)


@router.post("/owner", operation_id="life.transfer_ownership")
async def transfer_ownership(msisdn: MsisdnPath, body: Once, call: TheCall) -> FeePaid:
    """Debit the fee for another owner of the number (HOT-REC-3). Who it is, the charging system does not know."""
    reference = call.reference(body.reference)
    done = await call.backend.life.transfer_ownership(msisdn, reference=reference)
    return _paid(Fee.OWNERSHIP_CHANGE, reference, done, call)


@router.post("/sim", operation_id="life.swap_sim")
async def swap_sim(msisdn: MsisdnPath, body: NewSim, call: TheCall) -> Changed:
    """A new SIM of the number: credit and products stay, a block for loss or theft is lifted (HOT-ACC-11). After an
    error, the same request finishes it.
    """
    reference = call.reference(body.reference) if body.fee else None
    done = await call.backend.life.swap_sim(msisdn, imsi=body.imsi, reference=reference, tries=call.repetition)
    call.applied(done.applied or not call.repeated)
    if body.puk is not None:
        await call.backend.groups.set_puk(msisdn, puk=body.puk)
    return Changed(changed=done.changed)


@router.post("/number", operation_id="life.change_number")
async def change_number(msisdn: MsisdnPath, body: NewNumber, call: TheCall) -> Changed:
    """Another number for the account. After an error, the same request finishes it."""
    return Changed(changed=await call.backend.life.change_number(msisdn, new=body.msisdn))


@router.post("/port-in", operation_id="life.port_in")
async def port_in(msisdn: MsisdnPath, body: NewNumber, call: TheCall) -> Changed:
    """The subscriber's number of its former operator arrives: the account has it from now on, and its present number is
    free. After an error, the same request finishes it.
    """
    return Changed(changed=await call.backend.life.change_number(msisdn, new=body.msisdn))


@router.post("/pay-out", operation_id="life.pay_out")
async def pay_out(msisdn: MsisdnPath, body: PayOutOrder, call: TheCall) -> PaidOut:
    """Pay the refundable credit out where it is due, once (HOT-ACC-10)."""
    if body.reason is PayOut.PORT_OUT:
        raise InputError("reason", "port-out pays out and ends the account in one step: see port-out")
    reference = call.reference(body.reference)
    done = await call.backend.life.pay_out(msisdn, reason=body.reason, reference=reference, tries=call.repetition)
    call.applied(done.applied)
    return PaidOut(reference=reference, amount=format_eur(done.micro_eur) if done.micro_eur else None)


@router.post("/port-out", operation_id="life.port_out")
async def port_out(msisdn: MsisdnPath, body: PortOut, call: TheCall) -> Ended:
    """The number goes to another operator: refundable credit is paid out, the account ends for good (HOT-ACC-10)."""
    _confirmed(msisdn, body)
    reference = call.reference(body.reference)
    return _ended(call, await call.backend.life.port_out(msisdn, reference=reference, tries=call.repetition))


@router.post("/end", operation_id="life.end")
async def end(msisdn: MsisdnPath, body: End, call: TheCall) -> Ended:
    """End the account for good: its credit and units are lost, its number is free (HOT-ACC-6)."""
    _confirmed(msisdn, body)
    return _ended(call, await call.backend.accounts.terminate(msisdn, tries=call.repetition))


def _confirmed(msisdn: Msisdn, body: End) -> None:
    if body.confirm_msisdn != msisdn:
        raise InputError("confirm_msisdn", "it is not the number of the account: this cannot be undone")


def _ended(call: Call, done: AccountEnded) -> Ended:
    call.account_id = done.account_id
    call.applied(done.applied)
    return Ended(
        paid_out=format_eur(done.paid_out_micro_eur),
        shares=shares(done.shares),
        unpaid=format_eur(done.unpaid_micro_eur),
    )
