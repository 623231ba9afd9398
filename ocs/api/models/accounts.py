"""Accounts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ocs.api.call import Call
from ocs.api.models.common import Amount, Answer, Body, Eur, ImsiField, MsisdnField, ReferenceField, Time
from ocs.ledger.contract.views import AccountView
from ocs.values.money import format_eur

State = Literal["new", "active", "inactive", "blocked", "terminated"]


class Account(Answer):
    """An account as it is now."""

    msisdn: str
    imsi: str
    state: State
    active_until: Time | None = Field(description="End of the active period; null = it was not used yet (HOT-ACC-3).")
    blocks: list[str] = Field(description="Reasons for which it is blocked (HOT-ACC-11).")
    credit: Eur = Field(description="EUR, with what running sessions hold.")
    available: Eur = Field(description="EUR, without what running sessions hold.")
    promotional: Eur = Field(description="EUR of the credit that are never paid out (HOT-ACC-10).")
    package: str | None = Field(description="Id of the tariff.")
    package_pending: bool = Field(description="The credit did not cover the package: a top-up renews it (HOT-PKG-2).")
    period_end: Time | None = Field(description="End of the package's period.")
    spent_this_month: Eur = Field(description="EUR that count to the monthly limit (HOT-CC-2).")
    monthly_limit: Eur | None = Field(description="EUR; null = off (HOT-CC-1).")
    bars: list[str] = Field(description="What the subscriber has barred (HOT-CC-5).")
    country: str = Field(description='Where it was served last: ISO 3166 code, or "home".')
    language: str | None = Field(description="Language of its notices, ISO 639-1.")
    group: str | None = Field(description="Business group (HOT-GRP-1).")
    pool: str | None = Field(description="Pool whose units it shares (HOT-PKG-14).")


class OpenAccount(Body):
    """A new account."""

    msisdn: MsisdnField
    imsi: ImsiField
    package: str | None = Field(default=None, max_length=64, description="Id of a tariff on sale; null = none.")
    credit: Amount = Field(default="0", description="Opening credit, EUR; the package's price is debited from it.")
    puk: str | None = Field(
        default=None, pattern=r"^[0-9]{8}$", description="PUK1 of the SIM, stored hashed (HOT-GRP-1).", repr=False
    )
    unused: bool = Field(
        default=False, description="Sold, not yet used: its life begins with its first use (HOT-ACC-2)."
    )


class TopUp(Body):
    """Money in."""

    amount: Amount
    reference: ReferenceField = None
    promotional: bool = Field(default=False, description="A gift: it is never paid out (HOT-ACC-10).")
    separate: bool = Field(default=False, description="Into the separate account of the number (HOT-GRP-5).")
    channel: Literal["one-off", "care"] | None = Field(
        default=None,
        description="By a payment, or credited by hand, which customer care may say. Default: care for customer care.",
    )


class ToppedUp(Answer):
    """What a top-up did."""

    reference: str
    amount: Eur
    credit: Eur = Field(description="EUR, after the top-up; of the separate account, if it was topped up.")


def account(view: AccountView, call: Call) -> Account:
    return Account(
        msisdn=view.msisdn,
        imsi=view.imsi,
        state=view.state,  # type: ignore[arg-type]
        active_until=call.time(view.active_until),
        blocks=list(view.blocks),
        credit=format_eur(view.credit_micro_eur),
        available=format_eur(view.credit_micro_eur - view.held_micro_eur),
        promotional=format_eur(view.promotional_micro_eur),
        package=view.package or None,
        package_pending=view.package_pending,
        period_end=call.time(view.period_end),
        spent_this_month=format_eur(view.spent_month_micro_eur),
        monthly_limit=None if view.limit_micro_eur is None else format_eur(view.limit_micro_eur),
        bars=list(view.bars),
        country=view.country,
        language=view.language or None,
        group=view.group or None,
        pool=view.pool or None,
    )
