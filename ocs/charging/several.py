"""A message to several recipients: each is a service of its own for the ledger, with its price and its buckets; the client has one answer.

The service of the request has the key K, those of its recipients K#1, K#2, …, in the order of the event, or of the request that opened the
session. Units are divided among them; what cannot be divided evenly is divided in that order. A client whose units are fewer than the
recipients counts the message once: they are units of each.

A one-off debit is paid for all recipients or for none (RFC 8506 §6.3). In a session, too, the client gets nothing for the message when
nothing is granted for one of them: it could not know for which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Protocol

from ocs.charging import units
from ocs.charging.members import EVENT, INITIAL, MESSAGES, REFUND
from ocs.charging.prepared import Asked, Prepared, Service
from ocs.charging.refund_token import Debit, given, mark, read
from ocs.charging.usage_context import UsageContext
from ocs.ledger.contract import ChargeOutcome, ServiceOutcome
from ocs.values.requests import Action, RequestType
from protocol.credit_control import RequestedServiceUnit, UsedServiceUnit
from protocol.errors import ResultCode

SUCCESS = int(ResultCode.SUCCESS)
ALL = "-"
"""Key of a refund of whatever is left of a debit, in its order."""


def recipients_key(key: str, number: int) -> str:
    return f"{key}#{number}"


class Preparation(Protocol):
    """A request that is being made ready (`ocs.charging.prepare`)."""

    where: UsageContext
    action: Action
    kind: RequestType

    def towards(self, recipient: str) -> Preparation: ...

    def service(self, key: str, asked: Asked) -> Service: ...


def prepare(prepared: Prepared, job: Preparation, asked: Mapping[str, Asked]) -> None:
    """The services of a message to several recipients, or of a refund, which may be of one."""
    where, found = job.where, prepared.services
    if job.action is REFUND:
        for key, each in asked.items():
            debit = read(each.token or given(prepared.request) or b"")
            if debit is None or not debit.recipients:
                found.append(job.service(key, each))
                continue
            prepared.counted_once = debit.counted_once
            found += _refunds(job, key, each, debit, alone=len(asked) == 1)
    else:
        if job.kind is INITIAL or job.kind is EVENT:
            where.counted_once = any(_fewer(each, len(where.recipients)) for each in asked.values())
        prepared.recipients, prepared.counted_once = where.recipients, where.counted_once
        for key, each in asked.items():
            found += _services(job, key, each)
    prepared.several = any(service.whole for service in found)


def _fewer(asked: Asked, recipients: int) -> bool:
    """It asks for units, or a one-off debit reports them, and for fewer than there are recipients."""
    amount = units.amount_asked(asked.requested, MESSAGES) or sum(units.used_by_tariff(asked.used, MESSAGES))
    return 0 < amount < recipients


def _services(job: Preparation, key: str, asked: Asked) -> list[Service]:
    """One for each recipient; one for all when it cannot be charged, or is not charged by the message."""
    recipients = job.where.recipients
    whole = job.towards(recipients[0]).service(key, asked)
    if whole.charge is None or (whole.rated is not None and whole.rated.unit is not MESSAGES):
        return [whole]
    found: list[Service] = []
    for number, share in enumerate(_shares(asked, len(recipients), job.where.counted_once)):
        service = job.towards(recipients[number]).service(recipients_key(key, number + 1), share)
        if service.charge is None:
            service.key = key
            return [service]
        service.whole = key
        found.append(service)
    found[0].other_units, found[0].absurd_time_s = whole.other_units, whole.absurd_time_s
    return found


def _refunds(job: Preparation, key: str, asked: Asked, debit: Debit, *, alone: bool) -> list[Service]:
    """What goes back of a debit that had several recipients: to those whom the refund names, else to all. `alone`: no other service."""
    whole = job.service(key, asked)
    charge = whole.charge
    if charge is None or charge.want == 0:
        return [whole]
    named = _named(job, debit)
    everybody = len(named) == len(debit.recipients)
    wants: list[int | None]
    if charge.want is None or debit.counted_once:
        wants = [charge.want] * len(named)
    elif alone and everybody and charge.want % len(named):
        charge.key = whole.key = ALL
        return [whole]
    else:
        wants = list(divided(charge.want, len(named)))
    found = []
    for number, want in zip(named, wants, strict=True):
        if want != 0:
            its_key = recipients_key(key, number + 1)
            found.append(replace(whole, key=its_key, whole=key, charge=replace(charge, key=its_key, want=want)))
    return found


def _named(job: Preparation, debit: Debit) -> list[int]:
    where = job.where
    named = {mark(party) for party in where.recipients or (where.other_party or "",)}
    found = [number for number, each in enumerate(debit.recipients) if each in named]
    return found or list(range(len(debit.recipients)))


def divided(amount: int, among: int) -> list[int]:
    each, rest = divmod(amount, among)
    return [each + 1 if number < rest else each for number in range(among)]


def _shares(asked: Asked, among: int, once: bool) -> list[Asked]:
    def part(amount: int) -> list[int]:
        return [amount] * among if once else divided(amount, among)

    wish = units.amount_asked(asked.requested, MESSAGES)
    wishes = part(wish) if wish else [0] * among
    reports = [part(amount) for amount in units.used_by_tariff(asked.used, MESSAGES)]
    shares = []
    for number in range(among):
        requested = None
        if asked.requested is not None and (wishes[number] or not wish):
            requested = RequestedServiceUnit(cc_service_specific_units=wishes[number] or None)
        used = [
            UsedServiceUnit(tariff_change_usage=side, cc_service_specific_units=report[number])
            for side, report in enumerate(reports)
            if report[number]
        ]
        shares.append(replace(asked, requested=requested, used=used))
    return shares


# -- the answer


def together(
    prepared: Prepared, outcomes: Sequence[ServiceOutcome | None], outcome: ChargeOutcome
) -> tuple[Prepared, ChargeOutcome]:
    """The services and their outcomes as the client asked for them."""
    shown: list[Service] = []
    lines: list[ServiceOutcome | None] = []
    pairs = zip(prepared.services, outcomes, strict=True)
    for whole, group in groupby(pairs, key=lambda pair: pair[0].whole):
        if not whole:
            for service, line in group:
                shown.append(service)
                lines.append(line)
            continue
        members = list(group)
        shown.append(_shown(whole, [service for service, _ in members]))
        lines.append(_line(whole, [line for _, line in members], prepared))
    found = tuple(line for line in lines if line is not None)
    return replace(prepared, services=shown, several=False), replace(outcome, services=found)


def _shown(whole: str, members: Sequence[Service]) -> Service:
    first = next((service for service in members if service.rated is None), members[0])
    return replace(first, key=whole, whole="", divided=True)


def _line(whole: str, members: Sequence[ServiceOutcome | None], prepared: Prepared) -> ServiceOutcome | None:
    lines = [line for line in members if line is not None]
    if not lines or (len(lines) < len(members) and prepared.action is not REFUND):
        return None
    worst = next((line for line in lines if line.code != SUCCESS), lines[0])
    restricted = any(line.restricted for line in lines)
    grants = [line.granted for line in lines]
    granted = sum(grants)
    if prepared.counted_once:
        granted = max(grants) if prepared.action is REFUND else min(grants)
    return replace(
        worst,
        key=whole,
        granted=0 if restricted or worst.code != SUCCESS else granted,
        final=any(line.final for line in lines),
        restricted=restricted,
        span_switch=any(line.span_switch for line in lines),
        debited_micro_eur=sum(line.debited_micro_eur for line in lines),
        debited_units=sum(line.debited_units for line in lines),
        overrun_units=sum(line.overrun_units for line in lines),
        dropped=sum(line.dropped for line in lines),
    )
