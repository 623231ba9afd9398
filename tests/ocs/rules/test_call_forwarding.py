"""HOT-RAT-7: A calls B, who forwards to C. What each of them pays, from the CCR to the record."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.settings.profile import Profile
from protocol.credit_control import (
    ImsInformation,
    MmtelInformation,
    PsInformation,
    ServiceInformation,
    SupplementaryService,
)
from tests.ocs.charging.ccr import AUSTRIA, CS, HOME, IMS, SERBIA, USA, called_by, seconds, towards
from tests.ocs.charging.source import Origin
from tests.ocs.rules.world import EUR, Subscriber, World, granted
from tests.rules import rule

A, C, GERMAN = "tel:+38640111222", "tel:+38631234567", "tel:+4915112345678"
VOICEMAIL = "tel:+38668686860"
CFU, CFB, CFNR, CFNL, CD, CFNRC = range(6)
NATIONAL = 69_000
OUT, IN = 990_000, 490_000
"""A minute out of and into Serbia (world-1)."""


def diverted(mode: int | None, to: str = C, plmn: str | None = HOME, count: int = 1) -> ServiceInformation:
    """The leg from B to C, as B's application server reports it (TS 32.275)."""
    ims = ImsInformation(role_of_node=2, calling_party_address=[A], called_party_address=to)
    service = SupplementaryService(mmtel_service_type=6, service_mode=mode, number_of_diversions=count)
    return ServiceInformation(
        ims_information=ims,
        ps_information=PsInformation(tgpp_sgsn_mcc_mnc=plmn) if plmn else None,
        mmtel_information=MmtelInformation(supplementary_service=[service]),
    )


async def lines(user: Subscriber) -> list[tuple[str, int, int]]:
    """(rate, seconds, micro-EUR) of the account's charging records."""
    return [
        (line["label"], line["used"], line["debit"]) for record in await user.events("charge") for line in record["svc"]
    ]


# -- the four cases


@rule("HOT-RAT-7")
async def test_a_all_at_home(world: World) -> None:
    """One minute: A pays A→B, B pays B→C as if B had called C, C pays nothing."""
    a, b, c = [await world.subscriber(5) for _ in range(3)]
    assert await a.call(60, towards(f"tel:+{b.msisdn}")) == NATIONAL
    assert await b.call(60, diverted(CFU, f"tel:+{c.msisdn}")) == NATIONAL
    assert await c.call(60, called_by(A)) == 0
    assert await lines(a) == await lines(b) == [("voice.home.national", 60, NATIONAL)]


@rule("HOT-RAT-7")
@pytest.mark.parametrize(("plmn", "price"), [(AUSTRIA, 0), (SERBIA, 490_000), (USA, 1_490_000)])
async def test_b_forwarded_at_home_and_c_abroad(world: World, plmn: str, price: int) -> None:
    """B pays the national call, C the incoming call of the country where C is."""
    b, c = await world.subscriber(5), await world.subscriber(5)
    assert await b.call(60, diverted(CFNR, f"tel:+{c.msisdn}")) == NATIONAL
    assert await c.call(60, called_by(A, plmn)) == price


@rule("HOT-RAT-7")
@pytest.mark.parametrize("mode", [CFU, CFNL, None])
@pytest.mark.parametrize("plmn", [AUSTRIA, SERBIA, USA, None])
async def test_c_b_abroad_and_forwarded_at_home(world: World, mode: int | None, plmn: str | None) -> None:
    """Unconditional, or B's phone off: a national call, wherever B is or was last."""
    b = await world.subscriber(5)
    assert await b.call(125, diverted(mode, plmn=plmn)) == NATIONAL * 125 // 60
    assert await lines(b) == [("voice.home.national", 125, 143_750)]


