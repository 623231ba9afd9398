"""Model-based: whatever happens, the scripts in Redis do what the plain Python model does, and the invariants hold.

Both get the same operations of a random walk (walk.py): several sessions on few accounts, repetitions, numbers out of order, late and
lost requests, expiry, limits, bars, renewals, month changes. After each step: the same outcome, the same accounts, the same journal, no
violation. In the end, the walks must have met everything they are for (occurred.py).

The walks are the same in every run. OCS_MODEL_EXAMPLES=2000 walks so many others, by another seed each time (on redis_7).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.control import should_note
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ocs.ledger.audit import violations
from ocs.ledger.contract import (
    AccountView,
    ChargeOutcome,
    ChargeRequest,
    LedgerError,
    LedgerUnavailable,
    OutboxEvent,
    PackageTerms,
)
from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.rating.types import PriceTerms
from tests.conftest import RedisServer
from tests.ocs.ledger.catalogue import PACKAGES, PARTITIONS
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import Account, Event
from tests.ocs.ledger.occurred import Occurred
from tests.ocs.ledger.walk import STEP_BYTES, Choices, Walk

T = TypeVar("T")
EXAMPLES = int(os.environ.get("OCS_MODEL_EXAMPLES", "0"))
PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink)
step_bytes = st.binary(min_size=STEP_BYTES, max_size=STEP_BYTES)


class Loop:
    """An event loop that lives as long as the tests of one Redis."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.clients = [redis.Redis(port=server.port) for server in servers]
        self.loop = asyncio.new_event_loop()
        ledger_settings = LedgerSettings(partitions=PARTITIONS, connections=1)
        self.ledger = self.run(RedisLedger.connect(servers[0].url, ledger_settings))
        for client in self.clients:  # nothing here is to outlive a crash
            client.config_set("appendfsync", "no")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def flush(self) -> None:
        for client in self.clients:
            client.flushall()

    def close(self) -> None:
        self.run(self.ledger.close())
        self.loop.close()
        for client in self.clients:
            client.config_set("appendfsync", "always")
            client.close()


@contextmanager
def looping(servers: list[RedisServer]) -> Iterator[Loop]:
    loop = Loop(servers)
    try:
        yield loop
    finally:
        loop.close()


