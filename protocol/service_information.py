"""Service-Information (873) and the AVPs of PS-, IMS-, MMTel-, SMS-, MMS- and VCS-Information that rating needs (TS
32.299 §7.2).

Other AVPs of these groups are recognised by the dictionary and ignored. `units` explains the declarations.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.avp import Address
from protocol.units import PsFurnishChargingInformation, QosInformation, SubscriptionId, UserEquipmentInfo


@dataclass(slots=True)
class PsInformation:
    """874: the packet-switched bearer (context 32251), and the access network of an IMS session."""

    tgpp_charging_id: bytes | None = None
    pdn_connection_charging_id: int | None = None
    node_id: str | None = None
    tgpp_pdp_type: int | None = None
    pdp_address: list[Address] = field(default_factory=list)
    pdp_address_prefix_length: int | None = None
    dynamic_address_flag: int | None = None
    qos_information: QosInformation | None = None
    sgsn_address: list[Address] = field(default_factory=list)
    ggsn_address: list[Address] = field(default_factory=list)
    sgw_address: list[Address] = field(default_factory=list)
    cg_address: Address | None = None
    serving_node_type: int | None = None
    tgpp_imsi_mcc_mnc: str | None = None
    tgpp_ggsn_mcc_mnc: str | None = None
    tgpp_sgsn_mcc_mnc: str | None = None
    tgpp_nsapi: bytes | None = None
    called_station_id: str | None = None
    tgpp_session_stop_indicator: bytes | None = None
    tgpp_selection_mode: str | None = None
    tgpp_charging_characteristics: str | None = None
    charging_characteristics_selection_mode: int | None = None
    tgpp_ms_timezone: bytes | None = None
    tgpp_user_location_info: bytes | None = None
    user_location_info_time: int | None = None
    tgpp_rat_type: bytes | None = None
    pdp_context_type: int | None = None
    charging_rule_base_name: str | None = None
    user_equipment_info: UserEquipmentInfo | None = None
    imsi_unauthenticated_flag: int | None = None
    start_time: int | None = None
    stop_time: int | None = None
    change_condition: int | None = None
    diagnostics: int | None = None
    low_priority_indicator: int | None = None
    mme_name: str | None = None
    mme_realm: str | None = None
    tgpp_ps_data_off_status: int | None = None
    unused_quota_timer: int | None = None
    ps_furnish_charging_information: PsFurnishChargingInformation | None = None


@dataclass(slots=True)
class EventType:
    sip_method: str | None = None
    event: str | None = None
    expires: int | None = None


@dataclass(slots=True)
class TimeStamps:
    sip_request_timestamp: int | None = None
    sip_response_timestamp: int | None = None
    sip_request_timestamp_fraction: int | None = None
    sip_response_timestamp_fraction: int | None = None


@dataclass(slots=True)
class TrunkGroupId:
    incoming_trunk_group_id: str | None = None
    outgoing_trunk_group_id: str | None = None


@dataclass(slots=True)
class InterOperatorIdentifier:
    originating_ioi: str | None = None
    terminating_ioi: str | None = None


@dataclass(slots=True)
class NniInformation:
    session_direction: int | None = None
    nni_type: int | None = None
    relationship_mode: int | None = None
    neighbour_node_address: Address | None = None


@dataclass(slots=True)
class ImsInformation:
    """876: one leg of an IMS session (contexts 32260, 32275; TS 32.260, forwarded legs TS 32.275)."""

    event_type: EventType | None = None
    role_of_node: int | None = None
    node_functionality: int | None = None
    user_session_id: str | None = None
    outgoing_session_id: str | None = None
    session_priority: int | None = None
    calling_party_address: list[str] = field(default_factory=list)
    called_party_address: str | None = None
    requested_party_address: list[str] = field(default_factory=list)
    called_asserted_identity: list[str] = field(default_factory=list)
    number_portability_routing_information: str | None = None
    carrier_select_routing_information: str | None = None
    alternate_charged_party_address: str | None = None
    associated_uri: list[str] = field(default_factory=list)
    time_stamps: TimeStamps | None = None
    inter_operator_identifier: list[InterOperatorIdentifier] = field(default_factory=list)
    ims_charging_identifier: str | None = None
    sdp_session_description: list[str] = field(default_factory=list)
    served_party_ip_address: Address | None = None
    trunk_group_id: TrunkGroupId | None = None
    service_id: str | None = None
    cause_code: int | None = None
    reason_header: list[str] = field(default_factory=list)
    access_network_information: list[bytes] = field(default_factory=list)
    cellular_network_information: bytes | None = None
    ims_communication_service_identifier: str | None = None
    ims_application_reference_identifier: str | None = None
    account_expiration: int | None = None
    nni_information: list[NniInformation] = field(default_factory=list)
    from_address: str | None = None
    ims_emergency_indicator: int | None = None
    ims_visited_network_identifier: str | None = None


@dataclass(slots=True)
class SupplementaryService:
    mmtel_service_type: int | None = None
    service_mode: int | None = None
    number_of_diversions: int | None = None
    associated_party_address: str | None = None
    service_id: str | None = None
    change_time: int | None = None
    number_of_participants: int | None = None


@dataclass(slots=True)
class MmtelInformation:
    """2030: supplementary services, such as diversion (service type 6), TS 32.275."""

    supplementary_service: list[SupplementaryService] = field(default_factory=list)
    subscriber_role: int | None = None


@dataclass(slots=True)
class AddressDomain:
    domain_name: str | None = None
    tgpp_imsi_mcc_mnc: str | None = None


@dataclass(slots=True)
class OriginatorAddress:
    address_type: int | None = None
    address_data: str | None = None
    address_domain: AddressDomain | None = None


@dataclass(slots=True)
class OriginatorReceivedAddress:
    address_type: int | None = None
    address_data: str | None = None
    address_domain: AddressDomain | None = None


@dataclass(slots=True)
class RecipientAddress:
    address_type: int | None = None
    address_data: str | None = None
    address_domain: AddressDomain | None = None
    addressee_type: int | None = None


@dataclass(slots=True)
class RecipientReceivedAddress:
    address_type: int | None = None
    address_data: str | None = None
    address_domain: AddressDomain | None = None


@dataclass(slots=True)
class OriginatorInterface:
    interface_id: str | None = None
    interface_text: str | None = None
    interface_port: str | None = None
    interface_type: int | None = None


@dataclass(slots=True)
class DestinationInterface:
    interface_id: str | None = None
    interface_text: str | None = None
    interface_port: str | None = None
    interface_type: int | None = None


@dataclass(slots=True)
class RecipientInfo:
    destination_interface: DestinationInterface | None = None
    recipient_address: list[RecipientAddress] = field(default_factory=list)
    recipient_received_address: list[RecipientReceivedAddress] = field(default_factory=list)
    recipient_sccp_address: Address | None = None
    sm_protocol_id: bytes | None = None


@dataclass(slots=True)
class SmsInformation:
    """2000: short messages (context 32274)."""

    sms_node: int | None = None
    client_address: Address | None = None
    originator_sccp_address: Address | None = None
    smsc_address: Address | None = None
    data_coding_scheme: int | None = None
    sm_message_type: int | None = None
    sm_discharge_time: int | None = None
    sm_status: bytes | None = None
    originator_interface: OriginatorInterface | None = None
    sm_protocol_id: bytes | None = None
    reply_path_requested: int | None = None
    sm_user_data_header: bytes | None = None
    number_of_messages_sent: int | None = None
    sm_sequence_number: int | None = None
    recipient_info: list[RecipientInfo] = field(default_factory=list)
    originator_received_address: OriginatorReceivedAddress | None = None
    sm_service_type: int | None = None


@dataclass(slots=True)
class MmContentType:
    type_number: int | None = None
    additional_type_information: str | None = None
    content_size: int | None = None


@dataclass(slots=True)
class MessageClass:
    class_identifier: int | None = None
    token_text: str | None = None


@dataclass(slots=True)
class MmsInformation:
    """877: multimedia messages (context 32270)."""

    originator_address: OriginatorAddress | None = None
    recipient_address: list[RecipientAddress] = field(default_factory=list)
    submission_time: int | None = None
    mm_content_type: MmContentType | None = None
    priority: int | None = None
    message_id: str | None = None
    message_type: int | None = None
    message_size: int | None = None
    message_class: MessageClass | None = None
    delivery_report_requested: int | None = None
    read_reply_report_requested: int | None = None
    mmbox_storage_requested: int | None = None
    applic_id: str | None = None
    reply_applic_id: str | None = None
    aux_applic_info: str | None = None
    content_class: int | None = None
    drm_content: int | None = None
    adaptations: int | None = None
    vasp_id: str | None = None
    vas_id: str | None = None


@dataclass(slots=True)
class BasicServiceCode:
    bearer_service: bytes | None = None
    teleservice: bytes | None = None


@dataclass(slots=True)
class VcsInformation:
    """3410: circuit-switched calls (context 32276). MSC and VLR addresses are TBCD digits, low nibble first."""

    bearer_capability: bytes | None = None
    network_call_reference_number: bytes | None = None
    msc_address: bytes | None = None
    basic_service_code: BasicServiceCode | None = None
    isup_location_number: bytes | None = None
    vlr_number: bytes | None = None
    start_of_charging: int | None = None


@dataclass(slots=True)
class ServiceInformation:
    subscription_id: list[SubscriptionId] = field(default_factory=list)
    ps_information: PsInformation | None = None
    ims_information: ImsInformation | None = None
    mms_information: MmsInformation | None = None
    sms_information: SmsInformation | None = None
    vcs_information: VcsInformation | None = None
    mmtel_information: MmtelInformation | None = None
