"""A P-GW on a socket with its sessions: sends requests and receives RAR and ASR."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

from protocol import commands
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ReAuthAnswer, ReAuthRequest
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
from protocol.header import Header
from tests.faults.harness import MONTH, Serving
from tests.ocs.diameter.site import Client, cer, code_of
from tests.waiting import PATIENCE_S

HOST, REALM = "pgw.example.net", "example.net"
ALL_THERE_IS = 10_000_000
"""More octets than any account of these tests can pay: a grant has the last units."""


def when() -> dict[str, int]:
    return {"now": int(time.time()), "month": MONTH}


async def _taken(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Retries until the server accepts the connection: its worker may be starting."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await asyncio.open_connection(address, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


class Pgw:
    """`peer` is the Diameter peer at the other end of the socket: the P-GW itself, or a relay before it."""

    def __init__(self, client: Client, host: str, peer: str) -> None:
        self.client, self.host, self.peer = client, host, peer
        self.number = 0
        self.set_aside: list[tuple[Header, bytes]] = []
        """Requests from the server that came before an answer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    async def connect(cls, serving: Serving, host: str = HOST, peer: str = "") -> Pgw:
        address, port = serving.facts()["diameter"][0].rsplit(":", 1)
        client = Client(*await _taken(address, int(port)))
        changes = {"auth_application_id": [0xFFFFFFFF]} if peer else {}
        client.send(cer(peer or host, origin_realm=REALM, **changes))
        assert code_of((await client.read())[1]) == 2001
        return cls(client, host, peer or host)

    def close(self) -> None:
        self.client.writer.close()

    async def charge(
        self, sid: str, kind: int, number: int, msisdn: str, *, want: int = 0, used: int = 0
    ) -> CreditControlAnswer:
        self.number += 1
        request = CreditControlRequest(sid, self.host, REALM, REALM, 4, "32251@3gpp.org", kind, number)
        request.subscription_id = [SubscriptionId(0, msisdn)]
        mscc = MultipleServicesCreditControl(rating_group=1)
        if want:
            mscc.requested_service_unit = RequestedServiceUnit(cc_total_octets=want)
        if used:
            mscc.used_service_unit = [UsedServiceUnit(cc_total_octets=used)]
        request.multiple_services_credit_control = [mscc]
        request.service_information = ServiceInformation(ps_information=PsInformation(tgpp_sgsn_mcc_mnc="29340"))
        if self.peer != self.host:
            request.route_record = [self.host]
        self.client.send(encode_ccr(request, hop_by_hop=self.number, end_to_end=self.number))
        header, frame = await self.client.read()
        while header.is_request:
            self.set_aside.append((header, frame))
            header, frame = await self.client.read()
        assert header.hop_by_hop == self.number
        return decode_cca(frame, header)

    async def open(self, msisdn: str, want: int = ALL_THERE_IS) -> str:
        """Opens a session; returns its id."""
        sid = f"{self.host};1;{msisdn}"
        answer = await self.charge(sid, 1, 0, msisdn, want=want)
        (mscc,) = answer.multiple_services_credit_control
        assert mscc.result_code == 2001 and (mscc.final_unit_indication is not None) == (want == ALL_THERE_IS)
        return sid

    async def asked(self) -> tuple[Header, ReAuthRequest | AbortSessionRequest]:
        header, frame = self.set_aside.pop(0) if self.set_aside else await self.client.read()
        assert header.is_request
        kind: Any = ReAuthRequest if header.command_code == commands.RE_AUTH else AbortSessionRequest
        return header, commands.decode(kind, frame, header)

    async def nothing_more(self, seconds: float = 0.5) -> None:
        assert not self.set_aside
        try:
            async with asyncio.timeout(seconds):
                header, _ = await self.client.read()
        except TimeoutError:
            return
        raise AssertionError(f"unexpected {header}")

    def reply(self, header: Header, message: ReAuthAnswer | AbortSessionAnswer) -> None:
        self.client.send(commands.encode_answer(message, header))

    async def agree(self, kind: type[ReAuthRequest] | type[AbortSessionRequest], sid: str, code: int) -> None:
        """Expects this request, and answers it."""
        header, request = await self.asked()
        assert isinstance(request, kind) and (request.session_id, request.destination_host) == (sid, self.host)
        answer = ReAuthAnswer if kind is ReAuthRequest else AbortSessionAnswer
        self.reply(header, answer(sid, code, self.host, REALM))
