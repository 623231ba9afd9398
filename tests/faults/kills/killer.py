"""Kills processes (kill -9) by a plan that a seed gives, and waits until the server serves again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ocs.process.processes import is_alive
from tests.faults.kills.books import Books
from tests.faults.kills.installation import CHILDREN, Database, Installation
from tests.faults.kills.steps import AFTER, BEFORE
from tests.waiting import PATIENCE_S

AT_A_STEP = 0.75
"""Share of the kills that are at a named step; the others are at any moment."""
STEP_S = 1.5
"""How long a process may take to come to its step; then it is killed where it is, and perhaps at that step when it
starts again.
"""
TURNS = {"api": 4, "backoffice": 4, "worker": 2, "housekeeper": 2, "redis": 2, "supervisor": 1}
"""How often each is killed in a round."""
POLL_S = 0.02
ANY = "any moment"


class Killer:
    def __init__(self, installation: Installation, books: Books, seed: int, database: Database | None = None) -> None:
        self._installation, self._books, self._database = installation, books, database
        self._random = random.Random(seed)
        self._round = TURNS | ({"postgresql": 1} if database else {})
        self._turns: list[str] = []
        self.kills: Counter[str] = Counter()
        """By victim."""
        self.covered: Counter[tuple[str, str, str, str]] = Counter()
        """By victim, role that came to the step, step and moment."""
        self.planned: Counter[tuple[str, str, str, str]] = Counter()
        self._missed = set[tuple[str, str, str, str]]()
        """To which no process came in time: they are not tried again."""
        self.unserved_s: list[float] = []
        """How long each kill kept a process from serving."""

    async def run(self, kills: int, until_s: float, progress: Callable[[], None]) -> None:
        """`until_s`: time of `time.monotonic` at which it stops in any case."""
        while sum(self.kills.values()) < kills and time.monotonic() < until_s:
            await asyncio.sleep(self._random.random() * 0.3)
            await self.kill(self._next_victim())
            progress()

    def _next_victim(self) -> str:
        """Each in turn, in a random order."""
        if not self._turns:
            self._turns = [role for role, times in self._round.items() for _ in range(times)]
            self._random.shuffle(self._turns)
        return self._turns.pop()

    async def kill(self, victim: str) -> None:
        if victim == "postgresql":
            assert self._database is not None
            await asyncio.to_thread(self._database.kill)
            self._count(victim, "", ANY, "")
            return
        pid = await self._until(lambda: self._installation.pid(victim), f"{victim} runs")
        role = victim if victim in CHILDREN else self._random.choice(CHILDREN)
        step = self._step(victim, role) if victim != "supervisor" else None
        came = step is not None and await self._at_step(pid, victim, role, *step)
        if not came:
            os.kill(pid, signal.SIGKILL)
            self._count(victim, "", ANY, "")
        begun = time.monotonic()
        await self._until(lambda: not is_alive(pid), f"{victim} is killed")
        if step is not None and not came and victim == role:
            self._write(role, *step, 0)  # the process that is started next may come to it
        await self._served_again(victim)
        if step is not None:
            self._settle(victim, role, *step)
        self.unserved_s.append(time.monotonic() - begun)

    def _settle(self, victim: str, role: str, step: str, moment: str) -> None:
        """Take the plan back, and count it if it was carried out."""
        plan, done = self._files(role)
        plan.unlink(missing_ok=True)
        if done.exists():
            self._count(victim, role, step, moment)
            done.unlink()
        else:
            self._missed.add((victim, role, step, moment))

    def _count(self, victim: str, role: str, step: str, moment: str) -> None:
        self.kills[victim] += 1
        self.covered[victim, role, step, moment] += 1

    def _step(self, victim: str, role: str) -> tuple[str, str] | None:
        """A step that was tried least; None = at any moment."""
        path = self._installation.steps / f"steps-{role}"
        if self._random.random() > AT_A_STEP or not path.exists():
            return None
        known = sorted({line for line in path.read_text(encoding="utf-8").splitlines() if line})
        choices = [(step, moment) for step in known for moment in (BEFORE, AFTER)]
        choices = [each for each in choices if (victim, role, *each) not in self._missed]
        if not choices:
            return None
        least = min(self.planned[victim, role, *each] for each in choices)
        found = self._random.choice([each for each in choices if self.planned[victim, role, *each] == least])
        self.planned[victim, role, *found] += 1
        return found

    async def _at_step(self, pid: int, victim: str, role: str, step: str, moment: str) -> bool:
        """Whether a process came to the step in time, and killed."""
        plan, done = self._files(role)
        self._write(role, step, moment, 0 if victim == role else pid)
        if await self._within(STEP_S, done.exists):
            return True
        plan.unlink(missing_ok=True)
        return bool(await self._within(0, done.exists))  # it was taken just now

    def _files(self, role: str) -> tuple[Path, Path]:
        """The plan, and what it is called when it was taken."""
        plan = self._installation.steps / f"plan-{role}"
        return plan, plan.with_suffix(".done")

    def _write(self, role: str, step: str, moment: str, pid: int) -> None:
        plan, done = self._files(role)
        done.unlink(missing_ok=True)
        fresh = plan.with_suffix(".new")
        fresh.write_text(f"{step}\t{moment}\t{pid}", encoding="utf-8")
        fresh.rename(plan)

    async def _within(self, seconds: float, condition: Callable[[], int | bool]) -> int:
        """What the condition gives, as soon as it is not 0, or at the end."""
        end = time.monotonic() + seconds
        while True:
            if (found := await asyncio.to_thread(condition)) or time.monotonic() > end:
                return int(found)
            await asyncio.sleep(POLL_S)

    async def _served_again(self, victim: str) -> None:
        """Every process is ready, and two more operations were done."""
        if victim == "supervisor":
            assert self._installation.process is not None
            await asyncio.to_thread(self._installation.process.wait)
            self._installation.start()
        await self._until(self._installation.serves, "it serves again")
        before = self._books.operations
        await self._until(lambda: self._books.operations >= before + 2, "operations go on")

    async def _until(self, condition: Callable[[], int | bool], what: str) -> int:
        found = await self._within(PATIENCE_S, condition)
        assert found, f"not in {PATIENCE_S:.0f} s: {what}"
        return found
