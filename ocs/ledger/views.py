"""From the stored account document (its layout: scripts/document.lua) to what people and programs look at."""

from __future__ import annotations

from typing import Any

import msgpack

from ocs.ledger.contract import AccountView, BucketView, ReservationView, SessionView

STATES = {"a": "active", "i": "inactive", "b": "blocked", "t": "terminated"}
STATE_CODES = {name: code for code, name in STATES.items()}


def unpack(document: bytes) -> Any:
    return msgpack.unpackb(document, strict_map_key=False)


class _Cursor:
    """Reads the flat array of a document from left to right."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values
        self._at = 0

    def take(self, count: int) -> list[Any]:
        self._at += count
        return self._values[self._at - count : self._at]

    def one(self) -> Any:
        return self.take(1)[0]


def account_view(account_id: str, document: bytes, *, now: int, month: int) -> AccountView:
    """The account as of `now`: its state and the month's spending follow the clock, all else is as stored."""
    cursor = _Cursor(unpack(document))
    msisdn, imsi, state, active_until, credit, held, paid_in, spent, refunded, expired = cursor.take(10)
    limit, spending_month, spent_month, _notified, bars, package, pending, period_end, _due = cursor.take(9)
    buckets = [cursor.take(5) for _ in range(cursor.one())]
    sessions = [_session_view(cursor) for _ in range(cursor.one())]
    if state == "a" and now >= active_until:
        state = "i"
    return AccountView(
        account_id=account_id,
        msisdn=msisdn,
        imsi=imsi,
        state=STATES[state],
        active_until=active_until,
        credit_micro_eur=credit,
        held_micro_eur=held,
        paid_in_micro_eur=paid_in,
        spent_micro_eur=spent,
        refunded_micro_eur=refunded,
        expired_micro_eur=expired,
        spent_month_micro_eur=spent_month if spending_month == month else 0,
        limit_micro_eur=limit if limit >= 0 else None,
        bars=tuple(bars.split(",")) if bars else (),
        package=package,
        package_pending=bool(pending),
        period_end=period_end,
        buckets=tuple(
            BucketView(id=id_, unit=unit, left=None if left < 0 else left, held=held_units, expires_at=expires)
            for id_, unit, left, held_units, expires in buckets
        ),
        sessions=tuple(sorted(sessions, key=lambda session: session.session_id)),
    )


def _session_view(cursor: _Cursor) -> SessionView:
    session_id, origin_host, context, started, deadline, _highest, _forgotten = cursor.take(7)
    realm, via, _binding, origin_state_id, _cost, released, _asked_back, _place, services, tallies = cursor.take(10)
    cursor.take(3 * tallies)
    reservations = [_reservation_view(cursor) for _ in range(services)]
    return SessionView(
        session_id=session_id,
        origin_host=origin_host,
        context=context,
        started_at=started,
        deadline=deadline,
        reservations=tuple(sorted(reservations, key=lambda reservation: reservation.key)),
        origin_realm=realm,
        via=via,
        origin_state_id=origin_state_id,
        released=released == 1,
    )


def _reservation_view(cursor: _Cursor) -> ReservationView:
    key, label = cursor.take(2)
    cursor.take(9)  # price terms (7), bucket ids, detail
    held, _granted, _phase, _reported, switch_at, _deadline, _number, held_count = cursor.take(8)
    units = tuple((bucket, amount) for bucket, amount, _ in (cursor.take(3) for _ in range(held_count)))
    if switch_at:
        cursor.take(7)  # the price from then on
    return ReservationView(key=key, label=label, held_micro_eur=held, held_units=units)
