"""The server's credit-control state machine, every (state, event) pair: RFC 8506 §7 Table 6, completed where it is
silent.

The table is written from the standards, not from the code. Its nine rows of Table 6 are compared with the RFC's text.
Open is a session whose reservations the ledger holds. The RFC's Idle is several states here, since repetitions and late
reports depend on what happened before:

    Idle     The session is unknown.
    Refused  Its opening was refused. The refusal is not remembered: the same opening is evaluated anew. Reported use
             is paid.
    Ended    It was opened, updated and terminated less than 300 s ago, and its answers are remembered. Late reports
             are paid: 2001 if their number is below the termination's, and for another termination; else 5002.
    Gone     It ended more than 300 s ago. Its answers are remembered; a new request belongs to no session.
    Overdue  It was opened and updated, and Tcc has expired. Late use is paid (decision 7).
    Stopped  An update was refused and the session given up. Late use is paid, and an update after a top-up is granted.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from ocs.catalogue.catalogue import Catalogue
from protocol.credit_control import CreditControlAnswer
from protocol.errors import DiameterError
from protocol.header import Header
from tests.ocs.charging.ccr import IMSI, MB, MSISDN, SMS, at, ccr, messages, octets, sms_to
from tests.ocs.charging.fake_ledger import MONTH, FakeLedger
from tests.ocs.charging.worker import ACCOUNT, Worker

PRINTED = Path(__file__).parents[2] / "data" / "standards" / "rfc8506-table-6.txt"
SID = "pgw.example.net;1"
USED = MB
TCC_S = 2 * 3600
DEBITS = {"": 0, "use": 6_900, "sms": 69_000}
"""What the catalogue asks for a megabyte and for a message."""

COMPLETED = """
Idle    | I          | 2001 |     | Open
Idle    | I bad      | 4010 |     | Idle
Idle    | I again    | 2001 |     | Open
Idle    | I anew     | 2001 |     | Open
Idle    | I restart  | 2001 |     | Open
Idle    | U          | 5002 |     | Idle
Idle    | U bad      | 5002 |     | Idle
Idle    | U again    | 5002 |     | Idle
Idle    | T          | 5002 |     | Idle
Idle    | T bad      | 5002 |     | Idle
Idle    | T again    | 5002 |     | Idle
Idle    | E          | 2001 | sms | Idle
Idle    | E bad      | 4010 |     | Idle
Idle    | E again    | 2001 | sms | Idle
Idle    | Tcc        |      |     | Idle
Refused | I          | 2001 |     | Open
Refused | I bad      | 4010 |     | Idle
Refused | I again    | 2001 |     | Open
Refused | I anew     | 2001 |     | Open
Refused | I restart  | 2001 |     | Open
Refused | U          | 5002 | use | Idle
Refused | U bad      | 5002 | use | Idle
Refused | U again    | 5002 | use | Idle
Refused | T          | 2001 | use | Idle
Refused | T bad      | 2001 | use | Idle
Refused | T again    | 2001 | use | Idle
Refused | E          | 2001 | sms | Idle
Refused | E bad      | 4010 |     | Idle
Refused | E again    | 2001 | sms | Idle
Refused | Tcc        |      |     | Idle
Open    | I          | 5012 |     | Open
Open    | I bad      | 5012 |     | Open
Open    | I again    | 2001 |     | Open
Open    | I anew     | 2001 |     | Open
Open    | I restart  | 2001 |     | Open
Open    | U          | 2001 | use | Open
Open    | U bad      | 4010 | use | Idle
Open    | U again    | 2001 |     | Open
Open    | T          | 2001 | use | Idle
Open    | T bad      | 2001 | use | Idle
Open    | T again    | 2001 | use | Idle
Open    | E          | 2001 | sms | Open
Open    | E bad      | 4010 |     | Open
Open    | E again    | 2001 | sms | Open
Open    | Tcc        |      |     | Idle
Ended   | I          | 2001 |     | Open
Ended   | I bad      | 4010 |     | Idle
Ended   | I again    | 2001 |     | Idle
Ended   | I anew     | 2001 |     | Open
Ended   | I restart  | 2001 |     | Open
Ended   | U          | 5002 | use | Idle
Ended   | U bad      | 5002 | use | Idle
Ended   | U again    | 2001 |     | Idle
Ended   | T          | 2001 | use | Idle
Ended   | T bad      | 2001 | use | Idle
Ended   | T again    | 2001 |     | Idle
Ended   | E          | 2001 | sms | Idle
Ended   | E bad      | 4010 |     | Idle
Ended   | E again    | 2001 | sms | Idle
Ended   | Tcc        |      |     | Idle
Gone    | I          | 2001 |     | Open
Gone    | I bad      | 4010 |     | Idle
Gone    | I again    | 2001 |     | Idle
Gone    | I anew     | 2001 |     | Open
Gone    | I restart  | 2001 |     | Open
Gone    | U          | 5002 |     | Idle
Gone    | U bad      | 5002 |     | Idle
Gone    | U again    | 2001 |     | Idle
Gone    | T          | 5002 |     | Idle
Gone    | T bad      | 5002 |     | Idle
Gone    | T again    | 2001 |     | Idle
Gone    | E          | 2001 | sms | Idle
Gone    | E bad      | 4010 |     | Idle
Gone    | E again    | 2001 | sms | Idle
Gone    | Tcc        |      |     | Idle
Overdue | I          | 2001 |     | Open
Overdue | I bad      | 4010 |     | Idle
Overdue | I again    | 2001 |     | Idle
Overdue | I anew     | 2001 |     | Open
Overdue | I restart  | 2001 |     | Open
Overdue | U          | 2001 | use | Open
Overdue | U bad      | 4010 | use | Idle
Overdue | U again    | 2001 |     | Idle
Overdue | T          | 2001 | use | Idle
Overdue | T bad      | 2001 | use | Idle
Overdue | T again    | 2001 | use | Idle
Overdue | E          | 2001 | sms | Idle
Overdue | E bad      | 4010 |     | Idle
Overdue | E again    | 2001 | sms | Idle
Overdue | Tcc        |      |     | Idle
Stopped | I          | 2001 |     | Open
Stopped | I bad      | 4010 |     | Idle
Stopped | I again    | 2001 |     | Idle
Stopped | I anew     | 2001 |     | Open
Stopped | I restart  | 2001 |     | Open
Stopped | U          | 2001 | use | Open
Stopped | U bad      | 4010 | use | Idle
Stopped | U again    | 2001 |     | Idle
Stopped | T          | 2001 | use | Idle
Stopped | T bad      | 2001 | use | Idle
Stopped | T again    | 2001 | use | Idle
Stopped | E          | 2001 | sms | Idle
Stopped | E bad      | 4010 |     | Idle
Stopped | E again    | 2001 | sms | Idle
Stopped | Tcc        |      |     | Idle
"""
"""State, event, command-level Result-Code, what is debited, next state.

