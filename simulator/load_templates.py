"""The load generator's three requests, encoded by python-diameter and patched in place (see `templates.py`).

Only session, subscriber, number, units and the two identifiers are patched. Event-Timestamp is that of the start.
"""

from __future__ import annotations

import struct
import time
from dataclasses import replace
from enum import IntEnum

from simulator.dialects import Sender, encode
from simulator.identifiers import SESSION_DIGITS, new_run, session_id
from simulator.requests import Element, Kind, Place, Request, ServicePart, Subscriber

HOME = Place("home", "29340", "38640000001")
_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")
_IDS = struct.Struct("!II")
_SESSION_MARK = "~" * SESSION_DIGITS
_MSISDN_MARK, _IMSI_MARK = "88888888888", "777777777777777"
_NUMBER_MARK = 0x5AA50001
_USED_MARK = 0x5AA5_C33C_0000_0001 & ~7


class Step(IntEnum):
    INITIAL = 0
    UPDATE = 1
    TERMINATION = 2


class _Patch:
    """One step's octets and offsets."""

    __slots__ = ("down", "imsi", "msisdn", "number", "octets", "session", "up", "used")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.session = octets.index(_SESSION_MARK.encode())
        self.msisdn = octets.index(_MSISDN_MARK.encode())
        self.imsi = octets.index(_IMSI_MARK.encode())
        self.number = octets.index(_U32.pack(_NUMBER_MARK))
        used = _U64.pack(_USED_MARK)
        self.used = octets.find(used)
        self.up = octets.find(_U64.pack(_USED_MARK // 8))
        self.down = octets.find(_U64.pack(_USED_MARK - _USED_MARK // 8))


class LoadTemplates:
    """Requests of a P-GW for one rating group: I requests, U reports and requests, T reports. `host`: its Origin-Host,
    which must be that of the connection (RFC 6733 §2.9); default: the P-GW's.
    """

    def __init__(
        self,
        *,
        rating_group: int,
        octets: int,
        realm: str,
        destination_realm: str,
        run: int | None = None,
        host: str | None = None,
    ) -> None:
        self.octets = octets
        """Most octets that a U or T reports, and the octets that I and U request."""
        sender = Sender.of(Element.PGW, realm, destination_realm)
        sender = replace(sender, host=host or sender.host)
        host = sender.host
        self._run = new_run() if run is None else run
        self._patches: list[_Patch] = []
        for kind, used, wanted, reason in (
            (Kind.INITIAL, None, octets, None),
            (Kind.UPDATE, _USED_MARK, octets, 3),
            (Kind.TERMINATION, _USED_MARK, None, 2),
        ):
            request = Request(
                element=Element.PGW,
                kind=kind,
                session_id=session_id(host, self._run, 0)[:-SESSION_DIGITS] + _SESSION_MARK,
                number=_NUMBER_MARK,
                at=int(time.time()),
                subscriber=Subscriber(_MSISDN_MARK, _IMSI_MARK),
                place=HOME,
                parts=(ServicePart(rating_group, used, wanted, reason),),
            )
            octets_ = encode(request, sender, hop_by_hop=0, end_to_end=0)
            self._patches.append(_Patch(octets_))
        self._numbers: dict[Subscriber, tuple[bytes, bytes]] = {}
        self._prefix = session_id(host, self._run, 0)[:-SESSION_DIGITS].encode()

    def session_id(self, number: int) -> bytes:
        return self._prefix + b"%010d" % number

    def render(
        self,
        step: Step,
        subscriber: Subscriber,
        session_id: bytes,
        number: int,
        used: int,
        hop_by_hop: int,
        end_to_end: int,
    ) -> bytearray:
        patch = self._patches[step]
        frame = bytearray(patch.octets)
        _IDS.pack_into(frame, 12, hop_by_hop, end_to_end)
        frame[patch.session : patch.session + SESSION_DIGITS] = session_id[-SESSION_DIGITS:]
        numbers = self._numbers.get(subscriber)
        if numbers is None:
            numbers = self._numbers[subscriber] = _numbers(subscriber)
        frame[patch.msisdn : patch.msisdn + len(_MSISDN_MARK)] = numbers[0]
        frame[patch.imsi : patch.imsi + len(_IMSI_MARK)] = numbers[1]
        _U32.pack_into(frame, patch.number, number)
        if patch.used > 0:
            _U64.pack_into(frame, patch.used, used)
            _U64.pack_into(frame, patch.up, used >> 3)
            _U64.pack_into(frame, patch.down, used - (used >> 3))
        return frame


def _numbers(subscriber: Subscriber) -> tuple[bytes, bytes]:
    msisdn, imsi = subscriber.msisdn.encode(), subscriber.imsi.encode()
    if len(msisdn) != len(_MSISDN_MARK) or len(imsi) != len(_IMSI_MARK):
        raise ValueError(
            f"load wants MSISDNs of 11 digits and IMSIs of 15, not {subscriber.msisdn} and {subscriber.imsi}"
        )
    return msisdn, imsi
