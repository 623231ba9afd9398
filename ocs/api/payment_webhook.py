"""Where the payment provider sends its notifications. It has no key: the signature says who it is."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from ocs.accounts.errors import AccountError
from ocs.api import problems
from ocs.api.container import Container
from ocs.api.problems import ProblemError
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.payments.signing import SignatureError

router = APIRouter(include_in_schema=False)


@router.post("/v1/payments/webhook")
async def webhook(request: Request) -> Response:
    """200: the outcome is stored. 401: the signature, or the time, is wrong. 503: to be sent again."""
    container: Container = request.app.state.container
    receiver = container.payments.webhook if container.payments is not None else None
    request_id = request.scope["state"]["request_id"]
    if receiver is None:
        return problems.answer(ProblemError("no_route", "there is no payment provider"), request_id)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        order = await receiver.receive(headers, await request.body())
    except SignatureError as error:
        return problems.answer(ProblemError("signature", str(error)), request_id)
    except (AccountError, LedgerError, LedgerUnavailable) as error:
        return problems.answer(error, request_id)
    return JSONResponse({"order": order.id, "state": order.state.value})
