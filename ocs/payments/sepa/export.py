"""Direct debits for the bank: a pain.008 message of the orders that wait (SEPA Core Direct Debit).

First each order is stored as submitted with the id of the message; then the message is made of what is stored. So an
order is in one message only, and a message whose file was lost is made again with the same id: the bank knows it by
that id.
"""

from __future__ import annotations

import secrets
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any

from ocs.ledger.contract.payments import OrderState, PaymentLedger, PaymentOrder, UnknownOrderError
from ocs.payments.collecting import SEPA
from ocs.payments.mandates import Mandate, Mandates
from ocs.payments.orders import FILE_DUE, PaymentOrders
from ocs.payments.sepa.bank_days import bank_day
from ocs.values.money import CENT

MOST_OF_A_PARTITION = 10_000
MOST_IN_A_FILE = 100_000
"""Debits; the others are in the next file."""
FIRST, RECURRING = "FRST", "RCUR"
MESSAGE_PREFIX = "OCS"
SETTLED_AT = time(12, tzinfo=UTC)
"""When a debit that the bank has reported nothing of counts as paid."""


@dataclass(frozen=True, slots=True)
class Creditor:
    name: str
    id: str
    iban: str
    bic: str
    schema: str
    collect_after_days: int
    settled_after_days: int


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    count: int
    micro_eur: int
    collect_on: str
    """2026-12-03; "" = there is nothing in it."""
    xml: bytes


def new_message_id(now: int) -> str:
    """At most 35 characters."""
    return f"{MESSAGE_PREFIX}-{datetime.fromtimestamp(now, UTC):%Y%m%d%H%M%S}-{secrets.token_hex(4)}"


class SepaExport:
    """`now` gives Unix seconds."""

    def __init__(
        self,
        ledger: PaymentLedger,
        orders: PaymentOrders,
        mandates: Mandates,
        creditor: Creditor,
        partitions: int,
        now: Callable[[], int],
    ) -> None:
        self._ledger, self._orders, self._mandates = ledger, orders, mandates
        self._creditor, self._partitions, self._now = creditor, partitions, now

    async def submit(self, message_id: str) -> int:
        """Put the orders that wait into the message; returns how many."""
        today = datetime.fromtimestamp(self._now(), UTC).date()
        collect_on = bank_day(today, self._creditor.collect_after_days)
        count = 0
        waiting = (await self._waiting())[:MOST_IN_A_FILE]
        if waiting:
            await self._ledger.put_in_message(message_id, [order.id for order in waiting])
        for order in waiting:
            if why := await self._orders.why_not(order):
                await self._orders.fail(order, why, released=True)
                continue
            mandate = await self._orders.mandate_of(order)
            if mandate is not None:
                count += await self._submit_one(order, mandate, message_id, collect_on)
        return count

    async def _waiting(self) -> list[PaymentOrder]:
        found = await self.listed()
        return [each for each in found if each.provider == SEPA and each.state is OrderState.ORDERED]

    async def listed(self) -> list[PaymentOrder]:
        """All orders with something to do, the oldest first."""
        found: list[PaymentOrder] = []
        for partition in range(self._partitions):
            for order_id in await self._ledger.due_orders(partition, now=FILE_DUE, count=MOST_OF_A_PARTITION):
                order = await self._orders.read(order_id)
                found.append(order)
        return sorted(found, key=lambda order: (order.at, order.id))

    async def _submit_one(self, order: PaymentOrder, mandate: Mandate, message_id: str, collect_on: date) -> bool:
        """False = the order has changed meanwhile."""
        sequence = RECURRING if await self._is_begun(mandate, order) else FIRST
        if sequence == FIRST:
            await self._mandates.note_first(order.payer, mandate.id, order.id)
        days = self._creditor.settled_after_days
        settled = datetime.combine(bank_day(collect_on, days), SETTLED_AT)
        submitted = replace(
            order,
            state=OrderState.SUBMITTED,
            tries=1,
            provider_id=message_id,
            sequence=sequence,
            collect_on=int(f"{collect_on:%Y%m%d}"),
            due=int(settled.timestamp()) if days else FILE_DUE,
        )
        return await self._orders.store(submitted) is not None

    async def _is_begun(self, mandate: Mandate, order: PaymentOrder) -> bool:
        """Whether a debit of the mandate was submitted, and not refused."""
        if not mandate.first_order or mandate.first_order == order.id:
            return False
        try:
            first = await self._ledger.read_order(mandate.first_order)
        except UnknownOrderError:
            return True  # it is forgotten, after more than a year
        return first.state not in (OrderState.ORDERED, OrderState.FAILED)

    async def orders_of(self, message_id: str) -> list[PaymentOrder]:
        """The orders that were put into the message, whatever has become of them."""
        found = await self._ledger.orders_in_message(message_id)
        return [each for each in found if each.provider_id == message_id]

    async def message(self, message_id: str) -> Message:
        """The message, of the orders that were put into it."""
        orders = [each for each in await self.listed() if each.provider_id == message_id]
        pairs = []
        for order in orders:
            mandate = await self._orders.mandate_of(order)
            if mandate is None:  # it was revoked meanwhile: the bank is not told of it
                await self._orders.fail(order, "no-mandate", released=True)
            else:
                pairs.append((order, mandate))
        if not pairs:
            return Message(message_id, 0, 0, "", b"")
        day = f"{_date(pairs[0][0].collect_on):%Y-%m-%d}"
        total = sum(order.amount_micro_eur for order, _ in pairs)
        return Message(message_id, len(pairs), total, day, pain_008(self._creditor, message_id, pairs))


