"""An account for programs (JSON, its names are stable) and for people (tables)."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ocs.ledger.contract import AccountView, SessionView
from ocs.rating.money import format_eur
from ocs.records.format import utc_text

_KILO = 1024


def live_sessions(view: AccountView) -> list[SessionView]:
    """Without those that were given up and are only kept for late use."""
    return [session for session in view.sessions if not session.released]


def as_json(view: AccountView) -> dict[str, object]:
    """`account show --json`: other programs rely on these names."""
    return {
        "msisdn": view.msisdn,
        "imsi": view.imsi,
        "account": view.account_id,
        "state": view.state,
        "active_until": utc_text(view.active_until),
        "credit_micro_eur": view.credit_micro_eur,
        "held_micro_eur": view.held_micro_eur,
        "available_micro_eur": view.credit_micro_eur - view.held_micro_eur,
        "paid_in_micro_eur": view.paid_in_micro_eur,
        "spent_micro_eur": view.spent_micro_eur,
        "refunded_micro_eur": view.refunded_micro_eur,
        "expired_micro_eur": view.expired_micro_eur,
        "spent_month_micro_eur": view.spent_month_micro_eur,
        "limit_micro_eur": view.limit_micro_eur,
        "bars": list(view.bars),
        "package": view.package or None,
        "package_pending": view.package_pending,
        "period_end": utc_text(view.period_end) if view.period_end else None,
        "buckets": [
            {
                "id": bucket.id,
                "unit": bucket.unit,
                "left": bucket.left,
                "held": bucket.held,
                "expires_at": utc_text(bucket.expires_at),
            }
            for bucket in view.buckets
        ],
        "sessions": [row for session in live_sessions(view) for row in session_rows(session)],
    }


def session_rows(session: SessionView) -> list[dict[str, object]]:
    """One row a reservation; a session that has nothing reserved has one row too."""
    common = {
        "session_id": session.session_id,
        "context": session.context,
        "origin_host": session.origin_host,
        "started_at": utc_text(session.started_at),
        "deadline": utc_text(session.deadline),
    }
    rows: list[dict[str, object]] = [
        {
            **common,
            "service": reservation.label,
            "held": sum(units for _, units in reservation.held_units),
            "held_micro_eur": reservation.held_micro_eur,
        }
        for reservation in session.reservations
    ]
    return rows or [{**common, "service": "", "held": 0, "held_micro_eur": 0}]


def print_account(view: AccountView) -> None:
    console = Console(soft_wrap=True)
    facts = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(view):
        facts.add_row(name, value)
    console.print(facts)
    if view.buckets:
        table = Table("bucket", "left", "held", "expires", title="included units", title_justify="left")
        for bucket in view.buckets:
            left = "unlimited" if bucket.left is None else units_text(bucket.left, bucket.unit)
            table.add_row(bucket.id, left, units_text(bucket.held, bucket.unit), utc_text(bucket.expires_at))
        console.print(table)
    if live_sessions(view):
        print_sessions([row for session in live_sessions(view) for row in session_rows(session)], console)


def _facts(view: AccountView) -> list[tuple[str, str]]:
    pending = " (waits for a top-up)" if view.package_pending else ""
    until = f", until {utc_text(view.period_end)}" if view.period_end else ""
    limit = "off" if view.limit_micro_eur is None else f"{format_eur(view.limit_micro_eur)} EUR"
    return [
        ("MSISDN", view.msisdn),
        ("IMSI", view.imsi),
        ("account", view.account_id),
        ("state", f"{view.state}, active until {utc_text(view.active_until)}"),
        ("credit", f"{format_eur(view.credit_micro_eur)} EUR, of which held {format_eur(view.held_micro_eur)} EUR"),
        ("spent this month", f"{format_eur(view.spent_month_micro_eur)} EUR, limit {limit}"),
        ("package", f"{view.package}{until}{pending}" if view.package else "none"),
        ("bars", ", ".join(view.bars) or "none"),
    ]


def print_sessions(rows: list[dict[str, object]], console: Console | None = None) -> None:
    named = any("msisdn" in row for row in rows)
    columns = [*(["msisdn"] if named else []), "session_id", "service", "held", "held_micro_eur", "started_at"]
    heads = {"session_id": "session", "held": "held units", "held_micro_eur": "held EUR", "started_at": "since"}
    table = Table(title="open sessions", title_justify="left")
    for column in columns:
        table.add_column(heads.get(column, column), overflow="fold")
    for row in rows:
        shown = {**row, "held_micro_eur": format_eur(int(str(row["held_micro_eur"])))}
        table.add_row(*(str(shown[column]) for column in columns))
    (console or Console(soft_wrap=True)).print(table)


def units_text(amount: int, unit: str) -> str:
    """1.5 GB, 25 min, 12 messages: for people; the exact amounts are in the JSON."""
    if unit == "octets":
        size, name = float(amount), "B"
        for name in ("B", "kB", "MB", "GB", "TB"):
            if size < _KILO or name == "TB":
                break
            size /= _KILO
        return f"{size:.1f} {name}" if name != "B" else f"{amount} B"
    if unit == "seconds":
        return f"{amount // 60} min" + (f" {amount % 60} s" if amount % 60 else "")
    return f"{amount} {unit}"
