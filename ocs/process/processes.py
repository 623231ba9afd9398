"""Functions about operating system processes (Linux)."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

SPARE_NICENESS = 19


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Let the kernel send `signal_number` to this process when its parent ends.

    Without prctl (not Linux) it does nothing; child processes also check their parent (`ocs.process.child_main`).
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie counts as ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2][0] != "Z"
    return True


def children(pid: int) -> list[int]:
    """Child processes of the process's main thread; [] if they cannot be read."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def command_line(pid: int) -> list[str]:
    """Arguments of the process; [] if they cannot be read."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [word.decode(errors="replace") for word in words if word]


def take_spare_time() -> None:
    """From now on this process, with its threads, gets only processor time that charging leaves, which has deadlines of
    milliseconds: SCHED_IDLE. A process of lower niceness would be waited for until its time slice ends. Where that is
    forbidden or unknown, niceness 19. Call it when the process is ready: while the machine is full, a start would last.
    """
    if sys.platform != "linux":
        os.nice(SPARE_NICENESS)
        return
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(ProcessLookupError):  # it has ended
            _let_others_first(int(thread.name))


def _let_others_first(thread: int) -> None:
    try:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    except PermissionError:
        os.setpriority(os.PRIO_PROCESS, thread, SPARE_NICENESS)
