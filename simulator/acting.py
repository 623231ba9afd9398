"""Does what subscribers do besides using the network, by the HTTP API, and kills what is to be killed.

Top-ups, vouchers and orders come while the traffic runs, at their simulated time. A refusal (no credit, a product that
is barred, the ceiling of credit) is an outcome like any other; no answer is a failure.
"""

from __future__ import annotations

import asyncio
import csv
import datetime
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from simulator.acts import CONFIRM, CONFIRM_AFTER_S, ActKind, PlannedAct, PlannedDisturbance
from simulator.api_client import ApiClient, ApiError
from simulator.clocks import RunClock
from simulator.errors import SimulatorError
from simulator.server_process import ocs

AT_ONCE = 4
"""Acts under way at the same time."""
KILL_AGAIN_S = 0.2
KILL_TIMEOUT_S = 20.0
DONE, REFUSED, FAILED = "done", "refused", "failed"

OUTAGE_S = 0.3
"""Real seconds after which a process's end is known to all …"""
RECONNECT_S = 0.5
"""… and after which elements and agents are connected again."""


class Server(Protocol):
    """The server as one that does it harm knows it."""

    def kill(self, role: str) -> bool:
        """False = it has no such process at present."""

    def is_whole(self) -> bool: ...


@dataclass(slots=True)
class Acted:
    """What became of the acts."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(kind, "done", "refused" or "failed") → acts."""
    failures: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, object]:
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for (kind, outcome), count in sorted(self.outcomes.items()):
            found[kind][outcome] = count
        return {"outcomes": dict(found), "failures": self.failures, "killed": dict(self.killed)}

    def count(self, outcome: str) -> int:
        return sum(number for (_, what), number in self.outcomes.items() if what == outcome)


class Vouchers:
    """Vouchers of each value that a run needs: made and activated before it."""

    def __init__(self, acts: Iterable[PlannedAct], config: Path, folder: Path, expires: datetime.date) -> None:
        self._numbers: defaultdict[str, list[str]] = defaultdict(list)
        wanted = Counter(act.what for act in acts if act.kind is ActKind.VOUCHER)
        for index, (value, count) in enumerate(sorted(wanted.items())):
            batch, file = f"SIM-{index}", folder / f"vouchers-{index}.csv"
            words = ["--count", str(count), "--value", value, "--expires", expires.isoformat(), "--file", str(file)]
            ocs(["voucher", "generate", "--batch", batch, *words], config)
            ocs(["voucher", "activate", batch], config)
            with file.open(newline="", encoding="utf-8") as lines:
                self._numbers[value] = [row["number"] for row in csv.DictReader(lines)]

    def take(self, value: str) -> str:
        return self._numbers[value].pop()


class Acting:
    """Plays the acts and disturbances of a plan beside its sessions."""

    def __init__(self, clock: RunClock, api: ApiClient, vouchers: Vouchers, server: Server) -> None:
        self.acted = Acted()
        self._clock, self._api, self._vouchers, self._server = clock, api, vouchers, server
        self._room = asyncio.Semaphore(AT_ONCE)

    async def play(self, acts: Sequence[PlannedAct], disturbances: Sequence[PlannedDisturbance]) -> None:
        tasks = [asyncio.create_task(self._disturb(each)) for each in disturbances]
        try:
            for act in acts:
                await self._clock.sleep_until(act.at_s)
                tasks.append(asyncio.create_task(self._act(act)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _act(self, act: PlannedAct) -> None:
        steps = {
            ActKind.TOP_UP: self._top_up,
            ActKind.VOUCHER: self._redeem,
            ActKind.ORDER: self._order,
            ActKind.KEYWORD: self._ask_for,
        }
        outcome = await self._do(act, steps[act.kind])
        if outcome == DONE and act.kind is ActKind.KEYWORD:
            await self._clock.sleep_until(act.at_s + CONFIRM_AFTER_S)
            outcome = await self._do(act, self._confirm)
        self.acted.outcomes[act.kind.value, outcome] += 1

    async def _do(self, act: PlannedAct, step: Callable[[PlannedAct], object]) -> str:
        async with self._room:
            with self._clock.awaiting():
                try:
                    await asyncio.to_thread(step, act)
                except ApiError as error:
                    if HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                        return REFUSED
                    self.acted.failures.append(str(error))
                    return FAILED
        return DONE

    def _top_up(self, act: PlannedAct) -> None:
        self._api.post(f"{_account(act)}/top-ups", {"amount": act.what, "reference": act.reference})

    def _redeem(self, act: PlannedAct) -> None:
        self._api.post(f"{_account(act)}/vouchers", {"number": self._vouchers.take(act.what)})

    def _order(self, act: PlannedAct) -> None:
        self._api.post(f"{_account(act)}/subscriptions", {"product": act.what, "reference": act.reference})

    def _ask_for(self, act: PlannedAct) -> None:
        self._api.post(f"{_account(act)}/keywords", {"text": act.what})

    def _confirm(self, act: PlannedAct) -> None:
        self._api.post(f"{_account(act)}/keywords", {"text": act.what + CONFIRM})

    async def _disturb(self, disturbance: PlannedDisturbance) -> None:
        """Kills the process, once it runs. Until the server is whole again, as much time passes as while one answer is
        awaited: starting a process again takes real seconds, which are not hours.
        """
        await self._clock.sleep_until(disturbance.at_s)
        role = disturbance.kind.value.removeprefix("kill-")
        with self._clock.awaiting():
            await self._until(lambda: self._server.kill(role), f"there is no {role}")
            self.acted.killed[disturbance.kind.value] += 1
            await asyncio.sleep(OUTAGE_S)
            await self._until(self._server.is_whole, f"the server is not whole again after its {role} was killed")
            await asyncio.sleep(RECONNECT_S)

    async def _until(self, step: Callable[[], bool], what: str) -> None:
        for _ in range(int(KILL_TIMEOUT_S / KILL_AGAIN_S)):
            if await asyncio.to_thread(step):
                return
            await asyncio.sleep(KILL_AGAIN_S)
        raise SimulatorError(f"{what} ({KILL_TIMEOUT_S:g} s)")


def _account(act: PlannedAct) -> str:
    return f"/accounts/{act.subscriber.msisdn}"
