"""Re-authorizing or aborting the sessions of an account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ocs.accounts.errors import UnknownError
from ocs.accounts.operations import AccountOperations
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.contract.operations import NoticeLedger
from ocs.ledger.contract.views import SessionView
from ocs.values.identities import Msisdn

SessionAction = Literal["reauthorize", "abort"]
"""The client is sent a RAR (RFC 8506 §5.5) or an ASR (RFC 6733 §8.5.1)."""
CUSTOMER_CARE = "care"
"""Reason of a notice that a person asked for."""


@dataclass(frozen=True, slots=True)
class SessionSelection:
    account_id: str
    sessions: tuple[SessionView, ...]
    exempt: int
    """Sessions left open: they have an emergency call or another service that is always granted (HOT-RAT-2)."""


class SessionOperations:
    """`clock` gives Unix seconds."""

    def __init__(self, accounts: AccountOperations, ledger: NoticeLedger, clock: Callable[[], float]) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock

    async def select(self, msisdn: Msisdn, action: SessionAction, session_id: str = "") -> SessionSelection:
        """The open sessions to act on: that of `session_id`, or all. An emergency call is aborted only by its id.

        UnknownError: "account", "session".
        """
        view = (await self._accounts.read(msisdn)).view
        found = tuple(each for each in view.live_sessions if session_id in ("", each.session_id))
        if not found:
            raise UnknownError("session", f"{msisdn} has no open session" + (" of this id" if session_id else ""))
        if action == "reauthorize" or session_id:
            return SessionSelection(view.account_id, found, 0)
        others = tuple(each for each in found if not each.always)
        return SessionSelection(view.account_id, others, len(found) - len(others))

    async def announce(self, action: SessionAction, selection: SessionSelection) -> None:
        """Tell the workers. The one connected to the client sends the request; its answer is not waited for."""
        sessions = tuple(
            NoticedSession(each.session_id, each.origin_host, each.origin_realm, each.relay, each.context)
            for each in selection.sessions
        )
        await self._ledger.announce(Notice(action, CUSTOMER_CARE, self._clock(), selection.account_id, sessions))
