"""Limits of what the ledger keeps of an account's sessions."""

MAX_SESSIONS_PER_ACCOUNT = 32
"""Open credit-control sessions of one account; one more is refused with 5006."""

MAX_SERVICES_PER_SESSION = 64
"""Rating groups with state in one session; one more is refused with 5006 in its MSCC."""

ANSWERS_KEPT_PER_SESSION = 64
"""Outcomes kept of a live session; a request number further behind the highest is refused, never applied."""

TOMBSTONE_S = 300
"""A session that has ended is known so long, for reports that its end overtook."""
