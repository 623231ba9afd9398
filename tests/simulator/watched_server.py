"""A server without charging, to look at what agents and elements send: it keeps requests, and answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from diameter.message._base import Message
from diameter.message.avp.grouped import GrantedServiceUnit, MultipleServicesCreditControl

from simulator.elements import SERVER_REALM
from simulator.peer import Identity, capabilities_answer
from simulator.wire import FrameSplitter, read_head

GRANT_OCTETS = 5 * 1024 * 1024


class Server:
    """Answers CER, DWR and DPR, keeps CCRs, and answers them with 2001 while `answers`; it can send requests."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.frames: list[bytes] = []
        self.cers: list[Any] = []
        self.dprs: list[Any] = []
        self.answered: asyncio.Queue[Any] = asyncio.Queue()
        self.answers: Callable[[Any, str], bool] = lambda request, agent: True
        """Whether it answers this CCR of this agent."""
        self.writers: dict[str, asyncio.StreamWriter] = {}
        self.identity = Identity("ocs.example.net", SERVER_REALM)

    async def start(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = FrameSplitter()
        try:
            while data := await reader.read(65536):
                for frame in splitter.feed(data):
                    self._take(frame, writer)
        finally:
            writer.close()

    def _name_of(self, writer: asyncio.StreamWriter) -> str:
        return next((name.partition(".")[0] for name, one in self.writers.items() if one is writer), "")

    def _take(self, frame: bytes, writer: asyncio.StreamWriter) -> None:
        head = read_head(frame)
        message: Any = Message.from_bytes(frame)
        if not head.is_request:
            self.answered.put_nowait(message)
            return
        if head.command == 257:
            self.cers.append(message)
            self.writers[message.origin_host.decode()] = writer
            writer.write(capabilities_answer(frame, self.identity, "127.0.0.1"))
            return
        (self.requests if head.command == 272 else self.dprs).append(message)
        if head.command == 272:
            self.frames.append(frame)
            if not self.answers(message, self._name_of(writer)):
                return
        answer: Any = message.to_answer()
        answer.origin_host, answer.origin_realm, answer.result_code = b"ocs.example.net", SERVER_REALM.encode(), 2001
        if head.command == 272:
            answer.session_id, answer.auth_application_id = message.session_id, 4
            answer.cc_request_type, answer.cc_request_number = message.cc_request_type, message.cc_request_number
            answer.multiple_services_credit_control = [
                _granted(each) for each in message.multiple_services_credit_control
            ]
        writer.write(answer.as_bytes())


def _granted(mscc: Any) -> Any:
    found = MultipleServicesCreditControl(rating_group=mscc.rating_group, result_code=2001)
    if mscc.requested_service_unit is not None:
        found.granted_service_unit = GrantedServiceUnit(cc_total_octets=GRANT_OCTETS)
    return found
