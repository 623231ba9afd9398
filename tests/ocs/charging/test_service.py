"""The charging service: account look-ups, caches, omitted values; exactly one reply per request."""

from __future__ import annotations

from typing import Any

import pytest

from ocs.catalogue.catalogue import Catalogue
from ocs.charging import account_lookup, session_cache
from ocs.values.bounded_cache import BoundedCache
from protocol import failed_avp
from protocol.credit_control import (
    CreditControlRequest,
    RequestedServiceUnit,
    SubscriptionId,
    UsedServiceUnit,
)
from tests.ocs.charging.ccr import (
    IMS,
    IMSI,
    MB,
    MSISDN,
    SMS,
    at,
    ccr,
    messages,
    octets,
    seconds,
    sms_to,
    towards,
)
from tests.ocs.charging.fake_ledger import EUR, NOW, FakeLedger
from tests.ocs.charging.worker import ACCOUNT, Worker


@pytest.fixture
def another(ledger: FakeLedger, catalogue: Catalogue) -> Worker:
    return Worker(ledger, catalogue)


def data(kind: str, number: int = 0, **more: Any) -> CreditControlRequest:
    wanted = {"want": 10 * MB} if kind in "IU" else {}
    used = {"used": MB} if kind in "UT" else {}
    return ccr(kind, number, octets(**wanted, **used), information=at(), **more)


# -- requests


async def test_a_session(worker: Worker, ledger: FakeLedger) -> None:
    for number, kind in enumerate("IUUT"):
        answer = await worker.answer(data(kind, number))
        assert answer.result_code == 2001
    assert ledger.credit(ACCOUNT) == 20 * EUR - 3 * 6_900
    assert ledger.asked == {"find_subscriber": 1, "charge": 4}, "the subscriber is looked up once"
    asked = ledger.charged[1]
    assert (asked.identity, asked.now, asked.month, asked.deadline) == ("m" + MSISDN, NOW, 202611, NOW + 2 * 3600)
    assert (asked.origin_host, asked.context, asked.services[0].detail) == (
        "pgw.example.net",
        "data",
        "29340 mo internet",
    )


async def test_the_metrics_of_a_session(worker: Worker) -> None:
    for number, kind in enumerate("IUT"):
        await worker.answer(data(kind, number))
    await worker.answer(data("U", 1))
    assert worker.metrics.of("granted") == [["data", "octets", 10 * MB]] * 2
    assert worker.metrics.of("used") == [["data", "octets", MB]] * 2
    assert worker.metrics.of("debited") == [["data", 6_900, 0, "octets"]] * 2
    assert worker.metrics.of("mscc_result") == [["data", 2001]] * 3
    assert worker.metrics.of("duplicate") == [["U"]]
    assert worker.metrics.of("blocked") == []


async def test_a_repetition_gets_the_same_answer_and_is_charged_once(
    worker: Worker, another: Worker, ledger: FakeLedger
) -> None:
    await worker.answer(data("I"))
    first = await worker.answer(data("U", 1))
    assert await worker.answer(data("U", 1)) == first
    assert await another.answer(data("U", 1)) == first
    assert ledger.credit(ACCOUNT) == 20 * EUR - 6_900


async def test_units_at_command_level(worker: Worker, ledger: FakeLedger) -> None:
    """A request with units at command level gets units at command level."""
    asked = RequestedServiceUnit(cc_total_octets=MB)
    opened = await worker.answer(ccr("I", information=at(), requested_service_unit=asked))
    assert opened.granted_service_unit is not None and opened.granted_service_unit.cc_total_octets == MB
    assert opened.multiple_services_credit_control == []
    used = [UsedServiceUnit(cc_total_octets=MB)]
    assert (await worker.answer(ccr("T", 1, information=at(), used_service_unit=used))).result_code == 2001
    assert ledger.credit(ACCOUNT) == 20 * EUR - 6_900


# -- account look-up


