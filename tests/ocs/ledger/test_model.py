"""Model-based: whatever happens, the scripts in Redis do what the plain Python model does, and the invariants hold.

Both get the same operations: several sessions on few accounts, repetitions, numbers out of order, late and lost requests, expiry,
limits, bars, renewals, month changes. After each step: the same outcome, the same accounts, the same journal, no violation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ocs.ledger.audit import violations
from ocs.ledger.contract import (
    UNKNOWN_PLACE,
    Action,
    BucketTerms,
    ChargeOutcome,
    ChargeRequest,
    LedgerError,
    LedgerUnavailable,
    PackageTerms,
    RequestType,
    Restrict,
    ServiceCharge,
)
from ocs.ledger.redis_ledger import RedisLedger
from ocs.ledger.settings import LedgerSettings
from ocs.rating.price import compile_price, free_price
from ocs.rating.types import PriceTerms, Unit
from tests.conftest import RedisServer
from tests.ocs.ledger.model import ModelLedger

T = TypeVar("T")
START = 1_795_000_000
PARTITIONS = 4
PACKAGES = [
    PackageTerms(
        "SMALL",
        3_000_000,
        5_000,
        (BucketTerms("SMALL.data", "octets", 5_000_000), BucketTerms("SMALL.sms", "messages", 3)),
    ),
    PackageTerms(
        "BIG", 9_990_000, 9_000, (BucketTerms("BIG.data", "octets", None), BucketTerms("BIG.voice", "seconds", 600))
    ),
]
PRICES: list[tuple[str, PriceTerms, tuple[str, ...], int]] = [
    (
        "data",
        compile_price("data", unit=Unit.OCTETS, micro_eur=6_900, quantity=2**20, first=1024, next_=1024),
        ("SMALL.data", "BIG.data"),
        10_000_000,
    ),
    (
        "dear",
        compile_price(
            "dear", unit=Unit.OCTETS, micro_eur=5_120_007, quantity=2**20, first=102_400, next_=10_240, rounding="up"
        ),
        (),
        3_000_000,
    ),
    (
        "voice",
        compile_price("voice", unit=Unit.SECONDS, micro_eur=146_400, quantity=60, first=60, next_=1, rounding="down"),
        ("BIG.voice",),
        300,
    ),
    ("call", compile_price("call", unit=Unit.SECONDS, micro_eur=500_000, quantity=1, flat=True), (), 300),
    ("sms", compile_price("sms", unit=Unit.MESSAGES, micro_eur=79_300, quantity=1), ("SMALL.sms",), 2),
    ("incoming", free_price("incoming", Unit.SECONDS), (), 600),
]
ACCOUNTS = 3
SESSIONS = [f"pgw.example.org;1;{n}" for n in range(6)]
amounts = st.integers(0, 30_000_000)


class Loop:
    """An event loop that lives as long as the tests of one Redis."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self.servers = servers
        self.loop = asyncio.new_event_loop()
        ledger_settings = LedgerSettings(partitions=PARTITIONS, connections=1)
        self.ledger = self.run(RedisLedger.connect(servers[0].url, ledger_settings, packages=PACKAGES))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def flush(self) -> None:
        for server in self.servers:
            with redis.Redis(port=server.port) as client:
                client.flushall()

    def close(self) -> None:
        self.run(self.ledger.close())
        self.loop.close()


@contextmanager
def looping(servers: list[RedisServer]) -> Iterator[Loop]:
    loop = Loop(servers)
    try:
        yield loop
    finally:
        loop.close()


