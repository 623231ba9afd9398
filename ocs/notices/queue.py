"""The queue of notices in the SQL database (HOT-NOT-2).

An event that is loaded is noted in the same transaction (`note`). Its notices and its removal from that list are one
transaction too (`put`), so an event has each of them once. A process that sends claims notices for a while (`claim`);
if it is killed, another claims them again, under the same id: the receiver, which knows the id, shows one message.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ocs.history.schema import NOTICE_EVENTS, NOTICES
from ocs.notices.states import OPEN, RETRIED, Reason, State

MAX_REASON = 200
MAX_REFERENCE = 100
_NUL = "\x00"
"""PostgreSQL stores no text with it."""


@dataclass(frozen=True, slots=True)
class NewNotice:
    event_id: str
    name: str
    account: str
    msisdn: str
    language: str
    text: str
    priority: int
    quiet: bool
    next_at: int
    """Unix seconds, as all times."""
    expires_at: int
    reason: str = ""
    """Why it is not to be sent; "" = it is."""

    @property
    def id(self) -> str:
        return f"{self.event_id}.{self.name}"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that this process sends now."""

    id: str
    event_id: str
    name: str
    msisdn: str
    language: str
    text: str
    quiet: bool
    attempts: int
    """With this one."""
    expires_at: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claimed notice."""

    id: str
    state: State
    reason: str = ""
    reference: str = ""
    next_at: int = 0


def _short(text: str, most: int) -> str:
    """What a gateway says, as it can be stored."""
    return text.replace(_NUL, "")[:most]


# -- events


def note(connection: Connection, events: Iterable[tuple[str, int, str]]) -> None:
    """Events of which notices are to be made: (event id, Unix seconds, record as JSON)."""
    rows = [{"event_id": event_id, "at": at, "record": record} for event_id, at, record in events]
    _insert_new(connection, NOTICE_EVENTS, rows)


def noted(connection: Connection, limit: int) -> list[tuple[str, str]]:
    """(event id, record) of the oldest events."""
    table = NOTICE_EVENTS.c
    query = select(table.event_id, table.record).order_by(table.at, table.event_id).limit(limit)
    return [(row.event_id, row.record) for row in connection.execute(query)]


def noted_count(connection: Connection) -> int:
    return int(connection.scalar(select(func.count()).select_from(NOTICE_EVENTS)) or 0)


def put(
    connection: Connection,
    event_ids: Sequence[str],
    notices: Sequence[NewNotice],
    *,
    now: int,
    most_of_account: int,
    most: int,
) -> list[tuple[str, State, str]]:
    """Store the notices of these events, which need none any more. Returns (name, state, reason) of each. Of an account
    that has `most_of_account` open ones, and beyond `most` in all, further ones are suppressed.
    """
    if notices:
        open_, of_account = _open(connection, {each.account for each in notices})
    rows, told = [], list[tuple[str, State, str]]()
    for each in notices:
        reason = each.reason
        if not reason and of_account.get(each.account, 0) >= most_of_account:
            reason = Reason.TOO_MANY.value
        elif not reason and open_ >= most:
            reason = Reason.QUEUE_FULL.value
        if not reason:
            open_ += 1
            of_account[each.account] = of_account.get(each.account, 0) + 1
        state = State.SUPPRESSED if reason else State.WAITING
        rows.append(_row(each, state, reason, now))
        told.append((each.name, state, reason))
    _insert_new(connection, NOTICES, rows)
    connection.execute(delete(NOTICE_EVENTS).where(NOTICE_EVENTS.c.event_id.in_(event_ids)))
    return told


def _row(notice: NewNotice, state: State, reason: str, now: int) -> dict[str, Any]:
    left_out = {"attempts": 0, "owner": "", "claimed_until": 0, "reference": "", "created": now, "updated": now}
    text = notice.text.replace(_NUL, "")
    return {**asdict(notice), "text": text, "id": notice.id, "state": state.value, "reason": reason, **left_out}


def _open(connection: Connection, accounts: set[str]) -> tuple[int, dict[str, int]]:
    """How many notices are open, in all and of each account."""
    is_open = NOTICES.c.state.in_([each.value for each in OPEN])
    count = int(connection.scalar(select(func.count()).select_from(NOTICES).where(is_open)) or 0)
    grouped = select(NOTICES.c.account, func.count()).where(is_open, NOTICES.c.account.in_(accounts))
    return count, {row[0]: row[1] for row in connection.execute(grouped.group_by(NOTICES.c.account))}


def _insert_new(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Rows that are there already stay as they are."""
    if rows:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))


# -- sending


