"""A server that grants every request, on python-diameter's Node and Application: no account, no price, no memory.

`make bench` compares the charging server with it (how fast can the general library answer the same load?), and tests of
the simulator use it. A policy may refuse or end grants.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import typer
from diameter.message._base import Message
from diameter.message.avp.grouped import (
    FinalUnitIndication,
    GrantedServiceUnit,
    MultipleServicesCreditControl,
)
from diameter.message.commands.credit_control import CreditControlAnswer, CreditControlRequest
from diameter.node.application import Application
from diameter.node.node import Node

from simulator.elements import element_hosts

BLIND_OCTETS = 10 * 1024 * 1024
BLIND_SECONDS = 300
STOP_TIMEOUT_S = 3
APP_CREDIT_CONTROL = 4


@dataclass(frozen=True, slots=True)
class Grant:
    """The grant of one MSCC. units None = no Granted-Service-Unit."""

    units: int | None
    result_code: int = 2001
    final: bool = False
    validity_s: int = 0
    volume_threshold: int = 0


Policy = Callable[[CreditControlRequest, MultipleServicesCreditControl], Grant]


def blind(request: CreditControlRequest, mscc: MultipleServicesCreditControl) -> Grant:
    """Grants what is requested, or a fixed amount."""
    asked = mscc.requested_service_unit
    if asked is None:
        return Grant(None)
    return Grant(asked.cc_total_octets or asked.cc_time or asked.cc_service_specific_units or 0)


CommandCode = Callable[[CreditControlRequest], int]
"""The Result-Code at command level."""


def success(request: CreditControlRequest) -> int:
    return 2001


class _GrantingApplication(Application):  # type: ignore[misc, unused-ignore]
    """Answers every CCR at once in the node's thread: the fastest way to use the library."""

    def __init__(self, policy: Policy, command_code: CommandCode) -> None:
        super().__init__(APP_CREDIT_CONTROL, is_auth_application=True)
        self.policy, self.command_code = policy, command_code
        self.requests: list[CreditControlRequest] | None = None

    def handle_request(self, message: Message) -> None:
        assert isinstance(message, CreditControlRequest)
        if self.requests is not None:
            self.requests.append(message)
        answer: CreditControlAnswer = self.generate_answer(message, result_code=self.command_code(message))
        answer.cc_request_type = message.cc_request_type
        answer.cc_request_number = message.cc_request_number
        for mscc in message.multiple_services_credit_control:
            _grant(answer, message, mscc, self.policy(message, mscc))
        self.send_answer(answer)


def _grant(
    answer: CreditControlAnswer, request: CreditControlRequest, mscc: MultipleServicesCreditControl, grant: Grant
) -> None:
    units = None
    if grant.units is not None:
        context = str(request.service_context_id)
        if "32251" in context:
            units = GrantedServiceUnit(cc_total_octets=grant.units or BLIND_OCTETS)
        elif "32260" in context or "32276" in context:
            units = GrantedServiceUnit(cc_time=grant.units or BLIND_SECONDS)
        else:
            units = GrantedServiceUnit(cc_service_specific_units=grant.units or 1)
    result = MultipleServicesCreditControl(rating_group=mscc.rating_group, result_code=grant.result_code)
    if units is not None:
        result.granted_service_unit = units
    if mscc.service_identifier:
        result.service_identifier = mscc.service_identifier
    if grant.final:
        result.final_unit_indication = FinalUnitIndication(final_unit_action=0)
    if grant.validity_s:
        result.validity_time = grant.validity_s
    if grant.volume_threshold:
        result.volume_quota_threshold = grant.volume_threshold
    answer.multiple_services_credit_control.append(result)


class Grantor:
    """The server, as a context manager. `port` 0 takes a free one."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        realm: str = "example.net",
        peers: tuple[str, ...] = (),
        policy: Policy = blind,
        command_code: CommandCode = success,
        keep_requests: bool = False,
    ) -> None:
        self.host, self.port = host, port or _free_port(host)
        self.application = _GrantingApplication(policy, command_code)
        if keep_requests:
            self.application.requests = []
        self._node = Node(f"grantor.{realm}", realm, ip_addresses=[host], tcp_port=self.port)
        self._node.wakeup_interval = 1
        self._node.retransmit_queue_size = 0  # it would refuse repetitions
        known = [
            self._node.add_peer(f"aaa://{name}:1", realm, is_persistent=False) for name in (*element_hosts(), *peers)
        ]
        self._node.add_application(self.application, known)

    @property
    def requests(self) -> list[CreditControlRequest]:
        """The requests received so far, if they are kept."""
        return self.application.requests or []

    def __enter__(self) -> Grantor:
        start: Callable[[], None] = self._node.start
        start()
        return self

    def __exit__(self, *_: object) -> None:
        self._node.stop(wait_timeout=STOP_TIMEOUT_S, force=True)


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def main(host: str = "127.0.0.1", port: int = 0, realm: str = "example.net", peer: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; prints the port on the first line."""
    import signal

    logging.disable(logging.WARNING)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    with Grantor(host=host, port=port, realm=realm, peers=tuple(peer or ())) as grantor:
        print(f"granting blindly on {grantor.host}:{grantor.port}", flush=True)
        over.wait()


if __name__ == "__main__":
    typer.run(main)
