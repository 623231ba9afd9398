"""Refunds of messages to several recipients: recipients and amounts (RFC 8506 §6.4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import Any

import pytest

from ocs.charging import refund_token
from ocs.charging.refund_token import Debit
from protocol import failed_avp
from protocol.credit_control import CreditControlAnswer, RequestedServiceUnit
from protocol.errors import DiameterError
from tests.ocs.charging.ccr import SMS, ccr, messages
from tests.ocs.charging.source import Origin
from tests.ocs.rules.recipients import (
    BOTH_CONTEXTS,
    BOTH_LEVELS,
    DE,
    MSCC,
    REFUND,
    SI,
    SI_NUMBER,
    UA,
    UA_NUMBER,
    US,
    US_NUMBER,
    granted,
    send,
    to,
    token_of,
)
from tests.ocs.rules.world import EUR, Subscriber, World


@BOTH_LEVELS
@pytest.mark.parametrize(
    ("asked", "units", "recipients", "back"),
    [
        (3, None, (), 369_000),
        (3, None, (SI, UA, US), 369_000),
        (3, 3, (SI, UA, US), 369_000),
        (3, 3, (), 369_000),
        (None, 3, (), 369_000),
        (1, 1, (), 369_000),
        (1, 1, (SI, UA, US), 369_000),
        (3, 1, (UA,), 150_000),
        (3, None, (UA,), 150_000),
        (1, 1, (UA,), 150_000),
        (3, 2, (SI, US), 219_000),
        (3, 1, (), 69_000),
        (3, 2, (), 219_000),
        (6, 2, (US,), 300_000),
        (6, 1, (US,), 150_000),
    ],
)
async def test_a_refund_is_for_the_named_recipients_or_for_all(
    world: World, asked: int | None, units: int | None, recipients: Sequence[str], back: int, mscc: bool
) -> None:
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, SI, UA, US, units=asked, mscc=mscc))
    assert token is not None and b"386" not in token
    paid = await user.credit()
    more: dict[str, Any] = {"requested_action": REFUND, "token": token, "mscc": mscc, "sid": "refund;1"}
    if not units:
        more["information"] = to(*recipients)
        answer = await send_refund(user, *recipients, **more)
    else:
        answer = await send(user, *recipients, units=units, **more)
    assert answer.result_code == 2001
    assert await user.credit() - paid == back
    assert granted(answer) == (units or {None: 3}.get(units if not recipients or len(recipients) == 3 else 0, 1))


async def send_refund(user: Subscriber, *recipients: str, mscc: bool, token: bytes, **more: Any) -> CreditControlAnswer:
    """Sends a refund; without units: of everything."""
    if not mscc:
        return await user.charged(SMS, "E", 0, refund_information=token, **more)
    service = messages()
    service.refund_information = token
    return await user.charged(SMS, "E", 0, service, **more)


@BOTH_LEVELS
@pytest.mark.parametrize(
    ("debited", "named", "units", "back"),
    [
        ((SI_NUMBER, UA_NUMBER, US_NUMBER), (f"+{UA_NUMBER}",), 1, 150_000),
        ((SI_NUMBER, UA_NUMBER, US_NUMBER), (f"tel:+{SI_NUMBER}",), 1, 69_000),
        ((SI_NUMBER, UA_NUMBER, US_NUMBER), ("040111222", f"00{US_NUMBER}"), 2, 219_000),
        ((SI_NUMBER, UA_NUMBER, US_NUMBER), (f"+{US_NUMBER}", US_NUMBER), 1, 150_000),
        (("040 111 222", f"+{US_NUMBER}"), (US_NUMBER,), 2, 150_000),
    ],
)
async def test_a_refund_may_write_a_recipient_in_another_way(
    world: World, debited: Sequence[str], named: Sequence[str], units: int, back: int, mscc: bool
) -> None:
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, *debited, units=len(debited), mscc=mscc))
    paid = await user.credit()
    more: dict[str, Any] = {"requested_action": REFUND, "token": token, "mscc": mscc, "sid": "refund;1"}
    assert (await send(user, *named, units=units, **more)).result_code == 2001
    assert await user.credit() - paid == back


@BOTH_LEVELS
@BOTH_CONTEXTS
@pytest.mark.parametrize("units", [1, None])
@pytest.mark.parametrize("named", [("4366412345",), (SI_NUMBER, DE), (DE, US_NUMBER, SI_NUMBER)])
async def test_a_refund_for_a_recipient_that_the_debit_lacks_is_refused(
    world: World, context: str, named: Sequence[str], units: int | None, mscc: bool
) -> None:
    """RFC 6733 §7.5: Failed-AVP has the recipient."""
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    debit = await send(user, SI_NUMBER, UA_NUMBER, US_NUMBER, units=3, context=context, mscc=mscc)
    paid, service = await user.credit(), messages(want=units)
    more: dict[str, Any] = {"context": context, "sid": "r", "information": to(*named, context=context)}
    if mscc:
        service.refund_information = token_of(debit)
        request = ccr("E", 0, service, msisdn=user.msisdn, requested_action=REFUND, **more)
    else:
        more["requested_service_unit"] = service.requested_service_unit
        token = token_of(debit)
        request = ccr("E", 0, msisdn=user.msisdn, requested_action=REFUND, refund_information=token, **more)
    error = await world.reply(request)
    assert isinstance(error, DiameterError) and error.result_code == 5004
    stranger = next(each for each in named if each not in (SI_NUMBER, US_NUMBER))
    sms = ("sms_information", "recipient_info") if context == SMS else ("mms_information",)
    path = ("service_information", *sms, "recipient_address")
    assert error.failed_avp == failed_avp.copy("address_data", stranger, *path)
    assert await user.credit() == paid and not await user.events("refund")


async def test_a_debit_of_the_previous_version_is_refunded(world: World) -> None:
    """Its token has the recipients as the client wrote them."""
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    recipients = (SI_NUMBER, UA_NUMBER, US_NUMBER)
    await send(user, *recipients, units=3, sid="before;1")
    paid = await user.credit()
    token = refund_token.encode(Debit("before;1", 0, tuple(map(refund_token.checksum, recipients))))
    assert (await send(user, UA_NUMBER, units=1, requested_action=REFUND, token=token, sid="r")).result_code == 2001
    assert await user.credit() - paid == 150_000


@pytest.mark.parametrize(
    ("asked", "units", "back"), [(2, 3, 369_000), (2, 2, 738_000), (2, 6, 738_000), (1, 3, 369_000)]
)
async def test_the_refund_of_a_message_counted_once(world: World, asked: int, units: int, back: int) -> None:
    """If there are at least as many units as recipients, they are the sum over all recipients."""
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, SI, UA, US, units=asked))
    paid = await user.credit()
    answer = await send(user, units=units, requested_action=REFUND, token=token, sid="refund;1")
    assert (answer.result_code, await user.credit() - paid) == (2001, back)


@pytest.mark.parametrize("order", list(permutations(("38680123456", "112", US_NUMBER))))
async def test_a_refund_in_other_units(world: World, order: Sequence[str]) -> None:
    """It states no usable amount and does not refund everything; whichever recipient comes first."""
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, *order, units=3))
    service = messages()
    service.requested_service_unit, service.refund_information = RequestedServiceUnit(cc_time=60), token
    answer = await user.charged(SMS, "E", 0, service, sid="r", information=to(*order), requested_action=REFUND)
    parents = (MSCC, "requested_service_unit")
    assert (answer.result_code, answer.failed_avp) == (5031, failed_avp.copy("cc_time", 60, *parents))
    assert 20 * EUR - await user.credit() == 150_000


async def test_several_refunds_until_nothing_is_left(world: World) -> None:
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, SI, UA, US, units=3))
    left = [await user.credit()]
    codes = []
    for number in range(4):
        answer = await send(user, units=1, requested_action=REFUND, token=token, sid="r", number=number)
        codes.append(answer.result_code)
        left.append(await user.credit())
    assert codes == [2001, 2001, 2001, 4010]
    assert [after - before for before, after in pairwise(left)] == [69_000, 150_000, 150_000, 0]
    events = await user.events("refund")
    assert [line["key"] for event in events for line in event["svc"]] == ["-#1", "-#2", "-#3"]
    assert world.metrics.of("refunded") == [["unknown", 69_000], ["unknown", 150_000], ["unknown", 150_000]]


async def test_a_recipient_is_refunded_once(world: World) -> None:
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    token = token_of(await send(user, SI, UA, US, units=3))
    more: dict[str, Any] = {"requested_action": REFUND, "token": token, "sid": "r"}
    assert (await send(user, UA, units=1, number=0, **more)).result_code == 2001
    assert (await send(user, UA, units=1, number=1, **more)).result_code == 4010
    assert (await send(user, SI, UA, US, units=3, number=2, **more)).result_code == 2001
    assert await user.credit() == 20 * EUR
