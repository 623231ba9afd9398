"""The requests that are served, how each is decoded, and a receiver's limits: data for the pipeline's stages."""

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
"""Attribute name → value of the top-level AVP."""
Path = tuple[str, ...]
"""Attribute names, outermost first: ("multiple_services_credit_control", "used_service_unit")."""

SHORTEST_AVP_OCTETS = 8
MAX_CACHED_TOLERANCES = 32
"""Size of the cache of `commands_tolerating`."""


def _nothing_missing(_: Lookup) -> str | None:
    return None


def _nothing_contradicts(_: Lookup) -> tuple[Path, ...]:
    return ()


def _never(_: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Choice:
    """A top-level group with exactly one of several members; none is 5005."""

    attribute: str
    members: tuple[str, ...]
    several: ResultCode
    """Result-Code for more than one member."""
    open: bool = False
    """Members that we do not know are allowed (`[AVP]`)."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request that is served."""

    codec: Codec[Any]
    proxiable: bool
    """The P bit is allowed; it may be missing, since some clients omit it. If False it must be clear."""
    missing: Callable[[Lookup], str | None] = _nothing_missing
    """The attribute that is missing because of other AVPs, or None."""
    contradicting: Callable[[Lookup], tuple[Path, ...]] = _nothing_contradicts
    """Attributes that contradict each other, or ()."""
    choices: tuple[Choice, ...] = ()
    services: str = ""
    """The repeatable attribute that `Limits.max_services` limits."""
    routed: bool = False
    """May carry Destination-Realm, Destination-Host, Route-Record and Proxy-Info."""
    ordinary: Callable[[Any], bool] = _never
    """Whether `missing`, `contradicting`, `choices` and the stages for Route-Record and Proxy-Info cannot find an error
    in the message: one call instead of all of them.
    """
    layouts: Layouts[Any] | None = None
    """For frequent commands."""


Commands = Mapping[tuple[int, int], Command]
COMMANDS: dict[tuple[int, int], Command] = {}
"""(Application-Id, Command-Code) → command."""


def register(application_id: int, command_code: int, command: Command) -> None:
    COMMANDS[application_id, command_code] = command


def commands_tolerating(tolerated: Tolerance) -> Commands:
    """All registered commands, decoded with that tolerance. Call it after all are registered."""
    return _tolerating(tolerated) if tolerated != NOTHING else COMMANDS


@lru_cache(MAX_CACHED_TOLERANCES)
def _tolerating(tolerated: Tolerance) -> Commands:
    """The command with layouts of its own: a layout learned from a tolerated peer must not apply to others."""
    return {key: _with(command, tolerated) for key, command in COMMANDS.items()}


def _with(command: Command, tolerated: Tolerance) -> Command:
    codec = Codec(command.codec.make, replace(command.codec.rules, tolerated=tolerated))  # type: ignore[arg-type]
    return replace(command, codec=codec, layouts=None if command.layouts is None else Layouts(codec))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one request. Its length is limited by the frame reader, its depth by the declarations."""

    max_avps: int = 2_000
    """On all levels that are decoded. A P-GW's request has some fifty."""
    max_services: int = 256
    """Multiple-Services-Credit-Control AVPs. Ten times what a P-GW sends."""
    tolerated: Tolerance = NOTHING
    commands: Commands = field(init=False, repr=False, compare=False)
    """The commands, decoded with `tolerated`."""
    uncounted_octets: int = field(init=False, repr=False)
    """A message up to this length cannot have more than `max_avps`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "commands", commands_tolerating(self.tolerated))
        object.__setattr__(self, "uncounted_octets", HEADER_OCTETS + SHORTEST_AVP_OCTETS * self.max_avps)


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Routing:
    """Our names, for requests with a destination (RFC 6733 §6.1). Identities are compared ignoring case."""

    host: str
    realms: frozenset[str]
    hosts: frozenset[str] = frozenset()
    """Other nodes for which we answer, because they share our sessions. A client that fails over from one of them still
    sends its name in Destination-Host (RFC 8506 §5.7).
    """

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