@rule("HOT-RAT-7")
@pytest.mark.parametrize("mode", [CFNRC, CFB, CFNR, CD])
@pytest.mark.parametrize(
    ("plmn", "place", "out", "into"), [(SERBIA, "world-1", OUT, IN), (USA, "world-2", 2_990_000, 1_490_000)]
)
async def test_d_b_abroad_and_forwarded_late(
    world: World, mode: int, plmn: str, place: str, out: int, into: int
) -> None:
    """61 s are two minutes on each leg: a call from there to Slovenia, and an incoming call there. C pays its own."""
    b, c = await world.subscriber(20), await world.subscriber(5)
    assert await b.call(61, diverted(mode, plmn=plmn)) == 2 * (out + into)
    assert await lines(b) == [(f"voice.{place}.in", 61, 2 * into), (f"voice.{place}.out", 61, 2 * out)]
    assert await c.call(61, called_by(A, SERBIA)) == 2 * IN


@rule("HOT-RAT-7", "HOT-ROA-1")
async def test_d_in_the_eu_included_minutes_pay(world: World) -> None:
    b = await world.subscriber(20, "MINI")
    credit, minutes = await b.credit(), await b.left("MINI.voice")
    assert await b.call(61, diverted(CFNRC, plmn=AUSTRIA)) == 0
    assert minutes is not None and await b.left("MINI.voice") == minutes - 61
    assert await b.credit() == credit
    assert await lines(b) == [("voice.eu.eu", 61, 0), ("voice.incoming", 61, 0)]


# -- the session


@rule("HOT-RAT-7")
async def test_the_reservation_covers_both_legs(world: World) -> None:
    """3 EUR pay two minutes at 1.48 EUR. No use of the call stays unpaid."""
    b = await world.subscriber(3)
    call = b.running(IMS, diverted(CFNRC, plmn=SERBIA))
    opened = await call.one("I", seconds(want=600))
    assert granted(opened) == 120 and opened.final_unit_indication is not None
    assert await call.held() == {"-": 2 * (OUT + IN)}
    await call.one("T", seconds(used=120))
    assert await b.credit() == 3 * EUR - 2 * (OUT + IN)


@rule("HOT-RAT-7")
@pytest.mark.parametrize("repeats", ["all", "no diversion", "no place", "nothing"])
@pytest.mark.parametrize("forgotten", [False, True])
async def test_later_requests_need_not_repeat_the_diversion(world: World, repeats: str, forgotten: bool) -> None:
    """The call stays forwarded late, also at another worker."""
    b, whole = await world.subscriber(20), diverted(CFNRC, plmn=SERBIA)
    call = b.running(IMS, whole)
    await call.one("I", seconds(want=60))
    if repeats in ("no diversion", "nothing"):
        whole.mmtel_information = None
    if repeats in ("no place", "nothing"):
        whole.ps_information = None
    for kind, service in (("U", seconds(want=60, used=60)), ("T", seconds(used=60))):
        if forgotten:
            world.service = type(world.service)(
                world.catalogue, world.ledger, world.metrics, lambda: world.now, world._spawn
            )
        world.now += 60
        assert (await call.one(kind, service)).result_code == 2001
    assert await b.credit() == 20 * EUR - 2 * (OUT + IN)


@rule("HOT-RAT-7")
async def test_b_comes_home_during_the_call(world: World) -> None:
    b = await world.subscriber(20)
    call = b.running(IMS, diverted(CFNRC, plmn=SERBIA))
    await call.one("I", seconds(want=60))
    world.now += 60
    call.information = diverted(CFNRC, plmn=HOME)
    await call.one("U", seconds(want=60, used=60))
    world.now += 60
    await call.one("T", seconds(used=60))
    assert await b.credit() == 20 * EUR - OUT - IN - NATIONAL


@rule("HOT-RAT-7", "HOT-CC-3")
async def test_both_legs_count_for_the_monthly_limit(world: World) -> None:
    b = await world.subscriber(20)
    await b.call(60, diverted(CFNRC, plmn=SERBIA))
    assert (await b.view()).spent_month_micro_eur == OUT + IN


# -- how the network says it


def requested(calling: str, own: str, called: str, role: int = 0) -> ServiceInformation:
    ims = ImsInformation(
        role_of_node=role,
        calling_party_address=[calling],
        called_party_address=called,
        requested_party_address=[own],
    )
    return ServiceInformation(ims_information=ims, ps_information=PsInformation(tgpp_sgsn_mcc_mnc=SERBIA))


