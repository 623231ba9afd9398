"""Grouped AVPs of credit control: units, services, final units, subscription (RFC 8506 §8, TS 32.299 §7.1.9).

Each class defines its group. An attribute's name says which AVP it is, its annotation how often it may occur: `X`
exactly once, `X | None` at most once, `list[X]` any number of times. `compiler` turns the classes into tables at
import.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.avp import Address
from protocol.compiler import NO_AVP


@dataclass(slots=True)
class SubscriptionId:
    """443: types 0 E.164, 1 IMSI, 2 SIP URI, 3 NAI, 4 private."""

    subscription_id_type: int = 0
    subscription_id_data: str = ""


@dataclass(slots=True)
class SubscriptionIdExtension:
    """659 (RFC 8506 §8.58): exactly one of them."""

    subscription_id_e164: str | None = None
    subscription_id_imsi: str | None = None
    subscription_id_sip_uri: str | None = None
    subscription_id_nai: str | None = None
    subscription_id_private: str | None = None


@dataclass(slots=True)
class UnitValue:
    """445: value_digits · 10^exponent."""

    value_digits: int = 0
    exponent: int | None = None


@dataclass(slots=True)
class CcMoney:
    unit_value: UnitValue = field(default_factory=UnitValue)
    currency_code: int | None = None


@dataclass(slots=True)
class RequestedServiceUnit:
    """437: empty = the server chooses the amount."""

    cc_time: int | None = None
    cc_money: CcMoney | None = None
    cc_total_octets: int | None = None
    cc_input_octets: int | None = None
    cc_output_octets: int | None = None
    cc_service_specific_units: int | None = None


@dataclass(slots=True)
class UsedServiceUnit:
    """446: use since the last report."""

    reporting_reason: int | None = None
    tariff_change_usage: int | None = None
    cc_time: int | None = None
    cc_money: CcMoney | None = None
    cc_total_octets: int | None = None
    cc_input_octets: int | None = None
    cc_output_octets: int | None = None
    cc_service_specific_units: int | None = None
    event_charging_timestamp: list[int] = field(default_factory=list)


@dataclass(slots=True)
class GrantedServiceUnit:
    """431."""

    tariff_time_change: int | None = None
    cc_time: int | None = None
    cc_money: CcMoney | None = None
    cc_total_octets: int | None = None
    cc_input_octets: int | None = None
    cc_output_octets: int | None = None
    cc_service_specific_units: int | None = None


@dataclass(slots=True)
class RedirectServer:
    redirect_address_type: int = 0
    redirect_server_address: str = ""


@dataclass(slots=True)
class FinalUnitIndication:
    """430: action 0 TERMINATE, 1 REDIRECT, 2 RESTRICT_ACCESS."""

    final_unit_action: int = 0
    restriction_filter_rule: list[bytes] = field(default_factory=list)
    filter_id: list[str] = field(default_factory=list)
    redirect_server: RedirectServer | None = None


@dataclass(slots=True)
class RedirectServerExtension:
    """665 (RFC 8506 §8.64): exactly one of them."""

    redirect_address_ipaddress: Address | None = None
    redirect_address_url: str | None = None
    redirect_address_sip_uri: str | None = None


@dataclass(slots=True)
class QosFinalUnitIndication:
    """669 (RFC 8506 §8.68): replaces Final-Unit-Indication for clients that support it."""

    final_unit_action: int = 0
    filter_id: list[str] = field(default_factory=list)
    redirect_server_extension: RedirectServerExtension | None = None


@dataclass(slots=True)
class VariablePart:
    variable_part_order: int | None = None
    variable_part_type: int = 0
    variable_part_value: str = ""


@dataclass(slots=True)
class AnnouncementInformation:
    """3904: an announcement that the network plays some seconds before the quota ends (TS 32.281)."""

    announcement_identifier: int = 0
    variable_part: list[VariablePart] = field(default_factory=list)
    time_indicator: int | None = None
    quota_indicator: int | None = None
    announcement_order: int | None = None
    play_alternative: int | None = None
    privacy_indicator: int | None = None
    language: str | None = None


@dataclass(slots=True)
class Envelope:
    """1266: a period of use within a report; without an end it is still open."""

    envelope_start_time: int = 0
    envelope_end_time: int | None = None
    cc_total_octets: int | None = None
    cc_input_octets: int | None = None
    cc_output_octets: int | None = None
    cc_service_specific_units: int | None = None


@dataclass(slots=True)
class OcSupportedFeatures:
    """621 (RFC 7683 §7.1)."""

    oc_feature_vector: int | None = None


@dataclass(slots=True)
class OcOlr:
    """623 (RFC 7683 §7.3): an overload report."""

    oc_sequence_number: int = 0
    oc_report_type: int = 0
    oc_reduction_percentage: int | None = None
    oc_validity_duration: int | None = None


@dataclass(slots=True)
class Trigger:
    """1264: empty = disarm all (TS 32.299 §7.2.236)."""

    trigger_type: list[int] = field(default_factory=list)


@dataclass(slots=True)
class AllocationRetentionPriority:
    priority_level: int | None = None
    pre_emption_capability: int | None = None
    pre_emption_vulnerability: int | None = None


@dataclass(slots=True)
class QosInformation:
    qos_class_identifier: int | None = None
    max_requested_bandwidth_ul: int | None = None
    max_requested_bandwidth_dl: int | None = None
    guaranteed_bitrate_ul: int | None = None
    guaranteed_bitrate_dl: int | None = None
    bearer_identifier: bytes | None = None
    allocation_retention_priority: AllocationRetentionPriority | None = None
    apn_aggregate_max_bitrate_ul: int | None = None
    apn_aggregate_max_bitrate_dl: int | None = None


@dataclass(slots=True)
class ServiceSpecificInfo:
    service_specific_data: str | None = None
    service_specific_type: int | None = None


@dataclass(slots=True)
class GsuPoolReference:
    g_s_u_pool_identifier: int = 0
    cc_unit_type: int = 0
    unit_value: UnitValue = field(default_factory=UnitValue)


@dataclass(slots=True)
class TimeQuotaMechanism:
    time_quota_type: int = 0
    base_time_interval: int = 0


@dataclass(slots=True)
class PsFurnishChargingInformation:
    tgpp_charging_id: bytes = b""
    ps_free_format_data: bytes = b""
    ps_append_free_format_data: int | None = None


@dataclass(slots=True)
class MultipleServicesCreditControl:
    """456: one service of a request and of its answer."""

    granted_service_unit: GrantedServiceUnit | None = None
    requested_service_unit: RequestedServiceUnit | None = None
    used_service_unit: list[UsedServiceUnit] = field(default_factory=list)
    tariff_change_usage: int | None = None
    service_identifier: list[int] = field(default_factory=list)
    rating_group: int | None = None
    g_s_u_pool_reference: list[GsuPoolReference] = field(default_factory=list)
    validity_time: int | None = None
    result_code: int | None = None
    final_unit_indication: FinalUnitIndication | None = None
    time_quota_threshold: int | None = None
    volume_quota_threshold: int | None = None
    unit_quota_threshold: int | None = None
    quota_holding_time: int | None = None
    quota_consumption_time: int | None = None
    reporting_reason: list[int] = field(default_factory=list)
    trigger: Trigger | None = None
    ps_furnish_charging_information: PsFurnishChargingInformation | None = None
    refund_information: bytes | None = None
    envelope: list[Envelope] = field(default_factory=list)
    envelope_reporting: int | None = None
    time_quota_mechanism: TimeQuotaMechanism | None = None
    service_specific_info: list[ServiceSpecificInfo] = field(default_factory=list)
    qos_information: QosInformation | None = None
    announcement_information: list[AnnouncementInformation] = field(default_factory=list)
    tgpp_rat_type: bytes | None = None
    qos_final_unit_indication: QosFinalUnitIndication | None = None
    written: bytes | None = field(default=b"", repr=False, compare=False, metadata=NO_AVP)
    """Cached octets. None = cache them when first encoded, because the object is sent often and does not change; b"" =
    never.
    """


@dataclass(slots=True)
class UserEquipmentInfo:
    user_equipment_info_type: int = 0
    user_equipment_info_value: bytes = b""


@dataclass(slots=True)
class UserEquipmentInfoExtension:
    """653 (RFC 8506 §8.52): exactly one of them."""

    user_equipment_info_imeisv: bytes | None = None
    user_equipment_info_mac: bytes | None = None
    user_equipment_info_eui64: bytes | None = None
    user_equipment_info_modifiedeui64: bytes | None = None
    user_equipment_info_imei: bytes | None = None


@dataclass(slots=True)
class ServiceParameterInfo:
    service_parameter_type: int = 0
    service_parameter_value: bytes = b""


@dataclass(slots=True)
class CostInformation:
    """423."""

    unit_value: UnitValue = field(default_factory=UnitValue)
    currency_code: int = 0
    cost_unit: str | None = None


@dataclass(slots=True)
class RemainingBalance:
    """2021: TS 32.299 §7.2.174B."""

    unit_value: UnitValue = field(default_factory=UnitValue)
    currency_code: int = 0


@dataclass(slots=True)
class VendorSpecificApplicationId:
    """260: exactly one of the two application ids (RFC 6733 §6.11). The vendor is ignored."""

    vendor_id: int | None = None
    auth_application_id: int | None = None
    acct_application_id: int | None = None


@dataclass(slots=True)
class ProxyInfo:
    """284 (RFC 6733 §6.7.2): state of an agent, echoed as received."""

    proxy_host: str = ""
    proxy_state: bytes = b""


@dataclass(slots=True)
class ExperimentalResult:
    vendor_id: int = 0
    experimental_result_code: int = 0
