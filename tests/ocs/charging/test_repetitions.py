"""A repetition gets the same answer octet by octet, at any time and from any worker (RFC 8506 §8.2)."""

from __future__ import annotations

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.settings.profile import Profile
from ocs.values.use import Unit
from protocol.credit_control import CreditControlAnswer, CreditControlRequest, ServiceInformation, encode_cca
from protocol.header import Header
from tests.ocs.charging.ccr import (
    IMS,
    MB,
    SERBIA,
    SMS,
    at,
    ccr,
    messages,
    octets,
    seconds,
    sms_to,
    towards,
)
from tests.ocs.charging.fake_ledger import NOW, FakeLedger
from tests.ocs.charging.source import Origin
from tests.ocs.charging.test_core_network import GW, PARTY, Timed
from tests.ocs.charging.worker import ACCOUNT, Worker

TELLING = Profile(cost_information=True, remaining_balance=True, low_balance_indication=True, pools=True)


def octets_of(answer: CreditControlAnswer) -> bytes:
    return encode_cca(answer, Header(0, 0xC0, 272, 4, 1, 1), "ocs.example.net", "example.net")


class Twice:
    """Sends each request to one worker at once, and to another one later."""

    def __init__(self, ledger: FakeLedger, rater: object) -> None:
        self.first, self.second = Worker(ledger, rater), Worker(ledger, rater)
        self.first.source = self.second.source = Origin(GW, profile=TELLING)

    async def same(self, request: CreditControlRequest, later_s: float = 0.0) -> CreditControlAnswer:
        answer = await self.first.answer(request)
        self.second.now = self.first.now + later_s
        again = await self.second.answer(request)
        assert octets_of(again) == octets_of(answer)
        return answer


async def test_repetitions_over_a_price_switch(ledger: FakeLedger, catalogue: Catalogue) -> None:
    twice = Twice(ledger, Timed(catalogue, NOW + 600))
    opened = await twice.same(ccr("I", 0, octets(want=MB), information=at()), later_s=700)
    (mscc,) = opened.multiple_services_credit_control
    assert mscc.granted_service_unit.tariff_time_change == NOW + 600
    used = await twice.same(ccr("U", 1, octets(want=MB, used=MB), information=at()), later_s=1_000)
    assert used.cost_information is not None


async def test_repetitions_of_a_call_whose_grant_ends_at_a_switch(ledger: FakeLedger, catalogue: Catalogue) -> None:
    twice = Twice(ledger, Timed(catalogue, NOW + 600, Unit.SECONDS))
    request = ccr("I", 0, seconds(want=300), context=IMS, information=towards(f"tel:{PARTY}"))
    (mscc,) = (await twice.same(request, later_s=3)).multiple_services_credit_control
    assert mscc.validity_time == 600


@pytest.mark.parametrize("nothing_said", [None, ServiceInformation()])
async def test_repetitions_after_the_session_without_a_location(
    ledger: FakeLedger, catalogue: Catalogue, nothing_said: ServiceInformation | None
) -> None:
    """The session has ended, and it is new to the other worker."""
    twice = Twice(ledger, catalogue)
    await twice.first.answer(ccr("I", 0, octets(want=MB), information=at(SERBIA)))
    update = ccr("U", 1, octets(want=MB, used=1024), information=nothing_said)
    answer = await twice.first.answer(update)
    await twice.first.answer(ccr("T", 2, octets(used=1024), information=at(SERBIA)))
    twice.second.now += 60
    again = await twice.second.answer(update)
    assert octets_of(again) == octets_of(answer)
    assert again.multiple_services_credit_control[0].granted_service_unit is not None


async def test_repetitions_of_one_off_requests(ledger: FakeLedger, catalogue: Catalogue) -> None:
    twice = Twice(ledger, catalogue)
    twice.first.source = twice.second.source = Origin(GW, profile=TELLING, refunds=True)

    def sms(action: int, token: bytes | None = None) -> CreditControlRequest:
        service = messages(want=1)
        service.refund_information = token
        return ccr("E", 0, service, context=SMS, information=sms_to(PARTY), requested_action=action)

    checked = await twice.same(sms(2), later_s=9)
    paid = await twice.same(sms(0), later_s=9)
    token = paid.multiple_services_credit_control[0].refund_information
    back = await twice.same(sms(1, token), later_s=9)
    assert (checked.check_balance_result, back.result_code) == (0, 2001)
    assert ledger.credit(ACCOUNT) == ledger.model.accounts[ACCOUNT].paid_in, "one number, three requests"
    ledger.spend(ACCOUNT, left=0)
    assert (await twice.second.answer(sms(2))).check_balance_result == 0, "a repetition, not a new question"
