"""Settings of the ledger's client. What they cost in memory: docs/LIMITS.md."""

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
    """Number of hash tags over which accounts are spread (1 … 16,384); fixed at installation."""
    timeout_ms: int = _DEFAULT.timeout_ms
    """Longest wait for an answer of Redis. Must stay far below the clients' Tx of 10 s."""
    remember_sessions_s: int = _DEFAULT.remember_sessions_s
    """How long outcomes of an ended session are kept for repetitions (about 0.1 kB a request)."""
    remember_events_s: int = _DEFAULT.remember_events_s
    """How long outcomes of one-off events are kept for repetitions (about 0.2 kB an event)."""
    replicas: int = _DEFAULT.replicas
    """Replicas that must confirm a write, with durability "replicated"; within half of `timeout_ms`."""
    connections: int = 1
    """Connections of a process to each Redis node. An account always uses the same one, so its requests stay in order.
    More than one costs system calls and gains nothing, as Redis executes one command at a time. With durability
    "replicated" there is one more, for commands that need not wait for replicas."""
    max_waiting: int = 20_000
    """Requests that wait for Redis, per process; one more is answered LedgerUnavailable at once."""
    max_clock_skew_s: int = _DEFAULT.max_clock_skew_s
    """A script refuses a `now` that differs by more from the clock of Redis; 0 = not checked."""
