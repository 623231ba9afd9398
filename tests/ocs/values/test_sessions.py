"""The owner of a session."""

from __future__ import annotations

from ocs.values.sessions import session_owner


def test_the_owner_of_a_session() -> None:
    assert session_owner("PGW.example.net") == "pgw.example.net"
    assert session_owner("pgw.example.net", failover_group="East", realm="example.net") == "East"
    assert session_owner("PGW.a.net", realm="A.net") == "pgw.a.net/a.net"


def test_a_carried_client_without_a_realm_is_not_the_client_of_that_name() -> None:
    assert session_owner("pgw.a.net", realm="") != session_owner("pgw.a.net")
