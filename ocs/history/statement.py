"""The statement of an account for a calendar month: every transaction and all use, net, VAT and gross (HOT-RAT-8,
HOT-REC-1), and that they explain the credit.

    closing = opening + Σ transactions - Σ use recorded in the month - use not recorded yet

What a separate account paid (HOT-GRP-5) is in the transactions, and moves no credit. The last item is use of sessions
that were open at the beginning or the end of the month: it is debited at once, and recorded later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, cast, func, select

from ocs.history.queries import INTERNAL, Transaction, transaction
from ocs.history.schema import ACCOUNT_MONTHS, TRANSACTIONS, USAGE

SOLD = ("package", "share", "fee", "refund")
"""Kinds of transactions that are sales, or take one back; the others are payments, which have no VAT."""
MAX_TRANSACTIONS = 10_000
"""Of one account in one month; a statement with more is refused."""


class TooLargeError(Exception):
    """The month has more than MAX_TRANSACTIONS."""


@dataclass(frozen=True, slots=True)
class UseSum:
    """Use of a rate in the month."""

    rate: str
    itemised: str
    """ "", or what third-party service it is (HOT-RAT-6)."""
    vat_percent: int
    sessions: int
    used: int
    micro_eur: int
    net_micro_eur: int


@dataclass(frozen=True, slots=True)
class Statement:
    month: int
    opening_micro_eur: int
    closing_micro_eur: int
    transactions: Sequence[Transaction]
    use: Sequence[UseSum]
    """Empty if the itemised use of the month is erased already."""
    recorded_micro_eur: int
    """Use recorded in the month."""
    unrecorded_micro_eur: int
    """Use debited in the month and not recorded in it; negative: recorded in it, and debited before."""
    difference_micro_eur: int
    """What nothing explains: the credit after the last event, less the closing credit. 0, unless the ledger was rolled
    back (docs/OPERATIONS.md).
    """

    @property
    def is_itemised(self) -> bool:
        return sum(each.micro_eur for each in self.use) == self.recorded_micro_eur

    @property
    def sold_micro_eur(self) -> tuple[int, int]:
        """(net, gross) of what was sold in the month, use included."""
        sold = [each for each in self.transactions if each.kind in SOLD]
        net = sum(each.net_micro_eur for each in self.use) - sum(each.net_micro_eur for each in sold)
        gross = sum(each.micro_eur for each in self.use) - sum(each.gross_micro_eur for each in sold)
        return net, gross


def statement(connection: Connection, accounts: Sequence[str], month: int, credit_micro_eur: int) -> Statement:
    """`credit_micro_eur`: the credit now, for an account that never moved any here."""
    months = connection.execute(
        select(ACCOUNT_MONTHS)
        .where(ACCOUNT_MONTHS.c.account.in_(accounts), ACCOUNT_MONTHS.c.month <= month)
        .order_by(ACCOUNT_MONTHS.c.month)
    ).all()
    opening = _first_opening(connection, accounts, credit_micro_eur)
    opening += sum(row.credit_in_micro_eur - row.debit_micro_eur for row in months if row.month < month)
    own = [row for row in months if row.month == month]
    closing = opening + sum(row.credit_in_micro_eur - row.debit_micro_eur for row in own)
    recorded = sum(row.recorded_micro_eur for row in own)
    last = [row for row in own if row.account == accounts[0]]
    return Statement(
        month=month,
        opening_micro_eur=opening,
        closing_micro_eur=closing,
        transactions=_transactions(connection, accounts, month),
        use=_use(connection, accounts, month),
        recorded_micro_eur=recorded,
        unrecorded_micro_eur=sum(row.use_micro_eur for row in own) - recorded,
        difference_micro_eur=last[0].credit_micro_eur - closing if last else 0,
    )


def _first_opening(connection: Connection, accounts: Sequence[str], credit_micro_eur: int) -> int:
    """The credit before the first event that is here, of the oldest of the account's ids."""
    for account in reversed(accounts):
        first = connection.execute(
            select(ACCOUNT_MONTHS.c.opening_micro_eur)
            .where(ACCOUNT_MONTHS.c.account == account)
            .order_by(ACCOUNT_MONTHS.c.month)
            .limit(1)
        ).scalar()
        if first is not None:
            return int(first)
    return credit_micro_eur


def _transactions(connection: Connection, accounts: Sequence[str], month: int) -> list[Transaction]:
    query = (
        select(TRANSACTIONS)
        .where(TRANSACTIONS.c.account.in_(accounts), TRANSACTIONS.c.month == month)
        .where(TRANSACTIONS.c.kind.not_in(INTERNAL))
        .order_by(TRANSACTIONS.c.at, func.length(TRANSACTIONS.c.event_id), TRANSACTIONS.c.event_id)
        .limit(MAX_TRANSACTIONS + 1)
    )
    found = [transaction(row) for row in connection.execute(query)]
    if len(found) > MAX_TRANSACTIONS:
        raise TooLargeError(f"the month has more than {MAX_TRANSACTIONS} transactions")
    return found


def _use(connection: Connection, accounts: Sequence[str], month: int) -> list[UseSum]:
    by = USAGE.c.rate, USAGE.c.itemised, USAGE.c.vat_percent
    summed = USAGE.c.used, USAGE.c.debit_micro_eur, USAGE.c.net_micro_eur
    sums = [cast(func.sum(column), BigInteger) for column in summed]
    query = (
        select(*by, func.count(), *sums)
        .where(USAGE.c.account.in_(accounts), USAGE.c.month == month, USAGE.c.free.is_(False))
        .group_by(*by)
        .order_by(*by)
    )
    return [UseSum(*row) for row in connection.execute(query)]
