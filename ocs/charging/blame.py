"""Failed-AVP of a 5031 (RFC 8506 §9.2, RFC 6733 §7.5): a copy of what the rating was read from, else an example of what
is missing.
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
"""By context, where the other party stands; in calls it is the called one."""
_SERVING_NETWORK = ("service_information", "ps_information", "tgpp_sgsn_mcc_mnc")
_APN = ("service_information", "ps_information", "called_station_id")


class Named(Protocol):
    """A service as the request names it."""

    @property
    def rating_group(self) -> int | None: ...

    @property
    def service_identifiers(self) -> Sequence[int]: ...


def blame(field: str, request: CreditControlRequest, where: UsageContext, asked: Named) -> bytes:
    """`field`: of the UseEvent, as `Unrateable` names it. `where`: what was rated, with what is remembered of the
    session.
    """
    if field == "context":
        return failed_avp.copy("service_context_id", request.service_context_id)
    if field == "other_party":
        return _copy(_RECIPIENTS.get(where.context, _CALLED), where.other_party)
    if field == "apn":
        return _copy(_APN, where.apn)
    if field in ("serving_plmn", "visited_number"):
        said = location_avp(where.context, request, (where.serving_plmn, where.visited_number))
        return said or _copy(_SERVING_NETWORK, where.serving_plmn)
    return blamed_service(field, asked, bool(request.multiple_services_credit_control))


def blamed_service(field: str, asked: Named, in_mscc: bool) -> bytes:
    """The rating group or service identifier."""
    parents = (MSCC,) if in_mscc else ()
    if field == "service_identifier":
        return _copy((*parents, field), next(iter(asked.service_identifiers), None))
    return _copy((*parents, "rating_group"), asked.rating_group)


def _copy(path: tuple[str, ...], value: int | str | None) -> bytes:
    """The AVP at the end of the path, in its groups; an example if it has no value."""
    *parents, name = path
    return failed_avp.example(name, *parents) if value is None else failed_avp.copy(name, value, *parents)
