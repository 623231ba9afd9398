"""The load generator's hot path: many parallel sessions I + 3 U + T, at low cost per request.

A slot plays one session after another. Its next request is the template of its step, patched with five numbers. The
Hop-by-Hop Identifier contains the slot, so an answer needs no look-up. An answer is read at the offsets of the last
answer of the same length, after a check that the same AVP headers are there; otherwise it is scanned. Requests made in
one turn of the event loop are written at once.
"""

from __future__ import annotations

import asyncio
import struct
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from simulator.load_templates import LoadTemplates, Step
from simulator.pacing import Arrivals, Rate, WakeUp, intended_times
from simulator.peer import DiameterPeer, Identity
from simulator.requests import Subscriber
from simulator.wire import (
    AVP_CC_TOTAL_OCTETS,
    AVP_ERROR_MESSAGE,
    AVP_GRANTED_SERVICE_UNIT,
    AVP_MSCC,
    AVP_RESULT_CODE,
    avps,
    u32,
)

SUCCESS = 2001
_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")
SLOT_BITS = 20
MAX_SLOTS = 1 << SLOT_BITS
MAX_SHAPES = 256
"""Size of the cache of answer layouts; a server has a handful."""
MAX_TEXTS = 16
"""Result-Codes whose first Error-Message is kept."""


@dataclass(slots=True)
class LoadResult:
    """Counts of a load run."""

    latencies_us: array[int] = field(default_factory=lambda: array("Q"))
    codes: dict[int, int] = field(default_factory=dict)
    """Result-Code at command level → answers."""
    service_codes: dict[int, int] = field(default_factory=dict)
    """Result-Code of the MSCC → answers."""
    texts: dict[int, str] = field(default_factory=dict)
    """Result-Code at command level → Error-Message of its first answer."""
    lost: bool = False
    """A connection was lost, which ended the run …"""
    interrupted: bool = False
    """… or the user did."""
    sent: int = 0
    answered: int = 0
    measured: int = 0
    """Answers within the measured time, not in the drain after it."""
    sessions_started: int = 0
    sessions_finished: int = 0
    octets_reported: int = 0
    """Σ of reported use, to be compared with the records."""
    used_by_session: dict[str, int] = field(default_factory=dict)
    unended: set[str] = field(default_factory=set)
    """Those that a refusal ended: their end was never reported."""
    started_at: float = 0.0
    """Wall clock at the start of the run."""
    late_us: array[int] = field(default_factory=lambda: array("Q"))
    """Open loop: delay of each request after its intended time, unless it waited for a free slot."""
    unsent: int = 0
    """Open loop: due requests that were not sent within the time, for lack of a slot."""
    due_us: array[int] = field(default_factory=lambda: array("Q"))
    """With keep_times: intended time of each latency, from the start …"""
    sent_late_us: array[int] = field(default_factory=lambda: array("Q"))
    """… and how late the generator sent it."""


@dataclass(slots=True)
class Slot:
    """One running session."""

    index: int
    templates: LoadTemplates
    """Those of its connection: the Origin-Host is that of the CER."""
    step: int = 0
    subscriber: Subscriber | None = None
    session_id: bytes = b""
    used: int = 0
    """Octets to report next: the last grant."""
    session_used: int = 0
    due: float = 0.0
    """Intended time of its request. Latency counts from it, so that a stalled server is not flattered. 0 = not
    measured.
    """
    late_us: int = 0
    """Delay after that time caused by the generator."""


class LoadPeer(DiameterPeer):
    """A peer that passes answers directly to the generator: no table of callbacks."""

    on_frames: Callable[[list[bytes]], None]

    def data_received(self, data: bytes) -> None:
        if self.ready:
            frames = self._splitter.feed(data)
            self.on_frames([frame for frame in frames if self._is_charging_answer(frame)])
        else:
            super().data_received(data)

    ready = False

    def _is_charging_answer(self, frame: bytes) -> bool:
        if not frame[4] & 0x80 and frame[6] == 1 and frame[7] == 16:  # an answer, command 272
            return True
        if frame[4] & 0x80:
            self._answer_request(frame, int.from_bytes(frame[5:8], "big"))
        elif self._base_answer is not None and not self._base_answer.done():
            self._base_answer.set_result(frame)
        return False


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    """Offsets in answers of one length, and the AVP headers that must precede them."""

    result_at: int
    service_at: int
    """Offset of the Result-Code in the MSCC; 0 = none."""
    granted_at: int
    """Offset of CC-Total-Octets in the grant; 0 = none."""


RESULT_HEAD = bytes.fromhex("0000010c4000000c")
OCTETS_HEAD = bytes.fromhex("000001a540000010")


