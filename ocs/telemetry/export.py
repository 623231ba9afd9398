"""Adds up the metrics of all processes of a server, for Prometheus.

Each process writes its snapshot to `<role>-<pid>.json` in one folder. When a process ends, its counters stay in the
total, as a Prometheus counter must not fall; its gauges are dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from ocs.telemetry.definitions import COUNTER, DEFINITIONS, HISTOGRAM, SECONDS_BUCKETS, Definition
from ocs.telemetry.metrics import Key, Store, snapshot_path

log = logging.getLogger(__name__)

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


class Snapshots:
    """The folder of snapshots; `local` is the store of the process that exports."""

    def __init__(self, folder: Path, local: Store, commands: Sequence[Path] = ()) -> None:
        """`commands`: snapshots that commands have left, each the last of its kind."""
        self._folder = folder
        self._commands = commands
        self._local = local
        self._ended = Store()

    def clear(self) -> None:
        """Delete the snapshots of an earlier run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in [*self._folder.glob("*-*.json"), *self._folder.glob("*-*.new")]:
            path.unlink(missing_ok=True)

    def path(self, role: str, pid: int) -> Path:
        return snapshot_path(self._folder, role, pid)

    def retire(self, role: str, pid: int) -> None:
        """Keep the counters of a process that has ended; drop its gauges."""
        path = self.path(role, pid)
        store = _read(path)
        if store is not None:
            self._ended.add(store, gauges=False)
        path.unlink(missing_ok=True)
        path.with_suffix(".new").unlink(missing_ok=True)

    def total(self) -> Store:
        total = Store()
        total.add(self._ended)
        total.add(self._local)
        for path in (*sorted(self._folder.glob("*-*.json")), *self._commands):
            store = _read(path)
            if store is not None:
                total.add(store)
        return total

    def expose(self, *, open_metrics: bool = False) -> bytes:
        """The text of /metrics. Exemplars are in that of OpenMetrics only: the older form has no place for them."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_StoreCollector(self.total()))
        if open_metrics:
            text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call]
            return text
        return generate_latest(registry)


def _read(path: Path) -> Store | None:
    try:
        return Store.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        log.warning("%s: not a readable snapshot of metrics, /metrics lacks its counts: %s", path, error)
        return None


class _StoreCollector(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        for definition in DEFINITIONS.values():
            yield _family(definition, self._store)


def _family(definition: Definition, store: Store) -> Metric:
    name, labels = definition.name, definition.labels
    if definition.kind == HISTOGRAM:
        return _histogram(definition, store)
    values = store.counters if definition.kind == COUNTER else store.gauges
    make = CounterMetricFamily if definition.kind == COUNTER else GaugeMetricFamily
    family = make(name, definition.help, labels=labels)
    rows = {key[1:]: value for key, value in values.items() if key[0] == name}
    if definition.known or not labels:
        for known in product(*definition.known):
            rows.setdefault(known, 0)
    for key, value in rows.items():
        family.add_metric(key, value / definition.scale)
    return family


def _histogram(definition: Definition, store: Store) -> Metric:
    histogram = HistogramMetricFamily(definition.name, definition.help, labels=definition.labels)
    rows = {key: row for key, row in store.histograms.items() if key[0] == definition.name}
    if not definition.labels:
        rows.setdefault((definition.name,), [0] * (len(SECONDS_BUCKETS) + 2))
    for key, row in rows.items():
        histogram.add_metric(key[1:], buckets=_buckets(key, row, store), sum_value=row[-1])
    return histogram


def _buckets(key: Key, row: list[float], store: Store) -> list[Bucket]:
    """Bound, cumulative count and exemplar of each bucket."""
    buckets: list[Bucket] = []
    total = 0.0
    for index, (bound, count) in enumerate(zip([*map(str, SECONDS_BUCKETS), "+Inf"], row, strict=False)):
        total += count
        found = store.exemplars.get((key, index))
        if found is None:
            buckets.append((bound, total))
        else:
            trace_id, seconds, at = found
            buckets.append((bound, total, Exemplar({"trace_id": trace_id}, seconds, at)))
    return buckets
