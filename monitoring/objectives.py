"""Service objectives: what is promised, the recording rules that measure it, and how fast its budget may be used.

Windows and factors are those of the Site Reliability Workbook, chapter 5: a page when 2 % of the budget of 30 days is
used in an hour or 5 % in six hours, a ticket when 10 % is used in one or three days; the short window ends the alert.

All counters of an instance come from one exposition and begin again together, so their sum may be taken before the
rate: long windows then read one series, not hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
PAGE = (("1h", "5m", 14.4), ("6h", "30m", 6))
TICKET = (("1d", "2h", 3), ("3d", "6h", 1))
BUSY_RESULTS = "3002|3004|5012"
"""Answers by which nothing is granted though the request was right: too busy, Redis away, a fault of ours."""
LATENCY_S = "0.02"
UNBLOCK_S = "0.5"


@dataclass(frozen=True, slots=True)
class Objective:
    name: str
    """In the names of the rules."""
    good_share: float
    text: str
    all_expr: str
    bad_expr: str
    """Counters by job and instance."""

    @property
    def budget(self) -> float:
        return round(1 - self.good_share, 6)

    def series(self, part: str) -> str:
        return f"ocs:{self.name}_{part}:sum"

    def ratio(self, window: str) -> str:
        return f"ocs:{self.name}_bad:ratio_rate{window}"

    def burns(self, windows: tuple[tuple[str, str, float], ...]) -> str:
        """True while both windows of a pair use the budget faster than their factor."""
        pairs = []
        for long, short, factor in windows:
            limit = f"{factor * self.budget:.6g}"
            pairs.append(f"({self.ratio(long)} > {limit} and {self.ratio(short)} > {limit})")
        return " or ".join(pairs)

    def budget_left(self) -> str:
        """Share of the budget of 30 days that is left; negative = more was used."""
        bad, every = (f"sum(increase({self.series(part)}[30d]))" for part in ("bad", "all"))
        return f"1 - {bad} / ({every} > 0) / {self.budget:.6g}"


_ANSWERS = 'ocs_answers_total{command="CCR"}'
AVAILABILITY = Objective(
    "availability",
    0.9995,
    "99.95 % of the CCRs of 30 days are answered, and not with 3002, 3004 or 5012",
    f"sum by (job, instance) ({_ANSWERS})",
    f'sum by (job, instance) (ocs_answers_total{{command="CCR",result=~"{BUSY_RESULTS}"}})'
    f" or 0 * sum by (job, instance) ({_ANSWERS})",
)
LATENCY = Objective(
    "latency",
    0.99,
    "99 % of the CCRs of 30 days are answered within 20 ms",
    'sum by (job, instance) (ocs_answer_seconds_count{command="CCR"})',
    'sum by (job, instance) (ocs_answer_seconds_count{command="CCR"})'
    f' - sum by (job, instance) (ocs_answer_seconds_bucket{{command="CCR",le="{LATENCY_S}"}})',
)
UNBLOCK = Objective(
    "unblock",
    0.99,
    "99 % of the RARs after a top-up leave within half a second",
    "sum by (job, instance) (ocs_time_to_unblock_seconds_count)",
    "sum by (job, instance) (ocs_time_to_unblock_seconds_count)"
    f' - sum by (job, instance) (ocs_time_to_unblock_seconds_bucket{{le="{UNBLOCK_S}"}})',
)
OBJECTIVES = (AVAILABILITY, LATENCY, UNBLOCK)


def recording_groups() -> list[dict[str, object]]:
    """The groups of config/prometheus/recording.yml. Rules of a group are evaluated in their order."""
    groups: list[dict[str, object]] = []
    for each in OBJECTIVES:
        rules = [
            {"record": each.series("all"), "expr": each.all_expr},
            {"record": each.series("bad"), "expr": each.bad_expr},
        ]
        for window in WINDOWS:
            bad, every = (f"sum by (job) (rate({each.series(part)}[{window}]))" for part in ("bad", "all"))
            rules.append({"record": each.ratio(window), "expr": f"{bad} / ({every} > 0)"})
        groups.append({"name": f"objective_{each.name}", "rules": rules})
    return groups
