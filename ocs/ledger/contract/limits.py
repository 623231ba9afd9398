"""Limits of what the ledger keeps of an account's sessions."""

MAX_SESSIONS_PER_ACCOUNT = 32
"""Open credit-control sessions of an account; one more is refused with 5006."""

MAX_SERVICES_PER_SESSION = 64
"""Services with state in one session; one more is refused with 5006 in its MSCC."""

ANSWERS_KEPT_PER_SESSION = 64
"""Outcomes kept of an open session. An update further behind the highest number is refused, never applied."""

TOMBSTONE_S = 300
"""How long a session that has ended is kept, for reports that its end overtook."""

MAX_COUNTRIES_SEEN = 16
"""Countries that an account has left within a day; coming back to one of these is no arrival."""

EQUIPMENT_TOLD = 4
"""Barred IMEIs of an account whose event is remembered; the oldest may be told again."""

MAX_SUBSCRIPTIONS_PER_ACCOUNT = 64
"""Products that an account has at a time; one more is refused (LedgerError "subscriptions")."""

MAX_ORDERS_PER_ACCOUNT = 64
"""Payment orders kept of an account; for a new one the oldest that has ended is dropped."""

MAX_OPEN_ORDERS_PER_ACCOUNT = 8
"""Payment orders of an account that have not ended; one more is refused (LedgerError "orders")."""

MAX_WRONG_VOUCHERS = 20
"""Wrong voucher entries of an account after which it takes no voucher until customer care lifts it (HOT-TOP-3)."""

MAX_BATCH_ACTIONS = 50
"""Actions kept of a batch of vouchers; the oldest is dropped first."""

MAX_TRANSFERS_PER_ACCOUNT = 8
"""Transfers of an account that are not finished; one more is refused (LedgerError "transfers")."""

MAX_NUMBERS_PER_GROUP = 10_000
"""Numbers of a business group, with those that are being added (LedgerError "full")."""

MAX_PUK_TRIES = 10
"""Wrong entries of a PUK1 until care or a new SIM sets another; as many as a SIM allows (3GPP TS 31.101 §9.5)."""
