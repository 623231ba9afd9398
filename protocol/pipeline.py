"""The receive pipeline: a table of checks in the order of the standards (RFC 6733 §3 to §7).

Requests are decoded by the fast path (`layout`, `compiler`). They come here only if that raises Fault, or if the result
looks suspicious. Each stage is a function of the examined request that returns its error or None; the first error is
answered (RFC 6733 §7). A new check is a row of STAGES. The modules that define commands register them in `COMMANDS`.

Other stages are elsewhere: 1 and 2 in the frame reader, 3 and 4 in the connection, 13 (overload) and 21 (rights of the
peer) in `ocs.diameter`, 14 (duplicates) in the ledger, 22 in charging.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from protocol import stages
from protocol.compiler import Codec, Fault
from protocol.dictionary import definition_of
from protocol.errors import DiameterError, ResultCode
from protocol.examination import Examined, count_avps, examine
from protocol.header import FLAG_ERROR, FLAG_PROXIABLE, FLAG_REQUEST, HEADER_OCTETS, Header
from protocol.registry import COMMANDS, LIMITS, Choice, Command, Limits, Lookup, Path, Routing, register

Stage = Callable[[Examined], DiameterError | None]

STAGES: tuple[tuple[str, Stage], ...] = (
    ("5 header bits: 3008", stages.header_bits),
    ("6 AVP lengths: 5014; too many AVPs: 5009; too deep: 5004", stages.avp_lengths),
    ("7 AVP bits: 3009", stages.avp_bits),
    ("8 application: 3007", stages.application),
    ("9 command: 3001", stages.command),
    ("10 loop: 3005", stages.loop),
    ("11 destination host: 3002", stages.destination_host),
    ("12 destination realm: 3003", stages.destination_realm),
    ("15 unknown AVP with M: 5001", stages.unknown_avps),
    ("16 missing AVP: 5005", stages.missing_avps),
    ("17 too many: 5009", stages.too_many),
    ("18 not allowed: 5008", stages.forbidden),
    ("19 bad value: 5004", stages.values),
    ("20 contradicting AVPs: 5007", stages.contradictions),
)
"""The number becomes `DiameterError.stage`."""

AVP_HEADER_OCTETS = 8
"""Size of the header of Proxy-Info, which has no Vendor-Id."""
_PROXY_INFO = definition_of("proxy_info").key
_FIXED_BITS = FLAG_REQUEST | FLAG_ERROR
_FIXED_BITS_LOCAL = FLAG_REQUEST | FLAG_ERROR | FLAG_PROXIABLE


def decode_request(frame: bytes, header: Header, routing: Routing | None = None, limits: Limits = LIMITS) -> Any:
    """Decodes a request that is served. Raises DiameterError. Not for answers.

    Without `routing`, Destination-Host, Destination-Realm and Route-Record are not checked.
    """
    command = limits.commands.get((header.application_id, header.command_code))
    if command is None:
        raise diagnose(frame, header, routing, limits)
    if header.flags & (_FIXED_BITS if command.proxiable else _FIXED_BITS_LOCAL) != FLAG_REQUEST:
        raise diagnose(frame, header, routing, limits)
    try:
        layouts = command.layouts
        message = layouts.read(frame) if layouts else command.codec.read(frame, HEADER_OCTETS, len(frame))
    except Fault:
        raise diagnose(frame, header, routing, limits) from None
    if _suspicious(command, message, frame, routing, limits):
        error = first_error(frame, header, routing, limits)
        if error is not None:
            raise error
    return message


def _suspicious(command: Command, message: Any, frame: bytes, routing: Routing | None, limits: Limits) -> bool:
    """Whether a stage may find an error in a decoded request. Runs for every request, so it must be fast."""
    if routing is not None and command.routed:
        host, realm = message.destination_host, message.destination_realm
        if host is not None and host != routing.host and not routing.answers_for(host):
            return True
        if realm not in routing.realms and not routing.serves(realm):
            return True
    if not command.ordinary(message) and _is_wrong(command, partial(getattr, message), routing):
        return True
    if command.services and len(getattr(message, command.services)) > limits.max_services:
        return True
    octets, most = len(frame), limits.max_avps
    return octets > limits.uncounted_octets and count_avps(frame, command.codec, HEADER_OCTETS, octets, most) > most


def _is_wrong(command: Command, get: Lookup, routing: Routing | None) -> bool:
    if command.missing(get) is not None:
        return True
    if routing is not None and command.routed and any(map(routing.is_us, get("route_record"))):
        return True
    if command.routed and not all(
        _is_read_by(command.codec.fields[_PROXY_INFO].inside, raw) for raw in get("proxy_info")
    ):
        return True
    if command.contradicting(get):
        return True
    return any(
        sum(getattr(group, member) is not None for member in choice.members) != 1
        for choice in command.choices
        for group in get(choice.attribute)
    )


def _is_read_by(codec: Codec[Any] | None, raw: bytes) -> bool:
    """Whether the contents of an AVP kept whole match their codec."""
    assert codec is not None
    try:
        codec.read(raw, AVP_HEADER_OCTETS, int.from_bytes(raw[5:AVP_HEADER_OCTETS], "big"))
    except Fault:
        return False
    return True


def diagnose(frame: bytes, header: Header, routing: Routing | None = None, limits: Limits = LIMITS) -> DiameterError:
    """The first error of a request that could not be decoded."""
    error = first_error(frame, header, routing, limits)
    return error or DiameterError(ResultCode.UNABLE_TO_COMPLY, "the request could not be decoded")


def first_error(
    frame: bytes, header: Header, routing: Routing | None = None, limits: Limits = LIMITS
) -> DiameterError | None:
    assert header.is_request, "an answer is never answered (RFC 6733 §6.2)"
    request = examine(frame, header, routing, limits)
    for name, stage in STAGES:
        error = stage(request)
        if error is not None:
            error.stage = int(name.partition(" ")[0])
            return error
    return None


__all__ = [
    "COMMANDS",
    "LIMITS",
    "STAGES",
    "Choice",
    "Command",
    "Examined",
    "Limits",
    "Lookup",
    "Path",
    "Routing",
    "decode_request",
    "diagnose",
    "examine",
    "first_error",
    "register",
]
