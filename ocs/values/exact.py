"""How large a number may be that the ledger computes with."""

from __future__ import annotations

MAX_INTEGER = 2**53 - 1
"""Redis Lua numbers are doubles: beyond this they are no longer exact."""