async def test_an_unknown_subscriber(worker: Worker) -> None:
    for more in ({"msisdn": "38699999999"}, {"msisdn": None, "imsi": "293409999999999"}, {"msisdn": "no number"}):
        answer = await worker.answer(data("I", **more))
        assert (answer.result_code, answer.multiple_services_credit_control) == (5030, [])
    assert worker.metrics.of("blocked") == [["unknown", "unknown"]] * 3


async def test_the_imsi_when_the_msisdn_is_not_known(worker: Worker) -> None:
    answer = await worker.answer(data("I", msisdn="38699999999", imsi=IMSI))
    assert answer.result_code == 2001


@pytest.mark.parametrize("msisdn", ["38699999999", None])
async def test_an_emergency_call_of_an_unknown_subscriber(
    worker: Worker, ledger: FakeLedger, msisdn: str | None
) -> None:
    """Granted from opening to end, without an account and so without a session in the ledger."""
    rest: dict[str, Any] = {"context": IMS, "information": towards("urn:service:sos"), "msisdn": msisdn}
    for number, kind in enumerate("IU"):
        used = None if kind == "I" else 100
        (mscc,) = (
            await worker.answer(ccr(kind, number, seconds(want=120, used=used), **rest))
        ).multiple_services_credit_control
        assert mscc.granted_service_unit is not None and mscc.granted_service_unit.cc_time == 120
    ended = await worker.answer(ccr("T", 2, seconds(used=60), **rest))
    assert ended.result_code == 2001
    assert ledger.charged == []


async def test_a_number_that_moved_to_another_account(worker: Worker, ledger: FakeLedger) -> None:
    """The worker's cache is stale: the ledger says so, and the account is looked up again."""
    await worker.answer(data("I"))
    await worker.answer(data("T", 1))
    ledger.model.accounts[ACCOUNT].msisdn = "38668100009"
    ledger.names.pop("i" + IMSI)
    new = ledger.open("01-0000000000000002", MSISDN, "293400000000002")
    answer = await worker.answer(data("I", sid="new"))
    assert answer.result_code == 2001
    assert ledger.charged[-1].account_id == new
    assert ledger.asked["find_subscriber"] == 2


