"""Sends a request until it is answered: repetitions with the T flag, over another way if there is one.

A repetition has the same End-to-End Identifier and a new Hop-by-Hop Identifier (RFC 6733 §3, RFC 8506 §5.7). If another
element goes on with the session, the repetition is its own: it has the T flag, and its Origin-Host.
"""

from __future__ import annotations

import asyncio

from simulator.deployment import Deployment, Node
from simulator.dialects import render
from simulator.peer import DiameterPeer
from simulator.requests import Request
from simulator.tally import Tally
from simulator.wire import FLAG_REPEAT, Answer, read_answer

TX_S = 10.0
"""Tx: seconds to wait for an answer before a repetition (RFC 8506 §13 recommends 10 s)."""
MAX_REPEATS = 2
"""Most repetitions of a request; then it counts as unanswered."""
UNABLE_TO_DELIVER = 3002
FLAGS_AT = 4
SUCCESS = 2001


class Delivery:
    def __init__(self, deployment: Deployment, tally: Tally, repeat_after_s: float) -> None:
        """`repeat_after_s`: real seconds before a request is repeated whose answer is lost on purpose."""
        self._deployment, self._tally, self._repeat_after_s = deployment, tally, repeat_after_s

    async def ask(self, request: Request, lost_answers: frozenset[int]) -> tuple[Answer | None, Answer | None]:
        """The answer that is lost on purpose, if this one is, and the answer; None = never answered."""
        node = self._deployment.serving(request.session_id)
        peer = await node.peer()
        frame, hop_by_hop = _rendered(request, node, peer)
        first: Answer | None = None
        if request.number in lost_answers:
            first = await self._exchange(peer, frame, hop_by_hop)
            self._tally.lost_on_purpose += 1
            await asyncio.sleep(self._repeat_after_s)
            hop_by_hop = self._mark_repeat(peer, frame)
        answer = await self._exchange(peer, frame, hop_by_hop)
        for _ in range(MAX_REPEATS):
            if not _is_repeated(answer, node, peer):
                break
            before, node = node, self._deployment.serving(request.session_id)
            last, peer = peer, await node.peer(avoid=peer)
            self._tally.failovers += node is not before or peer.via != last.via
            if node is not before:
                frame, _ = _rendered(request, node, peer)
            answer = await self._exchange(peer, frame, self._mark_repeat(peer, frame))
        if answer is not None and answer.result_code == SUCCESS:
            node.learn(answer.origin_host)
        return first, answer

    def _mark_repeat(self, peer: DiameterPeer, frame: bytearray) -> int:
        """Sets the T flag and returns the new Hop-by-Hop Identifier."""
        hop_by_hop = peer.next_hop_by_hop()
        frame[FLAGS_AT] |= FLAG_REPEAT
        frame[12:16] = hop_by_hop.to_bytes(4, "big")
        self._tally.repeats += 1
        return hop_by_hop

    async def _exchange(self, peer: DiameterPeer, frame: bytearray, hop_by_hop: int) -> Answer | None:
        if not peer.is_open:
            return None
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(answer: bytes, seconds: float) -> None:
            if answer:
                self._tally.latencies.add(seconds)
            if not future.done():
                future.set_result(answer)

        peer.send(bytes(frame), hop_by_hop, done)
        try:
            octets = await asyncio.wait_for(future, TX_S)
            return read_answer(octets) if octets else None
        except TimeoutError:
            peer.forget(hop_by_hop)
            return None


def _rendered(request: Request, node: Node, peer: DiameterPeer) -> tuple[bytearray, int]:
    hop_by_hop, end_to_end = peer.next_ids()
    return render(request, node.sender, hop_by_hop=hop_by_hop, end_to_end=end_to_end), hop_by_hop


def _is_repeated(answer: Answer | None, node: Node, peer: DiameterPeer) -> bool:
    """No answer, unless the server is gone for good; or an agent could not deliver it, and there is another."""
    if answer is None:
        return not node.gave_up
    return answer.result_code == UNABLE_TO_DELIVER and bool(peer.via) and node.has_several
