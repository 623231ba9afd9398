"""Messages to several recipients: the services of a request or refund.

For the ledger each recipient is a service, with its price and buckets; the client gets one answer for the message.

The requested service has key K; its parts have K#1, K#2, … in the order of the recipients in the CCR-I or CCR-E. Units
are divided among the parts; a remainder goes to the first ones. If a client requests fewer units than there are
recipients, it counts the message once: the units are for each recipient. So are units that it reports later, up to the
number it last requested.

An event is debited for all recipients or for none (RFC 8506 §6.3). `recipient_outcomes` merges the outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ocs.charging import units
from ocs.charging.members import EVENT, INITIAL, MESSAGES, ORIGINATING, REFUND
from ocs.charging.prepared import Asked, Prepared, Service
from ocs.charging.refund_token import Debit, checksum, decode, from_request
from ocs.charging.unrateable import unrateable_avp
from ocs.charging.usage_context import UsageContext
from ocs.values.requests import Action, RequestType
from protocol.credit_control import CreditControlRequest, RequestedServiceUnit, UsedServiceUnit

ALL = "-"
"""Key of a refund that the ledger divides among all services of the debit, in their order."""


def part_key(key: str, number: int) -> str:
    return f"{key}#{number}"


class Preparation(Protocol):
    """`ocs.charging.prepare.Preparation`."""

    request: CreditControlRequest
    where: UsageContext
    action: Action
    kind: RequestType

    def towards(self, recipient: str) -> Preparation: ...

    def canonical_party(self, party: str) -> str: ...

    def service(self, key: str, asked: Asked) -> Service: ...


def prepare(prepared: Prepared, job: Preparation, asked: Mapping[str, Asked]) -> None:
    """Add the services of a message to several recipients, or of any refund."""
    if job.action is REFUND:
        _prepare_refund(prepared, job, asked)
    else:
        _prepare_message(prepared, job, asked)
    prepared.several = any(service.whole for service in prepared.services)


def _prepare_message(prepared: Prepared, job: Preparation, asked: Mapping[str, Asked]) -> None:
    where, found = job.where, prepared.services
    opens = job.kind is INITIAL or job.kind is EVENT
    if opens:
        prepared.recipients = _merge_spellings(job)
    count = len(where.recipients)
    if not count:
        found += [job.service(key, each) for key, each in asked.items()]
        return
    granted_before = where.counted_once
    if opens:
        where.counted_once = granted_before = max((_counted_once(each, count) for each in asked.values()), default=0)
    elif where.counted_once:
        amounts = (_requested_amount(each) for each in asked.values())
        where.counted_once = max((amount for amount in amounts if 0 < amount < count), default=where.counted_once)
    for key, each in asked.items():
        found += _services(job, key, each, granted_before)


def _merge_spellings(job: Preparation) -> tuple[str, ...]:
    """Merge several spellings of one recipient into the first one. Returns the recipients in canonical form."""
    found: dict[str, str] = {}
    for recipient in job.where.recipients:
        found.setdefault(job.canonical_party(recipient), recipient)
    job.where.recipients = tuple(found.values()) if len(found) > 1 else ()
    return tuple(found)


def _requested_amount(asked: Asked) -> int:
    return units.amount_asked(asked.requested, MESSAGES) or 0


def _counted_once(asked: Asked, count: int) -> int:
    """Units for each recipient if the client counts the message once, else 0. It counts once if it requests fewer units
    than recipients, or if an event reports a single unit.
    """
    amount = _requested_amount(asked)
    if amount:
        return amount if amount < count else 0
    return 1 if sum(units.used_by_tariff(asked.used, MESSAGES)) == 1 else 0


def _services(job: Preparation, key: str, asked: Asked, granted_before: int) -> list[Service]:
    """One service for each recipient; a single one if it cannot be charged, or is not charged in messages."""
    recipients = job.where.recipients
    whole = job.towards(recipients[0]).service(key, asked)
    if whole.charge is None or (whole.rated is not None and whole.rated.unit is not MESSAGES):
        return [whole]
    shares = _shares(job, asked, granted_before)
    found: list[Service] = []
    for number, share in enumerate(shares.parts):
        if share is None:
            continue
        service = job.towards(recipients[number]).service(part_key(key, number + 1), share)
        if service.charge is None:
            service.key = key
            return [service]
        service.whole, service.of_each = key, shares.of_each
        service.other_units, service.absurd_time_s = (), 0
        found.append(service)
    found[0].other_units, found[0].absurd_time_s = whole.other_units, whole.absurd_time_s
    return found


@dataclass(slots=True)
class _Shares:
    parts: Sequence[Asked | None]
    """By recipient; None = an event reports nothing for it."""
    of_each: bool
    """The units are for each recipient."""


def _shares(job: Preparation, asked: Asked, granted_before: int) -> _Shares:
    count, once, one_off = len(job.where.recipients), job.where.counted_once > 0, job.kind is EVENT
    amount, reports = _requested_amount(asked), units.used_by_tariff(asked.used, MESSAGES)
    used = sum(reports)
    amount_of_each = once and amount < count
    if not amount and not used:  # amounts in other units are kept: they are refused later
        return _Shares([asked] * count, amount_of_each)
    used_of_each = used < count and used <= granted_before
    amounts = [amount] * count if amount_of_each else divided(amount, count)
    parts: list[Asked | None] = []
    for number, report in enumerate(_reports(reports, count, used_of_each)):
        if one_off and not amount and not any(report):
            parts.append(None)
            continue
        requested = None
        if asked.requested is not None and (amounts[number] or not amount):
            requested = RequestedServiceUnit(cc_service_specific_units=amounts[number] or None)
        used_units = [
            UsedServiceUnit(tariff_change_usage=side, cc_service_specific_units=used_amount)
            for side, used_amount in enumerate(report)
            if used_amount
        ]
        parts.append(replace(asked, requested=requested, used=used_units))
    return _Shares(parts, used_of_each if one_off and not amount else amount_of_each)


def _reports(reports: Sequence[int], count: int, of_each: bool) -> list[list[int]]:
    """Use of each recipient: before the price change, after it, indeterminate."""
    if of_each:
        return [list(reports)] * count
    found, left = [], list(reports)
    for share in divided(sum(reports), count):
        part: list[int] = []
        for side, amount in enumerate(left):
            part.append(min(share - sum(part), amount))
            left[side] -= part[-1]
        found.append(part)
    return found


def divided(amount: int, count: int) -> list[int]:
    each, rest = divmod(amount, count)
    return [each + 1 if number < rest else each for number in range(count)]


# -- refunds


def _prepare_refund(prepared: Prepared, job: Preparation, asked: Mapping[str, Asked]) -> None:
    for key, each in asked.items():
        debit = decode(each.token or from_request(prepared.request) or b"")
        if debit is None or not debit.recipients:
            prepared.services.append(job.service(key, each))
            continue
        named, unknown = _refunded_recipients(job, debit)
        if unknown:
            prepared.wrong_recipient = unrateable_avp("other_party", prepared.request, job.where.towards(unknown), each)
        prepared.services += _refunds(job, key, each, debit, named, alone=len(asked) == 1)


def _refunds(
    job: Preparation, key: str, asked: Asked, debit: Debit, named: Sequence[int], *, alone: bool
) -> list[Service]:
    """Services that refund a debit of several recipients. `named`: indexes of the recipients to refund; `alone`: the
    request has no other service.
    """
    whole = job.service(key, asked)
    charge = whole.charge
    if charge is None or charge.want == 0:
        return [whole]
    of_each = debit.counted_once and (charge.want is None or charge.want < len(debit.recipients))
    all_named = len(named) == len(debit.recipients)
    wants: list[int | None]
    if charge.want is None or of_each:
        wants = [charge.want] * len(named)
    elif alone and all_named and charge.want % len(named):
        charge.key = whole.key = ALL
        return [whole]
    else:
        wants = list(divided(charge.want, len(named)))
    found = []
    for number, want in zip(named, wants, strict=True):
        if want != 0:
            key_of_part = part_key(key, number + 1)
            part = replace(charge, key=key_of_part, want=want)
            found.append(replace(whole, key=key_of_part, whole=key, of_each=of_each, charge=part))
    return found


def _refunded_recipients(job: Preparation, debit: Debit) -> tuple[list[int], str]:
    """Indexes of the debit's recipients that the refund names; all if it names nobody. And a recipient that the debit
    does not have, or "".
    """
    where, found, unknown = job.where, set[int](), ""
    parties = where.recipients or ((where.other_party,) if where.other_party else ())
    for party in parties if where.direction is ORIGINATING else ():
        checksums = checksum(job.canonical_party(party)), checksum(party)
        numbers = {number for number, each in enumerate(debit.recipients) if each in checksums}
        found |= numbers
        if not numbers:
            unknown = unknown or party
    return sorted(found) or list(range(len(debit.recipients))), unknown
