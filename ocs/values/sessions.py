"""The owner of a credit-control session: the client, or clients, that may continue it."""

from __future__ import annotations


def session_owner(origin_host: str, *, failover_group: str = "", realm: str | None = None) -> str:
    """The client's failover group, else its Origin-Host in lower case.

    `realm`: Origin-Realm of a client behind a relay that has no `[[peer]]` of its own. Its owner is host and realm.
    """
    if failover_group:
        return failover_group
    host = origin_host.lower()
    return f"{host}/{realm.lower()}" if realm is not None else host