class AnswerReader:
    """Reads (command result, service result, granted octets) of an answer at cached offsets."""

    __slots__ = ("_layouts",)

    def __init__(self) -> None:
        self._layouts: dict[int, AnswerLayout] = {}

    def read(self, frame: bytes) -> tuple[int, int, int]:
        layout = self._layouts.get(len(frame))
        if layout is None or not _fits(layout, frame):
            layout = _scan(frame)
            if len(self._layouts) < MAX_SHAPES:
                self._layouts[len(frame)] = layout
        code = _U32.unpack_from(frame, layout.result_at)[0] if layout.result_at else 0
        service = _U32.unpack_from(frame, layout.service_at)[0] if layout.service_at else code
        granted = _U64.unpack_from(frame, layout.granted_at)[0] if layout.granted_at else 0
        return code, service, granted


def _fits(layout: AnswerLayout, frame: bytes) -> bool:
    at, service, granted = layout.result_at, layout.service_at, layout.granted_at
    return (
        frame[at - 8 : at] == RESULT_HEAD
        and (not service or frame[service - 8 : service] == RESULT_HEAD)
        and (not granted or frame[granted - 8 : granted] == OCTETS_HEAD)
    )


def _scan(frame: bytes) -> AnswerLayout:
    result = service = granted = 0
    for code, vendor, at, end in avps(frame):
        if code == AVP_RESULT_CODE and not vendor:
            result = at
        elif code == AVP_MSCC and not vendor:
            for inner, inner_vendor, inner_at, inner_end in avps(frame, at, end):
                if inner == AVP_RESULT_CODE and not inner_vendor:
                    service = inner_at
                elif inner == AVP_GRANTED_SERVICE_UNIT:
                    for unit, _, unit_at, _ in avps(frame, inner_at, inner_end):
                        if unit == AVP_CC_TOTAL_OCTETS:
                            granted = unit_at
    return AnswerLayout(result, service, granted)


def _error_message(frame: bytes) -> str:
    return next(
        (
            frame[at:end].decode("utf-8", "replace")
            for code, vendor, at, end in avps(frame)
            if code == AVP_ERROR_MESSAGE and not vendor
        ),
        "",
    )


