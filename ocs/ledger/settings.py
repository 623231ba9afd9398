"""Settings of the ledger, as the ledger's client takes them. Memory costs: docs/LIMITS.md."""

from __future__ import annotations

from dataclasses import dataclass

from ocs.settings.schema import LedgerSection

_DEFAULT = LedgerSection()


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    durability: str = _DEFAULT.durability
    """"fsync": Redis answers after its AOF is on disk; "everysec": up to a second of answers may be lost in a power
    cut; "replicated": fsync, and each answer waits until `replicas` replicas have it (WAIT)."""
    partitions: int = _DEFAULT.partitions
    """Fixed at installation: accounts are spread over so many hash tags (1 … 16,384)."""
    timeout_ms: int = _DEFAULT.timeout_ms
    """An answer of Redis that is not there in time counts as lost; must stay far below the clients' Tx of 10 s."""
    remember_sessions_s: int = _DEFAULT.remember_sessions_s
    """How long outcomes of a finished session are kept for repetitions (about 0.1 kB a request)."""
    remember_events_s: int = _DEFAULT.remember_events_s
    """How long outcomes of one-off events are kept for repetitions (about 0.2 kB an event)."""
    replicas: int = _DEFAULT.replicas
    """Replicas that must have a write, with durability "replicated". They have half of `timeout_ms` to say so."""
    connections: int = 1
    """Connections a process keeps to each Redis node; an account always uses the same one, so its requests stay in
    order.
    More than one costs system calls and gains nothing while Redis works on one request at a time. With durability
    "replicated" there is one more, for what need not wait for replicas."""
    max_waiting: int = 20_000
    """Requests waiting for Redis, per process; one more is answered as unavailable at once."""
    max_clock_skew_s: int = _DEFAULT.max_clock_skew_s
    """A script refuses a `now` that is further off Redis's own time; 0 = it does not look."""
