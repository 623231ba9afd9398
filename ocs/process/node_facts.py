"""The settings that the nodes on a ledger publish to each other, and whether sessions can move between them (RFC 8506
§5.7).

A session can move only if the other node serves requests with this node's Destination-Host, knows its clients and
serves its realms. Contradicting diameter.hosts stop the start. Differences that occur while nodes are restarted one
after another only lead to warnings.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ocs.catalogue.versions import digest_of
from ocs.settings.schema import Settings

NAMED_AT_MOST = 5
"""How many peers one warning names."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Settings of a node; names are in lower case."""

    identity: str
    where: str
    """Host name and data folder: identifies the installation."""
    realms: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    clients: Mapping[str, str] = field(default_factory=dict)
    """Origin-Host → kind and failover_group. Session ownership depends on them, so the nodes must agree."""
    moving: tuple[str, ...] = ()
    """Clients whose answers have CC-Session-Failover = 1."""
    failover: bool = False
    """Whether any client's answers have it, configured or not."""
    any_client: bool = False
    catalogue: str = ""
    """Digest of the file, or of the folder of its versions."""

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def decode(data: bytes) -> NodeFacts | None:
        """None if another release has written it in another form."""
        try:
            said = json.loads(data)
            lists = {name: tuple(said[name]) for name in ("realms", "hosts", "moving")}
            return NodeFacts(**{**said, **lists})
        except (KeyError, TypeError, ValueError):
            return None


def where(settings: Settings) -> str:
    return f"{socket.gethostname()}:{settings.data_dir.resolve()}"


def facts_of(settings: Settings) -> NodeFacts:
    diameter = settings.diameter
    profiles = {peer.origin_host.lower(): settings.profile_named(peer.profile) for peer in settings.peer}
    moving = tuple(sorted(name for name, profile in profiles.items() if profile.session_failover))
    anybody = diameter.accept_unknown_peers and bool(settings.profile_named("standard").session_failover)
    return NodeFacts(
        identity=diameter.identity.lower(),
        where=where(settings),
        realms=tuple(sorted({diameter.realm.lower(), *map(str.lower, diameter.realms)})),
        hosts=tuple(sorted(map(str.lower, settings.other_hosts))),
        clients={peer.origin_host.lower(): f"{peer.kind} {peer.failover_group}" for peer in settings.peer},
        moving=moving,
        failover=bool(moving) or anybody,
        any_client=diameter.accept_unknown_peers,
        catalogue=digest_of(Path(settings.server.catalogue)),
    )


def conflicts(ours: NodeFacts, others: Iterable[NodeFacts]) -> list[str]:
    """Why this node must not start beside the others, which run: moved sessions would be refused with 3002."""
    found = []
    for other in others:
        for first, second in ((ours, other), (other, ours)):
            if not first.failover or first.identity == second.identity:
                continue
            if second.identity in first.hosts and first.identity not in second.hosts:
                found.append(_not_named(second, first, "refuses requests that name the first node"))
            elif first.identity in second.hosts and second.identity not in first.hosts:
                found.append(
                    _not_named(first, second, "refuses a session that comes back from the other with its name")
                )
    return found


def _not_named(lacks: NodeFacts, named: NodeFacts, what_it_does: str) -> str:
    return (
        f"session_failover = true is not possible between {_both(lacks, named)}: {lacks.identity} ({lacks.where}) "
        f"{what_it_does};"
        f" its diameter.hosts must name {named.identity}. Let all nodes name each other first, then set "
        "session_failover"
    )


def _both(one: NodeFacts, other: NodeFacts) -> str:
    return " and ".join(sorted((one.identity, other.identity)))


def failover_warnings(ours: NodeFacts, known: Mapping[str, NodeFacts | None]) -> list[str]:
    """Differences between the nodes' settings by which moved sessions are refused, or priced otherwise."""
    found = []
    for name in ours.hosts:
        other = known.get(name)
        if other is None:
            found.append(f"no node {name} (diameter.hosts) has been on this Redis yet: no session can move there")
            continue
        for first, second in ((ours, other), (other, ours)):
            found += _cannot_move(first, second)
        if other.catalogue != ours.catalogue:
            found.append(f"{name} has another catalogue: sessions that move are priced anew from their next grant on")
    return found


def _cannot_move(first: NodeFacts, second: NodeFacts) -> list[str]:
    found = []
    unserved = sorted(set(first.realms) - set(second.realms))
    if first.failover and unserved:
        found.append(
            f"{second.identity} does not serve {', '.join(unserved)}, as {first.identity} does (diameter.realms)"
        )
    strangers = [name for name in first.moving if name not in second.clients and not second.any_client]
    others = [
        name for name in first.moving if name in second.clients and second.clients[name] != first.clients.get(name)
    ]
    unmoved = [name for name in first.moving if name in second.clients and name not in second.moving]
    if unmoved:
        found.append(
            f"{second.identity} does not tell {_few(unmoved)} that sessions may move (session_failover): they "
            "cannot come back"
        )
    if strangers:
        found.append(
            f"{second.identity} has no [[peer]] {_few(strangers)}: what {first.identity} tells it to move is refused"
        )
    if others:
        found.append(
            f"{second.identity} and {first.identity} have another kind or failover_group of {_few(others)}: 5002"
        )
    return found


def _few(names: list[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
