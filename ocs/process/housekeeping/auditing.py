"""Audit: checks the invariants of all accounts, slowly and continuously, for the metrics (`ocs audit`: at once)."""

from __future__ import annotations

import logging

from ocs.ledger.audit import AuditReport, audit_slice
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.child_main import Child
from ocs.process.housekeeping.retrying import PostponedAccounts, run_loop

log = logging.getLogger(__name__)

AUDIT_ACCOUNTS_PER_S = 200
"""Rate of the audit: 100,000 accounts in eight minutes, with 2 % of a core. An empty partition counts as an account."""
AUDIT_SLICE = 50
"""Accounts that are read together."""
AUDIT_REST_S = 0.25
"""Least pause to keep the rate; shorter ones are added up."""
AUDIT_PAUSE_S = 30.0
"""Least time between the starts of two passes."""


class Auditing:
    """`share`: (index, number of processes), if several processes share the ledger's partitions."""

    def __init__(
        self, child: Child, ledger: RedisLedger, postponed: PostponedAccounts, share: tuple[int, int] = (0, 1)
    ) -> None:
        self._child = child
        self._ledger = ledger
        self._postponed = postponed
        self._partitions = range(share[0], ledger.partitions, share[1])

    async def run(self) -> None:
        await run_loop(self._child, AUDIT_PAUSE_S / 10, self.audit_pass)

    async def audit_pass(self) -> AuditReport:
        """Audit all accounts once, at AUDIT_ACCOUNTS_PER_S. Violations are counted at once, totals at the end."""
        started, report, owed_s = self._child.environment.clock(), AuditReport(), 0.0
        for partition in self._partitions:
            cursor, seen = 0, set[str]()
            while True:
                before = report.looked_at
                found, cursor = await self._slice(partition, cursor, seen)
                report.merge(found)
                self._tell(found, report)
                owed_s += max(report.looked_at - before, 1) / AUDIT_ACCOUNTS_PER_S
                if owed_s >= AUDIT_REST_S:
                    if await self._child.wait_stopping(owed_s):
                        return report
                    owed_s = 0.0
                if not cursor:
                    break
        self._measure(report)
        await self._child.wait_stopping(max(AUDIT_PAUSE_S - (self._child.environment.clock() - started), 0.0))
        return report

    async def _slice(self, partition: int, cursor: int, seen: set[str]) -> tuple[AuditReport, int]:
        looked_at, failed = set[str](), set[str]()

        def unreadable(account_id: str, error: LedgerError) -> None:
            failed.add(account_id)
            self._postponed.failed(account_id, "cannot be audited", error)

        when = self._child.when()
        found, following = await audit_slice(
            self._ledger,
            partition,
            cursor,
            now=when["now"],
            month=when["month"],
            day=when["day"],
            count=AUDIT_SLICE,
            unreadable=unreadable,
            skips=lambda account_id: account_id in seen or self._postponed.skips(account_id),
            seen=looked_at,
        )
        seen |= looked_at
        for account_id in looked_at - failed:
            self._postponed.worked(account_id)
        return found, following

    def _tell(self, found: AuditReport, report: AuditReport) -> None:
        for violation in found.violations:
            log.error(
                "account %s: invariant %s is violated: %s",
                *(violation.account, violation.invariant, violation.detail),
            )
        if found.violations:
            self._child.metrics.set("ocs_audit_violations", len(report.violations))

    def _measure(self, report: AuditReport) -> None:
        metrics = self._child.metrics
        metrics.set("ocs_accounts", report.accounts)
        metrics.set("ocs_sessions_open", report.open_sessions)
        metrics.set("ocs_reservations_held_eur", report.held_micro_eur)
        metrics.set("ocs_audit_violations", len(report.violations))
        metrics.set("ocs_audit_drift_eur", report.drift_micro_eur)
        for name, micro_eur in report.totals.items():
            metrics.set("ocs_money_eur", micro_eur, name.removesuffix("_micro_eur"))
        metrics.set("ocs_transfers_in_transit", report.transfers)
        metrics.set("ocs_in_transit_eur", report.in_transit_micro_eur)
        metrics.set("ocs_audit_passed_timestamp_seconds", self._child.environment.now())
