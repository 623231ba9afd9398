"""History: itemised use, transactions, statements; erasure of a person (docs/HISTORY.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import Field

from ocs.api.call import Call, TheCall
from ocs.api.models.common import MsisdnPath, Time
from ocs.api.models.history import (
    EraseBody,
    ErasedAnswer,
    MonthPath,
    StatementOfMonth,
    TransactionLine,
    UsePage,
    statement_of_month,
    transaction_line,
    use_line,
)
from ocs.api.operation_route import router as operations
from ocs.api.pages import DEFAULT_PAGE, Cursor, Limit, Page, decode, encode
from ocs.api.problems import ProblemError
from ocs.history.queries import Position
from ocs.history.service import History, parse_month
from ocs.history.tables import statement_table, usage_table
from ocs.ledger.contract.views import AccountView
from ocs.values.exact import MAX_INTEGER
from ocs.values.identities import Msisdn

router = operations("/v1/accounts", "history")

Format = Annotated[Literal["json", "csv"], Query(description="csv: one table, for spreadsheets.")]
KindText = Annotated[str, Field(pattern="^[a-z_]{1,32}$")]
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
FAR_FUTURE = 2**40
"""Unix seconds."""


@router.get("/{msisdn}/usage", operation_id="usage.list", responses=CSV, response_model=UsePage)
async def list_usage(
    msisdn: MsisdnPath,
    call: TheCall,
    period: Annotated[int, Query(ge=0, le=36, description="0 = the current billing period, 1 = the last one, …")] = 0,
    format: Format = "json",
    cursor: Cursor = "",
    limit: Limit = DEFAULT_PAGE,
) -> UsePage | Response:
    """Every charged use of a billing period, by time (HOT-REC-1). Calls to free and emergency numbers are left out. A
    page as CSV has the next cursor in the header X-Next-Cursor.
    """
    history, view = _history(call), await _view(msisdn, call)
    found = await history.usage(view.ids, period, after=_after(cursor), limit=limit + 1)
    items, following = found.items[:limit], _following([each.position for each in found.items], limit)
    if format == "csv":
        return _csv(usage_table(items, lambda at: _text(call, at)), following)
    begins, ends = (call.time(each) for each in found.period)
    lines = [use_line(each, call) for each in items]
    return UsePage.model_construct(items=lines, next=following, begins=begins, ends=ends)


@router.get("/{msisdn}/transactions", operation_id="transactions.list")
async def list_transactions(
    msisdn: MsisdnPath,
    call: TheCall,
    since: Annotated[Time | None, Query(alias="from", description="Default: the oldest.")] = None,
    until: Annotated[Time | None, Query(alias="to", description="The moment itself is not included.")] = None,
    kind: Annotated[list[KindText], Query(max_length=32, description="Only of these kinds.")] = [],  # noqa: B006
    cursor: Cursor = "",
    limit: Limit = DEFAULT_PAGE,
) -> Page[TransactionLine]:
    """Top-ups, packages, fees, refunds, pay-outs, transfers: all that moved the credit but use, by time (HOT-TOP-6)."""
    moments = _unix(since, 0), _unix(until, FAR_FUTURE)
    history, view = _history(call), await _view(msisdn, call)
    found = await history.transactions(view.ids, moments, kinds=tuple(kind), after=_after(cursor), limit=limit + 1)
    following = _following([each.position for each in found], limit)
    return Page(items=[transaction_line(each, call) for each in found[:limit]], next=following)


@router.get(
    "/{msisdn}/statements/{month}", operation_id="statements.read", responses=CSV, response_model=StatementOfMonth
)
async def read_statement(
    msisdn: MsisdnPath, month: MonthPath, call: TheCall, format: Format = "json"
) -> StatementOfMonth | Response:
    """A calendar month: every transaction and all use, net, VAT and gross; they explain the credit (HOT-RAT-8)."""
    history, view = _history(call), await _view(msisdn, call)
    found = await history.statement(view.ids, parse_month(month), view.credit_micro_eur)
    if format == "csv":
        return _csv(statement_table(found, lambda at: _text(call, at)), None)
    return statement_of_month(found, call)


@router.post("/{msisdn}/erasure", operation_id="accounts.erase")
async def erase(msisdn: MsisdnPath, body: EraseBody, call: TheCall) -> ErasedAnswer:
    """Erase what is known of the person and need not be kept: itemised use of past billing periods, where it was, and
    the other parties in the charging records. Money stays as long as the law wants it. May be called again.
    """
    history, view = _history(call), await _view(msisdn, call)
    done = await history.erase(view.ids, reason=body.reason)
    return ErasedAnswer.model_construct(rows=done.rows, file_lines=done.file_lines, before=call.time(done.before))


def _history(call: Call) -> History:
    if call.container.history is None:
        raise ProblemError("history", "this server has no history")
    return call.container.history


async def _view(msisdn: Msisdn, call: Call) -> AccountView:
    """The account of the path, with the ids that it had. UnknownError "account"."""
    return (await call.backend.accounts.read(msisdn)).view


def _after(cursor: str) -> Position | None:
    match decode(cursor):
        case None:
            return None
        case [int(at), int(order), str(name)] if _is_position(at, order, name):
            return at, order, name
    raise ProblemError("cursor", "the cursor is of another list")


def _is_position(at: int, order: int, name: str) -> bool:
    """Whether a database can compare it: PostgreSQL has no text with NUL. The order of itemised use is a hash, 64 bits
    with a sign.
    """
    numbers = type(at) is int and 0 <= at <= MAX_INTEGER and type(order) is int and -(2**63) <= order < 2**63
    return numbers and "\0" not in name


def _following(positions: list[Position], limit: int) -> str | None:
    return encode(positions[limit - 1]) if len(positions) > limit else None


def _unix(moment: datetime | None, default: int) -> int:
    if moment is None:
        return default
    if moment.tzinfo is None:
        raise ProblemError("invalid", "a time needs an offset, such as 2026-11-30T20:15:00+01:00")
    return int(moment.timestamp())


def _text(call: Call, unix_s: int) -> str:
    moment = call.time(unix_s)
    return moment.isoformat() if moment is not None else ""


def _csv(text: str, following: str | None) -> Response:
    headers = {"X-Next-Cursor": following} if following else {}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
