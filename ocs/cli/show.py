"""Prints an account: as JSON for programs, as tables for people."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from ocs.ledger.contract.views import (
    AccountView,
    BucketView,
    CounterView,
    MeasureView,
    PoolView,
    SessionView,
    SubscriptionView,
    TransferView,
)
from ocs.values.moment import utc_text
from ocs.values.money import format_eur
from ocs.values.products import LIMIT_COUNTER

_KILO = 1024
PIPED_COLUMNS = 10_000
"""Wider than any row."""


def as_json(view: AccountView, pool: PoolView | None = None) -> dict[str, object]:
    """`account show --json`. The names are stable: programs rely on them."""
    return {
        "msisdn": view.msisdn,
        "imsi": view.imsi,
        "account": view.account_id,
        "state": view.state,
        "active_until": _time(view.active_until),
        "credit_micro_eur": view.credit_micro_eur,
        "promotional_micro_eur": view.promotional_micro_eur,
        "separate_micro_eur": view.separate_micro_eur if view.has_separate else None,
        "sent_micro_eur": view.sent_micro_eur,
        "received_micro_eur": view.received_micro_eur,
        "in_transit": [_transfer_json(each) for each in view.transfers],
        "group": view.group or None,
        "role": view.role or None,
        "held_micro_eur": view.held_micro_eur,
        "available_micro_eur": view.credit_micro_eur - view.held_micro_eur,
        "paid_in_micro_eur": view.paid_in_micro_eur,
        "spent_micro_eur": view.spent_micro_eur,
        "refunded_micro_eur": view.refunded_micro_eur,
        "expired_micro_eur": view.expired_micro_eur,
        "spent_month_micro_eur": view.spent_month_micro_eur,
        "limit_micro_eur": view.limit_micro_eur,
        "bars": list(view.bars),
        "facts": view.facts.split(",") if view.facts else [],
        "measures": [measure_json(each) for each in view.measures],
        "country": view.country,
        "package": view.package or None,
        "package_pending": view.package_pending,
        "blocks": list(view.blocks),
        "wrong_vouchers": view.wrong_vouchers,
        "vouchers_blocked": view.vouchers_blocked,
        "period_end": _time(view.period_end),
        "subscriptions": [_subscription_json(each) for each in view.subscriptions],
        "buckets": [_bucket_json(each) for each in view.buckets],
        "counters": [_counter_json(each) for each in view.counters],
        "pool": _pool_json(pool) if pool is not None else None,
        "sessions": [row for session in view.live_sessions for row in session_rows(session)],
    }


def _transfer_json(each: TransferView) -> dict[str, object]:
    return {
        "to": each.to,
        "amount_micro_eur": each.amount_micro_eur,
        "reference": each.reference,
        "at": _time(each.at),
    }


def _time(seconds: int) -> str | None:
    return utc_text(seconds) if seconds else None


def _subscription_json(each: SubscriptionView) -> dict[str, object]:
    return {
        "instance": each.instance,
        "product": each.product,
        "group": each.group or None,
        "state": each.state.value,
        "from": _time(each.starts_at),
        "until": _time(each.ends_at),
        "next": each.next_product or None,
        "price_micro_eur": each.price_micro_eur,
    }


def _bucket_json(each: BucketView) -> dict[str, object]:
    return {
        "instance": each.instance,
        "id": each.id,
        "subscription": each.subscription,
        "priority": each.priority,
        "unit": each.unit,
        "left": each.left,
        "held": each.held,
        "from": _time(each.starts_at),
        "expires_at": _time(each.expires_at),
    }


def _counter_json(each: CounterView) -> dict[str, object]:
    return {
        "id": each.id,
        "window": each.window,
        "value": each.value,
        "held": each.held,
        "limit": each.limit,
        "told": each.told,
    }


def _pool_json(pool: PoolView) -> dict[str, object]:
    return {
        "id": pool.pool_id,
        "buckets": [_bucket_json(each) for each in pool.buckets],
        "holds": [{"account": each.account_id, "instance": each.instance, "units": each.units} for each in pool.holds],
    }


def session_rows(session: SessionView) -> list[dict[str, object]]:
    """One row for each reservation. A session without reservations has one row."""
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
            "held": sum(units for _, units in (*reservation.held_units, *reservation.pool_units)),
            "held_micro_eur": reservation.held_micro_eur,
        }
        for reservation in session.reservations
    ]
    return rows or [{**common, "service": "", "held": 0, "held_micro_eur": 0}]


def print_account(view: AccountView, pool: PoolView | None = None) -> None:
    console = _console()
    facts = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(view):
        facts.add_row(name, value)
    console.print(facts)
    for table in (
        _subscription_table(view.subscriptions),
        _bucket_table(view.buckets, "included units"),
        _bucket_table(pool.buckets, f"units of the pool {pool.pool_id}") if pool is not None else None,
        _counter_table(view.counters),
    ):
        if table is not None and table.row_count:
            console.print(table)
    if view.live_sessions:
        print_sessions([row for session in view.live_sessions for row in session_rows(session)], console)


def _console() -> Console:
    """A terminal's width on a terminal. In a pipe or a file each row is one line."""
    return Console(width=None if sys.stdout.isatty() else PIPED_COLUMNS, soft_wrap=True)


