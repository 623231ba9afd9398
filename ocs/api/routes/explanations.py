"""Explanations: why something was charged, and what another catalogue would have charged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import Query

from ocs.accounts.errors import RefusedError, UnknownError
from ocs.api.call import Call, TheCall
from ocs.api.drafts import draft_of
from ocs.api.models.network import MAX_SESSION_ID, ExplainDraft, Explanation
from ocs.api.operation_route import router as operations
from ocs.catalogue.versions import Catalogues
from ocs.history.rerating.draft import compare_with_draft
from ocs.outbox.explain import DIFFERENCE, explain
from ocs.outbox.masked import masked_record
from ocs.outbox.reading import Record
from ocs.outbox.search import TooManyRecordsError, find_records, records_of_facts

router = operations("/v1/explanations", "operations")


@router.get("", operation_id="explanations.read")
async def explain_charge(
    name: Annotated[str, Query(min_length=1, max_length=MAX_SESSION_ID, description="Event id, or a Session-Id.")],
    call: TheCall,
) -> Explanation:
    """What a record (p47-1234) or a session charged and why, from the charging records of this server, and where
    computing it anew gives something else. Other parties are masked (HOT-REC-1).
    """
    return await _explained(name, None, call)


@router.post("/draft", operation_id="explanations.draft")
async def explain_under_draft(body: ExplainDraft, call: TheCall) -> Explanation:
    """The same, and what it would have cost under another catalogue. Nothing is charged."""
    known = call.backend.catalogue
    return await _explained(body.name, Catalogues([await draft_of(body.catalogue, call)], known.now), call)


async def _explained(name: str, draft: Catalogues | None, call: Call) -> Explanation:
    folder = call.container.settings.data_dir / "records"
    async with call.container.slow:
        try:
            found, history = await asyncio.to_thread(_records, folder, name)
        except TooManyRecordsError as error:
            raise RefusedError("too_many_records", str(error)) from None
        if not found:
            raise UnknownError(
                "record", "no record has this event id or Session-Id; older files may have been moved away"
            )
        call.account_id = str(found[-1].get("account", ""))
        return await asyncio.to_thread(_explanation, found, history, name, draft, call)


def _records(folder: Path, name: str) -> tuple[list[Record], list[Record] | None]:
    found = find_records(folder, name)
    return found, records_of_facts(folder, str(found[-1].get("account", ""))) if found else None


def _explanation(
    found: list[Record], history: list[Record] | None, name: str, draft: Catalogues | None, call: Call
) -> Explanation:
    only = name if found[-1]["event_id"] == name else ""
    trace = explain(found, call.backend.catalogue, only=only, history=history)
    under = [] if draft is None else compare_with_draft(
        found, call.backend.catalogue, draft, only=only, history=history
    ).steps  # fmt: skip
    return Explanation(
        records=[masked_record(each) for each in found if not only or each["event_id"] == only],
        steps=[step.as_json() for step in trace.steps],
        differences=[step.as_json() for step in trace.steps if step.name == DIFFERENCE],
        draft=[step.as_json() for step in under],
    )
