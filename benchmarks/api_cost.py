"""What a request to the API costs, by operation: CPU time of each process of the server, and of Redis's commands.

`python -m benchmarks.api_cost` starts a server as shipped, with one worker and nothing else to do. Each operation of
`benchmarks.api_load` is sent alone, in rounds; the best round counts, as other programs share the machine. `--tree`
measures another checkout; `--against` compares with one: both servers run, and have each operation in turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import redis
import typer
import uvloop
from rich.console import Console

from benchmarks.api_client import HttpConnection, request
from benchmarks.api_load import MIX, Operation
from benchmarks.beside_api import new_key
from benchmarks.processes import Roles, exact_cpu_s, wait_quiet
from benchmarks.systems import System, charging_server, provision, wait_healthy
from benchmarks.table import TableText, rich_table
from benchmarks.trees import HERE, Tree
from simulator.subscribers import default_subscribers

ACCOUNTS = 1000
ROLES = ("api", "redis", "backoffice", "housekeeper")
SETTLED_LOOKS = 2
DEAR_US = 300
"""A command of Redis that takes as long holds up charging noticeably."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one operation: its best round."""

    operation: str
    statuses: dict[str, int]
    cpu_us: dict[str, float]
    """Per request, by process."""
    commands: float
    """Commands to Redis per request, by all processes."""
    redis_us: float
    """Time that Redis spends in them, per request."""
    slowest_us: int
    """The longest command."""


class Client:
    """Sends one operation again and again, over some connections."""

    def __init__(self, port: int, key: str, connections: int) -> None:
        self._port, self._key, self._size = port, key, connections
        self._connections: list[HttpConnection] = []
        self._numbers = [one.msisdn for one in default_subscribers(ACCOUNTS)]
        self._chance = random.Random(1)
        self._run, self._sent = f"{time.time_ns():x}", 0

    async def send(self, operation: Operation, requests: int) -> Counter[str]:
        loop, statuses, left = asyncio.get_running_loop(), Counter[str](), requests
        if not self._connections:
            made = [await loop.create_connection(HttpConnection, "127.0.0.1", self._port) for _ in range(self._size)]
            self._connections = [connection for _, connection in made]
        done: asyncio.Future[None] = loop.create_future()

        def next_one(connection: HttpConnection) -> None:
            nonlocal left
            left -= 1

            def answered(status: int) -> None:
                statuses[str(status)] += 1
                if left > 0 and connection.is_open:
                    next_one(connection)
                elif statuses.total() == requests and not done.done():
                    done.set_result(None)

            connection.send(self._request(operation), answered)

        for connection in self._connections:
            next_one(connection)
        await asyncio.wait_for(done, 120)
        return statuses

    def _request(self, operation: Operation) -> bytes:
        self._sent += 1
        path = f"/v1/accounts/{self._chance.choice(self._numbers)}{operation.path}"
        body = json.dumps(operation.body).encode() if operation.body else b""
        once = f"{self._run}-{self._sent}" if operation.body else ""
        return request(operation.method, path, self._key, body=body, once=once)


async def measure(system: System, client: Client, operation: Operation, requests: int) -> Cost:
    """One round. Of the other processes the work that follows (records, loading) counts too."""
    roles = {role: pids for role, pids in system.roles().items() if role in ROLES}
    with redis.Redis.from_url(system.redis_url()) as server:
        await client.send(operation, 50)
        wait_quiet(roles, SETTLED_LOOKS)
        server.execute_command("CONFIG RESETSTAT")
        server.execute_command("SLOWLOG RESET")
        server.config_set("slowlog-log-slower-than", DEAR_US)
        before = _cpu_s(roles)
        statuses = await client.send(operation, requests)
        of_api, asked = _cpu_s(roles)["api"], _commands(server)
        wait_quiet(roles, SETTLED_LOOKS)
        after = {**_cpu_s(roles), "api": of_api}
        slowest = max((each["duration"] for each in server.slowlog_get(1000)), default=0)
    per_request = {role: round((after[role] - before[role]) * 1e6 / requests, 1) for role in roles}
    calls, spent = sum(calls for calls, _ in asked.values()), sum(spent for _, spent in asked.values())
    return Cost(operation.name, dict(statuses), per_request, round(calls / requests, 1), spent / requests, slowest)


