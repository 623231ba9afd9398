"""What script and model are known to disagree on: the walk goes round it. Each goes with its cause, and then this file."""

from __future__ import annotations

from collections.abc import Sequence

from ocs.ledger.contract import ANSWERS_KEPT_PER_SESSION, ChargeRequest, RequestType
from tests.ocs.ledger.model import MAX_GIVEN_UP, Account, ModelLedger


def terminates(account: Account) -> bool:
    """terminate.lua fails when it drops, as one too many given up, a session that it was yet to look at."""
    return len(account.sessions) <= MAX_GIVEN_UP


def leave_out(request: ChargeRequest, model: ModelLedger, charged: Sequence[ChargeRequest], now: int) -> None:
    """`charged`: the requests before it; `now`: by the clocks that are right."""
    account = model.accounts[request.account_id]
    session = account.sessions.get(request.session_id)
    known = {r.number for r in charged if (r.session_id, r.type) == (request.session_id, RequestType.UPDATE)}
    while request.type is RequestType.UPDATE and request.number - ANSWERS_KEPT_PER_SESSION in known:
        # That answer is forgotten now: the model gives it again, the script refuses the repetition as late.
        request.number += 1
    for asked in request.services:
        held = session.services.get(asked.key) if session is not None else None
        if held is not None and held.phase == "restricted" and asked.want is None:
            # A report dropped as a whole: does the phase end, as without use, or begin anew?
            asked.max_rate = 0
    if request.origin_host == "pgws" and not request.binding:
        # A host named like a group opens and the group goes on: the script then takes the member for the owner.
        request.origin_host = "other"
    # By a clock that is behind, what is held of a period that is over would not be over: which of two buckets of one name pays?
    request.now = max([request.now, *(bucket.expires for bucket in account.buckets if bucket.expires <= now)])
