"""What is written in an account on paper (`paper_account.py`). Micro-EUR, Unix seconds, billable units."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from simulator.price_sheet import Article


@dataclass(slots=True)
class Charge:
    """One movement: of a use (`session` is not empty), a fee, a top-up or what was lost."""

    at: int
    what: str
    """Label of the row, or the product, or "top-up", "expired", "share"."""
    debit: int
    """Micro-EUR taken from the credit; negative: put in."""
    session: str = ""
    version: str = ""
    used: int = 0
    units: Counter[str] = field(default_factory=Counter)
    """Included units that paid, by bucket."""
    unpaid: int = 0
    promotional: int = 0
    """The promotional part of `debit`."""
    is_fee: bool = False
    """Of a product."""
    ends: int = 0
    """Of a fee: end of the period that it pays; 0 = none."""
    separate: int = 0
    """Of a fee: micro-EUR that the separate account paid (HOT-GRP-5)."""


@dataclass(slots=True)
class Units:
    """An included quantity in one period."""

    id: str
    """Product and name, such as "MINI.data"."""
    name: str
    left: int | None
    quantity: int | None
    starts: int
    ends: int
    owner: Subscription
    last: bool
    """Of a tariff: it pays after all others."""
    told: bool
    number: int = 0
    held: int = 0
    """By grants that are not reported yet."""

    @property
    def free(self) -> int | None:
        """What no grant holds; None = unlimited."""
        return None if self.left is None else max(self.left - self.held, 0)


@dataclass(slots=True)
class Subscription:
    article: Article
    state: str
    """planned, armed, active, ending, unpaid or ended."""
    due: int = 0
    ends: int = 0
    following: str = ""
    committed_until: int = 0
    number: int = 0
    separate: bool = False
    """The separate account of the member who ordered it pays (HOT-GRP-5)."""

    @property
    def rank(self) -> tuple[int, int]:
        """Of fees due at the same moment, the lower is paid first."""
        return self.article.order, self.number


@dataclass(slots=True)
class Hold:
    """What a grant holds until its use is reported (RFC 8506 §5)."""

    labels: frozenset[str]
    units: list[tuple[str, Units, int]] = field(default_factory=list)
    """(label of the row, units, how many)."""
    money: int = 0
    volume: int = 0
    """Of the fair-use volume, octets."""


@dataclass(slots=True)
class Session:
    raw: Counter[str] = field(default_factory=Counter)
    """Used units by label."""
    paid: Counter[tuple[str, str, Fraction]] = field(default_factory=Counter)
    """Billable units that credit paid, by label, version and amount of the price."""
    holds: dict[str, Hold] = field(default_factory=dict)
    """By service."""
    unpaid: set[str] = field(default_factory=set)
    """Labels whose last step nobody paid."""


class Pool:
    """Units that several accounts share (HOT-PKG-14)."""

    def __init__(self) -> None:
        self.units: list[Units] = []
