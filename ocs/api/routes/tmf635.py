"""TMF635 Usage Management v4: itemised use, read only. Use comes from the network, over Diameter."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import Request
from starlette.responses import Response

from ocs.accounts import inputs
from ocs.accounts.errors import InputError, UnknownError
from ocs.api.call import Call, TheCall
from ocs.api.problems import ProblemError
from ocs.api.tmf.balance import split_id
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
from ocs.api.tmf.models import Usage, UsageSpecification
from ocs.api.tmf.routing import tmf_router
from ocs.api.tmf.usage import Usages, specifications, usage_id
from ocs.history.queries import UsageItem
from ocs.history.service import History
from ocs.ledger.contract.views import AccountView
from ocs.values.identities import Msisdn

router = tmf_router("usageManagement/v4", "TMF635 Usage")

NUMBER = "relatedParty.id"
"""The filter that names the subscriber."""
MAX_PERIODS = 36


def _lists(kind: type) -> dict[str, Any]:
    return {"response_model": list[kind], "responses": COUNTED}  # type: ignore[valid-type]


@router.get("/usage", operation_id="tmf635.listUsage", **_lists(Usage))
async def list_usage(
    request: Request, call: TheCall, fields: Fields = "", offset: Offset = 0, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """Charged use of a subscriber in the current billing period, the oldest first. The query must name it:
    `relatedParty.id=38668100000`. With `usageDate.gte` or `usageDate.gt` earlier periods too, as far as they are kept
    (HOT-REC-1).
    """
    msisdn, view = await _subject(only(request, NUMBER), call)
    found = await _since(call, view, _begin(request))
    usages = Usages(call, str(request.base_url), msisdn)
    return many(request, [usages.usage(each) for each in found], Usage, fields=fields, offset=offset, limit=limit)


@router.get("/usage/{id}", operation_id="tmf635.retrieveUsage", response_model=Usage)
async def read_usage(request: Request, id: str, call: TheCall, fields: Fields = "") -> Response:
    """One line of use."""
    msisdn, rest = split_id(id, "usage")
    _, view = await _subject(msisdn, call)
    for each in await _since(call, view, 0) if rest else ():
        if usage_id(msisdn, each) == id:
            return one(Usages(call, str(request.base_url), msisdn).usage(each), fields)
    raise UnknownError("usage", f"there is no usage {id}, or it is kept no more")


@router.get("/usageSpecification", operation_id="tmf635.listUsageSpecification", **_lists(UsageSpecification))
async def list_specifications(
    request: Request, call: TheCall, fields: Fields = "", offset: Offset = 0, limit: Limit = DEFAULT_LIMIT
) -> Response:
    """Kinds of use, and what a line of each has."""
    found = specifications(str(request.base_url))
    return many(request, found, UsageSpecification, fields=fields, offset=offset, limit=limit)


@router.get(
    "/usageSpecification/{id}", operation_id="tmf635.retrieveUsageSpecification", response_model=UsageSpecification
)
async def read_specification(request: Request, id: str, call: TheCall, fields: Fields = "") -> Response:
    """One kind of use."""
    for each in specifications(str(request.base_url)):
        if each.id == id:
            return one(each, fields)
    raise UnknownError("specification", f"there is no usage specification {id}")


async def _subject(text: str, call: Call) -> tuple[Msisdn, AccountView]:
    """The number and its account, if the key may see its use."""
    msisdn = inputs.msisdn(text)
    await call.may_see(msisdn)
    view = (await call.backend.accounts.read(msisdn)).view
    call.account_id = view.account_id
    return msisdn, view


def _begin(request: Request) -> int | None:
    """Unix seconds from which on use is asked for; None = of the current period."""
    texts = [value for name, value in request.query_params.multi_items() if name in ("usageDate.gte", "usageDate.gt")]
    try:
        moments = [datetime.fromisoformat(text.replace(" ", "+")) for text in texts]
        return min([int(at.timestamp()) for at in moments], default=None)
    except (ValueError, OverflowError):
        raise ProblemError("invalid", f"{texts[0]!r} is no time") from None


async def _since(call: Call, view: AccountView, begin: int | None) -> list[UsageItem]:
    """Use from a moment on, as far as it is kept; the oldest first."""
    history: History | None = call.container.history
    if history is None:
        raise ProblemError("history", "this server has no history")
    found: list[UsageItem] = []
    for period in range(MAX_PERIODS):
        try:
            page = await history.usage(view.ids, period, after=None, limit=MAX_ROWS + 1)
        except InputError:  # it is kept no more
            break
        found = [*page.items, *found]
        check_rows(found)
        if begin is None or page.period[0] <= begin or page.period[1] <= page.period[0]:
            break
    return found
