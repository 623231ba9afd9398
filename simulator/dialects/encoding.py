"""Requests of a dialect in octets: a template that python-diameter encoded, patched at known offsets.

`render(request)` patches a template; `encode(request)` encodes the whole message. Both give the same octets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

from diameter.message._base import Message, MessageHeader
from diameter.message.avp.avp import Avp, AvpOctetString

from simulator.dialects.dialect import AvpSpec, Dialect, load_dialect
from simulator.dialects.fields import FIELD, OF_A_SERVICE, SERVICES, ecgi, tbcd, tel, visited_network
from simulator.requests import CC_REQUEST_TYPES, REASONS_OF_THE_UNITS, Element, Kind, Request, ServicePart
from simulator.templates import Field, Template, Values, compile_template, to_datetime
from simulator.wire import CMD_CCR, FLAG_PROXIABLE, FLAG_REQUEST

TEMPLATES_KEPT = 4096
"""Size of the template cache. Shapes are few (element × kind × place × width of a number); the limit is for faulty
scenarios.
"""
APP_CREDIT_CONTROL = 4
DIRECT_DEBITING, DIAMETER_LOGOUT, ROLE_FORWARDING = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Sender:
    """A network element: its names and its dialect."""

    host: str
    realm: str
    server_realm: str
    dialect: Dialect
    state_id: int = 0
    """Origin-State-Id; 0 = none."""
    server_host: str = ""
    """Origin-Host of the server, as its answers give it."""

    @classmethod
    def of(cls, element: Element, realm: str, server_realm: str) -> Sender:
        """The element in its standard dialect."""
        return cls(origin_host(element, realm), realm, server_realm, load_dialect(element.value))


class PartShape(NamedTuple):
    """The parts of an MSCC that cannot be patched: which AVPs it has."""

    rated: bool
    used: bool
    wanted: bool
    amount: bool
    reason: int | None
    changed: bool = False
    triggers: tuple[int, ...] = ()

    def holds(self, condition: str) -> bool:
        if condition == "unit_reason":
            return self.used and self.reason in REASONS_OF_THE_UNITS
        if condition == "service_reason":
            return self.reason is not None and self.reason not in REASONS_OF_THE_UNITS
        return bool(self.triggers if condition == "triggered" else getattr(self, condition))


class Shape(NamedTuple):
    """The parts of a request that cannot be patched: the key of the template cache."""

    dialect: str
    host: str
    realm: str
    server_realm: str
    server_host: str
    state_id: int
    kind: Kind
    session_id_width: int
    msisdn_width: int
    imsi_width: int
    other_width: int
    incoming: bool
    plmn: str
    switch_number: str
    cell: int
    rat: int
    forwarding: int | None
    caller_width: int
    parts: tuple[PartShape, ...]


def origin_host(element: Element, realm: str) -> str:
    return f"{element.value}.{realm}"


def render(request: Request, sender: Sender, *, hop_by_hop: int, end_to_end: int) -> bytearray:
    """The request's octets, by patching a template that python-diameter encoded."""
    template = _template(_shape_of(request, sender))
    return template.render(_values_of(request, sender.dialect), hop_by_hop=hop_by_hop, end_to_end=end_to_end)


def encode(request: Request, sender: Sender, *, hop_by_hop: int, end_to_end: int) -> bytes:
    """The request's octets, encoded by python-diameter."""
    octets = _encode_shape(_shape_of(request, sender), _values_of(request, sender.dialect))
    return octets[:12] + hop_by_hop.to_bytes(4, "big") + end_to_end.to_bytes(4, "big") + octets[20:]


def _shape_of(request: Request, sender: Sender) -> Shape:
    dialect = sender.dialect
    return Shape(
        dialect=dialect.name,
        host=sender.host,
        realm=sender.realm,
        server_realm=sender.server_realm,
        server_host=sender.server_host,
        state_id=sender.state_id,
        kind=request.kind,
        session_id_width=len(request.session_id),
        msisdn_width=len(request.subscriber.msisdn),
        imsi_width=len(request.subscriber.imsi),
        other_width=len(request.other_party),
        incoming=request.incoming,
        plmn=request.place.plmn,
        switch_number=request.place.switch_number,
        cell=request.place.cell,
        rat=request.place.rat,
        forwarding=request.forwarding,
        caller_width=len(request.caller),
        parts=tuple(_part_shape(part, dialect) for part in request.parts),
    )


def _part_shape(part: ServicePart, dialect: Dialect) -> PartShape:
    reason = part.reason if part.reason is None else dialect.reasons.get(part.reason, part.reason)
    uses = part.used is not None, part.wanted is not None, bool(part.wanted), reason
    return PartShape(part.rating_group is not None, *uses, bool(_used_after(part, dialect)), part.triggers)


