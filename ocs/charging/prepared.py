"""What a request is made ready to: its services, each rated or not, and what the ledger is asked for each."""

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
"""Key of the service whose units stand at command level (the style of RFC 8506), and of an MSCC that names nothing."""


class Rater(Protocol):
    """The part of the catalogue that charging needs."""

    def rate(self, event: UseEvent) -> RatedUse: ...

    def month_of(self, unix_s: int) -> int: ...

    def day_of(self, unix_s: int) -> int: ...

    def canonical_party(self, party: str, serving_plmn: str | None, visited_number: str | None) -> str: ...


@dataclass(slots=True)
class Service:
    """One service of a request: how it is answered, what the ledger is asked, and either its rating or why there is
    none.
    """

    key: str
    rating_group: int | None
    service_identifiers: Sequence[int]
    rated: RatedUse | None
    charge: ServiceCharge | None
    failed_avp: bytes = b""
    validity_s: int = 0
    """How long a grant lives: the policy's, or up to a price switch that it must not span."""
    wants_time: bool = False
    """Time is counted beside volume."""
    absurd_time_s: int = 0
    """Reported beside what is charged, and impossible."""
    other_units: tuple[tuple[Unit, int], ...] = ()
    """Reported in units that it is not charged by, with nothing in those that it is."""
    whole: str = ""
    """Key of the service that the request asked for, of which this is what one recipient is charged for."""
    of_each: bool = False
    """The units asked for are of each recipient, and not of all together."""
    divided: bool = False
    """Its recipients are charged one by one."""

    @property
    def name(self) -> str:
        """The catalogue's, for metrics."""
        return self.rated.service if self.rated is not None else "unknown"


@dataclass(slots=True)
class Offer:
    """What is the same for all requests of one second that use one service at one place."""

    rated: RatedUse
    max_rate: int
    """Octets a second; 0 = any."""
    restrict: NoFunds
    place: tuple[str, str]
    """Its key names it by identity."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What of the surroundings a request is prepared under."""

    now: int
    profile: Profile = STANDARD
    policy: ChargingPolicy = DEFAULT_POLICY
    offers: dict[tuple[int, int | None, int | None], Offer] = field(default_factory=dict, repr=False, compare=False)
    """By place, rating group and service identifier, of use that takes place now."""


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
    """Units came in MSCC, so the answer's go there too; else at command level."""
    services: list[Service]
    terms: Terms
    unit: Unit
    """Of the context: what a service that cannot be rated is counted in."""
    action: Action = Action.DEBIT
    recipients: tuple[str, ...] = ()
    """Of a message to several that a one-off request or an opening is for, in one form; else ()."""
    several: bool = False
    """Some of the services are of one recipient each."""
    stranger: bytes = b""
    """Failed-AVP of a refund that names somebody whom its debit was not for."""

    @property
    def unrateable(self) -> bool:
        """There are services, and the ledger cannot be asked about any of them."""
        for service in self.services:
            if service.charge is not None:
                return False
        return bool(self.services)

    @property
    def always(self) -> bool:
        """Every service must be granted to anybody (HOT-RAT-2)."""
        for service in self.services:
            if service.rated is None or not service.rated.always:
                return False
        return bool(self.services)


def results(prepared: Prepared, outcome: ChargeOutcome) -> list[ServiceOutcome | None]:
    """Of each service of the request, in its order; None = the ledger says nothing of it."""
    services, found = prepared.services, outcome.services
    if len(services) == len(found) == 1:
        return [found[0] if found[0].key == services[0].key else None]
    by_key = {each.key: each for each in found}
    return [by_key.get(service.key) for service in services]


@dataclass(slots=True)
class Asked:
    rating_group: int | None
    service_identifiers: Sequence[int]
    requested: RequestedServiceUnit | None
    used: list[UsedServiceUnit]
    token: bytes | None = None
    """Refund-Information."""
    ends: bool = False
    """The client says that it is done with the service (Reporting-Reason QHT or FINAL)."""
