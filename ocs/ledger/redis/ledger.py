"""The ledger on Redis: every movement is one Lua script (ocs/ledger/scripts), sent by key and safe to send again.

Implements `ChargingLedger`, `AccountLedger` (most of it in accounts.py) and `NoticeLedger` of contract/operations.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import hiredis

from ocs.ledger import scripts
from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, Retry
from ocs.ledger.contract.errors import LedgerUnavailable
from ocs.ledger.contract.limits import TOMBSTONE_S
from ocs.ledger.contract.notices import Notice
from ocs.ledger.contract.operations import AccountLedger, ChargeDone, ChargingLedger, NoticeLedger
from ocs.ledger.layout import LAYOUT, Layout
from ocs.ledger.metrics import LedgerMetrics, NoMetrics
from ocs.ledger.redis import installation, notices, wire
from ocs.ledger.redis.accounts import CLAIMED
from ocs.ledger.redis.client import checked
from ocs.ledger.redis.clients import Clients
from ocs.ledger.redis.connection import Answer, RedisConnection, Request, resolve
from ocs.ledger.redis.connection import command as pack_command
from ocs.ledger.redis.installation import Use
from ocs.ledger.redis.keys import NO_POOL, Keys, PartitionKeys, account_id_of_key, session_name
from ocs.ledger.redis.leases import Leases
from ocs.ledger.redis.nodes import Nodes
from ocs.ledger.redis.outbox import Outbox
from ocs.ledger.redis.products import Products
from ocs.ledger.redis.script_call import ScriptCalls
from ocs.ledger.redis.server_check import check_servers
from ocs.ledger.redis.slices import Slices
from ocs.ledger.settings import LedgerSettings
from ocs.values.requests import Action, RequestType

log = logging.getLogger(__name__)

INITIAL, UPDATE, TERMINATION, EVENT = (
    RequestType.INITIAL,
    RequestType.UPDATE,
    RequestType.TERMINATION,
    RequestType.EVENT,
)
REFUND = Action.REFUND
SCAN_COUNT = 1000
_FIELD_AT_MASTER = b"redis.call('PERSIST', KEYS[1]) return redis.call('HGET', KEYS[1], ARGV[1])"
_VALUE_AT_MASTER = b"redis.call('SETRANGE', KEYS[1], 0, '') return redis.call('GET', KEYS[1])"
"""Read where writing is allowed: nothing is written, but a replica refuses. One that was the master a moment ago lacks
what came since, and its word that somebody is unknown would be believed.
"""
MOVING_PAUSE_S = 0.02
"""Before a request is tried again at an account that is just being moved."""
MAX_MOVED_KEPT = 10_000
"""Accounts that moved whose new id a process remembers; the others' requests are told again."""
MAX_ORIGIN_STATES = 10_000
"""Clients whose Origin-State-Id is kept; one more is not."""
MAX_CARRIED_STATES = 8_000
"""Those behind relays, which may make up names, must leave some to those who are connected themselves."""


