"""Builders of Credit-Control-Requests as network elements send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.avp import Address
from protocol.credit_control import (
    CreditControlRequest,
    ImsInformation,
    MmsInformation,
    MultipleServicesCreditControl,
    OriginatorAddress,
    OriginatorReceivedAddress,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    RequestedServiceUnit,
    ServiceInformation,
    SmsInformation,
    SubscriptionId,
    UsedServiceUnit,
    VcsInformation,
)

DATA, IMS, CS, SMS, MMS = (f"{number}@3gpp.org" for number in (32251, 32260, 32276, 32274, 32270))
KINDS = {"I": 1, "U": 2, "T": 3, "E": 4}
HOME, AUSTRIA, SERBIA, USA = "29340", "23201", "22003", "310260"
"""PLMNs: home, EU, roaming zone world-1, roaming zone world-2."""
MSISDN, IMSI = "38668100000", "293400000000000"
MB = 1024 * 1024


def ccr(
    kind: str,
    number: int = 0,
    *services: MultipleServicesCreditControl,
    context: str = DATA,
    sid: str = "pgw.example.net;1",
    msisdn: str | None = MSISDN,
    imsi: str | None = None,
    information: ServiceInformation | None = None,
    **more: Any,
) -> CreditControlRequest:
    who = [SubscriptionId(0, msisdn)] if msisdn else []
    if imsi:
        who.append(SubscriptionId(1, imsi))
    if kind == "E":
        more.setdefault("requested_action", 0)
    return CreditControlRequest(
        session_id=sid,
        origin_host="pgw.example.net",
        origin_realm="example.net",
        destination_realm="example.net",
        auth_application_id=4,
        service_context_id=context,
        cc_request_type=KINDS[kind],
        cc_request_number=number,
        subscription_id=who,
        multiple_services_credit_control=list(services),
        service_information=information,
        **more,
    )


def octets(want: int | None = None, used: int | None = None, group: int | None = 1, **more: Any) -> Any:
    """One MSCC of a data session; want 0 = the server chooses the amount."""
    return _mscc("cc_total_octets", want, used, group, **more)


def seconds(want: int | None = None, used: int | None = None, group: int | None = None, **more: Any) -> Any:
    return _mscc("cc_time", want, used, group, **more)


def messages(want: int | None = None, used: int | None = None, group: int | None = None, **more: Any) -> Any:
    return _mscc("cc_service_specific_units", want, used, group, **more)


def _mscc(
    name: str, want: int | None, used: int | None, group: int | None, identifiers: Sequence[int] = ()
) -> MultipleServicesCreditControl:
    return MultipleServicesCreditControl(
        rating_group=group,
        service_identifier=list(identifiers),
        requested_service_unit=None if want is None else RequestedServiceUnit(**({name: want} if want else {})),
        used_service_unit=[] if used is None else [UsedServiceUnit(**{name: used})],
    )


def at(plmn: str | None = HOME, apn: str = "internet") -> ServiceInformation:
    """Service-Information with the location of a data session."""
    return ServiceInformation(ps_information=PsInformation(called_station_id=apn, tgpp_sgsn_mcc_mnc=plmn))


def towards(called: str, plmn: str = HOME, **more: Any) -> ServiceInformation:
    """An outgoing call to this number."""
    ims = ImsInformation(role_of_node=0, called_party_address=called, **more)
    return ServiceInformation(ims_information=ims, ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn))


def called_by(calling: str, plmn: str = HOME) -> ServiceInformation:
    """An incoming call from this number."""
    ims = ImsInformation(role_of_node=1, calling_party_address=[calling], called_party_address=f"tel:+{MSISDN}")
    return ServiceInformation(ims_information=ims, ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn))


def vcs(called: str, vlr: bytes) -> ServiceInformation:
    """An outgoing call of the circuit-switched core."""
    ims = ImsInformation(role_of_node=0, called_party_address=called)
    return ServiceInformation(ims_information=ims, vcs_information=VcsInformation(vlr_number=vlr))


def sms_to(number: str, plmn: str | None = HOME, sccp: str | None = None) -> ServiceInformation:
    recipient = RecipientInfo(recipient_address=[RecipientAddress(address_type=1, address_data=number)])
    return ServiceInformation(
        sms_information=SmsInformation(
            sm_message_type=0,
            recipient_info=[recipient],
            originator_sccp_address=Address(8, sccp) if sccp else None,
        ),
        ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn) if plmn else None,
    )


def sms_from(number: str, plmn: str = HOME) -> ServiceInformation:
    return ServiceInformation(
        sms_information=SmsInformation(
            sm_message_type=1,
            originator_received_address=OriginatorReceivedAddress(address_type=1, address_data=number),
        ),
        ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn),
    )


def mms_to(number: str, plmn: str = HOME) -> ServiceInformation:
    return ServiceInformation(
        mms_information=MmsInformation(
            message_type=0, recipient_address=[RecipientAddress(address_type=1, address_data=number)]
        ),
        ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn),
    )


def mms_from(number: str, plmn: str = HOME) -> ServiceInformation:
    return ServiceInformation(
        mms_information=MmsInformation(
            message_type=5, originator_address=OriginatorAddress(address_type=1, address_data=number)
        ),
        ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn),
    )


class Counted:
    """Records the calls of charging's metrics."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [values for called, *values in self.calls if called == name]  # type: ignore[misc]

    def charged(
        self, service: str, unit: str, result_code: int, used: int, granted: int, micro_eur: int, bucket_units: int
    ) -> None:
        self.mscc_result(service, result_code)
        for name, amount in (("used", used), ("granted", granted)):
            if amount:
                self.calls.append((name, service, unit, amount))
        if micro_eur or bucket_units:
            self.calls.append(("debited", service, micro_eur, bucket_units, unit))

    def overrun(self, service: str, unit: str, amount: int) -> None:
        self.calls.append(("overrun", service, unit, amount))

    def blocked(self, service: str, reason: str) -> None:
        self.calls.append(("blocked", service, reason))

    def duplicate(self, request_type: str) -> None:
        self.calls.append(("duplicate", request_type))

    def session_id_reused(self) -> None:
        self.calls.append(("session_id_reused",))

    def dropped(self, service: str, unit: str, amount: int) -> None:
        self.calls.append(("dropped", service, unit, amount))

    def other_units(self, service: str, unit: str, amount: int) -> None:
        self.calls.append(("other_units", service, unit, amount))

    def location_unreadable(self, avp: str) -> None:
        self.calls.append(("location_unreadable", avp))

    def restricted(self, service: str) -> None:
        self.calls.append(("restricted", service))

    def final_unit(self, service: str, action: str) -> None:
        self.calls.append(("final_unit", service, action))

    def refunded(self, service: str, micro_eur: int) -> None:
        self.calls.append(("refunded", service, micro_eur))

    def late(self, request_type: str) -> None:
        self.calls.append(("late", request_type))

    def mscc_result(self, service: str, result_code: int) -> None:
        self.calls.append(("mscc_result", service, result_code))
