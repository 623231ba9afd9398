"""A request is applied once, whichever answers are still remembered, and no number blocks another (RFC 8506 §8.2)."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
)
from protocol.header import Header
from tests.ocs.charging.ccr import DATA, IMS, MB, SMS, at, ccr, messages, octets, seconds, sms_to, towards
from tests.ocs.charging.source import Origin
from tests.ocs.ledger.books import nodes
from tests.ocs.rules.world import EUR, World, granted
from tests.rules import rule

DATA_PER_MB, SMS_EACH, CALL_PER_MINUTE = 6_900, 69_000, 69_000
HIGHEST = 2**32 - 1
"""Of an Unsigned32."""


def _forget_answers(world: World) -> None:
    """As Redis does after `remember_sessions_s`, or with a maxmemory-policy that evicts."""
    for client in nodes(world.ledger):
        with client:
            keys = [key for pattern in (b"*:q:*", b"*:e:*") for key in client.scan_iter(pattern)]
            assert keys
            client.delete(*keys)


async def test_a_repeated_update_whose_answer_is_forgotten_is_refused(world: World) -> None:
    """RFC 8506 §8.2: it is known to be applied, so it is not applied again."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10))
    first = await data.take("U", octets(want=0, used=10 * MB, group=10), number=1)
    again = await data.take("U", octets(want=0, used=10 * MB, group=10), number=1)
    assert again == first
    _forget_answers(world)
    late = await data.take("U", octets(want=0, used=10 * MB, group=10), number=1)
    assert late.result_code == 5012
    assert await user.credit() == 20 * EUR - 10 * DATA_PER_MB
    # The session continues.
    assert granted(await data.one("U", octets(want=0, used=MB, group=10), number=2)) > 0


async def test_a_repeated_termination_whose_answer_is_forgotten_is_refused(world: World) -> None:
    """RFC 8506 §5.4, §8.2."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    await data.take("T", octets(used=MB, group=10), number=1)
    _forget_answers(world)
    assert (await data.take("T", octets(used=MB, group=10), number=1)).result_code in (5002, 5012)
    assert await user.credit() == 20 * EUR - DATA_PER_MB


async def test_a_repeated_opening_whose_answer_is_forgotten_opens_no_second_session(world: World) -> None:
    """RFC 8506 §5.2."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    _forget_answers(world)
    assert (await data.take("I", octets(want=0, group=10), number=0)).result_code == 5012
    assert len((await user.view()).sessions) == 1


