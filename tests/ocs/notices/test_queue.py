"""The queue in SQLite and PostgreSQL: once an event, claimed once, bounded, repeated, forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ocs.history.engine import history_engine, writing
from ocs.history.erasure import erase_person
from ocs.history.migrating import migrate
from ocs.notices import queue
from ocs.notices.queue import Claimed, NewNotice, Outcome
from ocs.notices.states import Reason, State
from ocs.settings.history_section import HistorySection
from tests.ocs.history.conftest import postgresql as postgresql
from tests.ocs.history.conftest import postgresql_tables as postgresql_tables
from tests.ocs.history.conftest import sqlite_tables as sqlite_tables
from tests.ocs.history.conftest import url as url
from tests.rules import rule

NOW = 1_795_000_000
NOTICE = NewNotice(
    event_id="p1-1",
    name="topup",
    account="1-a",
    msisdn="38668100000",
    language="sl",
    text="Račun je napolnjen",
    priority=5,
    quiet=False,
    next_at=NOW,
    expires_at=NOW + 3600,
)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = history_engine(HistorySection(url=url), Path("unused"))
    migrate(engine)
    yield engine
    engine.dispose()


def put(engine: Engine, *notices: NewNotice, most_of_account: int = 20, most: int = 100) -> list[tuple[str, str]]:
    with writing(engine) as connection:
        told = queue.put(
            connection,
            [each.event_id for each in notices],
            notices,
            now=NOW,
            most_of_account=most_of_account,
            most=most,
        )
    return [(state.value, reason) for _, state, reason in told]


def claim(engine: Engine, owner: str = "a", now: int = NOW, limit: int = 100) -> list[Claimed]:
    with writing(engine) as connection:
        return queue.claim(connection, owner=owner, now=now, lease_s=15, limit=limit)


def finish(engine: Engine, owner: str, *outcomes: Outcome, now: int = NOW) -> None:
    with writing(engine) as connection:
        queue.finish(connection, outcomes, owner=owner, now=now)


def states(engine: Engine) -> dict[str, tuple[str, str]]:
    with engine.connect() as connection:
        return {row.id: (row.state, row.reason) for row in queue.listed(connection)}


@rule("HOT-NOT-2")
def test_an_event_is_noted_once_and_its_notices_are_put_once(engine: Engine) -> None:
    events = [("p1-1", NOW, "{}"), ("p1-2", NOW + 1, "{}")]
    for _ in range(2):
        with writing(engine) as connection:
            queue.note(connection, events)
    with engine.connect() as connection:
        assert queue.noted(connection, 10) == [("p1-1", "{}"), ("p1-2", "{}")]
        assert queue.noted(connection, 1) == [("p1-1", "{}")]
    assert put(engine, NOTICE, replace(NOTICE, name="other")) == [("waiting", ""), ("waiting", "")]
    with engine.connect() as connection:
        assert queue.noted(connection, 10) == [("p1-2", "{}")]
    finish(engine, "a", *(Outcome(each.id, State.SENT) for each in claim(engine)))
    put(engine, NOTICE)
    assert states(engine) == {"p1-1.topup": ("sent", ""), "p1-1.other": ("sent", "")}


@rule("HOT-NOT-2")
def test_a_rolled_back_transaction_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(RuntimeError), writing(engine) as connection:
        queue.note(connection, [("p1-1", NOW, "{}")])
        queue.put(connection, ["p1-1"], [NOTICE], now=NOW, most_of_account=20, most=100)
        raise RuntimeError
    assert states(engine) == {}
    with engine.connect() as connection:
        assert queue.noted_count(connection) == 0


@rule("HOT-NOT-2")
def test_a_notice_is_claimed_by_one_and_again_after_its_lease(engine: Engine) -> None:
    put(engine, NOTICE)
    (first,) = claim(engine, "a")
    assert (first.id, first.attempts) == ("p1-1.topup", 1)
    assert claim(engine, "b", now=NOW + 14) == []
    (second,) = claim(engine, "b", now=NOW + 15)
    assert second == replace(first, attempts=2), "under the same id"
    finish(engine, "a", Outcome(first.id, State.FAILED, "late"))
    assert states(engine) == {first.id: ("sending", "")}, "another has it"
    finish(engine, "b", Outcome(first.id, State.SENT, reference="sms-1"))
    assert states(engine) == {first.id: ("sent", "")}
    assert claim(engine, "a", now=NOW + 999) == []


@rule("HOT-NOT-2")
def test_many_that_claim_at_once_get_each_notice_once(engine: Engine) -> None:
    put(engine, *(replace(NOTICE, event_id=f"p1-{n}", account=f"1-{n}") for n in range(60)))
    with ThreadPoolExecutor(6) as threads:
        found = [each for some in threads.map(lambda n: claim(engine, f"o{n}", limit=10), range(6)) for each in some]
    found += claim(engine, "rest")
    assert sorted(each.id for each in found) == sorted(f"p1-{n}.topup" for n in range(60))


def test_the_order_is_priority_then_time(engine: Engine) -> None:
    waits = [("p1-1", 5, NOW - 9), ("p1-2", 1, NOW), ("p1-3", 5, NOW - 10), ("p1-4", 1, NOW + 1)]
    put(engine, *(replace(NOTICE, event_id=id_, priority=priority, next_at=at) for id_, priority, at in waits))
    assert [each.event_id for each in claim(engine)] == ["p1-2", "p1-3", "p1-1"]
    assert [each.event_id for each in claim(engine, now=NOW + 1)] == ["p1-4"]


def test_the_queue_is_bounded_for_an_account_and_in_all(engine: Engine) -> None:
    of_one = [replace(NOTICE, event_id=f"p1-{n}") for n in range(4)]
    assert put(engine, *of_one, most_of_account=3)[2:] == [("waiting", ""), ("suppressed", "too many")]
    others = [replace(NOTICE, event_id=f"p2-{n}", account=f"2-{n}") for n in range(3)]
    assert put(engine, *others, most=5) == [("waiting", ""), ("waiting", ""), ("suppressed", "queue full")]
    assert put(engine, replace(NOTICE, event_id="p3-1", reason="muted"), most=5) == [("suppressed", "muted")]
    finish(engine, "a", *(Outcome(each.id, State.SENT) for each in claim(engine)))
    assert put(engine, replace(NOTICE, event_id="p4-1"), most_of_account=3, most=5) == [("waiting", "")]


def test_receipts(engine: Engine) -> None:
    put(engine, NOTICE)

    def receive(state: State, reason: str = "") -> str | None:
        with writing(engine) as connection:
            return queue.receive(connection, NOTICE.id, state, reason, now=NOW)

    assert receive(State.DELIVERED) == "waiting" and states(engine) == {NOTICE.id: ("waiting", "")}
    claim(engine)
    assert receive(State.DELIVERED) == "sending"
    finish(engine, "a", Outcome(NOTICE.id, State.SENT))
    assert states(engine) == {NOTICE.id: ("delivered", "")}, "the receipt came before the answer"
    assert receive(State.FAILED, "absent") == "delivered" and states(engine) == {NOTICE.id: ("delivered", "")}
    with writing(engine) as connection:
        assert queue.receive(connection, "p9-9.x", State.DELIVERED, "", now=NOW) is None


def test_what_a_gateway_says_is_stored_whatever_it_is(engine: Engine) -> None:
    put(engine, replace(NOTICE, text="a\x00b"))
    claim(engine)
    finish(engine, "a", Outcome(NOTICE.id, State.SENT, "r\x00" * 300, "x\x00č" * 300))
    with engine.connect() as connection:
        row = queue.shown(connection, NOTICE.id)
    assert row is not None and (row.text, row.reason, row.reference) == ("ab", "r" * 200, "xč" * 50)
    with writing(engine) as connection:
        assert queue.receive(connection, NOTICE.id, State.FAILED, "\x00no", now=NOW) == "sent"
    assert states(engine) == {NOTICE.id: ("failed", "no")}


def test_what_failed_may_be_sent_again(engine: Engine) -> None:
    put(engine, NOTICE)

    def retry(id_: str = NOTICE.id) -> str | None:
        with writing(engine) as connection:
            return queue.retry(connection, id_, now=NOW + 9_000, lives_s=3600)

    assert (retry(), retry("p9-9.x")) == ("waiting", None)
    claim(engine)
    finish(engine, "a", Outcome(NOTICE.id, State.GIVEN_UP, "status 500"))
    assert retry() == "given_up" and states(engine) == {NOTICE.id: ("waiting", "")}
    (again,) = claim(engine, now=NOW + 9_000)
    assert (again.attempts, again.expires_at) == (1, NOW + 12_600)


def test_pages_go_from_the_latest_to_the_first(engine: Engine) -> None:
    put(engine, *(replace(NOTICE, event_id=f"p1-{n}", account=f"1-{n % 2}") for n in range(7)))
    seen: list[str] = []
    before: tuple[int, str] | None = None
    with engine.connect() as connection:
        while rows := queue.listed(connection, before=before, limit=3):
            seen += [row.id for row in rows]
            before = rows[-1].created, rows[-1].id
        of_one = queue.listed(connection, accounts=["1-0"], state="waiting")
        assert queue.listed(connection, state="sent") == []
        row = queue.shown(connection, "p1-3.topup")
    assert seen == [f"p1-{n}.topup" for n in reversed(range(7))]
    assert [each.event_id for each in of_one] == ["p1-6", "p1-4", "p1-2", "p1-0"]
    assert row is not None and (row.text, row.msisdn) == ("Račun je napolnjen", "38668100000")


def test_notices_are_forgotten_and_suppressed(engine: Engine) -> None:
    put(engine, *(replace(NOTICE, event_id=f"p1-{n}", account=f"1-{n}") for n in range(3)))
    (first, second) = claim(engine, limit=2)
    finish(engine, "a", Outcome(first.id, State.SENT))
    with writing(engine) as connection:
        queue.note(connection, [("p1-9", NOW, "{}")])
        assert queue.forget(connection, NOW + 1, 10) == 1, "what waits or is being sent stays"
        assert queue.suppress(connection, ["p1-1", "p1-2", "p1-9"], Reason.ROLLED_BACK, NOW) == 1
        assert queue.noted_count(connection) == 0
    assert states(engine) == {second.id: ("sending", ""), "p1-2.topup": ("suppressed", "rolled back")}


def test_what_waits_is_measured(engine: Engine) -> None:
    put(engine, *(replace(NOTICE, event_id=f"p1-{n}", next_at=NOW - n) for n in range(4)))
    claim(engine, limit=1)
    with engine.connect() as connection:
        assert queue.waiting(connection, NOW) == queue.Waiting({"waiting": 3, "sending": 1}, NOW - 2)
        assert queue.waiting(connection, NOW - 9).oldest_due == 0


def test_an_erased_person_has_no_notices(engine: Engine, tmp_path: Path) -> None:
    put(engine, NOTICE, replace(NOTICE, event_id="p1-2", account="1-b"))
    erased = erase_person(engine, tmp_path, ("1-a",), NOW)
    assert erased.rows == 1 and list(states(engine)) == ["p1-2.topup"]
