"""Makes notices of events, and sends them (HOT-NOT-1, HOT-NOT-2).

An event is noted in the transaction that loads it. Making: its notices are put into the queue, in the words of the
moment. Sending: notices are claimed, sent side by side, and their outcome is stored. A process that is killed at any
step leaves either an event that is noted, or a notice that is claimed again after its lease, under the same id.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import orjson
from sqlalchemy import Connection

from ocs.compose import Paths
from ocs.history.engine import writing
from ocs.history.rows import Loaded
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.notices import queue
from ocs.notices.fields import Recipient, recipient_of
from ocs.notices.log_port import LogPort
from ocs.notices.making import Maker, wanted
from ocs.notices.port import DeliveryPort
from ocs.notices.sending import Rate, Sender
from ocs.notices.states import Reason, State
from ocs.outbox.files import parse_event_id
from ocs.outbox.lost_events import LostEvents
from ocs.process.back_office.database import Database
from ocs.process.child_main import Child
from ocs.telemetry.throttled_log import ThrottledLog
from ocs.values.moment import DAY_S

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""Between looks for events and for notices whose time has come; none while there are more."""
EVENTS_TOGETHER = 200
"""Events whose notices are made in one transaction."""
FORGET_EVERY_S = 600.0
FORGOTTEN_TOGETHER = 5_000
MAX_OWNER = 80
LOST_TOGETHER = 500
LEASE_BEYOND_S = 5
"""A claim lasts so much longer than the port may take."""


