"""What the bank reports: pain.002 (which debits it refused), camt.054 and camt.053 (which were paid, which came back).

Files come from outside: documents with a DTD or entities are refused (XXE). Elements are found by their local names, as
the versions of a message differ in their namespace only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from xml.etree.ElementTree import Element

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from ocs.accounts.errors import InputError, UnknownError
from ocs.ledger.contract.payments import OrderState, PaymentOrder
from ocs.payments.collecting import SEPA
from ocs.payments.orders import PaymentOrders
from ocs.payments.provider import Answer
from ocs.policy.payments import Outcome
from ocs.values.money import MICRO

MAX_OCTETS = 64 * 1024 * 1024
REFUSED, PAID = ("RJCT",), ("ACSC", "ACCC")
"""TxSts of pain.002; others say that it is under way."""
BOOKED = "BOOK"
"""Status of an entry of camt whose money has moved."""
OrdersOf = Callable[[str], Awaitable[Sequence[PaymentOrder]]]
"""Message id → its orders."""
_REASON = re.compile(r"[A-Z0-9]{4}")


@dataclass(frozen=True, slots=True)
class Reported:
    """An outcome of one order, or of all of a message or batch."""

    outcome: Outcome
    reason: str = ""
    order_id: str = ""
    message_id: str = ""
    sequence: str = ""
    """Of a batch of the message: FRST or RCUR."""
    amounts: tuple[int, ...] = ()
    """Micro-EUR: what the bank says of the amount; () = nothing. A return has the original amount and, where the bank
    adds its charges, what was booked.
    """


@dataclass(slots=True)
class Imported:
    changed: Counter[str] = field(default_factory=Counter)
    """Orders by the state that they have now."""
    unchanged: int = 0
    unknown: list[str] = field(default_factory=list)
    """End-to-End-Ids of no order of ours."""
    different: list[str] = field(default_factory=list)
    """Orders whose amount is another one."""


def read_report(octets: bytes) -> list[Reported]:
    """InputError "file": it cannot be read, or is another message."""
    if len(octets) > MAX_OCTETS:
        raise InputError("file", f"a report has at most {MAX_OCTETS} octets")
    try:
        document = fromstring(octets, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputError("file", f"this is no XML that is read: {type(error).__name__}") from None
    for name, read in (("CstmrPmtStsRpt", _statuses), ("BkToCstmrDbtCdtNtfctn", _entries), ("BkToCstmrStmt", _entries)):
        found = _child(document, name)
        if found is not None:
            return list(read(found))
    raise InputError("file", "this is no pain.002, camt.054 or camt.053 message")


# -- pain.002


def _statuses(report: Element) -> Iterator[Reported]:
    group = _child(report, "OrgnlGrpInfAndSts")
    message_id = _text(group, "OrgnlMsgId")
    batches = list(_children(report, "OrgnlPmtInfAndSts"))
    if _text(group, "GrpSts") in REFUSED and not any(True for _ in _descendants(report, "TxInfAndSts")):
        yield Reported(Outcome.FAILED, _reason(group, "StsRsnInf"), message_id=message_id)
        return
    for batch in batches:
        transactions = list(_children(batch, "TxInfAndSts"))
        if not transactions and _text(batch, "PmtInfSts") in REFUSED:
            batch_id = _text(batch, "OrgnlPmtInfId")
            reason = _reason(batch, "StsRsnInf")
            yield Reported(
                Outcome.FAILED, reason, message_id=message_id, sequence=batch_id.removeprefix(f"{message_id}-")
            )
        for each in transactions:
            status = _text(each, "TxSts")
            order_id = _text(each, "OrgnlEndToEndId")
            if status in REFUSED:
                yield Reported(Outcome.FAILED, _reason(each, "StsRsnInf"), order_id)
            elif status in PAID:
                yield Reported(Outcome.SUCCEEDED, "", order_id)


# -- camt.054, camt.053


def _entries(report: Element) -> Iterator[Reported]:
    for entry in _descendants(report, "Ntry"):
        if not _is_booked(entry):
            continue
        reversal = _text(entry, "RvslInd") == "true"
        for each in _descendants(entry, "TxDtls"):
            references = _child(each, "Refs")
            order_id = _text(references, "EndToEndId")
            direction = _text(each, "CdtDbtInd") or _text(entry, "CdtDbtInd")
            if not order_id:
                continue
            back = _child(each, "RtrInf")
            if back is not None or reversal or direction == "DBIT":
                yield Reported(Outcome.RETURNED, _reason(each, "RtrInf"), order_id, amounts=_amounts(each))
            else:
                yield Reported(Outcome.SUCCEEDED, "", order_id, amounts=_amounts(each))


def _is_booked(entry: Element) -> bool:
    """An entry that is pending (PDNG), or for information (INFO), moves no money yet. Versions to 02 have the status as
    text, later ones as a code.
    """
    status = _child(entry, "Sts")
    if status is None:
        return True
    return (_text(status, "Cd") or (status.text or "").strip()) in ("", BOOKED)


def _amounts(details: Element) -> tuple[int, ...]:
    of = _child(details, "AmtDtls")
    found = (_child(each, "Amt") for each in (details, _child(of, "TxAmt"), _child(of, "InstdAmt")))
    return tuple(micro_eur for each in found if each is not None and (micro_eur := _micro_eur(each)))


def _micro_eur(amount: Element) -> int:
    """0 = it cannot be read, or is of another currency."""
    if amount.get("Ccy") != "EUR":
        return 0
    try:
        return int(Decimal(amount.text or "0") * MICRO)
    except (InvalidOperation, OverflowError, ValueError):
        return 0


# -- elements by local names


def _local(node: Element) -> str:
    return str(node.tag).rpartition("}")[2]


def _children(node: Element | None, name: str) -> Iterator[Element]:
    return (each for each in (node if node is not None else ()) if _local(each) == name)


def _child(node: Element | None, name: str) -> Element | None:
    return next(_children(node, name), None)


def _descendants(node: Element, name: str) -> Iterator[Element]:
    return (each for each in node.iter() if _local(each) == name)


def _text(node: Element | None, name: str) -> str:
    found = _child(node, name)
    return (found.text or "").strip()[:64] if found is not None else ""


def _reason(node: Element | None, group: str) -> str:
    """Code of ISO 20022, ExternalStatusReason or ExternalReturnReason, such as AM04."""
    for found in _children(node, group):
        code = _text(_child(found, "Rsn"), "Cd")
        if _REASON.fullmatch(code):
            return code
    return ""


# -- applying


async def apply_report(orders: PaymentOrders, reported: Sequence[Reported], of_message: OrdersOf) -> Imported:
    """Apply what was reported; what was applied before changes nothing. `of_message`: all orders of a message, credited
    ones too, for what concerns the whole of it.
    """
    done = Imported()
    for each in reported:
        if each.order_id:
            await _apply(orders, each.order_id, each, done)
            continue
        for order in await of_message(each.message_id):
            if not each.sequence or order.sequence == each.sequence:
                await _apply(orders, order.id, each, done)
    return done


async def _apply(orders: PaymentOrders, order_id: str, reported: Reported, done: Imported) -> None:
    try:
        order = await orders.read(order_id)
    except UnknownError:
        done.unknown.append(order_id)
        return
    if order.provider != SEPA:
        done.unknown.append(order_id)
        return
    if reported.amounts and order.amount_micro_eur not in reported.amounts:
        done.different.append(order_id)
        return
    outcome = reported.outcome
    if outcome is Outcome.FAILED and order.state in (OrderState.SUCCEEDED, OrderState.CREDITED, OrderState.REFUND_DUE):
        outcome = Outcome.RETURNED  # it was credited before the bank reported
    after = await orders.learn(order, Answer(outcome, reason=reported.reason))
    if after.version == order.version:
        done.unchanged += 1
    else:
        done.changed[after.state.value] += 1
