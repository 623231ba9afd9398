"""From a Credit-Control-Request to what the ledger is asked: each service rated, its units read, its wishes bounded. Pure.

Several MSCC of one key are one service. A service that cannot be rated keeps its place with a 5031 of its own (RFC 8506 §9.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ocs.charging import units
from ocs.charging.use import Circumstances
from ocs.ledger.contract import RequestType, ServiceCharge
from ocs.rating.price import free_price
from ocs.rating.types import Context, RatedUse, Unit, Unrateable, UseEvent
from protocol import failed_avp
from protocol.credit_control import (
    CreditControlRequest,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    UsedServiceUnit,
)

REQUEST_TYPES = {1: RequestType.INITIAL, 2: RequestType.UPDATE, 3: RequestType.TERMINATION, 4: RequestType.EVENT}
UNIT_OF_CONTEXT = {
    Context.DATA: Unit.OCTETS,
    Context.IMS: Unit.SECONDS,
    Context.CS: Unit.SECONDS,
    Context.SMS: Unit.MESSAGES,
    Context.MMS: Unit.MESSAGES,
}
UNRATED = "unrated"
"""Label and price of use that no rate was ever in force for: it is free, and its record says so."""
UNRATED_PRICES = {unit: free_price(UNRATED, unit) for unit in Unit}
COMMAND_LEVEL = "-"
"""Key of the service whose units stand at command level (the style of RFC 8506), and of an MSCC that names nothing."""
MSCC = "multiple_services_credit_control"


class Rater(Protocol):
    """The part of the catalogue that charging needs."""

    def rate(self, event: UseEvent) -> RatedUse: ...

    def month_of(self, unix_s: int) -> int: ...


@dataclass(slots=True)
class Service:
    """One service of a request: how it is answered, what the ledger is asked, and either its rating or why there is none."""

    key: str
    rating_group: int | None
    service_identifiers: Sequence[int]
    rated: RatedUse | None
    charge: ServiceCharge | None
    failed_avp: bytes = b""


@dataclass(slots=True)
class Prepared:
    request: CreditControlRequest
    type: RequestType
    in_mscc: bool
    """Units came in MSCC, so the answer's go there too; else at command level."""
    services: list[Service]

    @property
    def unrateable(self) -> bool:
        """There are services and none of them can be rated."""
        return bool(self.services) and all(service.rated is None for service in self.services)

    @property
    def always(self) -> bool:
        """Every service must be granted to anybody (HOT-RAT-2)."""
        return bool(self.services) and all(s.rated is not None and s.rated.always for s in self.services)


def prepare(request: CreditControlRequest, circumstances: Circumstances, rater: Rater) -> Prepared:
    kind = REQUEST_TYPES[request.cc_request_type]
    given = request.multiple_services_credit_control
    if given:
        services = _merged(given)
    elif request.requested_service_unit is not None or request.used_service_unit or kind is RequestType.EVENT:
        identifier = [] if request.service_identifier is None else [request.service_identifier]
        services = {
            COMMAND_LEVEL: _Asked(None, identifier, request.requested_service_unit, list(request.used_service_unit))
        }
    else:
        services = {}
    detail = circumstances.detail()
    return Prepared(
        request,
        kind,
        bool(given),
        [_service(key, asked, kind, circumstances, detail, rater, bool(given)) for key, asked in services.items()],
    )


@dataclass(slots=True)
class _Asked:
    rating_group: int | None
    service_identifiers: Sequence[int]
    requested: RequestedServiceUnit | None
    used: list[UsedServiceUnit]


def _merged(given: Sequence[MultipleServicesCreditControl]) -> dict[str, _Asked]:
    services: dict[str, _Asked] = {}
    for mscc in given:
        key = _key(mscc)
        asked = services.get(key)
        if asked is None:
            services[key] = _Asked(
                mscc.rating_group, mscc.service_identifier, mscc.requested_service_unit, mscc.used_service_unit
            )
        else:
            asked.used = [*asked.used, *mscc.used_service_unit]
            asked.requested = asked.requested or mscc.requested_service_unit
    return services


def _key(mscc: MultipleServicesCreditControl) -> str:
    """Rating group and service identifiers name a service within its session (digest §3.4)."""
    group = "" if mscc.rating_group is None else str(mscc.rating_group)
    if mscc.service_identifier:
        return f"{group}:{','.join(map(str, sorted(mscc.service_identifier)))}"
    return group or COMMAND_LEVEL


def _service(
    key: str, asked: _Asked, kind: RequestType, where: Circumstances, detail: str, rater: Rater, in_mscc: bool
) -> Service:
    identifier = asked.service_identifiers[0] if asked.service_identifiers else None
    try:
        rated = rater.rate(where.event(asked.rating_group, identifier))
    except Unrateable as error:
        blame = _blame(error.field, asked, in_mscc)
        settling = _settling(key, asked, kind, where.context, detail)
        return Service(key, asked.rating_group, asked.service_identifiers, None, settling, blame)
    used = units.used(asked.used, rated.unit)
    want = units.wanted(asked.requested, rated.unit, rated.quota)
    if kind is RequestType.EVENT:
        # A one-off request debits what it asks for; some clients report it as used instead (RFC 8506 §6.3).
        want, used = want or used or rated.quota.default, 0
    elif kind is RequestType.TERMINATION:
        want = None
    charge = ServiceCharge(
        key,
        rated.label,
        rated.price,
        rated.buckets,
        used,
        want,
        min(rated.quota.minimum, want or rated.quota.minimum),
        rated.always,
        rated.bars,
        detail,
    )
    return Service(key, asked.rating_group, asked.service_identifiers, rated, charge)


def _settling(key: str, asked: _Asked, kind: RequestType, context: Context, detail: str) -> ServiceCharge | None:
    """What an update or termination reports without saying enough for a price of its own is settled at the price in force."""
    if kind not in (RequestType.UPDATE, RequestType.TERMINATION):
        return None
    unit = UNIT_OF_CONTEXT[context]
    return ServiceCharge(
        key, UNRATED, UNRATED_PRICES[unit], (), units.used(asked.used, unit), None, 1, False, (), detail
    )


def _blame(field: str, asked: _Asked, in_mscc: bool) -> bytes:
    """Failed-AVP of a 5031: a copy of the rating group or identifier that we do not know, else an example of what is missing."""
    parents = (MSCC,) if in_mscc else ()
    if field == "rating_group" and asked.rating_group is not None:
        return failed_avp.copy("rating_group", asked.rating_group, *parents)
    if field == "service_identifier" and asked.service_identifiers:
        return failed_avp.copy("service_identifier", asked.service_identifiers[0], *parents)
    if field in ("rating_group", "service_identifier"):
        return failed_avp.example(field, *parents)
    if field == "other_party":
        return failed_avp.example("called_party_address", "service_information", "ims_information")
    name = "called_station_id" if field == "apn" else "tgpp_sgsn_mcc_mnc"
    return failed_avp.example(name, "service_information", "ps_information")
