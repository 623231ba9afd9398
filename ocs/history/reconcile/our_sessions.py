"""What our charging records say of each session: how much it used of which service, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable

from ocs.history.reconcile.store import Ours, Store
from ocs.outbox.legs import IsSecond, direction_of
from ocs.outbox.reading import Record, unix_s
from ocs.values.use import Context

_SERVICES = {
    Context.DATA.value: "data",
    Context.IMS.value: "voice",
    Context.CS.value: "voice",
    Context.SMS.value: "sms",
    Context.MMS.value: "mms",
}
"""Content is the operator's own service: no host bills it."""


def service_of(context: str) -> str:
    """ "" = no host bills it."""
    return _SERVICES.get(context, "")


def add_sessions(records: Iterable[Record], store: Store, is_second: IsSecond, until: int) -> list[tuple[str, str]]:
    """Adds the sessions that began before `until`, Unix seconds. Returns the moves of accounts: (old id, new id)."""
    moves = []
    for record in records:
        kind = record["kind"]
        if kind == "moved_out":
            moves.append((str(record["account"]), str(record.get("to_account", ""))))
        elif kind in ("charge", "expired"):
            _add(record, store, is_second, until)
        elif kind == "refund":
            _subtract(record, store, is_second)
    return moves


def _subtract(record: Record, store: Store, is_second: IsSecond) -> None:
    """A refund, of any time: the debit's session has used so much less. The session's own times stay."""
    service = service_of(str(record.get("context", "")))
    if not service:
        return
    units = charged = 0
    for line in record.get("services", ()):
        charged -= line.get("credit_in_micro_eur", 0)
        if not is_second(str(line["price"]).partition("@")[0], ""):
            units += line["used"]
    session = str(record.get("of_session") or record["session_id"])
    store.add_use(str(record["account"]), Ours(session, unix_s(record["time"]), 0, units, charged), service)


def _add(record: Record, store: Store, is_second: IsSecond, until: int) -> None:
    service = service_of(str(record.get("context", "")))
    end = unix_s(record["time"])
    start = unix_s(record["started"]) if "started" in record else end
    if not service or start >= until:
        return
    units = charged = 0
    for line in record.get("services", ()):
        charged += line.get("debit_micro_eur", 0)
        if not is_second(str(line.get("label", "")), direction_of(str(line.get("detail", "")))):
            units += line["used"] + line.get("dropped", 0)
    if units or charged:
        session = str(record.get("session_id", record["event_id"]))
        use = Ours(session, start, end, units, charged, str(record.get("charging_id", "")))
        store.add_use(str(record["account"]), use, service)
