"""The commands of the base protocol as typed messages (RFC 6733 §5.3–5.5, §8.3, §8.5; RFC 8506 §8.3), through the same
compiler.

A server receives CER, DWR and DPR (registered here as served) and sends RAR and ASR. Answers to its own requests are
decoded leniently, because an answer cannot be refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from protocol.avp import Address
from protocol.compiler import Codec, Fault, Rules
from protocol.header import FLAG_ERROR, FLAG_PROXIABLE, FLAG_REQUEST, HEADER_OCTETS, Header, build
from protocol.pipeline import Command, register
from protocol.units import ExperimentalResult, ProxyInfo, VendorSpecificApplicationId

M = TypeVar("M")

APPLICATION_COMMON = 0
CAPABILITIES_EXCHANGE = 257
RE_AUTH = 258
ABORT_SESSION = 274
DEVICE_WATCHDOG = 280
DISCONNECT_PEER = 282

REBOOTING, BUSY, DO_NOT_WANT_TO_TALK_TO_YOU = 0, 1, 2
"""Disconnect-Cause (RFC 6733 §5.4.3)."""
MIN_ERROR_CODE = 3000
"""Result-Codes below it mean success (§7.1)."""


@dataclass(slots=True)
class CapabilitiesExchangeRequest:
    origin_host: str = ""
    origin_realm: str = ""
    host_ip_address: list[Address] = field(default_factory=list)
    vendor_id: int = 0
    product_name: str = ""
    origin_state_id: int | None = None
    supported_vendor_id: list[int] = field(default_factory=list)
    auth_application_id: list[int] = field(default_factory=list)
    inband_security_id: list[int] = field(default_factory=list)
    acct_application_id: list[int] = field(default_factory=list)
    vendor_specific_application_id: list[VendorSpecificApplicationId] = field(default_factory=list)
    firmware_revision: int | None = None


@dataclass(slots=True)
class CapabilitiesExchangeAnswer:
    result_code: int = 0
    origin_host: str = ""
    origin_realm: str = ""
    host_ip_address: list[Address] = field(default_factory=list)
    vendor_id: int = 0
    product_name: str = ""
    origin_state_id: int | None = None
    error_message: str | None = None
    failed_avp: bytes = b""
    supported_vendor_id: list[int] = field(default_factory=list)
    auth_application_id: list[int] = field(default_factory=list)
    inband_security_id: list[int] = field(default_factory=list)
    acct_application_id: list[int] = field(default_factory=list)
    vendor_specific_application_id: list[VendorSpecificApplicationId] = field(default_factory=list)
    firmware_revision: int | None = None


@dataclass(slots=True)
class DeviceWatchdogRequest:
    origin_host: str = ""
    origin_realm: str = ""
    origin_state_id: int | None = None


@dataclass(slots=True)
class DeviceWatchdogAnswer:
    result_code: int = 0
    origin_host: str = ""
    origin_realm: str = ""
    error_message: str | None = None
    failed_avp: bytes = b""
    origin_state_id: int | None = None


@dataclass(slots=True)
class DisconnectPeerRequest:
    origin_host: str = ""
    origin_realm: str = ""
    disconnect_cause: int = REBOOTING


@dataclass(slots=True)
class DisconnectPeerAnswer:
    result_code: int = 0
    origin_host: str = ""
    origin_realm: str = ""
    error_message: str | None = None
    failed_avp: bytes = b""


@dataclass(slots=True)
class ReAuthRequest:
    """RAR: asks the client to report and request again, for the session or for one rating group of it."""

    session_id: str = ""
    origin_host: str = ""
    origin_realm: str = ""
    destination_realm: str = ""
    destination_host: str = ""
    auth_application_id: int = 4
    re_auth_request_type: int = 0
    cc_sub_session_id: int | None = None
    g_s_u_pool_identifier: int | None = None
    service_identifier: int | None = None
    rating_group: int | None = None
    user_name: str | None = None
    origin_state_id: int | None = None
    proxy_info: list[bytes] = field(default_factory=list)
    route_record: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ReAuthAnswer:
    session_id: str = ""
    result_code: int = 0
    origin_host: str = ""
    origin_realm: str = ""
    cc_sub_session_id: int | None = None
    g_s_u_pool_identifier: int | None = None
    service_identifier: int | None = None
    rating_group: int | None = None
    user_name: str | None = None
    origin_state_id: int | None = None
    error_message: str | None = None
    failed_avp: bytes = b""
    proxy_info: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class AbortSessionRequest:
    """ASR: asks the client to end the session. `abort_cause` is 3GPP's, if clients require it (TS 29.214 §5.3.1)."""

    session_id: str = ""
    origin_host: str = ""
    origin_realm: str = ""
    destination_realm: str = ""
    destination_host: str = ""
    auth_application_id: int = 4
    abort_cause: int | None = None
    user_name: str | None = None
    origin_state_id: int | None = None
    proxy_info: list[bytes] = field(default_factory=list)
    route_record: list[str] = field(default_factory=list)


