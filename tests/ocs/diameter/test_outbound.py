"""RAR and ASR: which worker sends them, results, retries, and the time from top-up to RAR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ocs.diameter import job_table, outbound
from ocs.diameter.node_turns import NodeTurns
from ocs.diameter.outbound import RETRY_AFTER_S, ClientRequests
from ocs.diameter.outstanding import MAX_OUTSTANDING
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.settings.diameter import DiameterConfig, PeerConfig
from ocs.settings.profile import STANDARD, Profile
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ErrorMessage, ReAuthAnswer, ReAuthRequest

PGW, DRA = "pgw.a1.net", "dra.a1.net"
ACCOUNT = "00-01"


class World:
    """A server, a ledger and a clock controlled by the test."""

    def __init__(
        self,
        *peers: PeerConfig,
        first: bool = True,
        unknown_profile: Profile = STANDARD,
        node: str = "ocs.hot.net",
        turns: NodeTurns | None = None,
    ) -> None:
        self.here: set[str] = set()
        self.elsewhere: set[str] = set()
        self.room = True
        self.asked: list[tuple[str, Any, Callable[[Any], None]]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.released: list[tuple[str, str, str]] = []
        self.announced: list[Notice] = []
        self.counted: Counter[tuple[str, str, str]] = Counter()
        self.unblock: list[float] = []
        self.open_sessions: set[str] | None = None
        """What the ledger knows of the account; None = it says nothing."""
        self.now = 1000.0
        config = DiameterConfig(node, "hot.net", peers=peers, unknown_profile=unknown_profile)
        self.requests = ClientRequests(
            *(config, self, self, self, lambda: self.now, self.later, self.spawn, lambda: {"now": 1, "month": 2}),
            first=first,
            turns=turns,
        )

    # server

    def ask(self, peer_host: str, request: Any, done: Callable[[Any], None], timeout_s: float) -> bool:
        assert peer_host in self.here
        if self.room:
            self.asked.append((peer_host, request, done))
        return self.room

    def connected_here(self, peer_host: str) -> bool:
        return peer_host in self.here

    def connected_anywhere(self, peer_host: str) -> bool:
        return peer_host in self.here or peer_host in self.elsewhere

    # ledger, timer, tasks, metrics

    async def release_session(self, account_id: str, session_id: str, *, reason: str, now: int, month: int) -> bool:
        self.released.append((account_id, session_id, reason))
        return True

    async def announce(self, notice: Notice) -> None:
        self.announced.append(notice)

    async def read(self, account_id: str, *, now: int, month: int) -> Any:
        if self.open_sessions is None:
            return None
        sessions = [SimpleNamespace(session_id=each) for each in sorted(self.open_sessions)]
        return SimpleNamespace(state="blocked", sessions=sessions)

    def later(self, seconds: float, callback: Callable[[], None]) -> object:
        self.timers.append((seconds, callback))
        return None

    def spawn(self, work: Awaitable[None]) -> None:
        with pytest.raises(StopIteration):  # it awaits nothing here
            work.__await__().__next__()

    def client_request(self, command: str, reason: str) -> None:
        self.counted["sent", command, reason] += 1

    def client_answer(self, command: str, result: str) -> None:
        self.counted["answer", command, result] += 1

    def unblocked(self, seconds: float) -> None:
        self.unblock.append(seconds)

    # events

    def hear(
        self, kind: str = "reauthorize", reason: str = "topup", sid: str = "s1", relay: str = "", host: str = PGW
    ) -> None:
        session = NoticedSession(sid, host, "a1.net", relay, "data")
        self.requests.hear(Notice(kind, reason, self.now - 0.004, ACCOUNT, (session,)))

    def reply(self, answer: Any) -> None:
        self.asked[-1][2](answer)

    def fire(self) -> float:
        seconds, callback = self.timers.pop(0)
        callback()
        return seconds


def test_a_rar_goes_to_the_client_that_is_connected() -> None:
    world = World()
    world.here.add(PGW)
    world.hear()
    ((peer, request, _),) = world.asked
    assert peer == PGW
    assert request == ReAuthRequest("s1", "ocs.hot.net", "hot.net", "a1.net", PGW)
    assert world.unblock == [pytest.approx(0.004)]
    world.reply(ReAuthAnswer("s1", 2002))
    assert world.counted == {("sent", "RAR", "topup"): 1, ("answer", "RAR", "2002"): 1}
    assert not world.requests._jobs and not world.timers


def test_a_session_opened_through_a_relay_gets_its_rar_through_it() -> None:
    world = World(PeerConfig(DRA, relay=True))
    world.here |= {PGW, DRA}
    world.hear(relay=DRA)
    assert world.asked[0][0] == DRA and world.asked[0][1].destination_host == PGW


def test_an_unconfigured_peer_has_the_standard_profile() -> None:
    world = World(unknown_profile=Profile(reauthorize=False))
    world.here.add(PGW)
    world.hear()
    assert world.counted == {("answer", "RAR", "not_wanted"): 1} and not world.asked


def test_only_one_worker_sends() -> None:
    world = World()
    world.elsewhere.add(PGW)
    world.hear()
    assert not world.asked and not world.counted and not world.requests._jobs


def test_an_unconnected_client_is_reached_by_the_first_relay_of_its_realm() -> None:
    relays = [
        PeerConfig(f"{name}.dra", relay=True, realms=realms)
        for name, realms in (("a", ("b.net",)), ("b", ()), ("c", ()))
    ]
    world = World(*relays)
    world.here |= {"a.dra", "b.dra", "c.dra"}
    world.hear(relay=DRA)
    assert world.asked[0][0] == "b.dra"
    other = World(*relays)
    other.here.add("c.dra")
    other.elsewhere.add("b.dra")
    other.hear()
    assert not other.asked, "another worker has the first one"


@pytest.mark.parametrize("first", [True, False])
def test_an_unreachable_client_is_counted_once(first: bool) -> None:
    """All workers notice it; one of them counts it."""
    world = World(first=first)
    world.hear()
    assert tuple(world.fire() for _ in RETRY_AFTER_S) == RETRY_AFTER_S
    assert world.counted == ({("answer", "RAR", "unreachable"): 1} if first else {})
    assert not world.requests._jobs and not world.requests._jobs.unreachable and not world.timers


def test_a_notice_during_a_reconnection_is_not_lost() -> None:
    workers = [World(first=number == 0) for number in range(2)]
    for worker in workers:
        worker.hear()
        worker.fire()
    workers[0].elsewhere.add(PGW)
    workers[1].here.add(PGW)
    for worker in workers:
        worker.now += 5
        worker.fire()
    assert [len(worker.asked) for worker in workers] == [0, 1]
    assert workers[1].unblock == [pytest.approx(5.004)]
    workers[1].reply(ReAuthAnswer("s1", 2002))
    for worker in workers:
        assert not worker.requests._jobs and not worker.requests._jobs.unreachable and not worker.announced
    assert workers[0].counted == {}


def test_a_request_is_announced_again_if_its_peer_reconnects_to_another_worker() -> None:
    world = World()
    world.here.add(PGW)
    world.hear()
    world.here.clear()
    world.reply(None)  # the connection ends
    world.elsewhere.add(PGW)
    world.now += 1
    world.fire()
    ((notice,), at) = world.announced, world.now - 1.004
    assert notice == Notice("reauthorize", "topup", at, ACCOUNT, (NoticedSession("s1", PGW, "a1.net", "", "data"),))
    assert not world.requests._jobs
    world.requests.hear(notice)
    assert len(world.announced) == 1 and not world.requests._jobs, "we hear it too, and leave it to the other one"


def test_a_notice_expires_if_its_peer_keeps_changing_workers() -> None:
    world = World()
    world.here.add(PGW)
    world.hear()
    world.here.clear()
    world.reply(None)
    world.elsewhere.add(PGW)
    world.now += outbound.LONGEST_WAIT_S + 1
    world.fire()
    assert not world.announced and not world.requests._jobs


def test_sessions_of_unreachable_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_table, "MAX_UNREACHABLE", 3)
    world = World()
    for number in range(5):
        world.hear(sid=f"s{number}")
        world.hear(sid=f"s{number}")  # a second notice is no further session
    assert len(world.requests._jobs) == 3 and world.counted["answer", "RAR", "unreachable"] == 4
    world.here.add(PGW)
    while world.timers:
        world.fire()
    assert len(world.asked) == 3 and not world.requests._jobs.unreachable


def test_peers_configured_without_rar_get_none() -> None:
    world = World(PeerConfig(PGW, profile=Profile(reauthorize=False)))
    world.here.add(PGW)
    world.hear()
    world.hear("abort", "state", "s2")
    assert not world.asked
    assert world.counted == {("answer", "RAR", "not_wanted"): 1, ("answer", "ASR", "not_wanted"): 1}


def test_an_unknown_session_is_given_up() -> None:
    world = World()
    world.here.add(PGW)
    for sid, answer in (("s1", ReAuthAnswer("s1", 5002)), ("s2", ErrorMessage(result_code=5002))):
        world.hear(sid=sid)
        world.reply(answer)
    assert world.released == [(ACCOUNT, "s1", "lost"), (ACCOUNT, "s2", "lost")]


@pytest.mark.parametrize(
    "answer", [None, ErrorMessage(result_code=3002), ErrorMessage(result_code=3004), ReAuthAnswer("s", 5012)]
)
def test_an_undelivered_request_is_repeated_and_then_dropped(answer: Any) -> None:
    world = World()
    world.here.add(PGW)
    world.hear()
    pauses = []
    for _ in RETRY_AFTER_S:
        world.reply(answer)
        pauses.append(world.fire())
    world.reply(answer)
    assert tuple(pauses) == RETRY_AFTER_S and len(world.asked) == 1 + len(RETRY_AFTER_S)
    assert not world.timers and not world.requests._jobs
    assert world.counted["answer", "RAR", "given_up"] == 1


def test_requests_above_the_bound_of_unanswered_ones_wait() -> None:
    world = World()
    world.here.add(PGW)
    world.room = False
    world.hear()
    world.room = True
    world.fire()
    assert len(world.asked) == 1


def test_waiting_requests_are_sent_as_the_peer_answers() -> None:
    world = World()
    world.here.add(PGW)
    for number in range(5_000):
        world.hear(sid=f"s{number}")
    assert len(world.asked) == MAX_OUTSTANDING
    world.hear(sid="s4999")  # a second notice for a waiting session: still one request
    answered = 0
    while answered < len(world.asked):
        world.asked[answered][2](ReAuthAnswer("s", 2002))
        answered += 1
        assert len(world.asked) - answered <= MAX_OUTSTANDING
    assert [request.session_id for _, request, _ in world.asked] == [f"s{number}" for number in range(5_000)]
    assert not world.requests._jobs and not world.requests._queues and not world.timers


def test_a_disconnected_peer_leaves_no_waiting_requests() -> None:
    world = World()
    world.here.add(PGW)
    for number in range(1_000):
        world.hear(sid=f"s{number}")
    world.here.clear()
    for _, _, done in list(world.asked):
        done(None)
    world.here.add(PGW)
    answered = len(world.asked)
    while world.timers:
        world.fire()
    while answered < len(world.asked):
        world.asked[answered][2](ReAuthAnswer("s", 2002))
        answered += 1
    assert answered == 1_000 + MAX_OUTSTANDING, "all are told, those that were under way once more"
    assert not world.requests._jobs and not world.requests._queues


def test_a_new_notice_ends_the_pause_before_a_retry() -> None:
    world = World()
    world.here.add(PGW)
    world.hear()
    world.reply(None)
    world.hear()
    assert len(world.asked) == 2 and len(world.unblock) == 2
    world.fire()
    assert len(world.asked) == 2, "the timer of the first try is stale"
    world.reply(None)
    assert world.timers[-1][0] == RETRY_AFTER_S[0], "news begins the tries anew"


def test_a_new_notice_during_the_last_try_starts_the_tries_again() -> None:
    world = World()
    world.here.add(PGW)
    world.hear()
    for _ in RETRY_AFTER_S:
        world.reply(None)
        world.fire()
    world.hear()
    world.reply(None)
    assert not world.counted["answer", "RAR", "given_up"]
    assert world.fire() == RETRY_AFTER_S[0]
    world.reply(ReAuthAnswer("s1", 2001))
    assert not world.requests._jobs


def test_a_clock_behind_the_top_ups_time_gives_no_latency() -> None:
    world = World()
    world.here.add(PGW)
    world.now -= 0.01
    world.requests.hear(
        Notice("reauthorize", "topup", 1000.0, ACCOUNT, (NoticedSession("s1", PGW, "a1.net", "", "data"),))
    )
    assert len(world.asked) == 1 and not world.unblock


def test_notices_during_a_pending_rar_cause_one_more_rar() -> None:
    world = World()
    world.here.add(PGW)
    for _ in range(5):
        world.hear()
    assert len(world.asked) == 1
    world.reply(ReAuthAnswer("s1", 2002))
    assert len(world.asked) == 2, "the client may have asked before the last change"
    world.reply(ReAuthAnswer("s1", 2002))
    assert len(world.asked) == 2 and not world.requests._jobs


def test_a_block_sends_asr_and_after_a_refusal_rar() -> None:
    world = World()
    world.here.add(PGW)
    world.hear("abort", "state")
    assert isinstance(world.asked[0][1], AbortSessionRequest)
    world.reply(AbortSessionAnswer("s1", 5012))
    assert isinstance(world.asked[1][1], ReAuthRequest)
    world.reply(ReAuthAnswer("s1", 2001))
    assert not world.requests._jobs
    world.hear("abort", "state", "s2")
    world.reply(AbortSessionAnswer("s2", 2001))
    assert not world.requests._jobs and not world.released


def test_sessions_with_pending_requests_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_table, "MAX_JOBS", 3)
    world = World()
    world.here.add(PGW)
    for number in range(5):
        world.hear(sid=f"s{number}")
    assert len(world.asked) == 3 and world.counted["answer", "RAR", "dropped"] == 2


def test_other_notices_are_ignored() -> None:
    world = World()
    world.here.add(PGW)
    world.hear("something new")
    assert not world.asked