def _cpu_s(roles: Roles) -> dict[str, float]:
    return {role: sum(map(exact_cpu_s, pids)) for role, pids in roles.items()}


def _commands(server: redis.Redis) -> dict[str, tuple[int, float]]:
    """Calls and microseconds by command; those within scripts are in their scripts' time."""
    found: Mapping[str, Any] = server.info("commandstats")
    scripts = ("cmdstat_eval", "cmdstat_evalsha", "cmdstat_fcall")
    return {
        name: (each["calls"], each["usec"] if name in scripts else 0)
        for name, each in found.items()
        if not name.startswith(("cmdstat_config", "cmdstat_slowlog", "cmdstat_info", "cmdstat_client"))
    }


def best(rounds: list[Cost]) -> Cost:
    return min(rounds, key=lambda each: each.cpu_us["api"])


def cost_table(found: list[Cost], commit: str) -> TableText:
    shares = {operation.name: operation.share / 100 for operation in MIX}
    rows = [_row(each.operation, each.cpu_us, each.commands, each.redis_us, str(each.slowest_us)) for each in found]
    mixed = {role: sum(each.cpu_us.get(role, 0) * shares[each.operation] for each in found) for role in ROLES}
    commands, spent = (
        sum(each.commands * shares[each.operation] for each in found),
        sum(each.redis_us * shares[each.operation] for each in found),
    )
    rows.append(_row("the mix", mixed, commands, spent, "–"))
    head = ("operation", *(f"{role} µs" for role in ROLES), "Redis commands", "µs in scripts", "slowest µs")
    return f"CPU time a request, {commit}", head, rows


def _row(name: str, cpu: Mapping[str, float], commands: float, spent: float, slowest: str) -> tuple[str, ...]:
    return (name, *(f"{cpu.get(role, 0):,.0f}" for role in ROLES), f"{commands:.1f}", f"{spent:,.0f}", slowest)


def main(
    requests: Annotated[int, typer.Option(min=10, help="Of one operation in a round.")] = 400,
    rounds: Annotated[int, typer.Option(min=1)] = 4,
    connections: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 2,
    tree: Annotated[Path, typer.Option(exists=True, file_okay=False, help="The checkout to measure.")] = HERE.root,
    against: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A checkout to compare with.")
    ] = None,
    out: Annotated[Path, typer.Option(dir_okay=False)] = HERE.root / "out" / "api_cost.json",
) -> None:
    """CPU time of a request to the API, by operation."""
    folder = HERE.root / "out" / "api-cost"
    shutil.rmtree(folder, ignore_errors=True)
    api = ("requests_per_s = 100000", "burst = 1000000")
    trees = [Tree(each.resolve()) for each in (tree, against) if each is not None]
    with contextlib.ExitStack() as running:
        systems = [
            running.enter_context(charging_server(folder / str(n), each, api=api)) for n, each in enumerate(trees)
        ]
        for system in systems:
            provision(system, ACCOUNTS)
            wait_healthy(system.api_port)
        found = uvloop.run(_measure_all(systems, requests, rounds, connections))
    shutil.rmtree(folder, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    commits = [each.commit for each in trees]
    costs = {commit: [asdict(each) for each in of_tree] for commit, of_tree in zip(commits, found, strict=True)}
    out.write_text(json.dumps(costs, indent=1) + "\n", "utf-8")
    console = Console(width=120)
    for commit, of_tree in zip(commits, found, strict=True):
        console.print(rich_table(cost_table(of_tree, commit)))
        console.print(*(f"{each.operation}: {each.statuses}" for each in of_tree), sep="\n", highlight=False)


async def _measure_all(systems: list[System], requests: int, rounds: int, connections: int) -> list[list[Cost]]:
    """By system, each operation's best round."""
    clients = [Client(each.api_port, new_key(each, 0), connections) for each in systems]
    measured = [[list[Cost]() for _ in MIX] for _ in systems]
    for turn in range(rounds):
        for at, operation in enumerate(MIX):
            for n in range(len(systems))[:: 1 if turn % 2 else -1]:
                measured[n][at].append(await measure(systems[n], clients[n], operation, requests))
    return [[best(each) for each in of_system] for of_system in measured]


if __name__ == "__main__":
    typer.run(main)
