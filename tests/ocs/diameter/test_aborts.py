"""ASR: it waits for no RAR, is not sent after the end of the session, and is not repeated after a permanent error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocs.diameter import job_table
from ocs.diameter.client_window import FIRST_WINDOW
from ocs.diameter.outbound import RETRY_AFTER_S
from ocs.diameter.outstanding import MAX_OUTSTANDING
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.settings.diameter import PeerConfig
from protocol import commands
from protocol.avp import encode_avp
from protocol.commands import AbortSessionAnswer, AbortSessionRequest, ErrorMessage, ReAuthAnswer, ReAuthRequest
from protocol.header import parse_header
from tests.ocs.diameter.site import Site, cer, code_of
from tests.ocs.diameter.test_outbound import ACCOUNT, DRA, PGW, World

ABORT_CAUSE = encode_avp(500, 10415, 0x40, bytes(4))
WITHOUT_VENDOR = encode_avp(500, 0, 0x40, bytes(4))


def told(world: World) -> list[tuple[str, str]]:
    """(command, Session-Id) of the requests sent so far."""
    return [
        ("ASR" if isinstance(request, AbortSessionRequest) else "RAR", request.session_id)
        for _, request, _ in world.asked
    ]


def quiet(world: World) -> bool:
    return not (world.requests._jobs or world.requests._queues or world.requests._jobs.unreachable)


@pytest.fixture
def world() -> World:
    world = World(PeerConfig(DRA, relay=True))
    world.here |= {PGW, DRA}
    return world


# -- an ASR overtakes RARs


@pytest.mark.parametrize("answer", [None, ReAuthAnswer("s1", 2002), ErrorMessage(result_code=3002)])
def test_a_block_does_not_wait_for_the_answer_to_a_rar(world: World, answer: Any) -> None:
    world.hear()
    world.hear("abort", "state")
    assert told(world) == [("RAR", "s1"), ("ASR", "s1")]
    world.asked[0][2](answer)
    assert len(world.asked) == 2 and not world.timers, "what came of the RAR matters no more"
    world.reply(AbortSessionAnswer("s1", 2001))
    assert quiet(world) and len(world.asked) == 2


def test_an_overtaken_rar_may_be_answered_with_unknown_session(world: World) -> None:
    world.hear()
    world.hear("abort", "state")
    world.asked[0][2](ReAuthAnswer("s1", 5002))
    assert world.released == [(ACCOUNT, "s1", "lost")]
    world.reply(AbortSessionAnswer("s1", 5002))
    assert len(world.released) == 1 and quiet(world)


def test_a_block_does_not_wait_behind_queued_rars(world: World) -> None:
    """A silent client behind a relay may have few pending requests. The queued RAR is dropped."""
    sids = [f"s{number}" for number in range(FIRST_WINDOW + 2)]
    for sid in sids:
        world.hear(sid=sid, relay=DRA)
    world.hear("abort", "state", sids[-1], relay=DRA)
    assert told(world) == [*(("RAR", sid) for sid in sids[:FIRST_WINDOW]), ("ASR", sids[-1])]
    for _, request, done in list(world.asked):
        done(AbortSessionAnswer("s", 2001) if isinstance(request, AbortSessionRequest) else ReAuthAnswer("s", 2002))
    assert told(world)[FIRST_WINDOW + 1 :] == [("RAR", sids[-2])]
    world.reply(ReAuthAnswer("s", 2002))
    assert quiet(world)


def test_a_block_does_not_wait_for_the_bound_of_rars(world: World) -> None:
    for number in range(MAX_OUTSTANDING + 5):
        world.hear(sid=f"s{number}")
    for number in range(MAX_OUTSTANDING + 5):
        world.hear("abort", "state", f"s{number}")
    assert [command for command, _ in told(world)] == ["RAR"] * MAX_OUTSTANDING + ["ASR"] * MAX_OUTSTANDING


def test_a_block_does_not_wait_for_the_pause_before_a_retry(world: World) -> None:
    world.hear()
    world.reply(None)
    world.hear("abort", "state")
    assert told(world) == [("RAR", "s1"), ("ASR", "s1")]
    world.fire()
    assert len(world.asked) == 2


def test_a_block_does_not_wait_for_pending_requests_of_other_sessions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_table, "MAX_JOBS", 4)
    monkeypatch.setattr(job_table, "MAX_JOBS_FOR_RAR", 2)
    for kind in ("reauthorize", "abort"):
        for number in range(3):
            world.hear(kind, "state", f"{kind}{number}")
    assert [command for command, _ in told(world)] == ["RAR", "RAR", "ASR", "ASR"]
    assert (world.counted["answer", "RAR", "dropped"], world.counted["answer", "ASR", "dropped"]) == (1, 1)


async def test_an_asr_is_sent_on_a_connection_with_the_maximum_of_rars() -> None:
    site = Site()
    try:
        server = await site.server()
        client = await site.client()
        client.send(cer())
        assert code_of((await client.read())[1]) == 2001
        names = (server.config.origin_host, "example.org", "example.org", "pgw.example.org")
        for number in range(MAX_OUTSTANDING):
            assert server.ask("pgw.example.org", ReAuthRequest(f"s{number}", *names), lambda answer: None, 60)
        assert not server.ask("pgw.example.org", ReAuthRequest("s", *names), lambda answer: None, 60)
        assert server.ask("pgw.example.org", AbortSessionRequest("s0", *names), lambda answer: None, 60)
        for _ in range(MAX_OUTSTANDING):
            await client.read()
        header, frame = await client.read()
        assert commands.decode(AbortSessionRequest, frame, header).session_id == "s0"
    finally:
        await site.close()


# -- after the end


@pytest.mark.parametrize("when", ["waits for its answer", "pauses", "waits in line"])
@pytest.mark.parametrize("kind", ["abort", "reauthorize"])
def test_no_request_is_sent_for_a_session_that_its_client_has_ended(world: World, kind: str, when: str) -> None:
    answer = AbortSessionAnswer if kind == "abort" else ReAuthAnswer
    before = FIRST_WINDOW if when == "waits in line" else 0
    for number in range(before):
        world.hear(kind, "state", f"other{number}", relay=DRA)
    world.hear(kind, "state", relay=DRA)
    unanswered = list(world.asked)
    if when == "pauses":
        unanswered.pop()[2](None)
    asked = len(world.asked)
    world.requests.ended("s1", PGW.upper())
    for _, request, done in unanswered:
        done(None if request.session_id == "s1" else answer("s", 2001))
    while world.timers:
        world.fire()
    assert len(world.asked) == asked and quiet(world)
    assert world.counted["answer", "ASR" if kind == "abort" else "RAR", "ended"] == 1


def test_a_session_that_ended_elsewhere_is_not_aborted(world: World) -> None:
    """It ended at another worker, or between block and notice. The ledger says so."""
    world.open_sessions = {"other"}
    world.hear("abort", "state")
    assert not world.asked and world.counted == {("answer", "ASR", "ended"): 1} and quiet(world)
    world.hear("abort", "state", "other")
    world.reply(None)
    world.open_sessions.clear()
    world.fire()
    assert told(world) == [("ASR", "other")] and quiet(world)


def test_a_delayed_rar_is_not_sent_if_the_session_ended_elsewhere(world: World) -> None:
    world.hear()
    world.reply(None)
    world.open_sessions = set()
    world.fire()
    assert len(world.asked) == 1 and quiet(world)


@pytest.mark.parametrize("fault", [LedgerUnavailable("gone"), LedgerError("unreadable", "it is")])
def test_if_the_ledger_is_unavailable_the_session_counts_as_open(
    world: World, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr(world, "read", read)
    world.hear("abort", "state")
    assert told(world) == [("ASR", "s1")]


def test_another_clients_session_of_the_same_id_is_not_affected() -> None:
    group = {"failover_group": "pgws"}
    world = World(PeerConfig(PGW, **group), PeerConfig("pgw2.a1.net", **group))
    world.here.add(PGW)
    world.hear("abort", "state")
    world.requests.ended("s1", "smf.a1.net")
    assert world.requests._jobs
    world.requests.ended("s1", "pgw2.a1.net")
    assert not world.requests._jobs, "it has taken the session over"


# -- clients that refuse


def missing(avp: bytes, code: int = 5005) -> AbortSessionAnswer:
    return AbortSessionAnswer("s", code, failed_avp=avp)


@pytest.mark.parametrize(
    "answer",
    [
        missing(ABORT_CAUSE),
        missing(WITHOUT_VENDOR),
        missing(encode_avp(1, 0, 0x40, b"user") + ABORT_CAUSE),
        ErrorMessage(result_code=5005, failed_avp=ABORT_CAUSE),
        AbortSessionAnswer("s", 5005, error_message="missing AVP: Abort-Cause"),
    ],
)
def test_a_client_that_rejects_abort_cause_gets_the_other_form(
    world: World, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world.hear("abort", "state")
    world.hear("abort", "state", "s2")
    assert [request.abort_cause for _, request, _ in world.asked] == [None, None], "RFC 6733 §8.5.1"
    for _, _, done in list(world.asked):
        done(answer)
    world.hear("abort", "state", "s3")
    assert [(request.session_id, request.abort_cause) for _, request, _ in world.asked[2:]] == [
        ("s1", 0),
        ("s2", 0),
        ("s3", 0),
    ]
    world.hear("abort", "state", "s4", host="other.a1.net", relay=DRA)
    assert world.asked[-1][1].abort_cause is None, "another client"
    (line,) = caplog.records
    assert line.getMessage().startswith(f"client {PGW}: its answer says that it requires Abort-Cause in an ASR")
    for _, _, done in world.asked[2:]:
        done(AbortSessionAnswer("s", 2001))
    assert quiet(world) and not world.timers


@pytest.mark.parametrize("code", [5001, 5005, 5008, 5009])
def test_a_client_that_rejects_both_forms_of_asr_gets_a_rar(
    world: World, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Each form, with and without Abort-Cause, is tried once. The next ASR has the form that was accepted last."""
    world.hear("abort", "state")
    world.reply(missing(ABORT_CAUSE))
    world.reply(missing(ABORT_CAUSE, code))
    assert told(world) == [("ASR", "s1"), ("ASR", "s1"), ("RAR", "s1")]
    world.reply(ReAuthAnswer("s1", 2001))
    assert quiet(world) and not world.timers
    world.hear("abort", "state", "s2")
    world.reply(missing(ABORT_CAUSE, code))
    assert [request.abort_cause for _, request, _ in world.asked[3:]] == [0, None]
    world.reply(AbortSessionAnswer("s2", 2001))
    assert quiet(world)
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(" ASR")[0] for line in said] == [
        f"client {PGW}: its answer says that it requires Abort-Cause in an",
        f"client {PGW} refused",
        f"client {PGW}: its answer says that it does not accept Abort-Cause in an",
    ]


