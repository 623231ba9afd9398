"""What the ledger is asked on the hot path, and what it answers.

These values are not frozen: freezing makes an object four times as dear to build, and they are built per request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from ocs.values.products import DEFAULT_COUNTERS, CounterTerms
from ocs.values.requests import Action, RequestType
from ocs.values.sessions import session_owner
from ocs.values.use import PriceTerms, Unit

UNKNOWN_PLACE = "?"
"""`ChargeRequest.assumed` of who does not know the session; no place reads so."""


class NoFunds(IntEnum):
    """What is done with a service that nothing can pay."""

    REFUSE = 0
    """4012."""
    RESTRICT_ONCE = 1
    """A restricted phase; still nothing at its end: 4012."""
    RESTRICT_REPEATEDLY = 2
    """Restricted phases until there is something to pay from."""


@dataclass(slots=True)
class Leg:
    """One of several prices that a use is paid at; a forwarded call has two (HOT-RAT-7)."""

    label: str
    price: PriceTerms
    buckets: tuple[str, ...] = ()
    counters: tuple[CounterTerms, ...] = DEFAULT_COUNTERS
    price_after: PriceTerms | None = None


@dataclass(slots=True)
class ServiceCharge:
    """One service of a request: settle what was used, then reserve what is wanted next."""

    key: str
    """Stable over the session: rating group and service identifiers."""
    label: str
    price: PriceTerms
    buckets: tuple[str, ...]
    used: int
    """Raw units since the last report; rated at the price the grant in force was made at."""
    want: int | None
    """Units to reserve; None = no Requested-Service-Unit, so nothing is reserved and the old reservation returns."""
    minimum: int
    """Below this a grant is not split further."""
    always: bool = False
    bars: tuple[str, ...] = ()
    detail: str = ""
    """Where and towards whom, for the record (opaque to the ledger)."""
    used_after: int = 0
    """Raw units used after the price switch of the grant in force (Tariff-Change-Usage 1); rated at its
    `price_after`.
    """
    used_either: int = 0
    """Raw units that straddle the switch (Tariff-Change-Usage 2); rated at the cheaper side."""
    switch_at: int = 0
    """Unix seconds of a price switch ahead of the new grant; 0 = none."""
    price_after: PriceTerms | None = None
    spans: bool = True
    """The grant may be used on both sides of the switch, and is reserved at the dearer one; else it ends there, and
    time that is reported beyond is rated at `price_after`."""
    unit: Unit = Unit.OCTETS
    """What the raw units are. A report that cannot be true is dropped (`ServiceOutcome.dropped`): of seconds more than
    have passed, of messages much more than was granted, of octets more than `max_rate`. Money may be used at once,
    however much it is."""
    max_rate: int = 0
    """Octets a second that are physically possible; 0 = any."""
    restrict: NoFunds = NoFunds.REFUSE
    retry_want: int = 0
    """Units to try for when a restricted phase ends and the client asks for none (RFC 8506 §5.6.2)."""
    counters: tuple[CounterTerms, ...] = DEFAULT_COUNTERS
    """Counters that the first leg (label, price, buckets) moves."""
    more_legs: tuple[Leg, ...] = ()
    """What the same use is paid at besides."""
    maximum_micro_eur: int = 0
    """Most money that one grant may hold, unless `minimum` costs more; 0 = any."""

    @property
    def reported(self) -> int:
        return self.used + self.used_after + self.used_either


@dataclass(slots=True)
class ChargeRequest:
    account_id: str
    identity: str
    """The subscriber id the account was found by ("m386…" or "i293…"); "" when found by session."""
    session_id: str
    origin_host: str
    context: str
    type: RequestType
    number: int
    now: int
    """Unix seconds."""
    month: int
    """Calendar month of `now` in the operator's time zone, e.g. 202611 (HOT-CC-1)."""
    deadline: int
    """Unix seconds after which the session's reservations count as released (Tcc)."""
    services: tuple[ServiceCharge, ...]
    origin_realm: str = ""
    relay: str = ""
    """Origin-Host of the connected peer when it is not `origin_host`: a relay. Where a RAR of this session is sent."""
    owner: str = ""
    """Who may go on with the session: its failover group, else its Origin-Host, in small letters. Others get 5002, and
    one-off requests of theirs are never taken for repetitions of its own."""
    origin_state_id: int = 0
    """The client's; an INITIAL with a higher one ends an open session of the same id first. 0 = says nothing."""
    action: Action = Action.DEBIT
    refund_of: tuple[str, int] | None = None
    """With REFUND: Session-Id and request number of the debit; None = the debit with this request's Session-Id."""
    place: str = ""
    """Where and how the use takes place, opaque to the ledger: kept with the session."""
    expected_location: str = ""
    """The request leaves out part of `place`, which was filled in from this one. Another is in force: nothing is done,
    code 0, reason "place". UNKNOWN_PLACE = nothing to fill in from; "" = it leaves out nothing."""
    day: int = 0
    """Calendar day of `now` in the operator's time zone, as days since 1970-01-01: for counters of a day. 0 = that of
    UTC.
    """
    pool: str = ""
    """The pool that the caller believes the account to be in; another one is answered by code 0, reason "pool"."""
    retransmitted: bool = False
    """The message has the T bit (RFC 6733 §3): it may have come before. An opening without it, of a session that has
    ended, is of a new one."""
    end_to_end: int = 0
    """End-to-End-Id: what is sent again keeps it (RFC 6733 §3). 0 = not known."""
    content: str = ""
    """Of a one-off request: a digest of what it asks and towards whom. With other content it is no repetition."""

    @property
    def session_owner(self) -> str:
        """`owner`, or who it is by default."""
        return self.owner or session_owner(self.origin_host)