`bad`: the account is blocked. A termination is settled whatever the account's state ("T bad": Table 6 lets it fail, it
never has to). `again`: number and type of what was sent before (if it was), an opening with the T bit; answered from
memory and debited once. `anew`: the opening's number without the T bit, from a client that was restarted with its
counter. `restart`: a new I from a client whose Origin-State-Id has risen.
"""


class Step(NamedTuple):
    kind: str
    number: int
    ok: bool = True
    origin_state_id: int = 5
    retransmitted: bool = False


EVENTS: dict[str, Step] = {
    "I": Step("I", 7),
    "I bad": Step("I", 7, ok=False),
    "I again": Step("I", 0, retransmitted=True),
    "I anew": Step("I", 0),
    "I restart": Step("I", 7, origin_state_id=6),
    "U": Step("U", 3),
    "U bad": Step("U", 3, ok=False),
    "U again": Step("U", 1),
    "T": Step("T", 4),
    "T bad": Step("T", 4, ok=False),
    "T again": Step("T", 2),
    "E": Step("E", 9),
    "E bad": Step("E", 9, ok=False),
    "E again": Step("E", 9),
    "Tcc": Step("", 0),
}
TCC, LATER = EVENTS["Tcc"], Step("", 301)
OPENED = (Step("I", 0), Step("U", 1))
PASTS: dict[str, tuple[Step, ...]] = {
    "Idle": (),
    "Refused": (Step("I", 0, ok=False),),
    "Open": OPENED,
    "Ended": (*OPENED, Step("T", 2)),
    "Gone": (*OPENED, Step("T", 2), LATER),
    "Overdue": (*OPENED, TCC),
    "Stopped": (*OPENED, Step("U", 2, ok=False)),
}
REPEATED = {
    *((event, state) for event in ("I again", "U again") for state in PASTS if state not in ("Idle", "Refused")),
    *(("T again", state) for state in ("Ended", "Gone")),
    *(("E again", state) for state in PASTS),
}
"""Where the event is a repetition of what was applied: the answer is the stored one (RFC 6733 §3, RFC 8506 §6.5)."""


@dataclass(frozen=True, slots=True)
class Row:
    code: int
    debit: int
    following: str


def rows() -> dict[tuple[str, str], Row]:
    table = {}
    for line in COMPLETED.strip().splitlines():
        state, event, code, debit, following = (cell.strip() for cell in line.split("|"))
        assert (state, event) not in table
        table[state, event] = Row(int(code or 0), DEBITS[debit], following)
    return table


TABLE = rows()


class Session:
    """One session and its account."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.ledger = FakeLedger()
        self.ledger.open(ACCOUNT, MSISDN, IMSI)
        self.worker = Worker(self.ledger, catalogue)
        self.account = self.ledger.model.accounts[ACCOUNT]

    @property
    def state(self) -> str:
        session = self.account.sessions.get(SID)
        if session is None or session.released:
            assert self.account.held == 0, "Idle holds nothing"
            return "Idle"
        assert self.account.held, "Open holds what it may use"
        return "Open"

    async def take(self, step: Step) -> CreditControlAnswer | DiameterError | None:
        if step in (TCC, LATER):
            self.worker.now += step.number or TCC_S + 1
            self.ledger.model.sweep(ACCOUNT, now=int(self.worker.now), month=MONTH)
            return None
        kind, number, ok, origin_state_id, retransmitted = step
        if kind == "E":
            request = ccr(kind, number, messages(1), context=SMS, information=sms_to("38668100001"), sid=SID)
        else:
            wanted = {"want": 10 * MB} if kind in "IU" else {}
            used = {"used": USED} if kind in "UT" else {}
            request = ccr(kind, number, octets(**wanted, **used), information=at(), sid=SID)
        request.origin_state_id = origin_state_id
        request.header = Header(0, 0xD0 if retransmitted else 0xC0, 272, 4, 1, 1)
        self.account.state = "active" if ok else "blocked"
        reply = await self.worker.handle(request)
        self.account.state = "active"
        return reply


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(itertools.product(PASTS, EVENTS))


