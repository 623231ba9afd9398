"""Having the network ask anew for an account's sessions, or end them."""

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

Wish = Literal["reauthorize", "abort"]
"""RAR (RFC 8506 §5.5), or ASR (RFC 6733 §8.5.1)."""
BY_CARE = "care"
"""Reason of a notice that a person caused."""


@dataclass(frozen=True, slots=True)
class Chosen:
    account_id: str
    sessions: tuple[SessionView, ...]
    spared: int
    """Sessions that go on, as they have an emergency call or what else is always free (HOT-RAT-2)."""


class SessionOperations:
    """`clock`: Unix seconds."""

    def __init__(self, accounts: AccountOperations, ledger: NoticeLedger, clock: Callable[[], float]) -> None:
        self._accounts = accounts
        self._ledger = ledger
        self._clock = clock

    async def choose(self, msisdn: Msisdn, wish: Wish, session_id: str = "") -> Chosen:
        """Open sessions that it concerns: the one of `session_id`, or all. Nothing aborts an emergency call unless it
        is named.

        UnknownError: "account", "session".
        """
        view = (await self._accounts.look(msisdn)).view
        found = tuple(each for each in view.live_sessions if session_id in ("", each.session_id))
        if not found:
            raise UnknownError("session", f"{msisdn} has no open session" + (" of this id" if session_id else ""))
        if wish == "reauthorize" or session_id:
            return Chosen(view.account_id, found, 0)
        others = tuple(each for each in found if not each.always)
        return Chosen(view.account_id, others, len(found) - len(others))

    async def announce(self, wish: Wish, chosen: Chosen) -> None:
        """Whichever worker has the connection sends the request; the network answers in its own time."""
        told = tuple(
            NoticedSession(each.session_id, each.origin_host, each.origin_realm, each.relay, each.context)
            for each in chosen.sessions
        )
        await self._ledger.announce(Notice(wish, BY_CARE, self._clock(), chosen.account_id, told))
