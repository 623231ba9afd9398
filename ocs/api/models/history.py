"""Itemised use, transactions and statements."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field

from ocs.api.call import Call
from ocs.api.models.common import Answer, Body, Eur, Time
from ocs.api.pages import Page
from ocs.history.queries import Transaction, UsageItem
from ocs.history.statement import Statement, UseSum
from ocs.values.money import format_eur

MonthPath = Annotated[
    str, Path(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", description="Calendar month.", examples=["2026-11"])
]


class Money(Answer):
    """Net, VAT and gross; net + vat = gross (HOT-RAT-8)."""

    net: Eur
    vat: Eur
    gross: Eur
    vat_percent: int | None = Field(description="null = several.")


class UseLine(Answer):
    """A session's use of a rate in a month."""

    time: Time = Field(description="Beginning of the session.")
    last: Time = Field(description="Its last record.")
    context: str = Field(examples=["ims"])
    rate: str = Field(examples=["voice.home.national"])
    network: str = Field(description="PLMN of the serving network, or number of its exchange.", examples=["29340"])
    direction: str = Field(description="mo = originating, mt = terminating, fw = forwarded.")
    party: str = Field(description="Other party, its last three digits hidden (HOT-REC-1), or the APN.")
    used: int = Field(description="Octets, seconds or messages.")
    price: Money
    included: dict[str, int] = Field(description="Units by included quantity that paid them.")
    itemised: str | None = Field(description="Third-party service that is itemised apart (HOT-RAT-6).")
    session: str
    open: bool = Field(description="The session goes on.")


class UsePage(Page[UseLine]):
    """Itemised use of a billing period (HOT-REC-1)."""

    begins: Time
    ends: Time = Field(description="Of the current period: now.")


class TransactionLine(Answer):
    """A movement of credit that is no use."""

    id: str
    time: Time
    kind: str = Field(examples=["topup"])
    what: str = Field(description="Product, or what it is about.")
    reference: str
    channel: str
    by: str = Field(description="Who did it.")
    price: Money = Field(description="Negative = taken from the credit. Payments have no VAT.")
    separate: Eur = Field(description="The part of `price` that concerns the separate account, no credit (HOT-GRP-5).")
    promotional: Eur
    credit: Eur = Field(description="Afterwards.")


class UseTotal(Answer):
    """Use of a rate in the month."""

    rate: str
    itemised: str | None = Field(description="Third-party service that is itemised apart (HOT-RAT-6).")
    sessions: int
    used: int
    price: Money


class StatementOfMonth(Answer):
    """opening + transactions - recorded - unrecorded = closing."""

    month: str = Field(examples=["2026-11"])
    opening: Eur
    closing: Eur
    transactions: list[TransactionLine]
    use: list[UseTotal] = Field(description="By rate.")
    recorded: Eur = Field(description="Use recorded in the month.")
    unrecorded: Eur = Field(
        description="Use of sessions that were open at the end of the month, less that of those open at its beginning."
    )
    itemised: bool = Field(description="`use` explains `recorded`; false = it is erased already.")
    difference: Eur = Field(description="What nothing explains: 0, unless the ledger was rolled back.")
    sold: Money = Field(description="What was sold in the month, use included.")


class EraseBody(Body):
    """Why a person is erased."""

    reason: str = Field(min_length=1, max_length=200, examples=["request of 2026-11-30"])


class ErasedAnswer(Answer):
    """What was erased (docs/HISTORY.md, Erasure)."""

    rows: int
    file_lines: int = Field(description="Lines of record files whose other parties were removed.")
    before: Time = Field(description="Later use is of the current billing period, and stays until it is over.")


def money(gross: int, net: int, vat_percent: int | None) -> Money:
    return Money.model_construct(
        net=format_eur(net), vat=format_eur(gross - net), gross=format_eur(gross), vat_percent=vat_percent
    )


def use_line(item: UsageItem, call: Call) -> UseLine:
    return UseLine.model_construct(
        time=call.time(item.started_at),
        last=call.time(item.at),
        context=item.context,
        rate=item.rate,
        network=item.network,
        direction=item.direction,
        party=item.party,
        used=item.used,
        price=money(item.micro_eur, item.net_micro_eur, item.vat_percent),
        included=dict(item.bucket_units),
        itemised=item.itemised or None,
        session=item.session_id,
        open=item.open,
    )


def transaction_line(item: Transaction, call: Call) -> TransactionLine:
    return TransactionLine.model_construct(
        id=item.event_id,
        time=call.time(item.at),
        kind=item.kind,
        what=item.what,
        reference=item.reference,
        channel=item.channel,
        by=item.by,
        price=money(item.gross_micro_eur, item.net_micro_eur, item.vat_percent),
        separate=format_eur(item.separate_micro_eur),
        promotional=format_eur(item.promotional_micro_eur),
        credit=format_eur(item.credit_micro_eur),
    )


def statement_of_month(found: Statement, call: Call) -> StatementOfMonth:
    net, gross = found.sold_micro_eur
    return StatementOfMonth(
        month=f"{found.month // 100}-{found.month % 100:02d}",
        opening=format_eur(found.opening_micro_eur),
        closing=format_eur(found.closing_micro_eur),
        transactions=[transaction_line(each, call) for each in found.transactions],
        use=[_use_total(each) for each in found.use],
        recorded=format_eur(found.recorded_micro_eur),
        unrecorded=format_eur(found.unrecorded_micro_eur),
        itemised=found.is_itemised,
        difference=format_eur(found.difference_micro_eur),
        sold=money(gross, net, None),
    )


def _use_total(each: UseSum) -> UseTotal:
    return UseTotal(
        rate=each.rate,
        itemised=each.itemised or None,
        sessions=each.sessions,
        used=each.used,
        price=money(each.micro_eur, each.net_micro_eur, each.vat_percent),
    )
