"""Pools, sessions, peers, audit, explanations, keywords."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ocs.accounts.pools import PoolState
from ocs.api.call import Call
from ocs.api.models.catalogue import MAX_CATALOGUE_LENGTH
from ocs.api.models.common import Answer, Body, Eur, MsisdnField, Time
from ocs.api.models.subscriptions import Bucket, pool_bucket
from ocs.ledger.contract.views import SessionView
from ocs.values.language import LANGUAGES
from ocs.values.money import format_eur

MAX_SESSION_ID = 512


# -- pools


class PoolLimit(Answer):
    """What a member may use of a bucket in a period."""

    account: str | None = Field(description="Id of the account; null = each member that has no limit of its own.")
    bucket: str
    units: int


class Pool(Answer):
    """Units that numbers share (HOT-PKG-14)."""

    name: str
    account: str = Field(description="Id of the account that was asked about.")
    buckets: list[Bucket]
    limits: list[PoolLimit]
    used: list[PoolLimit] = Field(description="What members have used, since the pool has limits.")


class OpenPool(Body):
    """A new pool."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$", description="Unique in the account's partition.")


class JoinPool(Body):
    """The pool of another number."""

    of: MsisdnField = Field(description="A number that is in the pool.")


class LimitPool(Body):
    """What a member may use."""

    quantity: str | None = Field(
        max_length=32, description='In a period, such as "2 GB", "100 min", "50 messages"; null = no limit.'
    )
    common: bool = Field(default=False, description="Of each member that has no limit of its own.")


class Left(Answer):
    """Whether the number is in a pool."""

    pool: str | None


def pool(state: PoolState, call: Call) -> Pool:
    found = state.pool
    buckets = {each.instance: each for each in found.buckets}
    return Pool(
        name=found.pool_id,
        account=state.account_id,
        buckets=[pool_bucket(each, call) for each in found.buckets],
        limits=[
            PoolLimit(account=each.account_id or None, bucket=each.bucket, units=each.units) for each in found.limits
        ],
        used=[
            PoolLimit(account=each.account_id, bucket=buckets[each.instance].id, units=each.units)
            for each in found.usage
            if each.instance in buckets
        ],
    )


# -- sessions


class SessionService(Answer):
    """What a session reserves for one service."""

    service: str
    units: int = Field(description="Billable units held on buckets.")
    credit: Eur = Field(description="Held on credit.")


class Session(Answer):
    """An open credit-control session."""

    session_id: str
    context: str
    origin_host: str
    started_at: Time | None
    deadline: Time | None
    services: list[SessionService]
    emergency: bool = Field(description="It has a service that is never aborted (HOT-RAT-2).")


class SessionOrder(Body):
    """Which sessions."""

    session_id: str | None = Field(
        default=None, min_length=1, max_length=MAX_SESSION_ID, description="null = all of the account."
    )


class SessionsTold(Answer):
    """What was asked of the network; its answer is not waited for."""

    sessions: list[str] = Field(description="Session-Ids for which a worker sends RAR or ASR.")
    exempt: int = Field(description="Sessions left open: emergency calls (HOT-RAT-2).")


def session(each: SessionView, call: Call) -> Session:
    return Session(
        session_id=each.session_id,
        context=each.context,
        origin_host=each.origin_host,
        started_at=call.time(each.started_at),
        deadline=call.time(each.deadline),
        services=[
            SessionService(
                service=held.label,
                units=sum(units for _, units in (*held.held_units, *held.pool_units)),
                credit=format_eur(held.held_micro_eur),
            )
            for held in each.reservations
        ],
        emergency=each.always,
    )


# -- peers, audit, explanations, keywords


class Peer(Answer):
    """A Diameter peer of this server, as its workers counted half a second ago."""

    origin_host: str
    realm: str | None = Field(description="null = it is not in the settings.")
    kind: str | None
    connections: int
    state: Literal["open", "down"]


class Violation(Answer):
    """An invariant that an account breaks (docs/ARCHITECTURE.md)."""

    account: str
    invariant: str
    detail: str


class AccountAudit(Answer):
    """The books of one account."""

    ok: bool
    paid_in: Eur
    credit: Eur
    held: Eur
    spent: Eur
    refunded: Eur
    expired: Eur
    violations: list[Violation]


class LastAudit(Answer):
    """The last full pass of the audit by the housekeeper of this server."""

    passed_at: Time | None = Field(description="null = none has ended since the start.")
    accounts: int
    open_sessions: int
    violations: int
    drift: Eur = Field(description="Money that invariant 1 does not explain.")


class Explanation(Answer):
    """Why a record or a session was charged as it was."""

    records: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    differences: list[dict[str, Any]] = Field(description="Where computing it anew gives something else.")
    draft: list[dict[str, Any]] = Field(
        default=[], description="Steps under the draft of a catalogue, if one is given."
    )


class ExplainDraft(Body):
    """A record or a session, and a catalogue under which it is to be explained too."""

    name: str = Field(min_length=1, max_length=MAX_SESSION_ID, description="Event id, or a Session-Id.")
    catalogue: str = Field(max_length=MAX_CATALOGUE_LENGTH, description="Text of the file (TOML).")


class KeywordText(Body):
    """What a subscriber writes (HOT-PKG-12)."""

    text: str = Field(min_length=1, max_length=160, examples=["SMS 200 DA"])
    language: str | None = Field(
        default=None, pattern=f"^({'|'.join(LANGUAGES)})$", description="Of the answer; null = that of the account."
    )
    ussd: bool = Field(
        default=False, description="Answer with one USSD page: at most 182 characters of the GSM 7-bit alphabet."
    )


class KeywordAnswer(Answer):
    """What is to be answered."""

    answer: str = Field(description="Stable name of the answer.")
    text: str
    product: str | None
