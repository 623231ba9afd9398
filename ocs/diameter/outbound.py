"""Requests of ours to clients: RAR when there is something new to ask for, ASR when a session must end.

RFC 8506 §5.5, RFC 6733 §8.3, §8.5.

A notice of the ledger names sessions and how they are reached. Every worker hears it; the one that has the relay the
session came through, or else the client itself, sends. If neither is connected to this server, the first connected
relay that may carry the realm does. While nobody is (a peer is just coming back), every worker keeps the notice and
looks again, and a worker whose peer has gone to another one says the notice anew. Where several nodes share the ledger,
one of them sends (`node_turns`). Not every client reacts, and a notice may be lost: Validity-Time leads to the same
end.

An ASR waits for no RAR: it is sent while one is unanswered, and has room of its own. None is sent when the client has
ended the session: the ledger is asked before each, and a CCR-T that comes to this worker ends what is planned.
What a client would refuse again is not repeated. For an ASR that is refused a RAR is sent: the client asks, and is
refused (RFC 6733 §8.5).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

from ocs.diameter.abort_cause import AbortCauses, blamed
from ocs.diameter.client_window import ClientWindows
from ocs.diameter.node_turns import NodeTurns
from ocs.diameter.outstanding import Answered, Asked
from ocs.diameter.rar_asr import ASR, RAR, Job, Releaser, RequestMetrics, Sender, Sent, WindowKey, code_of, for_good
from ocs.diameter.routes import Routes
from ocs.ledger.contract.errors import LedgerError, LedgerUnavailable
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.settings.diameter import DiameterConfig
from ocs.telemetry.throttled_log import ThrottledLog
from protocol.commands import AbortSessionRequest, ReAuthRequest
from protocol.errors import ResultCode

log = logging.getLogger(__name__)

TX_S = 10.0
"""How long an answer is waited for (Tx of RFC 8506 §13)."""
RETRY_AFTER_S = (1.0, 5.0, 30.0)
"""Pauses before a request that was not delivered is sent again; after the last it is left to Validity-Time and Tcc."""
MAX_JOBS = 20_000
"""Sessions of a worker that are being told; notices beyond it are dropped and counted."""
MAX_JOBS_FOR_RAR = 18_000
"""Of these; the rest is kept for aborts."""
MAX_AWAY = 2_000
"""Of these, sessions that no worker can reach now and that every worker keeps: a server whose peers are connected to
another server on the same ledger has nothing but such."""
LONGEST_WAIT_S = 90.0
"""From the last news of a session to its turn: after it a silent client is left to Validity-Time. As long as all the
tries take.
"""
UNREACHABLE, REFUSED, ENDED = "unreachable", "refused", "ended"
TOLD = "told"
"""By another node: not counted here."""
RELEASE_REASON = "lost"


class ClientRequests:
    """One per worker. `later(seconds, callback)` is the event loop's timer, `when()` gives now= and month= of a ledger
    operation.

    `first`: of the server's workers this one counts what all of them see.
    """

    def __init__(
        self,
        config: DiameterConfig,
        server: Sender,
        ledger: Releaser,
        metrics: RequestMetrics,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
        spawn: Callable[[Awaitable[None]], None],
        when: Callable[[], dict[str, int]],
        *,
        first: bool = True,
        turns: NodeTurns | None = None,
    ) -> None:
        """`turns`: of a node that shares its sessions with others."""
        self._turns = turns
        self._host, self._realm = config.origin_host, config.realm
        self._routes = Routes(config, server)
        self._server = server
        self._ledger = ledger
        self._metrics = metrics
        self._clock = clock
        self._later = later
        self._spawn = spawn
        self._when = when
        self._first = first
        self._jobs: dict[str, Job] = {}
        self._away: set[str] = set()
        """Sessions that nobody can reach now and that are not ours."""
        self._windows: dict[WindowKey, ClientWindows[Job]] = {}
        """By connected peer and command; one with nothing to do is forgotten. Each job waits in one at most, so
        MAX_JOBS over all.
        """
        self._pumped: set[WindowKey] = set()
        self._causes = AbortCauses()
        self._throttled_log = ThrottledLog(clock)

    def hear(self, notice: Notice) -> None:
        if self._turns is not None:
            self._turns.hear(notice)
        abort = notice.kind == "abort"
        if not abort and notice.kind != "reauthorize":
            return
        for session in notice.sessions:
            job = self._jobs.get(session.session_id)
            if job is None:
                if len(self._jobs) >= (MAX_JOBS if abort else min(MAX_JOBS_FOR_RAR, MAX_JOBS)):
                    self._metrics.client_answer(ASR if abort else RAR, "dropped")
                    continue
                job = Job(session, notice.account_id, abort, notice.reason, notice.at, self._clock())
                self._jobs[session.session_id] = job
                self._send(job)
            else:
                self._news(job, session, notice, abort)

    def _news(self, job: Job, session: NoticedSession, notice: Notice, abort: bool) -> None:
        """Several changes at once are one request; the newest says how the session is reached. A block overtakes."""
        overtakes = abort and not job.abort
        job.session, job.abort, job.again = session, job.abort or abort, True
        job.reason, job.at, job.since, job.fresh, job.waited = notice.reason, notice.at, self._clock(), True, False
        if overtakes or not (job.under_way or job.place):  # a pause before another try: news does not wait
            job.tries = 0
            self._send(job)

    def ended(self, session_id: str, origin_host: str) -> None:
        """The client has ended its session: there is nothing more to ask it for."""
        job = self._jobs.get(session_id)
        if job is not None and self._routes.owner(job.session.origin_host) == self._routes.owner(origin_host):
            self._finished(job, ENDED)

    def _send(self, job: Job) -> None:
        if self._jobs.get(job.session.session_id) is not job:
            return
        job.turn += 1
        job.under_way = False
        self._leave_line(job)
        peer = self._routes.peer_of(job.session)
        if peer is None:
            self._leave(job)
        elif peer == "":
            self._nobody_has(job)
        elif not self._routes.wants_rar(peer, job.session.origin_host):
            self._finished(job, "not_wanted")
        elif self._turns is None or job.turn_at == job.at:
            self._send_over(peer, job)
        else:
            job.under_way = True
            self._ask_for_turn(job, self._turns)

    def _ask_for_turn(self, job: Job, turns: NodeTurns) -> None:
        """Other nodes have heard of it too: one of them sends."""
        plan = job.turn
        pause_s = 0.0 if job.tries else turns.pause_s(job.session.session_id)
        if pause_s:
            self._later(pause_s, lambda: self._spawn(self._take_turn(job, plan, turns)) if plan == job.turn else None)
        else:
            self._spawn(self._take_turn(job, plan, turns))

    async def _take_turn(self, job: Job, plan: int, turns: NodeTurns) -> None:
        at = job.at
        ours = await turns.take(job.session.session_id, at)
        if plan != job.turn or self._jobs.get(job.session.session_id) is not job:
            return
        job.under_way = False
        if ours:
            job.turn_at = at
            self._send(job)
        else:
            self._retry(job, TOLD)

    def _send_over(self, peer: str, job: Job) -> None:
        client, key = job.session.origin_host, (peer, job.abort)
        windows = self._windows.get(key)
        if windows is None:
            windows = self._windows[key] = ClientWindows(peer)
        job.ours = True
        self._away.discard(job.session.session_id)
        if not windows.take(client):
            job.place, job.waits_as, job.waited = key, client, True
            windows.wait(client, job)
            return
        job.again, job.under_way = False, True
        sent = Sent(job, job.turn, peer, client, job.abort, self._causes.of(client) if job.abort else None)
        if job.abort or job.waited:
            self._spawn(self._ask_if_open(sent))
        else:
            self._ask(sent)

    async def _ask_if_open(self, sent: Sent) -> None:
        """What has waited may be of a session that has ended meanwhile, perhaps at another worker; an ASR must not
        be.
        """
        is_open = await self._is_open(sent.job)
        if not self._current(sent):
            self._give_back(sent, None)
        elif is_open:
            self._ask(sent)
        else:
            self._give_back(sent, None)
            self._finished(sent.job, ENDED)
        self._pump(sent.peer, sent.abort)

    async def _is_open(self, job: Job) -> bool:
        """Also if it cannot be told. An account that is at its end has given its sessions up, and their clients do not
        know yet.
        """
        try:
            account = await self._ledger.read(job.account_id, **self._when())
        except (LedgerUnavailable, LedgerError):
            return True
        if account is None or account.state == "terminated":
            return True
        return any(session.session_id == job.session.session_id for session in account.sessions)

    def _current(self, sent: Sent) -> bool:
        job = sent.job
        return job.turn == sent.turn and self._jobs.get(job.session.session_id) is job

    def _ask(self, sent: Sent) -> None:
        job = sent.job
        if not self._server.ask(sent.peer, self._request(sent), partial(self._done, sent), TX_S):
            job.under_way = False
            self._give_back(sent, None)
            self._retry(job, UNREACHABLE)
            return
        self._metrics.client_request(sent.command, job.reason)
        waited_s = self._clock() - job.at
        if job.reason == "topup" and job.fresh and job.at and waited_s >= 0:  # else the clocks of two hosts disagree
            self._metrics.unblocked(waited_s)
        job.fresh = False

    def _leave(self, job: Job) -> None:
        """Another worker has the connection. If it came there from us, that worker has not kept the notice."""
        self._drop(job)
        if job.ours and self._clock() - job.since <= LONGEST_WAIT_S:
            kind = "abort" if job.abort else "reauthorize"
            self._spawn(self._pass_on(Notice(kind, job.reason, job.at, job.account_id, (job.session,))))

    async def _pass_on(self, notice: Notice) -> None:
        try:
            await self._ledger.announce(notice)
        except LedgerUnavailable as error:
            log.warning("a RAR or ASR that another worker should send is lost, Validity-Time ends the grant: %s", error)

    def _nobody_has(self, job: Job) -> None:
        """Perhaps its peer is just coming back, to this worker or to another one."""
        sid = job.session.session_id
        if not job.ours and sid not in self._away:
            if len(self._away) >= MAX_AWAY:
                self._finished(job, UNREACHABLE)
                return
            self._away.add(sid)
        self._retry(job, UNREACHABLE)

    def _request(self, sent: Sent) -> Asked:
        session = sent.job.session
        names = session.session_id, self._host, self._realm, session.origin_realm, session.origin_host
        return AbortSessionRequest(*names, abort_cause=sent.cause) if sent.abort else ReAuthRequest(*names)

    def _done(self, sent: Sent, answer: Answered | None) -> None:
        """Also when the connection is lost: then those that wait are tried in turn, and find another way or none."""
        self._metrics.client_answer(sent.command, "no_answer" if answer is None else str(code_of(answer)))
        if self._current(sent):
            sent.job.under_way = False
            self._answered(sent, answer)
        elif answer is not None and code_of(answer) == ResultCode.UNKNOWN_SESSION_ID:
            self._unknown(sent.job)  # a RAR that was overtaken has found out
        self._give_back(sent, answer is not None)
        self._pump(sent.peer, sent.abort)

    def _give_back(self, sent: Sent, answered: bool | None) -> None:
        key = sent.peer, sent.abort
        windows = self._windows[key]
        windows.give_back(sent.client, answered)
        self._tidy(windows, key, sent.client)

    def _leave_line(self, job: Job) -> None:
        if job.place is not None:
            key, client = job.place, job.waits_as
            windows, job.place = self._windows[key], None
            windows.leave(client, job)
            self._tidy(windows, key, client)

    def _tidy(self, windows: ClientWindows[Job], key: WindowKey, client: str) -> None:
        windows.tidy(client)
        if windows.idle and self._windows.get(key) is windows:
            del self._windows[key]

    def _pump(self, peer: str, abort: bool) -> None:
        """Those whose turn has come."""
        key = peer, abort
        if key in self._pumped:
            return
        self._pumped.add(key)
        try:
            while (windows := self._windows.get(key)) is not None and (found := windows.next()) is not None:
                name, job = found
                job.place = None
                if self._clock() - job.since > LONGEST_WAIT_S:
                    self._finished(job, "given_up")
                else:
                    self._send(job)
                self._tidy(windows, key, name)
            if windows is not None and windows.idle:
                del self._windows[key]
        finally:
            self._pumped.discard(key)

    def _answered(self, sent: Sent, answer: Answered | None) -> None:
        job, code = sent.job, 0 if answer is None else code_of(answer)
        if answer is None:
            self._retry(job, "")
        elif code == ResultCode.UNKNOWN_SESSION_ID:
            self._unknown(job)
        elif code in (ResultCode.SUCCESS, ResultCode.LIMITED_SUCCESS):
            if self._turns is not None and job.turn_at:
                self._turns.told(job.session.session_id, job.turn_at)
            if job.again and not sent.abort:
                job.tries = 0
                self._send(job)
            else:
                self._drop(job)
        elif sent.abort and not job.objected and for_good(code) and blamed(answer):
            job.objected = True
            self._causes.objected(sent.client, sent.cause)
            self._send(job)
        elif for_good(code):
            self._refused(sent, answer, code)
        elif sent.abort and code == ResultCode.UNABLE_TO_COMPLY:
            job.abort = False
            self._send(job)
        else:
            self._retry(job, "")

    def _refused(self, sent: Sent, answer: Answered, code: int) -> None:
        """It would again."""
        job = sent.job
        more = self._throttled_log.allow((sent.client.lower(), sent.command, code))
        if more is not None:
            said = f" ({answer.error_message})" if answer.error_message else ""
            log.warning(
                "client %s: it refused %s with %d%s, which is not repeated%s",
                sent.client,
                sent.command,
                code,
                said,
                more,
            )
        if sent.abort:
            job.abort = False
            self._send(job)
        else:
            self._finished(job, REFUSED)

    def _unknown(self, job: Job) -> None:
        """The client has lost the session."""
        if self._jobs.get(job.session.session_id) is job:
            self._drop(job)
            self._spawn(self._release(job))

    async def _release(self, job: Job) -> None:
        try:
            await self._ledger.release_session(
                job.account_id, job.session.session_id, reason=RELEASE_REASON, **self._when()
            )
        except LedgerUnavailable as error:
            log.warning("a session that its client has lost holds its units until its deadline: %s", error)

    def _retry(self, job: Job, result: str) -> None:
        if self._turns is not None and job.turn_at:
            self._turns.give_back(job.session.session_id, job.turn_at)
            job.turn_at = 0.0
        if job.again:  # news has come meanwhile: begin anew
            job.tries, job.again = 0, False
        if job.tries >= len(RETRY_AFTER_S):
            self._finished(job, result or "given_up")
            return
        pause_s = RETRY_AFTER_S[job.tries]
        job.tries += 1
        job.waited = True
        turn = job.turn
        self._later(pause_s, lambda: self._send(job) if turn == job.turn and not job.under_way else None)

    def _finished(self, job: Job, result: str) -> None:
        self._drop(job)
        if result == UNREACHABLE and self._turns is not None:
            self._spawn(self._count_unless_told(job, self._turns))
        elif result != TOLD:
            self._count(job, result)

    async def _count_unless_told(self, job: Job, turns: NodeTurns) -> None:
        if not await turns.is_told(job.session.session_id, job.at):
            self._count(job, UNREACHABLE)

    def _count(self, job: Job, result: str) -> None:
        if result != UNREACHABLE or job.ours or self._first:
            self._metrics.client_answer(ASR if job.abort else RAR, result)

    def _drop(self, job: Job) -> None:
        self._leave_line(job)
        self._jobs.pop(job.session.session_id, None)
        self._away.discard(job.session.session_id)
