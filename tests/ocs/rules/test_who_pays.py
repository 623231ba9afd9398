"""The account of a request, for every form in which networks send an MSISDN or an IMSI (TS 23.003, RFC 8506 §8.46)."""

from __future__ import annotations

import pytest

from protocol.credit_control import SubscriptionId
from tests.ocs.charging.ccr import MB, at, ccr, octets
from tests.ocs.rules.world import DATA, EUR, World

MSISDN, IMSI, IMSI_16 = "38668155555", "293400000055555", "2934000000055555"
DOMAIN = "ims.mnc040.mcc293.3gppnetwork.org"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (0, MSISDN),
        (1, IMSI),
        (2, f"sip:+{MSISDN}@ims.example.net"),
        (2, f"sip:{MSISDN}@{DOMAIN}"),
        (2, f"sip:{IMSI}@{DOMAIN}"),
        (3, f"{IMSI}@nai.epc.mnc040.mcc293.3gppnetwork.org"),
        (3, f"0{IMSI}@nai.epc.mnc040.mcc293.3gppnetwork.org"),
    ],
)
async def test_the_account_is_found(world: World, kind: int, data: str) -> None:
    who = {"msisdn": MSISDN, "imsi": IMSI, "credit_micro_eur": 20 * EUR, "package": None, "entropy": 7}
    account_id = await world.ledger.open_account(**who, **world.when)
    assert await charged(world, account_id, kind, data) > 0


async def test_an_imsi_of_16_digits(world: World) -> None:
    who = {"msisdn": MSISDN, "imsi": IMSI_16, "credit_micro_eur": 20 * EUR, "package": None, "entropy": 7}
    account_id = await world.ledger.open_account(**who, **world.when)
    assert await charged(world, account_id, 1, IMSI_16) > 0


async def charged(world: World, account_id: str, kind: int, data: str) -> int:
    """What a session of 10 MB with this Subscription-Id alone takes from the account, in micro-EUR."""
    sid, left = world.new_session(), []
    for number, step in enumerate((octets(want=10 * MB), octets(used=10 * MB))):
        request = ccr("IT"[number], number, step, context=DATA, sid=sid, msisdn=None, information=at())
        request.subscription_id = [SubscriptionId(kind, data)]
        assert (await world.ask(request)).result_code == 2001
        found = await world.ledger.read(account_id, **world.when)
        assert found is not None
        left.append(found.credit_micro_eur)
    return left[0] - left[1]
