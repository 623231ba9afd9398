"""The checks of the receive pipeline, one function each: an examined request in, the error it finds or None out.

Section numbers are RFC 6733's unless another is named; the order of the checks is `pipeline.STAGES`.
"""

from __future__ import annotations

from protocol.avp import FLAG_MANDATORY, FLAG_VENDOR, Kind, RawAvp, encode_avp, walk
from protocol.dictionary import BY_KEY, UNDERSTOOD, definition_of
from protocol.errors import DiameterError, ResultCode
from protocol.examination import Examined, Node, bare_copy, copy_of, key_of, name_of, value_of, wrap_in
from protocol.failed_avp import minimum_payload
from protocol.header import FLAG_ERROR, FLAG_PROXIABLE, HEADER_OCTETS
from protocol.registry import Choice


def header_bits(request: Examined) -> DiameterError | None:
    """§3: no E bit in a request; no P bit in a command that is not proxiable. A missing P bit is accepted."""
    flags, command = request.header.flags, request.command
    if flags & FLAG_ERROR:
        return DiameterError(ResultCode.INVALID_HDR_BITS, "the E bit must not be set in a request")
    if command is not None and flags & FLAG_PROXIABLE and not command.proxiable:
        return DiameterError(ResultCode.INVALID_HDR_BITS, "the P bit must not be set in this command")
    return None


def avp_lengths(request: Examined) -> DiameterError | None:
    """§4.1: the first wrong length, or the first AVP beyond a limit."""
    return request.walk_error


def avp_bits(request: Examined) -> DiameterError | None:
    """§4.1: the V bit with Vendor-Id 0 is wrong: AVPs of the IETF do not carry V.

    M and P are accepted as received: clients differ, and RFC 6733 §4.5 is for senders.
    """
    for node in request.nodes:
        if node.avp.flags & FLAG_VENDOR and not node.avp.vendor:
            return DiameterError(
                ResultCode.INVALID_AVP_BITS,
                f"{name_of(node.avp)} carries the V flag with Vendor-Id 0",
                failed_avp=copy_of(request, node),
            )
    return None


def application(request: Examined) -> DiameterError | None:
    served = {application_id for application_id, _ in request.limits.commands}
    if request.header.application_id in served:
        return None
    return DiameterError(ResultCode.APPLICATION_UNSUPPORTED, "this application is not served here")


def command(request: Examined) -> DiameterError | None:
    if request.command is not None:
        return None
    return DiameterError(ResultCode.COMMAND_UNSUPPORTED, "this command is not served in this application")


def loop(request: Examined) -> DiameterError | None:
    """§6.1.3: our own identity in a Route-Record is a loop."""
    routing = request.routing
    if routing is None or request.command is None or not request.command.routed:
        return None
    if any(routing.is_us(host) for host in request.top("route_record") or ()):
        return DiameterError(ResultCode.LOOP_DETECTED, "the request has been here before")
    return None


def destination_host(request: Examined) -> DiameterError | None:
    """§6.1.4, §6.1.6: Destination-Host must be this node or one that shares its sessions (we do not forward), and needs
    Destination-Realm.
    """
    routing = request.routing
    if routing is None or request.command is None or not request.command.routed:
        return None
    host = request.top("destination_host")
    if host is None:
        return None
    if not routing.answers_for(host):
        return DiameterError(ResultCode.UNABLE_TO_DELIVER, "Destination-Host is not this node, which is no agent")
    if not request.has("destination_realm"):
        return DiameterError(ResultCode.UNABLE_TO_DELIVER, "Destination-Host without Destination-Realm")
    return None


def destination_realm(request: Examined) -> DiameterError | None:
    """§6.1.4: Destination-Realm must be one of ours."""
    routing = request.routing
    if routing is None or request.command is None or not request.command.routed:
        return None
    realm = request.top("destination_realm")
    if realm is None or routing.serves(realm):
        return None
    return DiameterError(ResultCode.REALM_NOT_SERVED, "this realm is not served here")


def unknown_avps(request: Examined) -> DiameterError | None:
    """§4.1: an unsupported AVP with the M flag that is not tolerated."""
    tolerated = request.limits.tolerated
    for node in request.nodes:
        key = key_of(node.avp)
        if node.field is None and node.avp.flags & FLAG_MANDATORY and key not in UNDERSTOOD:
            if key in node.codec.forbidden or key in tolerated:
                continue
            return DiameterError(
                ResultCode.AVP_UNSUPPORTED,
                f"{_numbered(node.avp)} carries the M flag and is not supported",
                failed_avp=copy_of(request, node),
            )
    return None


def _numbered(avp: RawAvp) -> str:
    """VENDOR:CODE as in the settings, with the dictionary's name if there is one."""
    known = BY_KEY.get(key_of(avp))
    return f"AVP {avp.vendor}:{avp.code}{f' ({known.name})' if known else ''}"


