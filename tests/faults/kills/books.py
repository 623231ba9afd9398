"""The driver's own books: what each account must have, and be told, at the end. They know nothing of the server but the
answers that it gave.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

EUR = 1_000_000
MB = 1024 * 1024
DATA_HOME_PER_MB = 6_900
DATA_ABROAD_PER_320_KB = 906_250
MINI = 6_990_000


@dataclass
class Account:
    """Credit in micro-EUR."""

    msisdn: str
    credit: int
    """What it must be."""
    moves: dict[str, int] = field(default_factory=dict)
    """Reference of each movement that is no use and no purchase → what it added."""
    purchases: list[int] = field(default_factory=list)
    """Prices; the event of a purchase has no reference."""
    sessions: dict[str, int] = field(default_factory=dict)
    """Session → what it was charged."""
    notices: Counter[str] = field(default_factory=Counter)
    """Name of a notice → how many."""
    orders: int = 0
    """Automatic top-ups."""

    def move(self, reference: str, amount: int, notice: str = "") -> None:
        assert reference not in self.moves, f"{reference} was used before"
        self.moves[reference] = amount
        self.credit += amount
        if notice:
            self.notices[notice] += 1

    def buy(self, price: int) -> None:
        self.purchases.append(price)
        self.credit -= price

    def use(self, session: str, amount: int) -> None:
        self.sessions[session] = self.sessions.get(session, 0) + amount
        self.credit -= amount


@dataclass
class Books:
    accounts: dict[str, Account] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    """Operations that were done, by kind."""
    refused: Counter[str] = field(default_factory=Counter)
    """… that were refused, by kind and code."""
    repeated: int = 0
    """Requests that were sent again, as they were not answered."""
    replayed: int = 0
    """Of those, how many had been done the first time."""
    vouchers: Counter[str] = field(default_factory=Counter)
    """Number of a voucher → accounts that redeemed it."""
    faults: list[str] = field(default_factory=list)
    """Answers that a client must not get."""

    def open(self, msisdn: str, credit: int) -> Account:
        found = self.accounts[msisdn] = Account(msisdn, credit)
        return found

    @property
    def operations(self) -> int:
        return sum(self.done.values())
