"""Receipts of the SMS gateway: what became of a message. They are signed with `notices.secret`, and need no key."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import Response

from ocs.api.container import Container
from ocs.api.models.notices import Receipt
from ocs.api.problems import ProblemError
from ocs.history.service import HistoryUnavailableError
from ocs.notices.signature import HEADER, is_signed
from ocs.notices.states import State

router = APIRouter(include_in_schema=False)


@router.post("/v1/notices/receipts")
async def receive(request: Request) -> Response:
    """204: it is noted, or the notice is already delivered. A repetition changes nothing."""
    container: Container = request.app.state.container
    body, now = await request.body(), container.backend.environment.now()
    if not is_signed(container.settings.notices.secret, body, request.headers.get(HEADER, ""), now):
        raise ProblemError("signature", f"the receipt has no {HEADER} of notices.secret and of this time")
    try:
        receipt = Receipt.model_validate_json(body)
    except ValidationError as error:
        raise ProblemError("invalid", f"the receipt has {error.error_count()} mistakes") from None
    if container.notices is None:
        raise HistoryUnavailableError("there is no database")
    await container.notices.receive(receipt.id, State(receipt.state), receipt.reason)
    return Response(status_code=204)
