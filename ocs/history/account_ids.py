"""The ids that an account had: it gets a new one whenever it moves to another partition. The rows of the history keep
the id of their time, so whoever reads them by account asks for all.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select

from ocs.history.schema import MOVES

AccountIds = tuple[str, ...]
"""`AccountView.ids`: those that the ledger knows, newest first. The last move may not be loaded yet."""
MAX_MOVES = 16
"""Earlier ids of one account that are followed."""
_MOVED_FROM = select(MOVES.c.moved_from).where(MOVES.c.account == bindparam("moved_to"))


def all_ids(connection: Connection, known: AccountIds) -> AccountIds:
    """Those that are known, and those before them, newest first."""
    found = list(dict.fromkeys(known))
    while found and len(found) < MAX_MOVES:
        moved_from = connection.execute(_MOVED_FROM, {"moved_to": found[-1]}).scalar()
        if moved_from is None or moved_from in found:
            break
        found.append(moved_from)
    return tuple(found)
