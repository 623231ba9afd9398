"""Latency by HDR histogram, result codes, and their formatting."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogWriter

LOWEST_US, HIGHEST_US, DIGITS = 1, 60_000_000, 3
"""Range and resolution of the histogram: 1 µs to a minute, three significant digits."""


_histogram: Any = HdrHistogram  # the library is untyped
_log_writer: Any = HistogramLogWriter


@dataclass(slots=True)
class Latencies:
    """Samples are collected as plain integers during the run, and put into the histogram afterwards."""

    samples_us: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, seconds: float) -> None:
        self.samples_us.append(int(seconds * 1e6))

    def histogram(self) -> Any:
        histogram: Any = _histogram(LOWEST_US, HIGHEST_US, DIGITS)
        for microseconds, count in Counter(self.samples_us).items():
            histogram.record_value(min(max(microseconds, LOWEST_US), HIGHEST_US), count)
        return histogram


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    mean_ms: float
    samples: int


def summarise(latencies: Latencies) -> LatencySummary:
    if not latencies.samples_us:
        return LatencySummary(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    histogram = latencies.histogram()
    p50, p90, p99, p999 = (histogram.get_value_at_percentile(p) / 1000 for p in (50, 90, 99, 99.9))
    mean = sum(latencies.samples_us) / len(latencies.samples_us) / 1000
    return LatencySummary(
        p50, p90, p99, p999, max(latencies.samples_us) / 1000, round(mean, 3), len(latencies.samples_us)
    )


@dataclass(frozen=True, slots=True)
class Interval:
    """The latencies of one measurement, as a line of a histogram log."""

    started_at: float
    """Unix seconds."""
    seconds: float
    latencies: Latencies


def encoded(latencies: Latencies) -> str:
    """The histogram in the compressed V2 encoding of HdrHistogram, in base64; values in µs."""
    return str(latencies.histogram().encode().decode("ascii"))


def encoded_histogram(text: str) -> Any:
    """The histogram of `encoded`."""
    return _histogram.decode(text.encode("ascii"))


def write_histogram_log(path: Path, intervals: Sequence[Interval]) -> None:
    """A log of HdrHistogram's format 1.2, which its viewers read: a line each interval. Values are µs, the maximum
    column is ms.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii") as out:
        writer = _log_writer(out)
        writer.output_log_format_version()
        writer.output_comment("latency of credit-control requests in microseconds, from the intended time")
        writer.output_legend()
        for each in intervals:
            writer.output_interval_histogram(
                each.latencies.histogram(), each.started_at, each.started_at + each.seconds, 1000.0
            )
