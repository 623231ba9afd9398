"""Service: are requests answered, how fast, and how much of the error budget is left."""

from __future__ import annotations

from monitoring.objectives import AVAILABILITY, LATENCY, UNBLOCK, WINDOWS
from monitoring.panels import Page, Row, Series, graph, heat, number, quantiles

_CCR = 'command="CCR"'

_NOW = Row(
    "Now",
    [
        number("CCR", "Credit-control requests a second.", "reqps", f"sum(rate(ocs_requests_total{{{_CCR}}}[R]))"),
        number(
            "p99",
            "Time within which 99 % of the CCRs are answered. The objective is 20 ms.",
            "s",
            f"histogram_quantile(0.99, sum by (le) (rate(ocs_answer_seconds_bucket{{{_CCR}}}[R])))",
            bad_above=0.02,
        ),
        number("Workers", "Workers that are ready; 0 = nobody is charged.", "none", "sum(ocs_workers_up)", bad_below=1),
        number("Redis", "1 while Redis answers every server.", "none", "min(ocs_redis_up)", bad_below=1),
        number("Peers open", "Open connections of peers.", "none", "sum(ocs_peer_connections)", bad_below=1),
        number(
            "Broken invariants",
            "Found by the continuous audit; must be 0 (run ocs audit).",
            "none",
            "max(ocs_audit_violations)",
            bad_above=1,
        ),
    ],
)

_OBJECTIVES = Row(
    "Objectives",
    [
        *(
            number(
                f"Budget left: {each.name}",
                f"{each.text}. Share of the error budget of 30 days that is left.",
                "percentunit",
                each.budget_left(),
                bad_below=0.0,
                width=8,
                decimals=1,
            )
            for each in (AVAILABILITY, LATENCY, UNBLOCK)
        ),
        *(
            graph(
                f"Bad share: {each.name}",
                f"{each.text}. Share of bad events in windows of several lengths; the budget is {each.budget:.2%}.",
                "percentunit",
                *(Series(f"max({each.ratio(window)})", window) for window in WINDOWS),
            )
            for each in (AVAILABILITY, LATENCY, UNBLOCK)
        ),
    ],
)

_TRAFFIC = Row(
    "Traffic",
    [
        graph(
            "CCR by kind",
            "Credit-control requests by service context and CC-Request-Type.",
            "reqps",
            Series(f"sum by (context, type) (rate(ocs_requests_total{{{_CCR}}}[R]))", "{{context}} {{type}}"),
            stacked=True,
        ),
        graph(
            "Answers by result",
            "Answers to CCRs by Result-Code of the command. 3002 and 3004: too busy, or Redis is silent.",
            "reqps",
            Series(f"sum by (result) (rate(ocs_answers_total{{{_CCR}}}[R]))", "{{result}}"),
        ),
        graph(
            "Results by peer",
            "Answers to CCRs by peer and Result-Code.",
            "reqps",
            Series(
                'sum by (origin_host, result) (rate(ocs_peer_answers_total{origin_host=~"$peer"}[R]))',
                "{{origin_host}} {{result}}",
            ),
        ),
        heat(
            "Time to answer",
            "From a CCR's last octet to its answer: how many took how long.",
            "s",
            f"sum by (le) (increase(ocs_answer_seconds_bucket{{{_CCR}}}[R]))",
        ),
        graph(
            "Percentiles",
            "Percentiles of the time to answer a CCR.",
            "s",
            *quantiles("ocs_answer_seconds", _CCR, percents=("50", "90", "99", "99.9")),
            width=12,
        ),
        graph(
            "p99 by context",
            "99th percentile of the time to answer, by service context.",
            "s",
            *quantiles("ocs_answer_seconds", _CCR, by="context", percents=("99",)),
        ),
        graph(
            "In flight",
            "Requests without an answer yet, and answers whose connection was gone.",
            "short",
            Series("sum(ocs_in_flight)", "in flight"),
            Series("sum(rate(ocs_answers_dropped_total[R]))", "dropped a second"),
        ),
        graph(
            "Services by result",
            "Services (MSCC) answered, by Result-Code. 4012: no credit, 4010: denied.",
            "reqps",
            Series("sum by (service, result) (rate(ocs_service_results_total[R]))", "{{service}} {{result}}"),
        ),
    ],
)

_CHARGING = Row(
    "Units",
    [
        graph(
            "Granted",
            "Units reserved a second: octets, seconds, messages.",
            "short",
            Series("sum by (service, unit) (rate(ocs_granted_units_total[R]))", "{{service}} {{unit}}"),
        ),
        graph(
            "Used",
            "Units reported a second.",
            "short",
            Series("sum by (service, unit) (rate(ocs_used_units_total[R]))", "{{service}} {{unit}}"),
        ),
        graph(
            "Overrun, impossible and other units",
            "Used and paid by nobody; reported and impossible; reported in a unit that the service is not charged by.",
            "short",
            Series("sum by (service, unit) (rate(ocs_overrun_units_total[R]))", "overrun {{service}} {{unit}}"),
            Series("sum by (service, unit) (rate(ocs_dropped_units_total[R]))", "impossible {{service}} {{unit}}"),
            Series("sum by (service, unit) (rate(ocs_other_units_total[R]))", "other {{service}} {{unit}}"),
        ),
        graph(
            "Final units and restricted phases",
            "Final-Unit-Indications by action, and restricted phases instead of a grant.",
            "cps",
            Series("sum by (action) (rate(ocs_final_unit_indications_total[R]))", "final {{action}}"),
            Series("sum by (service) (rate(ocs_restricted_phases_total[R]))", "restricted {{service}}"),
        ),
    ],
)

_PROCESSES = Row(
    "Processes",
    [
        number(
            "Up since",
            "Start of the server that began last.",
            "dateTimeFromNow",
            "max(ocs_start_timestamp_seconds) * 1000",
        ),
        number(
            "Other processes",
            "Housekeeper, backoffice and API that run, of all servers.",
            "none",
            "sum(ocs_process_up)",
            bad_below=1,
        ),
        number(
            "Catalogue since",
            "Begin of the catalogue version in force; empty for the first one.",
            "dateTimeFromNow",
            "(max(ocs_catalogue_timestamp_seconds) > 0) * 1000",
        ),
        number(
            "Certificate ends",
            "End of the first certificate of [tls] and [api]; empty without one.",
            "dateTimeFromNow",
            "min(ocs_certificate_expires_timestamp_seconds) * 1000",
        ),
        graph(
            "Restarts",
            "Processes that ended unexpectedly in the last ten minutes.",
            "none",
            Series("sum by (role) (increase(ocs_process_restarts_total[10m]))", "{{role}}"),
        ),
        graph(
            "Scrapes",
            "1 while the server answers Prometheus.",
            "none",
            Series(
                'up{job=~"$job",instance=~"$instance"} and on (job) group by (job) (last_over_time(ocs_redis_up[1d]))',
                "{{instance}}",
            ),
        ),
        graph(
            "API requests",
            "Requests of the HTTP API by class of status.",
            "reqps",
            Series("sum by (status) (rate(ocs_api_requests_total[R]))", "{{status}}"),
        ),
        graph(
            "API time",
            "99th percentile of the time to answer a request of the API, by route.",
            "s",
            *quantiles("ocs_api_request_seconds", by="route", percents=("99",)),
        ),
    ],
)

PAGE = Page(
    "service",
    "OCS service",
    "Are requests answered, how fast, and how much of the error budget is left.",
    [_NOW, _OBJECTIVES, _TRAFFIC, _CHARGING, _PROCESSES],
    with_peer=True,
)
