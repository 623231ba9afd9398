"""Service-Context-Id and Subscription-Id as networks send them."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ocs.charging.subscriber import has_subscriber, identities
from ocs.values.service_context import context_of
from ocs.values.use import Context
from protocol.credit_control import (
    CreditControlRequest,
    ServiceInformation,
    SubscriptionId,
    SubscriptionIdExtension,
)


@pytest.mark.parametrize(
    ("text", "context"),
    [
        ("32251@3gpp.org", Context.DATA),
        ("12.32251@3gpp.org", Context.DATA),
        ("ext.01.001.8.32260@3gpp.org", Context.IMS),
        ("32275@3gpp.org", Context.IMS),
        ("8.32276@3gpp.org", Context.CS),
        ("32274@3gpp.org", Context.SMS),
        ("9.32270@3GPP.ORG", Context.MMS),
        (" 32251@3gpp.org ", Context.DATA),
        ("32299@3gpp.org", None),
        ("32251", None),
        ("32251@example.org", None),
        ("132251@3gpp.org", None),
        ("32251@x.32274@3gpp.org", None),
        ("@3gpp.org", None),
        ("", None),
    ],
)
def test_the_document_is_the_last_label_before_the_at(text: str, context: Context | None) -> None:
    assert context_of(text) is context


def ids(*given: tuple[int, str]) -> list[str]:
    return identities(CreditControlRequest(subscription_id=[SubscriptionId(*each) for each in given]))


@pytest.mark.parametrize(
    ("kind", "data", "identity"),
    [
        (0, "38668100000", "m38668100000"),
        (0, "+38668100000", "m38668100000"),
        (0, "0038668100000", "m38668100000"),
        (0, "00386681000000000", "m386681000000000"),
        (0, "38668100000 ", "m38668100000"),
        (0, " +38668100000\0\0", "m38668100000"),
        (0, "386681\00000", None),
        (0, "+0038668100000", "m0038668100000"),
        (0, "00", None),
        (0, " \0", None),
        (1, "293400000000000\0", "i293400000000000"),
        (1, "001010000000001 ", "i001010000000001"),
        (2, "tel:+38668100000 ", "m38668100000"),
        (3, "293400000000000\0", "i293400000000000"),
        (1, "293400000000000", "i293400000000000"),
        (1, "2934000000000001", "i2934000000000001"),
        (1, "29340000000000012", None),
        (2, "sip:+38668100000@ims.example.net", "m38668100000"),
        (2, "sip:38668100000@ims.example.net;user=phone", "m38668100000"),
        (2, "SIPS:+38668100000;npdi@ims.example.net", "m38668100000"),
        (2, "tel:+38668100000", "m38668100000"),
        (2, "tel:+38668100000;phone-context=x", "m38668100000"),
        (2, "tel:+386-68-100-(000)", "m38668100000"),
        (2, "sip:%2B38668100000@ims.example.net", "m38668100000"),
        (2, "sip:+38668100000:secret@ims.example.net", "m38668100000"),
        (2, "sip:293400000000000@ims.mnc040.mcc293.3gppnetwork.org", "i293400000000000"),
        (2, "sip:+38668100000@ims.mnc040.mcc293.3gppnetwork.org", "m38668100000"),
        (2, "sip:38668100000@ims.mnc040.mcc293.3gppnetwork.org", "m38668100000"),
        (2, "sip:38668100000@ims.mnc040.mcc293.3gppnetwork.org:5060;user=phone", "m38668100000"),
        (2, "sip:2934000000000001@ims.mnc040.mcc293.3gppnetwork.org", "i2934000000000001"),
        (2, "sip:293400000000000@ims.3gppnetwork.org", "i293400000000000"),
        (2, "sip:%zz@ims.example.net", None),
        (3, "293400000000000@nai.epc.mnc040.mcc293.3gppnetwork.org", "i293400000000000"),
        (3, "0293400000000000@nai.epc.mnc040.mcc293.3gppnetwork.org", "i293400000000000"),
        (3, "293400000000000@operator.example.net", "i293400000000000"),
        (3, "0293400000000000@operator.example.net", "i293400000000000"),
        (3, "2934000000000001@nai.epc.mnc040.mcc293.3gppnetwork.org", "i2934000000000001"),
        (3, "02934000000000001@nai.epc.mnc040.mcc293.3gppnetwork.org", "i2934000000000001"),
        (3, "38668100000@nai.epc.mnc040.mcc293.3gppnetwork.org", "m38668100000"),
        (0, "", None),
        (0, "not a number", None),
        (0, "3866810000012345", None),
        (0, "٣٨٦٦٨", None),
        (1, "29340x", None),
        (2, "sip:alice@ims.example.net", None),
        (3, "alice@example.net", None),
        (4, "38668100000", None),
    ],
)
def test_each_kind_of_subscription_id(kind: int, data: str, identity: str | None) -> None:
    assert ids((kind, data)) == ([identity] if identity else [])


@given(
    mcc=st.from_regex("[2-7][0-9]{2}", fullmatch=True),
    mnc=st.from_regex("[0-9]{2,3}", fullmatch=True),
    rest=st.from_regex("[0-9]{8,10}", fullmatch=True),
    msisdn=st.from_regex("[1-9][0-9]{4,14}", fullmatch=True),
    label=st.sampled_from(["ims", "IMS", "nai.epc", "pub"]),
)
def test_a_domain_that_names_a_network_tells_an_imsi_from_an_msisdn(
    mcc: str, mnc: str, rest: str, msisdn: str, label: str
) -> None:
    """TS 23.003 §13.4B, §14.3, §19.3: a number that begins with the domain's MCC and MNC is an IMSI. In the domain an
    MNC of two digits has a leading 0.
    """
    domain = f"{label}.mnc{mnc.zfill(3)}.mcc{mcc}.3gppnetwork.org"
    imsi = mcc + mnc + rest
    assert ids((2, f"sip:{imsi}@{domain}")) == ids((3, f"{imsi}@{domain}")) == ids((1, imsi)) == [f"i{imsi}"]
    for identity in "0126":
        assume(not f"{identity}{imsi}".startswith((mcc + mnc, mcc + mnc.zfill(3))))
        assert ids((3, f"{identity}{imsi}@{domain}")) == [f"i{imsi}"]
    plmns = mcc + mnc, mcc + mnc.zfill(3), mcc + mnc.removeprefix("0")
    assume(not msisdn.startswith(plmns) and not msisdn[1:].startswith(plmns))
    assert ids((2, f"sip:{msisdn}@{domain}")) == ids((3, f"{msisdn}@{domain}")) == ids((0, msisdn)) == [f"m{msisdn}"]


def test_the_msisdn_comes_before_the_imsi() -> None:
    assert ids((1, "293400000000000"), (0, "38668100000")) == ["m38668100000", "i293400000000000"]
    assert ids((0, "38668100000"), (1, "293400000000000")) == ["m38668100000", "i293400000000000"]
    assert ids((4, "x"), (2, "sip:alice@example.net")) == []


def test_other_avps_that_contain_the_subscriber() -> None:
    within = ServiceInformation(subscription_id=[SubscriptionId(0, "38668100000")])
    request = CreditControlRequest(service_information=within)
    assert identities(request) == ["m38668100000"] and has_subscriber(request)
    extension = SubscriptionIdExtension(subscription_id_imsi="293400000000000")
    request = CreditControlRequest(subscription_id_extension=[extension])
    assert identities(request) == ["i293400000000000"] and has_subscriber(request)
    nothing = CreditControlRequest(service_information=ServiceInformation())
    assert identities(nothing) == [] and not has_subscriber(nothing)
    assert has_subscriber(CreditControlRequest(subscription_id=[SubscriptionId(4, "unreadable")]))
