"""The location of the subscriber in a request, and the AVP that it was read from.

The network's AVPs decide, in this order: the network-provided cell, IMS-Visited-Network-Identifier, 3GPP-SGSN-MCC-MNC
and 3GPP-User-Location-Info (in PS-Information, or at command level, where some clients put them), and the number of the
serving MSC or VLR. A cell that only the handset names is used if the network gives no location: a handset must not
choose its price (HOT-RAT-1). An AVP of the network that cannot be read is ignored, but reported with the location.
"""

from __future__ import annotations

from typing import NamedTuple

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

_Source = tuple[str, object, tuple[str, ...]]
"""PLMN or number; value and path of the AVP that it was read from. The path begins with the outermost group."""
Unreadable = tuple[str, str]
"""Name of the AVP, and the beginning of its value."""
UNREADABLE_SHOWN = 40
"""Characters of the value that are shown."""
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


class Located(NamedTuple):
    """The location that a request gives."""

    plmn: _Source | None = None
    """The serving PLMN."""
    number: _Source | None = None
    """Number of the serving node; used if there is no PLMN."""
    by_handset: bool = False
    """Only the handset gave the PLMN."""
    unreadable: Unreadable | None = None
    """The network gave a location, and no AVP of it can be read."""


def location_avp(context: Context, request: CreditControlRequest, rated: tuple[str | None, str | None]) -> bytes:
    """Copy of the AVP that the rated location was read from, for a Failed-AVP; b"" = it was not in this request.

    `rated`: PLMN and number that were rated.
    """
    found = locate(context, request)
    source = found.plmn or found.number
    if source is None or source[0] not in rated:
        return b""
    return failed_avp.copy(source[2][-1], source[1], *source[2][:-1])


def locate(context: Context, request: CreditControlRequest) -> Located:
    information = request.service_information
    if information is None:
        source = _of_command(request)
        return Located(source) if source is not None else Located(unreadable=_unreadable(context, request))
    plmn, ims, ps = None, information.ims_information, information.ps_information
    cells = None
    if ims is not None:
        if ims.access_network_information:
            cells = access_network.cells(ims.access_network_information)
        plmn = (*cells.of_network, _ACCESS) if cells is not None and cells.of_network else _of_visited(ims)
    if plmn is None and ps is not None:
        plmn = _of_bearer(ps.tgpp_sgsn_mcc_mnc, _BEARER_PLMN, ps.tgpp_user_location_info, _BEARER_LOCATION)
    plmn = plmn or _of_command(request)
    number = _of_node(context, information)
    if plmn is not None or number is not None:
        return Located(plmn, number)
    unreadable = _unreadable(context, request, cells.unreadable if cells is not None else None)
    if cells is not None and cells.of_handset is not None:
        return Located((*cells.of_handset, _ACCESS), None, True, unreadable)
    return Located(unreadable=unreadable)


def _unreadable(context: Context, request: CreditControlRequest, cell: bytes | None = None) -> Unreadable | None:
    """The first AVP of the network that should give a location. `cell`: from Access-Network-Information."""
    if cell is not None:
        return "Access-Network-Information", ascii(cell[:UNREADABLE_SHOWN].decode("latin-1"))
    information = request.service_information
    ps = information.ps_information if information is not None else None
    for location in (ps.tgpp_user_location_info if ps is not None else None, request.tgpp_user_location_info):
        if location:
            return "3GPP-User-Location-Info", _hex(location)
    if information is None:
        return None
    if context is SMS:
        return _unreadable_sccp(information.sms_information)
    vcs = information.vcs_information
    for name, number in (("VLR-Number", vcs.vlr_number), ("MSC-Address", vcs.msc_address)) if vcs is not None else ():
        if number:
            return name, _hex(number)
    return None


def _unreadable_sccp(sms: SmsInformation | None) -> Unreadable | None:
    if sms is None:
        return None
    name, addresses = "Originator-SCCP-Address", [sms.originator_sccp_address]
    if sms.sm_message_type not in (None, SM_SUBMISSION):
        name, addresses = "Recipient-SCCP-Address", [each.recipient_sccp_address for each in sms.recipient_info]
    for address in addresses:
        if address is not None:
            return name, "no digits" if address.family == FAMILY_E164 else f"address family {address.family}"
    return None


def _hex(octets: bytes) -> str:
    return octets[: UNREADABLE_SHOWN // 2].hex()


def _of_command(request: CreditControlRequest) -> _Source | None:
    return _of_bearer(request.tgpp_sgsn_mcc_mnc, _PLMN, request.tgpp_user_location_info, _LOCATION)


def _of_bearer(
    plmn: str | None, plmn_path: tuple[str, ...], location: bytes | None, location_path: tuple[str, ...]
) -> _Source | None:
    """3GPP-SGSN-MCC-MNC, else the PLMN in 3GPP-User-Location-Info."""
    if plmn:
        return plmn, plmn, plmn_path
    if location and (found := plmn_from_user_location_info(location)):
        return found, location, location_path
    return None


def _of_visited(ims: ImsInformation) -> _Source | None:
    visited = ims.ims_visited_network_identifier
    if visited and (plmns := plmns_of_domain(visited)):
        return plmns[0], visited, _VISITED
    return None


def _of_node(context: Context, information: ServiceInformation) -> _Source | None:
    """Number of the serving MSC or VLR; for an SMS, of the node that serves the paying party."""
    if context is SMS:
        return _of_message(information.sms_information) if information.sms_information is not None else None
    return _of_circuit(information.vcs_information) if information.vcs_information is not None else None


def _of_circuit(vcs: VcsInformation) -> _Source | None:
    if vcs.vlr_number and (number := tbcd(vcs.vlr_number)):
        return number, vcs.vlr_number, _VLR
    if vcs.msc_address and (number := tbcd(vcs.msc_address)):
        return number, vcs.msc_address, _MSC
    return None


def _of_message(sms: SmsInformation) -> _Source | None:
    if sms.sm_message_type in (None, SM_SUBMISSION):
        return _of_sccp(sms.originator_sccp_address, _ORIGINATOR)
    for recipient in sms.recipient_info:
        if source := _of_sccp(recipient.recipient_sccp_address, _RECIPIENT):
            return source
    return None


def _of_sccp(address: Address | None, path: tuple[str, ...]) -> _Source | None:
    if address is None or address.family != FAMILY_E164 or not (number := address.value.lstrip("+")):
        return None
    return number, address, path


def tbcd(octets: bytes) -> str | None:
    """Digits of a TBCD number: low nibble first, padded with F (TS 29.002 §17.7.8). None = no digits."""
    nibbles = octets.hex()
    swapped = "".join(nibbles[n + 1] + nibbles[n] for n in range(0, len(nibbles), 2)).rstrip("f")
    return swapped if swapped.isdigit() else None
