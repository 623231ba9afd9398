"""Accounts that move to another partition during use, and accounts that share units (HOT-PKG-14)."""

from __future__ import annotations

import dataclasses

from tests.ocs.charging.ccr import MB, SMS, ccr, messages, octets, sms_to
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import EUR, Subscriber, World, granted
from tests.rules import rule

GB = 1024 * MB
DATA_PER_MB, SMS_EACH, MINI_FEE = 6_900, 69_000, 6_990_000


async def _move(world: World, user: Subscriber) -> None:
    partition = (int(user.account_id.partition("-")[0]) + 1) % world.ledger.partitions
    user.account_id = await world.ledger.move_account(user.account_id, partition=partition, **world.when)


async def test_a_session_continues_after_its_account_was_moved(world: World) -> None:
    """RFC 8506 §5.3: the client notices nothing, and a repetition gets its answer."""
    user = await world.subscriber(20)
    data = user.data()
    await data.take("I", octets(want=0, group=10), number=0)
    first = await data.take("U", octets(want=0, used=10 * MB, group=10), number=1)
    await _move(world, user)
    assert await data.take("U", octets(want=0, used=10 * MB, group=10), number=1) == first
    assert granted(await data.one("U", octets(want=0, used=10 * MB, group=10), number=2)) > 0
    await _move(world, user)
    ended = await data.take("T", octets(used=5 * MB, group=10), number=4)
    assert ended.result_code == 2001
    await _move(world, user)
    assert (await data.take("U", octets(want=0, used=MB, group=10), number=3)).result_code == 2001, "late"
    assert await data.take("T", octets(used=5 * MB, group=10), number=4) == ended
    assert await user.credit() == 20 * EUR - 26 * DATA_PER_MB


async def test_a_message_is_paid_once_and_refunded_once(world: World) -> None:
    """RFC 8506 §6.3, §6.4: it is repeated and refunded after a move of the account."""
    world.source = Origin(refunds=True)
    user = await world.subscriber(20)
    sms = {"context": SMS, "information": sms_to("+38631234567"), "msisdn": user.msisdn}
    paid = await world.ask(ccr("E", 0, messages(want=1), sid="smsc;1", **sms))
    await _move(world, user)
    assert await world.ask(ccr("E", 0, messages(want=1), sid="smsc;1", **sms)) == paid
    assert await user.credit() == 20 * EUR - SMS_EACH
    await _move(world, user)
    service = messages(want=1)
    service.refund_information = paid.multiple_services_credit_control[0].refund_information
    back = ccr("E", 1, service, sid="smsc;1", requested_action=1, **sms)
    assert (await world.ask(back)).result_code == 2001
    assert await user.credit() == 20 * EUR
    await _move(world, user)
    assert (await world.ask(back)).result_code == 2001
    assert await user.credit() == 20 * EUR, "once"


async def _sharing(world: World) -> tuple[Subscriber, Subscriber]:
    """A number with MINI, and an additional SIM with its own number."""
    primary, additional = await world.subscriber(20), await world.subscriber(5)
    partition = int(primary.account_id.partition("-")[0])
    additional.account_id = await world.ledger.move_account(additional.account_id, partition=partition, **world.when)
    await world.ledger.open_pool(primary.account_id, "family", now=world.now)
    for user in (primary, additional):
        await world.ledger.join_pool(user.account_id, "family", **world.when)
    mini = dataclasses.replace(world.catalogue.packages["MINI"], shared=True)
    await world.ledger.subscribe(primary.account_id, product=mini, reference="mini", **world.when)
    return primary, additional


async def _left(world: World, user: Subscriber) -> int | None:
    pool = await world.ledger.read_pool(user.account_id, "family")
    assert pool is not None
    return next((bucket.left for bucket in pool.buckets if bucket.id == "MINI.data"), None)


@rule("HOT-PKG-14")
async def test_an_additional_sim_uses_the_units_of_the_primary_number(world: World) -> None:
    """HOT-PKG-14."""
    primary, additional = await _sharing(world)
    assert await primary.credit() == 20 * EUR - MINI_FEE
    assert await primary.use_data(100 * MB) == 0
    assert await additional.use_data(200 * MB) == 0
    assert await _left(world, primary) == 9 * GB - 300 * MB
    assert await additional.message(SMS, sms_to("+38631234567")) == (2001, 0)


@rule("HOT-PKG-3", "HOT-PKG-14")
async def test_shared_units_are_granted_once(world: World) -> None:
    """HOT-PKG-3, HOT-PKG-14: units held by one account are not granted to the other. When all are used, each pays by
    its own credit.
    """
    primary, additional = await _sharing(world)
    for _ in range(9):
        await primary.use_data(1023 * MB)
    assert await _left(world, primary) == 9 * MB
    mine, theirs = primary.data(), additional.data()
    assert granted(await mine.one("I", octets(want=9 * MB, group=10))) == 9 * MB
    assert granted(await theirs.one("I", octets(want=9 * MB, group=10))) == 9 * MB
    assert (await additional.view()).held_micro_eur == 9 * DATA_PER_MB
    await mine.take("T", octets(used=9 * MB, group=10))
    await theirs.take("T", octets(used=9 * MB, group=10))
    assert await primary.credit() == 20 * EUR - MINI_FEE
    assert await additional.credit() == 5 * EUR - 9 * DATA_PER_MB
    assert not await _left(world, primary)