def _used_after(part: ServicePart, dialect: Dialect) -> int:
    """Use after a tariff change, if the dialect tells it apart."""
    return part.used_after if dialect.tells_tariff_changes else 0


def _values_of(request: Request, dialect: Dialect) -> dict[str, int | str]:
    """The patched fields' values."""
    repeats = dialect.repeats_last_number and request.kind is Kind.TERMINATION and request.number > 0
    values: dict[str, int | str] = {
        "session_id": request.session_id,
        "number": request.number - repeats,
        "at": request.at,
        "msisdn": request.subscriber.msisdn,
        "imsi": request.subscriber.imsi,
        "other": request.other_party,
        "caller": request.caller,
        "charging_id": request.charging_id,
        "size": request.size_octets,
        "seconds": request.seconds,
    }
    for index, part in enumerate(request.parts):
        used = part.used or 0
        values[f"rating_group{index}"] = part.rating_group or 0
        after = _used_after(part, dialect)
        values[f"used{index}"] = used - after
        values[f"used_after{index}"] = after
        up = (used - after) // 8  # a tenth or so of the traffic goes up
        values[f"up{index}"], values[f"down{index}"] = up, used - after - up
        values[f"wanted{index}"] = part.wanted or 0
    return values


@lru_cache(maxsize=TEMPLATES_KEPT)
def _template(shape: Shape) -> Template:
    return compile_template(partial(_encode_shape, shape), _patched_fields(shape))


# -- the fields of a shape


def _patched_fields(shape: Shape) -> tuple[Field, ...]:
    """The patchable fields that occur in the shape's AVPs."""
    dialect = load_dialect(shape.dialect)
    names: dict[str, None] = {}
    for spec in _sent(dialect.avps, shape, None):
        for name in _leaf_fields(spec, shape, None):
            names.update(dict.fromkeys(_sources(name, shape)))
    for index, part in enumerate(shape.parts):
        for spec in _sent(dialect.service, shape, part):
            for name in _leaf_fields(spec, shape, part):
                own = name if name not in OF_A_SERVICE else f"{name}{index}"
                names.update(dict.fromkeys(_sources(own, shape)))
    found = (_field(name, dialect, shape) for name in names)
    return tuple(field for field in found if field is not None)


def _leaf_fields(spec: AvpSpec, shape: Shape, part: PartShape | None) -> Iterator[str]:
    if isinstance(spec.value, tuple):
        for child in _sent(spec.value, shape, part):
            yield from _leaf_fields(child, shape, part)
    for name in spec.fields:
        if part is None or name not in OF_A_SERVICE or getattr(part, _PRESENT[name]):
            yield name


_PRESENT = {
    "rating_group": "rated", "used": "used", "up": "used", "down": "used", "wanted": "amount", "reason": "used",
    "used_after": "changed", "triggers": "triggers",
}  # fmt: skip
"""Field of a service → what of it must be so that the field has a value."""


def _sources(name: str, shape: Shape) -> tuple[str, ...]:
    """The patched fields that a derived one is made of."""
    if name == "requested":
        return ("msisdn",) if shape.forwarding is not None else ()
    if name in ("calling", "calling_number", "called", "called_number"):
        if shape.forwarding is not None:
            return ("caller",) if name.startswith("calling") else ("other",)
        own = name.startswith("calling") is not shape.incoming
        return ("msisdn",) if own else ("other",)
    return (name,)


def _field(name: str, dialect: Dialect, shape: Shape) -> Field | None:
    """None = the field is the same in all requests of the shape."""
    widths = {
        "session_id": shape.session_id_width,
        "msisdn": shape.msisdn_width,
        "imsi": shape.imsi_width,
        "other": shape.other_width,
        "caller": shape.caller_width,
    }
    if name in widths:
        return Field(name, "text", widths[name]) if widths[name] else None
    if name == "at":
        return Field(name, "time")
    if name in ("number", "charging_id", "size", "seconds") or name.startswith("rating_group"):
        return Field(name, "u32")
    if name.rstrip("0123456789") in ("used", "up", "down", "wanted", "used_after"):
        return Field(name, "u32" if dialect.units == "seconds" else "u64")
    return None


# -- python-diameter


def _sent(specs: tuple[AvpSpec, ...], shape: Shape, part: PartShape | None) -> Iterator[AvpSpec]:
    """The AVPs that this request has."""
    for spec in specs:
        if shape.kind.value in spec.kinds and all(_holds(word, shape, part) for word in spec.conditions):
            yield spec


def _holds(condition: str, shape: Shape, part: PartShape | None) -> bool:
    if condition in ("incoming", "outgoing"):
        return shape.incoming is (condition == "incoming")
    if condition == "forwarded":
        return shape.forwarding is not None
    return part is not None and part.holds(condition)


