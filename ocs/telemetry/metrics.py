"""Metrics of one process: a count is an addition in a dict; a snapshot file is written twice a second.

The multiprocess mode of prometheus-client costs a lock and a memory-map write per count. Here each process adds plain
integers, and `ocs.telemetry.export` adds up the snapshots of all processes at each scrape. A killed process loses at
most the counts of its last half second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import orjson

from ocs.telemetry.definitions import SECONDS_BUCKETS

SNAPSHOT_EVERY_S = 0.5
MAX_LABEL_VALUES = 256
"""Distinct values of one open-ended label (services, peers, result codes); further ones count as "other"."""
MAX_ANSWERS = 1_024
"""Combinations of command, type, context and Result-Code whose counters are cached."""
OTHER = "other"

_COMMANDS = frozenset({"CCR", "CER", "DWR", "DPR", "RAR", "ASR"})
_TYPES = frozenset({"I", "U", "T", "E", ""})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_CONTEXTS = frozenset({"data", "ims", "cs", "sms", "mms", "content", ""})

_OF_SERVICE = ("ocs_debited_eur", "ocs_refunded_eur", "ocs_restricted_phases")
_OF_SERVICE_AND_UNIT = (
    "ocs_granted_units", "ocs_used_units", "ocs_debited_bucket_units", "ocs_overrun_units", "ocs_dropped_units",
    "ocs_other_units",
)  # fmt: skip
_USUAL_BLOCKS = ("credit", "limit")

Key = tuple[str, ...]
Exemplar = tuple[str, float, float]
"""Trace id of a request, its seconds, and when it was counted (Unix seconds)."""


def snapshot_path(folder: Path, role: str, pid: int) -> Path:
    return folder / f"{role}-{pid}.json"


class Bounded(dict[object, str]):
    """Value → label, for at most `limit` values; further ones are "other"."""

    def __init__(self, limit: int = MAX_LABEL_VALUES) -> None:
        super().__init__()
        self._limit = limit

    def __missing__(self, value: object) -> str:
        if len(self) >= self._limit:
            return OTHER
        label = self[value] = str(value)
        return label


class Fixed(dict[str, str]):
    """Word → itself if it is one of `words`, else "other"."""

    def __init__(self, words: frozenset[str]) -> None:
        super().__init__((word, word) for word in words)

    def __missing__(self, value: str) -> str:
        return OTHER


class Store:
    """Counters, gauges and histograms of one process. Keys are (metric, label values…)."""

    def __init__(self) -> None:
        self.counters: defaultdict[Key, int] = defaultdict(int)
        self.gauges: dict[Key, float] = {}
        self.histograms: dict[Key, list[float]] = {}
        """One count per bucket, the count beyond the last bucket, and the sum in seconds."""
        self.exemplars: dict[tuple[Key, int], Exemplar] = {}
        """The newest of each bucket, by key of the histogram and index of the bucket."""

    def histogram(self, key: Key) -> list[float]:
        row = self.histograms.get(key)
        if row is None:
            row = self.histograms[key] = [0] * (len(SECONDS_BUCKETS) + 2)
        return row

    def observe(self, key: Key, seconds: float) -> None:
        row = self.histogram(key)
        row[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        row[-1] += seconds

    def exemplify(self, key: Key, seconds: float, trace_id: str, at: float) -> None:
        """Keep the trace of a request that `seconds` were counted of. `at`: Unix seconds."""
        self.exemplars[key, bisect_left(SECONDS_BUCKETS, seconds)] = trace_id, seconds, at

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "counters": [[*key, value] for key, value in self.counters.items()],
                "gauges": [[*key, value] for key, value in self.gauges.items()],
                "histograms": [[*key, row] for key, row in self.histograms.items()],
                "exemplars": [[*key, bucket, found] for (key, bucket), found in self.exemplars.items()],
            }
        )

    @staticmethod
    def decode(data: bytes) -> Store:
        store = Store()
        tables = orjson.loads(data)
        store.counters.update((tuple(row[:-1]), row[-1]) for row in tables["counters"])
        store.gauges.update((tuple(row[:-1]), row[-1]) for row in tables["gauges"])
        store.histograms.update((tuple(row[:-1]), row[-1]) for row in tables["histograms"])
        store.exemplars.update(((tuple(row[:-2]), row[-2]), tuple(row[-1])) for row in tables.get("exemplars", ()))
        return store

    def add(self, other: Store, *, gauges: bool = True) -> None:
        """Add the values of another process. `gauges`: False for a process that has ended."""
        for key, count in other.counters.items():
            self.counters[key] += count
        for key, row in other.histograms.items():
            mine = self.histograms.get(key, [0] * len(row))
            self.histograms[key] = [a + b for a, b in zip(mine, row, strict=True)]
        for place, exemplar in other.exemplars.items():
            known = self.exemplars.get(place)
            if known is None or known[2] < exemplar[2]:
                self.exemplars[place] = exemplar
        if gauges:
            for key, value in other.gauges.items():
                self.gauges[key] = self.gauges.get(key, 0) + value

    def write(self, path: Path) -> None:
        """Replace the snapshot file atomically, so that a reader never sees a partial one."""
        temporary = path.with_suffix(".new")
        temporary.write_bytes(self.encode())
        temporary.replace(path)


class Metrics:
    """Implements DiameterMetrics, ChargingMetrics, LedgerMetrics and ApiMetrics, and what the housekeeper counts."""

    def __init__(self, store: Store | None = None) -> None:
        self._store = store or Store()
        self._counters = self._store.counters
        self._observe = self._store.observe
        self._commands, self._types, self._contexts = Fixed(_COMMANDS), Fixed(_TYPES), Fixed(_CONTEXTS)
        self._results, self._services, self._words = Bounded(), Bounded(), Bounded()
        self._hosts, self._routes, self._methods = Bounded(), Bounded(), Fixed(_METHODS)
        self._rates, self._products = Bounded(), Bounded()
        self._answers: dict[tuple[str, str, str, int], tuple[Key, list[float]]] = {}
        """Counter key and histogram row of each kind of answer, at most MAX_ANSWERS."""
        self._peer_states: dict[str, str] = {}
        self._charged: dict[tuple[str, str, int], tuple[list[Key], list[int]]] = {}
        """Counts that are not yet in the store, by service of the catalogue, unit and Result-Code."""
        self._in_flight = 0
        self._connections = 0

    @property
    def store(self) -> Store:
        """The store, with all counts up to now."""
        counters = self._counters
        for keys, row in self._charged.values():
            for key, amount in zip(keys, row, strict=True):
                if amount:
                    counters[key] += amount
            row[:] = [0] * len(row)
        return self._store

    # -- DiameterMetrics

    def request(self, command: str, type: str, context: str) -> None:
        self._counters["ocs_requests", self._commands[command], self._types[type], self._contexts[context]] += 1

    def answer(self, command: str, type: str, context: str, result_code: int, seconds: float) -> None:
        known = self._answers.get((command, type, context, result_code)) or self._answer(
            command, type, context, result_code
        )
        key, row = known
        self._counters[key] += 1
        row[bisect_left(SECONDS_BUCKETS, seconds)] += 1
        row[-1] += seconds

    def _answer(self, command: str, type: str, context: str, result_code: int) -> tuple[Key, list[float]]:
        labels = self._commands[command], self._types[type], self._contexts[context]
        made = (
            ("ocs_answers", *labels, self._results[result_code]),
            self._store.histogram(("ocs_answer_seconds", *labels)),
        )
        if len(self._answers) < MAX_ANSWERS:
            self._answers[command, type, context, result_code] = made
        return made

    def exemplar(self, type: str, context: str, seconds: float, trace_id: str, at: float) -> None:
        """The trace of an answered CCR. `at`: Unix seconds."""
        key = ("ocs_answer_seconds", "CCR", self._types[type], self._contexts[context])
        self._store.exemplify(key, seconds, trace_id, at)

    def peer_answer(self, origin_host: str, result_code: int) -> None:
        self._counters["ocs_peer_answers", self._hosts[origin_host], self._results[result_code]] += 1

    def dropped_answer(self) -> None:
        self._counters[("ocs_answers_dropped",)] += 1

    def in_flight(self, delta: int) -> None:
        self._in_flight += delta

    def peer_state(self, origin_host: str, state: str) -> None:
        self._peer_states[self._hosts[origin_host]] = self._words[state]

    def connection_refused(self, reason: str) -> None:
        self._counters["ocs_connections_refused", self._words[reason]] += 1

    def client_request(self, command: str, reason: str) -> None:
        self._counters["ocs_client_requests", self._commands[command], self._words[reason]] += 1

    def client_answer(self, command: str, result: str) -> None:
        self._counters["ocs_client_answers", self._commands[command], self._results[result]] += 1

    def unblocked(self, seconds: float) -> None:
        self._observe(("ocs_time_to_unblock_seconds",), seconds)

    def request_refused(self, kind: str) -> None:
        self._counters["ocs_requests_refused", self._words[kind]] += 1

    def overload(self, reduction_percent: int) -> None:
        self.set("ocs_overload_reduction_percent", reduction_percent)

    def connection_lost(self, reason: str) -> None:
        self._counters["ocs_connections_lost", self._words[reason]] += 1

    # -- ChargingMetrics

    def offer(self, services: Iterable[tuple[str, str]]) -> None:
        """Services of the catalogue, each with its unit: what is counted of them begins at 0 (`Definition.known`)."""
        for name, unit in services:
            service, word = self._services[name], self._words[unit]
            for counter in _OF_SERVICE_AND_UNIT:
                self._counters[counter, service, word] += 0
            for reason in _USUAL_BLOCKS:
                self._counters["ocs_blocked", service, reason] += 0
            for counter in _OF_SERVICE:
                self._counters[counter, service] += 0

    def charged(
        self, service: str, unit: str, result_code: int, used: int, granted: int, micro_eur: int, bucket_units: int
    ) -> None:
        known = self._charged.get((service, unit, result_code)) or self._charged_row(service, unit, result_code)
        row = known[1]
        row[0] += 1
        row[1] += used
        row[2] += granted
        row[3] += micro_eur
        row[4] += bucket_units

    def _charged_row(self, service: str, unit: str, result_code: int) -> tuple[list[Key], list[int]]:
        name, word = self._services[service], self._words[unit]
        keys: list[Key] = [
            ("ocs_service_results", name, self._results[result_code]),
            ("ocs_used_units", name, word),
            ("ocs_granted_units", name, word),
            ("ocs_debited_eur", name),
            ("ocs_debited_bucket_units", name, word),
        ]
        made = self._charged[service, unit, result_code] = keys, [0] * len(keys)
        return made

    def overrun(self, service: str, unit: str, amount: int) -> None:
        self._counters["ocs_overrun_units", self._services[service], self._words[unit]] += amount

    def dropped(self, service: str, unit: str, amount: int) -> None:
        self._counters["ocs_dropped_units", self._services[service], self._words[unit]] += amount

    def other_units(self, service: str, unit: str, amount: int) -> None:
        self._counters["ocs_other_units", self._services[service], self._words[unit]] += amount

    def location_unreadable(self, avp: str) -> None:
        self._counters["ocs_unreadable_locations", self._words[avp]] += 1

    def restricted(self, service: str) -> None:
        self._counters["ocs_restricted_phases", self._services[service]] += 1

    def final_unit(self, service: str, action: str) -> None:
        self._counters["ocs_final_unit_indications", self._services[service], self._words[action]] += 1

    def refunded(self, service: str, micro_eur: int) -> None:
        self._counters["ocs_refunded_eur", self._services[service]] += micro_eur

    def late(self, request_type: str) -> None:
        self._counters["ocs_late_settlements", self._words[request_type]] += 1

    def blocked(self, service: str, reason: str) -> None:
        self._counters["ocs_blocked", self._services[service], self._words[reason]] += 1

    def duplicate(self, request_type: str) -> None:
        self._counters["ocs_duplicates", self._types[request_type]] += 1

    def session_id_reused(self) -> None:
        self._counters[("ocs_reused_session_ids",)] += 1

    def mscc_result(self, service: str, result_code: int) -> None:
        self._counters["ocs_service_results", self._services[service], self._results[result_code]] += 1

    # -- LedgerMetrics

    def round_trip(self, operation: str, seconds: float) -> None:
        self._observe(("ocs_ledger_round_trip_seconds", self._words[operation]), seconds)

    def ledger_error(self, kind: str) -> None:
        self._counters["ocs_ledger_errors", self._words[kind]] += 1

    def connected(self, connections: int) -> None:
        """Change of the number of connections: +1 for a new one, -1 for a lost one."""
        self._connections += connections

    # -- API

    def api_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """`route`: the path with the names of its parameters."""
        labels = self._routes[route], self._methods[method]
        self._counters["ocs_api_requests", *labels, f"{status // 100}xx"] += 1
        self._observe(("ocs_api_request_seconds", *labels), seconds)

    # -- payments

    def payment_order(self, kind: str, state: str) -> None:
        self._counters["ocs_payment_orders", self._words[kind], self._words[state]] += 1

    def provider_call(self, operation: str, result: str, seconds: float) -> None:
        self._observe(("ocs_payment_provider_seconds", self._words[operation], self._words[result]), seconds)

    # -- records

    def recorded_money(self, kind: str, debit_micro_eur: int, credit_micro_eur: int) -> None:
        if debit_micro_eur:
            self._counters["ocs_recorded_debit_eur", self._words[kind]] += debit_micro_eur
        if credit_micro_eur:
            self._counters["ocs_recorded_credit_eur", self._words[kind]] += credit_micro_eur

    def rate_charged(self, rate: str, micro_eur: int) -> None:
        self._counters["ocs_charged_eur", self._rates[rate]] += micro_eur

    def product_paid(self, product: str, micro_eur: int) -> None:
        self._counters["ocs_products_paid", self._products[product]] += 1
        self._counters["ocs_product_fees_eur", self._products[product]] += micro_eur

    # -- housekeeper and supervisor

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        self._counters[name, *(self._words[label] for label in labels)] += by

    def set(self, name: str, value: float, *labels: str) -> None:
        self._store.gauges[name, *(self._words[label] for label in labels)] = value

    def snapshot(self, path: Path) -> None:
        """Write the current values to the snapshot file."""
        gauges = self._store.gauges
        gauges[("ocs_in_flight",)] = self._in_flight
        gauges[("ocs_ledger_connections",)] = self._connections
        for key in [key for key in gauges if key[0] in ("ocs_peers", "ocs_peer_connections")]:
            gauges[key] = 0
        for state, peers in Counter(self._peer_states.values()).items():
            gauges["ocs_peers", state] = peers
        for host, state in self._peer_states.items():
            gauges["ocs_peer_connections", host] = 1 if "open" in state or state == "okay" else 0
        self.store.write(path)
