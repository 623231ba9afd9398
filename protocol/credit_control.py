"""Credit-Control-Request and -Answer (RFC 8506 §3, TS 32.299 §6.4.2–6.4.3): the messages of the hot path.

A server needs `decode_ccr` and `encode_cca`; `encode_ccr` and `decode_cca` are for clients.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from protocol.compiler import NO_AVP, Codec, Fault, Rules
from protocol.errors import DiameterError, ResultCode
from protocol.header import FLAG_PROXIABLE, FLAG_REQUEST, FLAG_RETRANSMITTED, Header, build
from protocol.layout import Layouts
from protocol.pipeline import LIMITS, Choice, Command, Limits, Lookup, Path, Routing, decode_request, register
from protocol.service_information import (
    AddressDomain,
    ImsInformation,
    MmsInformation,
    MmtelInformation,
    OriginatorAddress,
    OriginatorReceivedAddress,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    ServiceInformation,
    SmsInformation,
    SupplementaryService,
    VcsInformation,
)
from protocol.units import (
    CcMoney,
    CostInformation,
    ExperimentalResult,
    FinalUnitIndication,
    GrantedServiceUnit,
    MultipleServicesCreditControl,
    OcOlr,
    OcSupportedFeatures,
    ProxyInfo,
    QosFinalUnitIndication,
    QosInformation,
    RedirectServer,
    RemainingBalance,
    RequestedServiceUnit,
    ServiceParameterInfo,
    SubscriptionId,
    SubscriptionIdExtension,
    Trigger,
    UnitValue,
    UsedServiceUnit,
    UserEquipmentInfo,
    UserEquipmentInfoExtension,
    VendorSpecificApplicationId,
)

APPLICATION_CREDIT_CONTROL = 4
COMMAND_CREDIT_CONTROL = 272
INITIAL_REQUEST, UPDATE_REQUEST, TERMINATION_REQUEST, EVENT_REQUEST = 1, 2, 3, 4
DIRECT_DEBITING, REFUND_ACCOUNT, CHECK_BALANCE, PRICE_ENQUIRY = 0, 1, 2, 3

NO_HEADER = Header(0, 0, 0, 0, 0, 0)


@dataclass(slots=True)
class CreditControlAnswer:
    """CCA. `CreditControlRequest.answer` copies Session-Id, type and number from the request."""

    session_id: str = ""
    result_code: int | None = None
    experimental_result: ExperimentalResult | None = None
    origin_host: str = ""
    origin_realm: str = ""
    auth_application_id: int = APPLICATION_CREDIT_CONTROL
    cc_request_type: int = 0
    cc_request_number: int = 0
    user_name: str | None = None
    cc_sub_session_id: int | None = None
    cc_session_failover: int | None = None
    multiple_services_credit_control: list[MultipleServicesCreditControl] = field(default_factory=list)
    granted_service_unit: GrantedServiceUnit | None = None
    cost_information: CostInformation | None = None
    final_unit_indication: FinalUnitIndication | None = None
    check_balance_result: int | None = None
    low_balance_indication: int | None = None
    remaining_balance: RemainingBalance | None = None
    credit_control_failure_handling: int | None = None
    direct_debiting_failure_handling: int | None = None
    oc_supported_features: OcSupportedFeatures | None = None
    oc_olr: OcOlr | None = None
    redirect_host: list[str] = field(default_factory=list)
    redirect_host_usage: int | None = None
    redirect_max_cache_time: int | None = None
    validity_time: int | None = None
    qos_final_unit_indication: QosFinalUnitIndication | None = None
    refund_information: bytes | None = None
    """3GPP has it in the MSCC; here only for requests without MSCC."""
    error_message: str | None = None
    failed_avp: bytes = b""
    """Encoded AVPs inside one Failed-AVP."""
    service_information: ServiceInformation | None = None
    origin_state_id: int | None = None
    event_timestamp: int | None = None
    proxy_info: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class CreditControlRequest:
    session_id: str = ""
    origin_host: str = ""
    origin_realm: str = ""
    destination_realm: str = ""
    auth_application_id: int | None = None
    service_context_id: str = ""
    cc_request_type: int = 0
    cc_request_number: int = 0
    vendor_specific_application_id: list[VendorSpecificApplicationId] = field(default_factory=list)
    destination_host: str | None = None
    user_name: str | None = None
    cc_sub_session_id: int | None = None
    acct_multi_session_id: str | None = None
    origin_state_id: int | None = None
    event_timestamp: int | None = None
    subscription_id: list[SubscriptionId] = field(default_factory=list)
    subscription_id_extension: list[SubscriptionIdExtension] = field(default_factory=list)
    service_identifier: int | None = None
    termination_cause: int | None = None
    requested_service_unit: RequestedServiceUnit | None = None
    requested_action: int | None = None
    used_service_unit: list[UsedServiceUnit] = field(default_factory=list)
    aoc_request_type: int | None = None
    multiple_services_indicator: int | None = None
    multiple_services_credit_control: list[MultipleServicesCreditControl] = field(default_factory=list)
    service_parameter_info: list[ServiceParameterInfo] = field(default_factory=list)
    cc_correlation_id: bytes | None = None
    user_equipment_info: UserEquipmentInfo | None = None
    user_equipment_info_extension: UserEquipmentInfoExtension | None = None
    oc_supported_features: OcSupportedFeatures | None = None
    drmp: int | None = None
    refund_information: bytes | None = None
    called_station_id: str | None = None
    tgpp_sgsn_mcc_mnc: str | None = None
    tgpp_user_location_info: bytes | None = None
    """Some clients send this and the next two here instead of in PS-Information."""
    acct_application_id: int | None = None
    accounting_record_type: int | None = None
    accounting_record_number: int | None = None
    route_record: list[str] = field(default_factory=list)
    service_information: ServiceInformation | None = None
    proxy_info: list[bytes] = field(default_factory=list)
    """Whole AVPs, echoed in this order (RFC 6733 §6.2)."""
    header: Header = field(default=NO_HEADER, metadata=NO_AVP)
    raw: bytes = field(default=b"", metadata=NO_AVP)

    def answer(self, result_code: int) -> CreditControlAnswer:
        """The answer to this request, with the AVPs that must be echoed."""
        answer = CreditControlAnswer(self.session_id, result_code)
        answer.cc_request_type = self.cc_request_type
        answer.cc_request_number = self.cc_request_number
        answer.cc_sub_session_id = self.cc_sub_session_id
        answer.proxy_info = self.proxy_info
        return answer


ONLY_IN_CCA = frozenset(
    {
        "check_balance_result",
        "cc_session_failover",
        "cost_information",
        "credit_control_failure_handling",
        "direct_debiting_failure_handling",
        "error_message",
        "error_reporting_host",
        "experimental_result",
        "failed_avp",
        "final_unit_indication",
        "granted_service_unit",
        "low_balance_indication",
        "oc_olr",
        "qos_final_unit_indication",
        "redirect_host",
        "redirect_host_usage",
        "redirect_max_cache_time",
        "remaining_balance",
        "result_code",
        "validity_time",
    }
)
"""AVPs not allowed in a CCR (RFC 8506 §10.1, TS 32.299 §6.4.2). No recorded client sends any of them."""
ONLY_IN_CCA_SERVICES = frozenset(
    {
        "announcement_information",
        "envelope_reporting",
        "final_unit_indication",
        "g_s_u_pool_reference",
        "granted_service_unit",
        "ps_furnish_charging_information",
        "qos_final_unit_indication",
        "quota_consumption_time",
        "quota_holding_time",
        "result_code",
        "time_quota_mechanism",
        "time_quota_threshold",
        "unit_quota_threshold",
        "validity_time",
        "volume_quota_threshold",
    }
)
"""AVPs not allowed in an MSCC of a CCR (RFC 8506 §8.16, TS 32.299 §7.2): the server's description of a grant."""
CCR_RULES = Rules(
    forbidden={
        "CreditControlRequest": ONLY_IN_CCA,
        "MultipleServicesCreditControl": ONLY_IN_CCA_SERVICES,
    },
    # An IMS charging client in wide use sends its identity twice.
    doubled=frozenset({"origin_host", "origin_realm"}),
    raw={"proxy_info": ProxyInfo},
    values={
        # RFC 6733 §3: an application id in a message must be that of its header.
        "auth_application_id": frozenset({APPLICATION_CREDIT_CONTROL}),
        "acct_application_id": frozenset({APPLICATION_CREDIT_CONTROL}),
        "cc_request_type": frozenset({INITIAL_REQUEST, UPDATE_REQUEST, TERMINATION_REQUEST, EVENT_REQUEST}),
        "requested_action": frozenset({DIRECT_DEBITING, REFUND_ACCOUNT, CHECK_BALANCE, PRICE_ENQUIRY}),
        "subscription_id_type": frozenset(range(5)),
        "multiple_services_indicator": frozenset(range(2)),
        "tariff_change_usage": frozenset(range(3)),
    },
)
CCA_RULES = Rules(
    # TS 32.299 has it in the MSCC only; debits without MSCC (RFC 8506) must be refundable too.
    optional={"CreditControlAnswer": frozenset({"refund_information"})},
    raw={"proxy_info": ProxyInfo},
    payload=frozenset({"failed_avp"}),
)