def _encode_shape(shape: Shape, values: Values) -> bytes:
    header = MessageHeader(
        command_flags=FLAG_REQUEST | FLAG_PROXIABLE, command_code=CMD_CCR, application_id=APP_CREDIT_CONTROL
    )
    known = _known_values(shape, values)
    dialect = load_dialect(shape.dialect)
    known["service_identifier"] = dialect.service_identifier
    avps = list(_built(dialect.avps, shape, known, values, None))
    return bytes(Message(header, avps).as_bytes())


def _known_values(shape: Shape, values: Values) -> dict[str, Any]:
    """Values of the fields of the whole request; None = the AVP is left out."""
    own, other = str(values.get("msisdn", "")), str(values.get("other", ""))
    calling, called = (other, own) if shape.incoming else (own, other)
    own_uri, other_uri = f"tel:+{own}", tel(other)
    calling_uri, called_uri = (other_uri, own_uri) if shape.incoming else (own_uri, other_uri)
    forwards = shape.forwarding is not None
    if forwards:
        calling, calling_uri = str(values.get("caller", "")), tel(str(values.get("caller", "")))
    at = int(values["at"]) if "at" in values else None
    return {
        **{name: values.get(name) for name in ("session_id", "number", "msisdn", "imsi", "other", "seconds")},
        "charging_id": values.get("charging_id"),
        "size": values.get("size"),
        "at": None if at is None else to_datetime(at),
        "origin_host": shape.host,
        "origin_realm": shape.realm,
        "destination_realm": shape.server_realm,
        "server_host": shape.server_host or None,
        "state_id": shape.state_id or None,
        "type": CC_REQUEST_TYPES[shape.kind],
        "requested_action": DIRECT_DEBITING if shape.kind is Kind.EVENT else None,
        "termination_cause": DIAMETER_LOGOUT if shape.kind is Kind.TERMINATION else None,
        "plmn": shape.plmn,
        "location": ecgi(shape.plmn, shape.cell),
        "rat": bytes([shape.rat]),
        "visited_network": visited_network(shape.plmn),
        "switch": shape.switch_number,
        "switch_tbcd": tbcd(shape.switch_number),
        "role": ROLE_FORWARDING if forwards else int(shape.incoming),
        "mode": shape.forwarding,
        "requested": own_uri if forwards else None,
        "calling": calling_uri,
        "called": called_uri,
        "calling_number": calling,
        "called_number": called,
    }


def _built(
    specs: tuple[AvpSpec, ...], shape: Shape, known: dict[str, Any], values: Values, part: PartShape | None
) -> Iterator[Avp]:
    for spec in _sent(specs, shape, part):
        if spec.value == SERVICES:
            service = load_dialect(shape.dialect).service
            for index, each in enumerate(shape.parts):
                within = {**known, **_service_values(each, index, values)}
                yield _avp(spec, list(_built(service, shape, within, values, each)))
        elif isinstance(spec.value, tuple):
            yield _avp(spec, list(_built(spec.value, shape, known, values, part)))
        else:
            value = _resolved(spec.value, known)
            if isinstance(value, tuple):
                yield from (_avp(spec, _typed(spec, each)) for each in value)
            elif value is not None:
                yield _avp(spec, _typed(spec, value))


def _service_values(part: PartShape, index: int, values: Values) -> dict[str, Any]:
    return {
        "rating_group": values.get(f"rating_group{index}") if part.rated else None,
        "used": values.get(f"used{index}") if part.used else None,
        "up": values.get(f"up{index}") if part.used else None,
        "down": values.get(f"down{index}") if part.used else None,
        "wanted": values.get(f"wanted{index}") if part.amount else None,
        "reason": part.reason,
        "used_after": values.get(f"used_after{index}") if part.changed else None,
        "triggers": part.triggers,
    }


def _resolved(value: int | str, known: dict[str, Any]) -> Any:
    """A field's value in its own type, or a text with fields; None = a field has no value."""
    if isinstance(value, int):
        return value
    if whole := FIELD.fullmatch(value):
        return known[whole[1]]
    names = FIELD.findall(value)
    if any(known[name] is None for name in names):
        return None
    return FIELD.sub(lambda found: str(known[found[1]]), value)


def _typed(spec: AvpSpec, value: Any) -> Any:
    if issubclass(spec.kind, AvpOctetString):
        if isinstance(value, int):
            return value.to_bytes(4, "big")
        if isinstance(value, str):
            return bytes.fromhex(value[4:]) if value.startswith("hex:") else value.encode()
    return value


def _avp(spec: AvpSpec, value: Any) -> Avp:
    avp: Avp = Avp.new(spec.code, spec.vendor, value)
    if spec.mandatory is not None:
        avp.is_mandatory = spec.mandatory
    return avp
