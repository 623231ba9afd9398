"""Compares the model with a second ledger: the same operations on both; after each step the same result, and the
invariants.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, fields, is_dataclass, replace
from typing import Any, Protocol

from ocs.ledger.contract.charging import ChargeOutcome, ChargeRequest, Retry
from ocs.ledger.contract.errors import LedgerError
from ocs.ledger.contract.views import AccountView, PoolView
from ocs.ledger.redis.keys import Keys
from ocs.values.products import PackageTerms
from ocs.values.use import PriceTerms
from tests.ocs.ledger import model_agenda
from tests.ocs.ledger.catalogue import PARTITIONS
from tests.ocs.ledger.model import ModelLedger
from tests.ocs.ledger.model_state import Account, Event, partition_of
from tests.ocs.ledger.occurred import Before, Occurred, before
from tests.ocs.ledger.walk import Walk

_entropies = itertools.count(78)
"""Every walk has accounts of its own, because the client caches what it knows of an account."""


class Other(Protocol):
    """The second ledger, such as Redis, called synchronously. A refusal is a LedgerError."""

    follows: bool
    """It handles `Retry.POOL` and `Retry.MOVED` itself."""

    def open(self, **terms: Any) -> str: ...
    def do(self, operation: str, account_id: str, *args: Any, **more: Any) -> Any: ...
    def set_terms(self, products: Mapping[str, Sequence[tuple[int, PackageTerms]]]) -> None: ...
    def charge(self, request: ChargeRequest) -> ChargeOutcome: ...
    def due(self, now: int) -> list[str]: ...
    def found(self, identity: str) -> str | None: ...
    def look(
        self, ids: list[str], pools: list[tuple[str, str]], now: int, month: int
    ) -> tuple[list[AccountView | None], list[PoolView | None]]:
        """Views of accounts and of pools. A pool is named by an account of its partition and its id."""

    def news(self, partitions: Iterable[int]) -> list[Event]:
        """Events of these partitions that were journalled since the last call."""


class Difference(AssertionError):
    """The two ledgers differ, or an invariant is broken."""


def same(what: str, real: Any, expected: Any) -> None:
    if real != expected:
        raise Difference(f"{what}:\n  is       {differing(real, expected)}\n  expected {differing(expected, real)}")


class Sides:
    """Applies each operation to both ledgers (`walk_asking.Ledgers`). Without `other`: to the model alone."""

    def __init__(self, other: Other | None, occurred: Occurred, note: Callable[[str], None] | None = None) -> None:
        self.other, self.occurred, self.note = other, occurred, note
        self.model = ModelLedger()
        self.walk = Walk(self)
        self._keys = Keys(PARTITIONS)
        self._compared = 0
        self._touched: set[str] = set()
        self._moved: Counter[str] = Counter()
        self._promotional: Counter[str] = Counter()
        self._separate: Counter[str] = Counter()

    @property
    def when(self) -> dict[str, int]:
        return {"now": self.walk.now, "month": self.walk.month}

    # -- accounts

    def open(
        self, msisdn: str, imsi: str, credit: int, package: PackageTerms | None, unused: bool = False, **more: Any
    ) -> str | None:
        entropy = next(_entropies)
        rest: dict[str, Any] = {"msisdn": msisdn, "imsi": imsi, "package": package, "entropy": entropy, **self.when}
        rest |= {"unused": unused, **more}
        self._say("open_account", credit_micro_eur=credit, **rest)
        account_id = self._keys.new_account_id(msisdn, entropy)
        real: str = ""
        if self.other is not None:
            real = _result(lambda: self.other.open(credit_micro_eur=credit, **rest))
            account_id = real if "-" in real else account_id
        expected = _result(lambda: self.model.open_account(credit_micro_eur=credit, account_id=account_id, **rest))
        if self.other is not None:
            same("open_account", real, expected)
        if expected != account_id:
            self.occurred[f"open refused: {expected}"] += 1
            return None
        self._touched.add(account_id)
        self._found(account_id)
        return account_id

    def _identities(self, account_id: str) -> set[str]:
        account = self.model.accounts.get(account_id)
        return {"m" + account.msisdn, "i" + account.imsi} if account is not None else set()

    def _found(self, account_id: str) -> None:
        self._find(self._identities(account_id), account_id)

    def gone_for_good(self, account_id: str) -> None:
        self._find(self._identities(account_id), None)

    def _find(self, identities: Iterable[str], account_id: str | None) -> None:
        if self.other is not None:
            for identity in sorted(identities):
                same(f"find_subscriber {identity}", self.other.found(identity), account_id)

    def do(self, operation: str, account_id: str, *args: Any, **more: Any) -> Any:
        when = {"now": self.walk.now} if operation == "open_pool" else self.when
        self._say(operation, account_id, *args, **more, **when)
        was, journalled = before(self.model, account_id, self.walk.now), len(self.model.events)
        identities = self._identities(account_id)
        self._touched.add(account_id)
        naming: dict[str, Any] = {}
        real: Any = None
        if self.other is not None:
            real = _result(lambda: self.other.do(operation, account_id, *args, **more, **when))
            if operation == "move_account" and isinstance(real, str) and "-" in real:
                naming["new_id"] = real
        expected = _result(lambda: getattr(self.model, operation)(account_id, *args, **more, **when, **naming))
        if self.other is not None:
            same(f"{operation} of {account_id}", real, expected)
        self.occurred.did(operation, expected, more)
        self._touched.update(str(each["a"]) for each in self.model.events[journalled:])
        if operation == "move_account" and isinstance(expected, str) and expected in self.model.accounts:
            self._touched.add(expected)
            self._found(expected)
        if operation in ("change_imsi", "change_msisdn") and expected is True:
            self._found(account_id)
            self._find(identities - self._identities(account_id), None)
        self.occurred.journalled(self.model, account_id, was, self.model.events[journalled:])
        return expected

    def set_terms(self, products: Mapping[str, Sequence[tuple[int, PackageTerms]]]) -> None:
        self._say("set_terms", products)
        self.model.set_terms(products)
        if self.other is not None:
            self.other.set_terms(products)

    def sweep_due(self) -> None:
        now = self.walk.now
        due = [
            account_id
            for account_id, account in sorted(self.model.accounts.items())
            if account.state != "terminated" and (model_agenda.earliest(account) or now + 1) <= now
        ]
        if self.other is not None:
            due = sorted({*due, *(each for each in self.other.due(now) if each in self.model.accounts)})
        for account_id in due:
            self.do("sweep", account_id)
        if self.other is not None:
            same("still due after all were swept", self.other.due(now), [])

    # -- charging

    def charge(self, request: ChargeRequest) -> bool:
        outcome = self._charge(request)
        return outcome.code == 2001 and not outcome.duplicate

    def repeat(self, request: ChargeRequest) -> None:
        """A repetition has the same outcome and changes nothing (invariant 4). A refused request is evaluated anew."""
        journalled, views = len(self.model.events), self._views(self.model.accounts)
        outcome = self._charge(request)
        if outcome.duplicate:
            same("a repetition changed something", self._views(self.model.accounts), views)
            same("a repetition was journalled", len(self.model.events), journalled)

    def _charge(self, request: ChargeRequest) -> ChargeOutcome:
        if self.note is not None:
            self.note(plainly(request))
        was = before(self.model, request.account_id, request.now, request.session_id)
        journalled = len(self.model.events)
        self._touched.add(request.account_id)
        real = self.other.charge(replace(request)) if self.other is not None else None
        expected = self.model.charge(request)
        if self.other is not None and self.other.follows:
            expected = self._followed(request, expected, was)
        if real is not None:
            same("outcome", _comparable(real, request), _comparable(expected, request))
        events = self.model.events[journalled:]
        self.occurred.charged(request, expected, was, events)
        self.occurred.journalled(self.model, request.account_id, was, events)
        return expected

    def _followed(self, request: ChargeRequest, outcome: ChargeOutcome, was: Before | None) -> ChargeOutcome:
        """Retries with another pool or account id, as the ledger's client does."""
        while outcome.retry in (Retry.POOL, Retry.MOVED):
            self.occurred.charged(request, outcome, was, ())
            moved = outcome.retry is Retry.MOVED
            request = replace(request, account_id=outcome.place) if moved else replace(request, pool=outcome.place)
            self._touched.add(request.account_id)
            outcome = self.model.charge(request)
        return outcome

    def _say(self, operation: str, *args: Any, **more: Any) -> None:
        if self.note is not None:
            named = [f"{name}={plainly(value)}" for name, value in more.items()]
            self.note(f"{operation}({', '.join([*map(repr, args), *named])})")

    # -- what must hold after every step

    def _views(self, ids: Iterable[str]) -> list[AccountView | None]:
        return [self.model.read(account_id, **self.when) for account_id in ids]

    def compare(self) -> None:
        """Checks all accounts and pools that were used: equal views, no violation, and a journal that explains every
        balance.
        """
        ids, self._touched = sorted(self._touched), set()
        news = self.model.events[self._compared :]
        self._compared = len(self.model.events)
        for account_id in ids:
            account = self.model.accounts.get(account_id)
            for violation in violations(self.model, account_id, account) if account is not None else ():
                raise Difference(f"{account_id}: {violation}")
        for event in news:
            account_id = str(event["a"])
            self._moved[account_id] += int(str(event.get("credit_in", 0))) - int(str(event.get("debit", 0)))
            self._separate[account_id] += int(str(event.get("separate_in", 0))) - int(str(event.get("separate_out", 0)))
            promotional = int(str(event.get("promo", 0)))
            self._promotional[account_id] += promotional if event.get("credit_in") else -promotional
        for account_id in ids:
            known = self.model.accounts.get(account_id)
            same("Σ events", self._moved[account_id], known.credit if known is not None else 0)
            same("Σ separate", self._separate[account_id], known.separate if known is not None else 0)
            same("Σ promotional", self._promotional[account_id], known.promotional if known is not None else 0)
        if self.other is not None and ids:
            self._compare_with(self.other, ids, news)

    def _compare_with(self, other: Other, ids: list[str], news: list[Event]) -> None:
        partitions = {partition_of(account_id) for account_id in ids}
        by_partition = {partition_of(account_id): account_id for account_id in ids}
        pools = [(by_partition[at], name) for at, name in self.model.pools if at in partitions]
        views, pool_views = other.look(ids, pools, **self.when)
        for account_id, real, expected in zip(ids, views, self._views(ids), strict=True):
            same(f"account {account_id}", canonical(real), canonical(expected))
        for (account_id, name), real_pool in zip(pools, pool_views, strict=True):
            same(f"pool {name}", _pool(real_pool), _pool(self.model.read_pool(account_id, name)))
        found: dict[str, list[Event]] = {}
        for event in other.news(sorted(int(at) for at in partitions)):
            found.setdefault(str(event["a"]), []).append(tidy(event))
        expected_events: dict[str, list[Event]] = {}
        for event in news:
            expected_events.setdefault(str(event["a"]), []).append(tidy(event))
        same("journal", found, expected_events)


