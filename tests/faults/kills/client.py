"""Clients as they must be: what is not answered is sent again, the same, until it is."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import aiohttp

from protocol.avp import FAMILY_IPV4, Address
from protocol.commands import CapabilitiesExchangeRequest, encode
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
from protocol.header import Header, parse_header
from tests.faults.kills.books import Books

REALM = "example.net"
ANSWER_S = 5.0
"""How long an answer is waited for."""
PAUSE_S = 0.3
"""Between two attempts."""
PATIENCE_S = 180.0
"""After so long without an answer, the run has failed."""
AGAIN = {"busy", "opening", "transfers", "provider", "leaving"}
"""Codes of 409 that say that the request is to be repeated."""


class UnansweredError(Exception):
    """A request was repeated for PATIENCE_S, in vain."""


class Api:
    """`base`: the address of the API."""

    def __init__(self, base: str, key: str, books: Books) -> None:
        self._base, self._books = base, books
        self._headers = {"Authorization": f"Bearer {key}"}
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))

    async def close(self) -> None:
        await self._session.close()

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of the answer that is final."""
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        loop = asyncio.get_running_loop()
        end, last = loop.time() + PATIENCE_S, "nothing"
        for attempt in itertools.count():
            self._books.repeated += attempt > 0
            try:
                async with self._session.request(method, self._base + path, json=body, headers=headers) as answer:
                    found = await answer.json(content_type=None) or {}
                    if not _to_be_repeated(answer.status, found):
                        self._books.replayed += attempt > 0 and "Idempotent-Replayed" in answer.headers
                        return answer.status, found
                    last = f"{answer.status} {found}"
                    if answer.status == 500:
                        self._books.faults.append(f"{method} {path}: {found}")
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                last = repr(error)
            if loop.time() > end:
                raise UnansweredError(f"{method} {path}: {last}")
            await asyncio.sleep(PAUSE_S)
        raise AssertionError


def _to_be_repeated(status: int, found: dict[str, Any]) -> bool:
    return status in (408, 429) or status >= 500 or (status == 409 and found.get("code") in AGAIN)


class Line:
    """A P-GW with one connection, which it opens again when it breaks."""

    def __init__(self, address: tuple[str, int], host: str, books: Books) -> None:
        self._address, self._host, self._books = address, host, books
        self._numbers = itertools.count(1)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._frames = FrameReader()
        self._waiting: list[bytes] = []
        self._one_at_a_time = asyncio.Lock()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def ask(self, request: CreditControlRequest) -> CreditControlAnswer:
        loop = asyncio.get_running_loop()
        end, last = loop.time() + PATIENCE_S, "nothing"
        async with self._one_at_a_time:
            for attempt in itertools.count():
                self._books.repeated += attempt > 0
                try:
                    async with asyncio.timeout(ANSWER_S):
                        answer = await self._once(request, repeated=attempt > 0)
                    if answer is not None:
                        return answer
                    last = "busy"
                except (OSError, TimeoutError) as error:
                    last = repr(error)
                    self.close()
                if loop.time() > end:
                    raise UnansweredError(f"CCR of {request.session_id}: {last}")
                await asyncio.sleep(PAUSE_S)
        raise AssertionError

    async def _once(self, request: CreditControlRequest, *, repeated: bool) -> CreditControlAnswer | None:
        """None: answered that it cannot be done now (3xxx)."""
        if self._writer is None:
            await self._connect()
        number = next(self._numbers)
        self._write(encode_ccr(request, hop_by_hop=number, end_to_end=number, retransmitted=repeated))
        header, frame = await self._read()
        while header.is_request or header.hop_by_hop != number:
            header, frame = await self._read()
        return None if header.is_error else decode_cca(frame, header)

    async def _connect(self) -> None:
        self._frames, self._waiting = FrameReader(), []
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        cer = CapabilitiesExchangeRequest(
            origin_host=self._host,
            origin_realm=REALM,
            host_ip_address=[Address(FAMILY_IPV4, "127.0.0.1")],
            product_name="kills",
            auth_application_id=[4],
        )
        self._write(encode(cer, hop_by_hop=1, end_to_end=1))
        header, _ = await self._read()
        if header.is_error:
            raise ConnectionError("CEA")

    def _write(self, frame: bytes) -> None:
        assert self._writer is not None
        self._writer.write(frame)

    async def _read(self) -> tuple[Header, bytes]:
        assert self._reader is not None
        while not self._waiting:
            if not (data := await self._reader.read(65536)):
                raise ConnectionError("the server closed the connection")
            self._waiting += self._frames.feed(data)
        frame = self._waiting.pop(0)
        return parse_header(frame), frame

    def request(
        self, msisdn: str, session: str, kind: int, number: int, *, want: int = 0, used: int = 0, plmn: str = "29340"
    ) -> CreditControlRequest:
        """CCR of data of rating group 1; `kind` 1 INITIAL, 2 UPDATE, 3 TERMINATION."""
        service = MultipleServicesCreditControl(
            rating_group=1,
            requested_service_unit=RequestedServiceUnit(cc_total_octets=want) if kind != 3 else None,
            used_service_unit=[UsedServiceUnit(cc_total_octets=used)] if used else [],
        )
        return CreditControlRequest(
            session_id=session,
            origin_host=self._host,
            origin_realm=REALM,
            destination_realm=REALM,
            auth_application_id=4,
            service_context_id="32251@3gpp.org",
            cc_request_type=kind,
            cc_request_number=number,
            subscription_id=[SubscriptionId(subscription_id_type=0, subscription_id_data=msisdn)],
            termination_cause=1 if kind == 3 else None,
            multiple_services_credit_control=[service],
            service_information=ServiceInformation(
                ps_information=PsInformation(called_station_id="internet", tgpp_sgsn_mcc_mnc=plmn)
            ),
        )
