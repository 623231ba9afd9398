"""The sessions of a worker for which a RAR or ASR is planned or under way, and their limits."""

from __future__ import annotations

from ocs.diameter.rar_asr import Job, Sent

MAX_JOBS = 20_000
"""Jobs of a worker; further notices are dropped and counted."""
MAX_JOBS_FOR_RAR = 18_000
"""Jobs above which only ASRs are accepted."""
MAX_UNREACHABLE = 2_000
"""Of the jobs, those whose client is connected to no worker. Every worker keeps such a job; the client may belong to
another server on the same ledger.
"""


class JobTable:
    """Jobs by Session-Id."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._unreachable: set[str] = set()
        """Session-Ids whose client is connected to no worker, and was not connected to this one."""

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def unreachable(self) -> int:
        """Number of jobs whose client is connected to no worker."""
        return len(self._unreachable)

    def get(self, session_id: str) -> Job | None:
        return self._jobs.get(session_id)

    def full(self, *, abort: bool) -> bool:
        return len(self._jobs) >= (MAX_JOBS if abort else min(MAX_JOBS_FOR_RAR, MAX_JOBS))

    def add(self, job: Job) -> None:
        self._jobs[job.session.session_id] = job

    def drop(self, job: Job) -> None:
        self._jobs.pop(job.session.session_id, None)
        self._unreachable.discard(job.session.session_id)

    def has(self, job: Job) -> bool:
        """False if the job has ended, even if there is a new one for the session."""
        return self._jobs.get(job.session.session_id) is job

    def is_current(self, sent: Sent) -> bool:
        """Whether the request belongs to the current attempt of its job."""
        return sent.job.plan == sent.plan and self.has(sent.job)

    def reachable(self, job: Job) -> None:
        self._unreachable.discard(job.session.session_id)

    def keep_unreachable(self, job: Job) -> bool:
        """Keep the job although no worker is connected to its client; False = there are MAX_UNREACHABLE already."""
        session_id = job.session.session_id
        if job.was_ours or session_id in self._unreachable:
            return True
        if len(self._unreachable) >= MAX_UNREACHABLE:
            return False
        self._unreachable.add(session_id)
        return True
