"""Session-Ids: unique per run (RFC 6733 §8.8), all of one length, so that templates can be patched."""

from __future__ import annotations

import time

RUN_DIGITS = 14
SESSION_DIGITS = 10


def new_run() -> int:
    """A name for the run, from microseconds: a second run never repeats Session-Ids of the first."""
    return time.time_ns() // 1000 % int(10**RUN_DIGITS)


def session_id(host: str, run: int, number: int) -> str:
    """<host>;<run>;<number>."""
    return f"{host};{run:0{RUN_DIGITS}d};{number:0{SESSION_DIGITS}d}"
