"""The error answer to any request, even to one that cannot be decoded (RFC 6733 §6.2, §7.1–7.2).

Command, application, identifiers and P bit are those of the request; R and T are clear. Origin-* is ours, there is no
Destination-*. Session-Id and every Proxy-Info are echoed, in order. An answer is never answered, however malformed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol import failed_avp
from protocol.avp import FLAG_MANDATORY, AvpLengthError, RawAvp, encode_avp, walk
from protocol.credit_control import APPLICATION_CREDIT_CONTROL, COMMAND_CREDIT_CONTROL
from protocol.errors import DiameterError
from protocol.examination import first_length_error
from protocol.header import FLAG_ERROR, FLAG_PROXIABLE, HEADER_OCTETS, Header, build

SESSION_ID, ORIGIN_HOST, ORIGIN_REALM, RESULT_CODE = 263, 264, 296, 268
AUTH_APPLICATION_ID, CC_REQUEST_TYPE, CC_REQUEST_NUMBER = 258, 416, 415
ERROR_MESSAGE, FAILED_AVP, PROXY_INFO = 281, 279, 284
COMMAND_CAPABILITIES_EXCHANGE = 257
MAX_ERROR_MESSAGE_OCTETS = 256
"""Most octets of Error-Message; longer text is cut."""


def shortened(message: str) -> str:
    """The error's text, cut to MAX_ERROR_MESSAGE_OCTETS."""
    return message.encode()[:MAX_ERROR_MESSAGE_OCTETS].decode(errors="ignore")


def error_answer(
    frame: bytes,
    header: Header,
    error: DiameterError,
    origin_host: str,
    origin_realm: str,
    more: Sequence[tuple[str, Any]] = (),
) -> bytes:
    """A whole message. Without the E bit it has the command's own grammar, else that of `answer-message`.

    A CCA needs the request's Session-Id, type and number; a CEA has the AVPs of `capabilities.refusal`. If they are
    missing, the answer has the E bit whatever the error's class (§7.1.5, §7.2). `more`: AVPs to add, by attribute name.
    """
    assert header.is_request, "an answer is never answered (RFC 6733 §6.2)"
    found, proxies = _echoes(frame)
    generic = error.protocol_error
    credit_control = (
        header.command_code == COMMAND_CREDIT_CONTROL and header.application_id == APPLICATION_CREDIT_CONTROL
    )
    if credit_control and not all(code in found for code in (SESSION_ID, CC_REQUEST_TYPE, CC_REQUEST_NUMBER)):
        generic = True  # RFC 6733 §7.2: the AVPs of a CCA are missing
    if header.command_code == COMMAND_CAPABILITIES_EXCHANGE:
        generic = True  # so are those of a CEA
    parts = []
    if SESSION_ID in found:
        parts.append(_copied(frame, found[SESSION_ID]))
    parts += [
        _number(RESULT_CODE, error.result_code),
        encode_avp(ORIGIN_HOST, 0, FLAG_MANDATORY, origin_host.encode("ascii")),
        encode_avp(ORIGIN_REALM, 0, FLAG_MANDATORY, origin_realm.encode("ascii")),
    ]
    if credit_control and not generic:
        parts.append(_number(AUTH_APPLICATION_ID, APPLICATION_CREDIT_CONTROL))
        parts += [_copied(frame, found[code]) for code in (CC_REQUEST_TYPE, CC_REQUEST_NUMBER)]
    if error.message:
        parts.append(encode_avp(ERROR_MESSAGE, 0, 0, shortened(error.message).encode()))
    if error.failed_avp:
        parts.append(encode_avp(FAILED_AVP, 0, FLAG_MANDATORY, error.failed_avp))
    parts += [failed_avp.copy(name, value) for name, value in more]
    parts += [_copied(frame, avp) for avp in proxies]
    return build(
        b"".join(parts),
        header.flags & FLAG_PROXIABLE | (FLAG_ERROR if generic else 0),
        header.command_code,
        header.application_id,
        header.hop_by_hop,
        header.end_to_end,
    )


def _number(code: int, value: int) -> bytes:
    return encode_avp(code, 0, FLAG_MANDATORY, value.to_bytes(4, "big"))


def _copied(frame: bytes, avp: RawAvp) -> bytes:
    return encode_avp(avp.code, avp.vendor, FLAG_MANDATORY, frame[avp.payload : avp.stop])


def _echoes(frame: bytes) -> tuple[dict[int, RawAvp], list[RawAvp]]:
    """AVPs of the request to echo: the well-formed ones up to the first length error."""
    found: dict[int, RawAvp] = {}
    proxies: list[RawAvp] = []
    try:
        for avp in walk(frame, HEADER_OCTETS, len(frame)):
            if avp.vendor:
                continue
            if avp.code == PROXY_INFO:
                if (
                    first_length_error(frame, avp.payload, avp.stop) is None
                ):  # a malformed one would make the answer malformed
                    proxies.append(avp)
            elif avp.code in (CC_REQUEST_TYPE, CC_REQUEST_NUMBER):
                if avp.stop - avp.payload == 4:
                    found.setdefault(avp.code, avp)
            elif avp.code == SESSION_ID and avp.stop > avp.payload and _is_utf8(frame[avp.payload : avp.stop]):
                found.setdefault(avp.code, avp)
    except AvpLengthError:
        pass
    return found, proxies


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
