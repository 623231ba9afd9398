"""Orphans: releases the sessions that a client has lost, as its higher Origin-State-Id says, after a grace period
(RFC 6733 §8.6).
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping

from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import PostponedAccounts, concerns_all, run_loop
from ocs.values.moment import DAY_S
from ocs.values.partition_rotation import batches

log = logging.getLogger(__name__)

ORIGIN_LOOK_S = 5.0
"""How often the ledger is asked for restarted clients."""
ORIGIN_GRACE_S = 60
"""Time for a restarted client to report what it still knows of its sessions."""
ORIGIN_MEMORY_S = DAY_S
"""Earlier restarts are ignored: their sessions were released before, or at their deadlines."""
SETS_PER_S = 1_000
"""Rate of reading the sets of sessions, one per client and partition: 16 s per client with 16,384 partitions."""
SETS_TOGETHER = 50
SESSIONS_PER_S = 2_000
"""Rate of releasing sessions: 100,000 in 50 s."""

Client = tuple[str, str]
"""(Origin-Host, relay or ""), in lower case."""


class Orphans:
    def __init__(self, child: Child, ledger: RedisLedger, postponed: PostponedAccounts) -> None:
        self._child = child
        self._ledger = ledger
        self._postponed = postponed
        self._handled: dict[Client, int] = {}
        """Client → Origin-State-Id up to which its sessions were released."""

    async def run(self) -> None:
        await run_loop(self._child, ORIGIN_LOOK_S, self.step)

    async def step(self) -> None:
        now, states = self._child.environment.now(), await self._ledger.origin_states()
        self._handled = {client: state for client, state in self._handled.items() if client in states}
        restarted = {
            client: state_id
            for client, (state_id, at) in states.items()
            if ORIGIN_GRACE_S <= now - at < ORIGIN_MEMORY_S and self._handled.get(client) != state_id
        }
        if restarted and await self.release(restarted):
            self._handled.update(restarted)

    async def release(self, restarted: Mapping[Client, int]) -> bool:
        """Release the sessions that these clients (→ Origin-State-Id) began with a lower Origin-State-Id and that last
        came through the same relay. False = not finished, as the process is asked to end.
        """
        hosts = sorted({host for host, _ in restarted})
        released = 0
        for host in hosts:
            newest = {relay: state_id for (name, relay), state_id in restarted.items() if name == host}
            for some in batches(range(self._ledger.partitions), SETS_TOGETHER):
                found = await asyncio.gather(*(self._ledger.sessions_of_client(each, host) for each in some))
                cost_s = len(some) / SETS_PER_S
                for partition, pairs in zip(some, found, strict=True):
                    released += await self._release_of(host, partition, pairs, newest)
                    cost_s += len(pairs) / SESSIONS_PER_S
                if await self._child.wait_stopping(cost_s):
                    return False
        if released:
            log.info("%d sessions of %d restarted clients were given up", released, len(restarted))
        return True

    async def _release_of(
        self, host: str, partition: int, pairs: list[tuple[str, str]], newest: Mapping[str, int]
    ) -> int:
        """Release sessions of one partition, and remove members of the set that are out of date."""
        sessions: defaultdict[str, list[str]] = defaultdict(list)
        for account_id, session_id in pairs:
            sessions[account_id].append(session_id)
        released = 0
        for account_id, session_ids in sessions.items():
            if self._postponed.skips(account_id):
                continue
            try:
                view = await self._ledger.read(account_id, **self._child.when())
                for session_id in session_ids:
                    if not _has(view, session_id, host):
                        await self._ledger.forget_client_session(partition, host, account_id, session_id)
                    elif _is_orphan(view, session_id, newest):
                        released += await self._give_up(account_id, session_id)
            except LedgerError as error:  # go on: the other accounts' sessions hold money
                if concerns_all(error):
                    raise
                self._postponed.failed(account_id, "keeps a session of a restarted client open", error)
            else:
                self._postponed.worked(account_id)
        return released

    async def _give_up(self, account_id: str, session_id: str) -> bool:
        given_up = await self._ledger.release_session(account_id, session_id, reason="restarted", **self._child.when())
        if given_up:
            self._child.metrics.count("ocs_orphans_released")
        return given_up


def _has(view: AccountView | None, session_id: str, host: str) -> bool:
    """Whether the account has the open session, and the client owns it."""
    sessions = view.sessions if view is not None else ()
    return any(
        each.session_id == session_id and not each.released and each.origin_host.lower() == host for each in sessions
    )


def _is_orphan(view: AccountView | None, session_id: str, newest: Mapping[str, int]) -> bool:
    sessions = view.sessions if view is not None else ()
    return any(
        each.session_id == session_id and 0 < each.origin_state_id < newest.get(each.relay.lower(), 0)
        for each in sessions
    )
