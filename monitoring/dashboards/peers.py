"""Peers: who is connected, what is refused, what RAR and ASR come to, overload."""

from __future__ import annotations

from monitoring.panels import Page, Row, Series, graph, number, quantiles

_OF_PEER = 'origin_host=~"$peer"'

_CONNECTIONS = Row(
    "Connections",
    [
        number("Open", "Open connections of peers.", "none", "sum(ocs_peer_connections)", bad_below=1),
        number(
            "Away",
            "Peers that were connected since the start and are not now.",
            "none",
            "count(max by (origin_host) (ocs_peer_connections) == 0) or vector(0)",
            bad_above=1,
        ),
        number(
            "Lost by watchdog",
            "Connections of the last hour that ended because the peer was silent (RFC 3539).",
            "none",
            'sum(increase(ocs_connections_lost_total{reason="watchdog"}[1h])) or vector(0)',
            bad_above=1,
        ),
        number(
            "Reduction asked",
            "Share of their traffic that clients are asked to leave out (RFC 7683).",
            "percent",
            "max(ocs_overload_reduction_percent)",
            bad_above=1,
        ),
        graph(
            "Open by peer",
            "1 while the peer is connected.",
            "none",
            Series(f"max by (origin_host) (ocs_peer_connections{{{_OF_PEER}}})", "{{origin_host}}"),
            width=8,
        ),
        graph(
            "Peers by state",
            "Peers by state of RFC 6733 §5.6, over all workers.",
            "none",
            Series("sum by (state) (ocs_peers)", "{{state}}"),
        ),
        graph(
            "Lost",
            "Connections that ended, by reason: watchdog, dpr, closed_by_peer, …",
            "cps",
            Series("sum by (reason) (rate(ocs_connections_lost_total[R]))", "{{reason}}"),
        ),
        graph(
            "Refused",
            "Connections that were refused before they were open, by reason.",
            "cps",
            Series("sum by (reason) (rate(ocs_connections_refused_total[R]))", "{{reason}}"),
        ),
        graph(
            "Base protocol",
            "CER, DWR and DPR received.",
            "cps",
            Series('sum by (command) (rate(ocs_requests_total{command=~"CER|DWR|DPR"}[R]))', "{{command}}"),
        ),
    ],
)

_REQUESTS = Row(
    "Requests",
    [
        graph(
            "CCR by peer",
            "Answers to CCRs by peer.",
            "reqps",
            Series(f"sum by (origin_host) (rate(ocs_peer_answers_total{{{_OF_PEER}}}[R]))", "{{origin_host}}"),
            stacked=True,
        ),
        graph(
            "Errors by peer",
            "Answers other than 2001 by peer and Result-Code.",
            "reqps",
            Series(
                f'sum by (origin_host, result) (rate(ocs_peer_answers_total{{{_OF_PEER},result!="2001"}}[R]))',
                "{{origin_host}} {{result}}",
            ),
        ),
        graph(
            "Refused by kind",
            "Requests refused before charging: rights, rate, overload (OPERATIONS, Peers).",
            "reqps",
            Series("sum by (kind) (rate(ocs_requests_refused_total[R]))", "{{kind}}"),
        ),
        graph(
            "Repetitions",
            "Repeated requests that got their stored answer. Many: answers are lost, or come too late.",
            "reqps",
            Series("sum by (type) (rate(ocs_duplicates_total[R]))", "{{type}}"),
        ),
        graph(
            "Failover and late use",
            "Sessions given up because their client lost its state, reports for sessions already given up, Session-Ids "
            "used again.",
            "cps",
            Series("sum(rate(ocs_orphans_released_total[R]))", "orphans"),
            Series("sum by (type) (rate(ocs_late_settlements_total[R]))", "late {{type}}"),
            Series("sum(rate(ocs_reused_session_ids_total[R]))", "reused ids"),
        ),
        graph(
            "Unreadable locations",
            "Requests whose location cannot be read, by AVP: roaming may be priced as home.",
            "reqps",
            Series("sum by (avp) (rate(ocs_unreadable_locations_total[R]))", "{{avp}}"),
        ),
    ],
)

_CLIENTS = Row(
    "RAR and ASR",
    [
        graph(
            "Sent",
            "RARs and ASRs sent to clients, by reason.",
            "cps",
            Series("sum by (command, reason) (rate(ocs_client_requests_total[R]))", "{{command}} {{reason}}"),
        ),
        graph(
            "What came of them",
            "Result-Code of the answer, or why there is none.",
            "cps",
            Series("sum by (command, result) (rate(ocs_client_answers_total[R]))", "{{command}} {{result}}"),
        ),
        graph(
            "Time to unblock",
            "From an accepted top-up to the RAR on the wire. The objective is half a second.",
            "s",
            *quantiles("ocs_time_to_unblock_seconds"),
        ),
    ],
)

PAGE = Page(
    "peers",
    "OCS peers",
    "Who is connected, what is refused or repeated, what RAR and ASR come to.",
    [_CONNECTIONS, _REQUESTS, _CLIENTS],
    with_peer=True,
)
