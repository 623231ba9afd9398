"""Alerts on what the back office does after charging: history, notices, payments, vouchers, reconciliation, lists."""

from __future__ import annotations

from monitoring.alerts.alert import WARNING, Alert

ALERTS = (
    Alert(
        name="HistoryAway",
        expr="max by (job) (ocs_history_up) == 0",
        lasts="5m",
        severity=WARNING,
        dashboard="notices-history",
        summary="The SQL database of the history cannot be used (the backoffice's log says why); charging goes on, "
        "records wait in their files",
        harm="Care and subscribers see no new records; notices wait.",
        do=(
            "`curl http://127.0.0.1:9464/health` on the node with the housekeeper: is `backoffice` true? If not, the "
            "log "
            "says why.",
            "Is the database up (`pg_isready -h HOST`), and `history.url` right? With SQLite: is the disk full?",
            "After its return the loader catches up by itself.",
        ),
    ),
    Alert(
        name="HistoryStopped",
        expr="ocs_history_stopped > 0",
        lasts="1m",
        severity=WARNING,
        dashboard="notices-history",
        summary="Records are not loaded into SQL: a file is missing or damaged, or the folder is another one (the "
        "backoffice's log says what to do)",
        harm="The history stays behind until the file is back or passed over.",
        do=(
            "The log names the file. Put it back from a copy: loading resumes by itself.",
            "If it is lost, `ocs history resume FILE` passes it over: [HISTORY](../HISTORY.md#how-it-is-fed).",
        ),
    ),
    Alert(
        name="HistoryBehind",
        expr="ocs_history_lag_seconds > 600",
        lasts="10m",
        severity=WARNING,
        dashboard="notices-history",
        summary="The history is {{ $value | humanizeDuration }} behind the charging records",
        harm="Care and subscribers see old records; notices are late.",
        do=("`ocs history show` says how far it is.", "Is the database slow, or was it away? It catches up by itself."),
    ),
    Alert(
        name="HistoryIncomplete",
        expr="increase(ocs_history_missing_events_total[1h]) > 0",
        severity=WARNING,
        dashboard="notices-history",
        summary="Events are missing between two loaded records: a file of records was passed over",
        harm="Statements of the accounts of that file lack its use.",
        do=(
            "The backoffice's log names partition and numbers.",
            "Find the file in a backup. [HISTORY](../HISTORY.md#how-it-is-fed) says how files are loaded.",
        ),
    ),
    Alert(
        name="NoticesLate",
        expr="max by (job) (ocs_notice_lag_seconds) > 300",
        lasts="5m",
        severity=WARNING,
        dashboard="notices-history",
        summary="Notices are not sent: see `ocs notice list --state waiting` and the SMS gateway",
        harm="Subscribers hear late of low credit, of limits and of roaming prices.",
        do=("`ocs notice list --state waiting`.", "Does the SMS gateway answer? The backoffice's log says."),
    ),
    Alert(
        name="NoticesGivenUp",
        expr='sum by (job, state) (increase(ocs_notices_total{state=~"failed|given_up.*|suppressed: (queue full|too '
        'many)"}'
        "[1h])) > 10",
        severity=WARNING,
        dashboard="notices-history",
        summary="Notices are {{ $labels.state }}: `ocs notice list` has the reasons",
        harm="These subscribers do not get their notice.",
        do=("`ocs notice list` has the reason of each.", "A full queue: the gateway is too slow, or away."),
    ),
    Alert(
        name="PaymentsLate",
        expr="max by (job) (ocs_payment_oldest_due_seconds) > 3600",
        lasts="5m",
        severity=WARNING,
        dashboard="business",
        summary="Payment orders have been due for an hour: see the log of the backoffice and `ocs payment list`",
        harm="Automatic top-ups do not come; subscribers run dry.",
        do=("`ocs payment list` and the log of the backoffice.", "Does the provider answer (PaymentsUncertain)?"),
    ),
    Alert(
        name="PaymentsUncertain",
        expr="sum by (job) (increase(ocs_payment_uncertain_total[15m])) > 20",
        severity=WARNING,
        dashboard="business",
        summary="The payment provider does not answer, or with errors: orders wait and are asked for later",
        harm="No money is taken twice. Top-ups wait for a certain answer.",
        do=("Ask the provider. Outcomes are asked for again by themselves.",),
    ),
    Alert(
        name="RefundsDue",
        expr='sum by (job) (increase(ocs_payment_orders_total{state="refund-due"}[1d])) > 0',
        severity=WARNING,
        dashboard="business",
        summary="Payments of accounts that have ended must be paid back by hand: the records `payment` with state "
        "refund-due name them",
        harm="The operator holds money of subscribers who have left.",
        do=(
            "`ocs payment list` names the orders in the state `refund-due`.",
            "Pay each back, then note it: `ocs payment paid-back ORDER` ([PAYMENTS](../PAYMENTS.md#an-order)).",
        ),
    ),
    Alert(
        name="VouchersGuessed",
        expr='sum by (job) (rate(ocs_voucher_entries_total{result=~"voucher|voucher_blocked"}[10m])) > 0.5',
        lasts="10m",
        severity=WARNING,
        dashboard="business",
        summary="Many wrong voucher numbers are entered over the API: somebody may be guessing (the audit trail says "
        "by which key)",
        harm="Accounts are blocked for vouchers after some wrong numbers, so a guess is unlikely to succeed.",
        do=(
            "Find the key in the audit trail; `ocs key list` says whose it is.",
            "If it is misused, `ocs key revoke ID` ends it at once.",
        ),
    ),
    Alert(
        name="FairUseLate",
        expr="max by (job) (ocs_fair_use_overdue_accounts) > 0",
        lasts="6h",
        severity=WARNING,
        dashboard="business",
        summary="Accounts abroad are not evaluated for fair use each day (the housekeeper's log says why)",
        harm="Warnings and surcharges by HOT-ROA-4 are late.",
        do=("Read the housekeeper's log. Unreadable accounts are left out until they can be read.",),
    ),
    Alert(
        name="PortedNumbersRefused",
        expr="max by (job) (ocs_ported_numbers_refused) > 0",
        severity=WARNING,
        dashboard="business",
        summary="The file of ported numbers has mistakes, the numbers before are in use: `ocs numbers check` names its "
        "lines",
        harm="Calls to numbers that were ported since are priced by their old network.",
        do=("`ocs numbers check FILE`, correct the file or fetch it again.",),
    ),
    Alert(
        name="ReconciliationIsOld",
        expr="time() - max by (job) (ocs_reconciliation_timestamp_seconds > 0) > 3 * 86400",
        severity=WARNING,
        dashboard="business",
        summary="The host's usage file has not been compared with our records for three days: `ocs reconcile`",
        harm="Use that the host carried and that was not charged is found late.",
        do=(
            "Did the host's file come? Run `ocs reconcile FILE` ([RECONCILIATION](../RECONCILIATION.md)); make it a "
            "daily "
            "job.",
        ),
    ),
    Alert(
        name="ReconciliationDisputed",
        expr="max by (job) (ocs_reconciliation_bad_lines) > 0",
        severity=WARNING,
        dashboard="business",
        summary="The last ocs reconcile could not read {{ $value }} lines of the host's usage file",
        harm="Use of these lines is not compared.",
        do=("The report of `ocs reconcile` names the lines. Correct the mapping, or ask the host for the file again.",),
    ),
)
