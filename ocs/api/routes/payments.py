"""Automatic top-ups, mandates and payments (HOT-TOP-1, HOT-TOP-4, HOT-TOP-5, HOT-GRP-4)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from ocs.accounts import inputs
from ocs.accounts.errors import RefusedError
from ocs.api.call import Call, TheCall
from ocs.api.models.common import MsisdnPath
from ocs.api.models.payments import (
    AutoTopUpState,
    MandateState,
    Payment,
    PutMandate,
    Revoked,
    SetAutoTopUp,
    StartPayment,
    auto_top_up,
    mandate,
    payment,
)
from ocs.api.operation_route import router as operations
from ocs.api.pages import DEFAULT_PAGE, Cursor, Limit, Page, page_of
from ocs.payments.operations import PaymentOperations
from ocs.payments.provider import UncertainError

router = operations("/v1", "payments")
GroupPath = Annotated[str, Path(alias="group", max_length=64, description="Id of the business group.")]
OrderPath = Annotated[str, Path(alias="order", max_length=64, description="Id of the payment order.")]


def _operations(call: Call) -> PaymentOperations:
    backend = call.backend
    return PaymentOperations(
        backend.accounts, backend.ledger, backend.catalogue, call.container.payments, backend.environment.now
    )


# -- automatic top-up


@router.get("/accounts/{msisdn}/auto-top-up", operation_id="auto_top_up.read")
async def read_auto_top_up(msisdn: MsisdnPath, call: TheCall) -> AutoTopUpState:
    """Whether the account is topped up automatically, below which mark, and by how much (HOT-TOP-4)."""
    return auto_top_up(await _operations(call).auto_top_up(msisdn), call)


@router.put("/accounts/{msisdn}/auto-top-up", operation_id="auto_top_up.set")
async def set_auto_top_up(msisdn: MsisdnPath, body: SetAutoTopUp, call: TheCall) -> AutoTopUpState:
    """Switch the automatic top-up on, or change its mark, at once."""
    await _operations(call).set_auto_top_up(msisdn, below_micro_eur=inputs.amount(body.below))
    return auto_top_up(await _operations(call).auto_top_up(msisdn), call)


@router.delete("/accounts/{msisdn}/auto-top-up", operation_id="auto_top_up.off")
async def auto_top_up_off(msisdn: MsisdnPath, call: TheCall) -> AutoTopUpState:
    """Switch it off, at once (HOT-TOP-5): an order that nobody has sent yet ends."""
    await _operations(call).set_auto_top_up(msisdn, below_micro_eur=0)
    return auto_top_up(await _operations(call).auto_top_up(msisdn), call)


# -- mandates


@router.get("/accounts/{msisdn}/mandate", operation_id="mandates.read")
async def read_mandate(msisdn: MsisdnPath, call: TheCall) -> MandateState:
    """By what the account is debited; the bank account is masked."""
    payments = _operations(call)
    return mandate(await payments.mandate(await payments.payer_of(msisdn)))


@router.put("/accounts/{msisdn}/mandate", operation_id="mandates.put")
async def put_mandate(msisdn: MsisdnPath, body: PutMandate, call: TheCall) -> MandateState:
    """Put a mandate in place of the one before."""
    payments = _operations(call)
    return mandate(await payments.put_mandate(await payments.payer_of(msisdn), body.given()))


@router.delete("/accounts/{msisdn}/mandate", operation_id="mandates.revoke")
async def revoke_mandate(msisdn: MsisdnPath, call: TheCall) -> Revoked:
    """Revoke the mandate: nothing that was not sent yet is debited."""
    payments = _operations(call)
    return Revoked(revoked=await payments.revoke_mandate(await payments.payer_of(msisdn)))


@router.get("/groups/{group}/mandate", operation_id="group_mandates.read")
async def read_group_mandate(group: GroupPath, call: TheCall) -> MandateState:
    """The mandate that pays for every number of the group that has none of its own (HOT-GRP-4)."""
    payments = _operations(call)
    return mandate(await payments.mandate(await payments.payer_of_group(group)))


@router.put("/groups/{group}/mandate", operation_id="group_mandates.put")
async def put_group_mandate(group: GroupPath, body: PutMandate, call: TheCall) -> MandateState:
    """Put a mandate of the company in place of the one before."""
    return mandate(await _operations(call).put_group_mandate(group, body.given()))


@router.delete("/groups/{group}/mandate", operation_id="group_mandates.revoke")
async def revoke_group_mandate(group: GroupPath, call: TheCall) -> Revoked:
    """Revoke the company's mandate."""
    return Revoked(revoked=await _operations(call).revoke_group_mandate(group))


# -- payments


@router.post("/accounts/{msisdn}/payments", operation_id="payments.start", status_code=201)
async def start_payment(msisdn: MsisdnPath, body: StartPayment, call: TheCall) -> Payment:
    """Begin a one-off payment: the subscriber pays at `redirect_url`, and is credited when the provider says that it is
    paid. A repetition is answered with the payment as it is then.
    """
    amount, reference = inputs.amount(body.amount), call.reference(body.reference)
    try:
        order, is_new = await _operations(call).start(msisdn, amount_micro_eur=amount, reference=reference)
    except UncertainError as error:
        raise RefusedError("provider", f"{error}: repeat the request with the same key") from None
    call.applied(is_new)
    return payment(order, call)


@router.get("/accounts/{msisdn}/payments", operation_id="payments.list")
async def list_payments(
    msisdn: MsisdnPath, call: TheCall, limit: Limit = DEFAULT_PAGE, cursor: Cursor = ""
) -> Page[Payment]:
    """Payments of the account, automatic ones too; the last 64, by id."""
    found = sorted(await _operations(call).of_account(msisdn), key=lambda order: order.id)
    return page_of(
        found, limit=limit, cursor=cursor, position=lambda order: order.id, item=lambda order: payment(order, call)
    )


@router.get("/payments/{order}", operation_id="payments.read")
async def read_payment(order_id: OrderPath, call: TheCall) -> Payment:
    """One payment."""
    return payment(await _operations(call).order(order_id), call)


@router.post("/payments/{order}/retry", operation_id="payments.retry")
async def retry_payment(order_id: OrderPath, call: TheCall) -> Payment:
    """Take an open payment up now; for one that has failed, order anew."""
    return payment(await _operations(call).retry(order_id), call)
