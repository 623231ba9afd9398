"""The equipment by which a service is used: User-Equipment-Info (RFC 8506 §8.49 to §8.57, TS 32.299 §7.2.158)."""

from __future__ import annotations

from ocs.values.equipment import NOTHING_BARRED, BarredEquipment, imei_digits
from protocol.credit_control import CreditControlRequest

IMEISV = 0
"""User-Equipment-Info-Type (RFC 8506 §8.50)."""


class EquipmentBar:
    """Tells whether the equipment of a request is barred. The table may be replaced at any time (HOT-ACC-11)."""

    def __init__(self, table: BarredEquipment = NOTHING_BARRED) -> None:
        self.table = table

    def barred_imei(self, request: CreditControlRequest) -> str:
        """IMEI without check digit, if it is barred, else ""."""
        if not len(self.table):
            return ""
        imei = imei_of(request)
        return imei if imei and imei in self.table else ""


def imei_of(request: CreditControlRequest) -> str:
    """First 14 digits of the IMEI; "" = the request has none."""
    extension = request.user_equipment_info_extension
    if extension is not None:
        value = extension.user_equipment_info_imeisv or extension.user_equipment_info_imei
        if value:
            return imei_digits(value)
    information = request.service_information
    session = information.ps_information if information is not None else None
    for found in (request.user_equipment_info, session.user_equipment_info if session is not None else None):
        if found is not None and found.user_equipment_info_type == IMEISV:
            return imei_digits(found.user_equipment_info_value)
    return ""
