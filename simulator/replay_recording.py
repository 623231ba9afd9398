"""Plays a recording against a server, several times over at once, and compares the answers with the recorded ones.

Each request is sent at its recorded time divided by the speed, and never before the answer to the one before it in its
session. Each copy has subscribers of its own: provisioned numbers in the order of their first request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from simulator.engine import Target
from simulator.identifiers import new_run, session_id
from simulator.interruption import interruptible
from simulator.peer import DiameterPeer, Identity
from simulator.progress_line import EVERY_S, ProgressLine
from simulator.recording import RecordedAnswer, RecordedRequest, answer_facts
from simulator.replay import ANSWER_TIMEOUT_S, TYPE_NAMES, Numbers, SubscriberMap, captured_client, rewrite
from simulator.requests import Subscriber
from simulator.stats import Latencies, LatencySummary, summarise
from simulator.subscribers import default_subscribers
from simulator.wire import AVP_CC_REQUEST_TYPE, AVP_SUBSCRIPTION_ID, avps, read_answer, u32

MAX_COPIES = 10_000
MAX_DIFFERENCES = 1_000
"""Kinds of differences that are kept apart."""
MAX_GRANTS = 3
"""Pairs of grants, recorded and now, that are shown apart."""
SUBSCRIPTION_ID_DATA = 444

Difference = tuple[str, str, str, str]
"""(kind of request, what, recorded, now)."""


@dataclass(slots=True)
class RecordingReplay:
    """The outcome. `differences` has the number of requests by kind of difference."""

    requests: int = 0
    compared: int = 0
    equal: int = 0
    unanswered: int = 0
    without_answer: int = 0
    """Requests that have no answer in the recording: not compared."""
    differences: Counter[Difference] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    seconds: float = 0.0
    due: int = 0
    """Requests of the recording, of all copies: more than `requests` if the replay ended early."""
    lost: list[str] = field(default_factory=list)
    """Origin-Hosts whose connection was lost."""
    interrupted: bool = False

    @property
    def latency(self) -> LatencySummary:
        return summarise(self.latencies)

    @property
    def ok(self) -> bool:
        """Everything was sent, answered, and as recorded."""
        return not self.unanswered and not self.differences and self.is_whole

    @property
    def is_whole(self) -> bool:
        return not self.lost and not self.interrupted

    @property
    def warnings(self) -> list[str]:
        """Why it is not whole."""
        found = [f"{host}: the connection to the server was lost" for host in self.lost]
        if self.requests < self.due:
            why = "interrupted" if self.interrupted else "ended"
            found.append(f"{why} after {self.requests:,} of {self.due:,} requests")
        return found

    def as_json(self) -> dict[str, object]:
        latency = self.latency
        return {
            "ok": self.ok,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "compared": self.compared,
            "equal": self.equal,
            "unanswered": self.unanswered,
            "without_answer": self.without_answer,
            "due": self.due,
            "lost": self.lost,
            "interrupted": self.interrupted,
            "p50_ms": latency.p50_ms,
            "p99_ms": latency.p99_ms,
            "max_ms": latency.max_ms,
            "differences": [
                {"request": kind, "what": what, "recorded": before, "now": now, "requests": count}
                for (kind, what, before, now), count in self.differences.most_common()
            ],
        }


def subscriber_key(frame: bytes) -> bytes:
    """The Subscription-Ids of a request, which name its subscriber."""
    return b" ".join(
        frame[inner:stop]
        for code, _, at, end in avps(frame)
        if code == AVP_SUBSCRIPTION_ID
        for child, _, inner, stop in avps(frame, at, end)
        if child == SUBSCRIPTION_ID_DATA
    )


def subscribers_of(requests: Sequence[RecordedRequest], copies: int) -> tuple[Subscriber, ...]:
    """Those that a replay needs: copies × the subscribers of the recording."""
    return default_subscribers(len(_subscribers(requests)) * copies)


def _subscribers(requests: Sequence[RecordedRequest]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for request in requests:
        found.setdefault(subscriber_key(request.frame), len(found))
    return found


def compare(kind: str, recorded: RecordedAnswer, now: RecordedAnswer) -> Iterator[Difference]:
    """The differences of one answer; services are matched by Rating-Group and Service-Identifier."""
    if recorded.result_code != now.result_code:
        yield kind, "Result-Code", str(recorded.result_code), str(now.result_code)
    before, after = ({one[:2]: one[2:] for one in answer.services} for answer in (recorded, now))
    for service in sorted(before.keys() | after.keys(), key=str):
        name = f"Rating-Group {service[0]}" if service[0] is not None else "command"
        if service[1] is not None:
            name += f" Service-Identifier {service[1]}"
        old, new = before.get(service), after.get(service)
        if old is None or new is None:
            yield kind, name, "none" if old is None else "answered", "none" if new is None else "answered"
            continue
        for what, one, other in zip(("Result-Code", "unit", "granted", "Final-Unit-Action"), old, new, strict=True):
            if what == "Result-Code":
                one, other = str(one or recorded.result_code), str(other or now.result_code)
            if one != other:
                yield kind, f"{name} {what}", _text(one), _text(other)


def for_people(differences: Counter[Difference]) -> list[tuple[Difference, int]]:
    """The most frequent first. Grants of the same request and service that differ by more than MAX_GRANTS pairs of
    numbers are one row, with the range of each: a credit that is another makes each grant another.
    """
    pairs = Counter((kind, what) for kind, what, _, _ in differences)
    rows: Counter[Difference] = Counter()
    ranges: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    counts: Counter[tuple[str, str]] = Counter()
    for (kind, what, before, now), count in differences.items():
        grants = [int(text.replace(",", "")) for text in (before, now) if text.replace(",", "").isdecimal()]
        if what.endswith(" granted") and len(grants) == 2 and pairs[kind, what] > MAX_GRANTS:
            ranges[kind, what].append((grants[0], grants[1]))
            counts[kind, what] += count
        else:
            rows[kind, what, before, now] += count
    for (kind, what), grants_of in ranges.items():
        old, new = zip(*grants_of, strict=True)
        rows[kind, what, _range(old), _range(new)] += counts[kind, what]
    return rows.most_common()


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value or "none")


class _Player:
    def __init__(
        self, requests: Sequence[RecordedRequest], target: Target, speed: float, copies: int, client: Identity | None
    ) -> None:
        if not 1 <= copies <= MAX_COPIES:
            raise ValueError(f"1 to {MAX_COPIES:,} copies, not {copies}")
        self._target, self._speed, self._copies = target, speed, copies
        self._subscribers = _subscribers(requests)
        self._provisioned = subscribers_of(requests, copies)
        self._by_session: dict[int, list[RecordedRequest]] = defaultdict(list)
        for request in requests:
            self._by_session[request.session].append(request)
        self._identities: dict[int, Identity] = {}
        for request in requests:
            if request.peer not in self._identities:
                self._identities[request.peer] = client or captured_client(request.frame)
        self._peers: dict[Identity, DiameterPeer] = {}
        self._run = new_run()
        self._started = 0.0
        self._ends_at_s = max((request.at_s for request in requests), default=0.0) / speed
        self._over = asyncio.Event()
        self._disconnecting = False
        self.result = RecordingReplay(due=len(requests) * copies)

    async def play(self, line: ProgressLine | None) -> RecordingReplay:
        """Until all is sent, Ctrl-C, or no connection is left."""
        try:
            for identity in set(self._identities.values()):
                peer = await DiameterPeer.connect(identity, self._target.host, self._target.port)
                self._peers[identity] = peer
                peer.closed.add_done_callback(partial(self._lost, identity.host))
            with interruptible(self._interrupt):
                await self._play(line)
        finally:
            self._disconnecting = True
            for peer in self._peers.values():
                await peer.disconnect()
        return self.result

    async def _play(self, line: ProgressLine | None) -> None:
        self._started = time.perf_counter()
        sessions = self._by_session.items()
        playing = asyncio.gather(
            *(self._session(number, rows, copy) for number, rows in sessions for copy in range(self._copies))
        )
        over = asyncio.create_task(self._over.wait())
        try:
            while not playing.done() and not over.done():
                await asyncio.wait((playing, over), timeout=EVERY_S, return_when=asyncio.FIRST_COMPLETED)
                if line is not None and line.is_due:
                    line.show(self._so_far())
            if playing.done():
                playing.result()
        finally:
            self.result.seconds = time.perf_counter() - self._started
            over.cancel()
            playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await playing
            if line is not None:
                line.clear()

    def _so_far(self) -> str:
        result, passed_s = self.result, time.perf_counter() - self._started
        return (
            f"{passed_s:.0f} of {self._ends_at_s:.0f} s: {result.requests:,} of {result.due:,} requests,"
            f" {result.unanswered:,} unanswered, {result.compared - result.equal:,} answered otherwise"
        )

    def _interrupt(self) -> None:
        self.result.interrupted = True
        self._over.set()

    def _lost(self, host: str, _: object) -> None:
        if self._disconnecting:
            return
        self.result.lost.append(host)
        if not any(peer.is_open for peer in self._peers.values()):
            self._over.set()

    async def _session(self, number: int, requests: Sequence[RecordedRequest], copy: int) -> None:
        host = self._identities[requests[0].peer].host
        name = session_id(host, self._run, number * self._copies + copy)
        for request in requests:
            due = self._started + request.at_s / self._speed
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            self._note(request, await self._exchange(request, name, copy))

    async def _exchange(self, request: RecordedRequest, name: str, copy: int) -> bytes:
        """The answer's octets; b"" = none."""
        peer = self._peers[self._identities[request.peer]]
        if not peer.is_open:
            return b""
        hop_by_hop, end_to_end = peer.next_ids()
        one = self._provisioned[self._subscribers[subscriber_key(request.frame)] * self._copies + copy]
        frame = rewrite(
            request.frame,
            session_id=name,
            subscribers=SubscriberMap(Numbers(one.msisdn, one.imsi)),
            client=peer.identity,
            server_realm=self._target.server_realm,
            server_host=peer.server_host,
            hop_by_hop=hop_by_hop,
            end_to_end=end_to_end,
        )
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def done(octets: bytes, seconds: float) -> None:
            if octets:
                self.result.latencies.add(seconds)
            if not future.done():
                future.set_result(octets)

        peer.send(frame, hop_by_hop, done)
        try:
            return await asyncio.wait_for(future, ANSWER_TIMEOUT_S)
        except TimeoutError:
            peer.forget(hop_by_hop)
            return b""

    def _note(self, request: RecordedRequest, octets: bytes) -> None:
        result = self.result
        result.requests += 1
        if not octets:
            result.unanswered += 1
            return
        if request.answer is None:
            result.without_answer += 1
            return
        result.compared += 1
        found = list(compare(_kind(request.frame), request.answer, answer_facts(read_answer(octets))))
        result.equal += not found
        for difference in found:
            known = difference in result.differences or len(result.differences) < MAX_DIFFERENCES
            result.differences[difference if known else (difference[0], "others", "", "")] += 1


def _kind(frame: bytes) -> str:
    code = next((u32(frame, at) for avp, _, at, _ in avps(frame) if avp == AVP_CC_REQUEST_TYPE), 0)
    return f"CCR-{TYPE_NAMES.get(code, '?')}"


async def replay_recording(
    requests: Sequence[RecordedRequest],
    target: Target,
    *,
    speed: float = 1.0,
    copies: int = 1,
    client: Identity | None = None,
    line: ProgressLine | None = None,
) -> RecordingReplay:
    """`speed`: recorded seconds per real one. It acts as the recorded peers, or as `client` alone. Raises PeerError,
    ValueError, CaptureError.
    """
    return await _Player(requests, target, speed, copies, client).play(line)
