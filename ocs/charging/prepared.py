"""A prepared request: its services, their rating, and what the ledger is asked for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ocs.ledger.contract.charging import ChargeOutcome, NoFunds, ServiceCharge, ServiceOutcome
from ocs.settings.charging import DEFAULT_POLICY, ChargingPolicy
from ocs.settings.profile import STANDARD, Profile
from ocs.values.requests import Action, RequestType
from ocs.values.use import RatedUse, Unit, UseEvent
from protocol.credit_control import (
    CreditControlRequest,
    RequestedServiceUnit,
    UsedServiceUnit,
)

COMMAND_LEVEL = "-"
"""Key of the service whose units stand at command level, and of an MSCC without rating group and service identifier."""


class Rater(Protocol):
    """The part of the catalogue that charging needs."""

    def rate(self, event: UseEvent) -> RatedUse: ...

    def month_of(self, unix_s: int) -> int: ...

    def day_of(self, unix_s: int) -> int: ...

    def canonical_party(self, party: str, serving_plmn: str | None, visited_number: str | None) -> str: ...

    def country_of(self, serving_plmn: str | None, visited_number: str | None) -> str: ...


@dataclass(slots=True)
class Service:
    """One service of a request. Without a rating it has a Failed-AVP."""

    key: str
    rating_group: int | None
    service_identifiers: Sequence[int]
    rated: RatedUse | None
    charge: ServiceCharge | None
    failed_avp: bytes = b""
    validity_s: int = 0
    """Validity-Time of a grant: the quota policy's, or the time to a price change that the grant must not span."""
    wants_time: bool = False
    """The grant has seconds beside octets."""
    absurd_time_s: int = 0
    """Reported CC-Time that is impossible."""
    other_units: tuple[tuple[Unit, int], ...] = ()
    """Amounts reported in other units, if nothing is reported in the service's own."""
    whole: str = ""
    """Key of the requested service, if this one is its part for one recipient; "" = it is no part."""
    of_each: bool = False
    """The requested units are for each recipient, not for all together."""
    divided: bool = False
    """The service has one part for each recipient."""

    @property
    def name(self) -> str:
        """Name in the catalogue, for metrics."""
        return self.rated.service if self.rated is not None else "unknown"


@dataclass(slots=True)
class Offer:
    """The rating of a service, shared by all requests of one second and usage context."""

    rated: RatedUse
    max_rate: int
    """Octets a second; 0 = no limit."""
    restrict: NoFunds
    place: tuple[str, str]
    """Referenced because its `id` is in the cache key: so the id is not reused."""
    more: tuple[RatedUse, ...] = ()
    """Further rates of the same use (HOT-RAT-7)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Time, profile and policy that a request is prepared with."""

    now: int
    profile: Profile = STANDARD
    policy: ChargingPolicy = DEFAULT_POLICY
    offers: dict[tuple[int, int | None, int | None, str], Offer] = field(
        default_factory=dict, repr=False, compare=False
    )
    """Cache, by id of the usage context's texts, rating group, service identifier and facts, of use at `now`."""
    countries: dict[tuple[str | None, str | None], str] = field(default_factory=dict, repr=False, compare=False)
    """Cache of `country_of`."""
    days: list[int] = field(default_factory=list, repr=False, compare=False)
    """Cache of `calendar`: month and day, or empty."""

    def country_of(self, rater: Rater, serving_plmn: str | None, visited_number: str | None) -> str:
        found = self.countries.get((serving_plmn, visited_number))
        if found is None:
            found = rater.country_of(serving_plmn, visited_number)
            self.countries[serving_plmn, visited_number] = found
        return found

    def calendar(self, rater: Rater) -> list[int]:
        """Month and day of `now`, as the ledger wants them."""
        if not self.days:
            self.days.extend((rater.month_of(self.now), rater.day_of(self.now)))
        return self.days


class TermsCache:
    """The terms of each profile, for the present second and catalogue."""

    def __init__(self, policy: ChargingPolicy) -> None:
        self._policy = policy
        self._made_for: tuple[int, Rater | None] = 0, None
        self._by_profile: dict[int, Terms] = {}

    def of(self, profile: Profile, rater: Rater, now: int) -> Terms:
        if now != self._made_for[0] or rater is not self._made_for[1]:
            self._made_for, self._by_profile = (now, rater), {}
        terms = self._by_profile.get(id(profile))
        if terms is None:
            terms = self._by_profile[id(profile)] = Terms(now, profile, self._policy)
        return terms


@dataclass(slots=True)
class Prepared:
    request: CreditControlRequest
    type: RequestType
    in_mscc: bool
    """The request has MSCCs, so the answer has them; else units stand at command level."""
    services: list[Service]
    terms: Terms
    unit: Unit
    """The context's unit, for services that cannot be rated."""
    action: Action = Action.DEBIT
    recipients: tuple[str, ...] = ()
    """Recipients of a CCR-I or CCR-E in canonical form, if the message has several; else ()."""
    several: bool = False
    """Some services are parts for one recipient."""
    wrong_recipient: bytes = b""
    """Failed-AVP of a refund that names a recipient its debit did not have; b"" = none."""

    @property
    def unrateable(self) -> bool:
        """The request has services, and none can be charged."""
        for service in self.services:
            if service.charge is not None:
                return False
        return bool(self.services)

    @property
    def always(self) -> bool:
        """Every service is always granted (HOT-RAT-2)."""
        for service in self.services:
            if service.rated is None or not service.rated.always:
                return False
        return bool(self.services)


def results(prepared: Prepared, outcome: ChargeOutcome) -> list[ServiceOutcome | None]:
    """The outcome of each service of the request, in its order; None = the ledger has none."""
    services, found = prepared.services, outcome.services
    if len(services) == len(found) == 1:
        return [found[0] if found[0].key == services[0].key else None]
    by_key = {each.key: each for each in found}
    return [by_key.get(service.key) for service in services]


@dataclass(slots=True)
class Asked:
    """A service as the request names it: all MSCCs of one key together."""

    rating_group: int | None
    service_identifiers: Sequence[int]
    requested: RequestedServiceUnit | None
    used: list[UsedServiceUnit]
    token: bytes | None = None
    """Refund-Information."""
    ends: bool = False
    """The client ends the service (Reporting-Reason QHT or FINAL)."""
