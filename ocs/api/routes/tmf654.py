"""TMF654 Prepay Balance Management v4: buckets, their sums, top-ups, transfers, adjustments.

What the charging system does not have is absent: there is no reserveBalance (sessions of the network reserve, over
Diameter), nothing is cancelled or changed afterwards, and units are not topped up by hand.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import Response

from ocs.accounts import inputs
from ocs.accounts.errors import UnknownError
from ocs.accounts.operations import AccountAndPool
from ocs.api.call import Call, TheCall
from ocs.api.problems import ProblemError
from ocs.api.rights import Role
from ocs.api.tmf.balance import CREDIT, Balances, account_of, eur, number_of, reference_of, split_id, top_up_id
from ocs.api.tmf.dates import EVER, Dates, asked
from ocs.api.tmf.listing import (
    COUNTED,
    DEFAULT_LIMIT,
    MAX_ROWS,
    Fields,
    Limit,
    Offset,
    check_rows,
    many,
    one,
    only,
)
from ocs.api.tmf.models import (
    AccumulatedBalance,
    AdjustBalance,
    AdjustBalanceCreate,
    Bucket,
    Create,
    Reference,
    TopupBalance,
    TopupBalanceCreate,
    TransferBalance,
    TransferBalanceCreate,
)
from ocs.api.tmf.routing import tmf_router
from ocs.api.vouchers import redeem as redeem_voucher
from ocs.history.queries import Transaction
from ocs.ledger.contract.views import AccountView
from ocs.values.identities import Msisdn
from ocs.values.top_ups import Channel

router = tmf_router("prepayBalanceManagement/v4", "TMF654 Prepay Balance")

NUMBER = "logicalResource.id"
"""The filter that names the subscriber."""
MADE: dict[str, Any] = {"status_code": 201, "response_model": None}


def _lists(kind: type) -> dict[str, Any]:
    return {"response_model": list[kind], "responses": COUNTED}  # type: ignore[valid-type]


# -- reading


@router.get("/bucket", operation_id="tmf654.listBucket", **_lists(Bucket))
async def list_buckets(
    request: Request, call: TheCall, fields: Fields = "", offset: Offset = 0, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """Credit and units of a subscriber; the query must name it: `logicalResource.id=38668100000`."""
    seen = await _seen(call, only(request, NUMBER))
    return many(request, _balances(request, call).buckets(seen), Bucket, fields=fields, offset=offset, limit=limit)


@router.get("/bucket/{id}", operation_id="tmf654.retrieveBucket", response_model=Bucket)
async def read_bucket(request: Request, id: str, call: TheCall, fields: Fields = "") -> Response:
    """One bucket."""
    msisdn, _ = split_id(id, "bucket")
    for each in _balances(request, call).buckets(await _seen(call, msisdn)):
        if each.id == id:
            return one(each, fields)
    raise UnknownError("bucket", f"there is no bucket {id}")


@router.get("/accumulatedBalance", operation_id="tmf654.listAccumulatedBalance", **_lists(AccumulatedBalance))
async def list_accumulated(
    request: Request, call: TheCall, fields: Fields = "", offset: Offset = 0, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """Sums of a subscriber's buckets by kind of use; the query must name it: `logicalResource.id=38668100000`."""
    found = _balances(request, call).accumulated(await _seen(call, only(request, NUMBER)))
    return many(request, found, AccumulatedBalance, fields=fields, offset=offset, limit=limit)


@router.get(
    "/accumulatedBalance/{id}", operation_id="tmf654.retrieveAccumulatedBalance", response_model=AccumulatedBalance
)
async def read_accumulated(request: Request, id: str, call: TheCall, fields: Fields = "") -> Response:
    """One sum, such as `38668100000.data`."""
    msisdn, _ = split_id(id, "balance")
    for each in _balances(request, call).accumulated(await _seen(call, msisdn)):
        if each.id == id:
            return one(each, fields)
    raise UnknownError("balance", f"there is no balance {id}")


