"""Refund-Information (TS 32.299 §7.2.152): what the answer to a debit says, and its refund repeats.

It names the debit by what the client called it: Session-Id and CC-Request-Number. Of a message to several recipients it
also says who they were (a checksum each), and whether the client counts the message once. Octets: version, number (4),
[flags, count, checksums (4 each)], Session-Id.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from protocol.credit_control import CreditControlRequest

ONE, SEVERAL = 1, 2
"""Version: with one recipient, or of what has none; with several."""
_HEAD = struct.Struct(">BI")
_RECIPIENTS = struct.Struct(">BB")
_MARK_OCTETS = 4
_COUNTED_ONCE = 1


@dataclass(frozen=True, slots=True)
class Debit:
    session_id: str
    number: int
    recipients: tuple[int, ...] = ()
    """Marks of several, in the order of the debit; () = one, or none."""
    counted_once: bool = False
    """Its units are of each recipient, and not of all together."""


def given(request: CreditControlRequest) -> bytes | None:
    """The first of the request's."""
    for mscc in request.multiple_services_credit_control:
        if mscc.refund_information is not None:
            return mscc.refund_information
    return request.refund_information


def mark(recipient: str) -> int:
    """`recipient`: in one form, lest another spelling be somebody else."""
    return zlib.crc32(recipient.encode())


def written(debit: Debit) -> bytes:
    if not debit.recipients:
        return _HEAD.pack(ONE, debit.number) + debit.session_id.encode()
    flags = _COUNTED_ONCE if debit.counted_once else 0
    marks = b"".join(each.to_bytes(_MARK_OCTETS, "big") for each in debit.recipients)
    head = _HEAD.pack(SEVERAL, debit.number) + _RECIPIENTS.pack(flags, len(debit.recipients))
    return head + marks + debit.session_id.encode()


def read(token: bytes) -> Debit | None:
    """None = it is nothing that we gave out."""
    if len(token) <= _HEAD.size or token[0] not in (ONE, SEVERAL):
        return None
    version, number = _HEAD.unpack_from(token)
    rest, marks, flags = token[_HEAD.size :], b"", 0
    if version == SEVERAL:
        if len(rest) < _RECIPIENTS.size:
            return None
        flags, count = _RECIPIENTS.unpack_from(rest)
        end = _RECIPIENTS.size + count * _MARK_OCTETS
        marks, rest = rest[_RECIPIENTS.size : end], rest[end:]
        if count < 2 or not rest:
            return None
    recipients = tuple(
        int.from_bytes(marks[at : at + _MARK_OCTETS], "big") for at in range(0, len(marks), _MARK_OCTETS)
    )
    try:
        return Debit(rest.decode(), number, recipients, bool(flags & _COUNTED_ONCE))
    except UnicodeDecodeError:
        return None