async def test_a_removed_account(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(data("I"))
    del ledger.model.accounts[ACCOUNT]
    ledger.names.clear()
    assert (await worker.answer(data("U", 1))).result_code == 5030


async def test_a_wrong_index_entry_ends_in_an_unknown_subscriber(worker: Worker, ledger: FakeLedger) -> None:
    """The look-up names an account that does not have the number, however often it is repeated."""
    ledger.model.accounts[ACCOUNT].msisdn = "38668100009"
    answer = await worker.answer(data("I"))
    assert answer.result_code == 5030
    assert ledger.asked["charge"] <= 3


async def test_no_subscription_id_in_updates(worker: Worker, another: Worker, ledger: FakeLedger) -> None:
    """Some clients name the subscriber in the first request only; the next one may reach another worker."""
    await worker.answer(data("I"))
    assert (await worker.answer(data("U", 1, msisdn=None))).result_code == 2001
    assert ledger.asked["find_session"] == 0
    assert (await another.answer(data("U", 2, msisdn=None))).result_code == 2001
    assert (await another.answer(data("T", 3, msisdn=None))).result_code == 2001
    assert ledger.asked["find_session"] == 1, "asked once, then remembered"
    assert ledger.charged[-1].identity == ""
    assert ledger.credit(ACCOUNT) == 20 * EUR - 3 * 6_900
    # An unknown session:
    assert (await another.answer(data("U", 1, msisdn=None, sid="never"))).result_code == 5002
    assert (await another.answer(data("T", 1, msisdn=None, sid="never"))).result_code == 5002


async def test_a_new_session_needs_a_subscriber(worker: Worker) -> None:
    for request in (
        data("I", msisdn=None),
        ccr("E", 0, messages(want=1), context=SMS, msisdn=None, information=sms_to("+38631234567")),
    ):
        error = await worker.error(request)
        assert (error.result_code, error.failed_avp) == (5005, failed_avp.example("subscription_id"))


async def test_an_unreadable_subscription_id_is_an_unknown_subscriber(worker: Worker) -> None:
    request = data("U", 1, msisdn=None)
    request.subscription_id = [SubscriptionId(2, "sip:alice@ims.example.net")]
    assert (await worker.answer(request)).result_code == 5030


# -- refused before the ledger is asked


async def test_an_unsupported_service_context(worker: Worker, ledger: FakeLedger) -> None:
    answer = await worker.answer(data("I", context="32299@3gpp.org"))
    assert (answer.result_code, answer.failed_avp) == (5031, failed_avp.copy("service_context_id", "32299@3gpp.org"))
    assert not ledger.asked


async def test_no_service_of_the_request_can_be_rated(worker: Worker, ledger: FakeLedger) -> None:
    request = ccr("I", 0, octets(want=0, group=777), information=at())
    answer = await worker.answer(request)
    assert answer.result_code == 5031
    assert answer.failed_avp == failed_avp.copy("rating_group", 777, "multiple_services_credit_control")
    assert not ledger.asked


async def test_some_services_of_the_request_can_be_rated(worker: Worker) -> None:
    request = ccr("I", 0, octets(want=0, group=777), octets(want=0), information=at())
    answer = await worker.answer(request)
    assert answer.result_code == 2001
    assert [m.result_code for m in answer.multiple_services_credit_control] == [5031, 2001]
    assert ["unknown", "unrateable"] in worker.metrics.of("blocked")


async def test_a_report_without_a_called_party_is_charged(worker: Worker, ledger: FakeLedger) -> None:
    """The last report of a call lacks the called party; the price in force applies."""
    where = towards("tel:+38631234567")
    await worker.answer(ccr("I", 0, seconds(want=300), context=IMS, information=where))
    answer = await worker.answer(ccr("T", 1, seconds(used=60), context=IMS))
    assert answer.result_code == 2001
    assert [m.result_code for m in answer.multiple_services_credit_control] == [2001]
    assert ledger.credit(ACCOUNT) == 20 * EUR - 69_000


# -- the ledger is unavailable


async def test_an_unavailable_ledger(worker: Worker, ledger: FakeLedger) -> None:
    await worker.answer(data("I"))
    ledger.gone = True
    for request in (data("U", 1), data("I", sid="s", msisdn="38668100005"), data("U", 1, msisdn=None, sid="x")):
        assert (await worker.error(request)).result_code == 3002
        request.destination_host = "ocs.example.net"
        error = await worker.error(request)
        assert (error.result_code, error.protocol_error) == (3004, True)
    ledger.gone = False
    assert (await worker.answer(data("U", 1))).result_code == 2001
    assert ledger.credit(ACCOUNT) == 20 * EUR - 6_900


# -- caches


def test_the_caches_of_the_service_are_bounded() -> None:
    kept = BoundedCache(3)
    for n in range(5):
        kept.put(str(n), "x")
    assert list(kept) == ["2", "3", "4"]
    kept.put("3", "y")
    assert (len(kept), kept["3"]) == (3, "y")


async def test_a_dropped_cache_entry_costs_one_look_up(
    ledger: FakeLedger, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_lookup, "MAX_SUBSCRIBERS_KEPT", 1)
    monkeypatch.setattr(session_cache, "MAX_SESSIONS_KEPT", 1)
    worker = Worker(ledger, catalogue)
    other = ledger.open("01-0000000000000002", "38668100002", "293400000000002")
    await worker.answer(data("I"))
    await worker.answer(data("I", sid="other", msisdn="38668100002"))
    assert (await worker.answer(data("U", 1))).result_code == 2001
    assert (await worker.answer(data("U", 1, sid="other", msisdn=None))).result_code == 2001
    assert ledger.credit(ACCOUNT) == ledger.credit(other) == 20 * EUR - 6_900