def _subscription_table(subscriptions: tuple[SubscriptionView, ...]) -> Table:
    """`next`: the product of the next period; empty = the same."""
    table = _table("subscriptions", "#", "product", "state", "from", "until", "next")
    for each in subscriptions:
        times = (_time(each.starts_at) or "", _time(each.ends_at) or "")
        table.add_row(str(each.instance), each.product, each.state, *times, each.next_product)
    return table


def _bucket_table(buckets: tuple[BucketView, ...], title: str) -> Table:
    table = _table(title, "#", "bucket", "prio", "left", "held", "expires")
    for each in buckets:
        left = "unlimited" if each.left is None else units_text(each.left, each.unit)
        amounts = (left, units_text(each.held, each.unit))
        table.add_row(str(each.instance), each.id, str(each.priority), *amounts, _time(each.expires_at) or "")
    return table


def _counter_table(counters: tuple[CounterView, ...]) -> Table:
    """The spending limit in EUR, other counters in their own unit."""
    table = _table("counters", "counter", "window", "value", "held", "limit", "told")
    for each in counters:
        text = _eur_text if each.id == LIMIT_COUNTER else str
        limit = "none" if each.limit is None else text(each.limit)
        table.add_row(
            each.id, each.window, text(each.value), text(each.held), limit, f"{each.told} %" if each.told else ""
        )
    return table


def _table(title: str, *columns: str) -> Table:
    """On a narrow screen cells are wrapped, not cut off."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _eur_text(micro_eur: int) -> str:
    return f"{format_eur(micro_eur)} EUR"


def _facts(view: AccountView) -> list[tuple[str, str]]:
    waits = "the first use" if view.state == "new" else "a top-up"
    pending = f" (waits for {waits})" if view.package_pending else ""
    until = f", until {utc_text(view.period_end)}" if view.period_end else ""
    limit = "off" if view.limit_micro_eur is None else f"{format_eur(view.limit_micro_eur)} EUR"
    return [
        ("MSISDN", view.msisdn),
        ("IMSI", view.imsi),
        ("account", view.account_id),
        ("state", _state_text(view)),
        ("credit", _credit_text(view)),
        ("spent this month", f"{format_eur(view.spent_month_micro_eur)} EUR, limit {limit}"),
        ("package", f"{view.package}{until}{pending}" if view.package else "none"),
        ("bars", ", ".join(view.bars) or "none"),
        ("pool", view.pool or "none"),
        ("country", view.country),
        *([("facts", view.facts.replace(",", ", "))] if view.facts else []),
        *([("group", f"{view.group}, {view.role}")] if view.group else []),
        *([("separate account", f"{format_eur(view.separate_micro_eur)} EUR")] if view.has_separate else []),
        *[("in transit", f"{format_eur(each.amount_micro_eur)} EUR to {each.to}") for each in view.transfers],
        *([("vouchers", "blocked: too many wrong entries")] if view.vouchers_blocked else []),
        *([("measures", "; ".join(map(measure_text, view.measures)))] if view.measures else []),
    ]


def measure_text(measure: MeasureView) -> str:
    """ "bar roaming until 2026-12-31T23:00:00Z: resale"."""
    terms = measure.terms
    since = "" if measure.begun else f" from {utc_text(terms.since)}"
    until = f" until {utc_text(terms.until)}" if terms.until else ""
    return f"{terms.kind} {terms.name}{since}{until}: {terms.reason}"


def measure_json(measure: MeasureView) -> dict[str, object]:
    terms = measure.terms
    return {
        "kind": terms.kind.value,
        "name": terms.name,
        "reason": terms.reason,
        "in_force": measure.begun,
        "from": _time(terms.since),
        "until": _time(terms.until),
    }


def _state_text(view: AccountView) -> str:
    blocks = f" ({', '.join(view.blocks)})" if view.blocks else ""
    until = f", active until {utc_text(view.active_until)}" if view.active_until else ""
    return f"{view.state}{blocks}{until}"


def _credit_text(view: AccountView) -> str:
    promotional = f", promotional {_eur_text(view.promotional_micro_eur)}" if view.promotional_micro_eur else ""
    return f"{_eur_text(view.credit_micro_eur)}, of which held {_eur_text(view.held_micro_eur)}{promotional}"


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
    (console or _console()).print(table)


def print_versions(rows: list[dict[str, object]], console: Console | None = None) -> None:
    table = _table("versions of the catalogue", "version", "valid from", "in force", "in", "loaded by", "loaded at")
    for row in rows:
        places = [name for name, there in (("file", row["in_file"]), ("ledger", row["loaded_by"])) if there]
        shown = row["valid_from"] or "the beginning", "yes" if row["in_force"] else "", ", ".join(places)
        table.add_row(str(row["version"]), *map(str, shown), str(row["loaded_by"] or ""), str(row["loaded_at"] or ""))
    (console or _console()).print(table)


def units_text(amount: int, unit: str) -> str:
    """ "1.5 GB", "25 min", "12 messages". Rounded: the JSON has the exact amounts."""
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
