"""Child processes of the supervisor: starts them, restarts them if they end unexpectedly, and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

log = logging.getLogger(__name__)

STABLE_S = 10.0
"""A process that has run for so long is restarted at once if it ends."""
FIRST_PAUSE_S = 0.0
"""Pause before the first restart."""
PAUSE_STEP_S = 0.25
"""Pause before the second restart; it doubles with each further one …"""
LONGEST_PAUSE_S = 5.0
"""… up to this, so that a lasting fault does not load the machine."""
STOP_TIMEOUT_S = 15.0
"""How long a process may take to end, then it is killed. Longer than a worker drains (ocs.process.worker.STOP_GRACE_S)
and the housekeeper stores records.
"""

Ended = Callable[[str, int], None]
"""Called with role and process id when a process has ended."""
Refused = Callable[[str], bool]
"""Called with the reason why a process cannot work. True = do not restart it."""


class ChildProcess:
    """Keeps one process `python -m ocs.process.<role>` running."""

    def __init__(
        self,
        role: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        ended: Ended,
        refused: Refused = lambda why: False,
    ) -> None:
        self.role = role
        self.ready = asyncio.Event()
        self._command = [sys.executable, "-m", f"ocs.process.{role}", *arguments, "--supervisor-pid", str(os.getpid())]
        self._environment = dict(environment)
        self._ended = ended
        self._refused = refused
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_S
        while not self._stopping:
            started = loop.time()
            await self._run()
            if self._stopping:
                return
            lived = loop.time() - started
            pause = FIRST_PAUSE_S if lived >= STABLE_S else pause
            await asyncio.sleep(pause)
            pause = min(max(pause * 2, PAUSE_STEP_S), LONGEST_PAUSE_S)

    async def _run(self) -> None:
        """Run the process once, to its end."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C reaches only the supervisor, which ends its children in order
        )
        self._process = process
        if self._stopping:
            process.terminate()
        assert process.stdout is not None
        async for line in process.stdout:
            self._hear(line)
        status = await process.wait()
        self.ready.clear()
        self._process = None
        self._ended(self.role, process.pid)
        if not self._stopping:
            log.error("%s (process %d) ended unexpectedly (%s): restarting it", self.role, process.pid, _reason(status))

    def _hear(self, line: bytes) -> None:
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if said.get("ready"):
                self.ready.set()
            elif why := said.get("refused"):
                self._stopping = self._refused(why) or self._stopping

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask the process to end; kill it after `timeout_s`."""
        self._stopping = True
        if self._process is not None:
            self._signal(signal.SIGTERM)
        elif self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
        if self._keeper is None:
            return
        try:
            await asyncio.wait_for(asyncio.shield(self._keeper), timeout_s)
        except TimeoutError:
            log.error("%s (process %s) did not end in %.0f s: killing it", self.role, self.pid, timeout_s)
            self.kill()
            await self._keeper
        except asyncio.CancelledError:
            if not self._keeper.cancelled():
                raise

    def reload(self) -> None:
        if self.ready.is_set():
            self._signal(signal.SIGHUP)

    def kill(self) -> None:
        self._stopping = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _reason(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
