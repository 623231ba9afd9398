"""Alerts on peers and on what they send."""

from __future__ import annotations

from monitoring.alerts.alert import WARNING, Alert

_OPEN = "max by (job, origin_host) (ocs_peer_connections)"
_OPEN_TODAY = "max by (job, origin_host) (max_over_time(ocs_peer_connections[1d])) > 0"

ALERTS = (
    Alert(
        name="PeerAway",
        # A server names only peers that have connected since its start: others are known of the day before.
        expr=f"{_OPEN} == 0 or ({_OPEN_TODAY} unless {_OPEN})",
        lasts="1m",
        severity=WARNING,
        dashboard="peers",
        summary="{{ $labels.origin_host }} was connected and is not any more",
        harm="The peer's subscribers are charged by another node, or by its own rules for a failed charging system.",
        do=(
            "Ask those who run the peer. Is it down, or was it moved?",
            "Is it gone for good? The alert ends a day after the server's next restart.",
            "Connections refused on the dashboard, and the log: address, certificate, `[[peer]]`.",
        ),
    ),
    Alert(
        name="ClientsDoNotAnswer",
        expr='sum by (job) (rate(ocs_client_answers_total{result=~"no_answer|unreachable|given_up|refused"}[15m]))'
        " > 0.2 * sum by (job) (rate(ocs_client_requests_total[15m]))",
        lasts="15m",
        severity=WARNING,
        dashboard="peers",
        summary="A fifth of RAR and ASR reaches nobody: look at the peers, or set reauthorize = false for those that "
        "take none",
        harm="Top-ups and blocks take effect only at the next request or at the end of Validity-Time.",
        do=(
            "`unreachable`: which peer is away (PeerAway)? `refused`: the log names client, command and code.",
            "Set `reauthorize = false` in the profile of clients that take no RAR.",
        ),
    ),
    Alert(
        name="StrangeRequests",
        expr="sum by (job, kind) (increase(ocs_requests_refused_total{"
        'kind=~"origin_host|origin_realm|route|session_id|context|subscriber|refund"}[10m])) > 10',
        severity=WARNING,
        dashboard="peers",
        summary="A peer asks for what it has no right to ({{ $labels.kind }}): the log names it once a minute",
        harm="These requests are refused with 5003. If the peer is right, its subscribers are not served.",
        do=("The log has peer and setting. Correct the `[[peer]]`, or ask those who run the peer.",),
    ),
    Alert(
        name="Overload",
        expr="max by (job) (ocs_overload_reduction_percent) > 0",
        lasts="2m",
        severity=WARNING,
        dashboard="peers",
        summary="Clients are asked to send less: add workers or find who sends so much",
        harm="New sessions are refused before updates, updates before terminations.",
        do=(
            "`CCR by peer`: does one send more than usual? `max_requests_per_s` holds it.",
            "Add workers or a node. Is Redis slow (dashboard OCS ledger)?",
        ),
    ),
    Alert(
        name="ImpossibleUse",
        expr="increase(ocs_dropped_units_total[1h]) > 0",
        severity=WARNING,
        dashboard="service",
        summary="A client reports more use than there can be: its records have `dropped`",
        harm="The reported use is not charged.",
        do=("The log names the peer. Compare with the peer's own records.",),
    ),
    Alert(
        name="OtherUnits",
        expr="increase(ocs_other_units_total[1h]) > 0",
        severity=WARNING,
        dashboard="service",
        summary="A client reports {{ $labels.service }} in {{ $labels.unit }}, which it is not charged by: nothing is "
        "charged; the log names the client",
        harm="Use of this service through this client is free until it is corrected.",
        do=("Check the client's configuration of the service: which units it measures.",),
    ),
    Alert(
        name="UnreadableLocations",
        expr="sum by (job, avp) (increase(ocs_unreadable_locations_total[1h])) > 10",
        severity=WARNING,
        dashboard="peers",
        summary="The network's {{ $labels.avp }} cannot be read, so roaming may be priced as home: the log names the "
        "client and shows what it sends",
        harm="Roaming may be charged at home prices.",
        do=("The log shows the AVP's beginning. Have the network element corrected.",),
    ),
)