class SideBySide:
    """Does the same to the model and to Redis, and compares: `walk.Ledgers`."""

    def __init__(self, loop: Loop, occurred: Occurred) -> None:
        loop.flush()
        self.loop, self.ledger, self.occurred = loop, loop.ledger, occurred
        self.model = ModelLedger()
        self.walk = Walk(self)
        self._compared = 0
        self._duplicate = False
        self._read_upto = [0] * PARTITIONS
        self._moved: dict[str, int] = {}
        self._touched: set[str] = set()

    @property
    def when(self) -> dict[str, int]:
        return {"now": self.walk.now, "month": self.walk.month}

    # -- accounts

    def open(self, msisdn: str, imsi: str, credit: int, package: PackageTerms | None) -> str | None:
        note(f"open {msisdn=} {imsi=} {credit=} {package=} {self.when}")
        rest: dict[str, Any] = {"msisdn": msisdn, "imsi": imsi, "package": package, **self.when}
        entropy = len(self.model.accounts) + 77
        try:
            account_id = self.loop.run(self.ledger.open_account(credit_micro_eur=credit, entropy=entropy, **rest))
        except LedgerError as error:
            with pytest.raises(LedgerError) as refused:
                self.model.open_account("x", credit=credit, **rest)
            assert refused.value.code == error.code
            self.occurred[f"open refused: {error.code}"] += 1
            return None
        self.model.open_account(account_id, credit=credit, **rest)
        self._touched.add(account_id)
        for identity in ("m" + msisdn, "i" + imsi):
            assert self.loop.run(self.ledger.find_subscriber(identity)) == account_id
        return account_id

    def top_up(self, account_id: str, amount: int, reference: str) -> None:
        rest: dict[str, Any] = {"reference": reference, "packages": PACKAGES, **self.when}
        self._same("top_up", account_id, rest, {"amount_micro_eur": amount}, {"amount": amount})

    def activate(self, account_id: str, package: PackageTerms, reference: str) -> None:
        self._same("activate_package", account_id, {"package": package, "reference": reference, **self.when})

    def change(self, account_id: str, what: str, value: Any) -> None:
        name = "limit_micro_eur" if what == "limit" else what
        self._same(f"set_{what}", account_id, self.when, {name: value}, {what: value})

    def release(self, account_id: str, sid: str, reason: str) -> None:
        self._same("release_session", account_id, {"session_id": sid, "reason": reason, **self.when})

    def terminate(self, account_id: str) -> None:
        self._same("terminate_account", account_id, self.when)
        account = self.model.accounts[account_id]
        for identity in ("m" + account.msisdn, "i" + account.imsi):
            assert self.loop.run(self.ledger.find_subscriber(identity)) is None

    def sweep_due(self) -> None:
        for partition in range(PARTITIONS):
            for account_id in self.loop.run(self.ledger.due(partition, now=self.walk.now, count=100)):
                self._same("sweep", account_id, {"packages": PACKAGES, **self.when})
        for account in self.model.accounts.values():
            # Nothing overdue was left out of the due set.
            assert not account.period_end or account.period_end > self.walk.now
            assert all(session.deadline > self.walk.now for session in account.sessions.values())

    def _same(
        self,
        operation: str,
        account_id: str,
        shared: dict[str, Any],
        real_only: dict[str, Any] | None = None,
        model_only: dict[str, Any] | None = None,
    ) -> None:
        note(f"{operation} {account_id} {model_only} {shared}")
        before = _as_it_is(self.model.accounts[account_id])
        self._touched.add(account_id)
        journalled = len(self.model.events)
        name = {"terminate_account": "terminate"}.get(operation, operation)
        try:
            expected = getattr(self.model, name)(account_id, **shared, **(model_only or {}))
        except LedgerError as error:
            expected = error.code
        try:
            real = self.loop.run(getattr(self.ledger, operation)(account_id, **shared, **(real_only or {})))
        except LedgerError as error:
            real = error.code
        assert real == expected
        self.occurred[f"{operation} {real}"] += 1
        self.occurred.journalled(self.model.events[journalled:], before, self.model.accounts[account_id])

    # -- charging

    def charge(self, request: ChargeRequest) -> bool:
        if should_note():
            note(plainly(request))
        self._touched.add(request.account_id)
        account = self.model.accounts[request.account_id]
        before, journalled = _as_it_is(account, request.session_id), len(self.model.events)
        outcome = self._charge(request)
        self.occurred.charged(request, outcome, before, self.model.events[journalled:])
        self.occurred.journalled(self.model.events[journalled:], before, account)
        return outcome.code == 2001 and not outcome.duplicate

    def repeat(self, request: ChargeRequest) -> None:
        """A repetition gets the same outcome and changes nothing (invariant 4); one that was refused is tried as new."""
        before = self._views(self.model.accounts)
        self.charge(request)
        if self._duplicate:
            assert before == self._views(self.model.accounts)

    def _charge(self, request: ChargeRequest) -> ChargeOutcome:
        async def ask() -> ChargeOutcome | LedgerUnavailable:
            future: asyncio.Future[ChargeOutcome | LedgerUnavailable] = asyncio.get_running_loop().create_future()
            self.ledger.charge(request, future.set_result)
            return await future

        real, expected = self.loop.run(ask()), self.model.charge(request)
        if (expected.code, expected.reason) == (0, "sweep"):
            # The ledger renews the package first, then charges.
            self.model.sweep(request.account_id, now=request.now, month=request.month)
            expected = self.model.charge(request)
            self.occurred["package swept by a charge"] += 1
        assert real == expected
        self._duplicate = expected.duplicate
        return expected

    # -- what must hold after every step

    def _views(self, ids: Iterable[str]) -> list[AccountView]:
        return [self.model.read(account_id, **self.when) for account_id in ids]

    def compare(self) -> None:
        """The same accounts (those that something was done with), no violation, the same journal, and it explains every balance."""
        ids, self._touched = sorted(self._touched), set()

        partitions = sorted({int(account_id[:2]) for account_id in ids})

        async def ask() -> tuple[list[AccountView | None], list[list[OutboxEvent]]]:
            reads = [self.ledger.read(account_id, **self.when) for account_id in ids]
            news = [self.ledger.outbox_read(each, after=self._read_upto[each], count=1000) for each in partitions]
            return await asyncio.gather(*reads), await asyncio.gather(*news)

        reals, outboxes = self.loop.run(ask())
        for real, expected in zip(reals, self._views(ids), strict=True):
            assert real == expected
            assert list(violations(expected)) == []
        found: dict[str, list[Event]] = {}
        for partition, events in zip(partitions, outboxes, strict=True):
            for event in events:
                assert event.sequence == self._read_upto[partition] + 1, "sequence numbers have no gaps"
                self._read_upto[partition] = event.sequence
                found.setdefault(str(event.body["a"]), []).append(event.body)
        expected_events: dict[str, list[Event]] = {}
        for each in self.model.events[self._compared :]:
            expected_events.setdefault(str(each["a"]), []).append(each)
        self._compared = len(self.model.events)
        assert found == expected_events
        for account_id, news in found.items():
            moved = sum(int(str(e.get("credit_in", 0))) - int(str(e.get("debit", 0))) for e in news)
            self._moved[account_id] = self._moved.get(account_id, 0) + moved
            assert self._moved[account_id] == self.model.accounts[account_id].credit  # invariant 5