def _result(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except LedgerError as error:
        return error.code


# -- invariants


def violations(model: ModelLedger, account_id: str, a: Account) -> Iterator[str]:
    """Broken promises (1 to 3 of the contract) and exceeded bounds on one account of the model."""
    if a.paid_in + a.received != a.credit + a.separate + a.spent + a.refunded + a.expired + a.sent:
        yield f"paid in {a.paid_in}, received {a.received}, explained otherwise: {a}"
    if a.sent < sum(each.amount_micro_eur for each in a.transfers) or min(a.separate, a.received) < 0:
        yield f"sent {a.sent}, received {a.received}, separate {a.separate}, in transit {a.transfers}"
    if not 0 <= a.promotional <= a.credit:
        yield f"of credit {a.credit}, {a.promotional} is promotional"
    if min(a.credit, a.held, a.credit - a.held, a.spent, a.expired) < 0:
        yield f"credit {a.credit}, held {a.held}, spent {a.spent}, expired {a.expired}"
    legs = [leg for session in a.sessions.values() for leg in session.legs()]
    if a.held != sum(leg.held_money for leg in legs):
        yield f"{a.held} micro-EUR are held, sessions reserve {sum(leg.held_money for leg in legs)}"
    holds: Counter[tuple[str, int]] = Counter()
    amounts: Counter[str] = Counter()
    for leg in legs:
        holds.update({(hold.pool, hold.instance): 0 for hold in leg.held_units})
        for hold in leg.held_units:
            holds[hold.pool, hold.instance] += hold.units
        amounts.update(leg.held_counters)
    for bucket in a.buckets:
        if bucket.held != holds.pop(("", bucket.instance), 0) or bucket.held < 0:
            yield f"bucket {bucket} is held otherwise by sessions"
        if bucket.left is not None and bucket.left < bucket.held:
            yield f"bucket {bucket} holds more than it has"
    pool = model.pool_of(account_id)
    for bucket in pool.buckets if pool is not None else ():
        if pool is not None and bucket.by.get(account_id, 0) != holds.pop((pool.id, bucket.instance), 0):
            yield f"bucket {bucket} of the pool is held otherwise by sessions"
        if bucket.held != sum(bucket.by.values()) or (bucket.left is not None and bucket.left < bucket.held):
            yield f"bucket {bucket} of the pool holds what nobody holds, or more than it has"
    if +holds:
        yield f"sessions hold {holds} of buckets that are not there"
    for counter in a.counters:
        if counter.held != amounts[counter.id] or counter.held < 0 or counter.value < 0:
            yield f"counter {counter}, sessions hold {amounts[counter.id]}"
    if any(service.granted for session in a.closed.values() for service in session.services.values()):
        yield "a tombstone has a grant"
    if any(s.released and any(leg.held_money or leg.held_units for leg in s.legs()) for s in a.sessions.values()):
        yield "a session that was given up holds something"
    if sum(s.released for s in a.sessions.values()) > 8:
        yield "too many sessions given up"


# -- what is compared


def _comparable(outcome: ChargeOutcome, request: ChargeRequest) -> ChargeOutcome:
    """The outcome without the reasons of services that asked for nothing."""
    wanted = {each.key: each.want for each in request.services}
    services = tuple(
        replace(each, reason="" if wanted.get(each.key) == 0 and each.code == 2001 else each.reason)
        for each in outcome.services
    )
    return replace(outcome, services=services)


def canonical(view: AccountView | None) -> AccountView | None:
    """The view without what the contract leaves open: the order of counters and holds, and the layout's version."""
    if view is None:
        return None
    sessions = tuple(
        replace(
            session,
            reservations=tuple(
                replace(
                    each,
                    held_units=_added_up(each.held_units),
                    held_counters=_added_up(each.held_counters),
                    pool_units=_added_up(each.pool_units),
                )
                for each in session.reservations
            ),
        )
        for session in view.sessions
    )
    counters = tuple(sorted(view.counters, key=lambda each: each.id))
    return replace(view, sessions=sessions, counters=counters, version=0)


def _pool(view: PoolView | None) -> PoolView | None:
    return None if view is None else replace(view, holds=tuple(sorted(view.holds, key=astuple)))


def _added_up(amounts: Iterable[tuple[Any, int]]) -> Any:
    total: Counter[Any] = Counter()
    for name, amount in amounts:
        total[name] += amount
    return tuple(sorted((name, amount) for name, amount in total.items() if amount))


def tidy(event: Event) -> Event:
    """An event whose units are added up by bucket."""
    lines = event.get("svc")
    if not isinstance(lines, list):
        return event
    return {**event, "svc": [{**line, "units": _added_up(map(tuple, line["units"]))} for line in lines]}


def differing(value: Any, other: Any) -> str:
    """Text of a value; of a composite, only the parts that differ from the other value."""
    if is_dataclass(value) and type(value) is type(other):
        parts = [
            f"{f.name}={differing(getattr(value, f.name), getattr(other, f.name))}"
            for f in fields(value)
            if getattr(value, f.name) != getattr(other, f.name)
        ]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple | list) and isinstance(other, tuple | list) and len(value) == len(other):
        parts = [
            f"[{n}] {differing(a, b)}" for n, (a, b) in enumerate(zip(value, other, strict=True)) if a != b
        ]  # fmt: skip
        return ", ".join(parts)
    if isinstance(value, dict) and isinstance(other, dict) and value.keys() == other.keys():
        return ", ".join(
            f"{name}: {differing(value[name], other[name])}" for name in value if value[name] != other[name]
        )
    return repr(value)


def plainly(value: Any) -> str:
    """Text of a request, without fields that have their default."""
    if isinstance(value, tuple):
        return f"({', '.join(plainly(each) for each in value)})"
    if isinstance(value, PriceTerms):
        return value.id
    if isinstance(value, PackageTerms):
        return value.id
    if not is_dataclass(value):
        return repr(value)
    given = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != f.default}
    return f"{type(value).__name__}({', '.join(f'{name}={plainly(each)}' for name, each in given.items())})"
