"""Prepares a CCR for the ledger: rates each service, reads its units and limits what it requests. Pure functions.

MSCCs of the same key are one service. A service that cannot be rated gets a 5031 in its MSCC (RFC 8506 §9.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ocs.catalogue.price import free_price
from ocs.charging import other_units, recipient_services, units
from ocs.charging.final_units import no_funds_policy
from ocs.charging.members import (
    EVENT,
    FORWARDED,
    INITIAL,
    MESSAGES,
    MONEY,
    OCTETS,
    REFUND,
    REFUSE,
    SECONDS,
    TERMINATION,
    UPDATE,
)
from ocs.charging.prepared import COMMAND_LEVEL, Asked, Offer, Prepared, Rater, Service, Terms
from ocs.charging.unrateable import MSCC, unrateable_avp
from ocs.charging.usage_context import UsageContext
from ocs.ledger.contract.charging import Leg, ServiceCharge
from ocs.policy import forwarding
from ocs.values.requests import REQUEST_TYPES, Action, RequestType
from ocs.values.use import ITEMISED, Context, PriceTerms, RatedUse, Unit, Unrateable
from protocol.credit_control import (
    CHECK_BALANCE,
    DIRECT_DEBITING,
    REFUND_ACCOUNT,
    CreditControlRequest,
    MultipleServicesCreditControl,
)

UNIT_OF_CONTEXT = {
    Context.DATA: Unit.OCTETS,
    Context.IMS: Unit.SECONDS,
    Context.CS: Unit.SECONDS,
    Context.SMS: Unit.MESSAGES,
    Context.MMS: Unit.MESSAGES,
    Context.CONTENT: Unit.MONEY,
}
UNRATED = "unrated"
"""Label and price id of use that no rate applies to: it is free, and its record says so."""
UNRATED_PRICES = {unit: free_price(UNRATED, unit) for unit in Unit}
ACTIONS = {REFUND_ACCOUNT: Action.REFUND, CHECK_BALANCE: Action.CHECK}
"""Requested-Actions other than debits that need the account."""
OFFERS_KEPT = 4_096
"""Cached offers of one second and profile. Data needs a few tens, each call has its own."""
QHT, FINAL = 1, 2
ENDS = frozenset((QHT, FINAL))
"""Reporting-Reasons with which a client closes a service (TS 32.299 §7.2.175)."""


def prepare(request: CreditControlRequest, where: UsageContext, rater: Rater, terms: Terms) -> Prepared:
    kind = REQUEST_TYPES[request.cc_request_type]
    given = request.multiple_services_credit_control
    if given:
        services = _merged(given)
    elif request.requested_service_unit is not None or request.used_service_unit or kind is EVENT:
        identifier = [] if request.service_identifier is None else [request.service_identifier]
        services = {
            COMMAND_LEVEL: Asked(None, identifier, request.requested_service_unit, list(request.used_service_unit))
        }
    else:
        services = {}
    job = Preparation(kind, request, where, rater, terms)
    if kind is EVENT:
        job.action = ACTIONS.get(request.requested_action or 0, Action.DEBIT)
        job.debits = request.requested_action == DIRECT_DEBITING
    prepared = Prepared(request, kind, bool(given), [], terms, UNIT_OF_CONTEXT[where.context], job.action)
    if where.recipients or job.action is REFUND:
        recipient_services.prepare(prepared, job, services)
    else:
        prepared.services = [job.service(key, asked) for key, asked in services.items()]
    return prepared


def _leg(rated: RatedUse) -> Leg:
    return Leg(rated.label, rated.price, rated.buckets, rated.counters, rated.price_after, rated.beyond)


def _merged(given: Sequence[MultipleServicesCreditControl]) -> dict[str, Asked]:
    services: dict[str, Asked] = {}
    for mscc in given:
        key = _key(mscc)
        asked = services.get(key)
        if asked is None:
            asked = services[key] = Asked(
                mscc.rating_group,
                mscc.service_identifier,
                mscc.requested_service_unit,
                mscc.used_service_unit,
                mscc.refund_information,
            )
        else:
            asked.used = [*asked.used, *mscc.used_service_unit]
            asked.requested = asked.requested or mscc.requested_service_unit
            asked.token = asked.token or mscc.refund_information
        if mscc.reporting_reason and not ENDS.isdisjoint(mscc.reporting_reason):
            asked.ends = True
    return services


def _key(mscc: MultipleServicesCreditControl) -> str:
    """Key of a service in its session: rating group and service identifiers (RFC 8506 §8.16)."""
    group = "" if mscc.rating_group is None else str(mscc.rating_group)
    if mscc.service_identifier:
        return f"{group}:{','.join(map(str, sorted(mscc.service_identifier)))}"
    return group or COMMAND_LEVEL


@dataclass(slots=True)
class Preparation:
    """What the preparation of all services of a request has in common."""

    kind: RequestType
    request: CreditControlRequest
    where: UsageContext
    rater: Rater
    terms: Terms
    action: Action = Action.DEBIT
    debits: bool = False
    """The request is a direct debit."""

    def towards(self, recipient: str) -> Preparation:
        return replace(self, where=self.where.towards(recipient))

    def canonical_party(self, party: str) -> str:
        """The same for each spelling of the party at the place of use."""
        return self.rater.canonical_party(party, self.where.serving_plmn, self.where.visited_number)

    def service(self, key: str, asked: Asked) -> Service:
        identifiers = asked.service_identifiers
        try:
            offer = self._offer(asked.rating_group, identifiers[0] if identifiers else None)
            if len(identifiers) > 1 and (self.kind is EVENT or not asked.used):
                self._same_price(asked, offer.rated)
        except Unrateable as error:
            if self.action is REFUND:  # its price is that of its debit
                return self._refund(key, asked)
            return self._unrated(key, asked, unrateable_avp(error.field, self.request, self.where, asked))
        rated = offer.rated
        judged = self.kind is EVENT and (self.action is REFUND or not rated.always)
        if judged and (failed := self._wrong_amount(asked, rated.unit, rated.price)):
            return Service(key, asked.rating_group, identifiers, None, None, failed)
        charge = self._charge(key, asked, offer)
        service = Service(key, asked.rating_group, identifiers, rated, charge, b"", rated.quota.validity_s)
        if asked.used:
            self._note_uncharged(service, asked, rated.unit)
        if self.kind is INITIAL or self.kind is UPDATE:
            self._prepare_grant(service, offer, charge, asked)
        return service

    def _charge(self, key: str, asked: Asked, offer: Offer) -> ServiceCharge:
        rated, kind = offer.rated, self.kind
        quota = rated.quota
        used, after, either = units.used_by_tariff(asked.used, rated.unit)
        want = units.wanted(asked.requested, rated.unit, quota)
        if kind is EVENT:
            want, used, after, either = self._one_off(asked, rated, used + after + either), 0, 0, 0
        elif kind is TERMINATION:
            want = None
        charge = ServiceCharge(
            key,
            rated.label,
            rated.price,
            rated.buckets,
            used,
            want,
            quota.minimum if not want or want > quota.minimum else want,
            rated.always,
            rated.bars,
            self.where.detail() if not rated.itemised else f"{self.where.detail()}{ITEMISED}{rated.itemised}",
            after,
            either,
        )
        charge.unit, charge.max_rate = rated.unit, offer.max_rate
        charge.maximum_micro_eur = quota.maximum_micro_eur
        charge.counters, charge.beyond = rated.counters, rated.beyond
        if offer.more:
            charge.more_legs = tuple(_leg(each) for each in offer.more)
        return charge

    def _wrong_amount(self, asked: Asked, unit: Unit, price: PriceTerms) -> bytes:
        """Failed-AVP of an event whose amount is in the wrong unit; b"" = valid. A debit must state an amount, unless
        it is of messages, has a flat price or is free.
        """
        needed = self.debits and unit is not MESSAGES and not price.flat and price.num > 0
        parents = (MSCC,) if self.request.multiple_services_credit_control else ()
        return other_units.wrong_unit_avp(asked.requested, asked.used, unit, *parents, needed=needed)

    def _note_uncharged(self, service: Service, asked: Asked, unit: Unit) -> None:
        """Note reported amounts that are not charged, for the metrics: other units, and impossible times."""
        if self.kind is not EVENT and service.charge is not None and not service.charge.reported:
            with_time = unit is OCTETS and service.rated is not None and service.rated.quota.time_s > 0
            service.other_units = other_units.reported(asked.used, unit, with_time=with_time)
        if unit is not SECONDS:
            service.absurd_time_s = units.absurd_time_s(asked.used)

    def _offer(self, rating_group: int | None, identifier: int | None) -> Offer:
        """Rating of the service, cached if it is used now. Raises Unrateable."""
        where, terms = self.where, self.terms
        key, place = None, where.texts()
        if where.at == terms.now:
            key = id(place), rating_group, identifier, where.facts
            known = terms.offers.get(key)
            if known is not None:
                return known
        event = where.event(rating_group, identifier)
        if where.direction is FORWARDED:
            rated, *more = forwarding.legs(event, self.rater.rate, late=where.late)
        else:
            rated, more = self.rater.rate(event), []
        if rated.surcharge is not None or more:
            rated, *more = forwarding.with_surcharges((rated, *more))
        restrict = REFUSE if rated.always else no_funds_policy(terms.profile, rated.service)
        offer = Offer(rated, self._max_rate(rated.unit), restrict, place, tuple(more))
        if key is not None and len(terms.offers) < OFFERS_KEPT:
            terms.offers[key] = offer
        return offer

    def _same_price(self, asked: Asked, first: RatedUse) -> None:
        """Check that all services of one grant have the same price (RFC 8506 §8.16). Raises Unrateable."""
        for identifier in asked.service_identifiers:
            rated = self._offer(asked.rating_group, identifier).rated
            if (rated.service, rated.price, rated.buckets) != (first.service, first.price, first.buckets):
                raise Unrateable("service_identifier", "the service identifiers differ in service or price")

    def _prepare_grant(self, service: Service, offer: Offer, charge: ServiceCharge, asked: Asked) -> None:
        """Set what matters only if units may be granted: final-unit action, time beside volume, price change."""
        rated, quota = offer.rated, offer.rated.quota
        if offer.restrict is not REFUSE and not asked.ends:
            charge.restrict, charge.retry_want = offer.restrict, quota.default
        if rated.slow is not None and not asked.ends:
            charge.slows, charge.retry_want = True, quota.default
        if quota.time_s and units.may_have_both(asked.requested):
            service.wants_time = True
        if rated.ends_at:
            service.validity_s = min(service.validity_s, max(rated.ends_at - self.where.at, 1))
        if rated.switch_at:
            self._limit_to_price_change(service, rated, charge)

    def _limit_to_price_change(self, service: Service, rated: RatedUse, charge: ServiceCharge) -> None:
        """Limit the grant's validity: it may span one price change, with Tariff-Time-Change (RFC 8506 §8.20). It spans
        none if it is of seconds, or if the profile has no Tariff-Time-Change.
        """
        left = max(rated.switch_at - self.where.at, 1)
        if left >= service.validity_s:
            return
        charge.spans = rated.unit is not SECONDS and rated.price_after is not None and self.terms.profile.tariff_change
        if charge.spans or rated.unit is SECONDS:
            charge.switch_at, charge.price_after = rated.switch_at, rated.price_after
        if not charge.spans:
            service.validity_s = left
            return
        where = replace(self.where, at=rated.switch_at)
        identifier = service.service_identifiers[0] if service.service_identifiers else None
        following = self.rater.rate(where.event(service.rating_group, identifier)).switch_at
        if following:
            service.validity_s = min(service.validity_s, following - self.where.at)

    def _one_off(self, asked: Asked, rated: RatedUse, used: int) -> int | None:
        """The units of an event, not limited by the quota. Some clients send them as used units (RFC 8506 §6.3).

        None = a refund of everything.
        """
        amount = units.amount_asked(asked.requested, rated.unit)
        if self.action is REFUND or (rated.unit is MONEY and amount is not None):
            return amount
        return amount or used or rated.quota.default

    def _max_rate(self, unit: Unit) -> int:
        """Highest plausible rate in octets a second; 0 for other units, whose limit the ledger knows."""
        return self.terms.policy.max_octets_per_s if unit is OCTETS else 0

    def _refund(self, key: str, asked: Asked) -> Service:
        unit = UNIT_OF_CONTEXT[self.where.context]
        if failed := self._wrong_amount(asked, unit, UNRATED_PRICES[unit]):
            return Service(key, asked.rating_group, asked.service_identifiers, None, None, failed)
        want = units.amount_asked(asked.requested, unit)
        charge = ServiceCharge(key, UNRATED, UNRATED_PRICES[unit], (), 0, want, 1)
        return Service(key, asked.rating_group, asked.service_identifiers, None, charge)

    def _unrated(self, key: str, asked: Asked, failed: bytes) -> Service:
        """A service that cannot be rated. Use that an update or termination reports is charged at the price that the
        session has for the service.
        """
        service = Service(key, asked.rating_group, asked.service_identifiers, None, None, failed)
        if self.kind not in (UPDATE, TERMINATION):
            return service
        unit = UNIT_OF_CONTEXT[self.where.context]
        used, after, either = units.used_by_tariff(asked.used, unit)
        service.charge = charge = ServiceCharge(
            key, UNRATED, UNRATED_PRICES[unit], (), used, None, 1, False, (), self.where.detail(), after, either
        )
        charge.unit, charge.max_rate = unit, self._max_rate(unit)
        if asked.used:
            self._note_uncharged(service, asked, unit)
        return service
