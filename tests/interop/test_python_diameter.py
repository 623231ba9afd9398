"""A client made of python-diameter's own node: its peer state machine, watchdog, routing and message classes."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from diameter.message import Message
from diameter.message.avp.grouped import (
    MultipleServicesCreditControl,
    PsInformation,
    RequestedServiceUnit,
    ServiceInformation,
    SubscriptionId,
    UsedServiceUnit,
)
from diameter.message.commands import CreditControlRequest
from diameter.message.commands.re_auth import ReAuthRequest
from diameter.node import Node
from diameter.node.application import SimpleThreadingApplication
from diameter.node.peer import DISCONNECT_REASON_DPR

from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.ledger.redis.ledger import RedisLedger
from ocs.process.worker import STOP_GRACE_S
from tests.faults.harness import Serving
from tests.interop.conftest import MSISDN, REALM, when
from tests.ports import free_port
from tests.waiting import wait_for

PGW = "pgw.a1.example.net"
MB = 1024 * 1024
PEERS = f"""
[[peer]]
origin_host = "{PGW}"
realm = "{REALM}"
"""


class Element:
    """A P-GW on python-diameter; `asked` has the server's requests."""

    def __init__(self, server: str, realm: str = "hot.example.net", host: str = "ocs.hot.example.net") -> None:
        self.asked: queue.Queue[Any] = queue.Queue()
        self.node = Node(PGW, REALM, ip_addresses=["127.0.0.1"], tcp_port=free_port(), vendor_ids=[10415])
        self.node.wakeup_interval = 1  # seconds that its end waits for each of its threads
        address, _, port = server.rpartition(":")
        self.server = self.node.add_peer(f"aaa://{host}:{port}", realm, ip_addresses=[address], is_persistent=True)
        self.application = SimpleThreadingApplication(4, is_auth_application=True, request_handler=self._asked)
        self.node.add_application(self.application, [self.server], ["hot.example.net", REALM])

    def _asked(self, application: Any, message: Message) -> Message:
        self.asked.put(message)
        answer: Message = application.generate_answer(message, 2002)
        return answer

    def start(self) -> None:
        self.node.start()
        self.application.wait_for_ready(15)

    def ask(self, kind: int, number: int, used: int = 0, want: int | None = MB, **more: Any) -> Any:
        request: Any = CreditControlRequest()
        request.session_id = f"{PGW};1;{MSISDN}"
        request.origin_host, request.origin_realm = PGW.encode(), REALM.encode()
        request.destination_realm = b"hot.example.net"
        request.auth_application_id = 4
        request.service_context_id = "32251@3gpp.org"
        request.cc_request_type, request.cc_request_number = kind, number
        request.subscription_id = [SubscriptionId(0, MSISDN)]
        service = MultipleServicesCreditControl(rating_group=1)
        if want is not None:
            service.requested_service_unit = RequestedServiceUnit(cc_total_octets=want)
        if used:
            service.used_service_unit = [UsedServiceUnit(cc_total_octets=used)]
        request.multiple_services_credit_control = [service]
        request.service_information = ServiceInformation(
            ps_information=PsInformation(tgpp_sgsn_mcc_mnc="29340", called_station_id="internet")
        )
        for name, value in more.items():
            setattr(request, name, value)
        return self.application.send_request(request, 15)


@pytest.fixture
def server(serve: Callable[..., Serving]) -> Serving:
    return serve(PEERS)


@pytest.fixture
def element(server: Serving, account: str) -> Iterator[Element]:
    element = Element(server.facts()["diameter"][0])
    element.start()
    yield element
    with contextlib.suppress(RuntimeError):  # a test has stopped it
        element.node.stop(1, force=True)


async def test_a_session_of_the_librarys_node(element: Element, ledger: RedisLedger, account: str) -> None:
    answers = []
    for kind, number, used, want in ((1, 0, 0, MB), (2, 1, MB, MB), (3, 2, MB, None)):
        answers.append(await asyncio.to_thread(element.ask, kind, number, used, want))
    assert [answer.result_code for answer in answers] == [2001] * 3
    first = answers[0].multiple_services_credit_control[0]
    assert first.granted_service_unit.cc_total_octets == MB and first.rating_group == 1
    assert first.validity_time == 3600 and first.result_code == 2001
    view = await ledger.read(account, **when())
    assert view is not None and view.spent_micro_eur == 2 * 6_900 and view.sessions == ()


async def test_it_is_asked_to_ask_again_and_says_goodbye(
    server: Serving, element: Element, ledger: RedisLedger, account: str
) -> None:
    await asyncio.to_thread(element.ask, 1, 0)
    session = NoticedSession(f"{PGW};1;{MSISDN}", PGW, REALM, "", "data")
    await ledger.announce(Notice("reauthorize", "care", 0.0, account, (session,)))
    asked = await asyncio.to_thread(element.asked.get, True, 10)
    assert isinstance(asked, ReAuthRequest)
    assert asked.session_id == session.session_id and asked.destination_host == PGW.encode()
    assert asked.re_auth_request_type == 0 and asked.auth_application_id == 4
    again = await asyncio.to_thread(element.ask, 2, 1)
    assert again.result_code == 2001
    agreed = 'ocs_client_answers_total{command="RAR",result="2002"} 1.0'
    await asyncio.to_thread(wait_for, lambda: agreed in server.metrics(), 10)
    # DPR from the node: it gets its DPA and hangs up.
    counters = element.server.counters  # of messages that came
    assert (counters.cea, counters.dpa) == (1, 0)
    await asyncio.to_thread(element.node.stop, 5)
    assert (counters.dpr, counters.dpa) == (0, 1)
    await asyncio.to_thread(wait_for, lambda: 'ocs_connections_lost_total{reason="dpr"} 1.0' in server.metrics(), 5)
    answered = 'ocs_answers_total{command="DPR",context="",result="2001",type=""} 1.0'
    assert answered in server.metrics()


async def test_what_it_cannot_have_is_refused_and_it_goes_on(element: Element) -> None:
    unknown = await asyncio.to_thread(element.ask, 1, 0, subscription_id=[SubscriptionId(0, "38699999999")])
    assert unknown.result_code == 5030
    elsewhere = await asyncio.to_thread(element.ask, 1, 0, origin_host=b"other.a1.example.net")
    assert elsewhere.result_code == 5003
    good = await asyncio.to_thread(element.ask, 1, 0)
    assert good.result_code == 2001


@pytest.mark.alone
async def test_the_server_says_goodbye(server: Serving, element: Element) -> None:
    """DPR from the server, when it stops: the node answers, and the server waits no longer than that."""
    assert (await asyncio.to_thread(element.ask, 1, 0)).result_code == 2001
    began = time.monotonic()
    await asyncio.to_thread(server.end)
    assert server.process.returncode == 0 and time.monotonic() - began < STOP_GRACE_S
    assert element.server.counters.dpr == 1 and element.server.disconnect_reason == DISCONNECT_REASON_DPR
    assert "connection closed: we sent DPR" in (server.folder / "log").read_text(encoding="utf-8")