class LoadGenerator:
    """Keeps `outstanding` requests pending, or starts requests at a rate, over the given subscribers. `templates`: of
    each connection.
    """

    def __init__(
        self,
        *,
        subscribers: list[Subscriber],
        templates: Sequence[LoadTemplates],
        outstanding: int,
        updates: int,
        keep_usage: bool,
        keep_times: bool = False,
    ) -> None:
        if not 1 <= outstanding <= MAX_SLOTS:
            raise ValueError(f"1 to {MAX_SLOTS} requests outstanding, not {outstanding}")
        self.result = LoadResult()
        self._subscribers = subscribers
        self._slots = [Slot(index, templates[index % len(templates)]) for index in range(outstanding)]
        self._last_step = updates + 1
        self._peers: list[LoadPeer] = []
        self._reader = AnswerReader()
        self._next_session = 0
        self._end_to_end = int(time.time()) << 20 & 0xFFFFFFFF
        self._running = False
        self._idle: list[Slot] = []
        self._closed_loop = True
        self._keep_usage = keep_usage
        self._keep_times = keep_times
        self._started = 0.0

    def stop(self) -> None:
        """Ends the run now, with the figures so far."""
        self.result.interrupted = True

    async def connect(self, host: str, port: int, hosts: tuple[str, ...], realm: str) -> None:
        """One connection per Origin-Host. Raises PeerError."""
        for name in hosts:
            peer = await LoadPeer.connect(Identity(name, realm), host, port)
            assert isinstance(peer, LoadPeer)
            peer.on_frames = self._on_frames
            peer.ready = True
            self._peers.append(peer)

    async def disconnect(self) -> None:
        for peer in self._peers:
            await peer.disconnect()

    @property
    def in_flight(self) -> int:
        return self.result.sent - self.result.answered

    @property
    def is_connected(self) -> bool:
        return all(peer.is_open for peer in self._peers)

    @property
    def _goes_on(self) -> bool:
        return self.is_connected and not self.result.interrupted

    # -- closed loop: a fixed number outstanding

    async def run_outstanding(self, seconds: float, drain_s: float, start_at: float = 0.0) -> float:
        """Every slot always has one pending request. Returns the seconds of the run. It starts at `start_at` of
        time.perf_counter, or at once if that has passed.
        """
        await self._until(start_at)
        self._running, self._closed_loop = True, True
        started = self._mark_start()
        for slot in self._slots:
            self._begin(slot, started)
        await self._until(started + seconds)
        return await self._drain(started, drain_s)

    # -- open loop: a fixed rate

    async def run_rate(
        self,
        rate: Rate,
        seconds: float,
        drain_s: float,
        arrivals: Arrivals = Arrivals.EVEN,
        seed: int = 1,
        first: float = 0.0,
        start_at: float = 0.0,
    ) -> float:
        """Sends requests at their intended times, whatever the server does. Requests without a slot wait, and the wait
        counts as latency. It starts as `run_outstanding`.
        """
        await self._until(start_at)
        self._running, self._closed_loop = True, False
        started = self._mark_start()
        self._idle = list(self._slots)
        times = intended_times(arrivals, rate, seed, first)
        due, waiting = started + next(times), False

        def send_due() -> None:
            nonlocal due, waiting
            now = time.perf_counter()
            while due <= now:
                if not self._idle:
                    waiting = True  # for the server: not the generator's delay
                    break
                slot = self._idle.pop()
                slot.late_us = 0 if waiting else int((now - due) * 1e6)
                if not waiting:
                    self.result.late_us.append(slot.late_us)
                self._next(slot, due)
                due = started + next(times)
            else:
                waiting = False
            wake_up.set(due, now)

        with WakeUp(send_due) as wake_up:
            send_due()
            await self._until(started + seconds)
            send_due()
        end = started + seconds
        while due < end and self._goes_on:
            self.result.unsent += 1
            due = started + next(times)
        return await self._drain(started, drain_s)

    def _mark_start(self) -> float:
        self._started = time.perf_counter()
        self.result.started_at = time.time()
        return self._started

    async def _until(self, deadline: float) -> None:
        while time.perf_counter() < deadline and self._goes_on:  # noqa: ASYNC110 - time is what is waited for
            await asyncio.sleep(min(0.05, max(0.0, deadline - time.perf_counter())))

    async def _drain(self, started: float, drain_s: float) -> float:
        """Stops measuring and ends every open session with a TERMINATION, in at most `drain_s`."""
        elapsed = time.perf_counter() - started
        self._running = False
        self.result.lost = not self.is_connected
        self.result.measured = self.result.answered
        for slot in self._idle:
            if slot.subscriber is not None and slot.step <= self._last_step:
                slot.step = self._last_step
                self._send(slot, 0.0)
        self._idle = []
        limit = time.perf_counter() + drain_s
        while self.in_flight and time.perf_counter() < limit and self.is_connected:  # noqa: ASYNC110 - off the hot path
            await asyncio.sleep(0.01)
        return elapsed

    # -- the hot path

    def _begin(self, slot: Slot, now: float) -> None:
        """Starts a session in this slot, for the next subscriber in turn."""
        number = self._next_session
        self._next_session = number + 1
        slot.subscriber = self._subscribers[number % len(self._subscribers)]
        slot.session_id = slot.templates.session_id(number)
        slot.step = slot.used = slot.session_used = 0
        self.result.sessions_started += 1
        self._send(slot, now)

    def _next(self, slot: Slot, now: float) -> None:
        """The slot's next request in an open loop, of its session or of a new one."""
        if slot.subscriber is None or slot.step > self._last_step:
            self._begin(slot, now)
        else:
            self._send(slot, now)

    def _send(self, slot: Slot, now: float) -> None:
        step = slot.step
        kind = Step.INITIAL if not step else Step.TERMINATION if step == self._last_step else Step.UPDATE
        subscriber = slot.subscriber
        assert subscriber is not None
        self._end_to_end = end_to_end = self._end_to_end + 1 & 0xFFFFFFFF
        frame = slot.templates.render(kind, subscriber, slot.session_id, step, slot.used, slot.index, end_to_end)
        slot.due = now
        result = self.result
        result.sent += 1
        result.octets_reported += slot.used
        slot.session_used += slot.used
        self._peers[slot.index % len(self._peers)].write(frame)

    def _on_frames(self, frames: list[bytes]) -> None:
        now = time.perf_counter()
        result, slots, read, last_step = self.result, self._slots, self._reader.read, self._last_step
        codes, service_codes, add = result.codes, result.service_codes, result.latencies_us.append
        for frame in frames:
            slot = slots[u32(frame, 12) & (MAX_SLOTS - 1)]
            result.answered += 1
            if slot.due:
                add(int((now - slot.due) * 1e6))
                if self._keep_times:
                    self._keep_time(slot)
            code, service, granted = read(frame)
            codes[code] = codes.get(code, 0) + 1
            service_codes[service] = service_codes.get(service, 0) + 1
            if code != SUCCESS and code not in result.texts and len(result.texts) < MAX_TEXTS:
                result.texts[code] = _error_message(frame)
            if slot.step >= last_step or code != SUCCESS:
                self._finish(slot)
                if self._running and self._closed_loop:
                    self._begin(slot, now)
            else:
                # use the grant; a refused service has nothing to report and ends
                slot.used = min(granted, slot.templates.octets)
                slot.step = slot.step + 1 if granted and self._running else last_step
                if not self._running:
                    self._send(slot, 0.0)
                elif self._closed_loop:
                    self._send(slot, now)
            if self._running and not self._closed_loop:
                self._idle.append(slot)

    def _keep_time(self, slot: Slot) -> None:
        self.result.due_us.append(int((slot.due - self._started) * 1e6))
        self.result.sent_late_us.append(slot.late_us)

    def _finish(self, slot: Slot) -> None:
        self.result.sessions_finished += 1
        if self._keep_usage:
            session_id = slot.session_id.decode()
            self.result.used_by_session[session_id] = slot.session_used
            if slot.step < self._last_step:
                self.result.unended.add(session_id)
        slot.step = self._last_step + 1
