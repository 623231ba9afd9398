"""Alerts on books, Redis and records."""

from __future__ import annotations

from monitoring.alerts.alert import CRITICAL, WARNING, Alert

ALERTS = (
    Alert(
        name="BooksWrong",
        expr="ocs_audit_violations > 0 or ocs_audit_drift_eur > 0",
        severity=CRITICAL,
        dashboard="ledger",
        summary="An account breaks an invariant of the ledger: run ocs audit",
        harm="Money of at least one account cannot be explained. This objective has no budget.",
        do=(
            "`ocs audit` names accounts and invariants. Keep its output.",
            "`ocs account show ACCOUNT-ID` says what the account has. `grep ACCOUNT-ID <data_dir>/records/*.jsonl` "
            "says how "
            "it came to it.",
            "Was a ledger restored, or a replica promoted (LedgerWentBack)? Else report it, with all three.",
        ),
    ),
    Alert(
        name="AuditStopped",
        expr="time() - max by (job) (max_over_time(ocs_audit_passed_timestamp_seconds[1d])) > 86400"
        " and time() - min by (job) (ocs_start_timestamp_seconds) > 86400",
        severity=WARNING,
        dashboard="ledger",
        summary="The slow audit has not finished a pass for a day",
        harm="Nobody checks the books. With more than 17 million accounts a pass takes more than a day.",
        do=(
            "Is the housekeeper running (`/health`)? Its log says what stops it.",
            "`ocs audit` checks all accounts at once, on the running system.",
        ),
    ),
    Alert(
        name="UnreadableAccounts",
        expr="ocs_unreadable_accounts > 0",
        lasts="1m",
        severity=CRITICAL,
        dashboard="ledger",
        summary="{{ $value }} accounts cannot be read and are left alone: nobody of them is charged (the housekeeper's "
        "log names one a minute)",
        harm="Requests of these accounts are answered 3002 or 3004.",
        do=(
            "`ocs audit` names all of them.",
            "Written by a newer release? Then an older process reads them: bring all nodes to one release.",
            "Damaged: restore the account from a [backup](../OPERATIONS.md#backup) of Redis, or report it.",
        ),
    ),
    Alert(
        name="ClocksDiffer",
        expr='sum by (job, instance) (increase(ocs_blocked_total{reason="clock"}[5m])) > 0',
        severity=CRITICAL,
        dashboard="ledger",
        summary="Requests are answered 3002 or 3004 because the clock of {{ $labels.instance }} is off that of Redis: "
        "set "
        "both by NTP",
        harm="Nothing is charged by this server until the clocks agree within `ledger.max_clock_skew_s`.",
        do=(
            "`chronyc tracking` (or `timedatectl`) on this machine and on that of Redis: which one is off?",
            "Start or correct NTP there (`systemctl restart chrony`). Charging resumes by itself.",
        ),
    ),
    Alert(
        name="LedgerWentBack",
        expr="increase(ocs_ledger_went_back_events_total[1h]) > 0",
        severity=CRITICAL,
        dashboard="ledger",
        summary="The ledger lost events that are recorded (promotion of a lagging replica, or restore of an old copy): "
        "compare records and balances of the partitions that the housekeeper's log names",
        harm="Movements that were answered and recorded are missing in the balances.",
        do=(
            "`<data_dir>/lost-events.jsonl` names the events; `grep` finds their records in `<data_dir>/records`.",
            "Repeat lost top-ups (`ocs account topup`) with their own references, leave lost debits: "
            "[OPERATIONS, Failover](../OPERATIONS.md#failover).",
        ),
    ),
    Alert(
        name="RedisMemory",
        expr="ocs_redis_memory_octets > 0.9 * ocs_redis_memory_limit_octets and ocs_redis_memory_limit_octets > 0",
        lasts="5m",
        severity=CRITICAL,
        dashboard="ledger",
        summary="Redis uses more than 90 % of its memory limit: writes are refused at 100 %",
        harm="At the limit nothing is charged any more.",
        do=(
            "Does the outbox grow (RecordsBehind, RecordsStopped)? Mend that first.",
            "Raise it: `redis-cli config set maxmemory …`, and `maxmemory` in the settings of Redis. "
            "[LIMITS](../LIMITS.md#memory-in-redis) says what an account needs.",
        ),
    ),
    Alert(
        name="RedisNotDurable",
        expr="ocs_redis_aof_ok == 0 and ocs_redis_up == 1",
        lasts="1m",
        severity=CRITICAL,
        dashboard="ledger",
        summary="Redis does not write its append-only file: a power cut would lose answered requests",
        harm="With a write error Redis refuses writes; without an AOF a power cut loses movements.",
        do=(
            "`redis-cli info persistence`: `aof_enabled`, `aof_last_write_status`, `aof_last_bgrewrite_status`.",
            "Free the disk, then `redis-cli bgrewriteaof`. Set `appendonly yes`.",
        ),
    ),
    Alert(
        name="SlowFsyncs",
        expr="increase(ocs_redis_delayed_fsyncs[10m]) > 10",
        severity=WARNING,
        dashboard="ledger",
        summary="The disk of Redis is slow: writes waited for an fsync",
        harm="Answers come late while the disk is busy.",
        do=("Find what else writes to the disk (`iostat -x 1`), and move it.", "Give the AOF a disk of its own."),
    ),
    Alert(
        name="RecordsStopped",
        expr="ocs_records_stopped > 0",
        lasts="30s",
        severity=CRITICAL,
        dashboard="ledger",
        summary="Charging records cannot be written (the housekeeper's log says why); the outbox grows",
        harm="Charging goes on, and Redis grows with each movement until records are written again.",
        do=(
            "The housekeeper's log says why: full disk, damaged file, the folder of another ledger.",
            "Free the disk (`df -h <data_dir>`). Put a damaged or moved file back from a copy; `checkpoint.json` "
            "belongs to "
            "the folder. Writing resumes by itself.",
        ),
    ),
    Alert(
        name="RecordsBehind",
        expr="ocs_outbox_lag_events > 100000",
        lasts="5m",
        severity=WARNING,
        dashboard="ledger",
        summary="More than 100,000 events wait to become records",
        harm="Redis grows; notices and history are late.",
        do=(
            "Is the housekeeper busy (`top`), or its disk slow (`iostat -x 1`)? Its log names failures.",
            "After a long stop, wait: it catches up by itself.",
        ),
    ),
    Alert(
        name="RecordsMissing",
        expr="increase(ocs_records_missing_total[1h]) > 0",
        severity=CRITICAL,
        dashboard="ledger",
        summary="Events left the ledger before a record was made of them",
        harm="Records of movements are missing; the balances have them.",
        do=(
            "Did another housekeeper run on the same ledger? Then its folder has the records.",
            "Was the outbox trimmed by hand? Report it otherwise; `ocs audit` checks the balances.",
        ),
    ),
    Alert(
        name="SweepsFail",
        expr="increase(ocs_sweep_failures_total[10m]) > 0",
        severity=WARNING,
        dashboard="ledger",
        summary="Accounts cannot be swept (the housekeeper's log names them)",
        harm="Renewals, expiries and deadlines of these accounts are late; each is tried again.",
        do=(
            "The log names account and reason; `ocs account show ACCOUNT-ID` shows it. An unreadable account is "
            "UnreadableAccounts.",
            "An `internal error`: report it with its lines. Each account is tried again.",
        ),
    ),
    Alert(
        name="VouchersStuck",
        expr="max by (job) (ocs_voucher_claims_stuck) > 0",
        lasts="15m",
        severity=WARNING,
        dashboard="ledger",
        summary="{{ $value }} vouchers are half redeemed, and their accounts cannot be changed: run ocs audit",
        harm="Subscribers have used a voucher and do not have its credit yet.",
        do=("`ocs audit` names the accounts.", "When they can be read again, the redemption is finished by itself."),
    ),
    Alert(
        name="TransfersStuck",
        expr="max by (job) (ocs_groups_stuck) > 0",
        lasts="15m",
        severity=WARNING,
        dashboard="ledger",
        summary="{{ $value }} transfers or steps of business groups cannot be finished: run ocs audit, finish account "
        "moves",
        harm="Money that left one account has not arrived at the other.",
        do=("`ocs audit` names the accounts.", "Repeat an `ocs account move` that was interrupted: it continues."),
    ),
)