def missing_avps(request: Examined) -> DiameterError | None:
    """5005. If a CCA could not be filled, the answer has the answer-message grammar (§7.2)."""
    for codec, parents in request.groups:
        start, end = (parents[-1].payload, parents[-1].stop) if parents else (HEADER_OCTETS, len(request.frame))
        present = {key_of(avp) for avp in walk(request.frame, start, end)}
        for key, declared in codec.fields.items():
            if declared.required and key not in present:
                return _missing(declared.attribute, parents)
    if request.command is None:
        return None
    attribute = request.command.missing(request.top)
    if attribute is not None:
        return _missing(attribute, ())
    for choice in request.command.choices:
        for group, members in _chosen(request, choice):
            if not members and not (choice.open and group.stop > group.payload):
                return _missing(choice.members[0], (group,))
    return None


def _missing(attribute: str, parents: tuple[RawAvp, ...]) -> DiameterError:
    definition = definition_of(attribute)
    flags = FLAG_MANDATORY if definition.mandatory else 0
    example = encode_avp(definition.code, definition.vendor, flags, minimum_payload(definition.kind))
    return DiameterError(
        ResultCode.MISSING_AVP,
        f"{definition.name} is missing",
        failed_avp=wrap_in(example, parents),
    )


def _chosen(request: Examined, choice: Choice) -> list[tuple[RawAvp, list[Node]]]:
    """Every group of the choice, with its members in the order of the message."""
    groups: dict[int, tuple[RawAvp, list[Node]]] = {}
    for node in request.nodes:
        if node.path == (choice.attribute,):
            groups[node.avp.start] = (node.avp, [])
        elif len(node.path) == 2 and node.path[0] == choice.attribute and node.path[1] in choice.members:
            groups[node.parents[0].start][1].append(node)
    return list(groups.values())


def too_many(request: Examined) -> DiameterError | None:
    """5009 with the first instance beyond the limit."""
    services = request.command.services if request.command is not None else ""
    seen: dict[tuple[int, int], int] = {}
    for node in request.nodes:
        declared = node.field
        if declared is None or declared.doubled or key_of(node.avp) in node.codec.forbidden:
            continue
        bounded = bool(services) and node.path == (services,)
        if declared.repeated and not bounded:
            continue
        place = (node.parents[-1].start if node.parents else 0, key_of(node.avp))
        seen[place] = seen.get(place, 0) + 1
        if seen[place] > (request.limits.max_services if bounded else 1):
            return _too_many(request, node)
    for _, members in _several(request, ResultCode.AVP_OCCURS_TOO_MANY_TIMES):
        return _too_many(request, members[1])
    return None


def _too_many(request: Examined, node: Node) -> DiameterError:
    return DiameterError(
        ResultCode.AVP_OCCURS_TOO_MANY_TIMES,
        f"{name_of(node.avp)} comes more often than allowed",
        failed_avp=copy_of(request, node),
    )


def _several(request: Examined, code: ResultCode) -> list[tuple[RawAvp, list[Node]]]:
    """Groups with more than one member of a choice for which this is the error."""
    choices = request.command.choices if request.command is not None else ()
    found = [group for choice in choices if choice.several is code for group in _chosen(request, choice)]
    return [(group, members) for group, members in found if len(members) > 1]


def forbidden(request: Examined) -> DiameterError | None:
    for node in request.nodes:
        if key_of(node.avp) in node.codec.forbidden:
            return DiameterError(
                ResultCode.AVP_NOT_ALLOWED,
                f"{name_of(node.avp)} is not allowed in this request",
                failed_avp=copy_of(request, node),
            )
    return None


def values(request: Examined) -> DiameterError | None:
    """5004: invalid UTF-8, an empty identity, or an enumeration or application id out of range."""
    for node in request.nodes:
        declared = node.field
        if declared is None or declared.group is not None or declared.kind in (Kind.RAW, Kind.GROUPED):
            continue
        value = value_of(request, node)
        if value is None or (declared.allowed is not None and value not in declared.allowed):
            return DiameterError(
                ResultCode.INVALID_AVP_VALUE,
                f"{name_of(node.avp)} has a value that is not allowed",
                failed_avp=copy_of(request, node),
            )
    return None


def contradictions(request: Examined) -> DiameterError | None:
    """5007 with all AVPs that contradict each other (§7.1.5)."""
    for group, members in _several(request, ResultCode.CONTRADICTING_AVPS):
        copies = b"".join(bare_copy(request, node) for node in members)
        return _contradiction(wrap_in(copies, (group,)), members)
    paths = request.command.contradicting(request.top) if request.command is not None else ()
    nodes = [node for node in request.nodes if node.path and node.path in paths]
    if not nodes:
        return None
    return _contradiction(b"".join(copy_of(request, node) for node in nodes), nodes)


def _contradiction(failed_avp: bytes, nodes: list[Node]) -> DiameterError:
    names = " and ".join(dict.fromkeys(name_of(node.avp) for node in nodes))
    return DiameterError(ResultCode.CONTRADICTING_AVPS, f"{names} contradict each other", failed_avp=failed_avp)
