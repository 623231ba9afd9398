"""The largest integer that the ledger computes with exactly."""

from __future__ import annotations

MAX_INTEGER = 2**53 - 1
"""Numbers of Lua in Redis are doubles, which hold integers exactly up to this."""
