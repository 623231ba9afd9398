"""The error answer to any request, even to one that cannot be decoded (RFC 6733 §6.2, §7.1–7.2)."""

from __future__ import annotations

from protocol.avp import FLAG_MANDATORY, AvpLengthLie, RawAvp, encode_avp, walk
from protocol.credit_control import APPLICATION_CREDIT_CONTROL, COMMAND_CREDIT_CONTROL
from protocol.errors import DiameterError
from protocol.header import FLAG_ERROR, FLAG_PROXIABLE, HEADER_OCTETS, Header, build

SESSION_ID, ORIGIN_HOST, ORIGIN_REALM, RESULT_CODE = 263, 264, 296, 268
AUTH_APPLICATION_ID, CC_REQUEST_TYPE, CC_REQUEST_NUMBER = 258, 416, 415
ERROR_MESSAGE, FAILED_AVP, PROXY_INFO = 281, 279, 284
MAX_ERROR_MESSAGE_OCTETS = 256


def error_answer(frame: bytes, header: Header, error: DiameterError, origin_host: str, origin_realm: str) -> bytes:
    """One whole message. Without the E bit it has the command's own grammar, as far as the request allows to fill it."""
    found, proxies = _echoes(frame)
    generic = error.protocol_error
    credit_control = (
        header.command_code == COMMAND_CREDIT_CONTROL and header.application_id == APPLICATION_CREDIT_CONTROL
    )
    if credit_control and not all(code in found for code in (SESSION_ID, CC_REQUEST_TYPE, CC_REQUEST_NUMBER)):
        generic = True  # RFC 6733 §7.2: a CCA could not be filled
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
        text = error.message.encode()[:MAX_ERROR_MESSAGE_OCTETS].decode(errors="ignore").encode()
        parts.append(encode_avp(ERROR_MESSAGE, 0, 0, text))
    if error.failed_avp:
        parts.append(encode_avp(FAILED_AVP, 0, FLAG_MANDATORY, error.failed_avp))
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
    """What of the request is echoed, as far as the AVPs can be walked: first instances that are well-formed."""
    found: dict[int, RawAvp] = {}
    proxies: list[RawAvp] = []
    try:
        for avp in walk(frame, HEADER_OCTETS, len(frame)):
            if avp.vendor:
                continue
            if avp.code == PROXY_INFO:
                proxies.append(avp)
            elif avp.code in (CC_REQUEST_TYPE, CC_REQUEST_NUMBER):
                if avp.stop - avp.payload == 4:
                    found.setdefault(avp.code, avp)
            elif avp.code == SESSION_ID and _is_utf8(frame[avp.payload : avp.stop]):
                found.setdefault(avp.code, avp)
    except AvpLengthLie:
        pass
    return found, proxies


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
