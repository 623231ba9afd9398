"""The Failed-AVP of a 5031 (RFC 8506 §9.2, RFC 6733 §7.5): a copy of the AVP that could not be rated, or an example of
a missing one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ocs.charging.location import location_avp
from ocs.charging.members import MMS, SMS
from ocs.charging.usage_context import UsageContext
from protocol import failed_avp
from protocol.credit_control import CreditControlRequest

MSCC = "multiple_services_credit_control"
_CALLED = ("service_information", "ims_information", "called_party_address")
_RECIPIENTS = {
    SMS: ("service_information", "sms_information", "recipient_info", "recipient_address", "address_data"),
    MMS: ("service_information", "mms_information", "recipient_address", "address_data"),
}
"""Context → path of the AVP that names the other party. In calls it is `_CALLED`."""
_SERVING_NETWORK = ("service_information", "ps_information", "tgpp_sgsn_mcc_mnc")
_APN = ("service_information", "ps_information", "called_station_id")


class Named(Protocol):
    """The rating group and service identifiers of a service."""

    @property
    def rating_group(self) -> int | None: ...

    @property
    def service_identifiers(self) -> Sequence[int]: ...


def unrateable_avp(field: str, request: CreditControlRequest, where: UsageContext, asked: Named) -> bytes:
    """`field`: the field of UseEvent that `Unrateable` names. `where`: the context that was rated, completed from the
    session's.
    """
    if field == "context":
        return failed_avp.copy("service_context_id", request.service_context_id)
    if field == "other_party":
        return _copy(_RECIPIENTS.get(where.context, _CALLED), where.other_party)
    if field == "apn":
        return _copy(_APN, where.apn)
    if field in ("serving_plmn", "visited_number"):
        located = location_avp(where.context, request, (where.serving_plmn, where.visited_number))
        return located or _copy(_SERVING_NETWORK, where.serving_plmn)
    return unrateable_service_avp(field, asked, bool(request.multiple_services_credit_control))


def unrateable_service_avp(field: str, asked: Named, in_mscc: bool) -> bytes:
    """The Service-Identifier if `field` is "service_identifier", else the Rating-Group."""
    parents = (MSCC,) if in_mscc else ()
    if field == "service_identifier":
        return _copy((*parents, field), next(iter(asked.service_identifiers), None))
    return _copy((*parents, "rating_group"), asked.rating_group)


def _copy(path: tuple[str, ...], value: int | str | None) -> bytes:
    """The AVP at the end of the path, in its grouped AVPs; an example if `value` is None."""
    *parents, name = path
    return failed_avp.example(name, *parents) if value is None else failed_avp.copy(name, value, *parents)