@dataclass(slots=True)
class ServiceOutcome:
    key: str
    code: int
    """Result-Code of the service: 2001, 4010, 4012 or 5006."""
    granted: int
    final: bool
    """These are the last affordable units."""
    reason: str
    """Why less than wanted or nothing: "", "credit", "limit", "state", "bar", "sessions"."""
    debited_micro_eur: int
    """Taken from credit; negative = given back (a refund)."""
    debited_units: int
    """Billable units paid by buckets; negative = given back."""
    overrun_units: int
    """Billable units that were used and that nothing could pay."""
    dropped: int = 0
    """Raw units of the report that were impossible and not charged."""
    restricted: bool = False
    """Nothing is granted, and the service is not refused but in a restricted phase."""
    span_switch: bool = False
    """The grant may be used on both sides of `switch_at` (send Tariff-Time-Change)."""


@dataclass(slots=True)
class ChargeOutcome:
    code: int
    """Result-Code at command level: 2001, 4010, 4012, 5002, 5006, 5012, 5030."""
    duplicate: bool
    services: tuple[ServiceOutcome, ...]
    credit_micro_eur: int
    held_micro_eur: int
    reason: str = ""
    """Why the code is no success: "state", "session", "owner", "open", "late", "no_debit", "nothing_left", …; with 2001
    "refused": the end of a session whose opening was refused. With code 0 nothing was done, see `retry`."""
    session_cost_micro_eur: int = 0
    """Taken from credit by this session so far, without reservations (Cost-Information)."""
    period_end: int = 0
    """Unix seconds when the account's package period ends; 0 = none: a grant should not outlive it."""
    late: bool = False
    """The session had been given up (Tcc) and was settled late."""
    place: str = ""
    """With `Retry.PLACE` where the session is; with POOL the pool; with MOVED the account's new id; else where the
    request was taken to be, if it did not say."""
    at: int = 0
    """Unix seconds when it was applied: of a repetition, that of the first."""
    reused: bool = False
    """It opened a session under the Session-Id of one that had ended."""

    @property
    def retry(self) -> Retry | None:
        """Why nothing was done and the request can come again."""
        return Retry(self.reason) if self.code == 0 else None


class Retry(StrEnum):
    """Reasons of an outcome with code 0: nothing was done, and the request can come again when the caller has done
    something.
    """

    IDENTITY = "identity"
    """The subscriber id is no longer this account's: look it up again."""
    PLACE = "place"
    """The session is elsewhere (`ChargeOutcome.place`): rate the request there."""
    POOL = "pool"
    """The account is in another pool (`ChargeOutcome.place`)."""
    MOVED = "moved"
    """The account has another id (`ChargeOutcome.place`), or will have it in a moment."""
    LOOK_BACK = "look_back"
    """A one-off request of an account that was moved (`ChargeOutcome.place` = its old id): its answer may be there."""
    CLOCK = "clock"
    """The caller's clock is off Redis's by more than `LedgerSettings.max_clock_skew_s`."""
    VERSION = "version"
    """The document was written by a newer version that this one cannot read."""
    UNREADABLE = "unreadable"
    """The document cannot be read at all."""
