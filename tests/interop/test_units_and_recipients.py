"""Units that a service is charged by or not, several recipients, and content, from the octets on the socket to records
and metrics.

One server and one connection of an SMSC that may refund; when the module is over, tshark reads all that the server has
said.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from protocol import failed_avp
from protocol.credit_control import (
    CcMoney,
    MultipleServicesCreditControl,
    RequestedServiceUnit,
    UnitValue,
    UsedServiceUnit,
)
from tests.conftest import SYSTEM_REDIS, RedisServer
from tests.interop.core import CONFIG, EUR, MB, MB_PRICE, REALM, Core, Session
from tests.interop.wire import Peer
from tests.ocs.charging.ccr import DATA, IMS, MMS, SMS, at, messages, octets, towards
from tests.ocs.rules.recipients import OF_MMS, OF_SMS, SI, UA, US, to
from tests.waiting import wait_for

SMSC = "smsc.localdomain"
MSCC = "multiple_services_credit_control"
OURS = f"""
[[peer]]
origin_host = "{SMSC}"
realm = "{REALM}"
profile = "smsc"
refunds = true
service_contexts = {{ "Comverse.DCI" = "content" }}
"""
DEBIT, REFUND = 0, 1


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    assert SYSTEM_REDIS, "the tests need a redis-server on PATH: apt-get install redis-server"
    folder = tmp_path_factory.mktemp("units")
    (folder / "redis").mkdir()
    redis = RedisServer(SYSTEM_REDIS, folder / "redis")
    redis.start()
    core = Core(folder / "ocs", redis.url, CONFIG.replace("[api]", f"{OURS}[api]"))
    yield core
    core.end()
    redis.stop(kill=True)
    assert " ERROR " not in core.log
    core.wire.dissected(folder)


@pytest.fixture(scope="module")
def smsc(core: Core) -> Peer:
    return core.wire.connect(SMSC, REALM)


def test_the_same_traffic_in_two_reports(core: Core) -> None:
    gy = Session(core.pgw, core.account(), DATA, at())
    assert gy.ask("I", 0, octets(50 * MB, group=10)).codes == (2001, 2001)
    report = octets(group=10)
    report.used_service_unit = [
        UsedServiceUnit(reporting_reason=0, cc_total_octets=10 * MB),
        UsedServiceUnit(reporting_reason=5, cc_input_octets=4 * MB, cc_output_octets=6 * MB),
    ]
    assert gy.ask("T", 1, report).codes == (2001, 2001)
    core.settled(gy.account, 10 * MB_PRICE)


@pytest.mark.parametrize(("context", "prices"), [(SMS, OF_SMS), (MMS, OF_MMS)], ids=["sms", "mms"])
@pytest.mark.parametrize("units", [3, 0])
def test_a_message_to_three_and_back_from_one(
    core: Core, smsc: Peer, context: str, prices: dict[str, int], units: int
) -> None:
    sent = Session(smsc, core.account(), context, to(SI, UA, US, context=context))
    answer = sent.ask("E", 0, messages(units), requested_action=DEBIT)
    assert answer.codes == (2001, 2001) and answer.granted.cc_service_specific_units == 3
    cost = prices[SI] + prices[UA] + prices[US]
    core.settled(sent.account, cost)
    again = messages(1)
    again.refund_information = answer.services[0].refund_information
    back = Session(smsc, sent.account, context, to(UA, context=context))
    assert back.ask("E", 1, again, requested_action=REFUND).codes == (2001, 2001)
    core.settled(sent.account, cost - prices[UA])

    def services(sid: str) -> Any:
        own = [line for line in core.serving.records() if line.get("session_id") == sid]
        return own[0].get("services") if own else None

    lines = wait_for(lambda: services(sent.sid))
    assert [(line["detail"].split()[-1], line["used"], line["debit_micro_eur"]) for line in lines] == [
        (recipient, 1, prices[recipient]) for recipient in (SI, UA, US)
    ]
    (line,) = wait_for(lambda: services(back.sid))
    assert (line["key"], line["used"], line["credit_in_micro_eur"]) == ("-#2", -1, prices[UA])


def test_a_message_that_is_paid_for_two_of_three_is_refused(core: Core, smsc: Peer) -> None:
    sent = Session(smsc, core.account(EUR // 4), SMS, to(SI, UA, US))
    assert sent.ask("E", 0, messages(3), requested_action=DEBIT).codes == (4012,)
    core.settled(sent.account, 0)


def test_one_off_requests_in_other_units(core: Core, smsc: Peer) -> None:
    price = CcMoney(UnitValue(50, -2), 978)
    wish = MultipleServicesCreditControl(requested_service_unit=RequestedServiceUnit(cc_money=price))
    for context, information in ((SMS, to(SI)), (IMS, towards(f"tel:{SI}")), (DATA, at())):
        asked = Session(smsc, core.account(), context, information)
        answer = asked.ask("E", 0, wish, requested_action=DEBIT)
        assert answer.codes == (5031,) and answer.cca is not None
        assert answer.cca.failed_avp == failed_avp.copy("cc_money", price, MSCC, "requested_service_unit")
        core.settled(asked.account, 0)


def test_content_under_a_context_of_its_maker(core: Core, smsc: Peer) -> None:
    price = CcMoney(UnitValue(99, -2), 978)
    wish = RequestedServiceUnit(cc_money=price)
    bought = Session(smsc, core.account(), "Comverse.DCI", None)
    answer = bought.ask("E", 0, requested_service_unit=wish, requested_action=DEBIT)
    assert answer.codes == (2001,) and answer.cca is not None and answer.cca.granted_service_unit is not None
    assert answer.cca.granted_service_unit.cc_money == CcMoney(UnitValue(990_000, -6), 978)
    core.settled(bought.account, 990_000)


def test_a_report_in_other_units_is_counted_and_logged(core: Core) -> None:
    gy = Session(core.pgw, core.account(), DATA, at())
    assert gy.ask("I", 0, octets(MB)).codes == (2001, 2001)
    report = octets()
    report.used_service_unit = [UsedServiceUnit(cc_time=60)]
    before = core.counted("ocs_other_units", service="data", unit="seconds")
    assert gy.ask("T", 1, report).codes == (2001, 2001)
    core.is_counted("ocs_other_units", before + 60, service="data", unit="seconds")
    said = [line for line in core.log.splitlines() if "nothing in the unit that it is charged by" in line]
    assert len(said) == 1 and gy.peer.host in said[0] and "60 seconds of data" in said[0]
    assert gy.account.msisdn not in core.log
    core.settled(gy.account, 0)
