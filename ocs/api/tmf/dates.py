"""When a change was asked for and confirmed, as its answer says it. A repetition says what the first answer said."""

from __future__ import annotations

from dataclasses import dataclass

from ocs.accounts.tries import begun
from ocs.api.call import Call
from ocs.history.service import HistoryUnavailableError
from ocs.ledger.contract.views import AccountView

EVER = (0, 2**40)
"""Unix seconds."""


@dataclass(frozen=True, slots=True)
class Dates:
    """Unix seconds; 0 = not known."""

    requested: int
    confirmed: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, before it is carried out. Unix seconds."""

    now: int
    first: int
    """Time of its first try within the week in which answers are kept."""

    async def dates(self, call: Call, view: AccountView, kind: str, reference: str, *, applied: bool) -> Dates:
        """`applied`: by this try. Otherwise the history knows when, and before it has loaded that, the first try."""
        if applied:
            return Dates(self.first, self.now)
        if at := await _applied_at(call, view, kind, reference):
            return Dates(at, at)
        return Dates(self.first, self.first) if call.repeated else Dates(0, 0)


async def asked(call: Call) -> Asked:
    """Call it before the change."""
    now = call.backend.environment.now()
    return Asked(now, int((await begun(call.repetition, lambda: {"at": now}))["at"]))


async def _applied_at(call: Call, view: AccountView, kind: str, reference: str) -> int:
    if call.container.history is None:
        return 0
    try:
        found = await call.container.history.transactions(
            view.ids, EVER, kinds=(kind,), reference=reference, after=None, limit=1
        )
    except HistoryUnavailableError:
        return 0
    return found[0].at if found else 0
