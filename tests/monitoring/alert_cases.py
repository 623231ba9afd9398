"""For each alert: series with which it fires, and when. Written as in promtool's test files ("0+1x10": from 0, 1 more a
step, ten times). A step is a minute, or half an hour for what fires after eight hours or later.
"""

from __future__ import annotations

from dataclasses import dataclass

_ANSWERED = 'ocs_answers_total{job="ocs",instance="a",command="CCR",result="2001"}'
_BUSY = 'ocs_answers_total{job="ocs",instance="a",command="CCR",result="3004"}'
_TIMED = 'ocs_answer_seconds_count{job="ocs",instance="a",command="CCR"}'
_FAST = 'ocs_answer_seconds_bucket{job="ocs",instance="a",command="CCR",le="0.02"}'
_TOLD = 'ocs_time_to_unblock_seconds_count{job="ocs",instance="a"}'
_SOON = 'ocs_time_to_unblock_seconds_bucket{job="ocs",instance="a",le="0.5"}'


LONG_M = 480


@dataclass(frozen=True, slots=True)
class Case:
    fires: dict[str, str]
    """Series → values, with which it fires at `at`."""
    rests: dict[str, str]
    """The same kind of series when all is well."""
    at: str = "40m"

    @property
    def step(self) -> str:
        return "1m" if int(self.at.removesuffix("m")) < LONG_M else "30m"


def _gauge(name: str, bad: float, good: float, at: str = "40m", labels: str = "") -> Case:
    series = f'{name}{{job="ocs",instance="a"{labels}}}'
    return Case({series: f"{bad}x400"}, {series: f"{good}x400"}, at)


def _grows(name: str, labels: str = "", by: float = 60) -> Case:
    series = f'{name}{{job="ocs",instance="a"{labels}}}'
    return Case({series: f"0+{by}x400"}, {series: "5x400"})


