"""A client's reports: reasons, units, and use that cannot be charged."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.settings.profile import FinalUnit, Profile
from protocol.credit_control import MultipleServicesCreditControl, RequestedServiceUnit, UsedServiceUnit
from protocol.units import TimeQuotaMechanism
from tests.ocs.charging.ccr import IMS, IMSI, MB, MSISDN, SMS, at, ccr, messages, octets, seconds, sms_to, towards
from tests.ocs.charging.fake_ledger import EUR, FakeLedger
from tests.ocs.charging.source import Origin
from tests.ocs.charging.test_core_network import GW, PARTY, Quota, Timed, one
from tests.ocs.charging.worker import ACCOUNT, Worker

REDIRECT = Profile(final_unit=FinalUnit.REDIRECT, redirect_address="https://hot.example.net/top-up")
QHT, FINAL, VALIDITY = 1, 2, 4


@pytest.fixture
def ledger() -> FakeLedger:
    ledger = FakeLedger()
    ledger.open(ACCOUNT, MSISDN, IMSI, credit=69_000)
    return ledger


# -- Reporting-Reason (TS 32.299 §7.2.175)


@pytest.mark.parametrize(("reason", "restricted"), [(QHT, False), (FINAL, False), (VALIDITY, True), (None, True)])
async def test_a_service_that_the_client_closes_begins_no_restricted_phase(
    worker: Worker, ledger: FakeLedger, reason: int | None, restricted: bool
) -> None:
    """The final units were granted and partly used. The restricted phase begins only if the client requests more."""
    worker.source = Origin(GW, profile=REDIRECT)
    last = one(await worker.answer(ccr("I", 0, octets(want=20 * MB), information=at())))
    assert last.final_unit_indication is not None
    report = octets(used=MB)
    report.reporting_reason = [] if reason is None else [reason]
    answer = one(await worker.answer(ccr("U", 1, report, information=at())))
    assert (answer.result_code, answer.final_unit_indication is not None) == (2001, restricted)
    assert ledger.model.accounts[ACCOUNT].held == 0


async def test_after_a_top_up_and_a_rar_the_client_gets_units_again(worker: Worker, ledger: FakeLedger) -> None:
    """RFC 8506 §5.6: a top-up, a RAR, and an update of the Rating-Group without units."""
    worker.source = Origin(GW, profile=REDIRECT)
    await worker.answer(ccr("I", 0, octets(want=20 * MB), information=at()))
    ledger.top_up(ACCOUNT, EUR, worker.now)
    answer = one(await worker.answer(ccr("U", 1, octets(), information=at())))
    assert answer.granted_service_unit is not None and answer.final_unit_indication is None


# -- units


async def test_a_total_of_zero_beside_input_and_output(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(ccr("I", 0, octets(want=5 * MB), information=at()))
    used = UsedServiceUnit(cc_total_octets=0, cc_input_octets=MB, cc_output_octets=MB)
    service = MultipleServicesCreditControl(rating_group=1, used_service_unit=[used])
    await worker.answer(ccr("T", 1, service, information=at()))
    assert ledger.credit(ACCOUNT) == 69_000 - 2 * 6_900


async def test_time_beside_volume_continues_in_updates_without_requested_units(
    worker: Worker, catalogue: Catalogue
) -> None:
    """RFC 8506 §5.2: the unit types stay the same during a session."""
    worker.service._rater = Quota(catalogue, time_s=600, time_mechanism=1, base_interval_s=20)
    for kind, number in (("I", 0), ("U", 1)):
        mscc = one(await worker.answer(ccr(kind, number, octets(want=0), information=at())))
        assert mscc.granted_service_unit is not None and mscc.granted_service_unit.cc_time == 600
        assert mscc.time_quota_mechanism == TimeQuotaMechanism(1, 20) and mscc.quota_consumption_time is None
    volume = one(await worker.answer(ccr("U", 2, octets(want=MB), information=at())))
    assert volume.granted_service_unit is not None and volume.granted_service_unit.cc_time is None, (
        "it asked for octets"
    )
    assert volume.time_quota_mechanism is None


async def test_no_announcement_before_the_call(worker: Worker, ledger: FakeLedger) -> None:
    worker.source = Origin(GW, profile=Profile(announcement=7, announcement_before_s=90))
    call = ccr("I", 0, seconds(want=300), context=IMS, information=towards(f"tel:{PARTY}"))
    last = one(await worker.answer(call))
    assert last.granted_service_unit is not None and last.final_unit_indication is not None
    (announcement,) = last.announcement_information
    assert announcement.time_indicator == min(90, last.granted_service_unit.cc_time or 0) == 60


# -- use that is not charged


@pytest.mark.parametrize(("number", "code"), [(1, 2001), (3, 5002)])
async def test_use_that_a_termination_has_overtaken_is_paid(
    worker: Worker, ledger: FakeLedger, number: int, code: int
) -> None:
    """The Result-Code says whether the session was known (RFC 8506 §9.1). The use is paid, and counted once."""
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    await worker.answer(ccr("T", 2, octets(used=MB), information=at()))
    late = await worker.answer(ccr("U", number, octets(used=2 * MB), information=at()))
    assert late.result_code == code
    assert ledger.credit(ACCOUNT) == 69_000 - 3 * 6_900
    assert worker.metrics.of("used") == [["data", "octets", MB], ["data", "octets", 2 * MB]]
    assert worker.metrics.of("dropped") == [] and worker.metrics.of("late") == [["U"]]


async def test_use_in_a_session_that_ended_long_ago_is_counted(worker: Worker, ledger: FakeLedger, caplog: Any) -> None:
    await worker.answer(ccr("I", 0, octets(want=MB), information=at()))
    await worker.answer(ccr("T", 2, octets(used=MB), information=at()))
    worker.now += 301
    late = await worker.answer(ccr("U", 1, octets(used=5_000), information=at()))
    assert late.result_code == 5002 and worker.metrics.of("dropped") == [["data", "octets", 5_000]]
    assert "in a session that is not open" in caplog.text and MSISDN not in caplog.text
    assert ledger.credit(ACCOUNT) == 69_000 - 6_900


async def test_use_after_a_refused_opening_that_no_account_can_pay_is_counted(worker: Worker, caplog: Any) -> None:
    """The opening of an unknown subscriber is refused, but the client reports use. Unpaid use is always counted."""
    stranger = {"msisdn": "38699999999", "information": at()}
    assert (await worker.answer(ccr("I", 0, octets(want=MB), **stranger))).result_code == 5030
    ended = await worker.answer(ccr("T", 1, octets(used=50 * MB), **stranger))
    assert (ended.result_code, one(ended).result_code) == (2001, 2001)
    assert worker.metrics.of("dropped") == [["data", "octets", 50 * MB]]
    assert "in a session that is not open" in caplog.text


@pytest.mark.parametrize("again", [777, None])
async def test_use_after_an_opening_that_could_not_be_rated_is_counted(
    worker: Worker, ledger: FakeLedger, caplog: Any, again: int | None
) -> None:
    """5031 is answered before the ledger is asked, so the session is unknown to it. The use is not charged, even if the
    service can be rated by now.
    """
    assert (await worker.answer(ccr("I", 0, octets(want=MB, group=777), information=at()))).result_code == 5031
    for number in (1, 2):
        ended = await worker.answer(ccr("T", number, octets(used=3 * MB, group=again), information=at()))
        assert ended.result_code == 2001
    service = "data" if again is None else "unknown"
    assert worker.metrics.of("dropped") == [[service, "octets", 3 * MB]] * 2 and worker.metrics.of("used") == []
    assert caplog.text.count("in a session that is not open") == 1 and MSISDN not in caplog.text
    assert ledger.credit(ACCOUNT) == 69_000


@pytest.mark.parametrize("kind", ["U", "T"])
@pytest.mark.parametrize(
    ("subscriber", "code"),
    [({"msisdn": "38699999999"}, 5030), ({"msisdn": None}, 5002), ({"imsi": "293400000000001"}, 5030)],
    ids=["a stranger", "nobody is named", "two accounts"],
)
async def test_use_that_leads_to_no_account_is_counted(
    worker: Worker, ledger: FakeLedger, caplog: Any, kind: str, subscriber: dict[str, Any], code: int
) -> None:
    ledger.open("00-other", "38668100001", "293400000000001")
    reply = await worker.handle(ccr(kind, 1, octets(used=MB), information=at(), **subscriber))
    assert reply.result_code == code
    assert worker.metrics.of("dropped") == [["data", "octets", MB]]
    assert caplog.text.count("in a session that is not open") == 1 and "38699999999" not in caplog.text


async def test_an_opening_that_succeeds_in_the_end_is_not_refused(worker: Worker) -> None:
    """Its late termination is answered 5002 (RFC 8506 §9.1), although an earlier opening was refused."""
    assert (await worker.answer(ccr("I", 0, octets(want=MB, group=777), information=at()))).result_code == 5031
    assert (await worker.answer(ccr("I", 0, octets(want=MB), information=at()))).result_code == 2001
    assert (await worker.answer(ccr("T", 1, octets(used=MB), information=at()))).result_code == 2001
    worker.now += 301
    assert (await worker.answer(ccr("T", 2, octets(used=MB), information=at()))).result_code == 5002


async def test_dropped_use_does_not_count_as_used(worker: Worker) -> None:
    call = {"context": IMS, "information": towards(f"tel:{PARTY}")}
    await worker.answer(ccr("I", 0, seconds(want=60), **call))
    worker.now += 20
    await worker.answer(ccr("T", 1, seconds(used=1_795_000_000), **call))
    assert worker.metrics.of("used") == [["voice", "seconds", 20]]
    assert worker.metrics.of("dropped") == [["voice", "seconds", 1_795_000_000 - 20]]


# -- refunds


async def test_a_refund_may_omit_the_data_of_its_debit(worker: Worker, ledger: FakeLedger) -> None:
    worker.source = Origin(GW, refunds=True)
    debit = ccr("E", 0, messages(want=1), context=SMS, information=sms_to(PARTY), requested_action=0)
    token = one(await worker.answer(debit)).refund_information
    assert ledger.credit(ACCOUNT) == 0
    service = messages(want=1)
    service.refund_information = token
    back = one(await worker.answer(ccr("E", 0, service, context=SMS, requested_action=1)))
    assert (back.result_code, back.granted_service_unit.cc_service_specific_units) == (2001, 1)
    assert ledger.credit(ACCOUNT) == 69_000
    assert worker.metrics.of("refunded") == [["unknown", 69_000]]
    bare = await worker.answer(
        ccr(
            *("E", 1),
            context=SMS,
            requested_action=1,
            requested_service_unit=RequestedServiceUnit(),
            refund_information=token,
        )
    )
    assert bare.result_code == 4010, "nothing is left of it"


# -- unavailable: 3002 or 3004 (RFC 6733 §7.1.3)


async def test_a_request_without_destination_host_may_go_to_another_server(
    ledger: FakeLedger, catalogue: Catalogue
) -> None:
    worker = Worker(ledger, Timed(catalogue, 0))
    ledger.gone = True
    request = ccr("I", 0, octets(want=MB), information=at())
    assert (await worker.error(request)).result_code == 3002
    request.destination_host = "ocs.example.net"
    assert (await worker.error(request)).result_code == 3004
