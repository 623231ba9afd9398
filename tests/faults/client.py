"""A small blocking Diameter client: one connection, one request at a time."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import time
from dataclasses import dataclass

from protocol.avp import FAMILY_IPV4, Address, walk
from protocol.commands import CapabilitiesExchangeAnswer, CapabilitiesExchangeRequest, decode, encode
from protocol.credit_control import (
    CreditControlAnswer,
    CreditControlRequest,
    MultipleServicesCreditControl,
    PsInformation,
    RequestedServiceUnit,
    ServiceInformation,
    SubscriptionId,
    UsedServiceUnit,
    decode_cca,
    encode_ccr,
)
from protocol.frame import FrameReader
from protocol.header import HEADER_OCTETS, parse_header
from tests.waiting import PATIENCE_S

ORIGIN_HOST, REALM = "pgw.example.net", "example.net"
RESULT_CODE = 268
DEVICE_WATCHDOG = 280
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Answer:
    """`message` is None for an answer in the grammar of protocol errors (E bit)."""

    result_code: int
    message: CreditControlAnswer | None

    @property
    def granted_octets(self) -> int:
        assert self.message is not None, f"answered {self.result_code}"
        (service,) = self.message.multiple_services_credit_control
        return (service.granted_service_unit and service.granted_service_unit.cc_total_octets) or 0


class Client:
    """A P-GW connected to `address`, with CER and CEA exchanged. `tls`: context, and the expected name in the
    certificate.
    """

    def __init__(
        self, address: tuple[str, int], timeout_s: float = PATIENCE_S, tls: tuple[ssl.SSLContext, str] | None = None
    ) -> None:
        self.socket = socket.create_connection(address, timeout=timeout_s)
        if tls is not None:
            self.socket = tls[0].wrap_socket(self.socket, server_hostname=tls[1])
        self.reader = FrameReader()
        self.frames: list[bytes] = []
        cer = CapabilitiesExchangeRequest(
            origin_host=ORIGIN_HOST,
            origin_realm=REALM,
            host_ip_address=[Address(FAMILY_IPV4, "127.0.0.1")],
            product_name="faults",
            auth_application_id=[4],
        )
        try:
            self.socket.sendall(encode(cer, hop_by_hop=1, end_to_end=1))
            frame = self._frame()
            cea = decode(CapabilitiesExchangeAnswer, frame, parse_header(frame))
            if cea.result_code != 2001:
                raise ConnectionError(f"CEA {cea.result_code}: {cea.error_message}")
        except BaseException:
            self.socket.close()
            raise

    def _frame(self) -> bytes:
        while not self.frames:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self.frames += self.reader.feed(data)
        return self.frames.pop(0)

    def send(self, request: CreditControlRequest, *, retransmitted: bool = False) -> int:
        number = next(_numbers)
        self.socket.sendall(encode_ccr(request, hop_by_hop=number, end_to_end=number, retransmitted=retransmitted))
        return number

    def receive(self, number: int) -> Answer:
        while True:
            frame = self._frame()
            header = parse_header(frame)
            if header.is_request:
                assert header.command_code == DEVICE_WATCHDOG, "the server may only ask whether we live"
                continue
            assert header.hop_by_hop == number, "answers carry the identifiers of their requests"
            if header.is_error:
                codes = [
                    int.from_bytes(frame[avp.payload : avp.stop], "big")
                    for avp in walk(frame, HEADER_OCTETS, header.length)
                    if avp.code == RESULT_CODE
                ]
                return Answer(codes[0], None)
            message = decode_cca(frame, header)
            assert message.result_code is not None
            return Answer(message.result_code, message)

    def ask(self, request: CreditControlRequest, *, retransmitted: bool = False) -> Answer:
        return self.receive(self.send(request, retransmitted=retransmitted))

    def close(self) -> None:
        self.socket.close()


def connect(address: tuple[str, int], seconds: float = PATIENCE_S) -> Client:
    """Retries until the server accepts the connection: its worker may be starting."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            return Client(address)
        assert time.monotonic() < end, "the server did not take the connection in time"
        time.sleep(0.05)


def data_request(
    msisdn: str,
    session_id: str,
    kind: int,
    number: int,
    *,
    used: int = 0,
    want: int | None = None,
    destination_host: str | None = None,
) -> CreditControlRequest:
    """CCR of a data session at home, rating group 1; `kind` 1 INITIAL, 2 UPDATE, 3 TERMINATION."""
    service = MultipleServicesCreditControl(
        rating_group=1,
        requested_service_unit=RequestedServiceUnit(cc_total_octets=want) if kind != 3 else None,
        used_service_unit=[UsedServiceUnit(cc_total_octets=used)] if used else [],
    )
    return CreditControlRequest(
        session_id=session_id,
        origin_host=ORIGIN_HOST,
        origin_realm=REALM,
        destination_realm=REALM,
        destination_host=destination_host,
        auth_application_id=4,
        service_context_id="32251@3gpp.org",
        cc_request_type=kind,
        cc_request_number=number,
        subscription_id=[SubscriptionId(subscription_id_type=0, subscription_id_data=msisdn)],
        termination_cause=1 if kind == 3 else None,
        multiple_services_credit_control=[service],
        service_information=ServiceInformation(
            ps_information=PsInformation(called_station_id="internet", tgpp_sgsn_mcc_mnc="29340")
        ),
    )
