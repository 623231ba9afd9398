"""Requests to clients: RAR when a client should ask for credit again, ASR when a session must end.

RFC 8506 §5.5, RFC 6733 §8.3, §8.5.

A notice of the ledger names sessions and how they are reached (`routes`). Every worker receives it; the one that is
connected to the session's relay, or else to the client itself, sends the request. If neither is connected to this
server, the first connected relay that may carry the realm is used. If nobody is connected, as while a peer reconnects,
every worker keeps the notice and tries again; a worker whose peer has moved to another worker publishes the notice
again. If several nodes share the ledger, one of them sends (`node_turns`).

An ASR is sent even while a RAR is unanswered, and has a window of its own. The ledger is asked before each ASR whether
the session is still open; a CCR-T on this worker also cancels what is planned. A request that the client would refuse
again is not repeated; after a refused ASR a RAR is sent, and the CCR-U that follows is refused (RFC 6733 §8.5).

A client may ignore the request, and a notice may be lost: then Validity-Time ends the grant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from ocs.diameter.abort_cause import AbortCauses
from ocs.diameter.client_answers import Outcome, log_refusal, outcome_of
from ocs.diameter.job_table import JobTable
from ocs.diameter.node_turns import NodeTurns
from ocs.diameter.outstanding import Answered
from ocs.diameter.rar_asr import ASR, RAR, Job, Releaser, RequestMetrics, Sender, Sent, WindowKey, code_of
from ocs.diameter.request_queues import RequestQueues
from ocs.diameter.routes import Routes
from ocs.diameter.session_ledger import SessionLedger
from ocs.ledger.contract.notices import Notice, NoticedSession
from ocs.settings.diameter import DiameterConfig
from ocs.telemetry.throttled_log import ThrottledLog

TX_S = 10.0
"""Time to wait for an answer (Tx of RFC 8506 §13)."""
RETRY_AFTER_S = (1.0, 5.0, 30.0)
"""Pauses before a request is sent again. After the last one it is given up; Validity-Time ends the grant."""
LONGEST_WAIT_S = 90.0
"""How long a request may be queued after the last notice of its session; as long as all retries take."""
UNREACHABLE, REFUSED, ENDED = "unreachable", "refused", "ended"
SENT_BY_OTHER_NODE = "told"
"""Another node has sent the request: not counted here."""


class ClientRequests:
    """Sends RARs and ASRs; one per worker.

    `later(seconds, callback)`: the event loop's timer. `when()`: now= and month= of a ledger operation.
    `first`: this worker counts, for all workers of the server, what each of them sees. `turns`: None = there is only
    one node.
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
        self._turns = turns
        self._host, self._realm = config.origin_host, config.realm
        self._routes = Routes(config, server)
        self._server = server
        self._ledger = SessionLedger(ledger, when)
        self._metrics = metrics
        self._clock = clock
        self._later = later
        self._spawn = spawn
        self._first = first
        self._jobs = JobTable()
        self._queues = RequestQueues()
        self._causes = AbortCauses()
        self._throttled_log = ThrottledLog(clock)

    # -- notices

    def hear(self, notice: Notice) -> None:
        """Plan a request for each session of a notice."""
        if self._turns is not None:
            self._turns.hear(notice)
        abort = notice.kind == "abort"
        if not abort and notice.kind != "reauthorize":
            return
        for session in notice.sessions:
            job = self._jobs.get(session.session_id)
            if job is not None:
                self._merge(job, session, notice, abort)
            elif self._jobs.full(abort=abort):
                self._metrics.client_answer(ASR if abort else RAR, "dropped")
            else:
                job = Job(session, notice.account_id, abort, notice.reason, notice.at, self._clock())
                self._jobs.add(job)
                self._send(job)

    def _merge(self, job: Job, session: NoticedSession, notice: Notice, abort: bool) -> None:
        """Several changes lead to one request; the newest notice says how the session is reached. An ASR replaces a
        RAR.
        """
        replaces = abort and not job.abort
        job.session, job.abort, job.changed_again = session, job.abort or abort, True
        job.reason, job.changed_at, job.noticed_at = notice.reason, notice.at, self._clock()
        job.unsent, job.delayed = True, False
        if replaces or not (job.under_way or job.queue):  # it waits for a retry: send now
            job.tries = 0
            self._send(job)

    def ended(self, session_id: str, origin_host: str) -> None:
        """The client has ended the session: cancel what is planned for it."""
        job = self._jobs.get(session_id)
        if job is not None and self._routes.owner(job.session.origin_host) == self._routes.owner(origin_host):
            self._finish(job, ENDED)

    # -- sending

    def _send(self, job: Job) -> None:
        """Send the request, or find out why it cannot be sent now."""
        if not self._jobs.has(job):
            return
        job.plan += 1
        job.under_way = False
        self._queues.leave(job)
        peer = self._routes.peer_of(job.session)
        if peer is None:
            self._leave_to_other_worker(job)
        elif peer == "":
            self._keep_unreachable(job)
        elif not self._routes.wants_rar(peer, job.session.origin_host):
            self._finish(job, "not_wanted")
        elif self._turns is None or job.turn_taken_for == job.changed_at:
            self._send_over(peer, job)
        else:
            job.under_way = True
            self._request_turn(job, self._turns)

    def _request_turn(self, job: Job, turns: NodeTurns) -> None:
        """Other nodes have received the notice too: one of them sends."""
        plan = job.plan
        pause_s = 0.0 if job.tries else turns.pause_s(job.session.session_id)
        if pause_s:
            self._later(pause_s, lambda: self._spawn(self._take_turn(job, plan, turns)) if plan == job.plan else None)
        else:
            self._spawn(self._take_turn(job, plan, turns))

    async def _take_turn(self, job: Job, plan: int, turns: NodeTurns) -> None:
        changed_at = job.changed_at
        taken = await turns.take(job.session.session_id, changed_at)
        if plan != job.plan or not self._jobs.has(job):
            return
        job.under_way = False
        if taken:
            job.turn_taken_for = changed_at
            self._send(job)
        else:
            self._retry(job, SENT_BY_OTHER_NODE)

    def _send_over(self, peer: str, job: Job) -> None:
        """Send to the connected peer, or queue the job if the client's window is full."""
        client, key = job.session.origin_host, (peer, job.abort)
        job.was_ours = True
        self._jobs.reachable(job)
        if not self._queues.take(key, client):
            job.delayed = True
            self._queues.wait(key, client, job)
            return
        job.changed_again, job.under_way = False, True
        sent = Sent(job, job.plan, peer, client, job.abort, self._causes.of(client) if job.abort else None)
        if job.abort or job.delayed:
            self._spawn(self._transmit_if_open(sent))
        else:
            self._transmit(sent)

    async def _transmit_if_open(self, sent: Sent) -> None:
        """A delayed request's session may have ended, perhaps at another worker. No ASR goes to an ended session."""
        is_open = await self._ledger.is_open(sent.job)
        if not self._jobs.is_current(sent):
            self._queues.give_back(sent, None)
        elif is_open:
            self._transmit(sent)
        else:
            self._queues.give_back(sent, None)
            self._finish(sent.job, ENDED)
        self._send_queued((sent.peer, sent.abort))

    def _transmit(self, sent: Sent) -> None:
        job = sent.job
        if not self._server.ask(sent.peer, sent.request(self._host, self._realm), partial(self._done, sent), TX_S):
            job.under_way = False
            self._queues.give_back(sent, None)
            self._retry(job, UNREACHABLE)
            return
        self._metrics.client_request(sent.command, job.reason)
        since_change_s = self._clock() - job.changed_at
        # Below 0 the clocks of two hosts differ.
        if job.reason == "topup" and job.unsent and job.changed_at and since_change_s >= 0:
            self._metrics.unblocked(since_change_s)
        job.unsent = False

    def _send_queued(self, key: WindowKey) -> None:
        self._queues.drain(key, self._send_from_queue)

    def _send_from_queue(self, job: Job) -> None:
        if self._clock() - job.noticed_at > LONGEST_WAIT_S:
            self._finish(job, "given_up")
        else:
            self._send(job)

    def _leave_to_other_worker(self, job: Job) -> None:
        """Another worker has the connection. If we had it before, that worker has dropped the notice: publish it."""
        self._drop(job)
        if job.was_ours and self._clock() - job.noticed_at <= LONGEST_WAIT_S:
            kind = "abort" if job.abort else "reauthorize"
            notice = Notice(kind, job.reason, job.changed_at, job.account_id, (job.session,))
            self._spawn(self._ledger.announce(notice))

    def _keep_unreachable(self, job: Job) -> None:
        """No worker has the connection: the peer may be reconnecting, to this worker or to another."""
        if self._jobs.keep_unreachable(job):
            self._retry(job, UNREACHABLE)
        else:
            self._finish(job, UNREACHABLE)

    # -- answers

    def _done(self, sent: Sent, answer: Answered | None) -> None:
        """The answer has come; None = not in time, or the connection is lost. Queued jobs then go another way."""
        self._metrics.client_answer(sent.command, "no_answer" if answer is None else str(code_of(answer)))
        outcome = outcome_of(sent, answer)
        if self._jobs.is_current(sent):
            sent.job.under_way = False
            if outcome is Outcome.REFUSED and answer is not None:
                log_refusal(self._throttled_log, sent, answer)
            self._act_on(outcome, sent)
        elif outcome is Outcome.UNKNOWN_SESSION:
            self._release(sent.job)  # an answer to an earlier RAR counts as well
        self._queues.give_back(sent, answer is not None)
        self._send_queued((sent.peer, sent.abort))

    def _act_on(self, outcome: Outcome, sent: Sent) -> None:
        job = sent.job
        if outcome is Outcome.RETRY:
            self._retry(job, "")
        elif outcome is Outcome.UNKNOWN_SESSION:
            self._release(job)
        elif outcome is Outcome.DONE:
            self._accepted(sent)
        elif outcome is Outcome.CHANGE_ABORT_CAUSE:
            job.objected = True
            self._causes.objected(sent.client, sent.cause)
            self._send(job)
        elif outcome is Outcome.REFUSED and not sent.abort:
            self._finish(job, REFUSED)
        else:
            job.abort = False  # a RAR instead of the ASR
            self._send(job)

    def _accepted(self, sent: Sent) -> None:
        job = sent.job
        if self._turns is not None and job.turn_taken_for:
            self._turns.told(job.session.session_id, job.turn_taken_for)
        if job.changed_again and not sent.abort:
            job.tries = 0
            self._send(job)
        else:
            self._drop(job)

    def _release(self, job: Job) -> None:
        """The client does not know the session: free what it holds."""
        if self._jobs.has(job):
            self._drop(job)
            self._spawn(self._ledger.release(job))

    # -- ending a job

    def _retry(self, job: Job, result: str) -> None:
        """Try again after a pause. `result` is counted if this was the last try; "" = "given_up"."""
        if self._turns is not None and job.turn_taken_for:
            self._turns.give_back(job.session.session_id, job.turn_taken_for)
            job.turn_taken_for = 0.0
        if job.changed_again:  # a new notice: start with the first pause
            job.tries, job.changed_again = 0, False
        if job.tries >= len(RETRY_AFTER_S):
            self._finish(job, result or "given_up")
            return
        pause_s = RETRY_AFTER_S[job.tries]
        job.tries += 1
        job.delayed = True
        plan = job.plan
        self._later(pause_s, lambda: self._send(job) if plan == job.plan and not job.under_way else None)

    def _finish(self, job: Job, result: str) -> None:
        self._drop(job)
        if result == UNREACHABLE and self._turns is not None:
            self._spawn(self._count_unless_told(job, self._turns))
        elif result != SENT_BY_OTHER_NODE:
            self._count(job, result)

    async def _count_unless_told(self, job: Job, turns: NodeTurns) -> None:
        if not await turns.is_told(job.session.session_id, job.changed_at):
            self._count(job, UNREACHABLE)

    def _count(self, job: Job, result: str) -> None:
        if result != UNREACHABLE or job.was_ours or self._first:
            self._metrics.client_answer(ASR if job.abort else RAR, result)

    def _drop(self, job: Job) -> None:
        self._queues.leave(job)
        self._jobs.drop(job)