def claim(connection: Connection, *, owner: str, now: int, lease_s: int, limit: int) -> list[Claimed]:
    """Notices whose time has come, and those that another process claimed and did not finish in time."""
    table = NOTICES.c
    is_left = table.state == State.SENDING.value, table.claimed_until <= now
    is_due = table.state == State.WAITING.value, table.next_at <= now
    rows: list[Row[Any]] = []
    for condition in (is_left, is_due):
        in_order = select(NOTICES).where(*condition).order_by(table.priority, table.next_at)
        rows += connection.execute(in_order.limit(limit - len(rows)).with_for_update(skip_locked=True))
    if rows:
        claimed = {"state": State.SENDING.value, "owner": owner, "claimed_until": now + lease_s, "updated": now}
        where = table.id.in_([row.id for row in rows])
        connection.execute(update(NOTICES).where(where).values(**claimed, attempts=table.attempts + 1))
    return [
        Claimed(
            *(row.id, row.event_id, row.name, row.msisdn, row.language, row.text, row.quiet),
            attempts=row.attempts + 1,
            expires_at=row.expires_at,
        )
        for row in rows
    ]


def finish(connection: Connection, outcomes: Iterable[Outcome], *, owner: str, now: int) -> None:
    """Those of another owner stay: it has claimed them since."""
    table = NOTICES.c
    for each in outcomes:
        # A receipt may have come before the answer: delivered stays delivered.
        connection.execute(
            update(NOTICES)
            .where(table.id == each.id, table.owner == owner, table.state == State.SENDING.value)
            .values(
                state=each.state.value,
                reason=_short(each.reason, MAX_REASON),
                reference=_short(each.reference, MAX_REFERENCE),
                next_at=each.next_at,
                updated=now,
            )
        )


def receive(connection: Connection, id_: str, state: State, reason: str, *, now: int) -> str | None:
    """A receipt says what became of a notice. Returns the state before; None = there is no such notice. A notice that
    was not sent yet, or is delivered, stays.
    """
    before = connection.scalar(select(NOTICES.c.state).where(NOTICES.c.id == id_).with_for_update())
    if before in (State.SENDING, State.SENT, State.FAILED):
        values = {"state": state.value, "reason": _short(reason, MAX_REASON), "updated": now}
        connection.execute(update(NOTICES).where(NOTICES.c.id == id_).values(**values))
    return before


# -- looking, and repeating


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many notices there are by state, and since when the oldest that is due waits."""

    states: dict[str, int]
    oldest_due: int
    """Unix seconds; 0 = none is due."""


def waiting(connection: Connection, now: int) -> Waiting:
    table = NOTICES.c
    is_open = table.state.in_([each.value for each in OPEN])
    counts = dict.fromkeys([each.value for each in OPEN], 0)
    query = select(table.state, func.count()).where(is_open).group_by(table.state)
    counts.update({row[0]: row[1] for row in connection.execute(query)})
    due = (table.state == State.WAITING.value) & (table.next_at <= now)
    return Waiting(counts, int(connection.scalar(select(func.min(table.next_at)).where(due)) or 0))


def listed(
    connection: Connection,
    *,
    accounts: Sequence[str] = (),
    state: str = "",
    before: tuple[int, str] | None = None,
    limit: int = 100,
) -> list[Row[Any]]:
    """The latest first. `accounts`: ids of one subscriber, () = of all. `before`: (created, id) of the last one."""
    table = NOTICES.c
    query = select(NOTICES).order_by(table.created.desc(), table.id.desc()).limit(limit)
    if accounts:
        query = query.where(table.account.in_(accounts))
    if state:
        query = query.where(table.state == state)
    if before is not None:
        created, id_ = before
        query = query.where((table.created < created) | ((table.created == created) & (table.id < id_)))
    return list(connection.execute(query))


def shown(connection: Connection, id_: str) -> Row[Any] | None:
    return connection.execute(select(NOTICES).where(NOTICES.c.id == id_)).first()


def retry(connection: Connection, id_: str, *, now: int, lives_s: int) -> str | None:
    """Send a notice again that failed or was given up; it expires `lives_s` from now. Returns the state before: if it
    is another one, the notice stays. None = there is no such notice.
    """
    before = connection.scalar(select(NOTICES.c.state).where(NOTICES.c.id == id_).with_for_update())
    if before in RETRIED:
        anew = {"state": State.WAITING.value, "reason": "", "attempts": 0, "next_at": now, "expires_at": now + lives_s}
        connection.execute(update(NOTICES).where(NOTICES.c.id == id_).values(**anew, updated=now))
    return before


def suppress(connection: Connection, event_ids: Sequence[str], reason: Reason, now: int) -> int:
    """Notices of these events that wait are not sent. Returns how many."""
    table = NOTICES.c
    where = table.event_id.in_(event_ids), table.state == State.WAITING.value
    values = {"state": State.SUPPRESSED.value, "reason": reason.value, "updated": now}
    connection.execute(delete(NOTICE_EVENTS).where(NOTICE_EVENTS.c.event_id.in_(event_ids)))
    return connection.execute(update(NOTICES).where(*where).values(**values)).rowcount


def forget(connection: Connection, before: int, limit: int) -> int:
    """Delete at most `limit` notices made before that time, except those that wait. Returns how many."""
    table = NOTICES.c
    old = select(table.id).where(table.created < before, table.state.not_in([each.value for each in OPEN])).limit(limit)
    return connection.execute(delete(NOTICES).where(table.id.in_(old.scalar_subquery()))).rowcount