@dataclass(slots=True)
class AbortSessionAnswer:
    session_id: str = ""
    result_code: int = 0
    origin_host: str = ""
    origin_realm: str = ""
    user_name: str | None = None
    origin_state_id: int | None = None
    error_message: str | None = None
    failed_avp: bytes = b""
    proxy_info: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class ErrorMessage:
    """An answer with the E bit, or one with no more AVPs than `answer-message` (RFC 6733 §7.2): nothing was done."""

    session_id: str | None = None
    origin_host: str | None = None
    origin_realm: str | None = None
    result_code: int | None = None
    origin_state_id: int | None = None
    error_message: str | None = None
    error_reporting_host: str | None = None
    failed_avp: bytes = b""
    experimental_result: ExperimentalResult | None = None
    redirect_host: list[str] = field(default_factory=list)
    redirect_host_usage: int | None = None
    redirect_max_cache_time: int | None = None
    proxy_info: list[bytes] = field(default_factory=list)

    @property
    def code(self) -> int:
        """Result-Code, else the code in Experimental-Result."""
        if self.result_code is not None:
            return self.result_code
        assert self.experimental_result is not None, "one of them is there (`decode_answer`)"
        return self.experimental_result.experimental_result_code


BASE_RULES = Rules(
    raw={"proxy_info": ProxyInfo},
    payload=frozenset({"failed_avp"}),
    values={"disconnect_cause": frozenset({REBOOTING, BUSY, DO_NOT_WANT_TO_TALK_TO_YOU})},
)
ANSWER_RULES = Rules(raw=BASE_RULES.raw, payload=BASE_RULES.payload, lenient=True)


@dataclass(frozen=True, slots=True)
class _Form:
    """Command, application and flags of a message class."""

    codec: Codec[Any]
    command_code: int
    flags: int


_REQUEST_ANSWER: Mapping[int, tuple[type, type, int]] = {
    CAPABILITIES_EXCHANGE: (CapabilitiesExchangeRequest, CapabilitiesExchangeAnswer, 0),
    DEVICE_WATCHDOG: (DeviceWatchdogRequest, DeviceWatchdogAnswer, 0),
    DISCONNECT_PEER: (DisconnectPeerRequest, DisconnectPeerAnswer, 0),
    RE_AUTH: (ReAuthRequest, ReAuthAnswer, FLAG_PROXIABLE),
    ABORT_SESSION: (AbortSessionRequest, AbortSessionAnswer, FLAG_PROXIABLE),
}
_FORMS: dict[type, _Form] = {}
for _code, (_request, _answer, _flags) in _REQUEST_ANSWER.items():
    _FORMS[_request] = _Form(Codec(_request, BASE_RULES), _code, _flags | FLAG_REQUEST)
    _FORMS[_answer] = _Form(Codec(_answer, ANSWER_RULES), _code, _flags)
_ERROR_MESSAGE = Codec(ErrorMessage, ANSWER_RULES)

for _code in (CAPABILITIES_EXCHANGE, DEVICE_WATCHDOG, DISCONNECT_PEER):
    register(APPLICATION_COMMON, _code, Command(_FORMS[_REQUEST_ANSWER[_code][0]].codec, proxiable=False))


def encode(message: object, *, hop_by_hop: int, end_to_end: int, application_id: int = APPLICATION_COMMON) -> bytes:
    """A message of one of this module's classes. RAR and ASR go with application_id=4."""
    form = _FORMS[type(message)]
    return build(form.codec.write(message), form.flags, form.command_code, application_id, hop_by_hop, end_to_end)


def encode_answer(message: object, request: Header, *, error: bool = False) -> bytes:
    """An answer with the identifiers and the P bit of its request. `error`: sets the E bit (Result-Code 3xxx)."""
    form = _FORMS[type(message)]
    assert not form.flags & FLAG_REQUEST, "an answer's class is expected"
    return build(
        form.codec.write(message),
        request.flags & FLAG_PROXIABLE | (FLAG_ERROR if error else 0),
        form.command_code,
        request.application_id,
        request.hop_by_hop,
        request.end_to_end,
    )


def decode(cls: type[M], frame: bytes, header: Header) -> M:
    """Decodes a message of this class. Raises Fault if it does not match. For requests see `pipeline`."""
    form = _FORMS[cls]
    if header.command_code != form.command_code or header.is_request != bool(form.flags & FLAG_REQUEST):
        raise Fault
    message: M = form.codec.read(frame, HEADER_OCTETS, len(frame))
    return message


def decode_answer(cls: type[M], frame: bytes, header: Header) -> M | ErrorMessage:
    """The answer to one of our requests: of this class, or an ErrorMessage if it has the E bit or only a Result-Code.

    Unknown AVPs are skipped. Raises Fault if it is not a valid answer: it is dropped and counted, never answered (RFC
    6733 §6.2).
    """
    form = _FORMS[cls]
    if header.is_request or header.command_code != form.command_code:
        raise Fault
    if not header.is_error:
        try:
            return decode(cls, frame, header)
        except Fault:
            pass  # error answers often lack AVPs that their command requires
    message: ErrorMessage = _ERROR_MESSAGE.read(frame, HEADER_OCTETS, len(frame))
    if message.result_code is None and message.experimental_result is None:
        raise Fault
    if message.result_code is not None and message.result_code < MIN_ERROR_CODE:
        raise Fault  # a success without required AVPs
    return message