class Both(RuleBasedStateMachine):
    """Every rule does the same to the model and to Redis."""

    loop: Loop

    @initialize()
    def begin(self) -> None:
        self.loop.flush()
        self.model = ModelLedger()
        self.ledger = self.loop.ledger
        self.now, self.month = START, 202611
        self.ids: list[str] = []
        self.charged: list[ChargeRequest] = []
        self.read_upto = [0] * PARTITIONS
        self.journals: dict[str, list[dict[str, object]]] = {}

    # -- accounts

    @precondition(lambda self: len(self.ids) < ACCOUNTS)
    @rule(credit=st.integers(0, 210_000_000), package=st.sampled_from([None, *PACKAGES]), clash=st.booleans())
    def open(self, credit: int, package: PackageTerms | None, clash: bool) -> None:
        number = 0 if clash and self.ids else len(self.ids)
        msisdn, imsi = f"3866810000{number}", f"29340000000000{number}"

        async def real() -> str:
            return await self.ledger.open_account(
                msisdn=msisdn,
                imsi=imsi,
                credit_micro_eur=credit,
                package=package,
                entropy=len(self.ids) + 77,
                **self.when,
            )

        account_id = self._same(real(), None)
        if isinstance(account_id, LedgerError):
            with pytest.raises(LedgerError) as refused:
                self.model.open_account("x", msisdn=msisdn, imsi=imsi, credit=credit, package=package, **self.when)
            assert refused.value.code == account_id.code
        else:
            self.model.open_account(account_id, msisdn=msisdn, imsi=imsi, credit=credit, package=package, **self.when)
            self.ids.append(account_id)
            assert self.loop.run(self.ledger.find_subscriber("m" + msisdn)) == account_id
            assert self.loop.run(self.ledger.find_subscriber("i" + imsi)) == account_id

    @property
    def when(self) -> dict[str, int]:
        return {"now": self.now, "month": self.month}

    def _same(self, work: Coroutine[Any, Any, T], model: Any) -> T | LedgerError:
        """The real answer; equal to the model's if one is given."""
        try:
            real: T | LedgerError = self.loop.run(work)
        except LedgerError as error:
            real = error
        if model is not None:
            try:
                expected = model()
            except LedgerError as error:
                assert isinstance(real, LedgerError) and real.code == error.code
            else:
                assert real == expected
        return real

    @precondition(lambda self: self.ids)
    @rule(who=st.integers(0, 9), amount=st.integers(1, 60_000_000), reference=st.sampled_from("abcde"))
    def top_up(self, who: int, amount: int, reference: str) -> None:
        account_id = self.ids[who % len(self.ids)]
        rest: dict[str, Any] = {"reference": reference, "packages": PACKAGES, **self.when}
        self._same(
            self.ledger.top_up(account_id, amount_micro_eur=amount, **rest),
            lambda: self.model.top_up(account_id, amount=amount, **rest),
        )

    @precondition(lambda self: self.ids)
    @rule(who=st.integers(0, 9), package=st.sampled_from(PACKAGES), reference=st.sampled_from("abcde"))
    def activate(self, who: int, package: PackageTerms, reference: str) -> None:
        account_id = self.ids[who % len(self.ids)]
        rest: dict[str, Any] = {"package": package, "reference": reference, **self.when}
        self._same(
            self.ledger.activate_package(account_id, **rest), lambda: self.model.activate_package(account_id, **rest)
        )

    @precondition(lambda self: self.ids)
    @rule(
        who=st.integers(0, 9),
        limit=st.none() | st.integers(0, 20_000_000),
        bars=st.lists(st.sampled_from(["data", "roaming"]), unique=True),
        state=st.sampled_from(["active", "active", "blocked"]),
        what=st.sampled_from(["limit", "limit", "bars", "state"]),
    )
    def change(self, who: int, limit: int | None, bars: list[str], state: str, what: str) -> None:
        account_id = self.ids[who % len(self.ids)]
        if self.model.accounts[account_id].state == "terminated":
            return
        if what == "limit":
            self.loop.run(self.ledger.set_limit(account_id, limit_micro_eur=limit, **self.when))
            self.model.set_limit(account_id, limit=limit, **self.when)
        elif what == "bars":
            self.loop.run(self.ledger.set_bars(account_id, bars=bars, **self.when))
            self.model.set_bars(account_id, bars=bars, **self.when)
        else:
            self.loop.run(self.ledger.set_state(account_id, state=state, **self.when))
            self.model.set_state(account_id, state=state, **self.when)

    @precondition(lambda self: self.ids)
    @rule(who=st.integers(0, 9), sure=st.integers(0, 5))
    def terminate(self, who: int, sure: int) -> None:
        if sure:
            return
        account_id = self.ids[who % len(self.ids)]
        self.loop.run(self.ledger.terminate_account(account_id, **self.when))
        self.model.terminate(account_id, **self.when)
        msisdn = self.model.accounts[account_id].msisdn
        assert self.loop.run(self.ledger.find_subscriber("m" + msisdn)) != account_id

    @precondition(lambda self: self.ids)
    @rule(sid=st.sampled_from(SESSIONS), reason=st.sampled_from(["lost", "restarted"]))
    def release_session(self, sid: str, reason: str) -> None:
        place = SESSIONS.index(sid) % ACCOUNTS
        if place < len(self.ids):
            self._same(
                self.ledger.release_session(self.ids[place], sid, reason=reason, **self.when),
                lambda: self.model.release_session(self.ids[place], sid, reason=reason, **self.when),
            )

    # -- time

    @rule(seconds=st.sampled_from([1, 60, 1_000, 3_000, 6_000, 20_000, 8_000_000]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def next_month(self) -> None:
        self.month += 1

    @rule()
    def sweep_what_is_due(self) -> None:
        for partition in range(PARTITIONS):
            for account_id in self.loop.run(self.ledger.due(partition, now=self.now, count=100)):
                self._sweep(account_id)
        for account_id in self.ids:
            # Nothing overdue was left out of the due set.
            view = self.model.read(account_id, **self.when)
            assert not view.period_end or view.period_end > self.now
            assert all(session.deadline > self.now for session in view.sessions)

    def _sweep(self, account_id: str) -> None:
        self.loop.run(self.ledger.sweep(account_id, packages=PACKAGES, **self.when))
        self.model.sweep(account_id, packages=PACKAGES, **self.when)

    # -- charging

    @precondition(lambda self: self.ids)
    @rule(
        data=st.data(),
        sid=st.sampled_from(SESSIONS),
        kind=st.sampled_from("IUUUUTE"),
        jump=st.sampled_from([1, 1, 1, 2, 0, -1, 70]),
    )
    def charge(self, data: st.DataObject, sid: str, kind: str, jump: int) -> None:
        place = SESSIONS.index(sid) % ACCOUNTS  # a session belongs to one subscriber
        if place >= len(self.ids):
            return
        account_id = self.ids[place]
        numbers = [r.number for r in self.charged if r.session_id == sid]
        number = max(0, (max(numbers) if numbers else 0) + jump) if kind in "UT" else 0
        # Two services of a session may have one price: the second has a key of its own.
        services = data.draw(st.lists(st.sampled_from(PRICES), min_size=0 if kind in "IT" else 1, max_size=3))
        asked: list[ServiceCharge] = []
        for label, terms, buckets, usual in services:
            used = data.draw(st.integers(0, usual)) if kind in "UT" else 0
            after, either = data.draw(st.sampled_from([(0, 0)] * 3 + [(usual // 3, 0), (usual // 7, usual // 5)]))
            want = data.draw(st.none() | st.integers(1, usual)) if kind != "E" else data.draw(st.integers(1, usual))
            others = [price for name, price, _, _ in PRICES if name != "incoming" and (name == "call") == terms.flat]
            switch = data.draw(st.sampled_from([None] * 3 + others)) if kind in "IU" else None
            key = f"{label}{sum(other.label == label for other in asked)}"
            if len(services) == 1 and data.draw(st.integers(0, 9)) == 0:
                key = "same"
            bars = ("data",) if label == "data" else ()
            charge = ServiceCharge(
                key, label, terms, buckets, used, want, max(1, usual // 10), label == "incoming", bars, "29340"
            )
            if kind in "UT":
                charge.used_after, charge.used_either = after, either
                charge.max_rate = data.draw(st.sampled_from([0, 0, 1, usual // 100 + 1]))
            if kind in "IU":
                charge.restrict = data.draw(st.sampled_from([Restrict.REFUSE, Restrict.ONCE, Restrict.AGAIN]))
                charge.retry_want = data.draw(st.sampled_from([0, usual // 2]))
            if switch is not None:
                charge.price_after, charge.switch_at = switch, self.now + data.draw(st.sampled_from([0, 100, 5_000]))
            asked.append(charge)
        identity = data.draw(st.sampled_from(["", "", f"m3866810000{self.ids.index(account_id)}", "m38699"]))
        request = ChargeRequest(
            account_id,
            identity,
            sid,
            "pgw.example.org",
            "data",
            RequestType(kind),
            number,
            self.now,
            self.month,
            self.now + 4_000,
            tuple(asked),
            "example.net",
            data.draw(st.sampled_from(["", "dra.example.net"])),
            data.draw(st.sampled_from(["pgw.example.org"] * 6 + ["pgws", ""])),
            data.draw(st.sampled_from([0, 7, 7, 7, 8])),
            Action.CHECK if kind == "E" and data.draw(st.integers(0, 3)) == 0 else Action.DEBIT,
            place=data.draw(st.sampled_from(["", "home", "home", "abroad"])),
            assumed=data.draw(st.sampled_from([""] * 6 + ["home", "home", UNKNOWN_PLACE])) if kind in "UT" else "",
        )
        self._charge(request)

    @precondition(lambda self: any(request.type is RequestType.EVENT for request in self.charged))
    @rule(
        which=st.integers(0, 1_000_000),
        number=st.integers(1, 4),
        want=st.none() | st.integers(1, 300),
        elsewhere=st.booleans(),
        same_session=st.booleans(),
    )
    def refund(self, which: int, number: int, want: int | None, elsewhere: bool, same_session: bool) -> None:
        debits = [request for request in self.charged if request.type is RequestType.EVENT]
        debit = debits[which % len(debits)]
        account_id = self.ids[which % len(self.ids)] if elsewhere else debit.account_id
        services = tuple(
            ServiceCharge(s.key, s.label, s.price, (), 0, want, 1)
            for s in debit.services[: None if same_session else 1]
        )
        request = ChargeRequest(
            account_id,
            "",
            debit.session_id if same_session and not elsewhere else f"{debit.session_id};refund;{account_id}",
            "pgw.example.org",
            "data",
            RequestType.EVENT,
            number,
            self.now,
            self.month,
            self.now,
            services,
            action=Action.REFUND,
            refund_of=(debit.session_id, debit.number),
        )
        assert self._ask(request) == self.model.charge(request)

    def _charge(self, request: ChargeRequest) -> None:
        real = self._ask(request)
        expected = self.model.charge(request)
        if (expected.code, expected.reason) == (0, "sweep"):
            # The ledger renews the package first, then charges.
            self.model.sweep(request.account_id, packages=PACKAGES, now=request.now, month=request.month)
            expected = self.model.charge(request)
        assert real == expected
        self.charged.append(request)

    def _ask(self, request: ChargeRequest) -> ChargeOutcome:
        async def ask() -> ChargeOutcome | LedgerUnavailable:
            future: asyncio.Future[ChargeOutcome | LedgerUnavailable] = asyncio.get_running_loop().create_future()
            self.ledger.charge(request, future.set_result)
            return await future

        outcome = self.loop.run(ask())
        assert isinstance(outcome, ChargeOutcome)
        return outcome

    @precondition(lambda self: self.charged)
    @rule(which=st.integers(0, 1_000_000))
    def repeat(self, which: int) -> None:
        """A repetition gets the same outcome and changes nothing (invariant 4); one that was refused is tried as new."""
        request = self.charged[which % len(self.charged)]
        before = [self.model.read(account_id, **self.when) for account_id in self.ids]
        real, expected = self._ask(request), self.model.charge(request)
        if expected.code == 0 and expected.reason == "sweep":
            self.model.sweep(request.account_id, packages=PACKAGES, now=request.now, month=request.month)
            expected = self.model.charge(request)
        assert real == expected
        if real.duplicate:
            assert before == [self.model.read(account_id, **self.when) for account_id in self.ids]

    # -- what must hold after every step

    @invariant()
    def same_accounts_and_no_violation(self) -> None:
        for account_id in getattr(self, "ids", []):
            real = self.loop.run(self.ledger.read(account_id, **self.when))
            assert real == self.model.read(account_id, **self.when)
            assert real is not None and list(violations(real)) == []

    @invariant()
    def same_journal_and_it_explains_every_balance(self) -> None:
        if not hasattr(self, "ids"):
            return
        for partition in range(PARTITIONS):
            for event in self.loop.run(self.ledger.outbox_read(partition, after=self.read_upto[partition], count=1000)):
                assert event.sequence == self.read_upto[partition] + 1, "sequence numbers have no gaps"
                self.read_upto[partition] = event.sequence
                self.journals.setdefault(str(event.body["a"]), []).append(event.body)
        for account_id in self.ids:
            journal = self.journals[account_id]
            assert journal == [event for event in self.model.events if event["a"] == account_id]
            movements = sum(int(str(e.get("credit_in", 0))) - int(str(e.get("debit", 0))) for e in journal)
            assert movements == self.model.accounts[account_id].credit  # invariant 5


def check(servers: list[RedisServer], examples: int, steps: int) -> None:
    with looping(servers) as loop:
        machine = type("BothOnThis", (Both,), {"loop": loop})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                print_blob=True,
                phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_scripts_do_what_the_model_does_on_redis_7(redis_7: RedisServer) -> None:
    check([redis_7], examples=120, steps=40)


def test_scripts_do_what_the_model_does_on_redis_6(redis_6: RedisServer) -> None:
    check([redis_6], examples=25, steps=30)


def test_scripts_do_what_the_model_does_on_a_cluster(redis_cluster: list[RedisServer]) -> None:
    check(redis_cluster, examples=25, steps=30)