@router.get("/topupBalance", operation_id="tmf654.listTopupBalance", **_lists(TopupBalance))
async def list_top_ups(
    request: Request, call: TheCall, fields: Fields = "", offset: Offset = 0, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """All top-ups of a subscriber (HOT-TOP-6), by whichever channel, seconds after they were made. The query must name
    it: `logicalResource.id=38668100000`; `confirmationDate.gte=2026-11-01T00:00:00Z` takes those of a time.
    """
    view = (await _seen(call, only(request, NUMBER))).view
    balances = _balances(request, call)
    found = [balances.top_up(view, each) for each in await _top_ups(call, view)]
    return many(request, found, TopupBalance, fields=fields, offset=offset, limit=limit)


@router.get("/topupBalance/{id}", operation_id="tmf654.retrieveTopupBalance", response_model=TopupBalance)
async def read_top_up(request: Request, id: str, call: TheCall, fields: Fields = "") -> Response:
    """One top-up, seconds after it was made."""
    msisdn, rest = split_id(id, "top_up")
    view, wanted = (await _seen(call, msisdn)).view, reference_of(rest)
    for each in await _top_ups(call, view, wanted) if wanted else ():
        return one(_balances(request, call).top_up(view, each), fields)
    raise UnknownError("top_up", f"there is no top-up {id}, or it is not listed yet")


async def _top_ups(call: Call, view: AccountView, reference: str = "") -> list[Transaction]:
    """`reference`: only of this one; "" = all."""
    if call.container.history is None:
        raise ProblemError("history", "this server has no history")
    found = await call.container.history.transactions(
        view.ids, EVER, kinds=("topup",), reference=reference, after=None, limit=MAX_ROWS + 1
    )
    check_rows(found)
    return found


# -- changing


@router.post(
    "/topupBalance", operation_id="tmf654.createTopupBalance", responses={201: {"model": TopupBalance}}, **MADE
)
async def top_up(request: Request, body: TopupBalanceCreate, call: TheCall) -> Response:
    """Add credit by a payment, or by a voucher, once per Idempotency-Key (HOT-TOP-1)."""
    msisdn, when = await _subject(body, call), await asked(call)
    if body.voucher is not None:
        redeemed = await redeem_voucher(call, msisdn, body.voucher)
        done, micro_eur, reference = redeemed.applied, redeemed.value_micro_eur, redeemed.reference
        channel = Channel.VOUCHER
    else:
        micro_eur, reference = _amount(body), call.reference()
        channel = Channel.CARE if call.role is Role.CARE else Channel.ONE_OFF
        applied = await call.backend.accounts.top_up(
            msisdn, amount_micro_eur=micro_eur, reference=reference, channel=channel
        )
        call.applied(applied.applied)
        done = applied.applied
    view = (await call.backend.accounts.read(msisdn)).view
    dates = await when.dates(call, view, "topup", reference, applied=done)
    made = _made(request, call, view, "topupBalance", top_up_id(msisdn, reference), dates)
    return one(TopupBalance(**made, channel=_channel(channel), amount=eur(micro_eur), is_auto_topup=False), "", 201)


@router.post(
    "/adjustBalance", operation_id="tmf654.createAdjustBalance", responses={201: {"model": AdjustBalance}}, **MADE
)
async def adjust(request: Request, body: AdjustBalanceCreate, call: TheCall) -> Response:
    """Customer care adds credit by hand, once per Idempotency-Key. A negative amount is refused: credit is not taken
    away by hand.
    """
    msisdn, micro_eur, reference = await _subject(body, call), _amount(body), call.reference()
    when = await asked(call)
    applied = await call.backend.accounts.top_up(
        msisdn, amount_micro_eur=micro_eur, reference=reference, channel=Channel.CARE
    )
    call.applied(applied.applied)
    view = (await call.backend.accounts.read(msisdn)).view
    dates = await when.dates(call, view, "topup", reference, applied=applied.applied)
    made = _made(request, call, view, "adjustBalance", top_up_id(msisdn, reference), dates)
    adjusted = AdjustBalance(
        **made, adjust_type="oneTime", amount=eur(micro_eur), reason=body.reason, channel=_channel(Channel.CARE)
    )
    return one(adjusted, "", 201)


@router.post(
    "/transferBalance", operation_id="tmf654.createTransferBalance", responses={201: {"model": TransferBalance}}, **MADE
)
async def transfer(request: Request, body: TransferBalanceCreate, call: TheCall) -> Response:
    """Transfer credit between the administrator and a member of a business group (HOT-GRP-2), once per
    Idempotency-Key.
    """
    sender, receiver = await _subject(body, call), inputs.msisdn(body.receiver_logical_resource.id)
    await call.may_see(receiver)
    if body.receiver_bucket is not None and body.receiver_bucket.id != f"{receiver}.{CREDIT}":
        raise ProblemError("invalid", "receiverBucket is not the credit of receiverLogicalResource")
    micro_eur, reference, when = _amount(body), call.reference(), await asked(call)
    done = await call.backend.transfers.transfer(sender, to=receiver, amount_micro_eur=micro_eur, reference=reference)
    call.applied(done.applied)
    view = (await call.backend.accounts.read(sender)).view
    dates = await when.dates(call, view, "transfer_out", reference, applied=done.applied)
    made = _made(request, call, view, "transferBalance", top_up_id(sender, reference), dates)
    moved = TransferBalance(
        **made,
        amount=eur(micro_eur),
        reason=body.reason,
        channel=Reference(id="api", name="api"),
        receiver_bucket=_balances(request, call).bucket_ref(f"{receiver}.{CREDIT}"),
        receiver_bucket_usage_type="monetary",
        receiver_logical_resource=number_of(receiver),
    )
    return one(moved, "", 201)


# -- shared


def _balances(request: Request, call: Call) -> Balances:
    return Balances(call, str(request.base_url))


async def _seen(call: Call, text: str) -> AccountAndPool:
    """The account of a number, if the key may see it."""
    msisdn = inputs.msisdn(text)
    await call.may_see(msisdn)
    seen = await call.backend.accounts.read(msisdn)
    call.account_id = seen.view.account_id
    return seen


async def _subject(body: Create, call: Call) -> Msisdn:
    """The subscriber that a request names by number, bucket or account; all that it names must agree."""
    named = set[str]()
    if body.logical_resource:
        named.add(body.logical_resource[0].id)
    if body.bucket is not None:
        msisdn, rest = split_id(body.bucket.id, "bucket")
        if rest != CREDIT:
            raise ProblemError("invalid", "bucket: only credit is topped up, adjusted and transferred")
        named.add(msisdn)
    if not named:
        raise ProblemError("invalid", "the body must name the subscriber by logicalResource or bucket")
    if len(named) > 1:
        raise ProblemError("invalid", "logicalResource and bucket are of two subscribers")
    view = (await _seen(call, named.pop())).view
    if body.party_account is not None and body.party_account.id != view.account_id:
        raise ProblemError("invalid", "partyAccount is not the account of the subscriber")
    return Msisdn(view.msisdn)


def _amount(body: Create) -> int:
    if body.amount is None:
        raise ProblemError("invalid", "the body must have an amount")
    return inputs.amount(f"{body.amount.amount:f}")


def _channel(channel: Channel) -> Reference:
    return Reference(id=channel.value, name=channel.value)


def _made(request: Request, call: Call, view: AccountView, kind: str, id_: str, dates: Dates) -> dict[str, Any]:
    """What all changes answer."""
    balances = _balances(request, call)
    return {
        "id": id_,
        "href": balances.href(kind, id_),
        "bucket": balances.bucket_ref(f"{view.msisdn}.{CREDIT}"),
        "requested_date": call.time(dates.requested),
        "confirmation_date": call.time(dates.confirmed),
        "logical_resource": [number_of(view.msisdn)],
        "party_account": account_of(view),
        "status": "completed",
        "usage_type": "monetary",
    }
