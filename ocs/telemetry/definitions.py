"""Every metric the server has: name, kind, help, labels. Dashboards and alerts are tested against this table.

Labels are bounded: fixed words, result codes, catalogue services and the allow-list's peers; anything else becomes
"other".
"""

from __future__ import annotations

from dataclasses import dataclass

from ocs.values.money import MICRO

SECONDS_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0
)  # fmt: skip
"""Upper bounds of latency: fine around the targets (p50 1 ms, p99 20 ms), coarse up to the answer time limit."""

COUNTER = "counter"
GAUGE = "gauge"
HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric family. Stored integers are divided by `scale` when shown (micro-EUR → EUR)."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    scale: int = 1


_CALL = ("command", "type", "context")

_TABLE = (
    Definition("ocs_requests", COUNTER, "Diameter requests received", _CALL),
    Definition("ocs_answers", COUNTER, "Diameter answers sent, by Result-Code", (*_CALL, "result")),
    Definition("ocs_answers_dropped", COUNTER, "Answers whose connection was gone, or that came after the time limit"),
    Definition("ocs_answer_seconds", HISTOGRAM, "Time from a request's last octet to its answer", _CALL),
    Definition("ocs_in_flight", GAUGE, "Requests being worked on"),
    Definition("ocs_peers", GAUGE, "Peer connections of all workers by state of RFC 6733 §5.6", ("state",)),
    Definition("ocs_peer_connections", GAUGE, "Open connections of a peer, over all workers", ("origin_host",)),
    Definition("ocs_connections_refused", COUNTER, "Connections refused before they were open", ("reason",)),
    Definition("ocs_connections_lost", COUNTER, "Connections that ended", ("reason",)),
    Definition("ocs_client_requests", COUNTER, "Requests of ours (RAR, ASR) sent to clients", ("command", "reason")),
    Definition(
        "ocs_client_answers",
        COUNTER,
        'What came of them: Result-Code, or why there is none. "unreachable": by nobody of this server, counted by '
        "one of its "
        "workers; servers that share a ledger do not know of each other's peers, and each counts those of the others",
        ("command", "result"),
    ),
    Definition("ocs_time_to_unblock_seconds", HISTOGRAM, "From an accepted top-up to the RAR on the wire"),
    Definition("ocs_orphans_released", COUNTER, "Sessions given up because their client had lost its state"),
    Definition("ocs_requests_refused", COUNTER, "Requests refused before charging", ("kind",)),
    Definition("ocs_overload_reduction_percent", GAUGE, "What clients are asked to leave away (DOIC)"),
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
        "Units reported that the service is not charged by, with none that it is; not charged",
        ("service", "unit"),
    ),
    Definition(
        "ocs_unreadable_locations",
        COUNTER,
        "Requests in which the network says where the subscriber is, and none of it can be read: priced by what "
        "else is known",
        ("avp",),
    ),
    Definition("ocs_restricted_phases", COUNTER, "Grants refused in favour of a restricted phase", ("service",)),
    Definition("ocs_refunded_eur", COUNTER, "Money given back by refunds", ("service",), MICRO),
    Definition("ocs_late_settlements", COUNTER, "Reports of sessions that had been given up", ("type",)),
    Definition("ocs_overrun_units", COUNTER, "Units used beyond the grant that nothing could pay", ("service", "unit")),
    Definition("ocs_blocked", COUNTER, "Services that were granted nothing", ("service", "reason")),
    Definition("ocs_service_results", COUNTER, "Services answered, by Result-Code", ("service", "result")),
    Definition("ocs_duplicates", COUNTER, "Repeated requests answered from the ledger's memory", ("type",)),
    Definition("ocs_reused_session_ids", COUNTER, "Sessions that began under the Session-Id of one that had ended"),
    Definition("ocs_ledger_round_trip_seconds", HISTOGRAM, "Time of one call of Redis", ("operation",)),
    Definition("ocs_ledger_errors", COUNTER, "Calls of Redis that failed or were sent again", ("kind",)),
    Definition("ocs_ledger_connections", GAUGE, "Connections to Redis"),
    Definition("ocs_outbox_lag_events", GAUGE, "Events of the ledger that are not yet stored as records"),
    Definition("ocs_records_written", COUNTER, "Charging records written and synced", ("kind",)),
    Definition("ocs_records_missing", COUNTER, "Events that left the ledger before a record was made of them"),
    Definition(
        "ocs_ledger_went_back_events",
        COUNTER,
        "Recorded events that the ledger does not have any more: a replica that was behind took over, or an old "
        "copy was restored",
    ),
    Definition("ocs_records_stopped", GAUGE, "1 while records cannot be written (full disk, another ledger's folder)"),
    Definition("ocs_swept_accounts", COUNTER, "Accounts with a deadline, a renewal or an expiry that were seen to"),
    Definition("ocs_sweep_failures", COUNTER, "Accounts that could not be seen to and are tried again"),
    Definition(
        "ocs_unreadable_accounts", GAUGE, "Accounts whose document cannot be read; each is left alone for a while"
    ),
    Definition("ocs_accounts", GAUGE, "Accounts at the last whole pass of the slow audit, terminated ones left out"),
    Definition("ocs_sessions_open", GAUGE, "Open credit-control sessions at the last whole pass of the slow audit"),
    Definition("ocs_reservations_held_eur", GAUGE, "Credit held by reservations at that pass, in EUR", (), MICRO),
    Definition("ocs_audit_violations", GAUGE, "Broken invariants found by the last whole pass and the one under way"),
    Definition("ocs_audit_drift_eur", GAUGE, "Money that invariant 1 does not explain, in EUR", (), MICRO),
    Definition("ocs_audit_passed_timestamp_seconds", GAUGE, "When the slow audit last finished a whole pass"),
    Definition("ocs_workers_up", GAUGE, "Workers that are ready"),
    Definition("ocs_process_restarts", COUNTER, "Processes that ended unasked and were started again", ("role",)),
    Definition("ocs_redis_up", GAUGE, "1 while Redis answers"),
)

DEFINITIONS = {definition.name: definition for definition in _TABLE}
