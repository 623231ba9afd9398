"""Whether a call is the leg of the party that forwards it, and whether it was forwarded early or late.

TS 32.275, TS 32.299 §7.2.168 (Role-Of-Node), §7.2.196A (Service-Mode).
"""

from __future__ import annotations

from ocs.charging.subscriber import identities, identity_of_party
from ocs.policy.forwarding import Diversion, diversion, is_late
from ocs.settings.profile import Profile
from protocol.credit_control import CreditControlRequest, ImsInformation, ServiceInformation, SupplementaryService

ROLE_ORIGINATING, ROLE_FORWARDING = 0, 2
"""Role-Of-Node."""
MMTEL_DIVERSION = 6
"""MMTel-SService-Type of communication diversion."""


def is_forwarded(request: CreditControlRequest, information: ServiceInformation, profile: Profile) -> bool:
    """The first of these decides: Role-Of-Node 2 (unless it means a proxy at this peer), communication diversion in
    MMTel-Information, a call of another party that had asked for the subscriber.
    """
    ims = information.ims_information
    if ims is None:
        return False
    if ims.role_of_node == ROLE_FORWARDING and profile.forwarding_role:
        return True
    if any((each.number_of_diversions or 0) > 0 for each in _diversions(information)):
        return True
    return bool(ims.requested_party_address) and _asked_for_subscriber(request, ims)


def is_late_diversion(information: ServiceInformation, profile: Profile) -> bool:
    """HOT-RAT-7. Of several diversions the last one counts: that of the party that pays."""
    modes = [each.service_mode for each in _diversions(information) if each.service_mode is not None]
    return is_late(diversion(modes[-1]) if modes else Diversion.UNKNOWN, profile.early_forwarding)


def _diversions(information: ServiceInformation) -> list[SupplementaryService]:
    mmtel = information.mmtel_information
    if mmtel is None:
        return []
    return [each for each in mmtel.supplementary_service if each.mmtel_service_type == MMTEL_DIVERSION]


def _asked_for_subscriber(request: CreditControlRequest, ims: ImsInformation) -> bool:
    """The subscriber was called, did not call, and another party is called instead. A subscriber who dials their own
    number calls their voicemail: that is no forwarding.
    """
    if ims.role_of_node != ROLE_ORIGINATING or not ims.calling_party_address:
        return False
    own = set(identities(request))
    requested = {identity_of_party(party) for party in ims.requested_party_address}
    callers = {identity_of_party(party) for party in ims.calling_party_address}
    called = identity_of_party(ims.called_party_address or "")
    return bool(requested & own) and not callers & own and called not in own
