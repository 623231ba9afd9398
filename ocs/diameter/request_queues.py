"""RARs and ASRs that wait until their client may be sent another one (`client_window`)."""

from __future__ import annotations

from collections.abc import Callable

from ocs.diameter.client_window import ClientWindows
from ocs.diameter.rar_asr import Job, Sent, WindowKey


class RequestQueues:
    """Windows and queues by connected peer and command. A job waits in at most one, so
    `job_table.MAX_JOBS` bounds all of them.
    """

    def __init__(self) -> None:
        self._windows: dict[WindowKey, ClientWindows[Job]] = {}
        self._draining: set[WindowKey] = set()

    def __len__(self) -> int:
        return len(self._windows)

    def take(self, key: WindowKey, client: str) -> bool:
        """Whether a request may be sent to this client now; it then counts as sent."""
        windows = self._windows.get(key)
        if windows is None:
            windows = self._windows[key] = ClientWindows(key[0])
        return windows.take(client)

    def wait(self, key: WindowKey, client: str, job: Job) -> None:
        """Queue the job after `take` has returned False."""
        job.queue, job.queued_client = key, client
        self._windows[key].wait(client, job)

    def leave(self, job: Job) -> None:
        """Take the job out of its queue, if it is in one."""
        if job.queue is not None:
            key, client = job.queue, job.queued_client
            windows, job.queue = self._windows[key], None
            windows.leave(client, job)
            self._forget_idle(windows, key, client)

    def give_back(self, sent: Sent, answered: bool | None) -> None:
        """The request is no longer outstanding. `answered`: None = it was not sent."""
        key = sent.peer, sent.abort
        windows = self._windows[key]
        windows.give_back(sent.client, answered)
        self._forget_idle(windows, key, sent.client)

    def drain(self, key: WindowKey, send: Callable[[Job], None]) -> None:
        """Call `send` with each queued job that the windows allow. A call from within `send` does nothing."""
        if key in self._draining:
            return
        self._draining.add(key)
        try:
            while (windows := self._windows.get(key)) is not None and (found := windows.next()) is not None:
                name, job = found
                job.queue = None
                send(job)
                self._forget_idle(windows, key, name)
            if windows is not None and windows.idle:
                del self._windows[key]
        finally:
            self._draining.discard(key)

    def _forget_idle(self, windows: ClientWindows[Job], key: WindowKey, client: str) -> None:
        windows.tidy(client)
        if windows.idle and self._windows.get(key) is windows:
            del self._windows[key]
