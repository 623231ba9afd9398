"""The network of the story: a P-GW and an IMS of one subscriber, one session at a time (TS 32.299 §6.3, §6.5).

Each request waits for its answer. What was asked and answered is kept for the timeline. Times are real: use is reported
when it would have been used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from simulator.dialects import Sender, origin_host, render
from simulator.engine import Target
from simulator.errors import SimulatorError
from simulator.identifiers import new_run, session_id
from simulator.peer import CMD_RAR, DiameterPeer, Identity
from simulator.requests import Element, Kind, Place, Request, ServicePart, Subscriber
from simulator.steps import step_of
from simulator.story_result import Asked
from simulator.tally import SUCCESS, SessionReport, UsedService
from simulator.wire import Answer, ServiceAnswer, read_answer

STORY_REALM = "story.example.net"
"""Origin-Realm: the elements of the busy hour have other names."""
ELEMENTS = (Element.PGW, Element.IMS)
STORY_HOSTS = tuple(origin_host(element, STORY_REALM) for element in ELEMENTS)
ANSWER_TIMEOUT_S = 10.0
FIRST_CHARGING_ID = 900_001
RATING_GROUPS = {Element.PGW: 100, Element.IMS: None}
TRAFFIC = {Element.PGW: "data", Element.IMS: "voice"}
UPDATE_FOLLOWS, ABORTED = 2002, 2001


class StoryNetwork:
    """Both elements, connected. `now_s` is the time of the story."""

    def __init__(self, target: Target, subscriber: Subscriber, now_s: Callable[[], float]) -> None:
        self.asked: list[Asked] = []
        self.reports: list[SessionReport] = []
        self.now_s = now_s
        self._target, self._subscriber = target, subscriber
        self._peers: dict[Element, DiameterPeer] = {}
        self._run = new_run()
        self._rar: dict[str, asyncio.Event] = {}
        """Sessions that run: set by a RAR."""

    async def connect(self) -> None:
        """Raises PeerError."""
        for element in ELEMENTS:
            identity = Identity(origin_host(element, STORY_REALM), STORY_REALM, product="ocs-sim story")
            self._peers[element] = await DiameterPeer.connect(
                identity, self._target.host, self._target.port, asked=self._asked
            )

    async def disconnect(self) -> None:
        for peer in self._peers.values():
            await peer.disconnect()

    def session(self, element: Element, place: Place, *, other_party: str = "", destination: str = "") -> StorySession:
        """`destination`: class of the called party in the catalogue."""
        number = len(self.reports)
        name = session_id(origin_host(element, STORY_REALM), self._run, number)
        report = SessionReport(
            name, TRAFFIC[element], self._subscriber.msisdn, self._subscriber.package, place.id, destination, False,
            0.0, imsi=self._subscriber.imsi, charging_id=FIRST_CHARGING_ID + number,
            services=[UsedService(TRAFFIC[element], RATING_GROUPS[element])],
        )  # fmt: skip
        self.reports.append(report)
        self._rar[name] = asyncio.Event()
        return StorySession(self, element, place, report, other_party, self._rar[name])

    def _asked(self, command: int, name: str) -> int:
        """RAR: an update follows. ASR: the session ends (RFC 8506 §5.5, RFC 6733 §8.5)."""
        code = UPDATE_FOLLOWS if command == CMD_RAR else ABORTED
        self.asked.append(Asked(self.now_s(), "RAR" if command == CMD_RAR else "ASR", code))
        if name in self._rar:
            self._rar[name].set()
        return code

    async def ask(self, request: Request) -> Answer:
        """Raises SimulatorError without an answer."""
        peer = self._peers[request.element]
        hop_by_hop, end_to_end = peer.next_ids()
        sender = Sender.of(request.element, STORY_REALM, self._target.server_realm)
        frame = render(request, sender, hop_by_hop=hop_by_hop, end_to_end=end_to_end)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        peer.send(bytes(frame), hop_by_hop, lambda octets, _: None if future.done() else future.set_result(octets))
        try:
            octets = await asyncio.wait_for(future, ANSWER_TIMEOUT_S)
        except TimeoutError:
            peer.forget(hop_by_hop)
            octets = b""
        if not octets:
            raise SimulatorError(f"the story's CCR-{request.kind.value} #{request.number} was not answered")
        return read_answer(octets)

    @property
    def subscriber(self) -> Subscriber:
        return self._subscriber


class StorySession:
    """A session of one service."""

    def __init__(
        self,
        network: StoryNetwork,
        element: Element,
        place: Place,
        report: SessionReport,
        other_party: str,
        rar: asyncio.Event,
    ) -> None:
        self.granted = 0
        """Units of the last answer."""
        self.code = 0
        """Result-Code of the last answer for the service."""
        self.report = report
        self._network, self._element, self._place = network, element, place
        self._other_party, self._rar, self._number = other_party, rar, 0

    async def start(self) -> int:
        return await self._request(Kind.INITIAL, None, wanted=0)

    async def use(self, units: int) -> int:
        """Reports use within the grant, and asks for more."""
        return await self._request(Kind.UPDATE, units, wanted=0)

    async def end(self, units: int = 0) -> int:
        code = await self._request(Kind.TERMINATION, units or None)
        self.report.closed = code == SUCCESS
        return code

    async def until_asked(self, timeout_s: float) -> bool:
        """Whether the server has sent a RAR since the last call (or within that time)."""
        try:
            await asyncio.wait_for(self._rar.wait(), timeout_s)
        except TimeoutError:
            return False
        self._rar.clear()
        return True

    async def _request(self, kind: Kind, used: int | None, wanted: int | None = None) -> int:
        network, report = self._network, self.report
        report.ended_at = int(time.time())
        report.started_at = report.started_at or report.ended_at
        (service,) = report.services
        has_part = used is not None or wanted is not None
        part = ServicePart(service.rating_group, used=used, wanted=wanted)
        request = Request(
            element=self._element,
            kind=kind,
            session_id=report.session_id,
            number=self._number,
            at=report.ended_at,
            subscriber=network.subscriber,
            place=self._place,
            parts=(part,) if has_part else (),
            other_party=self._other_party,
            charging_id=report.charging_id,
        )
        self._number += 1
        at_s, sent = network.now_s(), time.monotonic()
        answer = await network.ask(request)
        report.steps.append(step_of(report, request, answer, int(time.time()), sent))
        service.used += used or 0
        found: ServiceAnswer = answer.services[0] if answer.services else answer.command
        self.code, self.granted = found.result_code or answer.result_code, found.granted or 0
        granted = found.granted if kind is not Kind.TERMINATION else None
        network.asked.append(Asked(at_s, f"CCR-{kind.value}", self.code, granted, used or 0, report.traffic))
        return self.code
