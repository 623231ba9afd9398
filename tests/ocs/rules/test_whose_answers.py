"""A remembered answer is given only to the client and account that it belongs to (RFC 8506 §8.2, §6.3): every account
pays.
"""

from __future__ import annotations

from tests.ocs.charging.ccr import DATA, IMS, MB, SERBIA, SMS, at, ccr, messages, octets, seconds, sms_to, towards
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import EUR, World
from tests.rules import rule

SMS_EACH, DATA_PER_MB, VOICE_PER_MIN = 69_000, 6_900, 69_000
ACCOUNTS = 96
"""More than there are partitions: many of them share one."""


@rule("HOT-ACC-1")
async def test_messages_with_reused_session_ids_are_each_paid(world: World) -> None:
    """HOT-ACC-1: one-off requests of 96 accounts have the same Session-Id and number."""
    users = [await world.subscriber(20) for _ in range(ACCOUNTS)]
    for user in users:
        answer = await user.charged(SMS, "E", 0, messages(want=1), sid="smsc;1", information=sms_to("+38631234567"))
        assert answer.result_code == 2001
    assert [await user.credit() for user in users] == [20 * EUR - SMS_EACH] * ACCOUNTS
    assert world.metrics.of("duplicate") == []
    # A repetition of each gets its own answer and is not charged.
    for user in users:
        await user.charged(SMS, "E", 0, messages(want=1), sid="smsc;1", information=sms_to("+38631234567"))
    assert [await user.credit() for user in users] == [20 * EUR - SMS_EACH] * ACCOUNTS
    assert world.metrics.of("duplicate") == [["E"]] * ACCOUNTS


async def test_sessions_of_several_accounts_with_one_id_are_each_paid(world: World) -> None:
    """RFC 6733 §8.8 requires unique Session-Ids. A client that reuses one gets no use free of charge."""
    users = [await world.subscriber(20) for _ in range(ACCOUNTS)]
    for kind, number, used in (("I", 0, None), ("U", 1, 10 * MB), ("T", 2, 5 * MB)):
        for user in users:
            service = octets(want=0 if kind != "T" else None, used=used, group=10)
            answer = await user.charged(DATA, kind, number, service, sid="pgw;1", information=at())
            assert answer.result_code == 2001
    assert [await user.credit() for user in users] == [20 * EUR - 15 * DATA_PER_MB] * ACCOUNTS
    assert world.metrics.of("duplicate") == []


@rule("HOT-RAT-1")
async def test_sessions_with_one_id_are_each_rated_at_their_own_location(world: World) -> None:
    """HOT-RAT-1: a later request without a location has that of its own account's session."""
    home, roamer = await world.subscriber(20), await world.subscriber(20)
    for user, plmn in ((home, "29340"), (roamer, SERBIA)):
        where = towards("tel:+38631234567", plmn)
        await user.charged(IMS, "I", 0, seconds(want=60), sid="ims;1", information=where)
    world.now += 60
    for user in (home, roamer):
        ended = await user.charged(IMS, "T", 1, seconds(used=60), sid="ims;1", information=None)
        assert ended.result_code == 2001
    assert (await home.credit(), await roamer.credit()) == (20 * EUR - VOICE_PER_MIN, 20 * EUR - 990_000)


async def test_a_refund_goes_to_the_debited_account(world: World) -> None:
    """RFC 8506 §6.4: Refund-Information refers to a debit of the same subscriber."""
    payer, other = await world.subscriber(20), await world.subscriber(20)
    information = sms_to("+38631234567")
    paid = await payer.charged(SMS, "E", 0, messages(want=1), sid="smsc;1", information=information)
    token = paid.multiple_services_credit_control[0].refund_information
    world.source = Origin(refunds=True)
    service = messages(want=1)
    service.refund_information = token
    more = {"context": SMS, "sid": "smsc;1", "information": information, "requested_action": 1}
    wrong = await world.reply(ccr("E", 1, service, msisdn=other.msisdn, **more))
    assert (wrong.result_code, await other.credit()) == (5004, 20 * EUR)
    right = await world.reply(ccr("E", 1, service, msisdn=payer.msisdn, **more))
    assert (right.result_code, await payer.credit()) == (2001, 20 * EUR)
