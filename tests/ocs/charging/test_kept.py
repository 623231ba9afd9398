"""Caches of charging: bounded, and never with a value of another subscriber."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.charging import answer as answers
from ocs.charging import prepare as prepare_module
from ocs.charging.prepare import prepare
from ocs.charging.prepared import Prepared, Terms
from ocs.charging.usage_context import UsageContext, usage_context_of
from ocs.ledger.contract.charging import ChargeOutcome, ServiceOutcome
from ocs.settings.profile import FinalUnit, Profile
from ocs.values.service_context import context_of
from ocs.values.use import Context, Direction, RatedUse, UseEvent
from protocol.credit_control import CreditControlRequest, encode_cca
from protocol.header import Header
from tests.ocs.charging.ccr import IMS, MB, at, ccr, octets, seconds, towards

NOW = 1_795_000_000
HEADER = Header(0, 0xC0, 272, 4, 1, 2)


def prepared(request: CreditControlRequest, catalogue: Catalogue, terms: Terms) -> Prepared:
    context = context_of(request.service_context_id)
    assert context is not None
    where = usage_context_of(context, request)
    where.at = terms.now
    return prepare(request, where, catalogue, terms)


def outcomes() -> list[ServiceOutcome]:
    plain = ServiceOutcome("10", 2001, 40 * MB, False, "", 0, 0, 0)
    found = [
        replace(plain, granted=granted, final=final, span_switch=span)
        for granted, final, span in product((0, 5, 40 * MB), (False, True), (False, True))
    ]
    return [*found, replace(plain, code=4012, granted=0), replace(plain, granted=0, restricted=True)]


def test_a_cached_answer_equals_a_new_one(catalogue: Catalogue) -> None:
    profiles = Profile(), Profile(final_unit=FinalUnit.REDIRECT, redirect_address="http://top.up", qos_final_unit=True)
    answers._mscc_cache.clear()
    seen = set()
    for _ in range(2):  # the second time all are cached
        for profile, kind, group, found in product(profiles, "IUT", (1, 10), outcomes()):
            request = ccr(kind, 3, octets(used=5, want=0, group=group), information=at())
            ready = prepared(request, catalogue, Terms(NOW, profile))
            for period_end in (0, NOW + 100):
                outcome = ChargeOutcome(2001, False, (replace(found, key=str(group)),), 0, 0, period_end=period_end)
                whole = answers.answer(ready, outcome)
                octets_ = encode_cca(whole, HEADER, "ocs", "realm")
                (kept,) = whole.multiple_services_credit_control
                made = answers._make_mscc(ready, ready.services[0], outcome.services[0], period_end)
                assert kept == made
                whole.multiple_services_credit_control = [made]
                assert encode_cca(whole, HEADER, "ocs", "realm") == octets_
                seen.add(octets_)
    assert len(seen) > 60
    assert all(kept.written for kept, _, _ in answers._mscc_cache.values())


def test_the_cache_of_answers_is_bounded(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MSCC_CACHE_SIZE", 8)
    answers._mscc_cache.clear()
    ready = prepared(ccr("U", 1, octets(used=5, want=0), information=at()), catalogue, Terms(NOW))
    for granted in range(1, 50):
        outcome = ChargeOutcome(2001, False, (ServiceOutcome("1", 2001, granted, False, "", 0, 0, 0),), 0, 0)
        answers.answer(ready, outcome)
        assert len(answers._mscc_cache) <= 8
    many = ccr("U", 1, octets(used=5, want=0), information=at())
    many.multiple_services_credit_control[0].service_identifier = list(range(500))
    ready = prepared(many, catalogue, Terms(NOW))
    before = dict(answers._mscc_cache)
    service = ready.services[0]
    answers.answer(ready, ChargeOutcome(2001, False, (ServiceOutcome(service.key, 2001, 5, False, "", 0, 0, 0),), 0, 0))
    assert answers._mscc_cache == before, "a long key is not kept"


class Asked:
    """A catalogue that counts its calls."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.month_of, self.day_of, self.canonical_party = (
            catalogue.month_of,
            catalogue.day_of,
            catalogue.canonical_party,
        )
        self.events: list[UseEvent] = []

    def rate(self, event: UseEvent) -> RatedUse:
        self.events.append(event)
        return self.catalogue.rate(event)


def test_one_use_is_rated_once_a_second(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    rater, terms = Asked(catalogue), Terms(NOW)

    def rated(request: CreditControlRequest, at_: int = NOW) -> RatedUse | None:
        context = context_of(request.service_context_id)
        assert context is not None
        where = usage_context_of(context, request)
        where.at = at_
        return prepare(request, where, rater, terms).services[0].rated

    data = ccr("I", 0, octets(want=0), information=at())
    assert rated(data) is rated(data) and len(rater.events) == 1
    rated(ccr("I", 0, octets(want=0, group=10), information=at()))
    rated(ccr("I", 0, octets(want=0), information=at("23201")))
    rated(ccr("I", 0, seconds(want=0), context=IMS, information=towards("tel:+38631234567")))
    rated(ccr("I", 0, seconds(want=0), context=IMS, information=towards("tel:+38631234568")))
    rated(data, NOW - 1)
    rated(data, NOW - 1)
    assert len(rater.events) == 7, "another service, place, party or time is another use"
    monkeypatch.setattr(prepare_module, "OFFERS_KEPT", len(terms.offers))
    rated(ccr("I", 0, octets(want=0), information=at("26201")))
    assert len(terms.offers) == prepare_module.OFFERS_KEPT


def test_a_cached_location_is_never_anothers() -> None:
    where = UsageContext(Context.DATA)
    assert where.detail() == " mo" and where.texts() is where.texts()
    where.completed(UsageContext(Context.DATA, apn="internet", serving_plmn="29340"))
    assert where.detail() == "29340 mo internet"
    again = UsageContext(Context.DATA, apn="internet", serving_plmn="29340", at=5)
    assert again.texts() is where.texts()
    assert replace(again, direction=Direction.TERMINATING).detail() == "29340 mt internet"
    assert replace(again, emergency=True).encode() != again.encode()
