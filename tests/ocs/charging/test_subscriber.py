"""Who is asked for, and by which document: Service-Context-Id and Subscription-Id as networks write them."""

from __future__ import annotations

import pytest

from ocs.charging.context import context_of
from ocs.charging.subscriber import has_subscriber, identities
from ocs.rating.types import Context
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
        ("@3gpp.org", None),
        ("", None),
    ],
)
def test_the_document_is_the_last_label_before_the_at(text: str, context: Context | None) -> None:
    assert context_of(text) is context
    assert context_of(text) is context, "the same when it is remembered"


def test_only_so_many_spellings_are_remembered() -> None:
    for n in range(1000):
        assert context_of(f"{n}.32251@3gpp.org") is Context.DATA


def ids(*given: tuple[int, str]) -> list[str]:
    return identities(CreditControlRequest(subscription_id=[SubscriptionId(*each) for each in given]))


@pytest.mark.parametrize(
    ("kind", "data", "identity"),
    [
        (0, "38668100000", "m38668100000"),
        (0, "+38668100000", "m38668100000"),
        (1, "293400000000000", "i293400000000000"),
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
        (2, "sip:%zz@ims.example.net", None),
        (3, "293400000000000@nai.epc.mnc040.mcc293.3gppnetwork.org", "i293400000000000"),
        (3, "0293400000000000@nai.epc.mnc040.mcc293.3gppnetwork.org", "i293400000000000"),
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


def test_the_msisdn_comes_before_the_imsi() -> None:
    assert ids((1, "293400000000000"), (0, "38668100000")) == ["m38668100000", "i293400000000000"]
    assert ids((0, "38668100000"), (1, "293400000000000")) == ["m38668100000", "i293400000000000"]
    assert ids((4, "x"), (2, "sip:alice@example.net")) == []


def test_other_places_where_it_may_stand() -> None:
    within = ServiceInformation(subscription_id=[SubscriptionId(0, "38668100000")])
    request = CreditControlRequest(service_information=within)
    assert identities(request) == ["m38668100000"] and has_subscriber(request)
    extension = SubscriptionIdExtension(subscription_id_imsi="293400000000000")
    request = CreditControlRequest(subscription_id_extension=[extension])
    assert identities(request) == ["i293400000000000"] and has_subscriber(request)
    nothing = CreditControlRequest(service_information=ServiceInformation())
    assert identities(nothing) == [] and not has_subscriber(nothing)
    assert has_subscriber(CreditControlRequest(subscription_id=[SubscriptionId(4, "unreadable")]))
