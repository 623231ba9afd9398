"""`ocs rate` and charging have the same result for every kind of use, payer and limit (HOT-RAT-1, -7)."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ocs.catalogue.versions import Catalogues
from ocs.charging.usage_context import usage_context_of
from ocs.policy.payment import Funds, funds_of
from ocs.policy.quote import Quote, Use, quote
from ocs.values.measures import AccountMeasure, MeasureKind
from ocs.values.service_context import context_of
from ocs.values.use import Context
from protocol.credit_control import CreditControlRequest, ServiceInformation
from tests.ocs.charging.ccr import (
    AUSTRIA,
    DATA,
    HOME,
    IMS,
    MB,
    MMS,
    SERBIA,
    SMS,
    USA,
    at,
    called_by,
    messages,
    mms_to,
    octets,
    seconds,
    sms_to,
    towards,
)
from tests.ocs.rules.test_call_forwarding import CFNRC, CFU, diverted
from tests.ocs.rules.test_catalogue_versions import changed
from tests.ocs.rules.test_volumes import with_volume
from tests.ocs.rules.world import CATALOGUE, EUR, Subscriber, World, granted
from tests.rules import rule

TEXT = CATALOGUE.read_text()
NATIONAL, PREMIUM, SERBIAN = "tel:+38631234567", "tel:+38690123456", "tel:+381641234567"
STEP = {DATA: octets, IMS: seconds, SMS: messages, MMS: messages}


def versions(world: World) -> Catalogues:
    known = world.catalogue
    return known if isinstance(known, Catalogues) else Catalogues([known], lambda: world.now)


async def foretold(user: Subscriber, context: str, information: ServiceInformation, amount: int) -> Quote:
    world = user.world
    view = await user.view()
    pool = await world.ledger.read_pool(user.account_id, view.pool) if view.pool else None
    where = usage_context_of(_context(context), CreditControlRequest(service_information=information))
    where.at, where.facts = world.now, view.facts
    use = Use(where.event(1 if context == DATA else None, None), amount, where.late)
    return quote(use, versions(world), funds_of(view, pool, versions(world).in_force().terms, world.now))


def _context(name: str) -> Context:
    found = context_of(name)
    assert found is not None
    return found


async def charged(user: Subscriber, context: str, information: ServiceInformation, amount: int) -> tuple[int, int]:
    """(amount granted, its cost in micro-EUR) of a session that uses each grant in full, up to the amount."""
    world, session, step = user.world, user.running(context, information), STEP[context]
    before, used, unreported = await user.credit(), 0, 0
    for kind in ("I", *("U" * 1000)):
        answer = await session.take(kind, step(want=amount - used, used=unreported or None))
        reply = (*answer.multiple_services_credit_control, None)[0]
        unreported = min(granted(reply) if reply is not None else 0, amount - used)
        if context == IMS and reply is not None and reply.validity_time:
            unreported = min(unreported, reply.validity_time)
        used += unreported
        if context == IMS:
            world.now += unreported
        if used == amount or not unreported:
            break
    if answer.result_code == 2001:
        await session.take("T", step(used=unreported))
    return used, before - await user.credit()


USES = [
    (DATA, at(HOME), 10 * MB + 1),
    (DATA, at(AUSTRIA), 3 * MB),
    (DATA, at(SERBIA), 2 * MB),
    (DATA, at(USA), MB),
    (IMS, towards(NATIONAL), 61),
    (IMS, towards(NATIONAL, AUSTRIA), 125),
    (IMS, towards(SERBIAN), 125),
    (IMS, towards(PREMIUM), 125),
    (IMS, towards("tel:+38690412345"), 300),
    (IMS, towards(NATIONAL, USA), 125),
    (IMS, called_by(NATIONAL, SERBIA), 61),
    (IMS, called_by(NATIONAL), 61),
    (IMS, towards("tel:112", SERBIA), 61),
    (IMS, towards("tel:+38680123456"), 61),
    (IMS, diverted(CFU, plmn=SERBIA), 125),
    (IMS, diverted(CFNRC, plmn=SERBIA), 61),
    (IMS, diverted(CFNRC, plmn=AUSTRIA), 61),
    (SMS, sms_to("+38631234567"), 1),
    (SMS, sms_to("+381641234567"), 3),
    (SMS, sms_to("1919"), 1),
    (MMS, mms_to("+38631234567"), 1),
    (MMS, mms_to("+38631234567", USA), 2),
]


@rule("HOT-RAT-1", "HOT-RAT-7", "HOT-PKG-3")
@pytest.mark.parametrize("package", [None, "MINI", "MAXI", "GIGA-MINI"])
@pytest.mark.parametrize(("context", "information", "amount"), USES)
async def test_every_kind_of_use(
    world: World, package: str | None, context: str, information: ServiceInformation, amount: int
) -> None:
    user = await world.subscriber(50, package)
    said = await foretold(user, context, information, amount)
    before = {each.instance: each.left for each in (await user.view()).buckets}
    assert (said.amount, said.micro_eur) == await charged(user, context, information, amount), said.trace
    taken = {each.id: (before[each.instance] or 0) - (each.left or 0) for each in (await user.view()).buckets}
    finite = {id_: units for id_, units in said.units.items() if taken.get(id_)}
    assert finite == {id_: units for id_, units in taken.items() if units}


@rule("HOT-RAT-1")
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_the_credit(world: World, seed: int) -> None:
    """The amount that it calls payable is the amount that a session is granted."""
    choose = random.Random(seed)
    for _ in range(25):
        context, information, amount = choose.choice([use for use in USES if use[0] in (DATA, IMS)])
        amount *= choose.randint(1, 40)
        package = choose.choice([None, "MINI"])
        user = await world.subscriber(choose.randint(0, 400) / 100 + (6.99 if package else 0), package)
        said = await foretold(user, context, information, amount)
        assert (said.amount, said.micro_eur) == await charged(user, context, information, amount), said.trace


# -- price switches during the use


NIGHT = changed(
    TEXT,
    (
        "[price.voice-national] # 60/1; also after the included minutes are used up (HOT-PKG-15)\nmicro_eur = 69_000\n",
        "[price.voice-national]\nmicro_eur = 69_000\n"
        'window = [{ days = ["holiday"], from = "00:00", to = "24:00", micro_eur = 30_000 }]\n',
    ),
    ('default_plmn = "29340"', 'holidays = ["2026-12-26"]\ndefault_plmn = "29340"'),
)
MIDNIGHT = int(datetime(2026, 12, 26, tzinfo=ZoneInfo("Europe/Ljubljana")).timestamp())
NEXT = changed(
    TEXT,
    ('version = "1"', 'version = "2"\nvalid_from = "2026-12-26T00:00"'),
    ('micro_eur = 69_000\nper = "1 min"', 'micro_eur = 120_000\nper = "1 min"'),
)


@rule("HOT-RAT-1", "HOT-PKG-5")
@pytest.mark.parametrize(("texts", "after"), [([NIGHT], 30_000), ([TEXT, NEXT], 120_000)], ids=["holiday", "version"])
async def test_a_call_over_midnight(world: World, texts: list[str], after: int) -> None:
    """125 s from 23:58 on: 120 s at the old price and 5 s at the new one; the first minute is paid once."""
    await world.price_lists(*texts)
    user = await world.subscriber(10)
    world.now = MIDNIGHT - 120
    said = await foretold(user, IMS, towards(NATIONAL), 125)
    assert (said.amount, said.micro_eur) == (125, 2 * 69_000 + 5 * after // 60)
    assert [step.facts["at"] for step in said.trace.steps if step.name == "price changes"] == ["2026-12-25T23:00:00Z"]
    assert (125, said.micro_eur) == await charged(user, IMS, towards(NATIONAL), 125)


async def test_a_price_per_call_is_paid_for_a_call(world: World) -> None:
    said = await foretold(await world.subscriber(10), IMS, towards("tel:+38690412345"), 300)
    (credit,) = [step.why for step in said.trace.steps if step.name == "credit"]
    assert credit.startswith("1 call at 2.00 EUR per call")


# -- packs, zone packs, volumes, limits, refusals


@rule("HOT-PKG-13")
async def test_an_armed_zone_pack_starts(world: World) -> None:
    user = await world.subscriber(100, "MINI")
    terms = versions(world).in_force().terms["USA-UNLIMITED"]
    await world.ledger.subscribe(user.account_id, product=terms, reference="zone", armed=True, **world.when)
    partner = next(iter(versions(world).in_force().tables.sections["place"]["usa-partner"].plmns))  # type: ignore[attr-defined]
    said = await foretold(user, IMS, towards(NATIONAL, partner), 61)
    assert (said.micro_eur, said.fees_micro_eur) == (0, terms.price_micro_eur)
    assert "USA-UNLIMITED" in [step.value for step in said.trace.steps if step.name == "starts"]
    assert await charged(user, IMS, towards(NATIONAL, partner), 61) == (61, terms.price_micro_eur)


@rule("HOT-PKG-13", "HOT-PKG-16")
async def test_an_armed_zone_pack_that_needs_another_product_does_not_start_without_it(world: World) -> None:
    await world.price_lists(TEXT.replace("[package.USA-UNLIMITED]", '[package.USA-UNLIMITED]\nrequires = ["TV"]'))
    user, products = await world.subscriber(150, "MINI"), world.catalogue.products
    terms, television = products["USA-UNLIMITED"].terms, products["TV"].terms
    await user.buy(television, "TV")
    await world.ledger.subscribe(user.account_id, product=terms, reference="zone", armed=True, **world.when)
    (held,) = [each for each in (await user.view()).subscriptions if each.product == "TV"]
    await world.ledger.unsubscribe(user.account_id, instance=held.instance, at_once=True, **world.when)
    partner = next(iter(versions(world).in_force().tables.sections["place"]["usa-partner"].plmns))  # type: ignore[attr-defined]
    said = await foretold(user, IMS, towards(NATIONAL, partner), 61)
    assert said.micro_eur > 0 == said.fees_micro_eur
    assert (await charged(user, IMS, towards(NATIONAL, partner), 61))[1] == said.micro_eur
    await user.buy(television, "TV2")
    assert (await charged(user, IMS, towards(NATIONAL, partner), 61))[1] == terms.price_micro_eur


@rule("HOT-PKG-13")
@pytest.mark.parametrize(("amount", "packs"), [(400 * MB, 1), (600 * MB, 2)])
async def test_of_two_armed_zone_packs_those_that_are_needed_start(world: World, amount: int, packs: int) -> None:
    user = await world.subscriber(100)
    terms = versions(world).in_force().terms["BALKAN-500-MB"]
    for n in range(2):
        await world.ledger.subscribe(user.account_id, product=terms, reference=f"{n}", armed=True, **world.when)
    said = await foretold(user, DATA, at(SERBIA), amount)
    assert (said.micro_eur, said.fees_micro_eur) == (0, packs * terms.price_micro_eur)
    assert await charged(user, DATA, at(SERBIA), amount) == (amount, packs * terms.price_micro_eur)


@rule("HOT-PKG-10")
async def test_a_pack_before_the_tariff(world: World) -> None:
    user = await world.subscriber(50, "MINI")
    pack = versions(world).in_force().terms["SMS-200"]
    await world.ledger.subscribe(user.account_id, product=pack, reference="pack", **world.when)
    said = await foretold(user, SMS, sms_to("+38631234567"), 1)
    (paid,) = said.units
    assert paid == next(bucket.id for bucket in pack.buckets if bucket.unit == "messages")
    assert await charged(user, SMS, sms_to("+38631234567"), 1) == (1, 0)
    buckets = {each.id: each.left for each in (await user.view()).buckets}
    assert buckets["MINI.sms"] == 1500


@rule("HOT-ROA-3")
async def test_beyond_a_volume(world: World) -> None:
    await world.price_lists(with_volume("price"))
    user = await world.subscriber(20, "MAXI")
    said = await foretold(user, DATA, at(AUSTRIA), 30 * MB)
    assert (said.units, said.micro_eur) == ({"MAXI.data": 20 * MB}, 10 * 2_048)
    assert await charged(user, DATA, at(AUSTRIA), 30 * MB) == (30 * MB, said.micro_eur)


@rule("HOT-CC-3")
async def test_at_the_monthly_limit(world: World) -> None:
    user = await world.subscriber(50)
    await world.ledger.set_limit(user.account_id, limit_micro_eur=EUR, **world.when)
    said = await foretold(user, IMS, towards(SERBIAN), 600)
    assert said.amount == 120
    assert "the counter limit reaches its limit" in [step.why for step in said.trace.steps if step.name == "granted"]
    assert await charged(user, IMS, towards(SERBIAN), 600) == (120, said.micro_eur)


@rule("HOT-CC-5")
async def test_what_is_refused(world: World) -> None:
    user = await world.subscriber(50)
    await world.ledger.set_bars(user.account_id, bars=["premium"], **world.when)
    said = await foretold(user, IMS, towards(PREMIUM), 60)
    assert said.refused == "the bar premium forbids it" and await user.may_call(towards(PREMIUM)) == 4010
    await world.ledger.set_state(user.account_id, state="blocked", **world.when)
    assert (await foretold(user, IMS, towards(NATIONAL), 60)).refused == "the account is blocked"
    assert (await foretold(user, IMS, towards("tel:112"), 60)).amount == 60


def test_a_quote_changes_nothing_in_the_account() -> None:
    """It works on copies, so it can be repeated."""
    funds = Funds(money=5)
    assert replace(funds) == funds.copy() and funds.copy().buckets is not funds.buckets


# -- new accounts, pools


@rule("HOT-ACC-2")
@pytest.mark.parametrize("credit", [50, 5])
async def test_the_first_use_of_a_new_account(world: World, credit: int) -> None:
    """Its package begins with it, if the credit covers the price."""
    user = await world.subscriber(1)
    account_id = await world.ledger.open_account(
        msisdn="38668199999",
        imsi="293400000099999",
        credit_micro_eur=credit * EUR,
        package=versions(world).in_force().packages["MINI"],
        entropy=99,
        unused=True,
        **world.when,
    )
    new = Subscriber(world, account_id, "38668199999")
    free = await foretold(new, IMS, towards("tel:112"), 60)
    assert (free.amount, free.fees_micro_eur) == (60, 0)
    said = await foretold(new, IMS, towards(NATIONAL), 61)
    assert said.fees_micro_eur == (6_990_000 if credit == 50 else 0)
    took = said.fees_micro_eur + said.micro_eur
    assert (said.amount, took) == await charged(new, IMS, towards(NATIONAL), 61)
    assert await user.credit() == EUR


@rule("HOT-PKG-14")
@pytest.mark.parametrize("common", [True, False])
async def test_a_pool_with_limits(world: World, common: bool) -> None:
    """150 s of the pool are left to the account; then it pays itself."""
    owner, member = await world.subscriber(50), await world.subscriber(5)
    partition = int(owner.account_id.partition("-")[0])
    member.account_id = await world.ledger.move_account(member.account_id, partition=partition, **world.when)
    await world.ledger.open_pool(owner.account_id, "family", now=world.now)
    for each in (owner, member):
        await world.ledger.join_pool(each.account_id, "family", **world.when)
    shared = replace(versions(world).in_force().packages["MINI"], shared=True)
    await world.ledger.activate_package(owner.account_id, package=shared, reference="P", **world.when)
    await world.ledger.limit_pool(member.account_id, bucket="MINI.voice", units=200, common=common, **world.when)
    for _ in range(2):
        said = await foretold(member, IMS, towards(NATIONAL), 150)
        assert (said.amount, said.micro_eur) == await charged(member, IMS, towards(NATIONAL), 150)
    assert said.units == {"MINI.voice": 50} and said.micro_eur == 100 * 69_000 // 60


@rule("HOT-ROA-4")
@pytest.mark.parametrize("package", [None, "MINI"])
@pytest.mark.parametrize("credit", [7, 50])
@pytest.mark.parametrize(
    ("context", "information", "amount"),
    [
        (DATA, at(AUSTRIA), 3 * MB),
        (DATA, at(AUSTRIA), 300 * MB),
        (DATA, at(HOME), 3 * MB),
        (IMS, towards(NATIONAL, AUSTRIA), 125),
        (IMS, called_by(NATIONAL, AUSTRIA), 61),
        (IMS, diverted(CFNRC, plmn=AUSTRIA), 61),
        (SMS, sms_to("+38631234567", AUSTRIA), 2),
    ],
)
async def test_a_surcharge_beside_the_price(
    world: World, package: str | None, credit: int, context: str, information: ServiceInformation, amount: int
) -> None:
    user = await world.subscriber(credit, package)
    measure = AccountMeasure(MeasureKind.FACT, "fair-use-surcharge", "test", world.now)
    await world.ledger.set_measure(user.account_id, measure=measure, **world.when)
    said = await foretold(user, context, information, amount)
    assert (said.amount, said.micro_eur) == await charged(user, context, information, amount), said.trace
