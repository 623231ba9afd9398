"""AVPs that an answer echoes, and when it has the E bit: a second implementation of RFC 6733 §6.2, §7.1 and §7.2."""

from __future__ import annotations

import contextlib

from protocol.avp import AvpLengthError, walk
from protocol.header import HEADER_OCTETS, Header

SESSION_ID, CC_REQUEST_NUMBER, CC_REQUEST_TYPE, PROXY_INFO = 263, 415, 416, 284


def echoed(frame: bytes) -> tuple[dict[int, bytes], list[bytes]]:
    """AVPs that an answer must echo (RFC 6733 §6.2, RFC 8506 §3.2), up to the request's first length error."""
    found: dict[int, bytes] = {}
    proxies: list[bytes] = []
    with contextlib.suppress(AvpLengthError):
        for avp in walk(frame, HEADER_OCTETS, len(frame)):
            payload = frame[avp.payload : avp.stop]
            if avp.vendor:
                continue
            if avp.code == SESSION_ID and payload and is_text(payload):
                found.setdefault(SESSION_ID, payload)
            elif avp.code in (CC_REQUEST_NUMBER, CC_REQUEST_TYPE) and len(payload) == 4:
                found.setdefault(avp.code, payload)
            elif avp.code == PROXY_INFO and is_walkable(payload):
                proxies.append(payload)
    return found, proxies


def is_text(payload: bytes) -> bool:
    return payload == payload.decode(errors="ignore").encode()


def is_walkable(payload: bytes) -> bool:
    try:
        list(walk(payload, 0, len(payload)))
    except AvpLengthError:
        return False
    return True


def is_ccr(header: Header) -> bool:
    return (header.application_id, header.command_code) == (4, 272)


def has_e_bit(header: Header, result_code: int, found: dict[int, bytes]) -> bool:
    """Always for 3xxx; else if the command's grammar could not be filled: a CCA needs AVPs of its request, a CEA is not
    made.
    """
    if 3000 <= result_code < 4000 or header.command_code == 257:
        return True
    return is_ccr(header) and not {SESSION_ID, CC_REQUEST_NUMBER, CC_REQUEST_TYPE} <= set(found)
