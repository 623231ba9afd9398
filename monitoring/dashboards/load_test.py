"""Load test: the simulator's own metrics; the server is seen from outside."""

from __future__ import annotations

from monitoring.panels import Page, Row, Series, graph, heat, number, quantiles

_RUN = Row(
    "Run",
    [
        number(
            "Intended",
            "Requests a second of ocs-sim load --rate; empty without a rate.",
            "reqps",
            "sum(ocs_sim_intended_requests_per_second) > 0",
        ),
        number("Reached", "Answers a second.", "reqps", "sum(rate(ocs_sim_answers_total[R]))"),
        number(
            "p99",
            "From the intended time of a request to its answer.",
            "s",
            "histogram_quantile(0.99, sum by (le) (rate(ocs_sim_latency_seconds_bucket[R])))",
        ),
        number(
            "Unanswered",
            "Requests that nobody answered, or that could not be sent.",
            "none",
            "sum(ocs_sim_unanswered_total)",
            bad_above=1,
        ),
        number(
            "Differences",
            "Answers or books that differ from what was expected; must be 0.",
            "none",
            "sum(ocs_sim_differences_total)",
            bad_above=1,
        ),
        number("Sessions", "Open sessions of the simulator.", "none", "sum(ocs_sim_sessions_open)"),
        graph(
            "Rate",
            "Requests sent, answers, and the intended rate.",
            "reqps",
            Series("sum(rate(ocs_sim_requests_total[R]))", "sent"),
            Series("sum(rate(ocs_sim_answers_total[R]))", "answered"),
            Series("sum(ocs_sim_intended_requests_per_second) > 0", "intended"),
        ),
        graph(
            "Requests by traffic",
            "Requests sent by traffic and CC-Request-Type.",
            "reqps",
            Series("sum by (traffic, type) (rate(ocs_sim_requests_total[R]))", "{{traffic}} {{type}}"),
            stacked=True,
        ),
        graph(
            "Answers by result",
            "Answers by Result-Code of the command.",
            "reqps",
            Series("sum by (result) (rate(ocs_sim_answers_total[R]))", "{{result}}"),
        ),
        heat(
            "Latency",
            "From the intended time of a request to its answer: a pause counts for every request that it delays.",
            "s",
            "sum by (le) (increase(ocs_sim_latency_seconds_bucket[R]))",
        ),
        graph(
            "Percentiles",
            "Percentiles of the latency from the intended time.",
            "s",
            *quantiles("ocs_sim_latency_seconds", percents=("50", "90", "99", "99.9")),
            width=12,
        ),
        graph(
            "Session rate",
            "Sessions begun a second, and the intended rate.",
            "cps",
            Series("sum(rate(ocs_sim_sessions_total[R]))", "begun"),
            Series("sum(ocs_sim_intended_sessions_per_second)", "intended"),
        ),
        graph(
            "Differences and repetitions",
            "Differences by kind, requests sent again with the T flag, unanswered requests.",
            "none",
            Series("sum by (kind) (ocs_sim_differences_total)", "{{kind}}"),
            Series("sum(rate(ocs_sim_repeats_total[R]))", "repeated a second"),
            Series("sum(ocs_sim_unanswered_total)", "unanswered"),
        ),
        graph(
            "Is the generator the limit?",
            "Share of one core that the simulator uses, and p99 of its own delay in seconds. Over 80 % or over 1 ms: "
            "figures may be the generator's.",
            "short",
            Series("rate(ocs_sim_cpu_seconds_total[R])", "cores"),
            Series("histogram_quantile(0.99, sum by (le) (rate(ocs_sim_late_seconds_bucket[R])))", "own delay p99"),
        ),
    ],
)

PAGE = Page(
    "load-test",
    "OCS load test",
    "The simulator's own metrics: intended and reached rate, latency from the intended time, differences.",
    [_RUN],
    of_metric="ocs_sim_sessions_open",
    since="now-15m",
)
