"""Where a request says that the subscriber is, and which of its AVPs says so.

The network's word decides, whatever the handset's is: the cell that it provided, the visited network, the serving PLMN and the location of
the bearer (in PS-Information, or at command level, where some clients put them), then the number of the serving MSC or VLR. A cell
that only the handset names counts when the network says nothing: a handset must not choose its price (HOT-RAT-1).
"""

from __future__ import annotations

from ocs.catalogue.place import plmn_from_user_location_info, plmns_of_domain
from ocs.charging import access_network
from ocs.charging.members import SMS
from ocs.values.use import Context
from protocol import failed_avp
from protocol.avp import Address
from protocol.credit_control import (
    CreditControlRequest,
    ImsInformation,
    ServiceInformation,
    SmsInformation,
    VcsInformation,
)

FAMILY_E164 = 8
"""Address family of SCCP addresses: E.164 (IANA Address Family Numbers)."""
SM_SUBMISSION = 0

_Said = tuple[str, object, tuple[str, ...]]
"""PLMN or number, the value of the AVP that it was read from, and the AVP's name behind those of the groups that it stands in."""
_SERVICE = "service_information"
_IMS = (_SERVICE, "ims_information")
_PS = (_SERVICE, "ps_information")
_VCS = (_SERVICE, "vcs_information")
_MESSAGE = (_SERVICE, "sms_information")
_ACCESS = (*_IMS, "access_network_information")
_VISITED = (*_IMS, "ims_visited_network_identifier")
_PLMN, _LOCATION = ("tgpp_sgsn_mcc_mnc",), ("tgpp_user_location_info",)
_BEARER_PLMN, _BEARER_LOCATION = _PS + _PLMN, _PS + _LOCATION
_VLR, _MSC = (*_VCS, "vlr_number"), (*_VCS, "msc_address")
_ORIGINATOR = (*_MESSAGE, "originator_sccp_address")
_RECIPIENT = (*_MESSAGE, "recipient_info", "recipient_sccp_address")


def locate(context: Context, request: CreditControlRequest) -> tuple[str | None, str | None, bool]:
    """PLMN of the serving network, number of the serving node, and whether only the handset says so."""
    plmn, number, by_handset = _said(context, request)
    return plmn[0] if plmn is not None else None, number[0] if number is not None else None, by_handset


def location_avp(context: Context, request: CreditControlRequest, rated: tuple[str | None, str | None]) -> bytes:
    """For a Failed-AVP: a copy of the AVP that decided; empty if it was none of this request's. `rated`: PLMN and number that were."""
    plmn, number, _ = _said(context, request)
    said = plmn or number
    if said is None or said[0] not in rated:
        return b""
    return failed_avp.copy(said[2][-1], said[1], *said[2][:-1])


def _said(context: Context, request: CreditControlRequest) -> tuple[_Said | None, _Said | None, bool]:
    """The PLMN, which decides, the number, which does without one, and whether the PLMN is the handset's."""
    information = request.service_information
    if information is None:
        return _of_command(request), None, False
    cell, of_handset, plmn, ims, ps = None, None, None, information.ims_information, information.ps_information
    if ims is not None:
        if ims.access_network_information:
            cell, of_handset = access_network.cells(ims.access_network_information)
        plmn = (*cell, _ACCESS) if cell is not None else _of_visited(ims)
    if plmn is None and ps is not None:
        plmn = _of_bearer(ps.tgpp_sgsn_mcc_mnc, _BEARER_PLMN, ps.tgpp_user_location_info, _BEARER_LOCATION)
    plmn = plmn or _of_command(request)
    number = _of_node(context, information)
    if plmn is None and number is None and of_handset is not None:
        return (*of_handset, _ACCESS), None, True
    return plmn, number, False


def _of_command(request: CreditControlRequest) -> _Said | None:
    return _of_bearer(request.tgpp_sgsn_mcc_mnc, _PLMN, request.tgpp_user_location_info, _LOCATION)


def _of_bearer(
    plmn: str | None, plmn_path: tuple[str, ...], location: bytes | None, location_path: tuple[str, ...]
) -> _Said | None:
    """3GPP-SGSN-MCC-MNC, else the PLMN in 3GPP-User-Location-Info."""
    if plmn:
        return plmn, plmn, plmn_path
    if location and (found := plmn_from_user_location_info(location)):
        return found, location, location_path
    return None


def _of_visited(ims: ImsInformation) -> _Said | None:
    visited = ims.ims_visited_network_identifier
    if visited and (plmns := plmns_of_domain(visited)):
        return plmns[0], visited, _VISITED
    return None


def _of_node(context: Context, information: ServiceInformation) -> _Said | None:
    """The serving MSC or VLR, or for a message the node that serves who pays."""
    if context is SMS:
        return _of_message(information.sms_information) if information.sms_information is not None else None
    return _of_circuit(information.vcs_information) if information.vcs_information is not None else None


def _of_circuit(vcs: VcsInformation) -> _Said | None:
    if vcs.vlr_number and (number := tbcd(vcs.vlr_number)):
        return number, vcs.vlr_number, _VLR
    if vcs.msc_address and (number := tbcd(vcs.msc_address)):
        return number, vcs.msc_address, _MSC
    return None


def _of_message(sms: SmsInformation) -> _Said | None:
    if sms.sm_message_type in (None, SM_SUBMISSION):
        return _of_sccp(sms.originator_sccp_address, _ORIGINATOR)
    for recipient in sms.recipient_info:
        if said := _of_sccp(recipient.recipient_sccp_address, _RECIPIENT):
            return said
    return None


def _of_sccp(address: Address | None, path: tuple[str, ...]) -> _Said | None:
    if address is None or address.family != FAMILY_E164:
        return None
    return address.value.lstrip("+"), address, path


def tbcd(octets: bytes) -> str | None:
    """Digits of a TBCD number, low nibble first, F fills (TS 29.002 §17.7.8)."""
    nibbles = octets.hex()
    swapped = "".join(nibbles[n + 1] + nibbles[n] for n in range(0, len(nibbles), 2)).rstrip("f")
    return swapped if swapped.isdigit() else None
