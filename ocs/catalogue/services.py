"""Finds the catalogue's service of a use: by context, APN, rating group and service identifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ocs.values.use import Context, Direction, QuotaPolicy, RatedUse, Unit, Unrateable, UseEvent

MatchKey = tuple[str | None, int | None, int | None]
"""(APN, rating group, service identifier) of a `match` line; None = not stated."""
RateKey = tuple[str, Direction, str, bool]
"""(place, direction, destination class, whether the number is of the visited country)."""


@dataclass(slots=True, eq=False)
class Service:
    """A compiled service with its rates."""

    id: str
    unit: Unit
    quota: QuotaPolicy
    bars: tuple[str, ...]
    has_parties: bool
    """Calls and messages have a direction and another party. Data, content and services in money do not."""
    by_place: dict[str, RatedUse] = field(default_factory=dict)
    """Rates of a service without parties, by place."""
    by_use: dict[RateKey, RatedUse] = field(default_factory=dict)
    """Rates of a service with parties."""


@dataclass(slots=True)
class _ContextServices:
    default: Service | None = None
    by_match: dict[MatchKey, Service] = field(default_factory=dict)
    stated_parts: tuple[tuple[bool, bool, bool], ...] = ()
    """Which parts of a MatchKey the lines state: most parts first, then by APN, rating group, service identifier."""
    uses_apn: bool = False


class Services:
    """The services of each context."""

    __slots__ = ("_contexts",)

    def __init__(self) -> None:
        self._contexts: dict[Context, _ContextServices] = {}

    def add(self, context: Context, service: Service, *, default: bool, matches: Iterable[MatchKey]) -> None:
        services = self._contexts.setdefault(context, _ContextServices())
        if default:
            services.default = service
        services.by_match.update(dict.fromkeys(matches, service))
        stated = {(apn is not None, group is not None, id_ is not None) for apn, group, id_ in services.by_match}
        services.stated_parts = tuple(sorted(stated, key=lambda parts: (sum(parts), parts), reverse=True))
        services.uses_apn = any(with_apn for with_apn, _, _ in stated)

    def __iter__(self) -> Iterator[Service]:
        """Each service once."""
        found = (each for known in self._contexts.values() for each in (known.default, *known.by_match.values()))
        return iter({id(each): each for each in found if each is not None}.values())

    def units(self) -> list[tuple[str, str]]:
        """Each `RatedUse.service` that there may be, with its unit."""
        rated = (each for service in self for each in (*service.by_use.values(), *service.by_place.values()))
        return sorted({(each.service, each.unit.value) for each in rated})

    def find(self, event: UseEvent) -> Service:
        """Service of the use. Unrateable names the rating group, or the context if there is none."""
        return self.matched(event)[0]

    def matched(self, event: UseEvent) -> tuple[Service, MatchKey | None]:
        """Service of the use, and the `match` line that decided; None = it is the default of its context."""
        services = self._contexts.get(event.context)
        if services is None:
            raise Unrateable("context", f"the catalogue has no service in the context {event.context}")
        group, identifier = event.rating_group, event.service_identifier
        apn = network_id(event.apn) if services.uses_apn and event.apn else None
        by_match = services.by_match
        for with_apn, with_group, with_identifier in services.stated_parts:
            key = (apn if with_apn else None, group if with_group else None, identifier if with_identifier else None)
            found = by_match.get(key)
            if found is not None:
                return found, key
        if group is not None:
            raise Unrateable("rating_group", f"no service of the context {event.context} has the rating group {group}")
        if services.default is None:
            raise Unrateable("context", f"the context {event.context} has no default service")
        return services.default, None


def network_id(apn: str) -> str:
    """The Network Identifier of an APN: internet.mnc040.mcc293.gprs → internet (TS 23.003 §9.1)."""
    return apn.lower().partition(".mnc")[0]
