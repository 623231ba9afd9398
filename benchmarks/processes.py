"""CPU time and memory of processes, and a description of the machine, from /proc (Linux)."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")

Roles = Mapping[str, list[int]]
"""Process ids of a server by role: worker, redis, housekeeper, backoffice, supervisor."""

QUIET_LOOK_S = 0.25
QUIET_SHARE = 0.1
"""Share of a core: a server that uses less is idle."""
QUIET_TIMEOUT_S = 60.0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, which may hold blanks itself; the first is the state (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()


def cpu_s(pid: int) -> float:
    """User and system time of the process since its start, in steps of 10 ms."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def exact_cpu_s(pid: int) -> float:
    """The same by the process's own clock, without steps (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def memory_octets(pid: int) -> int:
    """Resident memory; 0 if the process has ended."""
    try:
        pages = (_PROC / str(pid) / "statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> list[int]:
    """The process's direct children."""
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                if int(_stat(int(folder.name))[1]) == pid:
                    found.append(int(folder.name))
            except (OSError, IndexError):
                continue  # it has ended meanwhile
    return sorted(found)


def roles_under(supervisor: int) -> dict[str, list[int]]:
    """Processes of a running server: the supervisor, and each child by the module or program on its command line."""
    found = {"supervisor": [supervisor]}
    for pid in children(supervisor):
        found.setdefault(role_of(_command_line(pid)), []).append(pid)
    return found


def role_of(command_line: list[str]) -> str:
    """`python -m ocs.process.worker …` → worker; redis-server (which may have written its title anew) → redis."""
    if command_line and "redis-server" in command_line[0]:
        return "redis"
    for option, module in pairwise(command_line):
        if option == "-m":
            return module.rpartition(".")[2]
    return "other"


def _command_line(pid: int) -> list[str]:
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [word.decode(errors="replace") for word in words if word]


def cpu_by_role(roles: Roles) -> dict[str, float]:
    return {role: sum(map(cpu_s, pids)) for role, pids in roles.items()}


def machine_cpu_s() -> float:
    """CPU time of all cores since the start of the machine, including stolen time and interrupts (proc(5))."""
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(
        int, (_PROC / "stat").read_text("ascii").split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


def wait_quiet(roles: Roles, looks: int = 1) -> None:
    """Waits until the processes are idle `looks` times in a row. Gives up after QUIET_TIMEOUT_S."""
    end, quiet = time.monotonic() + QUIET_TIMEOUT_S, 0
    before = sum(cpu_by_role(roles).values())
    while quiet < looks and time.monotonic() < end:
        time.sleep(QUIET_LOOK_S)
        now = sum(cpu_by_role(roles).values())
        quiet = quiet + 1 if now - before <= QUIET_SHARE * QUIET_LOOK_S else 0
        before = now


@dataclass(frozen=True, slots=True)
class Machine:
    cores: int
    cpu: str
    system: str
    python: str
    redis: str

    def __str__(self) -> str:
        return f"{self.cores} cores of {self.cpu}, {self.system}, Python {self.python}, Redis {self.redis}"


def this_machine() -> Machine:
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu_model(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        redis=_redis_version(),
    )


def _redis_version() -> str:
    """Version of the redis-server on PATH, which a private Redis prefers; else "bundled"."""
    program = shutil.which("redis-server")
    if program is None:
        return "bundled"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\d+\.\d+(?:\.\d+)?)", said)
    return found[1] if found else "unknown"


def _cpu_model() -> str:
    for line in (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.machine()