@pytest.mark.parametrize("far", [HIGHEST, HIGHEST - 1, 10**6])
async def test_one_number_far_ahead_does_not_block_later_ones(world: World, far: int) -> None:
    """RFC 8506 §8.2: a client sends one wrong number."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    for number in (far, 1, 2, 3):
        answer = await data.take("U", octets(want=0, used=MB, group=10), number=number)
        assert answer.result_code == 2001
        assert granted(answer.multiple_services_credit_control[0]) > 0
    again = await data.take("U", octets(want=0, used=MB, group=10), number=far)
    assert again.result_code == 2001
    assert await user.credit() == 20 * EUR - 4 * DATA_PER_MB, "each once"
    assert world.metrics.of("duplicate") == [["U"]]
    assert (await data.take("T", octets(used=MB, group=10), number=4)).result_code == 2001
    assert await user.credit() == 20 * EUR - 5 * DATA_PER_MB


@rule("HOT-ACC-9")
async def test_a_refused_opening_may_be_repeated_after_a_top_up(world: World) -> None:
    """HOT-ACC-9: the client keeps the Session-Id and the number."""
    user = await world.subscriber(0)
    data = user.data()
    for _ in range(2):
        assert (await data.take("I", octets(want=0, group=10), number=0)).result_code == 4012
    await user.top_up(10, "voucher")
    opened = await data.take("I", octets(want=0, group=10), number=0)
    assert opened.result_code == 2001
    assert granted(opened.multiple_services_credit_control[0]) > 0
    repeated = await data.take("I", octets(want=0, group=10), number=0)
    assert repeated == opened, "and what succeeded is remembered"
    await data.take("T", octets(used=MB, group=10))
    assert await user.credit() == 10 * EUR - DATA_PER_MB


@pytest.mark.parametrize("in_mscc", [False, True], ids=["at command level", "in an MSCC without a name"])
async def test_a_refund_without_a_service_returns_both(world: World, in_mscc: bool) -> None:
    """RFC 8506 §6.4: the debit had two services."""
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    both = (messages(want=1, group=100), messages(want=2, group=300))
    paid = await user.charged(SMS, "E", 0, *both, sid="smsc;1", information=sms_to("+38631234567"))
    assert await user.credit() == 20 * EUR - 3 * SMS_EACH
    token = paid.multiple_services_credit_control[0].refund_information
    assert token is not None

    async def refund(number: int) -> CreditControlAnswer:
        request = ccr("E", number, context=SMS, sid="smsc;2", msisdn=user.msisdn, requested_action=1)
        if in_mscc:
            request.multiple_services_credit_control = [MultipleServicesCreditControl(refund_information=token)]
        else:
            request.refund_information, request.requested_service_unit = token, RequestedServiceUnit()
        return await world.ask(request)

    back = await refund(0)
    assert back.result_code == 2001
    (given,) = back.multiple_services_credit_control if in_mscc else (back,)
    assert given.granted_service_unit is not None
    assert given.granted_service_unit.cc_service_specific_units == 3
    assert await user.credit() == 20 * EUR
    assert (await refund(0)) == back, "a repetition gives nothing more"
    assert (await refund(1)).result_code == 4010, "nothing is left of it"
    assert await user.credit() == 20 * EUR


@rule("HOT-ACC-9")
async def test_a_refused_message_may_be_repeated_after_a_top_up(world: World) -> None:
    """HOT-ACC-9: the client keeps the Session-Id and the number."""
    user = await world.subscriber(0)
    for _ in range(2):
        refused = await user.charged(
            SMS, "E", 0, messages(want=1, group=100), sid="smsc;1", information=sms_to("+38631234567")
        )
        assert refused.result_code == 4012
    await user.top_up(10, "voucher")
    for _ in range(2):
        paid = await user.charged(
            SMS, "E", 0, messages(want=1, group=100), sid="smsc;1", information=sms_to("+38631234567")
        )
        assert paid.result_code == 2001
    assert await user.credit() == 10 * EUR - SMS_EACH, "once"


@pytest.mark.parametrize("apart", [1_024, 70_000, 100_000_000])
async def test_numbers_far_apart_are_each_applied_once(world: World, apart: int) -> None:
    """RFC 8506 §8.2: some clients number by the clock."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    numbers = [apart * each for each in range(1, 12)]
    answers = [await data.take("U", octets(want=0, used=MB, group=10), number=number) for number in numbers]
    assert {each.result_code for each in answers} == {2001}
    assert await user.credit() == 20 * EUR - 11 * DATA_PER_MB
    for number, first in zip(numbers, answers, strict=True):
        repeated = await data.take("U", octets(want=0, used=MB, group=10), number=number)
        assert repeated == first or repeated.result_code == 5012
    assert await user.credit() == 20 * EUR - 11 * DATA_PER_MB