def plainly(value: Any) -> str:
    """A request without what it leaves at the default."""
    if isinstance(value, tuple):
        return f"({', '.join(plainly(each) for each in value)})"
    if isinstance(value, PriceTerms):
        return value.id
    if not is_dataclass(value):
        return repr(value)
    given = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
    return f"{type(value).__name__}({', '.join(f'{name}={plainly(each)}' for name, each in given.items())})"


def _as_it_is(account: Account, sid: str = "") -> Account:
    """A copy, as deep as `occurred` looks."""
    sessions = {other: replace(session) for other, session in account.sessions.items()}
    if sid in sessions:
        sessions[sid].services = {key: replace(service) for key, service in sessions[sid].services.items()}
    return replace(account, sessions=sessions)


class Both(RuleBasedStateMachine):
    """A walk, one step after the other."""

    loop: Loop
    occurred: Occurred

    @initialize(data=step_bytes)
    def begin(self, data: bytes) -> None:
        self.sides = SideBySide(self.loop, self.occurred)
        self.sides.walk.begin(Choices(data))
        self.sides.compare()

    @rule(data=step_bytes)
    def step(self, data: bytes) -> None:
        self.sides.walk.step(Choices(data))
        self.sides.compare()
        self.occurred["steps"] += 1


def check(servers: list[RedisServer], examples: int, steps: int = 80, **more: Any) -> Occurred:
    occurred = Occurred()
    more = {"derandomize": True, "phases": PHASES, **more}
    with looping(servers) as loop:
        machine = type("BothOnThis", (Both,), {"loop": loop, "occurred": occurred})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                **more,
            ),
        )
    return occurred


def test_scripts_do_what_the_model_does_on_redis_7(redis_7: RedisServer) -> None:
    if EXAMPLES:
        check([redis_7], examples=EXAMPLES, derandomize=False, print_blob=True)
    else:
        assert check([redis_7], examples=240).missing() == {}


def test_scripts_do_what_the_model_does_on_redis_6(redis_6: RedisServer) -> None:
    check([redis_6], examples=40)


def test_scripts_do_what_the_model_does_on_a_cluster(redis_cluster: list[RedisServer]) -> None:
    check(redis_cluster, examples=40)
