"""What people look up: itemised use by billing period, transactions, statements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from ocs.accounts.errors import InputError
from ocs.history.engine import history_engine
from ocs.history.migrating import migrate
from ocs.history.periods import PERIOD_S
from ocs.history.service import History, HistoryUnavailableError, parse_month
from ocs.history.statement import statement
from ocs.settings.history_section import HistorySection
from ocs.values.money import net_micro_eur
from tests.ocs.history.records import DAY, HOUR, T0, Folder, Journal, load_all, use
from tests.rules import rule


class Noted:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    async def note_event(self, kind: str, account_id: str, *, now: int, event: Mapping[str, object]) -> None:
        self.events.append((kind, account_id, now, dict(event)))


def service(engine: Engine, folder: Folder, now: int) -> History:
    return History(engine, folder.path, Noted(), lambda: now, past_periods=3)


@rule("HOT-REC-1")
async def test_itemised_use_of_each_billing_period(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    for number in range(6):
        at = T0 + number * PERIOD_S
        folder.append(
            journal.line("01-a", "topup", at, credit_in=10_000_000),
            journal.line("01-a", "package", at + 1, id="MAXI", ok=1, debit=5, price=5, period_end=at + 1 + PERIOD_S),
            journal.charge("01-a", at + 2, f"call{number}", use(debit=7), debit=7, started=at + 2),
            journal.charge("01-a", at + 3, f"free{number}", use("emergency"), started=at + 3),
            journal.charge("01-a", at + 4, f"in{number}", use("voice.incoming"), started=at + 4),
            journal.charge("01-a", at + 5, f"mb{number}", use(units=[["M.voice", 60]]), started=at + 5),
        )
    load_all(engine, folder)
    history = service(engine, folder, T0 + 5 * PERIOD_S + HOUR)
    for period in range(4):
        page = await history.usage(("01-a",), period, after=None, limit=50)
        begins_at = T0 + (5 - period) * PERIOD_S + 1
        assert page.period == (begins_at, T0 + 5 * PERIOD_S + HOUR + 1 if not period else begins_at + PERIOD_S)
        number = 5 - period
        assert [each.session_id for each in page.items] == [f"call{number}", f"mb{number}"], "every charged service"
    first = page.items[0]
    assert (first.party, first.micro_eur, first.rate) == ("tel:+38641038xxx", 7, "voice.home.national")
    for wrong in (-1, 4):
        with pytest.raises(InputError, match=r"period is 0 .* to 3"):
            await history.usage(("01-a",), wrong, after=None, limit=50)
    assert (await history.usage(("99-z",), 0, after=None, limit=50)).items == []


async def test_pages_show_each_row_once(engine: Engine, folder: Folder) -> None:
    """Also rows of the same second, and of an account that was moved."""
    journal = Journal()
    for number in range(25):
        at = T0 + number // 10
        folder.append(
            journal.charge("01-a", at, f"s{number}", use(debit=1), debit=1, started=at),
            journal.line("01-a", "topup", at, credit_in=10 + number),
        )
    at = T0 + 10
    folder.append(
        journal.line("01-a", "moved_out", at, to="02-b", debit=journal.credit["01-a"]),
        journal.line("02-b", "moved_in", at, of="01-a", credit_in=500),
        journal.charge("02-b", at, "last", use(debit=1), debit=1, started=at),
        journal.line("02-b", "topup", at, credit_in=77),
    )
    load_all(engine, folder)
    history, seen, amounts = service(engine, folder, T0 + DAY), list[str](), list[int]()
    after = None
    while items := (await history.usage(("02-b",), 0, after=after, limit=7)).items:
        seen += [each.session_id for each in items]
        after = items[-1].position
    assert sorted(seen) == sorted([*(f"s{number}" for number in range(25)), "last"])
    after = None
    while found := await history.transactions(("02-b",), (T0, T0 + DAY), after=after, limit=4):
        amounts += [each.micro_eur for each in found]
        after = found[-1].position
    assert amounts == [*range(10, 35), 77], "in the order of the events; moves are internal"
    only = await history.transactions(("02-b",), (T0, T0 + 1), kinds=("package",), after=None, limit=4)
    assert only == []


@rule("HOT-RAT-8")
@rule("HOT-REC-1")
@rule("HOT-RAT-6")
async def test_a_statement_has_net_vat_and_gross_and_explains_the_credit(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    premium = use("premium", used=1, debit=500_000, detail="29340 mo 090123456\x1fpremium")
    end = T0 + 11 * HOUR
    folder.append(
        journal.line("01-a", "opened", T0, credit_in=30_000_000),
        journal.line("01-a", "package", T0 + 1, id="MAXI", ok=1, debit=9_990_000, price=9_990_000, period_end=T0 + DAY),
        journal.line("01-a", "use", T0 + 2, sid="s", typ="U", n=1, debit=100_000),
        journal.charge("01-a", T0 + 3, "s", use(debit=122_000, used=90), debit=22_000),
        journal.charge("01-a", T0 + 4, "p", premium, debit=500_000),
        journal.line("01-a", "refund", T0 + 5, sid="r", of_session="p", ctx="sms", n=1, credit_in=61_000, svc=[
            {"key": "-", "price": "premium@1", "used": 1, "credit_in": 61_000, "units": []}]),
        # A session over the end of the month: debited in November, recorded in December.
        journal.line("01-a", "use", end - 9, sid="long", typ="U", n=1, debit=244_000),
        journal.charge("01-a", end + 9, "long", use(debit=305_000, used=9), debit=61_000, closed=True),
        journal.line("01-a", "topup", end + 10, credit_in=1_000_000, ref="R"),
    )  # fmt: skip
    load_all(engine, folder)
    history = service(engine, folder, T0 + DAY)
    november = await history.statement(("01-a",), 202611, journal.credit["01-a"])
    assert november.opening_micro_eur == 0
    assert november.closing_micro_eur == 30_000_000 - 9_990_000 - 622_000 + 61_000 - 244_000
    assert november.transactions[2].what == "p", "the session of the refunded debit"
    package = november.transactions[1]
    net = net_micro_eur(9_990_000, 22)
    assert (package.micro_eur, package.net_micro_eur, package.vat_micro_eur) == (-9_990_000, -net, -9_990_000 + net)
    opened = november.transactions[0]
    assert (opened.net_micro_eur, opened.vat_micro_eur) == (30_000_000, 0), "a payment is no sale"
    assert [(each.rate, each.itemised, each.micro_eur, each.net_micro_eur, each.used) for each in november.use] == [
        ("premium", "premium", 500_000, net_micro_eur(500_000, 22), 1),
        ("voice.home.national", "", 122_000, 100_000, 90),
    ]
    assert (november.recorded_micro_eur, november.unrecorded_micro_eur) == (622_000, 244_000)
    assert november.is_itemised and november.difference_micro_eur == 0
    gross = 9_990_000 + 622_000 - 61_000
    assert november.sold_micro_eur == (net + net_micro_eur(500_000, 22) + 100_000 - 50_000, gross)
    december = await history.statement(("01-a",), 202612, 0)
    assert december.opening_micro_eur == november.closing_micro_eur
    assert december.closing_micro_eur == journal.credit["01-a"]
    assert (december.recorded_micro_eur, december.unrecorded_micro_eur) == (305_000, -244_000)
    january = await history.statement(("01-a",), 202701, 0)
    assert january.opening_micro_eur == january.closing_micro_eur == journal.credit["01-a"]
    assert (await history.statement(("77-x",), 202611, 4_711)).closing_micro_eur == 4_711


STEPS = st.lists(
    st.tuples(st.sampled_from(["topup", "package", "use", "charge", "refund", "moved"]), st.integers(1, 50 * DAY)),
    min_size=1,
    max_size=30,
)


@rule("HOT-REC-2")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_statements_explain_any_movement(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    """closing = opening + Σ transactions - Σ use recorded - use not recorded, month after month, whatever happened."""
    folder = Folder(tmp_path_factory.mktemp("any") / "records")
    engine = history_engine(HistorySection(), folder.path)
    migrate(engine)
    journal, account, at, accounts, waiting = Journal(), "01-a", T0, ["01-a"], 0
    folder.append(journal.line(account, "opened", at, credit_in=1_000_000_000))
    for number, (kind, later) in enumerate(steps):
        at += later
        if kind == "topup":
            folder.append(journal.line(account, "topup", at, credit_in=later))
        elif kind == "package":
            folder.append(journal.line(account, "package", at, id="X", ok=1, debit=later, price=later))
        elif kind == "use":
            folder.append(journal.line(account, "use", at, sid="s", typ="U", n=1, debit=later))
            waiting += later
        elif kind == "charge":
            line = use(debit=waiting + later)
            folder.append(journal.charge(account, at, f"s{number}", line, debit=later, started=at))
            waiting = 0
        elif kind == "refund":
            folder.append(journal.line(account, "refund", at, sid="s", ctx="sms", n=1, credit_in=later, svc=[]))
        elif kind == "moved":
            credit, other = journal.credit[account], f"0{number % 4}-{number}"
            folder.append(journal.line(account, "moved_out", at, to=other, debit=credit))
            folder.append(journal.line(other, "moved_in", at, of=account, credit_in=credit))
            account = other
            accounts.insert(0, other)
    load_all(engine, folder)
    before = 0
    with engine.connect() as connection:
        months = connection.execute(text("SELECT DISTINCT month FROM account_months ORDER BY month")).scalars().all()
        for month in months:
            found = statement(connection, accounts, month, 0)
            assert found.opening_micro_eur == before
            moved = sum(each.micro_eur for each in found.transactions)
            before = found.opening_micro_eur + moved - found.recorded_micro_eur - found.unrecorded_micro_eur
            assert found.closing_micro_eur == before and found.is_itemised and not found.difference_micro_eur
    assert before == journal.credit[account]
    engine.dispose()


async def test_a_person_is_erased_and_that_is_journalled(engine: Engine, folder: Folder) -> None:
    journal, noted = Journal(), Noted()
    folder.append(journal.charge("01-a", T0, "s", use(debit=1), debit=1, started=T0))
    load_all(engine, folder)
    now = T0 + 2 * PERIOD_S
    history = History(engine, folder.path, noted, lambda: now, past_periods=3)
    done = await history.erase(("01-a",), reason="asked in writing")
    assert done.rows == 1
    event = {"rows": 1, "file_lines": 0, "before": now - PERIOD_S, "reason": "asked in writing"}
    assert noted.events == [("erased", "01-a", now, event)]


async def test_a_database_that_cannot_be_used_is_an_error_of_its_own(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://ocs@/none?host={tmp_path}&port=5432"
    for section in (HistorySection(url=url), HistorySection()):
        engine = history_engine(section, tmp_path)
        history = History(engine, tmp_path, Noted(), lambda: T0, past_periods=3)
        with pytest.raises(HistoryUnavailableError, match=r"connection is bad|has no tables of this version"):
            await history.usage(("01-a",), after=None, limit=1)
        engine.dispose()


def test_months_are_parsed() -> None:
    assert (parse_month("2026-11"), parse_month("2027-01")) == (202611, 202701)
    for wrong in ("2026-13", "202611", "2026-1", "26-11", "2026-11-01", ""):
        with pytest.raises(InputError):
            parse_month(wrong)


@rule("HOT-GRP-5")
async def test_what_a_separate_account_pays_is_listed_and_moves_no_credit(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    folder.append(
        journal.line("01-a", "topup", T0, credit_in=9_000_000, ref="A", channel="shop"),
        journal.line("01-a", "topup", T0 + 1, separate_in=7_000_000, ref="B", channel="voucher"),
        journal.line("01-a", "package", T0 + 2, id="SMS", ok=1, debit=0, price=6_990_000, separate_out=6_990_000),
        journal.line("01-a", "pay_out", T0 + 3, ref="C", reason="port-out", debit=1_000_000, separate_out=5_000),
        journal.line("01-a", "separate", T0 + 4, open=0, separate_out=5_000, credit_in=5_000),
    )
    load_all(engine, folder)
    found = await service(engine, folder, T0 + DAY).statement(("01-a",), 202611, 0)
    seen = [(each.kind, each.gross_micro_eur, each.separate_micro_eur) for each in found.transactions]
    assert seen == [
        ("topup", 9_000_000, 0),
        ("topup", 7_000_000, 7_000_000),
        ("package", -6_990_000, -6_990_000),
        ("pay_out", -1_005_000, -5_000),
        ("separate", 0, -5_000),
    ]
    net = net_micro_eur(6_990_000, 22)
    assert [each.vat_micro_eur for each in found.transactions] == [0, 0, net - 6_990_000, 0, 0]
    moved = sum(each.micro_eur for each in found.transactions)
    assert moved == found.closing_micro_eur - found.opening_micro_eur == journal.credit["01-a"]
    assert found.sold_micro_eur == (net, 6_990_000)


async def test_a_rollback_of_the_ledger_leaves_a_difference_that_is_told(engine: Engine, folder: Folder) -> None:
    journal = Journal()
    folder.append(*(journal.line("01-a", "topup", T0, credit_in=1_000_000) for _ in range(3)))
    journal.roll_back(1, epoch=1)
    journal.credit["01-a"] = 1_000_000  # the ledger has lost two of them
    folder.append(journal.line("01-a", "topup", T0 + 9, credit_in=500_000))
    load_all(engine, folder)
    found = await service(engine, folder, T0 + DAY).statement(("01-a",), 202611, 0)
    assert (found.closing_micro_eur, found.difference_micro_eur) == (3_500_000, -2_000_000)
