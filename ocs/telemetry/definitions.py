"""All metrics of the server: name, kind, help, labels. Tests hold dashboards and alerts against this table.

Label values are bounded: fixed words, Result-Codes, services of the catalogue and configured peers; any other value
becomes "other".
"""

from __future__ import annotations

from dataclasses import dataclass

from ocs.values.money import MICRO

SECONDS_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0
)  # fmt: skip
"""Upper bounds of latency buckets: fine around the targets (p50 1 ms, p99 20 ms), coarse up to the answer timeout."""

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric family. Its integers are divided by `scale` when exported (micro-EUR → EUR)."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    scale: int = 1
    known: tuple[tuple[str, ...], ...] = ()
    """Values of each label, for a counter whose every combination is exported from the start, as 0. So the first event
    is an increase: Prometheus takes the first value of a new series for its beginning."""


REFUSED_CONNECTIONS = (
    "address", "address_limit", "connection_limit", "pending_limit", "not_a_cer", "cer_timeout", "bad_cer",
    "bad_stream", "unknown_peer", "no_common_security", "no_common_application", "duplicate", "tls", "stopping",
)  # fmt: skip
REFUSED_REQUESTS = (
    "origin_host", "origin_realm", "route", "session_id", "context", "subscriber", "refund", "rate", "overload",
    "stopping", "after_dpr",
)  # fmt: skip
CLIENT_REASONS = ("topup", "package", "pool", "refund", "reclaim", "limit", "state", "identity", "care")
VOUCHER_RESULTS = (
    "applied", "again", "voucher", "voucher_blocked", "spent", "expired", "ceiling", "state", "no_separate", "busy",
    "other",
)  # fmt: skip
PAYMENT_STATES = ("ordered", "submitted", "succeeded", "credited", "failed", "returned", "refund-due")

_CALL = ("command", "type", "context")

