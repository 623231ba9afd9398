"""What is used: (context, rating group, service identifier, APN) → service of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ocs.values.use import Context, Direction, QuotaPolicy, RatedUse, Unit, Unrateable, UseEvent

MatchKey = tuple[str | None, int | None, int | None]
"""(APN, rating group, service identifier) that a line states; None = it does not."""
RateKey = tuple[str, Direction, str, bool]
"""(place, direction, destination class, number of the visited country)."""


@dataclass(slots=True, eq=False)
class Service:
    """A service with all that rating needs about it, compiled."""

    id: str
    unit: Unit
    quota: QuotaPolicy
    bars: tuple[str, ...]
    numbered: bool
    """Calls and messages have a direction and another party; data, content and what is charged as money have
    neither.
    """
    by_place: dict[str, RatedUse] = field(default_factory=dict)
    """What has neither: place → rated use."""
    by_use: dict[RateKey, RatedUse] = field(default_factory=dict)
    """Calls and messages."""


@dataclass(slots=True)
class _ContextServices:
    default: Service | None = None
    by_match: dict[MatchKey, Service] = field(default_factory=dict)
    shapes: tuple[tuple[bool, bool, bool], ...] = ()
    """Which of the three its lines state, most first, APN before rating group before service identifier."""
    uses_apn: bool = False


class Services:
    """Finds the service of a use."""

    __slots__ = ("_contexts",)

    def __init__(self) -> None:
        self._contexts: dict[Context, _ContextServices] = {}

    def add(self, context: Context, service: Service, *, default: bool, matches: Iterable[MatchKey]) -> None:
        known = self._contexts.setdefault(context, _ContextServices())
        if default:
            known.default = service
        known.by_match.update(dict.fromkeys(matches, service))
        shapes = {(apn is not None, group is not None, id_ is not None) for apn, group, id_ in known.by_match}
        known.shapes = tuple(sorted(shapes, key=lambda shape: (sum(shape), shape), reverse=True))
        known.uses_apn = any(shape[0] for shape in shapes)

    def find(self, event: UseEvent) -> Service:
        """Service of the use; Unrateable blames the rating group if there is one."""
        known = self._contexts.get(event.context)
        if known is None:
            raise Unrateable("context", f"the catalogue has no service in the context {event.context}")
        group, identifier = event.rating_group, event.service_identifier
        apn = network_id(event.apn) if known.uses_apn and event.apn else None
        by_match = known.by_match
        for with_apn, with_group, with_identifier in known.shapes:
            found = by_match.get(
                (apn if with_apn else None, group if with_group else None, identifier if with_identifier else None)
            )
            if found is not None:
                return found
        if group is not None:
            raise Unrateable("rating_group", f"no service of the context {event.context} has the rating group {group}")
        if known.default is None:
            raise Unrateable("context", f"the context {event.context} has no default service")
        return known.default


def network_id(apn: str) -> str:
    """The APN without its operator part: internet.mnc040.mcc293.gprs → internet (TS 23.003 §9.1)."""
    return apn.lower().partition(".mnc")[0]
