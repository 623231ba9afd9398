"""The metrics of the Diameter side, as a Protocol; `ocs.telemetry.metrics` implements it."""

from __future__ import annotations

from typing import Protocol


class DiameterMetrics(Protocol):
    """Every label is bounded: no text that a peer sends becomes a label.

    `command`: "CCR", "CER", "DWR", "DPR", "RAR", "ASR", "other". `type`: "I", "U", "T", "E" or "" (not a CCR, or
    undecodable). `context`: "data", "ims", "cs", "sms", "mms", "content", "other" or "". `state`: a name of
    `protocol.peer.PeerState` in lower case. `reason` of connection_refused: "unknown_peer", "no_common_application",
    "duplicate", "cer_timeout", "bad_cer", "not_a_cer", "no_common_security", "tls" (its handshake failed), "address"
    (no peer's), "address_limit", "pending_limit", "connection_limit", "bad_stream", "stopping". `reason` of
    connection_lost: "closed_by_peer", "dpr", "watchdog", "bad_stream", "partial_message", "write_buffer", "stopped",
    "error".
    """

    def request(self, command: str, type: str, context: str) -> None: ...

    def answer(self, command: str, type: str, context: str, result_code: int, seconds: float) -> None:
        """Count an answer that was sent. If the connection is gone, `dropped_answer` is called instead."""

    def peer_answer(self, origin_host: str, result_code: int) -> None:
        """Count an answer to a CCR by its peer. `origin_host`: as in `peer_state`."""

    def dropped_answer(self) -> None: ...

    def in_flight(self, delta: int) -> None: ...

    def peer_state(self, origin_host: str, state: str) -> None:
        """Set a peer's state. `origin_host`: a configured one, or "unknown" (`accept_unknown_peers`)."""

    def connection_refused(self, reason: str) -> None: ...

    def request_refused(self, kind: str) -> None:
        """Count a request refused before charging; `kind`: a `refusals.Kind`."""

    def overload(self, reduction_percent: int) -> None:
        """Set the traffic reduction that clients are asked for; 0 = no overload."""

    def connection_lost(self, reason: str) -> None: ...