def _date(number: int) -> date:
    return date(number // 10_000, number // 100 % 100, number % 100)


def pain_008(creditor: Creditor, message_id: str, debits: Sequence[tuple[PaymentOrder, Mandate]]) -> bytes:
    """The message, checked against its schema. One batch for each sequence type, "<message id>-FRST" and "-RCUR"."""
    from sepaxml import SepaDD
    from sepaxml.validation import try_valid_xml

    config = {
        "name": creditor.name,
        "IBAN": creditor.iban,
        "BIC": creditor.bic,
        "batch": True,
        "creditor_id": creditor.id,
        "currency": "EUR",
    }
    made = SepaDD(config, schema=creditor.schema, clean=True)
    for order, mandate in debits:
        made.add_payment(_payment(order, mandate))
    document = ElementTree.fromstring(made.export(validate=False))  # of our own making
    space = f"{{urn:iso:std:iso:20022:tech:xsd:{creditor.schema}}}"
    _set(document, f".//{space}GrpHdr/{space}MsgId", message_id)
    for batch in document.iter(f"{space}PmtInf"):
        sequence = batch.findtext(f"{space}PmtTpInf/{space}SeqTp")
        _set(batch, f"{space}PmtInfId", f"{message_id}-{sequence}")
    ElementTree.register_namespace("", space[1:-1])
    xml: bytes = ElementTree.tostring(document, "UTF-8", xml_declaration=True)
    try_valid_xml(xml, creditor.schema)
    return xml


def _payment(order: PaymentOrder, mandate: Mandate) -> dict[str, Any]:
    assert order.amount_micro_eur % CENT == 0, "prices of packages are whole cents"
    return {
        "name": mandate.name,
        "IBAN": mandate.iban,
        **({"BIC": mandate.bic} if mandate.bic else {}),
        "amount": order.amount_micro_eur // CENT,
        "type": order.sequence,
        "collection_date": _date(order.collect_on),
        "mandate_id": mandate.id,
        "mandate_date": date.fromisoformat(mandate.signed_on),
        "description": f"Top-up {order.id}",
        "endtoend_id": order.id,
    }


def _set(node: ElementTree.Element, path: str, text: str) -> None:
    found = node.find(path)
    assert found is not None, path
    found.text = text
