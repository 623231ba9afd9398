"""Notices: what subscribers were told, sent again; language (HOT-NOT-1)."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Path, Query
from sqlalchemy import Row

from ocs.api.call import Call, TheCall
from ocs.api.models import notices as models
from ocs.api.models.common import MsisdnPath
from ocs.api.models.notices import NOTICE_ID, Language, Notice, SetLanguage
from ocs.api.operation_route import router as operations
from ocs.api.pages import DEFAULT_PAGE, Cursor, Limit, Page, decode, encode
from ocs.api.problems import ProblemError
from ocs.history.account_ids import AccountIds
from ocs.history.service import HistoryUnavailableError
from ocs.notices.service import NoticeService, Position
from ocs.notices.states import State
from ocs.values.exact import MAX_INTEGER

router = operations("/v1", "notices")
NoticePath = Annotated[str, Path(alias="notice", pattern=NOTICE_ID, examples=["p47-1234.low-credit"])]
StateQuery = Annotated[State | None, Query(description="Only those in this state.")]


def _notices(call: Call) -> NoticeService:
    """HistoryUnavailableError: this process has no database."""
    if call.container.notices is None:
        raise HistoryUnavailableError("there is no database")
    return call.container.notices


@router.get("/notices", operation_id="notices.list")
async def list_notices(
    call: TheCall, state: StateQuery = None, limit: Limit = DEFAULT_PAGE, cursor: Cursor = ""
) -> Page[Notice]:
    """Notices of all subscribers, the latest first."""
    return await _page(call, (), state, limit, cursor)


@router.get("/notices/{notice}", operation_id="notices.read")
async def read_notice(notice: NoticePath, call: TheCall) -> Notice:
    """One notice."""
    return models.notice(await _notices(call).shown(notice), call)


@router.post("/notices/{notice}/retry", operation_id="notices.retry")
async def retry_notice(notice: NoticePath, call: TheCall) -> Notice:
    """Send a notice again that failed or was given up. The gateway knows its id: it shows nothing twice."""
    return models.notice(await _notices(call).retry(notice), call)


@router.get("/accounts/{msisdn}/notices", operation_id="notices.of_account")
async def list_notices_of_account(
    msisdn: MsisdnPath, call: TheCall, state: StateQuery = None, limit: Limit = DEFAULT_PAGE, cursor: Cursor = ""
) -> Page[Notice]:
    """What the subscriber was told, the latest first."""
    view = (await call.backend.accounts.read(msisdn)).view
    return await _page(call, view.ids, state, limit, cursor)


async def _page(call: Call, ids: AccountIds, state: State | None, limit: int, cursor: str) -> Page[Notice]:
    rows = await _notices(call).listed(
        ids, state=state.value if state else "", before=_position(cursor), limit=limit + 1
    )
    shown: list[Row[tuple[object, ...]]] = rows[:limit]
    following = encode([shown[-1].created, shown[-1].id]) if len(rows) > limit else None
    return Page(items=[models.notice(row, call) for row in shown], next=following)


def _position(cursor: str) -> Position | None:
    match decode(cursor):
        case None:
            return None
        case [int(created), str(id_)] if 0 <= created <= MAX_INTEGER and re.fullmatch(NOTICE_ID, id_):
            return created, id_
    raise ProblemError("cursor", "the cursor is of another list")


@router.get("/accounts/{msisdn}/language", operation_id="language.read")
async def read_language(msisdn: MsisdnPath, call: TheCall) -> Language:
    """Language of the texts that the subscriber gets."""
    return Language(language=(await call.backend.accounts.read(msisdn)).view.language)


@router.put("/accounts/{msisdn}/language", operation_id="language.set")
async def set_language(msisdn: MsisdnPath, body: SetLanguage, call: TheCall) -> Language:
    """Set the language of the texts that the subscriber gets."""
    await call.backend.accounts.set_language(msisdn, language=body.language)
    return Language(language=body.language)
