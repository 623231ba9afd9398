"""From the stored account document (fields: scripts/lib.lua) to what people and programs look at."""

from __future__ import annotations

from typing import Any

import msgpack

from ocs.ledger.contract import AccountView, BucketView, ReservationView, SessionView

STATES = {"a": "active", "i": "inactive", "b": "blocked", "t": "terminated"}
STATE_CODES = {name: code for code, name in STATES.items()}


def table(value: Any) -> dict[str, Any]:
    """Lua cannot tell an empty map from an empty list: both are stored as a list."""
    return value or {}


def unpack(document: bytes) -> Any:
    return msgpack.unpackb(document, strict_map_key=False)


def account_view(account_id: str, document: bytes, *, now: int, month: int) -> AccountView:
    """The account as of `now`: its state and the month's spending follow the clock, all else is as stored."""
    acc = unpack(document)
    state = STATES[acc["st"]]
    if state == "active" and now >= acc["au"]:
        state = "inactive"
    return AccountView(
        account_id=account_id,
        msisdn=acc["m"],
        imsi=acc["i"],
        state=state,
        active_until=acc["au"],
        credit_micro_eur=acc["cr"],
        held_micro_eur=acc["hc"],
        paid_in_micro_eur=acc["pi"],
        spent_micro_eur=acc["sp"],
        refunded_micro_eur=acc["rf"],
        expired_micro_eur=acc["ex"],
        spent_month_micro_eur=acc["ms"] if acc["mo"] == month else 0,
        limit_micro_eur=acc["lim"] if acc["lim"] >= 0 else None,
        bars=tuple(acc["br"].split(",")) if acc["br"] else (),
        package=acc["pk"],
        package_pending=bool(acc["pp"]),
        period_end=acc["pe"],
        buckets=tuple(
            BucketView(id=id_, unit=unit, left=None if left < 0 else left, held=held, expires_at=expires)
            for id_, unit, left, held, expires in acc["b"]
        ),
        sessions=tuple(_session_view(sid, session) for sid, session in sorted(table(acc["s"]).items())),
    )


def _session_view(session_id: str, session: dict[str, Any]) -> SessionView:
    return SessionView(
        session_id=session_id,
        origin_host=session["o"],
        context=session["c"],
        started_at=session["t"],
        deadline=session["d"],
        reservations=tuple(
            ReservationView(
                key=key,
                label=service["l"],
                held_micro_eur=service["hm"],
                held_units=tuple((bucket, units) for bucket, units in service["r"]),
            )
            for key, service in sorted(table(session["v"]).items())
        ),
    )
