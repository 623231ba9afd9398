"""Overload control of a worker: requests in flight, rates of a peer, and the overload report of RFC 7683 (DOIC).

New sessions and event requests are refused before updates. Terminations are never refused: they settle what was used
and free what is held.
"""

from __future__ import annotations

from collections.abc import Callable

from protocol.credit_control import CreditControlRequest
from protocol.units import OcOlr, OcSupportedFeatures

NEW_SESSIONS_SHARE = 0.8
"""Share of the limit of requests in flight above which new sessions and event requests are refused."""
BEGINS_AT, ENDS_AT = 0.7, 0.4
"""Load (requests in flight ÷ limit) from which on a reduction is asked for, and below which it ramps down."""
STEP_PERCENT = 10
"""Step of the reduction, so that not every answer has a new report."""
MOST_PERCENT = 90
VALIDITY_S = 30
"""OC-Validity-Duration: a client forgets a report that is not repeated (RFC 7683 §7.5)."""
LOSS = 1
"""OC-Feature-Vector: the loss algorithm, which every DOIC node supports."""
HOST_REPORT = 0
BURST_S = 1.0
"""Burst of a peer, in seconds of its rate."""


class TokenBucket:
    """`rate` tokens a second, and at most BURST_S seconds' worth at once; rate 0 = no limit."""

    __slots__ = ("_left", "_rate", "_when")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._left = float(rate) * BURST_S
        self._when = 0.0

    def _fill(self, now: float) -> None:
        if self._when:
            self._left = min(self._left + (now - self._when) * self._rate, self._rate * BURST_S)
        self._when = now

    def take(self, now: float) -> bool:
        """Take one token; False = there is none."""
        if not self._rate:
            return True
        self._fill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def pause_s(self, now: float) -> float:
        """Take one token, even if there is none; returns how long to wait before the next."""
        if not self._rate:
            return 0.0
        self._fill(now)
        self._left -= 1
        return max(-self._left / self._rate, 0.0)


class Overload:
    """One per worker. `look` is called a few times a second, `told` for each answer."""

    def __init__(self, max_in_flight: int, unix_clock: Callable[[], float]) -> None:
        self._max = max_in_flight
        self.near = max(-int(-max_in_flight * NEW_SESSIONS_SHARE // 1), 1)
        """Number of requests in flight from which on new sessions are refused."""
        self._clock = unix_clock
        self._sequence = 0
        self._ended_at = float("-inf")
        self.reduction_percent = 0
        """Traffic reduction that clients are asked for; 0 = no overload."""
        self._worst = 0.0
        """Highest load since the last `look`."""

    def refuses(self, request_type: str, in_flight: int) -> bool:
        """Whether a request must be refused; `request_type`: "I", "U", "T" or "E"."""
        if in_flight < self.near:
            return False
        self._worst = max(self._worst, in_flight / self._max)
        if request_type == "T":
            return False
        return in_flight >= self._max or request_type != "U"

    def look(self, in_flight: int) -> None:
        """Adapt the reduction to the load."""
        load = max(in_flight / self._max, self._worst)
        self._worst = 0.0
        wanted = self.reduction_percent
        if load >= BEGINS_AT:
            steps = int((load - ENDS_AT) / (1 - ENDS_AT) * 100 / STEP_PERCENT)
            wanted = min(max(steps, 1) * STEP_PERCENT, MOST_PERCENT)
        elif load < ENDS_AT:
            wanted = max(wanted - STEP_PERCENT, 0)
        if wanted != self.reduction_percent:
            # OC-Sequence-Number must rise, also over restarts and between workers (RFC 7683 §7.4).
            self._sequence = max(self._sequence + 1, int(self._clock()))
            if wanted == 0:
                self._ended_at = self._clock()
            self.reduction_percent = wanted

    def told(self, request: CreditControlRequest) -> tuple[OcSupportedFeatures | None, OcOlr | None]:
        """OC-Supported-Features and OC-OLR of the answer; both None if the client does not support DOIC."""
        if request.oc_supported_features is None:
            return None, None
        return OcSupportedFeatures(LOSS), self.report()

    def report(self) -> OcOlr | None:
        """The overload report; after overload, for VALIDITY_S, a report with OC-Validity-Duration 0, which ends it."""
        if self.reduction_percent:
            return OcOlr(self._sequence, HOST_REPORT, self.reduction_percent, VALIDITY_S)
        if self._clock() - self._ended_at < VALIDITY_S:
            return OcOlr(self._sequence, HOST_REPORT, 0, 0)
        return None