class NotedEvents:
    """Hook of the loader: notes the events that notices are about."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now

    def add(self, connection: Connection, events: Sequence[Loaded]) -> None:
        queue.note(connection, wanted(events, self._now()))


class Making:
    def __init__(
        self, child: Child, database: Database, ledger: RedisLedger, maker: Maker, lost_events: LostEvents
    ) -> None:
        self._child, self._database, self._ledger, self._maker = child, database, ledger, maker
        self._lost_events = lost_events

    async def step(self) -> bool:
        """Make the notices of the oldest events; False = there are no more."""
        events = await self._database.call(self._noted)
        if not events:
            return False
        records = [orjson.loads(record) for _, record in events]
        recipients = await asyncio.gather(*(self._recipient(str(record["account"])) for record in records))
        notices: list[queue.NewNotice] = []
        for (event_id, _), record, recipient in zip(events, records, recipients, strict=True):
            notices += self._maker.made(event_id, record, recipient)
        notices = [self._as_allowed(each) for each in notices]
        for state, reason in await self._database.call(partial(self._put, [each for each, _ in events], notices)):
            self._child.metrics.count("ocs_notices", f"{state}: {reason}" if reason else state)
        return len(events) == EVENTS_TOGETHER

    def _noted(self) -> list[tuple[str, str]]:
        with self._database.engine.connect() as connection:
            found = queue.noted(connection, EVENTS_TOGETHER)
            self._child.metrics.set("ocs_notice_events", queue.noted_count(connection) if found else 0)
        return found

    def _put(self, event_ids: Sequence[str], notices: Sequence[queue.NewNotice]) -> list[tuple[str, str]]:
        settings = self._child.settings.notices
        with writing(self._database.engine) as connection:
            told = queue.put(
                connection,
                event_ids,
                notices,
                now=self._child.environment.now(),
                most_of_account=settings.max_per_account,
                most=settings.max_waiting,
            )
        return [(state.value, reason) for _, state, reason in told]

    def _as_allowed(self, notice: queue.NewNotice) -> queue.NewNotice:
        if notice.event_id in self._lost_events.known:
            return replace(notice, reason=Reason.ROLLED_BACK.value)
        if self._child.settings.notices.port == "off" and not notice.reason:
            return replace(notice, reason=Reason.OFF.value)
        return notice

    async def _recipient(self, account_id: str) -> Recipient | None:
        """None = the account has ended, or cannot be read."""
        when = self._child.when()
        try:
            view = await self._ledger.read(account_id, **when)
            if view is None and (moved_to := await self._ledger.moved_to(account_id)):
                view = await self._ledger.read(moved_to, **when)
        except LedgerError:
            return None
        return None if view is None or view.state == "terminated" else recipient_of(view)


class Sending:
    """`owner`: this process, among all that ever claim notices of the database."""

    def __init__(
        self,
        child: Child,
        database: Database,
        ledger: RedisLedger,
        maker: Maker,
        port: DeliveryPort,
        owner: str,
        lost_events: LostEvents,
    ) -> None:
        self._child, self._database, self._ledger, self._owner = child, database, ledger, owner
        self._settings = settings = child.settings.notices
        environment = child.environment
        self._sender = Sender(
            port, attempts=settings.attempts, now=environment.now, not_before=maker.not_before, random=environment.rng
        )
        self._lost_events = lost_events
        self._rate = Rate(settings.rate_per_s, environment.monotonic)

    async def step(self) -> bool:
        """Send what may be sent now, at most `concurrency` notices; False = there are no more."""
        limit = min(self._settings.concurrency, self._rate.allowed())
        claimed = await self._database.call(partial(self._claim, limit)) if limit else []
        if not claimed:
            return False
        self._rate.used(len(claimed))
        lost = await self._lost(claimed)
        outcomes = [queue.Outcome(each.id, State.SUPPRESSED, Reason.ROLLED_BACK.value) for each in lost]
        outcomes += await self._sender.send([each for each in claimed if each not in lost])
        await self._database.call(partial(self._finish, outcomes))
        for each in outcomes:
            self._child.metrics.count("ocs_notices", _label(each))
        return True

    def _claim(self, limit: int) -> list[queue.Claimed]:
        self._suppress_lost()
        now, lease_s = self._child.environment.now(), self._settings.timeout_s + LEASE_BEYOND_S
        with self._database.engine.connect() as connection:
            found = queue.waiting(connection, now)
            self._measure(found, now)
        if not found.oldest_due and not found.states[State.SENDING.value]:
            return []
        with writing(self._database.engine) as connection:
            return queue.claim(connection, owner=self._owner, now=now, lease_s=lease_s, limit=limit)

    def _suppress_lost(self) -> None:
        """Notices of events that the ledger has lost, as the housekeeper found, are not sent."""
        event_ids = self._lost_events.fresh()
        for start in range(0, len(event_ids), LOST_TOGETHER):
            some = event_ids[start : start + LOST_TOGETHER]
            with writing(self._database.engine) as connection:
                queue.suppress(connection, some, Reason.ROLLED_BACK, self._child.environment.now())

    def _measure(self, found: queue.Waiting, now: int) -> None:
        for state, count in found.states.items():
            self._child.metrics.set("ocs_notices_open", count, state)
        late_s = max(now - found.oldest_due, 0) if found.oldest_due else 0
        self._child.metrics.set("ocs_notice_lag_seconds", late_s)

    def _finish(self, outcomes: Sequence[queue.Outcome]) -> None:
        with writing(self._database.engine) as connection:
            queue.finish(connection, outcomes, owner=self._owner, now=self._child.environment.now())

    async def _lost(self, claimed: Sequence[queue.Claimed]) -> list[queue.Claimed]:
        """Those whose event the ledger does not have: it was rolled back, and has not come so far again."""
        events = {each.id: parse_event_id(each.event_id) for each in claimed}
        partitions = sorted({partition for partition, _ in events.values()})
        last = await asyncio.gather(*(self._ledger.outbox_last(partition) for partition in partitions))
        newest = dict(zip(partitions, last, strict=True))
        return [each for each in claimed if newest[events[each.id][0]] < events[each.id][1]]


def _label(outcome: queue.Outcome) -> str:
    """State, and the reason if it is one of ours."""
    if outcome.state is State.WAITING:
        return "again"
    return f"{outcome.state}: {outcome.reason}" if outcome.reason in {*Reason} else outcome.state.value


class Forgetting:
    """Deletes notices that were kept long enough."""

    def __init__(self, child: Child, database: Database) -> None:
        self._child, self._database = child, database

    async def step(self) -> bool:
        return await self._database.call(self._forget) == FORGOTTEN_TOGETHER

    def _forget(self) -> int:
        before = self._child.environment.now() - self._child.settings.notices.keep_days * DAY_S
        with writing(self._database.engine) as connection:
            return queue.forget(connection, before, FORGOTTEN_TOGETHER)


def port_of(child: Child) -> DeliveryPort:
    settings = child.settings.notices
    if settings.port == "webhook":
        from ocs.notices.webhook_port import WebhookPort

        return WebhookPort(
            settings.url,
            settings.secret,
            timeout_s=settings.timeout_s,
            connections=settings.concurrency,
            now=child.environment.now,
        )
    return LogPort(Paths(child.settings.data_dir).notices)


async def run_noticing(
    child: Child, database: Database, ledger: RedisLedger, is_current: Callable[[], bool] = lambda: True
) -> None:
    """Until the process is asked to end. No notices are made while the texts in force may not be known."""
    port = port_of(child)
    if child.settings.notices.port != "webhook":
        log.info("notices are sent to nobody: notices.port is %s", child.settings.notices.port)
    maker = Maker(child.catalogue, child.environment.now, ThrottledLog(child.environment.monotonic))
    owner = f"{child.settings.diameter.identity} {os.getpid()} {child.environment.entropy():016x}"[-MAX_OWNER:]
    lost_events = LostEvents(Paths(child.settings.data_dir).lost_events)
    making = Making(child, database, ledger, maker, lost_events)
    sending = Sending(child, database, ledger, maker, port, owner, lost_events)

    async def make() -> bool:
        return is_current() and await making.step()

    try:
        async with asyncio.TaskGroup() as loops:
            loops.create_task(database.run_steps("making notices", PAUSE_S, make))
            loops.create_task(database.run_steps("sending notices", PAUSE_S, sending.step))
            loops.create_task(
                database.run_steps("forgetting notices", FORGET_EVERY_S, Forgetting(child, database).step)
            )
    finally:
        await port.close()