_CCR = Codec(CreditControlRequest, CCR_RULES)
_CCA = Codec(CreditControlAnswer, CCA_RULES)
_CCA_LAYOUTS = Layouts(_CCA)


def _missing(get: Lookup) -> str | None:
    """The first AVP that is missing because of other AVPs; an empty Session-Id counts as missing."""
    if get("session_id") == "":
        return "session_id"
    if get("auth_application_id") is None and not any(
        group.auth_application_id is not None for group in get("vendor_specific_application_id") or ()
    ):
        return "auth_application_id"  # an IMS client sends it only in Vendor-Specific-Application-Id
    if get("cc_request_type") == EVENT_REQUEST and get("requested_action") is None:
        return "requested_action"  # RFC 8506 §8.41
    return None


def _contradicting(get: Lookup) -> tuple[Path, ...]:
    """RFC 8506 §8.41: actions other than direct debiting are for one-off requests that report no use.

    Requested-Action 0 within a session is ignored (a P-GW sends it), and so is use reported by a one-off debit.
    """
    action = get("requested_action")
    if not action:
        return ()
    if get("cc_request_type") != EVENT_REQUEST:
        return ("cc_request_type",), ("requested_action",)
    services = get("multiple_services_credit_control") or ()
    if get("used_service_unit") or any(service.used_service_unit for service in services):
        used = "used_service_unit"
        return ("requested_action",), (used,), ("multiple_services_credit_control", used)
    return ()


