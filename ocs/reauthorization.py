"""Requests of ours to clients: RAR when there is something new to ask for, ASR when a session must end.

RFC 8506 §5.5, RFC 6733 §8.3, §8.5.

A notice of the ledger names sessions and how they are reached. Every worker hears it; the one that has the relay the session came through,
or else the client itself, sends. If neither is connected to this server, the first connected relay that may carry the realm does. While
nobody is (a peer is just coming back), every worker keeps the notice and looks again, and a worker whose peer has gone to another
one says the notice anew. Not every client reacts, and a notice may be lost: Validity-Time leads to the same end.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ocs.gateway.config import GatewayConfig
from ocs.gateway.outstanding import Answered, Asked, Done
from ocs.lanes import Lane
from ocs.ledger.contract import LedgerUnavailable, Notice, NoticedSession
from protocol.commands import AbortSessionRequest, ErrorMessage, ReAuthRequest
from protocol.errors import ResultCode

log = logging.getLogger(__name__)

TX_S = 10.0
"""How long an answer is waited for (Tx of RFC 8506 §13)."""
RETRY_AFTER_S = (1.0, 5.0, 30.0)
"""Pauses before a request that was not delivered is sent again; after the last it is left to Validity-Time and Tcc."""
MAX_JOBS = 20_000
"""Sessions of a worker that are being told; notices beyond it are dropped and counted."""
MAX_AWAY = 2_000
"""Of these, sessions that no worker can reach now and that every worker keeps: a server whose peers are connected to another server on
the same ledger has nothing but such."""
LONGEST_WAIT_S = 90.0
"""From the last news of a session to its turn: after it a silent client is left to Validity-Time. As long as all the tries take."""
RAR, ASR = "RAR", "ASR"
UNREACHABLE = "unreachable"
RELEASE_REASON = "lost"


class Sender(Protocol):
    """The part of the gateway that is needed."""

    def ask(self, peer_host: str, request: Asked, done: Done, timeout_s: float) -> bool: ...

    def connected_here(self, peer_host: str) -> bool: ...

    def connected_anywhere(self, peer_host: str) -> bool: ...


class Releaser(Protocol):
    async def release_session(self, account_id: str, session_id: str, *, reason: str, now: int, month: int) -> bool: ...

    async def announce(self, notice: Notice) -> None: ...


class RequestMetrics(Protocol):
    def client_request(self, command: str, reason: str) -> None:
        """A RAR or ASR handed to the transport."""

    def client_answer(self, command: str, result: str) -> None:
        """`result`: a Result-Code, or "no_answer", "unreachable", "not_wanted", "dropped", "given_up"."""

    def unblocked(self, seconds: float) -> None:
        """From an accepted top-up to the RAR on the wire."""


@dataclass(slots=True)
class _Job:
    session: NoticedSession
    account_id: str
    abort: bool
    reason: str
    at: float
    """When the change was asked for, by the clock of whoever made it."""
    since: float
    """When we last heard of it."""
    tries: int = 0
    under_way: bool = False
    fresh: bool = True
    """No request has been sent since the last notice."""
    turn: int = 0
    """Counts the sends planned: a timer of an earlier plan does nothing."""
    again: bool = False
    """Something has changed since the request that is under way was sent."""
    queued: bool = False
    """It waits for the peer to answer others."""
    ours: bool = False
    """This worker had the connection, so that the others have left it to us."""


class ClientRequests:
    """One per worker. `later(seconds, callback)` is the event loop's timer, `when()` gives now= and month= of a ledger operation.

    `first`: of the server's workers this one counts what all of them see.
    """

    def __init__(
        self,
        config: GatewayConfig,
        gateway: Sender,
        ledger: Releaser,
        metrics: RequestMetrics,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
        spawn: Callable[[Awaitable[None]], None],
        when: Callable[[], dict[str, int]],
        *,
        first: bool = True,
    ) -> None:
        self._host, self._realm = config.origin_host, config.realm
        self._peers = {peer.origin_host.lower(): peer for peer in config.peers}
        self._unknown_profile = config.unknown_profile
        self._relays = sorted((peer for peer in config.peers if peer.relay), key=lambda peer: peer.origin_host.lower())
        self._gateway = gateway
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._later = later
        self._spawn = spawn
        self._when = when
        self._first = first
        self._jobs: dict[str, _Job] = {}
        self._away: set[str] = set()
        """Sessions that nobody can reach now and that are not ours."""
        self._lanes: dict[str, Lane[_Job]] = {}
        """By connected peer; one with nothing to do is forgotten. Each job waits in one at most, so MAX_JOBS over all."""

    def hear(self, notice: Notice) -> None:
        abort = notice.kind == "abort"
        if not abort and notice.kind != "reauthorize":
            return
        for session in notice.sessions:
            job = self._jobs.get(session.session_id)
            if job is None:
                if len(self._jobs) >= MAX_JOBS:
                    self._metrics.client_answer(ASR if abort else RAR, "dropped")
                    continue
                job = _Job(session, notice.account_id, abort, notice.reason, notice.at, self._clock())
                self._jobs[session.session_id] = job
                self._send(job)
            else:
                # Several changes at once are one request; the newest says how the session is reached.
                job.session, job.abort, job.again = session, job.abort or abort, True
                job.reason, job.at, job.since, job.fresh = notice.reason, notice.at, self._clock(), True
                if not job.under_way and not job.queued:  # a pause before another try: news does not wait
                    job.tries = 0
                    self._send(job)

    def _send(self, job: _Job) -> None:
        if job.session.session_id not in self._jobs:
            return
        job.turn += 1
        peer = self._peer_to_use(job.session)
        if peer is None:
            self._leave(job)
        elif peer == "":
            self._nobody_has(job)
        elif not self._wants(peer, job.session.origin_host):
            self._finished(job, "not_wanted")
        else:
            self._send_over(peer, job)

    def _send_over(self, peer: str, job: _Job) -> None:
        client = job.session.origin_host
        lane = self._lanes.get(peer)
        if lane is None:
            lane = self._lanes[peer] = Lane(peer)
        job.ours = True
        self._away.discard(job.session.session_id)
        if not lane.take(client):
            job.queued = True
            lane.wait(client, job)
            return
        command = ASR if job.abort else RAR
        job.again, job.under_way = False, True

        def done(answer: Answered | None) -> None:
            self._done(peer, client, job, command, answer)

        if not self._gateway.ask(peer, self._request(job), done, TX_S):
            job.under_way = False
            lane.give_back(client, None)
            self._tidy(peer, client)
            self._retry(job, UNREACHABLE)
            return
        self._metrics.client_request(command, job.reason)
        waited_s = self._clock() - job.at
        if job.reason == "topup" and job.fresh and job.at and waited_s >= 0:  # else the clocks of two hosts disagree
            self._metrics.unblocked(waited_s)
        job.fresh = False

    def _leave(self, job: _Job) -> None:
        """Another worker has the connection. If it came there from us, that worker has not kept the notice."""
        self._drop(job)
        if job.ours and self._clock() - job.since <= LONGEST_WAIT_S:
            kind = "abort" if job.abort else "reauthorize"
            self._spawn(self._pass_on(Notice(kind, job.reason, job.at, job.account_id, (job.session,))))

    async def _pass_on(self, notice: Notice) -> None:
        try:
            await self._ledger.announce(notice)
        except LedgerUnavailable as error:
            log.warning("another worker was not told of a session whose peer has gone to it: %s", error)

    def _nobody_has(self, job: _Job) -> None:
        """Perhaps its peer is just coming back, to this worker or to another one."""
        sid = job.session.session_id
        if not job.ours and sid not in self._away:
            if len(self._away) >= MAX_AWAY:
                self._finished(job, UNREACHABLE)
                return
            self._away.add(sid)
        self._retry(job, UNREACHABLE)

    def _peer_to_use(self, session: NoticedSession) -> str | None:
        """Whom this worker sends to; None = another worker does, "" = nobody can."""
        for name in (session.via, session.origin_host):
            if name and self._gateway.connected_anywhere(name):
                return name if self._gateway.connected_here(name) else None
        for relay in self._relays:
            if relay.realms and session.origin_realm.lower() not in relay.realms:
                continue
            if self._gateway.connected_anywhere(relay.origin_host):
                return relay.origin_host if self._gateway.connected_here(relay.origin_host) else None
        return ""

    def _wants(self, peer: str, client: str) -> bool:
        """Some clients take offence at a RAR: their entry, else that of the relay they come through, says so; else the profile of unknown
        peers.
        """
        entry = self._peers.get(client.lower()) or self._peers.get(peer.lower())
        return (self._unknown_profile if entry is None else entry.profile).reauthorize

    def _request(self, job: _Job) -> Asked:
        session = job.session
        kind = AbortSessionRequest if job.abort else ReAuthRequest
        return kind(
            session_id=session.session_id,
            origin_host=self._host,
            origin_realm=self._realm,
            destination_realm=session.origin_realm,
            destination_host=session.origin_host,
        )

    def _done(self, peer: str, client: str, job: _Job, command: str, answer: Answered | None) -> None:
        """Also when the connection is lost: then those that wait are tried in turn, and find another way or none."""
        lane = self._lanes[peer]
        self._answered(job, command, answer)
        lane.give_back(client, answer is not None)
        while (turn := lane.next()) is not None:
            name, waiting = turn
            waiting.queued = False
            if self._clock() - waiting.since > LONGEST_WAIT_S:
                self._finished(waiting, "given_up")
            else:
                self._send(waiting)
            lane.tidy(name)
        self._tidy(peer, client)

    def _tidy(self, peer: str, client: str) -> None:
        lane = self._lanes.get(peer)
        if lane is not None:
            lane.tidy(client)
            if lane.idle:
                del self._lanes[peer]

    def _answered(self, job: _Job, command: str, answer: Answered | None) -> None:
        job.under_way = False
        if answer is None:
            self._metrics.client_answer(command, "no_answer")
            self._retry(job, "")
            return
        code = answer.code if isinstance(answer, ErrorMessage) else answer.result_code
        self._metrics.client_answer(command, str(code))
        if code == ResultCode.UNKNOWN_SESSION_ID:
            self._drop(job)
            self._spawn(self._release(job))
        elif code in (ResultCode.SUCCESS, ResultCode.LIMITED_SUCCESS):
            if job.again:
                job.tries = 0
                self._send(job)
            else:
                self._drop(job)
        elif code == ResultCode.UNABLE_TO_COMPLY and command == ASR:
            # The client will not abort: it shall ask again, and is then refused (digest §4.8).
            job.abort = False
            self._send(job)
        else:
            self._retry(job, "")

    async def _release(self, job: _Job) -> None:
        try:
            await self._ledger.release_session(
                job.account_id, job.session.session_id, reason=RELEASE_REASON, **self._when()
            )
        except LedgerUnavailable as error:
            log.warning("a session that its client does not know stays until its deadline: %s", error)

    def _retry(self, job: _Job, result: str) -> None:
        if job.again:  # news has come meanwhile: begin anew
            job.tries, job.again = 0, False
        if job.tries >= len(RETRY_AFTER_S):
            self._finished(job, result or "given_up")
            return
        pause_s = RETRY_AFTER_S[job.tries]
        job.tries += 1
        turn = job.turn
        self._later(pause_s, lambda: self._send(job) if turn == job.turn and not job.under_way else None)

    def _finished(self, job: _Job, result: str) -> None:
        if result != UNREACHABLE or job.ours or self._first:
            self._metrics.client_answer(ASR if job.abort else RAR, result)
        self._drop(job)

    def _drop(self, job: _Job) -> None:
        self._jobs.pop(job.session.session_id, None)
        self._away.discard(job.session.session_id)
