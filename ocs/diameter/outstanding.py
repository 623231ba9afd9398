"""Our own requests on one connection, RAR and ASR, waiting for their answers (RFC 6733 §6.2.1: matched by Hop-by-Hop)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protocol import commands
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ErrorMessage, ReAuthAnswer, ReAuthRequest
from protocol.compiler import Fault
from protocol.header import Header

MAX_OUTSTANDING = 256
"""Of one connection and command: a peer that does not answer RARs gets no more of them, but it gets ASRs."""

Asked = ReAuthRequest | AbortSessionRequest
Answered = ReAuthAnswer | AbortSessionAnswer | ErrorMessage
Done = Callable[[Answered | None], None]
"""None = no answer in time, or the connection is gone."""
_ANSWERS: dict[type, type[ReAuthAnswer] | type[AbortSessionAnswer]] = {
    ReAuthRequest: ReAuthAnswer,
    AbortSessionRequest: AbortSessionAnswer,
}


@dataclass(slots=True)
class _Waiting:
    answer: type[ReAuthAnswer] | type[AbortSessionAnswer]
    done: Done
    deadline: float


class Outstanding:
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
        """False = nobody waits for it, or it cannot be read: it is dropped."""
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