@rule("HOT-RAT-7")
@pytest.mark.parametrize(
    ("calling", "own", "called", "expected"),
    [
        (A, "sip:+{}@ims.mnc040.mcc293.3gppnetwork.org", C, "voice.home.national"),
        (A, "tel:+{}", C, "voice.home.national"),
        (A, "tel:+38640999888", C, "voice.world-1.out"),  # another number: B's own call, with a translated called party
        ("tel:+{}", "tel:+{}", VOICEMAIL, "voice.world-1.out"),  # B dials B's own number: the voicemail
    ],
)
async def test_a_forwarded_leg_by_the_requested_party(
    world: World, calling: str, own: str, called: str, expected: str
) -> None:
    b = await world.subscriber(20)
    await b.call(60, requested(calling.format(b.msisdn), own.format(b.msisdn), called))
    assert [label for label, *_ in await lines(b)] == [expected]


@rule("HOT-RAT-7")
async def test_the_peers_profile_says_what_the_home_network_forwards(world: World) -> None:
    world.source = Origin(profile=Profile(early_forwarding=frozenset((CFU, CFNRC))))
    b = await world.subscriber(20)
    assert await b.call(60, diverted(CFNRC, plmn=SERBIA)) == NATIONAL
    assert await b.call(60, diverted(CFNL, plmn=SERBIA)) == OUT + IN
    assert await b.call(60, diverted(None, plmn=SERBIA)) == OUT + IN


@rule("HOT-RAT-7")
async def test_a_circuit_switched_leg(world: World) -> None:
    b, leg = await world.subscriber(20), diverted(CFNRC, plmn=SERBIA)
    assert await b.call(60, leg, CS) == OUT + IN


# -- bars, emergency, voicemail


@rule("HOT-RAT-7", "HOT-CC-5")
@pytest.mark.parametrize(
    ("bar", "to", "plmn", "mode", "code"),
    [
        ("forwarding", C, HOME, CFU, 4010),
        ("international", GERMAN, HOME, CFU, 4010),
        ("international", GERMAN, "26201", CFNRC, 4010),
        ("international", C, SERBIA, CFNRC, 2001),
        ("premium", "tel:+38690123456", HOME, CFU, 4010),
        ("roaming", C, SERBIA, CFNRC, 4010),
        ("roaming", C, SERBIA, CFU, 2001),
    ],
)
async def test_bs_bars_apply_to_the_forwarded_leg(
    world: World, bar: str, to: str, plmn: str, mode: int, code: int
) -> None:
    b = await world.subscriber(50)
    await world.ledger.set_bars(b.account_id, bars=[bar], **world.when)
    assert await b.may_call(diverted(mode, to, plmn)) == code


@rule("HOT-RAT-7", "HOT-RAT-2")
async def test_a_leg_to_an_emergency_number_is_free_and_always_allowed(world: World) -> None:
    b = await world.subscriber(0)
    assert await b.call(60, diverted(CFNRC, "tel:112", SERBIA)) == 0


@rule("HOT-RAT-7")
@pytest.mark.parametrize(
    ("plmn", "mode", "cost"),
    [(HOME, CFNR, 0), (SERBIA, CFNL, 0), (AUSTRIA, CFNRC, 0), (SERBIA, CFNRC, OUT + IN)],
)
async def test_a_message_is_left_in_the_voicemail(world: World, plmn: str, mode: int, cost: int) -> None:
    b = await world.subscriber(20)
    assert await b.call(60, diverted(mode, VOICEMAIL, plmn)) == cost


@rule("HOT-RAT-7")
@pytest.mark.parametrize(("plmn", "cost"), [(HOME, NATIONAL), (AUSTRIA, NATIONAL), (SERBIA, OUT)])
async def test_the_voicemail_is_retrieved(world: World, plmn: str, cost: int) -> None:
    b: Any = await world.subscriber(20)
    assert await b.call(60, towards(VOICEMAIL, plmn)) == cost
