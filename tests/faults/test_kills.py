"""`make kills` in short (tests/faults/kills): a server whose processes are killed one after the other, at named steps
and at any moment, while clients top up, redeem, transfer, buy and use. Nothing is lost or doubled (HOT-TOP, HOT-GRP-2,
HOT-NOT-2, HOT-REC-2).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.kills.judge import Judge
from tests.faults.kills.run import Plan, run
from tests.rules import rule

KILLS, SEED = 20, 7
"""More than a round of the killer, which has each kind of process (kills/killer.py); `make kills` has 500."""


def a_cent_more(judge: Judge) -> None:
    next(iter(judge.books.accounts.values())).credit += 10_000


def a_key_twice(judge: Judge) -> None:
    judge.records.append(next(each for each in judge.records if each["kind"] == "topup" and each["channel"] == "care"))


def a_session_less(judge: Judge) -> None:
    next(each for each in judge.books.accounts.values() if each.sessions).sessions.popitem()


def a_debit_more(judge: Judge) -> None:
    taken = judge.around.provider.taken
    taken["another"] = copy.copy(next(iter(taken.values())))


def an_event_less(judge: Judge) -> None:
    judge.records.pop(len(judge.records) // 2)


def a_row_less(judge: Judge) -> None:
    judge.records.append({"event_id": "p00-999999", "kind": "topup", "account": "", "credit_in_micro_eur": 1})


def a_notice_less(judge: Judge) -> None:
    judge.around.gateway.shown.popitem()


def a_transfer_in_transit(judge: Judge) -> None:
    judge.ledger.unfinished.append("a transfer")


FAULTS: dict[Callable[[Judge], None], str] = {
    a_cent_more: "credit of each account is that of the driver's books",
    a_key_twice: "each key, voucher and transfer moved its amount once",
    a_session_less: "each session was charged once, and is one row in SQL",
    a_debit_more: "provider: one debit for each order, credited once",
    an_event_less: "record files: each event once, none missing",
    a_row_less: "SQL: each event and transaction once, none missing",
    a_notice_less: "gateway: each notice once, none missing",
    a_transfer_in_transit: "nothing is in transit, claimed or unfinished",
}


@pytest.mark.long
@rule("HOT-TOP-1", "HOT-TOP-2", "HOT-TOP-4", "HOT-GRP-2", "HOT-NOT-2", "HOT-REC-2")
async def test_nothing_is_lost_or_doubled_whichever_process_is_killed(tmp_path: Path) -> None:
    report = await run(Plan(kills=KILLS, seed=SEED, lanes=2, auto_every_s=5.0, vouchers=200), tmp_path / "ocs")
    assert report.ok, report.text()
    assert sum(report.kills.values()) >= KILLS and len(report.kills) == 6, "each kind of process was killed"
    assert any(moment for _, _, _, moment in report.covered), "some kills were at named steps"
    assert report.books.repeated > 0
    kinds = {"session", "top-up", "voucher", "transfer", "purchase", "automatic top-up"}
    assert kinds <= report.books.done.keys()
    # The judge finds each kind of fault.
    for fault, name in FAULTS.items():
        judge = copy.copy(report.judge)
        assert judge is not None
        judge.records, judge.books = [*judge.records], copy.deepcopy(judge.books)
        judge.ledger, judge.around = copy.copy(judge.ledger), copy.copy(judge.around)
        judge.ledger.unfinished = []
        judge.around.provider = copy.copy(judge.around.provider)
        judge.around.provider.taken = dict(judge.around.provider.taken)
        judge.around.gateway = copy.copy(judge.around.gateway)
        judge.around.gateway.shown = dict(judge.around.gateway.shown)
        fault(judge)
        assert judge.checks()[name], fault.__name__
