"""The housekeeper process: what nobody waits for. Four loops, each of which waits when Redis is away and goes on by
itself:

- sweeper: sessions past their deadline, renewals and ends of packages (HOT-PKG-2), a bounded batch of each partition
  at a time;
- records: outbox → charging records, synced, then forgotten by the outbox (HOT-REC-2);
- orphans: sessions whose client has come back with a higher Origin-State-Id, given up after a grace period (RFC 6733 §8.6);
- audit: all accounts slowly, over and over, so that drift is seen on a graph before anybody asks (`ocs audit` looks
  at once).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

from ocs.child import Child, connected_ledger, main
from ocs.ledger.audit import AuditReport, violations
from ocs.ledger.contract import LedgerError, LedgerUnavailable
from ocs.ledger.redis_ledger import RedisLedger
from ocs.records.consumer import ForeignOutboxError, Pump
from ocs.records.files import RecordsError
from ocs.records.writer import RecordWriter
from ocs.server import Paths

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
SWEEP_BATCH = 100
"""Accounts of one partition in one sweep: 6,400 a second with 64 partitions."""
SWEEP_TOGETHER = 16
"""Partitions swept at once: they share the disk's syncs, and yet charging waits for no more than so many scripts."""
RECORDS_EVERY_S = 0.5
"""Fewer and larger batches cost the disk and the processor less than many small ones."""
RECORDS_IDLE_S = 0.3
"""Added to it when there was nothing to store."""
RETRY_S = 1.0
COMPLAIN_EVERY_S = 60.0
"""A fault that lasts (full disk, another ledger's folder) is logged so often."""
AUDIT_ACCOUNTS_PER_S = 200
"""About 2 % of a core: 100,000 accounts in eight minutes."""
AUDIT_PAUSE_S = 30.0
"""At least this from the start of one pass to that of the next."""
ORIGIN_LOOK_S = 5.0
"""How often clients that may have lost their sessions are looked for."""
ORIGIN_GRACE_S = 60
"""A client that has come back with a higher Origin-State-Id may still settle what it knows of."""
ORIGIN_MEMORY_S = 86_400
"""A restart longer ago has been dealt with, by an earlier housekeeper or by the sessions' deadlines."""
ORPHAN_ACCOUNTS_PER_S = 2_000
"""Accounts looked at for orphans: 100,000 in 50 seconds."""
LAST_ROUND_S = 10.0
"""When asked to end, for the records of the last requests."""
NICENESS = 5
"""Charging comes first when the processor is short; a lag of the records is seen and harmless."""


async def keep_house(child: Child) -> None:
    os.nice(NICENESS)
    async with connected_ledger(child) as ledger:
        if ledger is None:
            return
        child.tell_ready()
        async with asyncio.TaskGroup() as loops:
            loops.create_task(sweep_loop(child, ledger))
            loops.create_task(records_loop(child, ledger))
            loops.create_task(audit_loop(child, ledger))
            loops.create_task(orphans_loop(child, ledger))


async def _patiently(child: Child, pause_s: float, step: Callable[[], Awaitable[None]]) -> None:
    """Run `step` again and again until the end; Redis being away only makes it wait."""
    while not await child.wait_stopping(pause_s):
        try:
            await step()
        except LedgerUnavailable as error:
            log.warning("%s; waiting for Redis", error)
            await child.wait_stopping(RETRY_S)


# -- sweeper


async def sweep_loop(child: Child, ledger: RedisLedger) -> None:
    async def step() -> None:
        await sweep_once(child, ledger)

    await _patiently(child, SWEEP_EVERY_S, step)


async def sweep_once(child: Child, ledger: RedisLedger) -> int:
    """See to what is due now, at most a batch of each partition; returns how many accounts."""
    swept = 0
    for first in range(0, ledger.partitions, SWEEP_TOGETHER):
        some = range(first, min(first + SWEEP_TOGETHER, ledger.partitions))
        swept += sum(await asyncio.gather(*(_sweep_partition(child, ledger, partition) for partition in some)))
    return swept


async def _sweep_partition(child: Child, ledger: RedisLedger, partition: int) -> int:
    now = child.world.now()
    month = child.catalogue.month_of(now)
    swept = 0
    for account_id in await ledger.due(partition, now=now, count=SWEEP_BATCH):
        try:
            await ledger.sweep(account_id, now=now, month=month)
            child.metrics.count("ocs_swept_accounts")
            swept += 1
        except LedgerError as error:
            log.error("account %s cannot be swept: %s", account_id, error)
            child.metrics.count("ocs_sweep_failures")
    return swept


# -- records


def record_writer(child: Child) -> RecordWriter:
    def written(kind: str, count: int) -> None:
        child.metrics.count("ocs_records_written", kind, by=count)

    def missing(count: int) -> None:
        child.metrics.count("ocs_records_missing", by=count)

    return RecordWriter(
        Paths(child.settings.data_dir).records,
        rotate_octets=child.settings.records.rotate_octets,
        rotate_s=child.settings.records.rotate_s,
        clock=child.world.clock,
        written=written,
        missing=missing,
    )


