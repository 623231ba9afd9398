"""Who acts on an account, for its events: a key of the API, a command, a process of ours."""

from __future__ import annotations

from contextvars import ContextVar

ACTOR: ContextVar[str] = ContextVar("actor", default="")
"""Such as "cli", "key:<key id>", "auto-top-up"; "" = the network, or nobody in particular. At most 64 characters, no
subscriber identity: it stands in records. An interface sets it once per call; the ledger puts it into each event of the
operation (field `by`).
"""
