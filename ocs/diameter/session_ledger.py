"""What RAR and ASR need of the ledger: is a session still open, release it, announce a change once more."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ocs.diameter.rar_asr import Job, Releaser
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.notices import Notice

log = logging.getLogger(__name__)

RELEASE_REASON = "lost"


class SessionLedger:
    """`when()` returns now= and month= of a ledger operation. No method raises if Redis is unavailable."""

    def __init__(self, ledger: Releaser, when: Callable[[], dict[str, int]]) -> None:
        self._ledger = ledger
        self._when = when

    async def is_open(self, job: Job) -> bool:
        """Whether the session is open; True if the ledger cannot tell.

        Also True for a terminated account: its sessions were given up, but their clients do not know yet.
        """
        try:
            account = await self._ledger.read(job.account_id, **self._when())
        except (LedgerUnavailable, LedgerError):
            return True
        if account is None or account.state == "terminated":
            return True
        return any(session.session_id == job.session.session_id for session in account.sessions)

    async def release(self, job: Job) -> None:
        """Free what the session holds: its client no longer knows it."""
        try:
            await self._ledger.release_session(
                job.account_id, job.session.session_id, reason=RELEASE_REASON, **self._when()
            )
        except LedgerUnavailable as error:
            log.warning(
                "a session that its client no longer knows could not be released; its units are held until its "
                "deadline: %s",
                error,
            )

    async def announce(self, notice: Notice) -> None:
        """Publish a notice again, for the worker that now has the connection."""
        try:
            await self._ledger.announce(notice)
        except LedgerUnavailable as error:
            log.warning("a RAR or ASR could not be passed to another worker; Validity-Time ends the grant: %s", error)