@pytest.mark.parametrize("code", [3001, 3003, 3007, 3008, 5001, 5003, 5005, 5017])
def test_a_permanently_refused_asr_is_not_repeated(world: World, code: int, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        asked = world.asked[-1][1]
        answer = AbortSessionAnswer if isinstance(asked, AbortSessionRequest) else ReAuthAnswer
        world.reply(answer("s", code) if code >= 5000 else ErrorMessage(result_code=code))

    for number in range(3):
        world.hear("abort", "state", f"s{number}")
        refuse()
        refuse()
        world.hear(sid=f"r{number}")
        refuse()
    assert [command for command, _ in told(world)] == ["ASR", "RAR", "RAR"] * 3
    assert not world.timers and quiet(world)
    assert world.counted["answer", "RAR", "refused"] == 6
    assert [record.getMessage() for record in caplog.records] == [
        f"client {PGW} refused ASR with {code}; not sent again",
        f"client {PGW} refused RAR with {code}; not sent again",
    ]


@pytest.mark.parametrize("code", [3002, 3004, 4002])
def test_an_asr_that_may_succeed_later_is_repeated(world: World, code: int, caplog: pytest.LogCaptureFixture) -> None:
    world.hear("abort", "state")
    for _ in RETRY_AFTER_S:
        world.reply(ErrorMessage(result_code=code))
        world.fire()
    assert told(world) == [("ASR", "s1")] * 4 and not caplog.records


@pytest.mark.parametrize("octets", [b"", b"\0", b"\0\0\1\xf4\x80", bytes(12), ABORT_CAUSE[:-5]])
def test_an_unreadable_failed_avp_is_ignored(world: World, octets: bytes) -> None:
    world.hear("abort", "state")
    world.reply(missing(octets))
    assert told(world) == [("ASR", "s1"), ("RAR", "s1")]


def test_abort_cause_on_the_wire() -> None:
    """TS 29.214 §5.3.1: code 500, vendor 3GPP, Enumerated. It has the M bit, as specified, so a client that does not
    know it may reject it.
    """
    sent = AbortSessionRequest("s1", "ocs", "r", "r", "pgw", abort_cause=0)
    frame = commands.encode(sent, hop_by_hop=1, end_to_end=1, application_id=4)
    assert encode_avp(500, 10415, 0xC0, bytes(4)) in frame
    assert commands.decode(AbortSessionRequest, frame, parse_header(frame)) == sent
    bare = commands.encode(AbortSessionRequest("s1", "ocs"), hop_by_hop=1, end_to_end=1, application_id=4)
    assert (500).to_bytes(4, "big") not in bare


# -- random sequences


ANSWERS = {"answer": 2001, "none": 0, "unknown": 5002, "refuse": 5005}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reauthorize", "abort", "end", "fire", "ledger", "go", "come", *ANSWERS]),
        st.integers(0, 7),
    ),
    max_size=80,
)


