"""Numbers that share units, each with its own or a common limit (HOT-PKG-14)."""

from __future__ import annotations

import pytest

from ocs.accounts.errors import RefusedError
from ocs.accounts.operations import AccountOperations
from ocs.accounts.pools import PoolOperations
from ocs.values.identities import Msisdn
from tests.ocs.charging.ccr import MB, SMS, octets, sms_to
from tests.ocs.charging.source import Origin
from tests.ocs.rules.recipients import send, token_of
from tests.ocs.rules.world import DAY_S, EUR, Subscriber, World, granted
from tests.rules import rule

GB = 1024 * MB
DATA_PER_MB, MINI_FEE = 6_900, 6_990_000


class Family:
    """A number with MINI and its additional SIMs."""

    def __init__(self, world: World) -> None:
        accounts = AccountOperations(world.ledger, world.catalogue, lambda: world.now, lambda: 0)
        self.world, self.pools = world, PoolOperations(accounts, world.ledger, world.catalogue, lambda: world.now)
        self.members: list[Subscriber] = []

    async def gather(self, count: int) -> list[Subscriber]:
        """The first has the tariff, which is bought when all are in the pool."""
        self.members = [await self.world.subscriber(20) for _ in range(count)]
        primary, *others = self.members
        await self.pools.open(Msisdn(primary.msisdn), name="family")
        for each in others:
            await self.pools.join(Msisdn(each.msisdn), of=Msisdn(primary.msisdn))
            each.account_id = await self.world.ledger.find_subscriber(f"m{each.msisdn}") or ""
        mini = self.world.catalogue.packages["MINI"]
        await self.world.ledger.activate_package(primary.account_id, package=mini, reference="mini", **self.world.when)
        return self.members

    async def limit(self, member: Subscriber, units: int | None, *, common: bool = False, bucket: str = "data") -> None:
        await self.pools.limit(Msisdn(member.msisdn), bucket=f"MINI.{bucket}", units=units, common=common)

    async def left(self, bucket: str = "data") -> int | None:
        pool = (await self.pools.read(Msisdn(self.members[0].msisdn))).pool
        return next(each.left for each in pool.buckets if each.id == f"MINI.{bucket}")

    async def used(self) -> dict[str, int]:
        pool = (await self.pools.read(Msisdn(self.members[0].msisdn))).pool
        numbers = {each.account_id: each.msisdn for each in self.members}
        return {numbers[each.account_id]: each.units for each in pool.usage}


@rule("HOT-PKG-14")
async def test_a_member_uses_at_most_its_limit_in_a_period_and_then_its_credit(world: World) -> None:
    family = Family(world)
    primary, additional = await family.gather(2)
    await family.limit(additional, GB)
    assert await additional.use_data(600 * MB) == 0
    # Of 500 MB the limit leaves 424: 76 MB are paid by its credit.
    assert await additional.use_data(500 * MB) == 76 * DATA_PER_MB
    assert await family.used() == {additional.msisdn: GB}
    assert await primary.use_data(2 * GB) == 0, "who has no limit uses what is there"
    assert await family.left() == 6 * GB
    world.now += 30 * DAY_S
    await world.sweep()
    assert await family.left() == 9 * GB
    assert await additional.use_data(GB) == 0, "the limit is of each period"
    assert await additional.use_data(MB) == DATA_PER_MB


@rule("HOT-PKG-14")
async def test_a_common_limit_and_one_of_a_members_own(world: World) -> None:
    family = Family(world)
    primary, one, other = await family.gather(3)
    await family.limit(primary, 2, common=True, bucket="sms")
    await family.limit(other, 4, bucket="sms")

    async def paid(user: Subscriber) -> list[int]:
        return [(await user.message(SMS, sms_to("+38631234567")))[1] for _ in range(5)]

    assert await paid(primary) == [0, 0, *[69_000] * 3]
    assert await paid(one) == [0, 0, *[69_000] * 3]
    assert await paid(other) == [0, 0, 0, 0, 69_000]
    assert await family.left("sms") == 1500 - 8
    await family.limit(one, 3, bucket="sms")
    assert (await paid(one))[:2] == [0, 69_000]
    await family.limit(one, None, bucket="sms")
    assert (await paid(one))[0] == 69_000, "the common limit holds again"
    await family.limit(one, None, common=True, bucket="sms")
    assert await paid(one) == [0] * 5


@rule("HOT-PKG-14")
async def test_a_grant_does_not_go_beyond_the_limit(world: World) -> None:
    """Two sessions of a member share what its limit leaves."""
    family = Family(world)
    _, additional = await family.gather(2)
    await family.limit(additional, 30 * MB)
    first, second = additional.data(), additional.data()
    assert granted(await first.one("I", octets(want=20 * MB, group=10))) == 20 * MB
    await second.one("I", octets(want=20 * MB, group=10))
    held = {each.units for each in (await family.pools.read(Msisdn(additional.msisdn))).pool.holds}
    assert held == {30 * MB}
    assert sum((await second.held()).values()) == 10 * DATA_PER_MB, "10 MB of the second are held on credit"
    await first.take("T", octets(used=25 * MB, group=10))
    await second.take("T", octets(used=10 * MB, group=10))
    assert await family.used() == {additional.msisdn: 30 * MB}
    assert await additional.credit() == 20_000_000 - 5 * DATA_PER_MB