_TABLE = (
    Definition("ocs_requests", COUNTER, "Diameter requests received", _CALL),
    Definition("ocs_answers", COUNTER, "Diameter answers sent, by Result-Code", (*_CALL, "result")),
    Definition("ocs_peer_answers", COUNTER, "Answers to CCRs by peer and Result-Code", ("origin_host", "result")),
    Definition("ocs_answers_dropped", COUNTER, "Answers whose connection was gone, and received ones of no request"),
    Definition("ocs_answer_seconds", HISTOGRAM, "Time from a request's last octet to its answer", _CALL),
    Definition(
        "ocs_trace_spans",
        COUNTER,
        "Spans of traced requests: made, exported, failed to export",
        ("result",),
        known=(("made", "exported", "failed"),),
    ),
    Definition("ocs_in_flight", GAUGE, "Requests without an answer yet"),
    Definition("ocs_peers", GAUGE, "Peer connections of all workers by state of RFC 6733 §5.6", ("state",)),
    Definition("ocs_peer_connections", GAUGE, "Open connections of a peer, over all workers", ("origin_host",)),
    Definition(
        "ocs_connections_refused",
        COUNTER,
        "Connections refused before they were open",
        ("reason",),
        known=(REFUSED_CONNECTIONS,),
    ),
    Definition("ocs_connections_lost", COUNTER, "Connections that ended", ("reason",)),
    Definition(
        "ocs_client_requests",
        COUNTER,
        "RARs and ASRs sent to clients",
        ("command", "reason"),
        known=(("RAR", "ASR"), CLIENT_REASONS),
    ),
    Definition(
        "ocs_client_answers",
        COUNTER,
        'Outcomes of RARs and ASRs: the Result-Code, or why there is none. "unreachable" = no worker of this server '
        "has a connection to the client; each server that shares a ledger counts it for itself",
        ("command", "result"),
        known=(("RAR", "ASR"), ("2001", "2002", "no_answer", "unreachable", "dropped")),
    ),
    Definition("ocs_time_to_unblock_seconds", HISTOGRAM, "From an accepted top-up to the RAR on the wire"),
    Definition("ocs_orphans_released", COUNTER, "Sessions given up because their client had lost its state"),
    Definition("ocs_fair_use_accounts", GAUGE, "Accounts seen abroad, and those warned or surcharged", ("state",)),
    Definition("ocs_fair_use_overdue_accounts", GAUGE, "Accounts whose evaluation of fair use was due before today"),
    Definition(
        "ocs_fair_use_steps",
        COUNTER,
        "Warnings, surcharges and their ends by fair use",
        ("action",),
        known=(("warn", "surcharge", "stop"),),
    ),
    Definition(
        "ocs_requests_refused", COUNTER, "Requests refused before charging", ("kind",), known=(REFUSED_REQUESTS,)
    ),
    Definition("ocs_overload_reduction_percent", GAUGE, "Traffic reduction that clients are asked for (RFC 7683)"),
    Definition("ocs_granted_units", COUNTER, "Units granted (reserved)", ("service", "unit")),
    Definition("ocs_used_units", COUNTER, "Units reported as used", ("service", "unit")),
    Definition("ocs_debited_eur", COUNTER, "Money taken from credit, in EUR", ("service",), MICRO),
    Definition("ocs_debited_bucket_units", COUNTER, "Units taken from included quantities", ("service", "unit")),
    Definition(
        "ocs_dropped_units", COUNTER, "Units reported that cannot have been used; not charged", ("service", "unit")
    ),
    Definition(
        "ocs_other_units",
        COUNTER,
        "Units reported in a unit that the service is not charged by, with none in the one that it is; not charged",
        ("service", "unit"),
    ),
    Definition(
        "ocs_unreadable_locations",
        COUNTER,
        "Requests whose location AVPs cannot be read; they are priced by what else is known",
        ("avp",),
    ),
    Definition("ocs_restricted_phases", COUNTER, "Restricted phases begun instead of a grant", ("service",)),
    Definition(
        "ocs_final_unit_indications",
        COUNTER,
        "Services answered with a Final-Unit-Indication, by its action",
        ("service", "action"),
    ),
    Definition("ocs_refunded_eur", COUNTER, "Money given back by refunds", ("service",), MICRO),
    Definition(
        "ocs_late_settlements",
        COUNTER,
        "Reports for sessions that had already been given up",
        ("type",),
        known=(("U", "T"),),
    ),
    Definition("ocs_overrun_units", COUNTER, "Units used beyond the grant that nothing could pay", ("service", "unit")),
    Definition(
        "ocs_blocked",
        COUNTER,
        "Services that were granted nothing",
        ("service", "reason"),
        known=(("unknown",), ("clock", "unknown", "unrateable", "stale")),
    ),
    Definition("ocs_service_results", COUNTER, "Services answered, by Result-Code", ("service", "result")),
    Definition(
        "ocs_duplicates",
        COUNTER,
        "Repeated requests that got their stored answer",
        ("type",),
        known=(("I", "U", "T", "E"),),
    ),
    Definition("ocs_reused_session_ids", COUNTER, "Sessions that began under the Session-Id of one that had ended"),
    Definition("ocs_ledger_round_trip_seconds", HISTOGRAM, "Duration of one Redis call", ("operation",)),
    Definition(
        "ocs_ledger_errors",
        COUNTER,
        "Redis calls that failed or were sent again",
        ("kind",),
        known=(("timeout", "lost", "script", "overflow", "replica", "moved", "ask", "not_now"),),
    ),
    Definition("ocs_ledger_connections", GAUGE, "Connections to Redis"),
    Definition("ocs_outbox_lag_events", GAUGE, "Events of the ledger that are not yet stored as records"),
    Definition("ocs_records_written", COUNTER, "Charging records written and synced", ("kind",)),
    Definition("ocs_recorded_debit_eur", COUNTER, "Money out of credit by kind of record, in EUR", ("kind",), MICRO),
    Definition("ocs_recorded_credit_eur", COUNTER, "Money into credit by kind of record, in EUR", ("kind",), MICRO),
    Definition("ocs_charged_eur", COUNTER, "Price of recorded use by rate of the catalogue, in EUR", ("rate",), MICRO),
    Definition("ocs_products_paid", COUNTER, "Periods of packages and packs that were paid", ("product",)),
    Definition("ocs_product_fees_eur", COUNTER, "Fees paid for packages and packs, in EUR", ("product",), MICRO),
    Definition("ocs_records_missing", COUNTER, "Events that left the ledger before a record was made of them"),
    Definition(
        "ocs_ledger_went_back_events",
        COUNTER,
        "Recorded events that the ledger has lost: a replica that lagged was promoted, or an old copy was restored",
    ),
    Definition("ocs_records_stopped", GAUGE, "1 while records cannot be written (full disk, another ledger's folder)"),
    Definition(
        "ocs_notices",
        COUNTER,
        "Notices that were made, and what became of each attempt",
        ("state",),
        known=(("waiting", "sent", "delivered", "failed", "given_up", "suppressed", "again"),),
    ),
    Definition("ocs_notices_open", GAUGE, "Notices that wait or are being sent", ("state",)),
    Definition("ocs_notice_lag_seconds", GAUGE, "For how long the oldest notice waits whose time has come"),
    Definition("ocs_notice_events", GAUGE, "Events whose notices are not made yet"),
    Definition("ocs_history_up", GAUGE, "1 while the SQL database of the history can be used"),
    Definition("ocs_history_failures", COUNTER, "Failed uses of the SQL database; each is tried again", ("loop",)),
    Definition("ocs_history_rows", COUNTER, "Rows loaded into the SQL database", ("table",)),
    Definition("ocs_history_erased", COUNTER, "Rows of use, of money, and files that were kept long enough", ("what",)),
    Definition("ocs_history_lag_octets", GAUGE, "Octets of the record files that are not loaded yet"),
    Definition("ocs_history_lag_seconds", GAUGE, "Age of the record that was loaded last, while more of them wait"),
    Definition("ocs_history_stopped", GAUGE, "1 while record files cannot be loaded: missing, damaged, another folder"),
    Definition("ocs_history_missing_events", COUNTER, "Events that are missing between two loaded records"),
    Definition(
        "ocs_voucher_claims_finished", COUNTER, "Redemptions of vouchers that a crash left, and that are finished"
    ),
    Definition(
        "ocs_transfers_continued",
        COUNTER,
        "Transfers that a crash left, and that are finished",
        ("result",),
        known=(("arrived",),),
    ),
    Definition("ocs_group_steps_continued", COUNTER, "Steps of groups that a crash left, and that are finished"),
    Definition("ocs_groups_stuck", GAUGE, "Accounts and groups of which a transfer or step cannot be finished now"),
    Definition(
        "ocs_voucher_entries",
        COUNTER,
        "Voucher numbers entered over the API, by what came of them",
        ("result",),
        known=(VOUCHER_RESULTS,),
    ),
    Definition("ocs_voucher_claims_stuck", GAUGE, "Redemptions of vouchers that cannot be finished now"),
    Definition(
        "ocs_payment_orders",
        COUNTER,
        "Payment orders that came into a state",
        ("kind", "state"),
        known=(("auto", "one-off"), PAYMENT_STATES),
    ),
    Definition("ocs_payment_due", GAUGE, "Orders and accounts for which a payment step is due"),
    Definition("ocs_payment_oldest_due_seconds", GAUGE, "How long the oldest of them has been due"),
    Definition("ocs_payment_uncertain", COUNTER, "Requests to the payment provider without a certain answer"),
    Definition(
        "ocs_payment_provider_seconds",
        HISTOGRAM,
        "Duration of a request to the payment provider",
        ("operation", "result"),
    ),
    Definition("ocs_swept_accounts", COUNTER, "Accounts whose due deadline, renewal or expiry was carried out"),
    Definition("ocs_sweep_failures", COUNTER, "Accounts that could not be swept; each is retried"),
    Definition("ocs_unreadable_accounts", GAUGE, "Accounts whose document cannot be read; each is retried later"),
    Definition("ocs_accounts", GAUGE, "Accounts counted by the last full audit pass, without terminated ones"),
    Definition("ocs_sessions_open", GAUGE, "Open credit-control sessions counted by the last full audit pass"),
    Definition("ocs_reservations_held_eur", GAUGE, "Credit held by reservations at that pass, in EUR", (), MICRO),
    Definition("ocs_audit_violations", GAUGE, "Broken invariants found by the last full pass and the one under way"),
    Definition("ocs_audit_drift_eur", GAUGE, "Money that invariant 1 does not explain, in EUR", (), MICRO),
    Definition(
        "ocs_money_eur",
        GAUGE,
        "Invariant 1 at the last full audit pass, in EUR: paid_in = the sum of the other parts",
        ("part",),
        MICRO,
    ),
    Definition("ocs_transfers_in_transit", GAUGE, "Transfers that the last full audit pass found unfinished"),
    Definition("ocs_in_transit_eur", GAUGE, "Sent and not received, by the last full audit pass, in EUR", (), MICRO),
    Definition("ocs_audit_passed_timestamp_seconds", GAUGE, "When the last full audit pass ended"),
    Definition("ocs_ported_numbers", GAUGE, "Ported numbers in use"),
    Definition("ocs_ported_numbers_timestamp_seconds", GAUGE, "When their file was last changed"),
    Definition("ocs_reconciliation_sessions", GAUGE, "Of the last ocs reconcile, by outcome", ("outcome",)),
    Definition("ocs_reconciliation_stake_eur", GAUGE, "Disputed by the last ocs reconcile", ("outcome",), MICRO),
    Definition("ocs_reconciliation_bad_lines", GAUGE, "Lines that the last ocs reconcile could not read"),
    Definition("ocs_reconciliation_timestamp_seconds", GAUGE, "When ocs reconcile last ended; 0 = never"),
    Definition("ocs_ported_numbers_refused", GAUGE, "1 while the file has mistakes, and the numbers before are in use"),
    Definition(
        "ocs_api_requests", COUNTER, "Requests of the API by route and class of status", ("route", "method", "status")
    ),
    Definition("ocs_api_request_seconds", HISTOGRAM, "From a request of the API to its answer", ("route", "method")),
    Definition("ocs_workers_up", GAUGE, "Workers that are ready"),
    Definition("ocs_process_up", GAUGE, "1 while the process is ready, of the roles that the server runs", ("role",)),
    Definition(
        "ocs_process_restarts",
        COUNTER,
        "Processes that ended unexpectedly and were restarted",
        ("role",),
        known=(("worker", "housekeeper", "backoffice", "api", "redis"),),
    ),
    Definition("ocs_redis_up", GAUGE, "1 while Redis answers"),
    Definition("ocs_redis_memory_octets", GAUGE, "Memory that Redis uses for data (used_memory)"),
    Definition("ocs_redis_memory_limit_octets", GAUGE, "maxmemory of Redis; 0 = none"),
    Definition("ocs_redis_aof_octets", GAUGE, "Size of the append-only file"),
    Definition("ocs_redis_aof_ok", GAUGE, "1 while Redis can write its append-only file; 0 also without one"),
    Definition("ocs_redis_delayed_fsyncs", GAUGE, "Since Redis started: writes that waited for a slow fsync"),
    Definition("ocs_redis_scripts", GAUGE, "Since Redis started: script calls"),
    Definition("ocs_redis_script_seconds", GAUGE, "Since Redis started: time in scripts"),
    Definition("ocs_redis_replicas", GAUGE, "Replicas that are connected to Redis"),
    Definition("ocs_redis_replica_lag_octets", GAUGE, "Octets that the slowest connected replica is behind"),
    Definition("ocs_start_timestamp_seconds", GAUGE, "When the server started"),
    Definition("ocs_build_info", GAUGE, "1, with the version of the server", ("version",)),
    Definition("ocs_catalogue_timestamp_seconds", GAUGE, "When the catalogue version in force began; 0 = at the start"),
    Definition(
        "ocs_certificate_expires_timestamp_seconds", GAUGE, "End of the certificate in [tls] and [api]", ("table",)
    ),
)

DEFINITIONS = {definition.name: definition for definition in _TABLE}
