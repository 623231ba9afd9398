"""Ledger: the books, reservations, Redis, records."""

from __future__ import annotations

from monitoring.panels import Page, Row, Series, graph, number, quantiles

_PARTS = "available|held|separate|spent|refunded|expired|in_transit"

_BOOKS = Row(
    "Books",
    [
        number(
            "Drift",
            "Money that paid in = credit + separate + spent + refunded + expired + in transit does not explain.",
            "currencyEUR",
            "max(ocs_audit_drift_eur)",
            bad_above=0.000001,
            decimals=2,
        ),
        number(
            "Paid in − (left + held + spent + …)",
            "Invariant 1 over all accounts at the last full audit pass; must be 0.",
            "currencyEUR",
            f'round(sum(ocs_money_eur{{part="paid_in"}}) - sum(ocs_money_eur{{part=~"{_PARTS}"}}), 0.000001)',
            bad_above=0.000001,
            decimals=2,
        ),
        number("Accounts", "Counted by the last full audit pass.", "none", "sum(ocs_accounts)"),
        number(
            "Unreadable",
            "Accounts whose document cannot be read; must be 0.",
            "none",
            "sum(ocs_unreadable_accounts)",
            bad_above=1,
        ),
        number(
            "Stuck",
            "Redemptions of vouchers, transfers and steps of groups that cannot be finished now.",
            "none",
            "sum(ocs_voucher_claims_stuck) + sum(ocs_groups_stuck)",
            bad_above=1,
        ),
        number(
            "Audit ended",
            "When the last full audit pass ended.",
            "dateTimeFromNow",
            "(max(ocs_audit_passed_timestamp_seconds) > 0) * 1000",
        ),
        graph(
            "Where the money is",
            "Parts of the credit paid in, at the last full audit pass: paid in = the sum of the others.",
            "currencyEUR",
            Series(f'sum by (part) (ocs_money_eur{{part=~"{_PARTS}"}})', "{{part}}"),
            stacked=True,
            least=None,
        ),
        graph(
            "Reserved against balance",
            "Credit held by reservations, as a share of the credit of all accounts.",
            "percentunit",
            Series('sum(ocs_money_eur{part="held"}) / sum(ocs_money_eur{part=~"held|available"})', "held"),
        ),
        graph(
            "Violations and drift",
            "What the audit found; both must be 0.",
            "short",
            Series("max(ocs_audit_violations)", "violations"),
            Series("max(ocs_audit_drift_eur)", "drift, EUR"),
        ),
        graph(
            "Sessions and reservations",
            "Open sessions and the credit that they hold, at the last full audit pass.",
            "short",
            Series("sum(ocs_sessions_open)", "open sessions"),
            Series("sum(ocs_reservations_held_eur)", "held, EUR"),
        ),
        graph(
            "Orphans and sweeps",
            "Sessions given up because their client lost its state; accounts whose deadline, renewal or expiry was "
            "carried out; sweeps that failed.",
            "cps",
            Series("sum(rate(ocs_orphans_released_total[R]))", "orphans"),
            Series("sum(rate(ocs_swept_accounts_total[R]))", "swept"),
            Series("sum(rate(ocs_sweep_failures_total[R]))", "failed"),
        ),
        graph(
            "Transfers",
            "Transfers on their way at the last audit pass, and what a crash left and was finished.",
            "short",
            Series("sum(ocs_transfers_in_transit)", "in transit"),
            Series("sum(ocs_in_transit_eur)", "in transit, EUR"),
            Series("sum by (result) (rate(ocs_transfers_continued_total[R]))", "continued {{result}}"),
            Series("sum(rate(ocs_group_steps_continued_total[R]))", "steps of groups"),
            Series("sum(rate(ocs_voucher_claims_finished_total[R]))", "vouchers"),
        ),
    ],
)

_REDIS = Row(
    "Redis",
    [
        graph(
            "Round trip",
            "Duration of the call of Redis that charges a request: script, fsync and network.",
            "s",
            *quantiles("ocs_ledger_round_trip_seconds", 'operation="charge"', percents=("50", "99")),
        ),
        graph(
            "p99 by operation",
            "99th percentile of the duration of one call of Redis, by operation.",
            "s",
            *quantiles("ocs_ledger_round_trip_seconds", by="operation", percents=("99",)),
        ),
        graph(
            "Time in a script",
            "Mean time that Redis spends in one script call; the fsync is not in it.",
            "s",
            Series("sum(rate(ocs_redis_script_seconds[R])) / (sum(rate(ocs_redis_scripts[R])) > 0)", "mean"),
        ),
        graph(
            "Script load",
            "Share of one core that Redis spends in scripts. Near 100 %: spread the partitions over a cluster.",
            "percentunit",
            Series("rate(ocs_redis_script_seconds[R])", "{{instance}}"),
        ),
        graph(
            "Memory",
            "Data of Redis, and its limit if there is one (maxmemory).",
            "bytes",
            Series("max(ocs_redis_memory_octets)", "used"),
            Series("max(ocs_redis_memory_limit_octets) > 0", "limit"),
        ),
        graph(
            "Append-only file",
            "Size of the AOF. It grows until Redis rewrites it.",
            "bytes",
            Series("max(ocs_redis_aof_octets)", "size"),
        ),
        graph(
            "Slow fsyncs and replicas",
            "Writes that waited for a slow fsync, connected replicas, and how far the slowest is behind.",
            "short",
            Series("sum(increase(ocs_redis_delayed_fsyncs[5m]))", "delayed in 5 min"),
            Series("max(ocs_redis_replicas)", "replicas"),
            Series("max(ocs_redis_replica_lag_octets)", "replica lag, octets"),
        ),
        graph(
            "Errors",
            "Calls of Redis that failed or were sent again.",
            "cps",
            Series("sum by (kind) (rate(ocs_ledger_errors_total[R]))", "{{kind}}"),
        ),
        graph("Connections", "Connections to Redis.", "none", Series("sum(ocs_ledger_connections)", "connections")),
    ],
)

_RECORDS = Row(
    "Records",
    [
        graph(
            "Outbox lag",
            "Events that are not yet stored as records, and whether writing has stopped.",
            "short",
            Series("sum(ocs_outbox_lag_events)", "events"),
            Series("max(ocs_records_stopped)", "stopped"),
        ),
        graph(
            "Written",
            "Charging records written and synced, by kind.",
            "cps",
            Series("sum by (kind) (rate(ocs_records_written_total[R]))", "{{kind}}"),
        ),
        graph(
            "Lost",
            "Events that left the ledger without a record, and recorded events that it has lost; both must be 0.",
            "short",
            Series("sum(increase(ocs_records_missing_total[1h]))", "missing in 1 h"),
            Series("sum(increase(ocs_ledger_went_back_events_total[1h]))", "went back in 1 h"),
        ),
    ],
)

PAGE = Page(
    "ledger",
    "OCS ledger",
    "Are the books right, is Redis healthy, are the records written.",
    [_BOOKS, _REDIS, _RECORDS],
)
