"""Charge requests and their outcomes.

These classes are built for every request, so they are not frozen: that would make them four times as slow to build.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from ocs.values.products import DEFAULT_COUNTERS, CounterTerms
from ocs.values.requests import Action, RequestType
from ocs.values.sessions import session_owner
from ocs.values.use import PriceTerms, Unit

UNKNOWN_PLACE = "?"
"""`ChargeRequest.expected_location` of a caller that does not know the session. No place has this text."""


VOLUME = "volume"
"""`ServiceOutcome.reason`: a counter with `AtLimit.RESTRICT` is at its limit."""


class NoFunds(IntEnum):
    """What to do with a service that nothing can pay."""

    REFUSE = 0
    """Result-Code 4012."""
    RESTRICT_ONCE = 1
    """A restricted phase once (RFC 8506 §5.6.2); if nothing can pay at its end, 4012."""
    RESTRICT_REPEATEDLY = 2
    """Restricted phases until something can pay."""


@dataclass(slots=True)
class Leg:
    """One of several prices at which the same use is paid; a forwarded call has two (HOT-RAT-7)."""

    label: str
    price: PriceTerms
    buckets: tuple[str, ...] = ()
    counters: tuple[CounterTerms, ...] = DEFAULT_COUNTERS
    price_after: PriceTerms | None = None
    beyond: PriceTerms | None = None


@dataclass(slots=True)
class ServiceCharge:
    """One service of a request: the ledger settles what was used, then reserves what is wanted next."""

    key: str
    """Rating group and Service-Identifiers; the same throughout the session."""
    label: str
    price: PriceTerms
    buckets: tuple[str, ...]
    used: int
    """Raw units since the last report. They are rated at the price of the grant in force."""
    want: int | None
    """Raw units to reserve. None = no Requested-Service-Unit: nothing is reserved, the old reservation is released."""
    minimum: int
    """Raw units below which a grant is not shared any further."""
    always: bool = False
    """Granted in any state of the account, and never aborted: emergency calls (HOT-RAT-2)."""
    bars: tuple[str, ...] = ()
    """Bars of an account that forbid this use (HOT-CC-5)."""
    detail: str = ""
    """Place and destination for the charging record; opaque to the ledger."""
    used_after: int = 0
    """Raw units used after the price switch of the grant in force (Tariff-Change-Usage 1), rated at its
    `price_after`."""
    used_either: int = 0
    """Raw units that straddle the switch (Tariff-Change-Usage 2), rated at the cheaper price."""
    switch_at: int = 0
    """Unix seconds at which the price of the new grant switches; 0 = never."""
    price_after: PriceTerms | None = None
    spans: bool = True
    """True: the grant may be used on both sides of the switch and is reserved at the dearer price. False: it ends at
    the switch; seconds reported beyond are rated at `price_after`."""
    unit: Unit = Unit.OCTETS
    """Kind of the raw units. Impossible reports are not charged (`ServiceOutcome.dropped`): more seconds than have
    passed, many more messages than granted, octets faster than `max_rate`. Money is not checked."""
    max_rate: int = 0
    """Octets per second that are possible; 0 = not checked."""
    restrict: NoFunds = NoFunds.REFUSE
    retry_want: int = 0
    """Raw units to reserve when a restricted phase ends and the client requests none (RFC 8506 §5.6.2)."""
    counters: tuple[CounterTerms, ...] = DEFAULT_COUNTERS
    """Counters that the first leg moves. The first leg is label, price and buckets of this class."""
    more_legs: tuple[Leg, ...] = ()
    """Further prices of the same use."""
    maximum_micro_eur: int = 0
    """Most micro-EUR that one grant may hold, unless `minimum` costs more; 0 = no bound."""
    beyond: PriceTerms | None = None
    """Price of credit on the first leg, when one of its counters with `AtLimit.PRICE` has reached its limit; of the
    same rate and in the steps of `price`, and not for a `price_after` of another rate. None = `price`."""
    slows: bool = False
    """A counter with `AtLimit.RESTRICT` restricts it at its limit instead of refusing it; `retry_want` is then for the
    end of each restricted phase."""

    @property
    def reported(self) -> int:
        """All raw units of the report."""
        return self.used + self.used_after + self.used_either


@dataclass(slots=True)
class ChargeRequest:
    account_id: str
    identity: str
    """Subscriber id by which the account was found: "m<msisdn>" or "i<imsi>"; "" = found by its session."""
    session_id: str
    origin_host: str
    context: str
    type: RequestType
    number: int
    now: int
    """Unix seconds."""
    month: int
    """Calendar month of `now` in the operator's time zone, such as 202611 (HOT-CC-1)."""
    deadline: int
    """Unix seconds at which the session is given up (Tcc)."""
    services: tuple[ServiceCharge, ...]
    origin_realm: str = ""
    relay: str = ""
    """Origin-Host of the relay through which the request came; "" = the client is connected itself. RARs go there."""
    owner: str = ""
    """Who may continue the session: the client's failover group, else its Origin-Host, in small letters. Others get
    5002; their one-off requests are no repetitions of this owner's."""
    origin_state_id: int = 0
    """Origin-State-Id of the client; an INITIAL with a higher one replaces an open session. 0 = none was sent."""
    action: Action = Action.DEBIT
    refund_of: tuple[str, int] | None = None
    """Of a REFUND: Session-Id and request number of the debit. None = those of this request."""
    place: str = ""
    """Place and manner of the use; kept with the session, opaque to the ledger."""
    expected_location: str = ""
    """Place of the session that this worker assumed, to complete an incomplete request. If the stored one differs,
    nothing is applied: code 0, `Retry.PLACE`. UNKNOWN_PLACE = not known; "" = the request was complete."""
    day: int = 0
    """Days since 1970-01-01 of `now` in the operator's time zone, for daily counters. 0 = the day in UTC."""
    pool: str = ""
    """Pool of the account that the caller assumed. If it is another: code 0, `Retry.POOL`."""
    retransmitted: bool = False
    """The T bit (RFC 6733 §3): the message may be a repetition. An INITIAL without it, for a session that has ended,
    opens a new one."""
    end_to_end: int = 0
    """End-to-End Identifier; a repetition has the same (RFC 6733 §3). 0 = not known."""
    content: str = ""
    """Of a one-off request: digest of units and recipients. A request with another content is no repetition."""
    facts: str = ""
    """Facts of the account by which the request was rated; with others it is answered by code 0, reason "facts"."""
    country: str = ""
    """Country of the serving network, "home" at home; "" = the request does not say. Another one than before is an
    event `arrived` (docs/LEDGER.md)."""
    plmn: str = ""
    """MCC and MNC of the serving network, for that event."""
    charging_id: str = ""
    """Of an opening: 3GPP-Charging-Id of the P-GW, in decimal; its records have it. "" = the request has none."""
    equipment_id: str = ""
    """Abroad: pseudonym of the equipment, for that event (`ocs.charging.equipment.EquipmentIds`); "" = not known."""
    equipment: str = ""
    """Barred equipment by which the service is used: IMEI without check digit; "" = it is not barred (HOT-ACC-11)."""

    @property
    def session_owner(self) -> str:
        """`owner`, or its default."""
        return self.owner or session_owner(self.origin_host)


