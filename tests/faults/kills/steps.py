"""Steps at which a process of the server can be killed: within that process, before and after each command to Redis,
each commit in SQL, each HTTP request and each change of a file that is synced or renamed.

A plan is a file of the folder, `plan-<role>`: a step, a moment and the process id of the victim, 0 = the process
itself. The process that comes to the step takes the plan by renaming it, so that it is carried out once, and kills.
Steps that a role came to are appended to `steps-<role>`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEFORE, AFTER = "before", "after"
_FUNCTION = re.compile(rb"ocs_[0-9a-f]{16}_([a-z_]+)\r\n")
_VERB = re.compile(rb"\*\d+\r\n\$\d+\r\n([A-Za-z]+)\r\n")
_NUMBERS = re.compile(r"[0-9]{3,}[0-9TZ]*")
NOT_STEPS = ("load", "asking", "wait")


class Steps:
    """Of this process."""

    def __init__(self, folder: str, role: str) -> None:
        self.plan = f"{folder}/plan-{role}"
        self.list = f"{folder}/steps-{role}"
        self.seen: set[str] = set()

    def at(self, step: str, moment: str) -> None:
        if step not in self.seen:
            self.seen.add(step)
            with Path(self.list).open("a", encoding="utf-8") as output:
                output.write(step + "\n")
        try:
            wanted, when, pid = Path(self.plan).read_text(encoding="utf-8").split("\t")
        except (OSError, ValueError):
            return
        if (wanted, when) != (step, moment):
            return
        with contextlib.suppress(FileNotFoundError):  # another process of the role has it
            os.rename(self.plan, self.plan + ".done")  # noqa: PTH104 - Path.rename is one of the steps
            os.kill(int(pid) or os.getpid(), signal.SIGKILL)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` as a step; `name`: what it is called, with its first argument."""

        def wrapped(*arguments: Any, **more: Any) -> Any:
            step = name if "{}" not in name else name.format(_file_of(arguments[0]))
            self.at(step, BEFORE)
            found = call(*arguments, **more)
            self.at(step, AFTER)
            return found

        return wrapped


def install(folder: str, role: str) -> None:
    steps = Steps(folder, role)
    _redis(steps)
    os.fsync = steps.around("sync {}", os.fsync)
    real_replace = os.replace
    os.replace = steps.around("rename {}", real_replace)
    if role in ("backoffice", "api"):
        _sql(steps)
        _http(steps)


def _file_of(what: Any) -> str:
    """The file's name without numbers, so that there are few."""
    name = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else os.fspath(what)
    return _NUMBERS.sub("N", Path(name).name)


def _redis(steps: Steps) -> None:
    from ocs.ledger.redis.client import LedgerClient

    send = LedgerClient._send

    def sending(self: Any, command: bytes, callback: Any, operation: str, *more: Any, **named: Any) -> None:
        if operation in NOT_STEPS:
            send(self, command, callback, operation, *more, **named)
            return
        step = f"redis {operation}: {_command_name(command)}"

        def answered(answer: Any) -> None:
            steps.at(step, AFTER)
            callback(answer)

        steps.at(step, BEFORE)
        send(self, command, answered, operation, *more, **named)

    LedgerClient._send = sending  # type: ignore[method-assign]


def _command_name(command: bytes) -> str:
    """The script's name, else the command's."""
    found = _FUNCTION.search(command, 0, 80) or _VERB.match(command)
    return found[1].decode() if found else "?"


def _sql(steps: Steps) -> None:
    from sqlalchemy.engine.default import DefaultDialect

    DefaultDialect.do_commit = steps.around("sql commit", DefaultDialect.do_commit)  # type: ignore[method-assign]


def _http(steps: Steps) -> None:
    from aiohttp import ClientSession

    request = ClientSession._request

    async def requesting(self: Any, method: str, url: Any, **more: Any) -> Any:
        step = f"http {method} {str(url).split('/')[3]}"
        steps.at(step, BEFORE)
        found = await request(self, method, url, **more)
        steps.at(step, AFTER)
        return found

    ClientSession._request = requesting  # type: ignore[assignment,method-assign]
