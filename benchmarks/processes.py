"""Processor time of processes and what machine this is, from /proc (Linux)."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from ocs.embedded_redis import find_server, server_version

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name, which may hold blanks itself; the first is the state (proc(5))."""
    return (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()


def cpu_s(pid: int) -> float:
    """User and system time the process has used since its start, in steps of 10 ms."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def children(pid: int) -> list[int]:
    """The process's direct children, running now."""
    found = []
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                if int(_stat(int(folder.name))[1]) == pid:
                    found.append(int(folder.name))
            except (OSError, IndexError):
                continue  # it ended while we looked
    return sorted(found)


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
        redis=".".join(map(str, server_version(find_server()))),
    )


def _cpu_model() -> str:
    for line in (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.machine()