@dataclass(slots=True)
class ServiceOutcome:
    key: str
    code: int
    """Result-Code of the service: 2001, 4010, 4012 or 5006."""
    granted: int
    final: bool
    """The grant has the final units."""
    reason: str
    """Why less than wanted was granted: "", "credit", "limit", "volume" (a counter that restricts), "state", "bar",
    "equipment" (barred), "sessions"."""
    debited_micro_eur: int
    """Taken from credit; negative = refunded."""
    debited_units: int
    """Billable units paid by buckets; negative = refunded."""
    overrun_units: int
    """Billable units used that nothing could pay."""
    dropped: int = 0
    """Raw units of an impossible report that were not charged."""
    restricted: bool = False
    """Nothing is granted; the service is in a restricted phase instead of refused."""
    span_switch: bool = False
    """The grant may be used on both sides of `switch_at`: send Tariff-Time-Change."""


@dataclass(slots=True)
class ChargeOutcome:
    code: int
    """Result-Code at command level: 2001, 4010, 4012, 5002, 5006, 5012, 5030."""
    duplicate: bool
    services: tuple[ServiceOutcome, ...]
    credit_micro_eur: int
    held_micro_eur: int
    reason: str = ""
    """Reason of a code that is no success: "state", "session", "owner", "open", "late", "no_debit", "nothing_left" …
    With 2001: "refused" = the termination of a session whose opening was refused. With 0: see `retry`."""
    session_cost_micro_eur: int = 0
    """Debited to credit by this session so far, without reservations (Cost-Information)."""
    period_end: int = 0
    """Unix seconds of the next end of a subscription period; 0 = none. A grant should not outlive it."""
    late: bool = False
    """The session had been given up (Tcc); its use was settled late."""
    place: str = ""
    """With `Retry.PLACE`: place of the session; with FACTS: the facts; with POOL: the pool; with MOVED: the account's
    new id; with LOOK_BACK: its old ids. Else the place of the request, if it was completed."""
    at: int = 0
    """Unix seconds at which the request was applied; of a repetition, those of the first."""
    reused: bool = False
    """A new session was opened under the Session-Id of one that had ended."""

    @property
    def retry(self) -> Retry | None:
        """Why nothing was done; None = the request was decided."""
        return Retry(self.reason) if self.code == 0 else None


class Retry(StrEnum):
    """Reasons of an outcome with code 0: nothing was done. The caller corrects the request and sends it again."""

    IDENTITY = "identity"
    """The subscriber id does not belong to this account any more: look it up again."""
    PLACE = "place"
    """The session is at another place (`ChargeOutcome.place`): rate the request there."""
    FACTS = "facts"
    """The account has other facts (`ChargeOutcome.place`): rate the request by these."""
    POOL = "pool"
    """The account is in another pool (`ChargeOutcome.place`)."""
    MOVED = "moved"
    """The account moves, or has moved, to another id (`ChargeOutcome.place`)."""
    LOOK_BACK = "look_back"
    """The account was moved lately: the answer may be stored under its old ids (`ChargeOutcome.place`)."""
    OWNERS = "owners"
    """Units of the pool have expired, and their owners (ids in `ChargeOutcome.place`) have not begun their next period:
    run their agenda first."""
    CLOCK = "clock"
    """The caller's clock differs from that of Redis by more than `LedgerSettings.max_clock_skew_s`."""
    VERSION = "version"
    """A newer version wrote the document, and this one cannot read it."""
    UNREADABLE = "unreadable"
    """The document is damaged."""