TABLE_6 = {
    # Words of Table 6 that identify its rows.
    ("Idle", "initial", True): ("Idle", "I"),
    ("Idle", "initial", False): ("Idle", "I bad"),
    ("Idle", "event", True): ("Idle", "E"),
    ("Idle", "event", False): ("Idle", "E bad"),
    ("Open", "update", True): ("Open", "U"),
    ("Open", "update", False): ("Open", "U bad"),
    ("Open", "termination", True): ("Open", "T"),
    ("Open", "termination", False): ("Open", "T bad"),
    ("Open", "Session", True): ("Open", "Tcc"),
}


def test_the_rows_of_table_6_equal_the_rfcs_text() -> None:
    part = PRINTED.read_text(encoding="utf-8")
    printed: list[list[str]] = []
    for line in part.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 4 or cells[3] in ("New", "State"):
            continue
        if cells[0]:
            printed.append(cells)
        elif any(cells) and printed:
            printed[-1][1:3] = [f"{old} {new}".strip() for old, new in zip(printed[-1][1:3], cells[1:3], strict=True)]
    assert len(printed) == len(TABLE_6) == 9
    for state, event, action, following in printed:
        kind = re.sub(r"^CC ", "", event).split(" ")[0]
        key = TABLE_6[state, kind, "not successfully" not in re.sub(r"\s+", " ", event)]
        row = TABLE[key]
        assert row.following == following, event
        assert ("debit used" in action) == (row.debit == DEBITS["use"]), event
        if "!= SUCCESS" in action and key != ("Open", "T bad"):
            assert row.code != 2001, event


@pytest.mark.parametrize(("state", "event"), list(itertools.product(PASTS, EVENTS)))
async def test_every_pair(state: str, event: str, catalogue: Catalogue) -> None:
    session = Session(catalogue)
    answers = {}
    for step in PASTS[state]:
        answers[step[:2]] = await session.take(step)
    assert session.state == ("Open" if state == "Open" else "Idle")
    step, expected, credit = EVENTS[event], TABLE[state, event], session.account.credit
    if event == "E again":
        answers[step[:2]] = await session.take(step)
    session.worker.metrics.calls.clear()
    reply = await session.take(step)
    assert (0 if reply is None else reply.result_code) == expected.code
    assert credit - session.account.credit == expected.debit
    assert session.state == expected.following
    duplicates = session.worker.metrics.of("duplicate")
    assert duplicates == ([[step.kind]] if (event, state) in REPEATED else [])
    if duplicates:
        assert reply == answers[step[:2]], "the same answer"
