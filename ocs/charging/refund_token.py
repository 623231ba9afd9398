"""Refund-Information (TS 32.299 §7.2.152): the answer to a debit carries it, and the refund of the debit repeats it.

It names the debit by its Session-Id and CC-Request-Number. For a message to several recipients it also has their
checksums, and whether the client counts the message once. Octets: version, number (4), [flags, count, checksums (4
each)], Session-Id.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from protocol.credit_control import CreditControlRequest

ONE, SEVERAL = 1, 2
"""Version: with at most one recipient; with several."""
_HEAD = struct.Struct(">BI")
_RECIPIENTS = struct.Struct(">BB")
_CHECKSUM_OCTETS = 4
_COUNTED_ONCE = 1


@dataclass(frozen=True, slots=True)
class Debit:
    session_id: str
    number: int
    recipients: tuple[int, ...] = ()
    """Checksums of the recipients, in the order of the debit; () = at most one recipient."""
    counted_once: bool = False
    """The units are for each recipient, not for all together."""


def from_request(request: CreditControlRequest) -> bytes | None:
    """The first Refund-Information of the request; None = it has none."""
    for mscc in request.multiple_services_credit_control:
        if mscc.refund_information is not None:
            return mscc.refund_information
    return request.refund_information


def checksum(recipient: str) -> int:
    """`recipient`: in canonical form, so that all spellings have one checksum."""
    return zlib.crc32(recipient.encode())


def encode(debit: Debit) -> bytes:
    if not debit.recipients:
        return _HEAD.pack(ONE, debit.number) + debit.session_id.encode()
    flags = _COUNTED_ONCE if debit.counted_once else 0
    checksums = b"".join(each.to_bytes(_CHECKSUM_OCTETS, "big") for each in debit.recipients)
    head = _HEAD.pack(SEVERAL, debit.number) + _RECIPIENTS.pack(flags, len(debit.recipients))
    return head + checksums + debit.session_id.encode()


def decode(token: bytes) -> Debit | None:
    """None = this server did not make the token."""
    if len(token) <= _HEAD.size or token[0] not in (ONE, SEVERAL):
        return None
    version, number = _HEAD.unpack_from(token)
    rest, checksums, flags = token[_HEAD.size :], b"", 0
    if version == SEVERAL:
        if len(rest) < _RECIPIENTS.size:
            return None
        flags, count = _RECIPIENTS.unpack_from(rest)
        end = _RECIPIENTS.size + count * _CHECKSUM_OCTETS
        checksums, rest = rest[_RECIPIENTS.size : end], rest[end:]
        if count < 2 or not rest:
            return None
    recipients = tuple(
        int.from_bytes(checksums[at : at + _CHECKSUM_OCTETS], "big")
        for at in range(0, len(checksums), _CHECKSUM_OCTETS)
    )
    try:
        return Debit(rest.decode(), number, recipients, bool(flags & _COUNTED_ONCE))
    except UnicodeDecodeError:
        return None
