"""SEPA direct debits by files: the message that goes to the bank, and its reports (HOT-TOP-4, HOT-TOP-5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any
from xml.etree import ElementTree

import pytest

from ocs.accounts.errors import InputError
from ocs.ledger.contract.payments import OrderState
from ocs.payments.orders import FILE_DUE
from ocs.payments.sepa.bank_days import bank_day, is_bank_day
from ocs.payments.sepa.export import Creditor, SepaExport
from ocs.payments.sepa.reports import Imported, apply_report, read_report
from ocs.policy.payments import account_payer
from tests.conftest import RedisServer
from tests.ocs.payments.test_automatic import use
from tests.ocs.payments.till import DAY_S, EUR, IBAN, Till, till_on
from tests.rules import rule

MINI = 6_990_000
ORDERED, SUBMITTED, CREDITED, FAILED, RETURNED = (
    OrderState.ORDERED,
    OrderState.SUBMITTED,
    OrderState.CREDITED,
    OrderState.FAILED,
    OrderState.RETURNED,
)


class Bank:
    """Exports, and reports of the bank."""

    def __init__(self, till: Till, schema: str = "pain.008.001.08", settled_after_days: int = 0) -> None:
        self.till = till
        creditor = Creditor("Operater d.o.o.", "SI98ZZZ12345678", IBAN, "LJBASI2X", schema, 2, settled_after_days)
        self.export = SepaExport(
            till.ledger, till.orders, till.mandates, creditor, till.ledger.partitions, lambda: till.world.now
        )

    async def file(self, message_id: str = "OCS-1") -> ElementTree.Element:
        """The debits that wait, as one message."""
        await self.export.submit(message_id)
        return ElementTree.fromstring((await self.export.message(message_id)).xml)

    async def report(self, xml: str) -> Imported:
        return await apply_report(self.till.orders, read_report(xml.encode()), self.export.orders_of)


@asynccontextmanager
async def bank_on(redis: RedisServer, **more: Any) -> AsyncIterator[tuple[Till, Bank]]:
    async with till_on(redis.url, automatic="sepa") as till:
        yield till, Bank(till, **more)


def text(node: ElementTree.Element, path: str) -> list[str]:
    """Texts by local names, such as "DrctDbtTxInf/PmtId/EndToEndId"."""
    return [each.text or "" for each in node.findall(".//" + "/".join(f"{{*}}{name}" for name in path.split("/")))]


def pain_002(*transactions: tuple[str, str, str], group: str = "", message_id: str = "OCS-1", batch: str = "") -> str:
    """(End-to-End-Id, status, reason)."""
    details = "".join(
        f"<TxInfAndSts><OrgnlEndToEndId>{order}</OrgnlEndToEndId><TxSts>{status}</TxSts>"
        f"<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf></TxInfAndSts>"
        for order, status, reason in transactions
    )
    group_status = f"<GrpSts>{group}</GrpSts><StsRsnInf><Rsn><Cd>FF01</Cd></Rsn></StsRsnInf>" if group else ""
    batch_status = "<PmtInfSts>RJCT</PmtInfSts><StsRsnInf><Rsn><Cd>AC04</Cd></Rsn></StsRsnInf>" if batch else ""
    return (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.03"><CstmrPmtStsRpt><GrpHdr/>'
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{message_id}</OrgnlMsgId>{group_status}</OrgnlGrpInfAndSts>"
        f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{message_id}-{batch}</OrgnlPmtInfId>{batch_status}{details}"
        "</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
    )


def camt_054(*entries: tuple[str, str, str], amount: str = "6.99", version: str = "08") -> str:
    """(End-to-End-Id, CRDT or DBIT, reason of the return)."""
    details = "".join(
        f"<Ntry><Amt Ccy='EUR'>{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd><NtryDtls><TxDtls>"
        f"<Refs><EndToEndId>{order}</EndToEndId></Refs><Amt Ccy='EUR'>{amount}</Amt>"
        f"<CdtDbtInd>{direction}</CdtDbtInd>"
        + (f"<RtrInf><Rsn><Cd>{reason}</Cd></Rsn></RtrInf>" if reason else "")
        + "</TxDtls></NtryDtls></Ntry>"
        for order, direction, reason in entries
    )
    return (
        f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.054.001.{version}"><BkToCstmrDbtCdtNtfctn>'
        f"<GrpHdr/><Ntfctn>{details}</Ntfctn></BkToCstmrDbtCdtNtfctn></Document>"
    )


# -- the message


@rule("HOT-TOP-4")
@pytest.mark.parametrize("schema", ["pain.008.001.02", "pain.008.001.08"])
async def test_orders_that_wait_are_in_one_message_that_fits_its_schema(redis_7: RedisServer, schema: str) -> None:
    async with bank_on(redis_7, schema=schema) as (till, bank):
        users = [await till.user(6.99 + 1, token="sepa") for _ in range(3)]
        await till.rounds()
        orders = [(await till.orders_of(user))[0] for user in users]
        assert {(order.state, order.due) for order in orders} == {(ORDERED, FILE_DUE)}
        document = await bank.file()
        assert document.tag.startswith(f"{{urn:iso:std:iso:20022:tech:xsd:{schema}}}")
        assert text(document, "GrpHdr/MsgId") == ["OCS-1"]
        assert text(document, "GrpHdr/CtrlSum") == ["20.97"]
        assert text(document, "PmtInf/PmtInfId") == ["OCS-1-FRST"]
        assert text(document, "PmtInf/ReqdColltnDt") == ["2026-11-12"], "two bank days after Tuesday, 10 November"
        assert sorted(text(document, "DrctDbtTxInf/PmtId/EndToEndId")) == sorted(order.id for order in orders)
        assert text(document, "DrctDbtTxInf/DbtrAcct/Id/IBAN") == [IBAN] * 3
        assert text(document, "DrctDbtTxInf/Dbtr/Nm") == ["Ana Zagar"] * 3, "letters that every bank takes"
        assert set(text(document, "DrctDbtTxInf/DrctDbtTx/MndtRltdInf/DtOfSgntr")) == {"2026-10-01"}
        for user in users:
            assert await till.states(user) == [SUBMITTED]
        assert (await bank.export.submit("OCS-2"), (await bank.export.message("OCS-2")).count) == (0, 0)
        again = await bank.export.message("OCS-1")
        assert (again.count, again.micro_eur, again.collect_on) == (3, 3 * MINI, "2026-11-12")


async def test_the_first_debit_of_a_mandate_is_frst_and_the_next_are_rcur_unless_it_was_refused(
    redis_7: RedisServer,
) -> None:
    async with bank_on(redis_7) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        assert text(await bank.file("A"), "PmtTpInf/SeqTp") == ["FRST"]
        (order,) = await till.orders_of(user)
        await bank.report(pain_002((order.id, "RJCT", "AC04")))
        await till.rounds(DAY_S, step_s=DAY_S // 4)
        assert text(await bank.file("B"), "PmtTpInf/SeqTp") == ["FRST"], "the first was refused"
        order = (await till.orders_of(user))[0]
        await bank.report(camt_054((order.id, "CRDT", "")))
        assert await till.states(user) == [CREDITED, FAILED]
        while await user.credit() >= 2 * EUR:
            await use(user)
        await till.rounds(11 * DAY_S, step_s=DAY_S // 2)
        assert text(await bank.file("C"), "PmtTpInf/SeqTp") == ["RCUR"]


@rule("HOT-TOP-5")
async def test_an_order_is_cancelled_until_it_is_in_a_message(redis_7: RedisServer) -> None:
    async with bank_on(redis_7) as (till, bank):
        user, other = await till.user(6.99 + 1, token="sepa"), await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        await till.switch(user, 0)
        await till.mandates.revoke(account_payer(other.account_id))
        assert await bank.export.submit("OCS-1") == 0
        assert [order.reason for order in await till.orders_of(user)] == ["off"]
        assert [order.reason for order in await till.orders_of(other)] == ["no-mandate"]


async def test_a_mandate_that_is_revoked_before_the_file_is_written_is_not_debited(redis_7: RedisServer) -> None:
    async with bank_on(redis_7, settled_after_days=3) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        assert await bank.export.submit("OCS-1") == 1
        await till.mandates.revoke(account_payer(user.account_id))
        assert (await bank.export.message("OCS-1")).count == 0
        await till.rounds(30 * DAY_S, step_s=DAY_S)
        assert CREDITED not in await till.states(user)


@pytest.mark.parametrize(
    ("day", "later", "expected"),
    [
        (date(2026, 11, 10), 2, date(2026, 11, 12)),
        (date(2026, 11, 13), 1, date(2026, 11, 16)),  # Friday
        (date(2026, 11, 14), 0, date(2026, 11, 16)),  # Saturday
        (date(2026, 12, 24), 1, date(2026, 12, 28)),  # Christmas: 25 and 26 December, then Sunday
        (date(2027, 3, 25), 1, date(2027, 3, 30)),  # Good Friday to Easter Monday
        (date(2027, 4, 30), 1, date(2027, 5, 3)),  # 1 May is a Saturday
    ],
)
def test_bank_days_are_those_of_the_target_calendar(day: date, later: int, expected: date) -> None:
    assert bank_day(day, later) == expected
    assert is_bank_day(expected)


def test_national_holidays_are_bank_days() -> None:
    assert is_bank_day(date(2027, 2, 8))  # Prešeren day


# -- reports


@rule("HOT-TOP-1", "HOT-TOP-4")
async def test_a_debit_that_the_bank_has_booked_is_credited_once(redis_7: RedisServer) -> None:
    async with bank_on(redis_7) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        await bank.file()
        (order,) = await till.orders_of(user)
        accepted = await bank.report(pain_002((order.id, "ACCP", "")))
        assert (accepted.unchanged, await till.states(user)) == (0, [SUBMITTED])
        done = await bank.report(camt_054((order.id, "CRDT", "")))
        assert dict(done.changed) == {"credited": 1}
        again = await bank.report(camt_054((order.id, "CRDT", ""), version="02"))
        assert (dict(again.changed), again.unchanged) == ({}, 1)
        assert await user.credit() == 1 * EUR + MINI


async def test_reports_of_others_and_of_other_amounts_change_nothing(redis_7: RedisServer) -> None:
    async with bank_on(redis_7) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        await bank.file()
        (order,) = await till.orders_of(user)
        done = await bank.report(camt_054(("00-ab-1", "CRDT", ""), ("NOTPROVIDED", "CRDT", "")))
        assert done.unknown == ["00-ab-1", "NOTPROVIDED"]
        done = await bank.report(camt_054((order.id, "CRDT", ""), amount="5.00"))
        assert done.different == [order.id]
        assert await till.states(user) == [SUBMITTED]


async def test_a_whole_message_or_batch_can_be_refused(redis_7: RedisServer) -> None:
    async with bank_on(redis_7) as (till, bank):
        users = [await till.user(6.99 + 1, token="sepa") for _ in range(2)]
        await till.rounds()
        await bank.file("A")
        assert dict((await bank.report(pain_002(group="RJCT", message_id="other"))).changed) == {}
        assert dict((await bank.report(pain_002(group="RJCT", message_id="A"))).changed) == {"failed": 2}
        assert [order.reason for order in await till.orders_of(users[0])] == ["FF01"]
        await till.rounds(DAY_S, step_s=DAY_S // 4)
        await bank.file("B")
        assert dict((await bank.report(pain_002(message_id="B", batch="RCUR"))).changed) == {}
        assert dict((await bank.report(pain_002(message_id="B", batch="FRST"))).changed) == {"failed": 2}


@rule("HOT-ACC-10")
@pytest.mark.parametrize("batch", ["", "FRST"], ids=["message", "batch"])
async def test_a_message_that_is_refused_after_it_was_credited_is_returned(redis_7: RedisServer, batch: str) -> None:
    """The bank rejects it after the day on which it was believed paid (`settled_after_days`), and says so twice."""
    async with bank_on(redis_7, settled_after_days=3) as (till, bank):
        users = [await till.user(6.99 + 1, token="sepa") for _ in range(3)]
        await till.rounds()
        await bank.file("A")
        single = (await till.orders_of(users[2]))[0]
        await bank.report(pain_002((single.id, "RJCT", "AC04")))
        await till.rounds(8 * DAY_S, step_s=DAY_S // 4)
        assert [(await till.states(user))[-1] for user in users] == [CREDITED, CREDITED, FAILED]
        rejected = pain_002(group="" if batch else "RJCT", message_id="A", batch=batch)
        first, again = await bank.report(rejected), await bank.report(rejected)
        assert (dict(first.changed), first.unchanged) == ({"returned": 2}, 1)
        assert (dict(again.changed), again.unchanged) == ({}, 3)
        for user in users[:2]:
            view = await user.view()
            assert (view.credit_micro_eur, view.auto_below_micro_eur, view.blocks) == (1 * EUR, 0, ("non-payment",))
            assert await till.states(user) == [RETURNED]


@rule("HOT-ACC-10")
@pytest.mark.parametrize("by", ["camt", "reversal", "pain"])
async def test_r_transactions_take_the_credit_back(redis_7: RedisServer, by: str) -> None:
    async with bank_on(redis_7) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        await bank.file()
        (order,) = await till.orders_of(user)
        await bank.report(camt_054((order.id, "CRDT", "")))
        back = {
            "camt": camt_054((order.id, "DBIT", "MD06")),
            "reversal": camt_054((order.id, "CRDT", "")).replace("<NtryDtls>", "<RvslInd>true</RvslInd><NtryDtls>"),
            "pain": pain_002((order.id, "RJCT", "MD06")),
        }[by]
        for n in range(2):
            done = await bank.report(back)
            assert (dict(done.changed), done.unchanged) == (({"returned": 1}, 0), ({}, 1))[n]
        view = await user.view()
        assert (view.credit_micro_eur, view.auto_below_micro_eur, view.blocks) == (1 * EUR, 0, ("non-payment",))
        assert await till.states(user) == [RETURNED]


@pytest.mark.parametrize("status", ["<Sts>PDNG</Sts>", "<Sts><Cd>PDNG</Cd></Sts>", "<Sts><Cd>INFO</Cd></Sts>"])
async def test_an_entry_that_is_not_booked_pays_nothing(redis_7: RedisServer, status: str) -> None:
    async with bank_on(redis_7) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        await bank.file()
        (order,) = await till.orders_of(user)
        report = camt_054((order.id, "CRDT", ""))
        await bank.report(report.replace("<NtryDtls>", f"{status}<NtryDtls>"))
        assert await till.states(user) == [SUBMITTED]
        booked = status.replace("PDNG", "BOOK").replace("INFO", "BOOK")
        await bank.report(report.replace("<NtryDtls>", f"{booked}<NtryDtls>"))
        assert await till.states(user) == [CREDITED]


async def test_a_return_with_charges_of_the_bank_is_known_by_its_original_amount(redis_7: RedisServer) -> None:
    async with bank_on(redis_7) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        await bank.file()
        (order,) = await till.orders_of(user)
        await bank.report(camt_054((order.id, "CRDT", "")))
        back = camt_054((order.id, "DBIT", "MD06"), amount="9.99")
        done = await bank.report(back)
        assert (dict(done.changed), done.different) == ({}, [order.id])
        details = "<AmtDtls><InstdAmt><Amt Ccy='EUR'>6.99</Amt></InstdAmt></AmtDtls><RtrInf>"
        await bank.report(back.replace("<RtrInf>", details))
        assert await till.states(user) == [RETURNED]
        assert (await user.view()).credit_micro_eur == 1 * EUR, "what was credited, not the charges"


async def test_a_bank_that_reports_failures_only_is_believed_some_bank_days_after_the_collection(
    redis_7: RedisServer,
) -> None:
    async with bank_on(redis_7, settled_after_days=3) as (till, bank):
        user = await till.user(6.99 + 1, token="sepa")
        await till.rounds()
        await bank.file()  # Tuesday; collected on Thursday, paid on the next Tuesday
        await till.rounds(6 * DAY_S, step_s=DAY_S // 4)
        assert await till.states(user) == [SUBMITTED]
        await till.rounds(2 * DAY_S, step_s=DAY_S // 4)
        assert await till.states(user) == [CREDITED]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<a",
        b"<Document/>",
        b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d>&x;</d>',
        b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><d>&b;</d>',
        b'<!DOCTYPE d SYSTEM "http://127.0.0.1:1/x"><Document/>',
    ],
)
def test_files_that_are_no_reports_or_have_entities_are_refused(octets: bytes) -> None:
    with pytest.raises(InputError) as refused:
        read_report(octets)
    assert refused.value.code == "file"
    assert "passwd" not in str(refused.value)