def _ordinary(request: CreditControlRequest) -> bool:
    """Whether `_missing`, `_contradicting` and the choices below cannot find an error: the common kind of request."""
    return bool(
        request.session_id
        and request.auth_application_id is not None
        and request.cc_request_type != EVENT_REQUEST
        and not request.requested_action
        and not request.vendor_specific_application_id
        and not request.subscription_id_extension
        and not request.route_record
        and not request.proxy_info
    )


_ONE_APPLICATION = Choice(
    "vendor_specific_application_id",
    ("auth_application_id", "acct_application_id"),
    several=ResultCode.AVP_OCCURS_TOO_MANY_TIMES,
)
"""RFC 6733 §6.11: none is 5005, both are 5009."""
_ONE_SUBSCRIPTION = Choice(
    "subscription_id_extension",
    tuple(item.name for item in fields(SubscriptionIdExtension)),
    several=ResultCode.CONTRADICTING_AVPS,
    open=True,
)
"""RFC 8506 §8.58: exactly one, possibly of a type defined later."""

register(
    APPLICATION_CREDIT_CONTROL,
    COMMAND_CREDIT_CONTROL,
    Command(
        _CCR,
        proxiable=True,
        missing=_missing,
        contradicting=_contradicting,
        choices=(_ONE_APPLICATION, _ONE_SUBSCRIPTION),
        services="multiple_services_credit_control",
        routed=True,
        ordinary=_ordinary,
        layouts=Layouts(_CCR),
    ),
)


def decode_ccr(
    frame: bytes, header: Header, routing: Routing | None = None, limits: Limits = LIMITS
) -> CreditControlRequest:
    """Decodes a CCR. Raises DiameterError with the first error."""
    request = decode_request(frame, header, routing, limits)
    if not isinstance(request, CreditControlRequest):
        raise DiameterError(ResultCode.COMMAND_UNSUPPORTED, "this command is not a Credit-Control-Request")
    request.header = header
    request.raw = frame
    return request


def encode_cca(answer: CreditControlAnswer, request: Header, origin_host: str, origin_realm: str) -> bytes:
    """The whole message, with command, application, identifiers and P bit of the request; R, E and T are clear."""
    answer.origin_host = origin_host
    answer.origin_realm = origin_realm
    return build(
        _CCA.write(answer),
        request.flags & FLAG_PROXIABLE,
        COMMAND_CREDIT_CONTROL,
        request.application_id,
        request.hop_by_hop,
        request.end_to_end,
    )


def encode_ccr(
    request: CreditControlRequest, *, hop_by_hop: int, end_to_end: int, retransmitted: bool = False
) -> bytes:
    flags = FLAG_REQUEST | FLAG_PROXIABLE | (FLAG_RETRANSMITTED if retransmitted else 0)
    return build(_CCR.write(request), flags, COMMAND_CREDIT_CONTROL, APPLICATION_CREDIT_CONTROL, hop_by_hop, end_to_end)


def decode_cca(frame: bytes, header: Header) -> CreditControlAnswer:
    """Decodes a CCA. Raises Fault if it is malformed: the caller then treats the request as unanswered."""
    if header.is_request or header.command_code != COMMAND_CREDIT_CONTROL:
        raise Fault
    return _CCA_LAYOUTS.read(frame)


__all__ = [
    "AddressDomain",
    "CcMoney",
    "CostInformation",
    "CreditControlAnswer",
    "CreditControlRequest",
    "ExperimentalResult",
    "FinalUnitIndication",
    "GrantedServiceUnit",
    "ImsInformation",
    "MmsInformation",
    "MmtelInformation",
    "MultipleServicesCreditControl",
    "OriginatorAddress",
    "OriginatorReceivedAddress",
    "PsInformation",
    "QosInformation",
    "RecipientAddress",
    "RecipientInfo",
    "RedirectServer",
    "RemainingBalance",
    "RequestedServiceUnit",
    "ServiceInformation",
    "ServiceParameterInfo",
    "SmsInformation",
    "SubscriptionId",
    "SubscriptionIdExtension",
    "SupplementaryService",
    "Trigger",
    "UnitValue",
    "UsedServiceUnit",
    "UserEquipmentInfo",
    "UserEquipmentInfoExtension",
    "VcsInformation",
    "VendorSpecificApplicationId",
    "decode_cca",
    "decode_ccr",
    "encode_cca",
    "encode_ccr",
]
