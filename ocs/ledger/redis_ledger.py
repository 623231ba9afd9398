"""The ledger on Redis: every movement is one Lua script (ocs/ledger/scripts), sent by key and safe to send again.

Implements `ChargingLedger`, `AccountLedger` (most of it in accounts.py) and `NoticeLedger` of contract.py, which says what each
operation promises.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import hiredis

from ocs.ledger import notices, scripts, wire
from ocs.ledger.accounts import Accounts
from ocs.ledger.client import checked
from ocs.ledger.clients import Clients
from ocs.ledger.connection import Answer, Request, resolve
from ocs.ledger.connection import command as pack_command
from ocs.ledger.contract import (
    AccountLedger,
    Action,
    ChargeDone,
    ChargeRequest,
    ChargingLedger,
    LedgerError,
    LedgerUnavailable,
    Notice,
    NoticeLedger,
    PackageTerms,
    RequestType,
)
from ocs.ledger.keys import Keys, account_id_of_key, session_name
from ocs.ledger.metrics import LedgerMetrics, NoMetrics
from ocs.ledger.nodes import Nodes
from ocs.ledger.outbox import Outbox
from ocs.ledger.settings import LedgerSettings
from ocs.ledger.slices import Slices

log = logging.getLogger(__name__)

SCAN_COUNT = 1000
MAX_ORIGIN_STATES = 10_000
"""Clients whose Origin-State-Id is kept; one more is not."""
MAX_CARRIED_STATES = 8_000
"""Those behind relays, which may make up names, must leave some to those who are connected themselves."""


class RedisLedger(Accounts, Outbox, Clients, Slices):
    """One process's client of the ledger. Create with `connect`, end with `close`."""

    def __init__(
        self,
        nodes: Nodes,
        keys: Keys,
        settings: LedgerSettings,
        packages: Sequence[PackageTerms],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(nodes, keys, settings, packages, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listened = 0

    @classmethod
    async def connect(
        cls,
        url: str,
        settings: LedgerSettings,
        metrics: LedgerMetrics | None = None,
        packages: Sequence[PackageTerms] = (),
        connect_timeout_s: float = 10.0,
        stopwatch: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Connect to a node or a cluster; `packages` are needed to charge accounts whose package is due for renewal;
        `stopwatch` gives seconds that only the metrics see, `clock` the Unix seconds that notices carry.

        LedgerUnavailable when Redis cannot be reached in time.
        """
        keys = Keys(settings.partitions)
        loads = [pack_command((b"SCRIPT", b"LOAD", script.source)) for script in scripts.load().values()]
        nodes = Nodes(url, keys, settings, loads, metrics or NoMetrics(), stopwatch)
        await nodes.start(connect_timeout_s)
        ledger = cls(nodes, keys, settings, packages, clock)
        await ledger._check_durability()
        return ledger

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.flush_dirty()
        await self._nodes.close()

    @property
    def partitions(self) -> int:
        return self._keys.partitions

    @property
    def ready(self) -> bool:
        """Every connection is usable now."""
        return self._nodes.ready()

    async def _check_durability(self) -> None:
        """Say so when Redis does not keep what the settings promise; a managed Redis may forbid the question."""
        wanted = "everysec" if self._settings.durability == "everysec" else "always"
        for address in self._nodes.addresses():
            async with self._nodes.client(address) as client:
                try:
                    found = await client.config_get("append*")
                except Exception as error:  # noqa: BLE001 - whatever it is, it only means that we cannot know
                    log.warning("cannot ask Redis at %s how it stores: %s", address, error)
                    continue
            if found.get("appendonly") != "yes" or found.get("appendfsync") not in (wanted, "always"):
                log.warning(
                    "Redis at %s has appendonly %s, appendfsync %s; durability %r needs appendonly yes, appendfsync %s",
                    *(address, found.get("appendonly"), found.get("appendfsync"), self._settings.durability, wanted),
                )

    # -- charging (ChargingLedger)

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        self._charge(request, done, self._loop.time() + self._timeout_s)

    def _charge(self, request: ChargeRequest, done: ChargeDone, expires: float) -> None:
        account_id = request.account_id.encode()
        partition = self._keys.partition_of_account(request.account_id)
        keys = self._keys.by_partition[partition]
        owner = request.binding or request.origin_host.lower()
        name = session_name(request.session_id, owner)
        if request.action is Action.REFUND:
            debit = session_name(wire.refunded_debit(request)[0], owner)
            script, own = "refund", [keys.account + account_id, keys.events + name, keys.events + debit]
            own += [keys.outbox, keys.sequence, keys.due]
            body = wire.refund(request, self._settings)
        else:
            answers = keys.events if request.type is RequestType.EVENT else keys.answers
            script, own = "charge", [keys.account + account_id, answers + name, keys.outbox, keys.sequence, keys.due]
            body = wire.charge(request, self._settings)
        command = pack_command((b"EVALSHA", self._scripts[script].sha, len(own), *own, account_id, body))
        callback = partial(self._charged, request, done, expires, partition)
        self._send(command, callback, script, partition, hash(request.account_id), expires)

    def _charged(
        self, request: ChargeRequest, done: ChargeDone, expires: float, partition: int, answer: Answer
    ) -> None:
        self.mark_dirty(partition)
        if isinstance(answer, LedgerUnavailable):
            done(answer)
        elif isinstance(answer, hiredis.ReplyError):
            log.error("charge script: %s", answer)
            done(LedgerUnavailable("the charge script failed"))
        else:
            outcome = wire.outcome(answer)
            if outcome.code == 0 and outcome.reason == "sweep":
                self._run(self._sweep_and_charge(request, done, expires))
            else:
                done(outcome)

    async def _sweep_and_charge(self, request: ChargeRequest, done: ChargeDone, expires: float) -> None:
        """The package's period is over: renew it first, so that no use falls between two periods (HOT-PKG-2)."""
        try:
            await self.sweep(request.account_id, packages=self._packages, now=request.now, month=request.month)
        except LedgerUnavailable as error:
            done(error)
        else:
            self._charge(request, done, expires)

    def _run(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_script(self, name: str, account_id: str, keys: Sequence[bytes], body: object) -> Any:
        answer = await super()._run_script(name, account_id, keys, body)
        self.mark_dirty(self._keys.partition_of_account(account_id))
        return answer

    async def find_subscriber(self, identity: str) -> str | None:
        partition = self._keys.partition_of_name(identity)
        answer = await self._ask(
            "find", partition, b"HGET", self._keys.by_partition[partition].subscribers, identity.encode()
        )
        return answer.decode() if answer else None

    async def find_session(self, session_id: str, owner: str) -> str | None:
        name = session_name(session_id, owner)
        answers = await asyncio.gather(
            *(
                self._ask("find_session", partition, b"HGET", keys.answers + name, b"a")
                for partition, keys in enumerate(self._keys.by_partition)
            )
        )
        return next((answer.decode() for answer in answers if answer), None)

    # -- notices (NoticeLedger)

    def notices(self, subscribed: Callable[[], None] = lambda: None) -> AsyncIterator[Notice]:
        return notices.listen(self._any_client, subscribed)

    def _any_client(self) -> Any:
        """To the nodes in turn: any of them hears all notices."""
        addresses = self._nodes.addresses()
        self._listened = (self._listened + 1) % max(len(addresses), 1)
        return self._nodes.client(addresses[self._listened] if addresses else None)

    async def announce(self, notice: Notice) -> None:
        await self._ask("announce", 0, b"PUBLISH", notices.CHANNEL, notices.encode(notice))

    # -- clients that lost their sessions (RFC 6733 §8.6)

    async def origin_states(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(Origin-Host, relay or "") → (Origin-State-Id, Unix seconds when it rose to that)."""
        flat = await self._ask("origin_states", 0, b"HGETALL", self._keys.origin_states)
        states = {}
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            via, _, host = name.decode().partition(" ")
            state_id, at = value.split()
            states[host, via] = int(state_id), int(at)
        return states

    async def note_origin_state(self, origin_host: str, state_id: int, *, now: int, via: str = "") -> None:
        """Keep it for whoever looks for orphaned sessions; `via`: the relay that says so, "" = the client itself. Beyond
        MAX_ORIGIN_STATES clients no new one is kept.
        """
        key, name = self._keys.origin_states, f"{via} {origin_host}".lower().encode()
        known = await self._ask("origin_states", 0, b"HGET", key, name)
        if known and int(known.split()[0]) == state_id:
            return
        limit = MAX_CARRIED_STATES if via else MAX_ORIGIN_STATES
        if not known and await self._ask("origin_states", 0, b"HLEN", key) >= limit:
            log.warning("more than %d clients have an Origin-State-Id: one is not kept", limit)
            return
        await self._ask("origin_states", 0, b"HSET", key, name, f"{state_id} {now}")

    # -- the housekeeper's side

    async def due(self, partition: int, *, now: int, count: int) -> list[str]:
        due = self._keys.by_partition[partition].due
        ids = await self._ask("due", partition, b"ZRANGEBYSCORE", due, b"-inf", now, b"LIMIT", 0, count)
        return [each.decode() for each in ids]

    async def sweep(self, account_id: str, *, packages: Sequence[PackageTerms], now: int, month: int) -> None:
        keys = self._account_keys(account_id)
        try:
            await self._script(
                "sweep", account_id, [keys.outbox, keys.sequence, keys.due], (now, month, wire.packages(packages))
            )
        except LedgerError as error:
            if error.code != "unknown":
                raise

    async def account_ids(self) -> AsyncIterator[str]:
        """All accounts, in no order; one opened or closed meanwhile may be missed."""
        for connection in self._nodes.masters():
            cursor = b"0"
            while True:
                request = (b"SCAN", cursor, b"MATCH", self._keys.account_pattern(), b"COUNT", SCAN_COUNT)
                future: asyncio.Future[Answer] = self._loop.create_future()
                command = pack_command(request)
                connection.send(
                    Request(command, partial(resolve, future), "scan", self._loop.time() + self._timeout_s, 0, 0, 0)
                )
                cursor, found = checked(await future)
                for key in found:
                    yield account_id_of_key(key)
                if cursor == b"0":
                    break

    async def count_accounts(self) -> int:
        return sum([1 async for _ in self.account_ids()])


if TYPE_CHECKING:

    def _holds_the_contract(ledger: RedisLedger) -> tuple[ChargingLedger, AccountLedger, NoticeLedger]:
        return ledger, ledger, ledger