@rule("HOT-PKG-14")
async def test_units_of_a_running_period_are_shared_at_once(world: World) -> None:
    """But for what a session holds: that stays with the number, to the end of the period."""
    user, busy, additional = [await world.subscriber(20, each) for each in ("MINI", "MINI", None)]
    await user.use_data(GB)
    data = busy.data()
    await data.take("I", octets(want=MB, group=10))
    family = Family(world)
    family.members = [user, busy, additional]
    await family.pools.open(Msisdn(user.msisdn), name="family")
    for each in (busy, additional):
        await family.pools.join(Msisdn(each.msisdn), of=Msisdn(user.msisdn))
    assert await family.left() == 8 * GB
    assert (await user.view()).buckets == ()
    busy.account_id = await world.ledger.find_subscriber(f"m{busy.msisdn}") or ""
    assert [each.id for each in (await busy.view()).buckets] == ["MINI.data"]
    assert await additional.use_data(100 * MB) == 0
    assert await family.left() == 8 * GB - 100 * MB
    await data.take("T", octets(used=MB, group=10))
    assert await busy.left("MINI.data") == 9 * GB - MB
    world.now += 30 * DAY_S
    await world.sweep()
    assert (await busy.view()).buckets == ()
    pool = (await family.pools.read(Msisdn(user.msisdn))).pool
    assert [each.left for each in pool.buckets if each.id == "MINI.data"] == [9 * GB] * 2


@rule("HOT-PKG-14")
async def test_what_is_refused(world: World) -> None:
    family = Family(world)
    primary, additional = await family.gather(2)
    stranger = await world.subscriber(5)
    for work, code in (
        (family.pools.join(Msisdn(primary.msisdn), of=Msisdn(stranger.msisdn)), "no_pool"),
        (family.pools.limit(Msisdn(stranger.msisdn), bucket="MINI.data", units=1, common=False), "no_pool"),
        (family.pools.limit(Msisdn(primary.msisdn), bucket="MINI.tea", units=1, common=False), "bucket"),
    ):
        with pytest.raises(RefusedError) as caught:
            await work
        assert caught.value.code == code
    await additional.data().take("I", octets(want=MB, group=10))
    with pytest.raises(RefusedError) as caught:
        await family.pools.leave(Msisdn(additional.msisdn))
    assert caught.value.code == "sessions"
    await family.limit(additional, GB)
    await world.ledger.release_session(
        additional.account_id, (await additional.view()).sessions[0].session_id, reason="lost", **world.when
    )
    await family.pools.leave(Msisdn(additional.msisdn))
    assert (await family.pools.read(Msisdn(primary.msisdn))).pool.limits == (), "its limit goes with it"


@rule("HOT-PKG-14")
async def test_a_refund_finds_no_bucket_of_another_pool(world: World) -> None:
    """Buckets are numbered by pool: the second is MINI.sms of one pool, and data of the other."""
    world.source = Origin(refunds=True)
    family = Family(world)
    _, additional = await family.gather(2)
    token = token_of(await send(additional, "+38631234567"))
    assert await family.left("sms") == 1499
    await family.pools.leave(Msisdn(additional.msisdn))
    await family.pools.open(Msisdn(additional.msisdn), name="other")
    for reference in ("first", "second"):
        giga = world.catalogue.packages["GIGA-MINI"]
        await world.ledger.activate_package(additional.account_id, package=giga, reference=reference, **world.when)
    before = (await family.pools.read(Msisdn(additional.msisdn))).pool.buckets
    assert [(each.id, each.instance) for each in before] == [("GIGA-MINI.data", 2)]
    refunded = await send(additional, "+38631234567", units=1, requested_action=1, token=token)
    assert refunded.result_code == 4010, "nothing is left to refund"
    assert (await family.pools.read(Msisdn(additional.msisdn))).pool.buckets == before
    assert await family.left("sms") == 1499


@rule("HOT-PKG-14")
@pytest.mark.parametrize("running", [False, True], ids=["a new session", "one that runs"])
async def test_a_member_uses_the_next_period_before_its_owner_is_swept(world: World, running: bool) -> None:
    """The member's request comes in the second in which the period ends: the owner's fee is paid first."""
    family = Family(world)
    primary, additional = await family.gather(2)
    data = additional.data()
    world.now += 30 * DAY_S - 60
    if running:
        assert granted(await data.one("I", octets(want=20 * MB, group=10))) == 20 * MB
    world.now += 60
    following = octets(want=20 * MB, group=10, used=5 * MB if running else None)
    assert granted(await data.one("U" if running else "I", following)) == 20 * MB
    assert await data.held() == {"10": 0}, "nothing is held on the member's own credit"
    assert await primary.credit() == 20 * EUR - 2 * MINI_FEE
    await data.take("T", octets(used=10 * MB, group=10))
    assert await additional.credit() == 20 * EUR
    assert await family.left() == 9 * GB - 10 * MB, "5 MB of before were granted by the period of before"
    await world.sweep()
    assert await primary.credit() == 20 * EUR - 2 * MINI_FEE, "the fee is paid once"


@rule("HOT-PKG-14")
async def test_a_member_pays_itself_if_the_owner_cannot_renew(world: World) -> None:
    family = Family(world)
    primary, additional = await family.gather(2)
    await family.limit(primary, 0)
    assert await primary.use_data(1_000 * MB) == 1_000 * DATA_PER_MB
    world.now += 30 * DAY_S
    assert await additional.use_data(20 * MB) == 20 * DATA_PER_MB
    assert (await primary.view()).package_pending


@rule("HOT-PKG-14")
async def test_a_members_grant_ends_with_the_owners_period(world: World) -> None:
    family = Family(world)
    _, additional = await family.gather(2)
    world.now += 30 * DAY_S - 60
    assert (await additional.data().one("I", octets(want=20 * MB, group=10))).validity_time == 60
