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
    pooled: bool = False

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
    """Units that several accounts share, each up to its limit (HOT-PKG-14). Members are told apart by any key."""

    def __init__(self) -> None:
        self.units: list[Units] = []
        self.limits: dict[tuple[object, str], int] = {}
        """(member, or None = all others; bucket) → units that it may use in a period."""
        self.reached: set[str] = set()
        """Buckets of which a member has used all that its limit allows."""
        self._used: Counter[tuple[object, int]] = Counter()
        """(member, units by identity) → since the pool has limits."""
        self._held: Counter[tuple[object, int]] = Counter()

    @property
    def next_number(self) -> int:
        return max((each.number for each in self.units), default=0) + 1

    def room(self, member: object, units: Units) -> int | None:
        """What the member may use besides; None = it has no limit."""
        limit = self.limits.get((member, units.id), self.limits.get((None, units.id)))
        key = member, id(units)
        return None if limit is None else max(limit - self._used[key] - self._held[key], 0)

    def use(self, member: object, units: Units, count: int) -> None:
        if self.limits or self._used:
            self._used[member, id(units)] = max(self._used[member, id(units)] + count, 0)
            if self.room(member, units) == 0:
                self.reached.add(units.id)

    def hold(self, member: object, units: Units, count: int) -> None:
        self._held[member, id(units)] += count

    def set_limit(self, member: object, bucket: str, units: int | None) -> None:
        if units is None:
            self.limits.pop((member, bucket), None)
        else:
            self.limits[member, bucket] = units
