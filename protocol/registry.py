"""Which requests are served, how each is read, and the bounds a receiver sets: what the pipeline's stages look things
up in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from protocol.compiler import Codec
from protocol.errors import ResultCode
from protocol.header import HEADER_OCTETS
from protocol.layout import Layouts
from protocol.tolerance import NOTHING, Tolerance

Lookup = Callable[[str], Any]
"""Gives the value of a top-level attribute of the request."""
Path = tuple[str, ...]
"""Attribute names from the message inwards: ("multiple_services_credit_control", "used_service_unit")."""

SHORTEST_AVP_OCTETS = 8
MAX_TOLERANCES_KEPT = 32
"""Sets of commands kept, one for each tolerance in use."""


def _nothing_missing(_: Lookup) -> str | None:
    return None


def _nothing_contradicts(_: Lookup) -> tuple[Path, ...]:
    return ()


def _never(_: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Choice:
    """A top-level group of which exactly one member must be there; none is 5005."""

    attribute: str
    members: tuple[str, ...]
    several: ResultCode
    """What more than one is."""
    open: bool = False
    """A member that we do not know may stand for one that we do (`[AVP]`)."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request that is served."""

    codec: Codec[Any]
    proxiable: bool
    """May be proxied, so the P bit is expected; real clients leave it out, so it may be clear. Else it must be
    clear.
    """
    missing: Callable[[Lookup], str | None] = _nothing_missing
    """The attribute that is missing although its AVP is optional by itself: what must be there depends on other
    AVPs.
    """
    contradicting: Callable[[Lookup], tuple[Path, ...]] = _nothing_contradicts
    """Which attributes contradict each other."""
    choices: tuple[Choice, ...] = ()
    services: str = ""
    """The repeated attribute that `Limits.max_services` bounds."""
    routed: bool = False
    """Carries Destination-Realm, Destination-Host, Route-Record and Proxy-Info."""
    ordinary: Callable[[Any], bool] = _never
    """Whether a message is of the common kind that `missing`, `contradicting`, `choices` and the stages about
    Route-Record and Proxy-Info cannot object to: one look instead of all of them."""
    layouts: Layouts[Any] | None = None
    """For a command that comes often."""


Commands = Mapping[tuple[int, int], Command]
COMMANDS: dict[tuple[int, int], Command] = {}
"""(Application-Id, Command-Code) → how the request is read."""


def register(application_id: int, command_code: int, command: Command) -> None:
    COMMANDS[application_id, command_code] = command


def commands_tolerating(tolerated: Tolerance) -> Commands:
    """The commands, read with that tolerance. Ask when all are registered."""
    return _tolerating(tolerated) if tolerated != NOTHING else COMMANDS


@lru_cache(MAX_TOLERANCES_KEPT)
def _tolerating(tolerated: Tolerance) -> Commands:
    """With layouts of their own: one that was learned from a peer that may send an AVP must not let it pass from
    others.
    """
    return {key: _with(command, tolerated) for key, command in COMMANDS.items()}


def _with(command: Command, tolerated: Tolerance) -> Command:
    codec = Codec(command.codec.make, replace(command.codec.rules, tolerated=tolerated))  # type: ignore[arg-type]
    return replace(command, codec=codec, layouts=None if command.layouts is None else Layouts(codec))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a receiver takes of one request; its length is the frame reader's limit, its depth the definitions'."""

    max_avps: int = 2_000
    """Over all levels that are entered; a gateway's request has some fifty."""
    max_services: int = 256
    """Multiple-Services-Credit-Control AVPs: ten times what a gateway sends, and a bound on our work."""
    tolerated: Tolerance = NOTHING
    commands: Commands = field(init=False, repr=False, compare=False)
    """What is served, read with that tolerance."""
    uncounted_octets: int = field(init=False, repr=False)
    """A message up to this length cannot hold more than `max_avps`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "commands", commands_tolerating(self.tolerated))
        object.__setattr__(self, "uncounted_octets", HEADER_OCTETS + SHORTEST_AVP_OCTETS * self.max_avps)


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Routing:
    """Who we are, for requests that say where they want to go (RFC 6733 §6.1). Identities are compared without regard
    to case.
    """

    host: str
    realms: frozenset[str]
    hosts: frozenset[str] = frozenset()
    """Hosts that we answer for besides: nodes that share our sessions. A client that fails over from one of them still
    names it in Destination-Host (RFC 8506 §5.7)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", self.host.lower())
        object.__setattr__(self, "hosts", frozenset((self.host, *map(str.lower, self.hosts))))
        object.__setattr__(self, "realms", frozenset(realm.lower() for realm in self.realms))

    def is_us(self, host: str) -> bool:
        return host == self.host or host.lower() == self.host

    def answers_for(self, host: str) -> bool:
        return host in self.hosts or host.lower() in self.hosts

    def serves(self, realm: str) -> bool:
        return realm in self.realms or realm.lower() in self.realms
