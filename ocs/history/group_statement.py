"""The statement of a business group for a calendar month: all transactions and all use of its numbers while they were
in the group, net, VAT and gross (HOT-GRP-3). The page is made of these data.

Who was in the group, and when, is read from the events `group`. What a member's separate account paid (HOT-GRP-5) is
listed apart: it is the member's own money, and not in the sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson
from sqlalchemy import BigInteger, Connection, Text, cast, func, or_, select

from ocs.accounts.backend import Backend
from ocs.accounts.errors import RefusedError
from ocs.history.account_ids import AccountIds, all_ids
from ocs.history.queries import INTERNAL, Transaction, transaction
from ocs.history.schema import EVENTS, TRANSACTIONS, USAGE
from ocs.history.statement import MAX_TRANSACTIONS, SOLD, TooLargeError, UseSum
from ocs.values.identities import uid_of

MAX_NUMBERS = 10_000
"""Numbers of a group in one month; more are refused."""
ALWAYS = (0, 2**40)
OF_SEPARATE = ("topup", "package", "share", "pay_out", "terminated", "separate")
"""Kinds of events that move the credit of a separate account."""
Interval = tuple[int, int]
"""Unix seconds; the end is not included."""


@dataclass(frozen=True, slots=True)
class NumberMonth:
    """What one number did in the month."""

    account: str
    """Its newest id in the history."""
    intervals: tuple[Interval, ...]
    """When it was in the group."""
    transactions: Sequence[Transaction]
    use: Sequence[UseSum]
    separate: Sequence[Transaction]
    """Of the separate account: `micro_eur` as it moved that."""

    @property
    def sold(self) -> Mapping[int, tuple[int, int]]:
        """By rate of VAT in percent: (net, gross) of what was sold, use included."""
        sums: dict[int, tuple[int, int]] = {}
        lines: Iterable[tuple[int, int, int]] = (
            *((each.vat_percent, -each.net_micro_eur, -each.micro_eur) for each in self.transactions if _is_sale(each)),
            *((each.vat_percent, each.net_micro_eur, each.micro_eur) for each in self.use),
        )
        for percent, net, gross in lines:
            before = sums.get(percent, (0, 0))
            sums[percent] = before[0] + net, before[1] + gross
        return sums


@dataclass(slots=True)
class _Membership:
    ids: AccountIds
    """As far as they are known, newest first."""
    intervals: list[Interval] = field(default_factory=list)
    since: int | None = None


def _is_sale(each: Transaction) -> bool:
    return each.kind in SOLD


def group_month(
    connection: Connection,
    group_id: str,
    month: int,
    present: Sequence[AccountIds],
    month_of: Callable[[int], int],
) -> list[NumberMonth]:
    """By account. `present`: the numbers of the group now; `month_of`: Unix seconds → month. TooLargeError."""
    found = _memberships(connection, group_id, present)
    if len(found) > MAX_NUMBERS:
        raise TooLargeError(f"the group had more than {MAX_NUMBERS} numbers")
    numbers = [_number(connection, each, month) for each in found]
    return [each for each in numbers if _touches(each, month, month_of)]


def _touches(number: NumberMonth, month: int, month_of: Callable[[int], int]) -> bool:
    """Whether it was in the group in the month."""
    return any(
        month_of(begins) <= month and (ends >= ALWAYS[1] or month_of(ends) >= month)
        for begins, ends in (number.intervals)
    )


def _memberships(connection: Connection, group_id: str, present: Sequence[AccountIds]) -> list[_Membership]:
    query = (
        select(EVENTS.c.account, EVENTS.c.at, EVENTS.c.body)
        .where(EVENTS.c.kind == "group", cast(EVENTS.c.body, Text).contains(f'"{group_id}"', autoescape=True))
        .order_by(EVENTS.c.at, func.length(EVENTS.c.event_id), EVENTS.c.event_id)
    )
    by_uid: dict[str, _Membership] = {}
    for account, at, text in connection.execute(query):
        body = _body(text)
        if body.get("group") != group_id:
            continue
        known = by_uid.setdefault(uid_of(account), _Membership((account,)))
        known.ids = (account,)
        if body["state"] != "left" and known.since is None:
            known.since = at
        elif body["state"] == "left" and known.since is not None:
            known.intervals.append((known.since, at))
            known.since = None
    for ids in present:
        known = by_uid.setdefault(uid_of(ids[0]), _Membership(ids, since=0))
        known.ids = ids
    for known in by_uid.values():
        if known.since is not None:
            known.intervals.append((known.since, ALWAYS[1]))
    return sorted(by_uid.values(), key=lambda each: each.ids[0])


def _body(text: Any) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(text) if isinstance(text, str | bytes) else text
    return body


def _number(connection: Connection, member: _Membership, month: int) -> NumberMonth:
    accounts = all_ids(connection, member.ids)
    return NumberMonth(
        account=accounts[0],
        intervals=tuple(member.intervals),
        transactions=_transactions(connection, accounts, month, member.intervals),
        use=_use(connection, accounts, month, member.intervals),
        separate=_separate(connection, accounts, month, member.intervals),
    )


def _within(column: Any, intervals: Sequence[Interval]) -> Any:
    """A movement in the second in which the number leaves belongs to the group."""
    return or_(*(column.between(begins, ends) for begins, ends in intervals))


def _transactions(
    connection: Connection, accounts: Sequence[str], month: int, intervals: Sequence[Interval]
) -> list[Transaction]:
    columns = TRANSACTIONS.c
    query = (
        select(TRANSACTIONS)
        .where(columns.account.in_(accounts), columns.month == month, columns.kind.not_in(INTERNAL))
        .where(or_(columns.credit_in_micro_eur != 0, columns.debit_micro_eur != 0))
        .where(_within(columns.at, intervals))
        .order_by(columns.at, func.length(columns.event_id), columns.event_id)
        .limit(MAX_TRANSACTIONS + 1)
    )
    found = [_of_credit(transaction(row)) for row in connection.execute(query)]
    if len(found) > MAX_TRANSACTIONS:
        raise TooLargeError(f"a number has more than {MAX_TRANSACTIONS} transactions in the month")
    return found


def _of_credit(each: Transaction) -> Transaction:
    """Without what its separate account paid or got, which is listed apart."""
    return replace(each, net_micro_eur=each.micro_eur, separate_micro_eur=0) if each.separate_micro_eur else each


def _use(connection: Connection, accounts: Sequence[str], month: int, intervals: Sequence[Interval]) -> list[UseSum]:
    columns = USAGE.c
    by = columns.rate, columns.itemised, columns.vat_percent
    sums = [
        cast(func.sum(column), BigInteger) for column in (columns.used, columns.debit_micro_eur, columns.net_micro_eur)
    ]
    query = (
        select(*by, func.count(), *sums)
        .where(columns.account.in_(accounts), columns.month == month, columns.free.is_(False))
        .where(_within(columns.started_at, intervals))
        .group_by(*by)
        .order_by(*by)
    )
    return [UseSum(*row) for row in connection.execute(query)]


def _separate(
    connection: Connection, accounts: Sequence[str], month: int, intervals: Sequence[Interval]
) -> list[Transaction]:
    columns = EVENTS.c
    query = (
        select(columns.event_id, columns.at, columns.kind, columns.body)
        .where(columns.account.in_(accounts), columns.month == month, columns.kind.in_(OF_SEPARATE))
        .where(_within(columns.at, intervals))
        .order_by(columns.at, func.length(columns.event_id), columns.event_id)
        .limit(MAX_TRANSACTIONS + 1)
    )
    rows = [(row, _body(row.body)) for row in connection.execute(query)]
    if len(rows) > MAX_TRANSACTIONS:
        raise TooLargeError(f"a number has more than {MAX_TRANSACTIONS} events in the month")
    return [
        _of_separate(row.event_id, row.at, row.kind, body)
        for row, body in rows
        if body.get("separate_in_micro_eur") or body.get("separate_out_micro_eur")
    ]


def _of_separate(event_id: str, at: int, kind: str, body: Mapping[str, Any]) -> Transaction:
    came, went = body.get("separate_in_micro_eur", 0), body.get("separate_out_micro_eur", 0)
    net = body.get("net_micro_eur", went or came)
    return Transaction(
        position=(at, len(event_id), event_id),
        event_id=event_id,
        at=at,
        kind=kind,
        what=str(body.get("package", "")),
        reference=str(body.get("reference", "")),
        channel=str(body.get("channel", "")),
        by=str(body.get("by", "")),
        micro_eur=came - went,
        net_micro_eur=net if came else -net,
        vat_percent=body.get("vat_percent", 0),
        promotional_micro_eur=0,
        credit_micro_eur=0,
    )


@dataclass(frozen=True, slots=True)
class GroupStatement:
    """For people and programs."""

    group_id: str
    name: str
    month: int
    numbers: Sequence[tuple[str, NumberMonth]]
    """Each with its MSISDN; "" = its account is gone."""

    @property
    def sold(self) -> Mapping[int, tuple[int, int]]:
        """By rate of VAT in percent: (net, gross) of what was sold to all numbers."""
        sums: dict[int, tuple[int, int]] = {}
        for _, number in self.numbers:
            for percent, (net, gross) in number.sold.items():
                before = sums.get(percent, (0, 0))
                sums[percent] = before[0] + net, before[1] + gross
        return dict(sorted(sums.items()))


def check_is_over(month: int, current: int) -> None:
    """HOT-GRP-3: the statement of a month is there from the first day of the next one. RefusedError "month"."""
    if month >= current:
        year, number = divmod(month, 100)
        following = (year, number + 1) if number < 12 else (year + 1, 1)
        text = f"the statement of {year}-{number:02d} is there from {following[0]}-{following[1]:02d}-01 on (HOT-GRP-3)"
        raise RefusedError("month", text)


async def statement_of_group(history: GroupHistory, backend: Backend, group_id: str, month: int) -> GroupStatement:
    """UnknownError "group". RefusedError "month" (it is not over), "too_many"."""
    catalogue = backend.catalogue
    check_is_over(month, catalogue.when(backend.environment.now())["month"])
    state = await backend.groups.read(group_id)
    present = [view.ids for view in state.numbers]
    months = await history.group_statement(group_id, month, present, lambda at: catalogue.when(at)["month"])
    msisdns = {view.account_id: view.msisdn for view in state.numbers}
    numbers = []
    for each in months:
        msisdn = msisdns.get(each.account)
        if msisdn is None:
            located = await backend.ledger.locate(each.account)
            view = await backend.ledger.read(located, **backend.when()) if located is not None else None
            msisdn = view.msisdn if view is not None else ""
        numbers.append((msisdn, each))
    return GroupStatement(group_id, state.group.name, month, sorted(numbers, key=lambda pair: pair[0]))


class GroupHistory(Protocol):
    """The part of `ocs.history.service.History` that the statement needs."""

    async def group_statement(
        self, group_id: str, month: int, present: Sequence[AccountIds], month_of: Callable[[int], int]
    ) -> list[NumberMonth]: ...
