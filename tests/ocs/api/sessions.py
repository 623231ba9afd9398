"""A running data session of an account, as a worker would begin it."""

from __future__ import annotations

from tests.ocs.api.desk import Desk
from tests.ocs.ledger.books import charge, request, service


async def begin(desk: Desk, msisdn: str, session_id: str) -> None:
    account_id = await desk.backend.accounts.find(msisdn)
    when = desk.backend.when()
    asked = request(account_id, "I", 0, service(want=1_000_000), sid=session_id, **when, deadline=when["now"] + 7_200)
    outcome = await charge(desk.ledger, asked)
    assert outcome.services[0].granted, outcome
