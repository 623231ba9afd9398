"""Business groups, transfers, separate accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field

from ocs.accounts.groups import GroupState
from ocs.accounts.inputs import MAX_GROUP_NAME
from ocs.api.call import Call
from ocs.api.models.common import Amount, Answer, Body, Eur, ImsiField, MsisdnField, ReferenceField, Time
from ocs.api.models.history import Money, TransactionLine, money, transaction_line
from ocs.history.group_statement import GroupStatement, NumberMonth
from ocs.ledger.contract.views import AccountView, TransferView
from ocs.values.money import format_eur

GroupPath = Annotated[str, Path(pattern=r"^[0-9A-Za-z]{1,32}$", description="Id of the group.")]
PukField = Annotated[str, Field(pattern=r"^[0-9]{8}$", description="PUK1 of the SIM, 8 digits.", examples=["12345678"])]
NameField = Annotated[str, Field(min_length=1, max_length=MAX_GROUP_NAME, description="Of the company.")]
PayerField = Annotated[str, Field(max_length=128, description='Reference of the bank account that pays; "" = none.')]


class CreateGroup(Body):
    """A new business group."""

    name: NameField
    administrator: MsisdnField
    payer: PayerField = ""


class ChangeGroup(Body):
    """What is to change; null = it stays."""

    name: NameField | None = None
    payer: PayerField | None = None


class AddNumber(Body):
    """A number, existing or new, with its PUK1 (HOT-GRP-1)."""

    msisdn: MsisdnField
    puk: PukField
    imsi: ImsiField | None = Field(default=None, description="Of a new number: its account is opened first.")
    package: str | None = Field(default=None, max_length=64, description="Of a new number: id of a tariff on sale.")


class GroupAdministrator(Body):
    """The number that is to be the administrator."""

    msisdn: MsisdnField


class GroupLimit(Body):
    """The spending limit of each number."""

    monthly_limit: Amount | None = Field(description="EUR a calendar month; null = off (HOT-CC-1).")


class Puk(Body):
    """The PUK1 of a SIM."""

    puk: PukField | None = Field(description="null = it is not known any more.")


class SeparateState(Body):
    """Whether a number has a separate account."""

    open: bool


class Transfer(Body):
    """Credit from one number to another (HOT-GRP-2)."""

    to: MsisdnField
    amount: Amount
    reference: ReferenceField = None


class InTransit(Answer):
    """A transfer that is not finished."""

    amount: Eur
    reference: str
    since: Time | None


class GroupNumber(Answer):
    """A number of a group."""

    msisdn: str
    role: str = Field(description='"administrator" or "member".')
    state: str
    credit: Eur
    available: Eur = Field(description="EUR, without what running sessions hold.")
    separate: Eur | None = Field(description="EUR of its separate account; null = it has none (HOT-GRP-5).")
    monthly_limit: Eur | None = Field(description="EUR; null = off.")
    in_transit: list[InTransit]


class Group(Answer):
    """A business group."""

    group: str = Field(description="Its id.")
    name: str
    payer: str | None
    created: Time | None
    monthly_limit: Eur | None = Field(description="That a number gets when it joins; null = none was set, or off.")
    pool: str | None = Field(description="Pool that its numbers share (HOT-PKG-14).")
    numbers: list[GroupNumber] = Field(description="The administrator first.")
    unfinished: list[str] = Field(description="Steps that are not finished yet.")


class GroupEntry(Answer):
    """A group in a list."""

    group: str = Field(description="Its id.")
    name: str
    payer: str | None
    numbers: int = Field(description="How many.")


class Changed(Answer):
    """Whether anything was changed."""

    changed: bool


class Transferred(Answer):
    """What a transfer did."""

    reference: str
    amount: Eur
    credit: Eur = Field(description="EUR of the sender, afterwards.")


class Separate(Answer):
    """The separate account of a number."""

    open: bool
    credit: Eur | None = Field(description="EUR; null = there is none.")


class ToppedUpSeparate(Answer):
    """What a top-up of a separate account did."""

    reference: str
    amount: Eur
    credit: Eur = Field(description="EUR of the separate account, after the top-up.")


class TopUpSeparate(Body):
    """Money into a separate account."""

    amount: Amount
    reference: ReferenceField = None


class UseLine(Answer):
    """Use of a rate in the month."""

    rate: str
    itemised: str
    sessions: int
    used: int
    price: Money


class NumberStatement(Answer):
    """A number in the month, while it was in the group."""

    msisdn: str = Field(description='"" = its account is gone.')
    transactions: list[TransactionLine]
    use: list[UseLine]
    separate: list[TransactionLine] = Field(description="Of its separate account; not in the sums (HOT-GRP-5).")
    sold: list[Money] = Field(description="By rate of VAT.")


class GroupStatementOfMonth(Answer):
    """All transactions of administrator and members in a calendar month (HOT-GRP-3)."""

    group: str
    name: str
    month: str = Field(examples=["2026-11"])
    numbers: list[NumberStatement]
    sold: list[Money] = Field(description="To all numbers, by rate of VAT.")


def group(state: GroupState, call: Call) -> Group:
    found = state.group
    limit = found.limit if found.limit is not None and found.limit >= 0 else None
    return Group(
        group=found.group_id,
        name=found.name,
        payer=found.payer or None,
        created=call.time(found.created_at),
        monthly_limit=None if limit is None else format_eur(limit),
        pool=found.pool or None,
        numbers=[number(each, call) for each in state.numbers],
        unfinished=[each.kind.value for each in found.steps],
    )


def number(view: AccountView, call: Call) -> GroupNumber:
    return GroupNumber(
        msisdn=view.msisdn,
        role=view.role,
        state=view.state,
        credit=format_eur(view.credit_micro_eur),
        available=format_eur(view.credit_micro_eur - view.held_micro_eur),
        separate=format_eur(view.separate_micro_eur) if view.has_separate else None,
        monthly_limit=None if view.limit_micro_eur is None else format_eur(view.limit_micro_eur),
        in_transit=[in_transit(each, call) for each in view.transfers],
    )


def in_transit(each: TransferView, call: Call) -> InTransit:
    return InTransit(amount=format_eur(each.amount_micro_eur), reference=each.reference, since=call.time(each.at))


def separate(view: AccountView) -> Separate:
    credit = format_eur(view.separate_micro_eur) if view.has_separate else None
    return Separate(open=view.has_separate, credit=credit)


def group_statement(found: GroupStatement, call: Call) -> GroupStatementOfMonth:
    return GroupStatementOfMonth(
        group=found.group_id,
        name=found.name,
        month=f"{found.month // 100}-{found.month % 100:02d}",
        numbers=[_number_statement(msisdn, each, call) for msisdn, each in found.numbers],
        sold=[money(gross, net, percent) for percent, (net, gross) in found.sold.items()],
    )


def _number_statement(msisdn: str, each: NumberMonth, call: Call) -> NumberStatement:
    return NumberStatement(
        msisdn=msisdn,
        transactions=[transaction_line(line, call) for line in each.transactions],
        use=[
            UseLine(
                rate=line.rate,
                itemised=line.itemised,
                sessions=line.sessions,
                used=line.used,
                price=money(line.micro_eur, line.net_micro_eur, line.vat_percent),
            )
            for line in each.use
        ],
        separate=[transaction_line(line, call) for line in each.separate],
        sold=[money(gross, net, percent) for percent, (net, gross) in sorted(each.sold.items())],
    )