class SlowLedger(World):
    """A ledger that answers when the test lets it."""

    def __init__(self, *peers: PeerConfig) -> None:
        super().__init__(*peers)
        self.slow = False
        self.asked_of_ledger: list[Awaitable[None]] = []

    def spawn(self, work: Awaitable[None]) -> None:
        self.asked_of_ledger.append(work)
        if not self.slow:
            self.answer_all()

    def ask(self, peer_host: str, request: Any, done: Callable[[Any], None], timeout_s: float) -> bool:
        return peer_host in self.here and super().ask(peer_host, request, done, timeout_s)

    def answer_all(self) -> None:
        works, self.asked_of_ledger = self.asked_of_ledger, []
        for work in works:
            super().spawn(work)


@given(steps=STEPS, direct=st.booleans(), slow=st.booleans())
@settings(deadline=None, max_examples=400)
def test_in_any_sequence_an_asr_is_sent_at_once_and_nothing_after_the_end(
    steps: list[tuple[str, int]], direct: bool, slow: bool
) -> None:
    """At once: whatever RARs are pending or queued, unless an ASR is pending."""
    world, peer = SlowLedger(PeerConfig(DRA, relay=True)), PGW if direct else DRA
    world.slow = slow
    world.here.add(peer)
    world.open_sessions = {f"s{number}" for number in range(8)}
    ended: set[str] = set()
    answered = 0
    for what, number in steps:
        sid, before = f"s{number}", len(world.asked)
        if what in ("reauthorize", "abort") and sid not in ended:
            job = world.requests._jobs.get(sid)
            aborting = job is not None and job.abort
            world.hear(what, "state", sid, relay="" if direct else DRA)
            idle = not slow and "ASR" not in dict(told(world)[answered:before])
            if what == "abort" and not aborting and world.here and idle:
                assert told(world)[before:] == [("ASR", sid)]
        elif what == "end":
            ended.add(sid)
            world.open_sessions.discard(sid)
            world.requests.ended(sid, PGW)
        elif what == "fire" and world.timers:
            world.fire()
        elif what == "ledger":
            world.answer_all()
        elif what in ("go", "come"):
            (world.here.add if what == "come" else world.here.discard)(peer)
        elif what in ANSWERS and answered < before:
            _answer(world, answered, what)
            answered += 1
        assert ended.isdisjoint(each for _, each in told(world)[before:])
    while answered < len(world.asked) or world.timers or world.asked_of_ledger:
        if world.asked_of_ledger:
            world.answer_all()
        elif answered < len(world.asked):
            _answer(world, answered, "answer")
            answered += 1
        else:
            world.fire()
    assert quiet(world)


def _answer(world: World, number: int, what: str) -> None:
    _, request, done = world.asked[number]
    abort = isinstance(request, AbortSessionRequest)
    code = ANSWERS[what]
    failed = ABORT_CAUSE if abort and number % 2 else b""
    kind = AbortSessionAnswer if abort else ReAuthAnswer
    done(kind(request.session_id, code, failed_avp=failed) if code else None)
