"""The equipment by which a service is used: User-Equipment-Info (RFC 8506 §8.49 to §8.57, TS 32.299 §7.2.158)."""

from __future__ import annotations

from hashlib import blake2b

from ocs.values.bounded_cache import BoundedCache
from ocs.values.equipment import NOTHING_BARRED, BarredEquipment, imei_digits
from protocol.credit_control import CreditControlRequest

IMEISV = 0
"""User-Equipment-Info-Type (RFC 8506 §8.50)."""


EQUIPMENT_KEPT = 20_000
"""Pseudonyms that a worker keeps."""
ID_OCTETS = 8


class EquipmentIds:
    """Pseudonyms of equipment, made with a key of the installation: the IMEI itself goes into no record (HOT-ROA-4)."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: BoundedCache[str, str] = BoundedCache(EQUIPMENT_KEPT)

    def of(self, request: CreditControlRequest) -> str:
        """16 hexadecimal digits; "" = the request does not name the equipment."""
        imei = imei_of(request)
        if not imei:
            return ""
        known = self._known.get(imei)
        if known is None:
            known = blake2b(imei.encode(), key=self._key, digest_size=ID_OCTETS).hexdigest()
            self._known.put(imei, known)
        return known


class EquipmentBar:
    """Tells whether the equipment of a request is barred. The table may be replaced at any time (HOT-ACC-11)."""

    def __init__(self, table: BarredEquipment = NOTHING_BARRED) -> None:
        self.table = table

    def barred_imei(self, request: CreditControlRequest) -> str:
        """IMEI without check digit, if it is barred, else ""."""
        if self.table is NOTHING_BARRED or not len(self.table):
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