async def records_loop(child: Child, ledger: RedisLedger) -> None:
    """Begin (again and again, until folder and ledger fit), then pump; at the end pump what is left."""
    writer = record_writer(child)
    pump = Pump(ledger, [writer])
    begun = False
    complained = -COMPLAIN_EVERY_S

    async def step() -> None:
        nonlocal begun, complained
        moved = 0
        try:
            if not begun:
                await asyncio.to_thread(writer.open)
                await pump.begin()
                begun = True
            moved = await pump.round()
            child.metrics.set("ocs_outbox_lag_events", pump.lag)
            child.metrics.set("ocs_records_stopped", 0)
        except (OSError, RecordsError, ForeignOutboxError) as error:
            child.metrics.set("ocs_records_stopped", 1)
            if child.world.clock() - complained >= COMPLAIN_EVERY_S:
                complained = child.world.clock()
                log.error("charging records stopped, the outbox grows: %s", error)
            await _measure_lag(child, ledger)
            await child.wait_stopping(RETRY_S)
        if not moved:
            await child.wait_stopping(RECORDS_IDLE_S)

    await _patiently(child, RECORDS_EVERY_S, step)
    if begun:
        await _last_rounds(pump)
    writer.close()


async def _measure_lag(child: Child, ledger: RedisLedger) -> None:
    lags = await asyncio.gather(*(ledger.outbox_lag(partition) for partition in range(ledger.partitions)))
    child.metrics.set("ocs_outbox_lag_events", sum(lags))


async def _last_rounds(pump: Pump) -> None:
    try:
        async with asyncio.timeout(LAST_ROUND_S):
            while await pump.round():
                pass
    except (OSError, TimeoutError, LedgerUnavailable) as error:
        log.warning("the last records are written at the next start: %s", error or "no time left")


# -- orphans


async def orphans_loop(child: Child, ledger: RedisLedger) -> None:
    seen_to: dict[tuple[str, str], int] = {}

    async def step() -> None:
        now = child.world.now()
        restarted = {
            client: state_id
            for client, (state_id, at) in (await ledger.origin_states()).items()
            if ORIGIN_GRACE_S <= now - at < ORIGIN_MEMORY_S and seen_to.get(client) != state_id
        }
        if restarted:
            await release_orphans(child, ledger, restarted)
            seen_to.update(restarted)

    await _patiently(child, ORIGIN_LOOK_S, step)


async def release_orphans(child: Child, ledger: RedisLedger, restarted: dict[tuple[str, str], int]) -> int:
    """Give up the sessions that these clients ((Origin-Host, relay or "") → Origin-State-Id) had before they lost their state, each
    those that came last the way on which it said so.
    """
    released = looked = 0
    async for account_id in ledger.account_ids():
        looked += 1
        if looked % ORPHAN_ACCOUNTS_PER_S == 0 and await child.wait_stopping(1.0):
            break
        view = await ledger.read(account_id, **child.when())
        for session in view.sessions if view is not None else ():
            newest = restarted.get((session.origin_host.lower(), session.via.lower()), 0)
            if not session.released and 0 < session.origin_state_id < newest:
                try:
                    given_up = await ledger.release_session(
                        account_id, session.session_id, reason="restarted", **child.when()
                    )
                except LedgerError as error:  # one account must not keep the others' money held
                    log.error("account %s: a session of a restarted client stays open: %s", account_id, error)
                    continue
                if given_up:
                    child.metrics.count("ocs_orphans_released")
                    released += 1
    if released:
        log.info("%d sessions of %d restarted clients were given up", released, len(restarted))
    return released


# -- audit


async def audit_loop(child: Child, ledger: RedisLedger) -> None:
    async def step() -> None:
        await audit_pass(child, ledger)

    await _patiently(child, AUDIT_PAUSE_S / 10, step)


async def audit_pass(child: Child, ledger: RedisLedger) -> AuditReport:
    """All accounts once, at AUDIT_ACCOUNTS_PER_S; what is broken shows in the metrics at once, totals at the end."""
    started = child.world.clock()
    report = AuditReport()
    drift = 0
    async for account_id in ledger.account_ids():
        if report.accounts % AUDIT_ACCOUNTS_PER_S == AUDIT_ACCOUNTS_PER_S - 1 and await child.wait_stopping(1.0):
            return report
        now = child.world.now()
        view = await ledger.read(account_id, now=now, month=child.catalogue.month_of(now))
        if view is None:
            continue
        report.add(view)
        explained = view.credit_micro_eur + view.spent_micro_eur + view.refunded_micro_eur + view.expired_micro_eur
        drift += abs(view.paid_in_micro_eur - explained)
        for violation in violations(view):
            log.error("account %s breaks invariant %d: %s", violation.account, violation.invariant, violation.detail)
            child.metrics.set("ocs_audit_violations", len(report.violations))
    child.metrics.set("ocs_accounts", report.accounts)
    child.metrics.set("ocs_sessions_open", report.open_sessions)
    child.metrics.set("ocs_reservations_held_eur", report.held_micro_eur)
    child.metrics.set("ocs_audit_violations", len(report.violations))
    child.metrics.set("ocs_audit_drift_eur", drift)
    child.metrics.set("ocs_audit_passed_timestamp_seconds", child.world.now())
    await child.wait_stopping(max(AUDIT_PAUSE_S - (child.world.clock() - started), 0.0))
    return report


if __name__ == "__main__":
    main("housekeeper", keep_house)
