"""The ledger on Redis: every movement is one Lua script (ocs/ledger/scripts), sent by key and safe to send again.

Implements `ChargingLedger` and `AccountLedger` of contract.py, which says what each operation promises.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import hiredis

from ocs.ledger import journal, scripts, views, wire
from ocs.ledger.connection import Answer, Request, resolve
from ocs.ledger.connection import command as pack_command
from ocs.ledger.contract import (
    CREDIT_CEILING_MICRO_EUR,
    DEFAULT_LIMIT_MICRO_EUR,
    AccountLedger,
    AccountView,
    ChargeDone,
    ChargeRequest,
    ChargingLedger,
    LedgerError,
    LedgerUnavailable,
    OutboxEvent,
    PackageTerms,
)
from ocs.ledger.keys import Keys, account_id_of_key
from ocs.ledger.metrics import LedgerMetrics, NoMetrics
from ocs.ledger.nodes import Nodes
from ocs.ledger.settings import LedgerSettings

log = logging.getLogger(__name__)

ACTIVE_S = 90 * 86_400
"""HOT-ACC-3: an account is active for 90 days from its last top-up."""
SCAN_COUNT = 1000
_REFUSALS = {
    "exists": "the number or the IMSI belongs to an account already",
    "ceiling": "the credit would exceed 200 EUR (HOT-ACC-7)",
    "state": "the account's state does not allow it",
    "credit": "the credit does not cover the price",
    "unknown": "there is no such account",
    "reference": "this reference was used for another account or amount",
}


class RedisLedger:
    """One process's client of the ledger. Create with `connect`, end with `close`."""

    def __init__(self, nodes: Nodes, keys: Keys, settings: LedgerSettings, packages: Sequence[PackageTerms]) -> None:
        self._nodes = nodes
        self._keys = keys
        self._settings = settings
        self._packages = list(packages)
        self._timeout_s = settings.timeout_ms / 1000
        self._replicas = settings.replicas if settings.durability == "replicated" else 0
        self._wait = pack_command((b"WAIT", self._replicas, settings.timeout_ms)) if self._replicas else b""
        self._scripts = scripts.load()
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def connect(
        cls,
        url: str,
        settings: LedgerSettings,
        metrics: LedgerMetrics | None = None,
        packages: Sequence[PackageTerms] = (),
        connect_timeout_s: float = 10.0,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Connect to a node or a cluster; `packages` are needed to charge accounts whose package is due for renewal;
        `stopwatch` gives seconds that only the metrics see.

        LedgerUnavailable when Redis cannot be reached in time.
        """
        keys = Keys(settings.partitions)
        loads = [pack_command((b"SCRIPT", b"LOAD", script.source)) for script in scripts.load().values()]
        nodes = Nodes(url, keys, settings, loads, metrics or NoMetrics(), stopwatch)
        await nodes.start(connect_timeout_s)
        ledger = cls(nodes, keys, settings, packages)
        await ledger._check_durability()
        return ledger

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
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
        command = pack_command(
            (
                *(b"EVALSHA", self._scripts["charge"].sha, 5),
                *(
                    keys.account + account_id,
                    keys.answers + request.session_id.encode(),
                    keys.outbox,
                    keys.sequence,
                    keys.due,
                ),
                *(account_id, wire.charge(request, self._settings)),
            )
        )
        callback = partial(self._charged, request, done, expires)
        self._send(command, callback, "charge", partition, hash(request.account_id), expires)

    def _charged(self, request: ChargeRequest, done: ChargeDone, expires: float, answer: Answer) -> None:
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

    async def find_subscriber(self, identity: str) -> str | None:
        partition = self._keys.partition_of_name(identity)
        answer = await self._ask(
            "find", partition, b"HGET", self._keys.by_partition[partition].subscribers, identity.encode()
        )
        return answer.decode() if answer else None

    async def find_session(self, session_id: str) -> str | None:
        name = session_id.encode()
        answers = await asyncio.gather(
            *(
                self._ask("find_session", partition, b"HGET", keys.answers + name, b"a")
                for partition, keys in enumerate(self._keys.by_partition)
            )
        )
        return next((answer.decode() for answer in answers if answer), None)

    # -- accounts (AccountLedger)

    async def open_account(
        self,
        *,
        msisdn: str,
        imsi: str,
        credit_micro_eur: int,
        package: PackageTerms | None,
        now: int,
        month: int,
        entropy: int,
    ) -> str:
        account_id = self._keys.new_account_id(msisdn, entropy)
        wire.amount("credit", credit_micro_eur)
        await self._claim_imsi(imsi, account_id)
        keys = self._keys.by_partition[self._keys.partition_of_account(account_id)]
        terms = wire.package(package) if package else False
        body = (
            msisdn,
            imsi,
            credit_micro_eur,
            terms,
            now,
            month,
            DEFAULT_LIMIT_MICRO_EUR,
            now + ACTIVE_S,
            CREDIT_CEILING_MICRO_EUR,
        )
        try:
            await self._script("open", account_id, [keys.subscribers, keys.outbox, keys.sequence, keys.due], body)
        except LedgerError:
            partition = self._keys.partition_of_name("i" + imsi)
            await self._ask(
                "open", partition, b"HDEL", self._keys.by_partition[partition].subscribers, b"i" + imsi.encode()
            )
            raise
        return account_id

    async def _claim_imsi(self, imsi: str, account_id: str) -> None:
        """The IMSI's entry may live in another partition, so it is claimed first; a claim for an account that never came to be is void."""
        partition = self._keys.partition_of_name("i" + imsi)
        subscribers, name = self._keys.by_partition[partition].subscribers, b"i" + imsi.encode()
        if await self._ask("open", partition, b"HSETNX", subscribers, name, account_id.encode()):
            return
        holder = (await self._ask("open", partition, b"HGET", subscribers, name) or b"").decode()
        if holder and holder != account_id and await self._document(holder):
            raise LedgerError("exists", _REFUSALS["exists"])
        await self._ask("open", partition, b"HSET", subscribers, name, account_id.encode())

    async def top_up(
        self,
        account_id: str,
        *,
        amount_micro_eur: int,
        reference: str,
        packages: Sequence[PackageTerms],
        now: int,
        month: int,
    ) -> bool:
        wire.amount("amount", amount_micro_eur, least=1)
        await self._claim_reference(reference, f"{account_id} {amount_micro_eur}")
        keys = self._account_keys(account_id)
        body = (
            amount_micro_eur,
            reference,
            now,
            month,
            now + ACTIVE_S,
            CREDIT_CEILING_MICRO_EUR,
            wire.packages(packages),
        )
        answer = await self._script("top_up", account_id, [keys.references, keys.outbox, keys.sequence, keys.due], body)
        return answer == b"ok"

    async def _claim_reference(self, reference: str, purpose: str) -> None:
        """A reference credits one account by one amount, once, in the whole system (HOT-TOP-1)."""
        partition = self._keys.partition_of_name(reference)
        references, name = self._keys.by_partition[partition].references, b"claim:" + reference.encode()
        if await self._ask("top_up", partition, b"HSETNX", references, name, purpose.encode()):
            return
        holder = await self._ask("top_up", partition, b"HGET", references, name)
        if holder != purpose.encode():
            raise LedgerError("reference", _REFUSALS["reference"])

    async def activate_package(
        self, account_id: str, *, package: PackageTerms, reference: str, now: int, month: int
    ) -> bool:
        keys = self._account_keys(account_id)
        body = (wire.package(package), reference, now, month)
        answer = await self._script(
            "package", account_id, [keys.references, keys.outbox, keys.sequence, keys.due], body
        )
        return answer == b"ok"

    async def set_limit(self, account_id: str, *, limit_micro_eur: int | None, now: int, month: int) -> None:
        value = -1 if limit_micro_eur is None else wire.amount("limit", limit_micro_eur)
        await self._change(account_id, "limit", value, now, month)

    async def set_bars(self, account_id: str, *, bars: Sequence[str], now: int, month: int) -> None:
        await self._change(account_id, "bars", ",".join(sorted(set(bars))), now, month)

    async def set_state(self, account_id: str, *, state: str, now: int, month: int) -> None:
        if state not in ("active", "blocked"):
            raise LedgerError("range", f"state is {state!r}; it can be set to active or blocked")
        await self._change(account_id, "state", views.STATE_CODES[state], now, month)

    async def _change(self, account_id: str, what: str, value: int | str, now: int, month: int) -> None:
        keys = self._account_keys(account_id)
        await self._script("change", account_id, [keys.outbox, keys.sequence], (what, value, now, month))

    async def read(self, account_id: str, *, now: int, month: int) -> AccountView | None:
        document = await self._document(account_id)
        return views.account_view(account_id, document, now=now, month=month) if document else None

    async def _document(self, account_id: str) -> bytes | None:
        keys = self._account_keys(account_id)
        partition = self._keys.partition_of_account(account_id)
        document: bytes | None = await self._ask("read", partition, b"GET", keys.account + account_id.encode())
        return document

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

    async def outbox_read(self, partition: int, *, after: int, count: int) -> list[OutboxEvent]:
        outbox = self._keys.by_partition[partition].outbox
        entries = await self._ask("outbox", partition, b"XRANGE", outbox, f"({after}-0", b"+", b"COUNT", count)
        return [
            OutboxEvent(
                partition=partition, sequence=int(entry_id.split(b"-")[0]), body=journal.body(views.unpack(fields[1]))
            )
            for entry_id, fields in entries
        ]

    async def outbox_trim(self, partition: int, *, upto: int) -> None:
        outbox = self._keys.by_partition[partition].outbox
        await self._ask("outbox", partition, b"XTRIM", outbox, b"MINID", f"{upto + 1}-0")

    async def outbox_lag(self, partition: int) -> int:
        lag: int = await self._ask("outbox", partition, b"XLEN", self._keys.by_partition[partition].outbox)
        return lag

    async def outbox_last(self, partition: int) -> int:
        """Sequence of the newest event ever journalled, 0 = none."""
        return int(await self._ask("outbox", partition, b"GET", self._keys.by_partition[partition].sequence) or 0)

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
                cursor, found = _checked(await future)
                for key in found:
                    yield account_id_of_key(key)
                if cursor == b"0":
                    break

    async def count_accounts(self) -> int:
        return sum([1 async for _ in self.account_ids()])

    # -- sending

    def _account_keys(self, account_id: str) -> Any:
        try:
            return self._keys.by_partition[self._keys.partition_of_account(account_id)]
        except ValueError:
            raise LedgerError("unknown", _REFUSALS["unknown"]) from None

    async def _script(self, name: str, account_id: str, keys: Sequence[bytes], body: object) -> bytes:
        """Run a script on one account; its refusals become LedgerError."""
        partition = self._keys.partition_of_account(account_id)
        own = self._keys.by_partition[partition].account + account_id.encode()
        arguments = (account_id.encode(), wire.pack(body))
        sha = self._scripts[name].sha
        answer = await self._ask(
            name, partition, b"EVALSHA", sha, len(keys) + 1, own, *keys, *arguments, lane=hash(account_id), durable=True
        )
        word: bytes = answer
        if word.decode() in _REFUSALS:
            raise LedgerError(word.decode(), _REFUSALS[word.decode()])
        return word

    async def _ask(
        self, operation: str, partition: int, *command: bytes | str | int, lane: int = 0, durable: bool = False
    ) -> Any:
        future: asyncio.Future[Answer] = self._loop.create_future()
        packed = pack_command(command)
        expires = self._loop.time() + self._timeout_s
        self._send(packed, partial(resolve, future), operation, partition, lane, expires, durable=durable)
        return _checked(await future)

    def _send(
        self,
        command: bytes,
        callback: Any,
        operation: str,
        partition: int,
        lane: int,
        expires: float,
        durable: bool = True,
    ) -> None:
        wait_for = self._replicas if durable else 0
        if wait_for:
            command += self._wait
        self._nodes.route(Request(command, callback, operation, expires, partition, lane, wait_for))


def _checked(answer: Answer) -> Any:
    if isinstance(answer, LedgerUnavailable):
        raise answer
    if isinstance(answer, hiredis.ReplyError):
        raise LedgerUnavailable(f"Redis refused: {answer}")
    return answer


if TYPE_CHECKING:

    def _holds_the_contract(ledger: RedisLedger) -> tuple[ChargingLedger, AccountLedger]:
        return ledger, ledger
