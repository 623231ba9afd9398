"""A network element's Diameter connection: CER/CEA, DWR/DWA, DPR/DPA and requests with their answers (RFC 6733 §5).

One TCP connection per Origin-Host. Base messages are built by python-diameter; requests come in encoded. Answers are
matched by Hop-by-Hop Identifier and handed to the caller's callback; nothing is decoded here beyond the header.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from diameter.message._base import Message
from diameter.message.commands import (
    CapabilitiesExchangeRequest,
    DisconnectPeerRequest,
)

from simulator.errors import SimulatorError
from simulator.wire import (
    AVP_ERROR_MESSAGE,
    AVP_ORIGIN_HOST,
    AVP_RESULT_CODE,
    CMD_CER,
    CMD_DPR,
    CMD_DWR,
    FLAG_REQUEST,
    FrameSplitter,
    WireError,
    avps,
    u32,
)

VENDOR_3GPP = 10415
APP_CREDIT_CONTROL = 4
CEA_TIMEOUT_S = 10.0
"""RFC 6733 does not limit the wait for a CEA; a server that takes longer is not working."""
DPA_TIMEOUT_S = 2.0
RESULT_SUCCESS, UNKNOWN_PEER = 2001, 3010
UNKNOWN_PEER_HINT = "; add it to the server's [[peer]] list (`ocs-sim peers` prints what a scenario needs)"
REBOOTING, DO_NOT_WANT_TO_TALK_TO_YOU = 0, 2
"""Disconnect-Cause (RFC 6733 §5.4.3)."""

Asked = Callable[[int, str], int | None]
"""Called with command and Session-Id of the server's RAR or ASR; returns the answer's Result-Code, None = no answer."""
Relayed = Callable[[bytes], None]
"""Called with each request of the server but DWR and DPR; an agent passes it on."""
AnswerCallback = Callable[[bytes, float], None]
"""Called with the answer's octets (b"" = the connection was lost) and the seconds since its request was written."""
_HEAD = struct.Struct("!IIIII")

CMD_RAR, CMD_ASR = 258, 274
UNABLE_TO_COMPLY, COMMAND_UNSUPPORTED = 5012, 3001


class PeerError(SimulatorError):
    """The server could not be reached, or refused the connection."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a network element."""

    host: str
    realm: str
    product: str = "ocs-sim"
    application: int = APP_CREDIT_CONTROL
    """Auth-Application-Id of its CER and CEA."""
    state_id: int = 0
    """Origin-State-Id of its CER; 0 = none."""


