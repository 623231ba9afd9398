"""Who a credit-control session belongs to."""

from __future__ import annotations


def session_owner(origin_host: str, *, failover_group: str = "", realm: str | None = None) -> str:
    """Who may go on with the session: the client's failover group, else its Origin-Host, in small letters.

    `realm`: Origin-Realm of a client that a relay carries and nobody has listed. Such a client is known by both.
    """
    if failover_group:
        return failover_group
    host = origin_host.lower()
    return f"{host}/{realm.lower()}" if realm is not None else host