@pytest.mark.parametrize("opening", [HIGHEST, HIGHEST - 1, 70_000])
async def test_the_number_of_an_opening_does_not_bound_those_of_updates(world: World, opening: int) -> None:
    """RFC 8506 §8.2 requires ascending numbers. Use is charged even if the client's counter is wrong or wraps."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=opening)
    for number in (0, 1, 2):
        update = await data.take("U", octets(want=0, used=MB, group=10), number=number)
        assert update.result_code == 2001
    await data.take("T", octets(used=MB, group=10), number=3)
    assert await user.credit() == 20 * EUR - 4 * DATA_PER_MB


async def test_updates_after_a_number_far_ahead_are_charged(world: World) -> None:
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    for number in (65_000, 1, 2, 3):
        update = await data.take("U", octets(want=0, used=MB, group=10), number=number)
        assert update.result_code == 2001
    assert await user.credit() == 20 * EUR - 4 * DATA_PER_MB


# -- a client that was restarted with its counter (RFC 6733 §8.8)

RETRANSMITTED = Header(0, 0xD0, 272, 4, 1, 1)
REUSABLE = {
    "data": (DATA, octets, 10, MB, DATA_PER_MB),
    "call": (IMS, seconds, 100, 60, CALL_PER_MINUTE),
    "messages": (SMS, messages, None, 2, 2 * SMS_EACH),
}
INFORMATION = {DATA: at(), IMS: towards("tel:+38640123456"), SMS: sms_to("+38640123456")}


@pytest.mark.parametrize("ended", ["by the client", "hours ago", "not at all"])
@pytest.mark.parametrize("kind", REUSABLE)
async def test_a_reused_session_id_is_charged_again(world: World, kind: str, ended: str) -> None:
    context, units, group, used, price = REUSABLE[kind]
    user = await world.subscriber(20)
    more = {"context": context, "msisdn": user.msisdn, "information": INFORMATION[context]}

    async def session() -> None:
        opened = await world.ask(ccr("I", 0, units(want=0, group=group), **more))
        assert granted(opened.multiple_services_credit_control[0]) > 0
        await world.ask(ccr("U", 1, units(want=0, used=used, group=group), **more))
        if ended != "not at all":
            await world.ask(ccr("T", 2, units(used=used, group=group), **more))

    await session()
    spent = 20 * EUR - await user.credit()
    assert spent == price * (1 if ended == "not at all" else 2)
    if ended == "hours ago":
        world.now += 3_000  # the answers are still remembered, the session is not
    await session()
    assert 20 * EUR - await user.credit() == 2 * spent
    assert world.metrics.calls.count(("session_id_reused",)) == 1
    # An opening with the T bit (RFC 6733 §3) is no new session, whatever the state of its own.
    again = ccr("I", 0, units(want=0, group=group), **more)
    again.header = RETRANSMITTED
    before = await user.view()
    assert (await world.ask(again)).result_code == 2001
    assert await user.view() == before
    assert world.metrics.calls.count(("session_id_reused",)) == 1


RESENT_BY_A_NEW_LIFE = Header(0, 0xD0, 272, 4, 9, 9)
"""T bit, and an End-to-End-Id that nothing had before."""


async def test_a_reused_session_id_whose_opening_was_resent_is_charged(world: World) -> None:
    """The T bit says "possible duplicate"; a duplicate also has the same End-to-End-Id (RFC 6733 §3)."""
    user = await world.subscriber(20)
    more = {"msisdn": user.msisdn, "information": at()}
    for header in (Header(0, 0xC0, 272, 4, 1, 1), RESENT_BY_A_NEW_LIFE):
        opening = ccr("I", 0, octets(want=0, group=10), **more)
        opening.header = header
        assert (await world.ask(opening)).result_code == 2001
        for number, used in ((1, MB), (2, 4 * MB)):
            await world.ask(ccr("U", number, octets(want=0, used=used, group=10), **more))
        await world.ask(ccr("T", 3, octets(used=0, group=10), **more))
    assert 20 * EUR - await user.credit() == 2 * 5 * DATA_PER_MB


@pytest.mark.parametrize(
    ("other", "debited"),
    [
        ({"recipient": "12025550123"}, 150_000),
        ({"units": 5}, 5 * SMS_EACH),
        ({"later": 301}, SMS_EACH),
        ({"end_to_end": 2}, 0),
        ({"end_to_end": 2, "flags": 0xD0}, 0),
        ({"later": 3_600, "flags": 0xD0}, 0),
        ({"later": 3_600, "end_to_end": 1}, 0),
        ({"later": 3_600, "end_to_end": 2}, SMS_EACH),
        ({"recipient": "12025550123", "flags": 0xD0}, 150_000),
    ],
)
async def test_an_event_with_another_content_is_no_repetition(
    world: World, other: dict[str, Any], debited: int
) -> None:
    """A restarted SMSC uses one Session-Id and CC-Request-Number for two messages (RFC 8506 §8.2)."""
    user = await world.subscriber(20)

    def message(
        recipient: str = "38640111222", units: int = 1, end_to_end: int = 1, flags: int = 0xC0
    ) -> CreditControlRequest:
        request = ccr("E", 0, messages(units), context=SMS, msisdn=user.msisdn, information=sms_to(recipient))
        request.header = Header(0, flags, 272, 4, 1, end_to_end)
        return request

    later = other.pop("later", 0)
    first = await world.ask(message())
    assert first.result_code == 2001 and await user.credit() == 20 * EUR - SMS_EACH
    if later:
        world.now += later
        other.setdefault("end_to_end", 2)
    second = await world.ask(message(**other))
    assert second.result_code == 2001
    assert await user.credit() == 20 * EUR - SMS_EACH - debited
    assert world.metrics.calls.count(("session_id_reused",)) == (1 if debited else 0)