CASES: dict[str, Case] = {
    "ServerAway": Case({'up{job="ocs",instance="a"}': "0x99"}, {'up{job="ocs",instance="a"}': "1x99"}),
    "RedisAway": _gauge("ocs_redis_up", 0, 1),
    "NoWorker": _gauge("ocs_workers_up", 0, 2),
    "HousekeeperAway": Case(  # two nodes; the one without a housekeeper is left
        {
            'ocs_redis_up{job="ocs",instance="b"}': "1x99",
            'ocs_process_up{job="ocs",instance="a",role="housekeeper"}': "1x9",
        },
        {
            'ocs_redis_up{job="ocs",instance="a"}': "1x99",
            'ocs_redis_up{job="ocs",instance="b"}': "1x99",
            'ocs_process_up{job="ocs",instance="a",role="housekeeper"}': "1x99",
        },
    ),
    "ApiAway": _gauge("ocs_process_up", 0, 1, labels=',role="api"'),
    "ProcessesRestart": _grows("ocs_process_restarts_total", ',role="worker"', 1),
    # 1 % of the answers are 3004: 20 times the budget
    "AvailabilityBurnsFast": Case(
        {_ANSWERED: "0+99x100", _BUSY: "0+1x100"}, {_ANSWERED: "0+9999x100", _BUSY: "0+1x100"}
    ),
    # 0.2 %: four times the budget
    "AvailabilityBurns": Case(
        {_ANSWERED: "0+998x400", _BUSY: "0+2x400"}, {_ANSWERED: "0+9998x400", _BUSY: "0+2x400"}, "1500m"
    ),
    "LatencyBurnsFast": Case({_TIMED: "0+100x100", _FAST: "0+80x100"}, {_TIMED: "0+1000x100", _FAST: "0+995x100"}),
    "LatencyBurns": Case({_TIMED: "0+100x400", _FAST: "0+95x400"}, {_TIMED: "0+1000x400", _FAST: "0+995x400"}, "1500m"),
    "SlowUnblock": Case({_TOLD: "0+10x100", _SOON: "0+5x100"}, {_TOLD: "0+10x100", _SOON: "0+10x100"}),
    "CertificateEnds": _gauge("ocs_certificate_expires_timestamp_seconds", 86_400, 90 * 86_400, "130m", ',table="tls"'),
    "ApiErrors": _grows("ocs_api_requests_total", ',status="5xx"'),
    "BooksWrong": _gauge("ocs_audit_violations", 1, 0),
    # no pass ends; a housekeeper that was replaced keeps the time of its forerunner
    "AuditStopped": Case(
        {
            'ocs_audit_passed_timestamp_seconds{job="ocs",instance="a"}': "0x400",
            'ocs_start_timestamp_seconds{job="ocs",instance="a"}': "60x400",
        },
        {
            'ocs_audit_passed_timestamp_seconds{job="ocs",instance="a"}': "60x10 9000x9 0x400",
            'ocs_start_timestamp_seconds{job="ocs",instance="a"}': "60x400",
        },
        "1500m",
    ),
    "UnreadableAccounts": _gauge("ocs_unreadable_accounts", 2, 0),
    "ClocksDiffer": _grows("ocs_blocked_total", ',service="data",reason="clock"'),
    "LedgerWentBack": _grows("ocs_ledger_went_back_events_total"),
    "RedisMemory": Case(
        {
            'ocs_redis_memory_octets{job="ocs",instance="a"}': "950x99",
            'ocs_redis_memory_limit_octets{job="ocs",instance="a"}': "1000x99",
        },
        {
            'ocs_redis_memory_octets{job="ocs",instance="a"}': "950x99",
            'ocs_redis_memory_limit_octets{job="ocs",instance="a"}': "0x99",
        },
    ),
    "RedisNotDurable": Case(
        {'ocs_redis_aof_ok{job="ocs",instance="a"}': "0x99", 'ocs_redis_up{job="ocs",instance="a"}': "1x99"},
        {'ocs_redis_aof_ok{job="ocs",instance="a"}': "1x99", 'ocs_redis_up{job="ocs",instance="a"}': "1x99"},
    ),
    "SlowFsyncs": _grows("ocs_redis_delayed_fsyncs"),
    "RecordsStopped": _gauge("ocs_records_stopped", 1, 0),
    "RecordsBehind": _gauge("ocs_outbox_lag_events", 200_000, 5_000),
    "RecordsMissing": _grows("ocs_records_missing_total"),
    "SweepsFail": _grows("ocs_sweep_failures_total"),
    "VouchersStuck": _gauge("ocs_voucher_claims_stuck", 1, 0),
    "TransfersStuck": _gauge("ocs_groups_stuck", 1, 0),
    "PeerAway": _gauge("ocs_peer_connections", 0, 1, labels=',origin_host="pgw"'),
    "ClientsDoNotAnswer": Case(
        {
            'ocs_client_answers_total{job="ocs",instance="a",result="no_answer"}': "0+5x99",
            'ocs_client_requests_total{job="ocs",instance="a",reason="topup"}': "0+10x99",
        },
        {
            'ocs_client_answers_total{job="ocs",instance="a",result="2002"}': "0+10x99",
            'ocs_client_requests_total{job="ocs",instance="a",reason="topup"}': "0+10x99",
        },
    ),
    "StrangeRequests": _grows("ocs_requests_refused_total", ',kind="route"'),
    "Overload": _gauge("ocs_overload_reduction_percent", 20, 0),
    "ImpossibleUse": _grows("ocs_dropped_units_total", ',service="data",unit="octets"'),
    "OtherUnits": _grows("ocs_other_units_total", ',service="data",unit="seconds"'),
    "UnreadableLocations": _grows("ocs_unreadable_locations_total", ',avp="3GPP-User-Location-Info"'),
    # a node without a backoffice says 0
    "HistoryAway": Case(
        {'ocs_history_up{job="ocs",instance="a"}': "0x99", 'ocs_history_up{job="ocs",instance="b"}': "0x99"},
        {'ocs_history_up{job="ocs",instance="a"}': "1x99", 'ocs_history_up{job="ocs",instance="b"}': "0x99"},
    ),
    "HistoryStopped": _gauge("ocs_history_stopped", 1, 0),
    "HistoryBehind": _gauge("ocs_history_lag_seconds", 900, 5),
    "HistoryIncomplete": _grows("ocs_history_missing_events_total"),
    "NoticesLate": _gauge("ocs_notice_lag_seconds", 400, 3),
    "NoticesGivenUp": _grows("ocs_notices_total", ',state="given_up: gateway"'),
    "PaymentsLate": _gauge("ocs_payment_oldest_due_seconds", 4_000, 10),
    "PaymentsUncertain": _grows("ocs_payment_uncertain_total"),
    "RefundsDue": _grows("ocs_payment_orders_total", ',state="refund-due"'),
    "VouchersGuessed": _grows("ocs_voucher_entries_total", ',result="voucher"'),
    "FairUseLate": _gauge("ocs_fair_use_overdue_accounts", 3, 0, "400m"),
    "PortedNumbersRefused": _gauge("ocs_ported_numbers_refused", 1, 0),
    "ReconciliationIsOld": _gauge("ocs_reconciliation_timestamp_seconds", 60, 100_000, "4410m"),
    "ReconciliationDisputed": _gauge("ocs_reconciliation_bad_lines", 4, 0),
}