class RedisLedger(Products, Outbox, Clients, Slices, Leases):
    """One process's client of the ledger. Create with `connect`, end with `close`."""

    sees_to = frozenset((Retry.POOL, Retry.MOVED, Retry.LOOK_BACK))
    """Reasons for doing nothing that it sees to itself."""

    def __init__(
        self,
        nodes: Nodes,
        keys: Keys,
        settings: LedgerSettings,
        clock: Callable[[], float] = time.time,
        layout: Layout = LAYOUT,
        calls: ScriptCalls | None = None,
    ) -> None:
        super().__init__(nodes, keys, settings, clock, layout, calls)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listened = 0
        self._moved: dict[str, str] = {}

    @classmethod
    async def connect(
        cls,
        url: str,
        settings: LedgerSettings,
        metrics: LedgerMetrics | None = None,
        connect_timeout_s: float = 10.0,
        stopwatch: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
        layout: Layout = LAYOUT,
        use: Use = Use.FOUND,
    ) -> Self:
        """Connect to a node or a cluster; `stopwatch` gives seconds that only the metrics see, `clock` the Unix seconds
        that notices carry. `use` says whether a ledger is founded where there is none.

        LedgerUnavailable when Redis cannot be reached in time; LedgerError "installation" when what it holds is no
        ledger of this layout and number of partitions.
        """
        keys = Keys(settings.partitions)
        calls = ScriptCalls(scripts.load(layout), int(clock()))
        nodes = Nodes(url, keys, settings, calls, metrics or NoMetrics(), stopwatch)
        await nodes.start(connect_timeout_s)
        ledger = cls(nodes, keys, settings, clock, layout, calls)
        try:
            await check_servers(nodes, settings.durability)
            await installation.check(ledger, use)
        except BaseException:
            await ledger.close()
            raise
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

    # -- what the whole ledger is (installation.py)

    @property
    def layout(self) -> Layout:
        return self._layout

    async def installed(self) -> dict[str, int]:
        """What was said of the ledger when it was installed; empty = nothing."""
        flat = await self._ask("installation", 0, b"HGETALL", self._keys.ledger)
        return {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}

    async def install(self, facts: dict[str, int]) -> dict[str, int]:
        """Say what the ledger is: partitions for ever, the layout as the newest that works on it. Returns what holds
        now.
        """
        key = self._keys.ledger
        await self._ask("installation", 0, b"HSETNX", key, b"partitions", facts["partitions"], durable=True)
        for name in facts.keys() - {"partitions"}:
            await self._ask("installation", 0, b"HSET", key, name, facts[name], durable=True)
        return await self.installed()

    async def hashes(self, pattern: bytes) -> AsyncIterator[tuple[bytes, dict[bytes, bytes]]]:
        """Hashes whose name is of the pattern. Looks at all keys: only where nothing is installed."""
        async for key, connection in self._scan(pattern):
            flat = await self._ask_node(connection, b"HGETALL", key)
            yield key, dict(zip(flat[::2], flat[1::2], strict=True))

    # -- charging (ChargingLedger)

    def charge(self, request: ChargeRequest, done: ChargeDone) -> None:
        if request.type is INITIAL:
            self._hint(request)
        self._charge(request, done, self._loop.time() + self._timeout_s, "")

    def _charge(self, request: ChargeRequest, done: ChargeDone, expires: float, looked_back: str) -> None:
        if self._moved:
            request.account_id = self._moved.get(request.account_id, request.account_id)
        if self._pools and not request.pool:
            request.pool = self._pools.get(request.account_id, "")
        account_id = request.account_id.encode()
        partition = self._keys.partition_of_account(request.account_id)
        keys = self._keys.by_partition[partition]
        name = account_id + b" " + session_name(request.session_id, request.session_owner)
        own: list[bytes] = [keys.account + account_id, keys.outbox, keys.sequence, keys.due]
        if request.action is REFUND:
            script, body = "refund", wire.refund(request, self._settings, looked_back)
            own += (keys.events + name, keys.pool + (request.pool or NO_POOL).encode(), self._debit_key(request, keys))
        else:
            script, body = "charge", wire.charge(request, self._settings, looked_back)
            own.append((keys.events if request.type is EVENT else keys.answers) + name)
            if request.pool:
                own.append(keys.pool + request.pool.encode())
        command = pack_command((*self._calls.prefix(script), len(own), *own, account_id, body))
        callback = partial(self._charged, request, done, expires)
        self._send(command, callback, script, partition, hash(request.account_id), expires)

    def _debit_key(self, request: ChargeRequest, keys: PartitionKeys) -> bytes:
        """Answers of the one-off request that a refund is of."""
        debit = session_name(wire.refunded_debit(request)[0], request.session_owner)
        return keys.events + request.account_id.encode() + b" " + debit

    def _charged(self, request: ChargeRequest, done: ChargeDone, expires: float, answer: Answer) -> None:
        if isinstance(answer, LedgerUnavailable):
            done(answer)
        elif isinstance(answer, hiredis.ReplyError):
            log.error("Redis refused the charge script, the request is answered 3002 or 3004: %s", answer)
            done(LedgerUnavailable("Redis refused the charge script"))
        else:
            outcome = wire.outcome(answer)
            flags = answer[0]
            if flags:
                if flags & wire.JOURNALLED:
                    self.mark_dirty(self._keys.partition_of_account(request.account_id))
                if flags & wire.PROLONGED and request.type is UPDATE:
                    self._hint(request)
            if request.type is TERMINATION and outcome.code == 2001:
                self._hint_ends(request)
            if outcome.retry in self.sees_to:
                self._run(self._charge_again(request, done, expires, outcome))
            else:
                done(outcome)

    async def _charge_again(
        self, request: ChargeRequest, done: ChargeDone, expires: float, outcome: ChargeOutcome
    ) -> None:
        """The account is in another pool, or has moved: the request goes where it belongs."""
        looked_back = ""
        try:
            if self._loop.time() >= expires:
                raise LedgerUnavailable("the account is being moved")
            if outcome.retry is Retry.POOL:
                self._keep_pool(request.account_id, outcome.place)
                request.pool = outcome.place
            elif outcome.retry is Retry.MOVED:
                await self._follow(request, outcome.place)
            else:
                looked_back = outcome.place
                await self._look_back(request, looked_back)
        except LedgerUnavailable as error:
            done(error)
        else:
            self._charge(request, done, expires, looked_back)

    async def _follow(self, request: ChargeRequest, target: str) -> None:
        """Remember the account's new id; it may have to be written there yet."""
        if await self._document(target) is None:
            await asyncio.sleep(MOVING_PAUSE_S)
            return
        if len(self._moved) >= MAX_MOVED_KEPT:
            self._moved.pop(next(iter(self._moved)))
        self._moved[request.account_id] = target
        self._moved.pop(target, None)  # it is back where it was before

    async def _look_back(self, request: ChargeRequest, old_ids: str) -> None:
        """What a one-off request, or one of a session that had ended, was answered before the account moved comes after
        it.
        """
        owner = request.session_owner
        names = {session_name(request.session_id, owner)}
        if request.action is Action.REFUND:
            names.add(session_name(wire.refunded_debit(request)[0], owner))
        for old_id in old_ids.split():
            for name in names:
                await self._move_hash(
                    self._own_key(old_id, request, name), self._own_key(request.account_id, request, name)
                )

    def _own_key(self, account_id: str, request: ChargeRequest, name: bytes) -> tuple[int, bytes]:
        """Where answers are remembered, by partition and key."""
        keys = self._account_keys(account_id)
        prefix = keys.events if request.type is RequestType.EVENT else keys.answers
        return self._keys.partition_of_account(account_id), prefix + account_id.encode() + b" " + name

    # -- sessions whose subscriber a request does not say

    def _hint(self, request: ChargeRequest) -> None:
        """Say whose the session is, for workers that do not know it."""
        live_s = (max(request.deadline - request.now, 0) + self._settings.remember_sessions_s) * 5 // 4 + 1
        self._send_hint(request, b"SET", request.account_id, b"EX", live_s)

    def _hint_ends(self, request: ChargeRequest) -> None:
        """Of a session that has ended, the hint lives no longer than its answers."""
        self._send_hint(request, b"EXPIRE", max(self._settings.remember_sessions_s, TOMBSTONE_S))

    def _send_hint(self, request: ChargeRequest, word: bytes, *rest: bytes | str | int) -> None:
        name = session_name(request.session_id, request.session_owner)
        partition = self._keys.partition_of_session(name)
        command = pack_command((word, self._keys.by_partition[partition].hints + name, *rest))
        expires = self._loop.time() + self._timeout_s
        self._send(command, _ignored, "hint", partition, 0, expires, durable=False)

    def _run(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def find_subscriber(self, identity: str) -> str | None:
        partition, name = self._keys.partition_of_name(identity), identity.encode()
        key = self._keys.by_partition[partition].subscribers
        answer = await self._ask("find", partition, b"HGET", key, name)
        if not answer:
            answer = await self._ask("find", partition, b"EVAL", _FIELD_AT_MASTER, 1, key, name)
        return answer.decode().removeprefix(CLAIMED).partition(" ")[0] if answer else None

    async def find_session(self, session_id: str, owner: str) -> str | None:
        name = session_name(session_id, owner)
        partition = self._keys.partition_of_session(name)
        key = self._keys.by_partition[partition].hints + name
        answer = await self._ask("find_session", partition, b"GET", key)
        if not answer:
            answer = await self._ask("find_session", partition, b"EVAL", _VALUE_AT_MASTER, 1, key)
        return answer.decode() if answer else None

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
            relay, _, host = name.decode().partition(" ")
            state_id, at = value.split()
            states[host, relay] = int(state_id), int(at)
        return states

    async def note_origin_state(self, origin_host: str, state_id: int, *, now: int, relay: str = "") -> None:
        """Keep it for whoever looks for orphaned sessions; `relay`: the relay that says so, "" = the client itself.
        Beyond MAX_ORIGIN_STATES clients no new one is kept.
        """
        key, name = self._keys.origin_states, f"{relay} {origin_host}".lower().encode()
        known = await self._ask("origin_states", 0, b"HGET", key, name)
        if known and int(known.split()[0]) == state_id:
            return
        limit = MAX_CARRIED_STATES if relay else MAX_ORIGIN_STATES
        if not known and await self._ask("origin_states", 0, b"HLEN", key) >= limit:
            log.warning(
                "more than %d clients have an Origin-State-Id: sessions that one more loses stay until their deadlines",
                limit,
            )
            return
        await self._ask("origin_states", 0, b"HSET", key, name, f"{state_id} {now}")

    # -- the housekeeper's side

    async def due(self, partition: int, *, now: int, count: int) -> list[str]:
        due = self._keys.by_partition[partition].due
        ids = await self._ask("due", partition, b"ZRANGEBYSCORE", due, b"-inf", now, b"LIMIT", 0, count)
        return [each.decode() for each in ids]

    async def account_ids(self) -> AsyncIterator[str]:
        """All accounts, in no order; one opened or closed meanwhile may be missed."""
        async for key, _ in self._scan(self._keys.account_pattern()):
            yield account_id_of_key(key)

    async def _scan(self, pattern: bytes) -> AsyncIterator[tuple[bytes, RedisConnection]]:
        """Keys of all nodes, each with the connection to its node."""
        for connection in self._nodes.masters():
            cursor = b"0"
            while True:
                cursor, found = await self._ask_node(
                    connection, b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_COUNT
                )
                for key in found:
                    yield key, connection
                if cursor == b"0":
                    break

    async def _ask_node(self, connection: RedisConnection, *words: bytes | int) -> Any:
        """The answer of one node, of whatever partition."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        until = self._loop.time() + self._timeout_s
        connection.send(Request(pack_command(words), partial(resolve, future), "scan", until, 0, 0, 0))
        return checked(await future)

    async def count_accounts(self) -> int:
        return sum([1 async for _ in self.account_ids()])


def _ignored(_: Answer) -> None:
    """A hint that is lost costs a look-up."""


if TYPE_CHECKING:

    def _holds_the_contract(ledger: RedisLedger) -> tuple[ChargingLedger, AccountLedger, NoticeLedger]:
        return ledger, ledger, ledger
