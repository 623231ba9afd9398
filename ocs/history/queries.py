"""What people look up: itemised use, transactions, and what they are summed up to (`ocs.history.statement`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, Text, and_, bindparam, cast, func, or_, select, tuple_

from ocs.history.periods import Period, period_starts
from ocs.history.schema import PERIODS, TRANSACTIONS, USAGE

INTERNAL = ("moved_in", "moved_out")
"""Kinds of transactions between the partitions of the ledger: no statement shows them."""
Position = tuple[int, int, str]
"""Where a page ends: (at, order, id). What follows it comes on the next one."""


@dataclass(frozen=True, slots=True)
class UsageItem:
    """A line of itemised use."""

    position: Position
    started_at: int
    at: int
    """Of the last record."""
    context: str
    service: str
    rate: str
    network: str
    direction: str
    party: str
    """Masked (HOT-REC-1)."""
    used: int
    micro_eur: int
    net_micro_eur: int
    vat_percent: int
    bucket_units: Mapping[str, int]
    itemised: str
    session_id: str
    open: bool
    """The session goes on."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A movement of credit that is no use."""

    position: Position
    event_id: str
    at: int
    kind: str
    what: str
    reference: str
    channel: str
    by: str
    micro_eur: int
    """Gross; negative = it was taken from the credit."""
    net_micro_eur: int
    """Of `gross_micro_eur`. Of a payment, which is no sale, both are equal."""
    vat_percent: int
    promotional_micro_eur: int
    credit_micro_eur: int
    """Afterwards."""
    separate_micro_eur: int = 0
    """What came to the separate account (HOT-GRP-5), or negative what it paid; not in `micro_eur`."""

    @property
    def gross_micro_eur(self) -> int:
        """Of credit and separate account together."""
        return self.micro_eur + self.separate_micro_eur

    @property
    def vat_micro_eur(self) -> int:
        return self.gross_micro_eur - self.net_micro_eur


_ACCOUNTS: BindParameter[str] = bindparam("accounts", expanding=True)
_PERIODS = (
    select(PERIODS.c.begins_at, PERIODS.c.ends_at).where(PERIODS.c.account.in_(_ACCOUNTS)).order_by(PERIODS.c.begins_at)
)
_USAGE_ORDER = USAGE.c.started_at, USAGE.c.line, USAGE.c.event_id
_USAGE = (
    select(USAGE)
    .where(
        USAGE.c.account.in_(_ACCOUNTS),
        USAGE.c.started_at >= bindparam("begins_at"),
        USAGE.c.started_at < bindparam("ends_at"),
        USAGE.c.free.is_(False),
        or_(USAGE.c.debit_micro_eur != 0, cast(USAGE.c.bucket_units, Text) != "{}"),
    )
    .order_by(*_USAGE_ORDER)
    .limit(bindparam("most"))
)
_USAGE_AFTER = _USAGE.where(
    tuple_(*_USAGE_ORDER) > tuple_(bindparam("after_at"), bindparam("after_line"), bindparam("after_id"))
)
"""The statements of the API's most frequent questions. Making one takes longer than SQLite does for its answer."""


def billing_periods(connection: Connection, accounts: Sequence[str], now: int, count: int) -> list[Period]:
    """The current billing period of an account and the ones before it, newest first. The current one ends at `now`."""
    found = connection.execute(_PERIODS, {"accounts": accounts})
    starts = period_starts([(row[0], row[1]) for row in found], now, count)
    ends = [now + 1, *starts[:-1]]
    return list(zip(starts, ends, strict=True))


def usage(
    connection: Connection, accounts: Sequence[str], period: Period, *, after: Position | None = None, limit: int
) -> list[UsageItem]:
    """Every charged use that began in the period, by time. Calls to free and emergency numbers are left out."""
    values = {"accounts": accounts, "begins_at": period[0], "ends_at": period[1], "most": limit}
    if after is None:
        return [_usage_item(row) for row in connection.execute(_USAGE, values)]
    values |= dict(zip(("after_at", "after_line", "after_id"), after, strict=True))
    return [_usage_item(row) for row in connection.execute(_USAGE_AFTER, values)]


def _usage_item(row: Row[Any]) -> UsageItem:
    return UsageItem(
        position=(row.started_at, row.line, row.event_id),
        started_at=row.started_at,
        at=row.at,
        context=row.context,
        service=row.service,
        rate=row.rate,
        network=row.place,
        direction=row.direction,
        party=row.party,
        used=row.used,
        micro_eur=row.debit_micro_eur,
        net_micro_eur=row.net_micro_eur,
        vat_percent=row.vat_percent,
        bucket_units=row.bucket_units,
        itemised=row.itemised,
        session_id=row.session_id,
        open=not row.closed,
    )


def transactions(
    connection: Connection,
    accounts: Sequence[str],
    period: Period,
    *,
    kinds: Iterable[str] = (),
    reference: str = "",
    after: Position | None = None,
    limit: int,
) -> list[Transaction]:
    """By time. `kinds`, `reference`: only these; none = all."""
    order = TRANSACTIONS.c.at, func.length(TRANSACTIONS.c.event_id), TRANSACTIONS.c.event_id
    conditions = [
        TRANSACTIONS.c.account.in_(accounts),
        TRANSACTIONS.c.at >= period[0],
        TRANSACTIONS.c.at < period[1],
        TRANSACTIONS.c.kind.not_in(INTERNAL),
    ]
    if wanted := tuple(kinds):
        conditions.append(TRANSACTIONS.c.kind.in_(wanted))
    if reference:
        conditions.append(TRANSACTIONS.c.reference == reference)
    if after is not None:
        conditions.append(tuple_(*order) > after)
    query = select(TRANSACTIONS).where(and_(*conditions)).order_by(*order).limit(limit)
    return [transaction(row) for row in connection.execute(query)]


def transaction(row: Row[Any]) -> Transaction:
    moved = row.credit_in_micro_eur - row.debit_micro_eur
    sign = 1 if moved + row.separate_micro_eur >= 0 else -1
    return Transaction(
        position=(row.at, len(row.event_id), row.event_id),
        event_id=row.event_id,
        at=row.at,
        kind=row.kind,
        what=row.what,
        reference=row.reference,
        channel=row.channel,
        by=row.acted_by,
        micro_eur=moved,
        net_micro_eur=sign * row.net_micro_eur,
        vat_percent=row.vat_percent,
        promotional_micro_eur=row.promotional_micro_eur,
        credit_micro_eur=row.credit_micro_eur,
        separate_micro_eur=row.separate_micro_eur,
    )
