"""Messages to several recipients: building requests, and their costs."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from protocol.credit_control import (
    CreditControlAnswer,
    MmsInformation,
    PsInformation,
    RecipientAddress,
    RecipientInfo,
    RequestedServiceUnit,
    ServiceInformation,
    SmsInformation,
    UsedServiceUnit,
)
from tests.catalogue import fixed_catalogue
from tests.ocs.charging.ccr import HOME, MMS, SMS, messages
from tests.ocs.rules.world import Subscriber

SI, DE, UA, US = "+38631234567", "+4915112345678", "+380501234567", "+12125551234"
OF_SMS = {SI: 69_000, DE: 73_200, UA: 150_000, US: 150_000}
OF_MMS = {SI: 250_000, DE: 490_000, UA: 490_000, US: 490_000}
PRICES = {SMS: OF_SMS, MMS: OF_MMS}
NO_ACCOUNT = "+99912345678"
"""Of no country, so of no price."""
DEBIT, REFUND, CHECK, ENQUIRY = range(4)
SI_NUMBER, UA_NUMBER, US_NUMBER = "38640111222", "380501234567", "12025550123"
ONE = "38640111222"
SPELLINGS = [
    (ONE, f"+{ONE}"),
    ("040111222", ONE),
    (f"00{ONE}", "+386 40 111 222", "040111222", ONE),
    (ONE, f"+{ONE}/TYPE=PLMN"),
    (f"tel:+{ONE}", f"sip:+{ONE}@ims.example.net"),
]
BOTH_LEVELS = pytest.mark.parametrize("mscc", [True, False], ids=["mscc", "command level"])
BOTH_CONTEXTS = pytest.mark.parametrize("context", [SMS, MMS], ids=["sms", "mms"])
FIXED_CATALOGUE = fixed_catalogue()
MSCC = "multiple_services_credit_control"
numbers = count()


def to(*recipients: str, context: str = SMS, plmn: str = HOME) -> ServiceInformation:
    addresses = [RecipientAddress(address_type=1, address_data=recipient) for recipient in recipients]
    ps = PsInformation(tgpp_sgsn_mcc_mnc=plmn)
    if context == MMS:
        return ServiceInformation(
            mms_information=MmsInformation(message_type=1, recipient_address=addresses), ps_information=ps
        )
    infos = [RecipientInfo(recipient_address=[address]) for address in addresses]
    return ServiceInformation(
        sms_information=SmsInformation(sm_message_type=0, recipient_info=infos), ps_information=ps
    )


async def send(
    user: Subscriber,
    *recipients: str,
    units: int | None = None,
    context: str = SMS,
    mscc: bool = True,
    kind: str = "E",
    number: int = 0,
    **more: Any,
) -> CreditControlAnswer:
    """Sends a message; `units` None = the request states none."""
    rest = {"information": to(*recipients, context=context), "sid": f"smsc.example.net;{next(numbers)}", **more}
    token, used = rest.pop("token", None), rest.pop("used", None)
    if mscc:
        service = messages(want=None if kind == "T" else units or 0, used=used)
        service.refund_information = token
        return await user.charged(context, kind, number, service, **rest)
    if kind != "T":
        rest["requested_service_unit"] = RequestedServiceUnit(cc_service_specific_units=units)
    if used is not None:
        rest["used_service_unit"] = [UsedServiceUnit(cc_service_specific_units=used)]
    return await user.charged(context, kind, number, refund_information=token, **rest)


def granted(answer: CreditControlAnswer) -> int | None:
    found: Any = answer
    if answer.multiple_services_credit_control:
        (found,) = answer.multiple_services_credit_control
    unit = found.granted_service_unit
    return None if unit is None else unit.cc_service_specific_units


def token_of(answer: CreditControlAnswer) -> bytes | None:
    return answer.refund_information or answer.multiple_services_credit_control[0].refund_information
