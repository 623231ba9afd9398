"""Requests that we have sent on one connection and that wait for their answers, matched by Hop-by-Hop Identifier
(RFC 6733 §6.2.1).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from protocol import commands
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ErrorMessage, ReAuthAnswer, ReAuthRequest
from protocol.compiler import Fault
from protocol.header import Header, parse_header

MAX_OUTSTANDING = 256
"""Unanswered requests of one connection and command, so that unanswered RARs do not hold up ASRs."""
MAX_BASE_REQUESTS = 8
"""Unanswered CERs, DWRs and DPRs of one connection. Watchdog and probe close it before there are so many."""

Asked = ReAuthRequest | AbortSessionRequest
Answered = ReAuthAnswer | AbortSessionAnswer | ErrorMessage
Done = Callable[[Answered | None], None]
"""Called with the answer; None = no answer in time, or the connection is gone."""
_ANSWERS: dict[type, type[ReAuthAnswer] | type[AbortSessionAnswer]] = {
    ReAuthRequest: ReAuthAnswer,
    AbortSessionRequest: AbortSessionAnswer,
}


@dataclass(slots=True)
class _Waiting:
    answer: type[ReAuthAnswer] | type[AbortSessionAnswer]
    done: Done
    deadline: float


class Identifiers:
    """Hop-by-Hop and End-to-End Identifiers of a worker's requests. They start at random numbers, so that they differ
    from those before a restart (RFC 6733 §3).
    """

    def __init__(self, rng: random.Random) -> None:
        self._hop_by_hop = rng.getrandbits(32)
        self._end_to_end = rng.getrandbits(32)

    def next(self) -> tuple[int, int]:
        self._hop_by_hop = (self._hop_by_hop + 1) & 0xFFFFFFFF
        self._end_to_end = (self._end_to_end + 1) & 0xFFFFFFFF
        return self._hop_by_hop, self._end_to_end


class BaseRequests:
    """Our unanswered CERs, DWRs and DPRs."""

    def __init__(self, identifiers: Identifiers, send: Callable[[bytes], None]) -> None:
        self._identifiers = identifiers
        self._send = send
        self._waiting: dict[int, int] = {}
        """Hop-by-Hop → command."""

    def ask(self, request: object) -> None:
        hop, end = self._identifiers.next()
        frame = commands.encode(request, hop_by_hop=hop, end_to_end=end)
        if len(self._waiting) >= MAX_BASE_REQUESTS:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[hop] = parse_header(frame).command_code
        self._send(frame)

    def wait_for(self, frame: bytes) -> bool:
        """Whether the message answers one of these requests (RFC 6733 §3: other answers are discarded)."""
        header = parse_header(frame)
        return not header.is_request and self._waiting.get(header.hop_by_hop) == header.command_code

    def answered(self, header: Header) -> None:
        self._waiting.pop(header.hop_by_hop, None)


class Outstanding:
    """Our unanswered RARs and ASRs."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}

    def full(self, request: Asked) -> bool:
        if len(self._waiting) < MAX_OUTSTANDING:
            return False
        answer = _ANSWERS[type(request)]
        return sum(waiting.answer is answer for waiting in self._waiting.values()) >= MAX_OUTSTANDING

    def add(self, request: Asked, hop_by_hop: int, done: Done, deadline: float) -> None:
        self._waiting[hop_by_hop] = _Waiting(_ANSWERS[type(request)], done, deadline)

    def waits_for(self, header: Header) -> bool:
        return header.hop_by_hop in self._waiting

    def answer(self, frame: bytes, header: Header) -> bool:
        """Deliver an answer; False = it matches no request, or cannot be decoded, and is dropped."""
        waiting = self._waiting.get(header.hop_by_hop)
        if waiting is None:
            return False
        try:
            found = commands.decode_answer(waiting.answer, frame, header)
        except Fault:
            return False
        del self._waiting[header.hop_by_hop]
        waiting.done(found)
        return True

    def expire(self, now: float) -> None:
        for hop_by_hop in [each for each, waiting in self._waiting.items() if waiting.deadline <= now]:
            self._waiting.pop(hop_by_hop).done(None)

    def give_up(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.done(None)
