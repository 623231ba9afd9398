"""Notices and history: what leaves for subscribers, and what is loaded into SQL."""

from __future__ import annotations

from monitoring.panels import Page, Row, Series, graph, number

_NOTICES = Row(
    "Notices",
    [
        number(
            "Lag",
            "For how long the oldest notice waits whose time has come.",
            "s",
            "max(ocs_notice_lag_seconds)",
            bad_above=300,
        ),
        number("Waiting", "Notices that wait or are being sent.", "none", "sum(ocs_notices_open) or vector(0)"),
        number("Events", "Events whose notices are not made yet.", "none", "max(ocs_notice_events)"),
        graph(
            "Notices by state",
            "Notices that were made, and what became of each attempt: sent, failed, given up, suppressed.",
            "cps",
            Series("sum by (state) (rate(ocs_notices_total[R]))", "{{state}}"),
            width=12,
        ),
        graph(
            "Queue",
            "Notices that wait or are being sent, and events whose notices are not made yet.",
            "none",
            Series("max by (state) (ocs_notices_open)", "{{state}}"),
            Series("max(ocs_notice_events)", "events"),
            width=12,
        ),
        graph(
            "Lag over time",
            "For how long the oldest due notice waits.",
            "s",
            Series("max(ocs_notice_lag_seconds)", "lag"),
            width=12,
        ),
    ],
)

_HISTORY = Row(
    "History",
    [
        number("SQL", "1 while the database can be used.", "none", "max(ocs_history_up)", bad_below=1),
        number(
            "Loading lag",
            "Age of the record that was loaded last, while more wait.",
            "s",
            "max(ocs_history_lag_seconds)",
            bad_above=600,
        ),
        number("Stopped", "1 while files cannot be loaded.", "none", "max(ocs_history_stopped)", bad_above=1),
        number(
            "Missing",
            "Events missing between loaded records, in a day.",
            "none",
            "sum(increase(ocs_history_missing_events_total[1d]))",
            bad_above=1,
            decimals=0,
        ),
        graph(
            "Rows loaded",
            "Rows loaded into SQL, by table.",
            "cps",
            Series("sum by (table) (rate(ocs_history_rows_total[R]))", "{{table}}"),
            width=12,
        ),
        graph(
            "Octets waiting",
            "Octets of the record files that are not loaded yet.",
            "bytes",
            Series("max(ocs_history_lag_octets)", "waiting"),
            width=12,
        ),
        graph(
            "Loading lag over time",
            "Age of the record that was loaded last, while more of them wait.",
            "s",
            Series("max(ocs_history_lag_seconds)", "lag"),
            width=8,
        ),
        graph(
            "Failures",
            "Failed uses of the database by loop; each is tried again.",
            "cps",
            Series("sum by (loop) (rate(ocs_history_failures_total[R]))", "{{loop}}"),
            width=8,
        ),
        graph(
            "Erased",
            "Rows and files that were kept long enough.",
            "cps",
            Series("sum by (what) (rate(ocs_history_erased_total[R]))", "{{what}}"),
            width=8,
        ),
    ],
)

PAGE = Page(
    "notices-history",
    "OCS notices and history",
    "Queues, lag and failures of what follows charging.",
    [_NOTICES, _HISTORY],
)
