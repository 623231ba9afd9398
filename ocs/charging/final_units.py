"""Final-unit actions: what the client does when the credit is exhausted (RFC 8506 §5.6, §8.34–8.39, §8.68)."""

from __future__ import annotations

from ocs.ledger.contract.charging import VOLUME, NoFunds, ServiceOutcome
from ocs.settings.profile import Filters, FinalUnit, Profile
from ocs.values.requests import RequestType
from ocs.values.use import RatedUse, Slow
from protocol.avp import FAMILY_IPV4, FAMILY_IPV6, Address
from protocol.credit_control import (
    CreditControlAnswer,
    FinalUnitIndication,
    MultipleServicesCreditControl,
    RedirectServer,
)
from protocol.units import QosFinalUnitIndication, RedirectServerExtension

CODES = {FinalUnit.TERMINATE: 0, FinalUnit.REDIRECT: 1, FinalUnit.RESTRICT: 2}
"""Final-Unit-Action (§8.35)."""
IPV4, IPV6, URL, SIP_URI = range(4)
"""Redirect-Address-Type (§8.38)."""


def action_of(profile: Profile, service: str) -> FinalUnit:
    return profile.final_unit_of.get(service, profile.final_unit)


def no_funds_policy(profile: Profile, service: str) -> NoFunds:
    """What the ledger does with a service that cannot be paid."""
    if action_of(profile, service) is FinalUnit.TERMINATE:
        return NoFunds.REFUSE
    return NoFunds.RESTRICT_REPEATEDLY if profile.restricted_again else NoFunds.RESTRICT_ONCE


def is_indicated(kind: RequestType, outcome: ServiceOutcome) -> bool:
    """The answer for the service carries a Final-Unit-Indication. A one-off debit ends no session: it needs none."""
    return outcome.restricted or (outcome.final and kind is not RequestType.EVENT)


def indicated_action(profile: Profile, rated: RatedUse, outcome: ServiceOutcome) -> FinalUnit:
    """The Final-Unit-Action of the answer for a service."""
    if outcome.reason == VOLUME and rated.slow is not None:
        return FinalUnit.RESTRICT
    return action_of(profile, rated.service)


def indicate(
    answer: MultipleServicesCreditControl | CreditControlAnswer,
    profile: Profile,
    rated: RatedUse,
    outcome: ServiceOutcome,
) -> None:
    """Add Final-Unit-Indication and, for peers that support it, QoS-Final-Unit-Indication."""
    if outcome.reason == VOLUME and rated.slow is not None:
        answer.final_unit_indication = slow_indication(profile, rated.slow)
        if profile.qos_final_unit:
            answer.qos_final_unit_indication = slow_qos_indication(profile, rated.slow)
        return
    answer.final_unit_indication = indication(profile, rated.service)
    if profile.qos_final_unit:
        answer.qos_final_unit_indication = qos_indication(profile, rated.service)


def slow_indication(profile: Profile, slow: Slow) -> FinalUnitIndication:
    """RESTRICT_ACCESS at a volume that is used up, whatever the profile does without credit: with the Filter-Ids of the
    counter, else the profile's filters.
    """
    found = FinalUnitIndication(final_unit_action=CODES[FinalUnit.RESTRICT])
    if slow.filter_ids:
        found.filter_id = list(slow.filter_ids)
    elif profile.filters is Filters.RULES:
        found.restriction_filter_rule = [rule.encode("ascii") for rule in profile.filter_rules]
    elif profile.filters is Filters.FILTER_ID:
        found.filter_id = list(profile.filter_ids)
    return found


def slow_qos_indication(profile: Profile, slow: Slow) -> QosFinalUnitIndication | None:
    """As `slow_indication`; None if the profile has filter rules, as in `qos_indication`."""
    if not slow.filter_ids and profile.filters is Filters.RULES:
        return None
    found = QosFinalUnitIndication(final_unit_action=CODES[FinalUnit.RESTRICT])
    found.filter_id = list(slow.filter_ids or (profile.filter_ids if profile.filters is Filters.FILTER_ID else ()))
    return found


def indication(profile: Profile, service: str) -> FinalUnitIndication:
    """Final-Unit-Indication. Its filters say what the subscriber may still reach; TERMINATE has none."""
    action = action_of(profile, service)
    found = FinalUnitIndication(final_unit_action=CODES[action])
    if action is FinalUnit.TERMINATE:
        return found
    if action is FinalUnit.REDIRECT:
        found.redirect_server = RedirectServer(profile.redirect_address_type, profile.redirect_address)
    if profile.filters is Filters.RULES:
        found.restriction_filter_rule = [rule.encode("ascii") for rule in profile.filter_rules]
    elif profile.filters is Filters.FILTER_ID:
        found.filter_id = list(profile.filter_ids)
    return found


def qos_indication(profile: Profile, service: str) -> QosFinalUnitIndication | None:
    """QoS-Final-Unit-Indication; None if the profile has filter rules. These are IPFilterRules, and this AVP takes only
    Filter-Rules of RFC 5777. A peer that supports both AVPs ignores the other one (§5.6.3), and with it the rules.
    """
    action = action_of(profile, service)
    if action is not FinalUnit.TERMINATE and profile.filters is Filters.RULES:
        return None
    found = QosFinalUnitIndication(final_unit_action=CODES[action])
    if action is not FinalUnit.TERMINATE and profile.filters is Filters.FILTER_ID:
        found.filter_id = list(profile.filter_ids)
    if action is FinalUnit.REDIRECT:
        kind, address = profile.redirect_address_type, profile.redirect_address
        if kind in (IPV4, IPV6):
            family = FAMILY_IPV4 if kind == IPV4 else FAMILY_IPV6
            found.redirect_server_extension = RedirectServerExtension(
                redirect_address_ipaddress=Address(family, address)
            )
        elif kind == URL:
            found.redirect_server_extension = RedirectServerExtension(redirect_address_url=address)
        else:
            found.redirect_server_extension = RedirectServerExtension(redirect_address_sip_uri=address)
    return found
