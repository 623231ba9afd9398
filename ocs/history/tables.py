"""Itemised use and statements as CSV (RFC 4180), for spreadsheets. Money is in EUR."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence

from ocs.history.group_statement import GroupStatement
from ocs.history.queries import Transaction, UsageItem
from ocs.history.statement import Statement, UseSum
from ocs.values.money import format_eur

USAGE_COLUMNS = (
    *("time", "context", "rate", "network", "direction", "party", "used", "gross_eur", "vat_percent", "net_eur"),
    *("vat_eur", "included_units", "itemised", "session_id"),
)
STATEMENT_COLUMNS = (
    *("time", "kind", "what", "reference", "gross_eur", "vat_percent", "net_eur", "vat_eur", "credit_eur"),
    *("separate_eur", "itemised"),
    *("sessions", "used", "channel"),
)
"""Of `channel`: by what a top-up came (HOT-TOP-1). Columns are only added at the end."""
GROUP_COLUMNS = (
    *("msisdn", "account", "time", "kind", "what", "reference", "gross_eur", "vat_percent", "net_eur", "vat_eur"),
    *("credit_eur", "sessions", "used", "channel"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a text that begins so as a formula, and others choose names of senders and references."""
Text = Callable[[int], str]
"""Unix seconds → text."""


def usage_table(items: Iterable[UsageItem], time: Text) -> str:
    rows = (
        (
            *(time(each.started_at), each.context, each.rate, _plain(each.network), each.direction, _plain(each.party)),
            *(each.used, *_money(each.micro_eur, each.net_micro_eur, each.vat_percent), _units(each)),
            *(each.itemised, _plain(each.session_id)),
        )
        for each in items
    )
    return _csv(USAGE_COLUMNS, rows)


def statement_table(statement: Statement, time: Text) -> str:
    """Opening credit, transactions, use by rate, use of open sessions, closing credit; then what was sold."""
    net, gross = statement.sold_micro_eur
    rows: list[Sequence[object]] = [_balance("opening", statement.opening_micro_eur)]
    rows += [_transaction(each, time) for each in statement.transactions]
    rows += [_use(each) for each in statement.use]
    if not statement.is_itemised:
        rest = statement.recorded_micro_eur - sum(each.micro_eur for each in statement.use)
        rows.append(("", "use", "no longer itemised", "", format_eur(-rest), *[""] * 9))
    if statement.unrecorded_micro_eur:
        waiting = format_eur(-statement.unrecorded_micro_eur)
        rows.append(("", "use", "of open sessions", "", waiting, *[""] * 9))
    rows.append(_balance("closing", statement.closing_micro_eur))
    rows.append(("", "total", "sold in the month", "", format_eur(gross), "", *_net(gross, net), *[""] * 6))
    return _csv(STATEMENT_COLUMNS, rows)


def group_table(statement: GroupStatement, time: Text) -> str:
    """Transactions and use of each number of a business group; then what was sold, by rate of VAT (HOT-GRP-3).
    `account`: "company", or "separate" of what a member's separate account paid or got.
    """
    rows: list[Sequence[object]] = []
    for msisdn, number in statement.numbers:
        for each in number.transactions:
            rows.append((msisdn, "company", *_transaction(each, time)[:9], "", "", each.channel))
        rows += [(msisdn, "company", *_use(each)[:9], each.sessions, each.used, "") for each in number.use]
        rows += [
            (msisdn, "separate", *_transaction(each, time)[:8], "", "", "", each.channel) for each in number.separate
        ]
    for percent, (net, gross) in statement.sold.items():
        rows.append(("", "total", "", "", "sold in the month", "", *_money(gross, net, percent), "", "", "", ""))
    return _csv(GROUP_COLUMNS, rows)


def _balance(kind: str, micro_eur: int) -> tuple[object, ...]:
    return ("", kind, "", "", "", "", "", "", format_eur(micro_eur), *[""] * 5)


def _transaction(each: Transaction, time: Text) -> tuple[object, ...]:
    money = _money(each.gross_micro_eur, each.net_micro_eur, each.vat_percent)
    head = time(each.at), each.kind, _plain(each.what), _plain(each.reference)
    separate = format_eur(each.separate_micro_eur) if each.separate_micro_eur else ""
    return (*head, *money, format_eur(each.credit_micro_eur), separate, "", "", "", each.channel)


def _use(each: UseSum) -> tuple[object, ...]:
    money = _money(-each.micro_eur, -each.net_micro_eur, each.vat_percent)
    return ("", "use", each.rate, "", *money, "", "", each.itemised, each.sessions, each.used, "")


def _money(gross: int, net: int, vat_percent: int) -> tuple[object, ...]:
    return (format_eur(gross), vat_percent, *_net(gross, net))


def _net(gross: int, net: int) -> tuple[str, str]:
    return format_eur(net), format_eur(gross - net)


def _units(item: UsageItem) -> str:
    return " ".join(f"{bucket}:{units}" for bucket, units in sorted(item.bucket_units.items()))


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    output = io.StringIO()
    writer = csv.writer(output)
    writer.writerow(columns)
    writer.writerows(rows)
    return output.getvalue()