class DiameterPeer(asyncio.Protocol):
    """One connection as a client. `send` queues a request; its callback gets the answer."""

    def __init__(
        self,
        identity: Identity,
        *,
        rng: random.Random | None = None,
        asked: Asked | None = None,
        relayed: Relayed | None = None,
    ) -> None:
        chance = rng or random.Random()  # for identifiers only: it does not change the simulation
        self.identity = identity
        self.server_host = ""
        """Origin-Host of the CEA."""
        self.via = ""
        """Origin-Host of the agent that it is connected to."""
        self._asked, self._relayed = asked or _does_nothing, relayed
        self.unsolicited = 0
        """Answers without a pending request (such as a second answer)."""
        self.closed = asyncio.get_running_loop().create_future()
        self._hop_by_hop = chance.getrandbits(32)
        # RFC 6733 §3: high 12 bits from the clock, low 20 bits random, then counting up.
        self._end_to_end = ((int(time.time()) & 0xFFF) << 20) | chance.getrandbits(20)
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, tuple[AnswerCallback, float]] = {}
        self._out: list[bytes | bytearray] = []
        self._flush_due = False
        self._base_answer: asyncio.Future[bytes] | None = None

    # -- life ---------------------------------------------------------------------------------------------------------

    @classmethod
    async def connect(
        cls,
        identity: Identity,
        host: str,
        port: int,
        *,
        rng: random.Random | None = None,
        asked: Asked | None = None,
        relayed: Relayed | None = None,
    ) -> DiameterPeer:
        """Connects and exchanges capabilities. Raises PeerError."""
        loop = asyncio.get_running_loop()
        try:
            _, peer = await loop.create_connection(
                lambda: cls(identity, rng=rng, asked=asked, relayed=relayed), host, port
            )
        except OSError as error:
            raise PeerError(
                f"{identity.host}: no connection to {host}:{port} ({error}); is the server running?"
            ) from error
        frame = await peer._base_request(_cer(identity, peer._local_address()), CEA_TIMEOUT_S)
        code, text = _result(frame)
        if code != RESULT_SUCCESS:
            peer.abort()
            hint = UNKNOWN_PEER_HINT if code == UNKNOWN_PEER else ""
            raise PeerError(f"{identity.host}: capabilities exchange refused with {code} {text}{hint}")
        peer.server_host = _origin_host(frame)
        return peer

    async def disconnect(self, cause: int = DO_NOT_WANT_TO_TALK_TO_YOU) -> None:
        """Sends DPR, waits briefly for the DPA, closes (RFC 6733 §5.4)."""
        if self._transport is None or self._transport.is_closing():
            return
        with contextlib.suppress(PeerError):
            await self._base_request(_dpr(self.identity, cause), DPA_TIMEOUT_S)
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    # -- requests -----------------------------------------------------------------------------------------------------

    def next_ids(self) -> tuple[int, int]:
        """A fresh (Hop-by-Hop, End-to-End) pair."""
        self._hop_by_hop = (self._hop_by_hop + 1) & 0xFFFFFFFF
        self._end_to_end = (self._end_to_end + 1) & 0xFFFFFFFF
        return self._hop_by_hop, self._end_to_end

    def next_hop_by_hop(self) -> int:
        """For a repetition: a new Hop-by-Hop Identifier; the End-to-End Identifier stays (RFC 6733 §3)."""
        return self.next_ids()[0]

    def send(self, frame: bytes | bytearray, hop_by_hop: int, done: AnswerCallback) -> None:
        """Queues an encoded request. Requests of one turn of the event loop are written at once."""
        self._waiting[hop_by_hop] = (done, time.perf_counter())
        self.write(frame)

    def forget(self, hop_by_hop: int) -> bool:
        """Stops waiting for an answer; False if it has come."""
        return self._waiting.pop(hop_by_hop, None) is not None

    def write(self, frame: bytes | bytearray) -> None:
        """Queues a message whose answer nobody waits for."""
        self._out.append(frame)
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    async def _base_request(self, message: Message, timeout_s: float) -> bytes:
        hop_by_hop, end_to_end = self.next_ids()
        message.header.hop_by_hop_identifier = hop_by_hop
        message.header.end_to_end_identifier = end_to_end
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._base_answer = future
        self.write(message.as_bytes())
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise PeerError(f"{self.identity.host}: no answer to {message.name} within {timeout_s:g} s") from None
        finally:
            self._base_answer = None

    def _local_address(self) -> str:
        assert self._transport is not None
        return str(self._transport.get_extra_info("sockname")[0])

    # -- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not inherit from it

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._splitter.feed(data)
        except WireError:
            self.abort()
            return
        now = time.perf_counter()
        for frame in frames:
            _, second, _, hop_by_hop, _ = _HEAD.unpack_from(frame)
            if second >> 24 & FLAG_REQUEST:
                self._answer_request(frame, second & 0xFFFFFF)
                continue
            entry = self._waiting.pop(hop_by_hop, None)
            if entry is not None:
                entry[0](frame, now - entry[1])
            elif self._base_answer is not None and second & 0xFFFFFF in (CMD_CER, CMD_DPR):
                if not self._base_answer.done():
                    self._base_answer.set_result(frame)
            else:
                self.unsolicited += 1

    def connection_lost(self, error: Exception | None) -> None:
        if self._base_answer is not None and not self._base_answer.done():
            self._base_answer.set_exception(PeerError(f"{self.identity.host}: the server closed the connection"))
        waiting, self._waiting = self._waiting, {}
        now = time.perf_counter()
        for done, sent_at in waiting.values():
            done(b"", now - sent_at)
        if not self.closed.done():
            self.closed.set_result(error)

    def _answer_request(self, frame: bytes, command: int) -> None:
        """Answers DWR, DPR, RAR and ASR; 3001 for anything else. An agent passes on all but the first two."""
        if self._relayed is not None and command not in (CMD_DWR, CMD_DPR):
            self._relayed(frame)
            return
        request: Any = Message.from_bytes(frame)
        session_id = getattr(request, "session_id", None)
        code: int | None = RESULT_SUCCESS
        if command in (CMD_RAR, CMD_ASR):
            code = self._asked(command, session_id or "")
        elif command not in (CMD_DWR, CMD_DPR):
            code = COMMAND_UNSUPPORTED
        if code is None:
            return
        answer: Any = request.to_answer()
        answer.origin_host = self.identity.host.encode()
        answer.origin_realm = self.identity.realm.encode()
        answer.result_code = code
        answer.header.is_error = code == COMMAND_UNSUPPORTED
        if session_id is not None and command not in (CMD_DWR, CMD_DPR):
            answer.session_id = session_id
        self.write(answer.as_bytes())


def _does_nothing(command: int, session_id: str) -> int:
    """Ignores the request, as some real clients do: Validity-Time must have the same effect."""
    return RESULT_SUCCESS if command == CMD_RAR else UNABLE_TO_COMPLY


def _cer(identity: Identity, address: str) -> Any:
    request: Any = CapabilitiesExchangeRequest()
    request.origin_host = identity.host.encode()
    request.origin_realm = identity.realm.encode()
    request.host_ip_address = [address]
    request.vendor_id = VENDOR_3GPP
    request.product_name = identity.product
    request.supported_vendor_id = [VENDOR_3GPP]
    request.auth_application_id = [identity.application]
    if identity.state_id:
        request.origin_state_id = identity.state_id
    return request


def capabilities_answer(frame: bytes, identity: Identity, address: str) -> bytes:
    """The CEA to a CER, 2001."""
    answer: Any = Message.from_bytes(frame).to_answer()
    answer.result_code = RESULT_SUCCESS
    answer.origin_host = identity.host.encode()
    answer.origin_realm = identity.realm.encode()
    answer.host_ip_address = [address]
    answer.vendor_id = VENDOR_3GPP
    answer.product_name = identity.product
    answer.supported_vendor_id = [VENDOR_3GPP]
    answer.auth_application_id = [identity.application]
    return bytes(answer.as_bytes())


def _dpr(identity: Identity, cause: int) -> Any:
    request: Any = DisconnectPeerRequest()
    request.origin_host = identity.host.encode()
    request.origin_realm = identity.realm.encode()
    request.disconnect_cause = cause
    return request


def _origin_host(frame: bytes) -> str:
    return next(
        (frame[at:end].decode() for avp, vendor, at, end in avps(frame) if avp == AVP_ORIGIN_HOST and not vendor), ""
    )


def _result(frame: bytes) -> tuple[int, str]:
    code, text = 0, ""
    for avp, vendor, at, end in avps(frame):
        if avp == AVP_RESULT_CODE and not vendor:
            code = u32(frame, at)
        elif avp == AVP_ERROR_MESSAGE and not vendor:
            text = frame[at:end].decode("utf-8", "replace")
    return code, text
