"""Hypothesis strategies generated from the message classes: every declared AVP, with the edge values of its type."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from protocol import commands
from protocol.avp import FAMILY_E164, FAMILY_IPV4, FAMILY_IPV6, Address, Kind, encode_avp
from protocol.compiler import Codec, Field
from protocol.credit_control import _CCA, _CCR, CreditControlRequest

IDENTITIES = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,8}){1,2}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4).map(lambda value: Address(FAMILY_IPV4, str(value))),
    st.ip_addresses(v=6).map(lambda value: Address(FAMILY_IPV6, value.compressed)),
    st.from_regex(r"[0-9]{5,15}", fullmatch=True).map(lambda value: Address(FAMILY_E164, value)),
)
FIRST_SECOND, LAST_SECOND = 0x80000000 - 2_208_988_800, 0x17FFFFFFF - 2_208_988_800
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.UNSIGNED32: st.integers(0, 2**32 - 1),
    Kind.UNSIGNED64: st.integers(0, 2**64 - 1),
    Kind.INTEGER32: st.integers(-(2**31), 2**31 - 1),
    Kind.ENUMERATED: st.integers(-(2**31), 2**31 - 1),
    Kind.INTEGER64: st.integers(-(2**63), 2**63 - 1),
    Kind.TIME: st.integers(FIRST_SECOND, LAST_SECOND),
    Kind.UTF8: TEXT,
    Kind.IDENTITY: IDENTITIES,
    Kind.OCTETS: st.binary(max_size=20),
    Kind.ADDRESS: ADDRESSES,
    Kind.RAW: st.binary(min_size=1, max_size=9).map(
        lambda data: encode_avp(
            284, 0, 0x40, encode_avp(280, 0, 0x40, b"dra.example.net") + encode_avp(33, 0, 0x40, data)
        )
    ),
}


def of_field(field: Field, depth: int) -> st.SearchStrategy[Any]:
    if field.group is not None:
        value = of_codec(field.group, depth + 1)
    elif field.kind is Kind.GROUPED:
        return st.sampled_from([b"", encode_avp(461, 0, 0x40, b"x"), encode_avp(432, 0, 0x40, b"\0\0\0\1")])
    elif field.allowed is not None:
        value = st.sampled_from(sorted(field.allowed))
    else:
        value = VALUES[field.kind]
    if field.repeated:
        return st.lists(value, max_size=2)
    return value if field.required else st.none() | value


def of_codec(codec: Codec[Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Messages with a random part of the attributes: a message with all of them would be slow."""
    required = {field.attribute: of_field(field, depth) for field in codec.fields.values() if field.required}
    optional = [
        field for field in codec.fields.values() if not field.required and field.definition.key not in codec.forbidden
    ]

    @st.composite
    def build(draw: st.DrawFn) -> Any:
        chosen = draw(st.lists(st.sampled_from(optional), max_size=5, unique_by=lambda f: f.slot)) if optional else []
        values = {name: draw(strategy) for name, strategy in required.items()}
        values.update({field.attribute: draw(of_field(field, depth)) for field in chosen})
        return codec.make(**values)

    return build()


def _complete(request: CreditControlRequest) -> CreditControlRequest:
    for group in request.vendor_specific_application_id:
        group.auth_application_id, group.acct_application_id = 4, None
    for extension in request.subscription_id_extension:
        extension.subscription_id_e164 = extension.subscription_id_imsi = extension.subscription_id_nai = None
        extension.subscription_id_sip_uri, extension.subscription_id_private = "sip:a@example.org", None
    request.auth_application_id = 4
    if request.cc_request_type != 4 or request.requested_action is None:
        request.requested_action = 0
    if request.requested_action:
        request.used_service_unit = []
        for service in request.multiple_services_credit_control:
            service.used_service_unit = []
    return request


CCRS = of_codec(_CCR).map(_complete)
CCAS = of_codec(_CCA)
BASE = {cls: of_codec(form.codec) for cls, form in commands._FORMS.items()}


def tree(codec: Codec[Any], message: Any) -> list[tuple[int, int, Any]]:
    """(code, vendor, value or subtree) for every AVP of a message, in no particular order."""
    rows: list[tuple[int, int, Any]] = []
    for field in codec.fields.values():
        value = getattr(message, field.attribute)
        for one in value if field.repeated else [value]:
            if one is None or field.kind is Kind.RAW or (field.group is None and field.kind is Kind.GROUPED):
                continue
            definition = field.definition
            inner = tree(field.group, one) if field.group is not None else one
            rows.append((definition.code, definition.vendor, inner))
    return sorted(rows, key=repr)


__all__ = ["BASE", "CCAS", "CCRS", "of_codec", "tree"]
